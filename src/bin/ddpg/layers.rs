//! Where settings come from, one after another: the run that goes on, a file, flags. And what they may not say of each other.

use crate::failure::Usage;
use crate::run_directory::CONFIG;
use crate::settings::Settings;
use anyhow::Result;
use std::path::{Path, PathBuf};

/// Reads a TOML file of settings.
pub fn read_settings(path: &Path) -> Result<Settings> {
    let text = std::fs::read_to_string(path).map_err(|error| Usage(format!("{}: {error}", path.display())))?;
    toml::from_str(&text).map_err(|error| Usage(format!("{}: {}", path.display(), error.to_string().trim_end())).into())
}

/// Settings, and the file they are from; without one they are flags.
#[derive(Debug, Default)]
pub struct Layer {
    path: Option<PathBuf>,
    pub settings: Settings,
}

impl Layer {
    /// The settings of a file; none without one.
    pub fn read(path: Option<&Path>) -> Result<Self> {
        let Some(path) = path else { return Ok(Self::default()) };
        Ok(Self { path: Some(path.to_owned()), settings: read_settings(path)? })
    }

    /// The settings of the run in `directory`; none without one.
    pub fn of_run(directory: Option<&Path>) -> Result<Self> {
        Self::read(directory.map(|directory| directory.join(CONFIG)).as_deref())
    }

    pub fn flags(settings: Settings) -> Self {
        Self { path: None, settings }
    }

    /// "--preset paper", "preset = paper in my.toml"
    fn saying(&self, name: &str, value: &str) -> String {
        match &self.path {
            Some(path) => format!("{name} = {value} in {}", path.display()),
            None => format!("--{} {value}", name.replace('_', "-")),
        }
    }
}

/// That no two of `layers` name different presets: what the first sets would stay as it is under the second's name.
///
/// # Errors
/// [`Usage`] where two do.
pub fn agree_on_preset(layers: &[&Layer]) -> Result<()> {
    let mut named = layers.iter().filter_map(|layer| Some((layer, layer.settings.preset?)));
    let Some((first, preset)) = named.next() else { return Ok(()) };
    match named.find(|(_, other)| *other != preset) {
        None => Ok(()),
        Some((layer, other)) => {
            let path = first.path.as_deref().unwrap_or(Path::new("the command line")).display();
            let other = layer.saying("preset", other.name());
            Err(Usage(format!("{path} says preset {}, and its settings go with that: leave {other} out", preset.name())).into())
        }
    }
}
