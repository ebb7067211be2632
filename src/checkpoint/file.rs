//! Snapshots to and from safetensors bytes.

use super::{Snapshot, Values};
use crate::config::Config;
use crate::error::{Error, Result};
use safetensors::tensor::{Dtype, Metadata, SafeTensors, TensorView};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

const FORMAT: &str = "ddpg-wgpu agent";
const VERSION: &str = "1";

/// Metadata that no reader has to be told: how an action comes out of the actor.
const ACTION: &str = "action_centre + action_scale * tanh(z), z being the output of the actor's last layer";

fn io(path: &Path, source: std::io::Error) -> Error {
    Error::Io { path: path.to_owned(), source }
}

/// A file that is written whole, but not yet under its name.
pub(super) struct Pending {
    temporary: PathBuf,
    path: PathBuf,
}

impl Pending {
    pub fn write(snapshot: &Snapshot, path: &Path) -> Result<Self> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let temporary = path.with_file_name(format!(".{name}.{}.tmp", std::process::id()));
        let pending = Self { temporary, path: path.to_owned() };
        let bytes = to_bytes(snapshot).map_err(|reason| Error::Checkpoint(format!("{}: {reason}", path.display())))?;
        let mut file = fs::File::create(&pending.temporary).map_err(|error| io(path, error))?;
        file.write_all(&bytes).and_then(|()| file.sync_all()).map_err(|error| io(path, error))?;
        Ok(pending)
    }

    pub fn commit(self) -> Result<()> {
        fs::rename(&self.temporary, &self.path).map_err(|error| io(&self.path, error))
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        // after a commit it is gone already; after a failure nobody needs it
        let _ = fs::remove_file(&self.temporary);
    }
}

pub(super) fn to_bytes(snapshot: &Snapshot) -> Result<Vec<u8>, String> {
    let bytes: BTreeMap<_, Vec<u8>> = snapshot
        .tensors
        .iter()
        .map(|(name, values)| (name, values.numbers.iter().flat_map(|number| number.to_le_bytes()).collect()))
        .collect();
    let view = |name: &String| TensorView::new(Dtype::F32, snapshot.tensors[name].shape.clone(), &bytes[name]);
    let views = snapshot.tensors.keys().map(|name| Ok((name, view(name)?))).collect::<Result<Vec<_>, _>>();
    let views = views.map_err(|error: safetensors::SafeTensorError| error.to_string())?;
    let whole = safetensors::serialize(views, Some(metadata(snapshot)?)).map_err(|error| error.to_string())?;
    sort_header(&whole).ok_or_else(|| "the header could not be sorted".to_owned())
}

fn metadata(snapshot: &Snapshot) -> Result<HashMap<String, String>, String> {
    fn json(value: &impl serde::Serialize) -> Result<String, String> {
        serde_json::to_string(value).map_err(|error| error.to_string())
    }
    let pairs = || snapshot.action_low.iter().zip(&snapshot.action_high);
    let scale: Vec<f32> = pairs().map(|(low, high)| 0.5 * (high - low)).collect();
    let centre: Vec<f32> = pairs().map(|(low, high)| 0.5 * (high + low)).collect();
    let entries = [
        ("format", FORMAT.to_owned()),
        ("format_version", VERSION.to_owned()),
        ("crate_version", env!("CARGO_PKG_VERSION").to_owned()),
        ("environment", snapshot.environment.clone()),
        ("observation_size", snapshot.observation_size.to_string()),
        ("action_size", snapshot.action_low.len().to_string()),
        ("action_low", json(&snapshot.action_low)?),
        ("action_high", json(&snapshot.action_high)?),
        ("action_scale", json(&scale)?),
        ("action_centre", json(&centre)?),
        ("action", ACTION.to_owned()),
        ("agent", snapshot.agent.to_string()),
        ("seed", snapshot.hyper_parameters.seed.to_string()),
        ("updates", snapshot.updates.to_string()),
        ("environment_steps", snapshot.environment_steps.to_string()),
        ("halted", json(&snapshot.halted)?),
        ("config", json(&snapshot.config)?),
        ("hyper_parameters", json(&snapshot.hyper_parameters)?),
        ("counters", json(&snapshot.counters)?),
    ];
    Ok(entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}

/// The same file with the keys of its header in alphabetical order, so that equal snapshots are equal files.
fn sort_header(bytes: &[u8]) -> Option<Vec<u8>> {
    let (length, rest) = bytes.split_first_chunk::<8>()?;
    let (header, data) = rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
    let sorted: BTreeMap<String, BTreeMap<String, Value>> = serde_json::from_slice(header).ok()?;
    let mut header = serde_json::to_vec(&sorted).ok()?;
    // the format aligns the data to 8 bytes, with spaces
    header.resize(header.len().next_multiple_of(8), b' ');
    Some([&(header.len() as u64).to_le_bytes(), header.as_slice(), data].concat())
}

/// The most that the format allows a header to have.
const LONGEST_HEADER: u64 = 100_000_000;

pub(super) fn read(path: &Path) -> Result<Snapshot> {
    let wrong = |reason| Error::Checkpoint(format!("{}: {reason}", path.display()));
    // looked at before it is opened: a pipe would be waited for, and a device never ends
    let found = fs::metadata(path).map_err(|error| io(path, error))?;
    if !found.is_file() {
        return Err(wrong("not a regular file, as that of an agent is".to_owned()));
    }
    let length = found.len();
    let file = fs::File::open(path).map_err(|error| io(path, error))?;
    let mut bytes = Vec::new();
    let more = |bytes: &mut Vec<u8>, count: u64| (&file).take(count).read_to_end(bytes).map_err(|error| io(path, error));
    more(&mut bytes, 8)?;
    let declared = bytes.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    more(&mut bytes, declared.min(length).min(LONGEST_HEADER))?;
    // the rest is read only once it is known to be an agent's, and as long as its header says
    ours(&bytes, length).map_err(wrong)?;
    more(&mut bytes, length)?;
    parse(&bytes, Some(path)).map_err(wrong)
}

fn damaged(length: u64, reason: impl std::fmt::Display) -> String {
    format!("not a whole safetensors file of {length} bytes ({reason})")
}

/// The metadata at the beginning of a file of `length` bytes, whose tensors need not be among `bytes`.
fn ours(bytes: &[u8], length: u64) -> Result<HashMap<String, String>, String> {
    let (declared, rest) = bytes.split_first_chunk::<8>().ok_or_else(|| damaged(length, "the first 8 say how long its header is"))?;
    let declared = u64::from_le_bytes(*declared);
    let header = usize::try_from(declared).ok().and_then(|declared| rest.get(..declared));
    let header = header.ok_or_else(|| {
        let most = length.saturating_sub(8).min(LONGEST_HEADER);
        damaged(length, format!("its header has {declared} bytes by the first 8; at most {most} are possible"))
    })?;
    let header: Metadata = serde_json::from_slice(header).map_err(|error| damaged(length, error))?;
    let needed = (8 + declared).saturating_add(header.data_len() as u64);
    if needed != length {
        return Err(damaged(length, format!("its header describes {needed}")));
    }
    let metadata = header.metadata().clone().unwrap_or_default();
    match (metadata.get("format").map(String::as_str), metadata.get("format_version").map(String::as_str)) {
        (Some(FORMAT), Some(VERSION)) => Ok(metadata),
        (Some(FORMAT), version) => {
            Err(format!("it has format version {}, but this program reads version {VERSION}", version.unwrap_or("none")))
        }
        (format, _) => Err(format!("its metadata says format {format:?}, but {FORMAT:?} is needed: another program wrote it")),
    }
}

/// `path`: the file they come from, if one, for messages.
pub(super) fn parse(bytes: &[u8], path: Option<&Path>) -> Result<Snapshot, String> {
    let metadata = ours(bytes, bytes.len() as u64)?;
    let file = SafeTensors::deserialize(bytes).map_err(|error| damaged(bytes.len() as u64, error))?;
    let text = |key: &str| metadata.get(key).ok_or_else(|| format!("the metadata lacks {key:?}"));
    let wrong = |key: &str, error: serde_json::Error| format!("the metadata's {key:?} does not hold what it should: {error}");
    let mut tensors = BTreeMap::new();
    for (name, view) in file.iter() {
        if view.dtype() != Dtype::F32 {
            return Err(format!("tensor {name} is of type {:?}, but F32 is needed", view.dtype()));
        }
        let (chunks, _) = view.data().as_chunks::<4>();
        let numbers = chunks.iter().map(|&chunk| f32::from_le_bytes(chunk)).collect();
        tensors.insert(name.to_owned(), Values { shape: view.shape().to_vec(), numbers });
    }
    let get = |key: &'static str| text(key).map(|text| (key, text.as_str()));
    macro_rules! field {
        ($key:literal) => {{
            let (key, text) = get($key)?;
            serde_json::from_str(text).map_err(|error| wrong(key, error))?
        }};
    }
    Ok(Snapshot {
        agent: field!("agent"),
        environment: text("environment")?.clone(),
        observation_size: field!("observation_size"),
        action_low: field!("action_low"),
        action_high: field!("action_high"),
        config: settings(text("config")?).map_err(|error| wrong("config", error))?,
        hyper_parameters: field!("hyper_parameters"),
        environment_steps: field!("environment_steps"),
        updates: field!("updates"),
        halted: field!("halted"),
        counters: field!("counters"),
        tensors,
        path: path.map(Path::to_owned),
    })
}

/// Files from before there was `relative_actions` do not have it.
fn settings(text: &str) -> serde_json::Result<Config> {
    let mut settings: serde_json::Map<String, Value> = serde_json::from_str(text)?;
    settings.entry("relative_actions").or_insert(false.into());
    serde_json::from_value(settings.into())
}

#[cfg(test)]
mod tests {
    use super::super::verify::tests::whole;
    use super::*;

    #[test]
    fn what_was_written_before_there_were_relative_actions_has_none() {
        let relative = |text| settings(text).expect("settings").relative_actions;
        assert_eq!([r#"{"agents":2}"#, r#"{"relative_actions":true}"#].map(relative), [false, true]);
        assert!(Config::default().relative_actions, "of no effect where that is the default");
        let all = serde_json::to_string(&Config::default()).expect("JSON");
        assert_eq!(settings(&all).expect("settings"), Config::default());
        assert!(settings(r#"{"agnets":2}"#).is_err());
    }

    #[test]
    fn what_is_no_agent_is_refused_before_it_is_read() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("agent.safetensors");
        let refused = |path: &Path, says: &str| {
            let message = read(path).expect_err(says).to_string();
            assert!(message.contains(says) && message.contains(&path.display().to_string()), "{message}, not {says}");
        };
        refused(directory.path(), "not a regular file");
        let agent = to_bytes(&whole()).expect("bytes");
        let other = [&44_u64.to_le_bytes()[..], br#"{"__metadata__":{"format":"another's"}}     "#].concat();
        // elsewhere such a file might take all of its space
        #[cfg(unix)]
        {
            refused(Path::new("/dev/zero"), "not a regular file");
            let described = format!("its header describes {}", agent.len());
            let endless = u64::MAX.to_le_bytes();
            for (bytes, says) in
                [(&[][..], "not a whole"), (&agent, &described), (&other, "describes 52"), (&endless, "most 100000000 are")]
            {
                fs::write(&path, bytes).expect("written");
                // more than there is memory for
                fs::File::options().write(true).open(&path).and_then(|file| file.set_len(1 << 40)).expect("made longer");
                refused(&path, says);
            }
        }
        fs::write(&path, other).expect("written");
        refused(&path, "another program wrote it");
        fs::write(&path, agent).expect("written");
        assert!(read(&path).expect("an agent").path.as_ref() == Some(&path));
    }
}
