//! What a user may set: one list of names for the command line and for TOML files.

use crate::numbers::{whole, whole_in};
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use ddpg_wgpu::{Algorithm, BatchNorm, Minibatch, Optimizer, Preset, Statistics};
use serde::de::{DeserializeOwned, IntoDeserializer, value::Error as NameError};
use serde::{Deserialize, Serialize};

const RUN: &str = "Run";
const NETWORKS: &str = "Networks";
const LEARNING: &str = "Learning";
const REPLAY: &str = "Replay";
const EXPLORATION: &str = "Exploration";
const EVALUATION: &str = "Evaluation and files";
const WATCHING: &str = "Watching";

/// Parses one of `names` into the library's own type, by the name it has in files.
fn named<T: DeserializeOwned + Clone + Send + Sync + 'static>(names: &'static [&'static str]) -> impl TypedValueParser<Value = T> {
    PossibleValuesParser::new(names).try_map(|name| T::deserialize(name.as_str().into_deserializer()).map_err(|error: NameError| error))
}

/// Kinds of exploration noise, without their numbers.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NoiseKind {
    None,
    Gaussian,
    OrnsteinUhlenbeck,
    DecayingOffset,
    DecayingGaussian,
}

/// Kinds of noise schedule, without their numbers.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScheduleKind {
    Constant,
    Linear,
    Exponential,
}

/// Kinds of initialization, without their numbers.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InitializationKind {
    FanIn,
    TruncatedNormal,
}

const NOISES: &[&str] = &["none", "gaussian", "ornstein-uhlenbeck", "decaying-offset", "decaying-gaussian"];

/// Every setting, each of which may be left open. A TOML file has the same names with `_` for `-`.
#[derive(Debug, Clone, Default, PartialEq, Args, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Named set of defaults that everything else changes
    #[arg(long, value_name = "NAME", value_parser = named::<Preset>(&["modern", "paper", "seed", "on-policy", "off-policy", "copdac-q"]), help_heading = RUN)]
    pub preset: Option<Preset>,
    /// Environment to learn: Pendulum-v1, Pendulum-v0, MountainCarContinuous-v0, CartPoleSwingUp-v0, Reacher-v0 or Navigator-v0
    #[arg(long, value_name = "NAME", help_heading = RUN)]
    pub env: Option<String>,
    /// Agents that train side by side; agent i uses seed + i
    #[arg(long, value_name = "N", value_parser = whole::<u32>, help_heading = RUN)]
    pub agents: Option<u32>,
    /// Environments an agent, stepped together
    #[arg(long, value_name = "N", alias = "environments", value_parser = whole::<u32>, help_heading = RUN)]
    #[serde(alias = "environments")]
    pub envs: Option<u32>,
    /// Seed of the first agent
    #[arg(long, value_name = "N", visible_alias = "random-seed", value_parser = whole_in::<u64>(0..=i64::MAX as u64), help_heading = RUN)]
    #[serde(alias = "random_seed")]
    pub seed: Option<u64>,
    /// Environment steps an agent, over all its environments
    #[arg(long, value_name = "STEPS", value_parser = whole::<u64>, help_heading = RUN)]
    pub steps: Option<u64>,
    /// Episodes an agent after which training ends, where --steps does not end it sooner; 0: no limit. Alone, it sets
    /// --steps to as many as they can take
    #[arg(long, value_name = "N", value_parser = whole::<u64>, help_heading = RUN)]
    pub max_episodes: Option<u64>,
    /// Steps after which an episode is cut off, if not by the environment's own limit sooner; 0: only by that
    #[arg(long, value_name = "STEPS", visible_alias = "max-episode-len", value_parser = whole::<u32>, help_heading = RUN)]
    #[serde(alias = "max_episode_len")]
    pub maximum_episode_length: Option<u32>,

    /// Which deterministic policy gradient: DDPG, or one of Silver et al. 2014
    #[arg(long, value_name = "NAME", value_parser = named::<Algorithm>(&["ddpg", "on-policy", "off-policy", "compatible"]), help_heading = LEARNING)]
    pub algorithm: Option<Algorithm>,
    /// How a gradient becomes a step
    #[arg(long, value_name = "NAME", value_parser = named::<Optimizer>(&["adam", "gradient-descent"]), help_heading = LEARNING)]
    pub optimizer: Option<Optimizer>,
    /// Where a minibatch comes from: the replay ring, or the latest step of every environment
    #[arg(long, value_name = "NAME", value_parser = named::<Minibatch>(&["replay", "latest"]), help_heading = LEARNING)]
    pub minibatch: Option<Minibatch>,

    /// Widths of the actor's hidden layers
    #[arg(long, value_name = "UNITS,…", value_delimiter = ',', action = clap::ArgAction::Set, value_parser = whole::<u32>, help_heading = NETWORKS)]
    pub actor_hidden: Option<Vec<u32>>,
    /// Widths of the critic's hidden layers
    #[arg(long, value_name = "UNITS,…", value_delimiter = ',', action = clap::ArgAction::Set, value_parser = whole::<u32>, help_heading = NETWORKS)]
    pub critic_hidden: Option<Vec<u32>>,
    /// The critic's layer that the action enters at; 1 is the first hidden layer
    #[arg(long, value_name = "LAYER", value_parser = whole::<u32>, help_heading = NETWORKS)]
    pub action_layer: Option<u32>,
    /// The critic takes actions in half ranges from their centre (true) or in units of the action (false)
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true, help_heading = NETWORKS)]
    pub relative_actions: Option<bool>,
    /// How hidden layers start: uniform in ±1/√fan-in, or normal
    #[arg(long, value_name = "KIND", value_parser = named::<InitializationKind>(&["fan-in", "truncated-normal"]), help_heading = NETWORKS)]
    pub hidden_initialization: Option<InitializationKind>,
    /// Standard deviation of truncated-normal hidden layers
    #[arg(long, value_name = "NUMBER", help_heading = NETWORKS)]
    pub hidden_deviation: Option<f32>,
    /// Output layers start uniform in ± this
    #[arg(long, value_name = "NUMBER", help_heading = NETWORKS)]
    pub output_initialization: Option<f32>,
    /// Standard deviation of the weights of COPDAC-Q's fixed basis, each divided by the observation's scale
    #[arg(long, value_name = "NUMBER", help_heading = NETWORKS)]
    pub basis_weights: Option<f32>,
    /// Biases of COPDAC-Q's fixed basis are uniform in ± this
    #[arg(long, value_name = "NUMBER", help_heading = NETWORKS)]
    pub basis_biases: Option<f32>,
    /// Where batch normalisation is applied
    #[arg(long, value_name = "WHERE", value_parser = named::<BatchNorm>(&["none", "hidden", "input-and-hidden"]), help_heading = NETWORKS)]
    pub batch_norm: Option<BatchNorm>,
    /// Statistics the online networks normalise with while they learn
    #[arg(long, value_name = "KIND", value_parser = named::<Statistics>(&["batch", "running"]), help_heading = NETWORKS)]
    pub online_statistics: Option<Statistics>,
    /// Statistics the target networks normalise with
    #[arg(long, value_name = "KIND", value_parser = named::<Statistics>(&["batch", "running"]), help_heading = NETWORKS)]
    pub target_statistics: Option<Statistics>,
    /// Whether the running statistics follow the minibatch
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true, help_heading = NETWORKS)]
    pub update_running_statistics: Option<bool>,
    /// Added to the variance in batch normalisation
    #[arg(long, value_name = "NUMBER", help_heading = NETWORKS)]
    pub batch_norm_epsilon: Option<f32>,
    /// Share of the old running statistics kept at each update
    #[arg(long, value_name = "0–1", help_heading = NETWORKS)]
    pub batch_norm_decay: Option<f32>,

    /// Adam's step size for the actor
    #[arg(long, value_name = "NUMBER", visible_alias = "actor-lr", help_heading = LEARNING)]
    #[serde(alias = "actor_lr")]
    pub actor_learning_rate: Option<f32>,
    /// Adam's step size for the critic
    #[arg(long, value_name = "NUMBER", visible_alias = "critic-lr", help_heading = LEARNING)]
    #[serde(alias = "critic_lr")]
    pub critic_learning_rate: Option<f32>,
    /// Step size of COPDAC-Q's compatible parameters w
    #[arg(long, value_name = "RATE", help_heading = LEARNING)]
    pub compatible_learning_rate: Option<f32>,
    /// Decay of Adam's first moment
    #[arg(long, value_name = "0–1", help_heading = LEARNING)]
    pub adam_beta1: Option<f64>,
    /// Decay of Adam's second moment
    #[arg(long, value_name = "0–1", help_heading = LEARNING)]
    pub adam_beta2: Option<f64>,
    /// Adam's ε, added after the bias-corrected root
    #[arg(long, value_name = "NUMBER", help_heading = LEARNING)]
    pub adam_epsilon: Option<f32>,
    /// L2 penalty on the actor's weights
    #[arg(long, value_name = "NUMBER", help_heading = LEARNING)]
    pub actor_weight_decay: Option<f32>,
    /// L2 penalty on the critic's weights
    #[arg(long, value_name = "NUMBER", help_heading = LEARNING)]
    pub critic_weight_decay: Option<f32>,
    /// Discount factor γ
    #[arg(long, value_name = "0–1", help_heading = LEARNING)]
    pub gamma: Option<f32>,
    /// Share of the online parameters in each soft update of the targets
    #[arg(long, value_name = "0–1", help_heading = LEARNING)]
    pub tau: Option<f32>,
    /// Copy the online networks into the targets every N updates instead of blending; 0 blends
    #[arg(long, value_name = "N", value_parser = whole::<u32>, help_heading = LEARNING)]
    pub hard_update_every: Option<u32>,
    /// What the targets start from: 1 copies the online networks, less blends them into a draw of their own
    #[arg(long, value_name = "0–1", help_heading = LEARNING)]
    pub initial_blend: Option<f32>,
    /// Updates after each step of all of an agent's environments
    #[arg(long, value_name = "N", value_parser = whole::<u32>, help_heading = LEARNING)]
    pub updates_per_iteration: Option<u32>,

    /// Transitions a minibatch
    #[arg(long, value_name = "N", visible_alias = "minibatch-size", value_parser = whole::<u32>, help_heading = REPLAY)]
    #[serde(alias = "minibatch_size")]
    pub batch_size: Option<u32>,
    /// Transitions an agent's replay ring holds
    #[arg(long, value_name = "N", visible_alias = "buffer-size", value_parser = whole::<u32>, help_heading = REPLAY)]
    #[serde(alias = "buffer_size")]
    pub replay_capacity: Option<u32>,
    /// Transitions in the ring before the first update
    #[arg(long, value_name = "N", value_parser = whole::<u32>, help_heading = REPLAY)]
    pub learning_starts: Option<u32>,
    /// Learn from fewer transitions than a batch while the ring holds no more
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true, help_heading = REPLAY)]
    pub partial_batches: Option<bool>,
    /// Store the action before it is clipped to its bounds
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true, help_heading = REPLAY)]
    pub store_unclipped_actions: Option<bool>,
    /// Store the time limit as a terminal state
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true, help_heading = REPLAY)]
    pub truncation_is_terminal: Option<bool>,

    /// Environment steps with uniformly random actions first
    #[arg(long, value_name = "STEPS", value_parser = whole::<u32>, help_heading = EXPLORATION)]
    pub random_steps: Option<u32>,
    /// Noise added to the actor's output
    #[arg(long, value_name = "KIND", value_parser = named::<NoiseKind>(NOISES), help_heading = EXPLORATION)]
    pub exploration: Option<NoiseKind>,
    /// Standard deviation of the noise (Ornstein–Uhlenbeck: per square root of time)
    #[arg(long, value_name = "NUMBER", help_heading = EXPLORATION)]
    pub noise_sigma: Option<f32>,
    /// Ornstein–Uhlenbeck noise: rate of return to zero
    #[arg(long, value_name = "NUMBER", help_heading = EXPLORATION)]
    pub noise_theta: Option<f32>,
    /// Ornstein–Uhlenbeck noise: time between two steps
    #[arg(long, value_name = "NUMBER", help_heading = EXPLORATION)]
    pub noise_dt: Option<f32>,
    /// Ornstein–Uhlenbeck noise: where it starts, x0
    #[arg(long, value_name = "NUMBER", help_heading = EXPLORATION)]
    pub noise_start: Option<f32>,
    /// Decaying noise: its size c in c/(1 + episode)
    #[arg(long, value_name = "NUMBER", help_heading = EXPLORATION)]
    pub noise_initial: Option<f32>,
    /// What the noise is multiplied by as training goes on
    #[arg(long, value_name = "KIND", value_parser = named::<ScheduleKind>(&["constant", "linear", "exponential"]), help_heading = EXPLORATION)]
    pub noise_schedule: Option<ScheduleKind>,
    /// The factor that a linear schedule ends at, or that an exponential one does not fall below
    #[arg(long, value_name = "NUMBER", help_heading = EXPLORATION)]
    pub noise_final: Option<f32>,
    /// Environment steps an agent to the end of a linear schedule, or in which an exponential one halves
    #[arg(long, value_name = "STEPS", help_heading = EXPLORATION)]
    pub noise_span: Option<f32>,
    /// Noise counts in half action ranges (true) or in units of the action (false)
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true, help_heading = EXPLORATION)]
    pub relative_noise: Option<bool>,
    /// Ornstein–Uhlenbeck noise starts anew with each episode
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true, help_heading = EXPLORATION)]
    pub reset_noise: Option<bool>,

    /// Environment steps between two evaluations, each of which saves the agents, and in best/ those that it finds better than
    /// ever; 0: only at the end
    #[arg(long, value_name = "STEPS", value_parser = whole::<u64>, help_heading = EVALUATION)]
    pub eval_every: Option<u64>,
    /// Episodes of each evaluation while training
    #[arg(long, value_name = "N", value_parser = whole::<u32>, help_heading = EVALUATION)]
    pub eval_episodes: Option<u32>,
    /// Seed of the starting states of all evaluations
    #[arg(long, value_name = "N", value_parser = whole::<u32>, help_heading = EVALUATION)]
    pub eval_seed: Option<u32>,
    /// Episodes of the evaluation at the end
    #[arg(long, value_name = "N", value_parser = whole::<u32>, help_heading = EVALUATION)]
    pub final_episodes: Option<u32>,
    /// Environment steps between two rows of metrics.csv
    #[arg(long, value_name = "STEPS", value_parser = whole::<u64>, help_heading = EVALUATION)]
    pub log_every: Option<u64>,
    /// Save the replay rings with the agents, so that a resumed run goes on exactly where it stopped
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true, help_heading = EVALUATION)]
    pub save_replay: Option<bool>,

    /// Print a line for each training episode: | Reward: … | Episode: … | Qmax: … |
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true, help_heading = WATCHING)]
    pub print_episodes: Option<bool>,
    /// Write event files for TensorBoard
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true, help_heading = WATCHING)]
    pub tensorboard: Option<bool>,
    /// Directory of the event files, with a sub-directory an agent [default: tensorboard in the run directory]
    #[arg(long, value_name = "DIR", help_heading = WATCHING)]
    pub summary_dir: Option<String>,
    /// Record the statistics of every training episode, and, of Pendulum, a video of the policy after episodes 0, 1, 8,
    /// 27, … 1000, 2000, …
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", help_heading = WATCHING)]
    pub use_gym_monitor: Option<bool>,
    /// Directory of what --use-gym-monitor records, with a sub-directory an agent [default: monitor in the run directory]
    #[arg(long, value_name = "DIR", help_heading = WATCHING)]
    pub monitor_dir: Option<String>,
    /// Keep a picture of agent 0 up to date while it trains: latest.gif in the run directory (Pendulum alone)
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", help_heading = WATCHING)]
    pub render_env: Option<bool>,
}

/// A setting's value as a flag would take it.
pub fn short(value: &toml::Value) -> String {
    match value {
        toml::Value::Array(values) => values.iter().map(short).collect::<Vec<_>>().join(","),
        toml::Value::String(text) => text.clone(),
        // the settings are float32: show as many digits as those have
        toml::Value::Float(number) => format!("{}", *number as f32),
        other => other.to_string(),
    }
}
