//! Trained agents as safetensors files: one file an agent, readable without this crate.
//!
//! A file holds float32 tensors, row-major and without padding. A layer computes `output = input × weight + bias`.
//!
//! | tensors | shape |
//! |---|---|
//! | `actor.layer1.weight`, `critic.output.weight` … | `[inputs, units]` |
//! | `critic.layer2.action_weight`, where the action enters | `[action_size, units]` |
//! | `actor.layer1.bias` … | `[units]` |
//! | `actor.norm1.scale`, `.shift`, `.running_mean`, `.running_variance` | `[units]` |
//! | `actor.input_norm.scale` … | `[observation_size]` |
//! | `target_actor.…`, `target_critic.…` | as of the online networks |
//! | `moments.first.actor.…`, `moments.second.critic.…` (Adam, Kingma & Ba 2015) | as of the parameter |
//! | `moments.bias_correction`: 1 − β₁ᵗ, 1 − β₂ᵗ | `[2]` |
//! | `environments.slots`: physics state, noise, episode return and length so far | `[environments, floats]` |
//! | `environments.observations`: what the actor sees next | `[environments, observation_size]` |
//! | `replay.transitions`, where asked for: s, a, r, terminated, s′ | `[transitions, floats]` |
//!
//! The metadata (strings; lists and objects as JSON) says how to use them: with `z` the output of the actor's last layer,
//! the action is `action_centre + action_scale · tanh(z)`; the critic takes `(action − action_centre) / action_scale` where
//! `relative_actions` of `config` is true, else the action itself. It holds the whole configuration too, and every counter, so
//! that a run goes on from a file with its moments, environments and replay ring exactly as if it had never stopped.
//!
//! ```no_run
//! use ddpg_wgpu::checkpoint::{Contents, Snapshot};
//! use ddpg_wgpu::{Config, Environment, Gpu, Trainer};
//! let gpu = Gpu::open_blocking(None)?;
//! let mut trainer = Trainer::new(&gpu.device, &gpu.queue, &Environment::pendulum_v1(), &Config::default())?;
//! trainer.advance_blocking(1000)?;
//! Snapshot::save_all(&trainer.snapshot_blocking(Contents::TrainingAndReplay)?, "my-run")?;
//! // later, perhaps elsewhere
//! trainer.restore(&Snapshot::load_all("my-run")?)?;
//! # Ok::<(), ddpg_wgpu::Error>(())
//! ```

mod device;
mod file;
mod verify;

use crate::config::Config;
use crate::ddpg::Networks;
use crate::environment::Environment;
use crate::error::{Error, Result};
use crate::hyper_parameters::HyperParameters;
use crate::measure::Halted;
use crate::network::Tensor;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// How much of an agent a [`Snapshot`] holds.
///
/// ```
/// use ddpg_wgpu::checkpoint::Contents;
/// // each holds what those before it hold
/// assert!(Contents::Parameters < Contents::Training && Contents::Training < Contents::TrainingAndReplay);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Contents {
    /// The four networks: enough to evaluate or to use the agent.
    Parameters,
    /// And Adam's moments, the counters and the environments: enough to go on training with an empty replay ring.
    Training,
    /// And the replay ring: enough to go on as if nothing had happened.
    TrainingAndReplay,
}

impl std::fmt::Display for Contents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Contents::Parameters => "parameters alone",
            Contents::Training => "training without a replay ring",
            Contents::TrainingAndReplay => "training and a replay ring",
        })
    }
}

/// One agent at rest, on the host.
///
/// ```no_run
/// # let gpu = ddpg_wgpu::Gpu::open_blocking(None)?;
/// # let mut trainer = ddpg_wgpu::Trainer::new(&gpu.device, &gpu.queue, &ddpg_wgpu::Environment::pendulum_v1(), &Default::default())?;
/// use ddpg_wgpu::{Snapshot, checkpoint::Contents};
/// let snapshots = trainer.snapshot_blocking(Contents::TrainingAndReplay)?;
/// Snapshot::save_all(&snapshots, "checkpoint")?;
/// // in another process
/// trainer.restore(&Snapshot::load_all("checkpoint")?)?;
/// # Ok::<(), ddpg_wgpu::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Snapshot {
    /// The agent's number in its population.
    pub agent: u32,
    /// Name of the environment it learned in.
    pub environment: String,
    /// Floats of an observation.
    pub observation_size: u32,
    /// Lowest value of each action.
    pub action_low: Vec<f32>,
    /// Highest value of each action.
    pub action_high: Vec<f32>,
    /// The settings of its population.
    pub config: Config,
    /// Its own settings.
    pub hyper_parameters: HyperParameters,
    /// Environment steps it has taken, over all its environments.
    pub environment_steps: u64,
    /// Updates it has taken.
    pub updates: u32,
    /// Whether and why it has stopped learning; its parameters are finite, and those that [`Halted::update`] tells.
    pub halted: Option<Halted>,
    pub(crate) counters: Counters,
    pub(crate) tensors: BTreeMap<String, Values>,
    /// The file it was read from, for messages.
    pub(crate) path: Option<PathBuf>,
}

/// A tensor on the host: its shape, and its numbers row by row.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Values {
    pub shape: Vec<usize>,
    pub numbers: Vec<f32>,
}

/// What the device counts, as far as training needs it to go on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Counters {
    /// Steps of each environment.
    pub steps: u32,
    pub updates: u32,
    pub replay_head: u32,
    pub replay_length: u32,
    pub episodes: u32,
    pub episode_maximum_value: f32,
    #[serde(default)]
    pub episode_began: u32,
    /// The reason as the shaders number it; 0 while the agent learns.
    pub halted: u32,
    pub halted_at: u32,
}

impl Snapshot {
    /// The name of an agent's file in a run directory: `agent-0007.safetensors`.
    pub fn file_name(agent: u32) -> String {
        format!("agent-{agent:04}.safetensors")
    }

    /// A tensor by its name: its shape, and its numbers row by row. See the [module documentation](self) for the names.
    pub fn tensor(&self, name: &str) -> Option<(&[usize], &[f32])> {
        self.tensors.get(name).map(|values| (values.shape.as_slice(), values.numbers.as_slice()))
    }

    /// The names of all tensors it holds, in alphabetical order.
    pub fn tensor_names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// How much of the agent it holds.
    pub fn contents(&self) -> Contents {
        match (self.tensors.contains_key(REPLAY), self.tensors.contains_key(BIAS_CORRECTION)) {
            (true, true) => Contents::TrainingAndReplay,
            (false, true) => Contents::Training,
            _ => Contents::Parameters,
        }
    }

    /// Writes a safetensors file. It appears under its name only once it is whole, so that a write that is cut off leaves
    /// the file that was there before. The same snapshot gives the same bytes.
    ///
    /// # Errors
    /// [`Error::Io`] where it cannot be written, [`Error::Checkpoint`] where [`Snapshot::load`] would refuse it.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        self.verify()?;
        file::Pending::write(self, path.as_ref())?.commit()
    }

    /// Writes one file an agent into `directory`, as [`Snapshot::save`] does; none appears before all are written. A directory
    /// that is not there is made.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] where two are of the same agent or [`Snapshot::load`] would refuse one, [`Error::Io`] where one
    /// cannot be written.
    pub fn save_all(snapshots: &[Snapshot], directory: impl AsRef<Path>) -> Result<()> {
        let directory = directory.as_ref();
        let mut agents = BTreeSet::new();
        if let Some(Snapshot { agent, .. }) = snapshots.iter().find(|snapshot| !agents.insert(snapshot.agent)) {
            return Err(Error::Checkpoint(format!("two snapshots are of agent {agent}; number them with `snapshot.agent`")));
        }
        snapshots.iter().try_for_each(Self::verify)?;
        std::fs::create_dir_all(directory).map_err(|source| Error::Io { path: directory.to_owned(), source })?;
        let write = |snapshot: &Snapshot| file::Pending::write(snapshot, &directory.join(Self::file_name(snapshot.agent)));
        let pending = snapshots.iter().map(write).collect::<Result<Vec<_>>>()?;
        pending.into_iter().try_for_each(file::Pending::commit)
    }

    /// Reads a file that [`Snapshot::save`] wrote, and checks that every tensor its configuration asks for is there, in its
    /// shape, in float32 and finite, and that its settings and counters are such as a population can have.
    ///
    /// # Errors
    /// [`Error::Io`] where it cannot be read, [`Error::Checkpoint`] naming the file and what is wrong in it.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        file::read(path.as_ref())?.checked()
    }

    /// The bytes of a safetensors file, for those who keep it elsewhere than in files. The same snapshot gives the same bytes.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] for a snapshot that [`Snapshot::from_bytes`] would refuse.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        self.verify()?;
        file::to_bytes(self).map_err(|reason| self.error(reason))
    }

    /// Of bytes that [`Snapshot::to_bytes`] or [`Snapshot::save`] made, such as a trained agent that is a part of a program,
    /// checked as by [`Snapshot::load`].
    ///
    /// ```no_run
    /// # let gpu = ddpg_wgpu::Gpu::open_blocking(None)?;
    /// use ddpg_wgpu::{Policy, Snapshot};
    /// let bytes = std::fs::read("agent-0000.safetensors").unwrap(); // or include_bytes!, or what a page has fetched
    /// let policy = Policy::from_snapshot(&gpu.device, &gpu.queue, &Snapshot::from_bytes(&bytes)?)?;
    /// # Ok::<(), ddpg_wgpu::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Checkpoint`] saying what is wrong.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        file::parse(bytes, None).map_err(Error::Checkpoint)?.checked()
    }

    fn checked(self) -> Result<Self> {
        self.verify()?;
        Ok(self)
    }

    /// Reads `agent-0000.safetensors` and those that follow it.
    ///
    /// # Errors
    /// As [`Snapshot::load`]; [`Error::Checkpoint`] where there is none, and where one is missing that others follow.
    pub fn load_all(directory: impl AsRef<Path>) -> Result<Vec<Self>> {
        let directory = directory.as_ref();
        let paths = (0..).map(|agent| directory.join(Self::file_name(agent)));
        // what is listed is there, such as a link that leads nowhere, whether it can be read or not
        let is_listed = |path: &PathBuf| !path.symlink_metadata().is_err_and(|error| error.kind() == ErrorKind::NotFound);
        let snapshots = paths.take_while(is_listed).map(Self::load).collect::<Result<Vec<_>>>()?;
        if snapshots.is_empty() {
            let first = Self::file_name(0);
            return Err(Error::Checkpoint(format!("{}: there is no {first} in this directory", directory.display())));
        }
        let missing = snapshots.len() as u32;
        if let Some(beyond) = agents_in(directory).filter(|&agent| agent > missing).min() {
            let [missing, beyond] = [missing, beyond].map(Self::file_name);
            let shown = directory.display();
            return Err(Error::Checkpoint(format!(
                "{shown}: {missing} is missing, but {beyond} is there: bring back the one, or remove the other"
            )));
        }
        for (expected, snapshot) in snapshots.iter().enumerate() {
            if snapshot.agent as usize != expected {
                return Err(snapshot.error(format!("it holds agent {}, not agent {expected}", snapshot.agent)));
            }
        }
        Ok(snapshots)
    }

    /// An environment of the same sizes, to lay out the networks with.
    pub(crate) fn stand_in(&self) -> Result<Environment> {
        let (low, high) = (self.action_low.clone(), self.action_high.clone());
        Environment::new(self.environment.clone(), "", 1, self.observation_size, low, high, 1).map_err(|error| self.error(error))
    }

    /// Every tensor that networks of this layout need, in its shape and finite.
    pub(crate) fn check(&self, networks: &Networks) -> Result<()> {
        let contents = self.contents();
        let places = parameter_tensors(networks);
        let moments = if contents >= Contents::Training { moment_tensors(networks, 0) } else { vec![] };
        for Tensor { name, .. } in places.iter().chain(&moments) {
            if !self.tensors.contains_key(name) {
                return Err(self.error(format!("tensor {name} is missing")));
            }
        }
        for tensor in places.iter().chain(&moments) {
            self.check_shape(&tensor.name, &tensor.shape())?;
            self.verify_numbers(&tensor.name, "be finite", |_, number| number.is_finite())?;
        }
        if contents >= Contents::Training {
            self.check_shape(BIAS_CORRECTION, &[2])?;
        }
        Ok(())
    }

    fn check_shape(&self, name: &str, expected: &[usize]) -> Result<()> {
        match self.tensors.get(name) {
            None => Err(self.error(format!("tensor {name} is missing"))),
            Some(values) if values.shape != expected => {
                Err(self.error(format!("tensor {name} has shape {:?}, but {expected:?} is needed", values.shape)))
            }
            Some(values) if values.numbers.len() != expected.iter().product::<usize>() => {
                Err(self.error(format!("tensor {name} of shape {expected:?} has {} numbers", values.numbers.len())))
            }
            Some(_) => Ok(()),
        }
    }

    fn error(&self, message: impl std::fmt::Display) -> Error {
        match &self.path {
            Some(path) => Error::Checkpoint(format!("{}: {message}", path.display())),
            None => Error::Checkpoint(format!("agent {}: {message}", self.agent)),
        }
    }
}

/// The numbers of the agents that have a file in `directory`.
fn agents_in(directory: &Path) -> impl Iterator<Item = u32> {
    let names = std::fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.file_name());
    names.filter_map(|name| name.to_str()?.strip_prefix("agent-")?.strip_suffix(".safetensors")?.parse().ok())
}

const BIAS_CORRECTION: &str = "moments.bias_correction";
const SLOTS: &str = "environments.slots";
const OBSERVATIONS: &str = "environments.observations";
const REPLAY: &str = "replay.transitions";

/// The parameters of all four networks, with their places in an agent's parameters.
pub(crate) fn parameter_tensors(networks: &Networks) -> Vec<Tensor> {
    let Networks { actor, critic, length, .. } = networks;
    let four = [("actor", actor, 0), ("critic", critic, 0), ("target_actor", actor, *length), ("target_critic", critic, *length)];
    let within = |(name, network, offset): (&str, &crate::network::Network, u32)| {
        let place = |tensor: Tensor| Tensor { name: format!("{name}.{}", tensor.name), offset: tensor.offset + offset, ..tensor };
        network.tensors().into_iter().map(place).collect::<Vec<_>>()
    };
    four.into_iter().flat_map(within).collect()
}

/// Adam's moments of everything that is trained, with their places in an agent's moments.
fn moment_tensors(networks: &Networks, second_moment_offset: u32) -> Vec<Tensor> {
    let trained = |tensor: &Tensor| tensor.offset < networks.length && !tensor.name.contains(".running_");
    let online: Vec<_> = parameter_tensors(networks).into_iter().filter(trained).collect();
    [("first", 0), ("second", second_moment_offset)]
        .into_iter()
        .flat_map(|(which, offset)| {
            let place = move |tensor: &Tensor| Tensor {
                name: format!("moments.{which}.{}", tensor.name),
                offset: tensor.offset + offset,
                ..tensor.clone()
            };
            online.iter().map(place).collect::<Vec<_>>()
        })
        .collect()
}

impl Snapshot {
    /// The online half of the agent's parameters as it lies on a device, and what it is laid out for.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] where it does not hold what it should.
    pub(crate) fn online_parameters(&self) -> Result<(Environment, Networks, Vec<f32>)> {
        self.config.validate().map_err(|error| self.error(error))?;
        let environment = self.stand_in()?;
        let networks = Networks::new(&self.config, &environment);
        self.check(&networks)?;
        let mut parameters = vec![0.0; 4 * networks.length as usize];
        for tensor in parameter_tensors(&networks).iter().filter(|tensor| tensor.offset < networks.length) {
            tensor.scatter(&self.tensors[&tensor.name].numbers, &mut parameters);
        }
        networks.write_bounds(&environment, &mut parameters);
        Ok((environment, networks, parameters))
    }
}
