//! Where settings come from, one after another: the run that goes on, a file, flags. And what they may not say of each other.

use crate::failure::Usage;
use crate::output::in_a_command;
use crate::resolve::Run;
use crate::run_directory::{CONFIG, is_no_sweep, run_of_best};
use crate::settings::{Settings, short};
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
        let Some(directory) = directory else { return Ok(Self::default()) };
        let shown = directory.display();
        if !directory.exists() {
            return Err(Usage(format!("{shown}: there is no such run directory")).into());
        }
        if !directory.is_dir() {
            let parent = directory.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
            return Err(Usage(format!("{shown} is a file; --resume wants the run's directory, such as {}", parent.display())).into());
        }
        is_no_sweep(directory)?;
        if let Some(run) = run_of_best(directory) {
            let run = in_a_command(run);
            return Err(Usage(format!("{shown}: the best agents are parameters alone, to be evaluated; go on with --resume {run}")).into());
        }
        let path = directory.join(CONFIG);
        if !path.exists() {
            return Err(Usage(format!("{shown}: there is no {CONFIG} in this directory, so that it is no run's")).into());
        }
        let mut run = Self::read(Some(&path))?;
        // as its agents were made, if it is from before there was this setting
        run.settings.relative_actions.get_or_insert(false);
        Ok(run)
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

/// What the agents of a run have been made with: its files hold no others.
const FIXED: [&str; 16] = [
    "env",
    "agents",
    "envs",
    "seed",
    "algorithm",
    "actor_hidden",
    "critic_hidden",
    "action_layer",
    "relative_actions",
    "batch_norm",
    "hidden_initialization",
    "hidden_deviation",
    "output_initialization",
    "basis_weights",
    "basis_biases",
    "initial_blend",
];

/// That `layers` leave as it is what cannot change in the run that goes on with the settings `resumed`.
///
/// # Errors
/// [`Usage`] for the first that does not, with both values.
pub fn keep_what_is_fixed(resumed: &Settings, layers: &[&Layer]) -> Result<()> {
    // with all that its file leaves to the preset
    let table = |settings: &Settings| toml::Table::try_from(settings).unwrap_or_default();
    let before = table(&Run::resolve(resumed.clone(), Settings::default())?.settings());
    for layer in layers {
        let asked = table(&layer.settings);
        let changed = FIXED.iter().find_map(|&name| Some((name, asked.get(name)?)).filter(|(_, value)| before.get(name) != Some(*value)));
        if let Some((name, value)) = changed {
            let now = before.get(name).map_or_else(|| "not set".to_owned(), short);
            let asked = layer.saying(name, &short(value));
            return Err(Usage(format!("{name} is {now} in this run and cannot change with --resume ({asked})")).into());
        }
    }
    Ok(())
}
