//! Every number a training run depends on, and the checks that refuse impossible ones.

use crate::error::{Error, Result};
use crate::hyper_parameters::HyperParameters;

/// Which deterministic policy gradient.
///
/// ```
/// use ddpg_wgpu::{Algorithm, Config, Preset};
/// assert_eq!(Config::preset(Preset::CopdacQ).algorithm, Algorithm::Compatible);
/// assert!(Algorithm::Ddpg.has_targets() && !Algorithm::OnPolicy.has_targets());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum Algorithm {
    /// Target networks for both actor and critic (Lillicrap et al. 2016, Algorithm 1).
    Ddpg,
    /// On-policy deterministic actor-critic: a Sarsa critic that bootstraps from the action taken next (Silver et al.
    /// 2014, equations 11–13).
    OnPolicy,
    /// Off-policy deterministic actor-critic, OPDAC: a Q-learning critic that bootstraps from μ(s') (Silver et al. 2014,
    /// equations 16–18).
    OffPolicy,
    /// COPDAC-Q: off-policy, with a critic that is linear in features compatible with the policy (Silver et al. 2014,
    /// equations 19–22). The critic's hidden layers are a fixed basis φ(s); only its last layer, v, learns.
    Compatible,
}

impl Algorithm {
    /// Whether target networks exist.
    pub fn has_targets(self) -> bool {
        self == Algorithm::Ddpg
    }
}

/// How a gradient becomes a step.
///
/// ```
/// use ddpg_wgpu::{Config, Optimizer, Preset};
/// assert_eq!(Config::default().optimizer, Optimizer::Adam);
/// assert_eq!(Config::preset(Preset::OnPolicy).optimizer, Optimizer::GradientDescent);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum Optimizer {
    /// Kingma & Ba 2015, Algorithm 1.
    Adam,
    /// θ ← θ − αg, as the algorithms of Silver et al. 2014 are written.
    GradientDescent,
}

/// Where a minibatch comes from.
///
/// ```
/// use ddpg_wgpu::{Config, Minibatch, Preset};
/// assert_eq!(Config::default().minibatch, Minibatch::Replay);
/// assert_eq!(Config::preset(Preset::OnPolicy).minibatch, Minibatch::Latest);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum Minibatch {
    /// Drawn uniformly from the replay ring.
    Replay,
    /// The last step of every environment, each used once: `environments` rows.
    Latest,
}

/// Where batch normalisation is applied (Ioffe & Szegedy 2015).
///
/// ```
/// use ddpg_wgpu::{BatchNorm, Config, Preset};
/// assert_eq!(Config::default().batch_norm, BatchNorm::None);
/// assert_eq!(Config::preset(Preset::Paper).batch_norm, BatchNorm::InputAndHidden);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum BatchNorm {
    /// Nowhere.
    None,
    /// Before the ReLU of every hidden layer of the actor, and of the critic's hidden layers before the action enters.
    Hidden,
    /// On the observation as well (Lillicrap et al. 2016, section 7).
    InputAndHidden,
}

/// Which mean and variance a network normalises with while it learns. Acting always uses the running statistics.
///
/// ```
/// use ddpg_wgpu::{Config, Preset, Statistics};
/// // with running statistics in the targets, batch norm does not learn Pendulum
/// assert_eq!(Config::preset(Preset::Paper).target_statistics, Statistics::Batch);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum Statistics {
    /// Those of the minibatch at hand.
    Batch,
    /// The running averages, through which no gradient flows.
    Running,
}

/// How the target networks follow the online networks.
///
/// ```
/// use ddpg_wgpu::{Config, TargetUpdate};
/// let mut config = Config::default();
/// assert_eq!(config.target_update, TargetUpdate::Soft);
/// // a copy every 200 updates instead
/// config.target_update = TargetUpdate::Hard(200);
/// config.validate()?;
/// # Ok::<(), ddpg_wgpu::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum TargetUpdate {
    /// θ' ← τθ + (1 − τ)θ' after every update.
    Soft,
    /// θ' ← θ after every `n`-th update.
    Hard(u32),
}

/// How the weights of the hidden layers start.
///
/// ```
/// use ddpg_wgpu::{Config, Initialization, Preset};
/// assert_eq!(Config::preset(Preset::Paper).hidden_initialization, Initialization::FanIn);
/// assert!(matches!(Config::preset(Preset::Seed).hidden_initialization, Initialization::TruncatedNormal(_)));
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum Initialization {
    /// Weights and biases uniform in ±1/√fan-in (Lillicrap et al. 2016, section 7).
    FanIn,
    /// Weights normal with this standard deviation, redrawn beyond two of them; biases zero (the seed program's layers).
    TruncatedNormal(f32),
}

/// The noise added to the actor's output while it collects experience.
///
/// ```
/// use ddpg_wgpu::{Config, Exploration};
/// let mut config = Config::default();
/// config.exploration = Exploration::OrnsteinUhlenbeck { sigma: 0.3, theta: 0.15, dt: 0.01, start: 0.0 };
/// // in units of the action, and never starting anew
/// (config.relative_noise, config.reset_noise) = (false, false);
/// config.validate()?;
/// # Ok::<(), ddpg_wgpu::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case", tag = "kind"))]
pub enum Exploration {
    /// None: the actor's own output.
    None,
    /// σ N(0, 1), independent at each step.
    Gaussian {
        /// Standard deviation.
        sigma: f32,
    },
    /// x ← x − θ x dt + σ √dt N(0, 1) (Uhlenbeck & Ornstein 1930).
    OrnsteinUhlenbeck {
        /// Standard deviation a square root of time.
        sigma: f32,
        /// Rate of return to zero.
        theta: f32,
        /// Time between two steps.
        dt: f32,
        /// Where the process starts, x₀.
        #[cfg_attr(feature = "serde", serde(default))]
        start: f32,
    },
    /// c/(1 + episode), the same at every step and always positive; `episode` counts the agent's finished episodes.
    DecayingOffset {
        /// Its size c in the first episode.
        initial: f32,
    },
    /// c/(1 + episode) N(0, 1), independent at each step: the zero-mean variant of the decaying offset.
    DecayingGaussian {
        /// Its standard deviation c in the first episode.
        initial: f32,
    },
}

/// What the exploration noise is multiplied by as training goes on.
///
/// ```
/// use ddpg_wgpu::NoiseSchedule;
/// let schedule = NoiseSchedule::Linear { last: 0.5, steps: 1000.0 };
/// assert_eq!([0.0, 500.0, 2000.0].map(|steps| schedule.reference(steps)), [1.0, 0.75, 0.5]);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case", tag = "kind"))]
pub enum NoiseSchedule {
    /// 1 throughout.
    #[default]
    Constant,
    /// From 1 in a straight line to `last`, which it keeps.
    Linear {
        /// The factor at the end.
        last: f32,
        /// Environment steps an agent until then.
        steps: f32,
    },
    /// 2^(−t/half_life) after t environment steps, but not below `least`.
    Exponential {
        /// The least factor.
        least: f32,
        /// Environment steps an agent until the factor has halved.
        half_life: f32,
    },
}

impl NoiseSchedule {
    /// The factor after `steps` environment steps of the agent, in float64: the reference of `noise_factor` in
    /// `shaders/exploration.wgsl`.
    pub fn reference(self, steps: f64) -> f64 {
        match self {
            NoiseSchedule::Constant => 1.0,
            NoiseSchedule::Linear { last, steps: span } => 1.0 + (f64::from(last) - 1.0) * (steps / f64::from(span)).min(1.0),
            NoiseSchedule::Exponential { least, half_life } => (-steps / f64::from(half_life)).exp2().max(f64::from(least)),
        }
    }
}

/// Everything a training run depends on, but for the environment's dynamics and the device.
///
/// Start from a preset and change what differs:
///
/// ```
/// use ddpg_wgpu::{Config, Preset};
/// let mut config = Config::preset(Preset::Modern);
/// config.agents = 10;
/// config.tau = 0.01;
/// config.validate()?;
/// # Ok::<(), ddpg_wgpu::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default, deny_unknown_fields))]
#[non_exhaustive]
pub struct Config {
    /// Agents that train side by side; agent `i` uses seed `seed + i`.
    pub agents: u32,
    /// Environments an agent, all stepped in one dispatch.
    pub environments: u32,
    /// Seed of the first agent.
    pub seed: u64,
    /// Which deterministic policy gradient.
    pub algorithm: Algorithm,
    /// How a gradient becomes a step.
    pub optimizer: Optimizer,
    /// Where a minibatch comes from.
    pub minibatch: Minibatch,
    /// Environment steps an agent, over all its environments.
    pub steps: u64,
    /// Widths of the actor's hidden layers.
    pub actor_hidden: Vec<u32>,
    /// Widths of the critic's hidden layers.
    pub critic_hidden: Vec<u32>,
    /// The critic's layer that the action enters at: 1 is the first hidden layer, 2 the second (seed and paper).
    pub action_layer: u32,
    /// The critic takes actions in half ranges from their centre, ±1 at the bounds (true), or in units of the action (false).
    pub relative_actions: bool,
    /// How hidden layers start.
    pub hidden_initialization: Initialization,
    /// Output layers start uniform in ± this.
    pub output_initialization: f32,
    /// COPDAC-Q's fixed basis: standard deviation of its weights, each divided by the observation's scale.
    pub basis_weights: f32,
    /// COPDAC-Q's fixed basis: its biases are uniform in ± this.
    pub basis_biases: f32,
    /// Where batch normalisation is applied.
    pub batch_norm: BatchNorm,
    /// Statistics of the online networks while they learn.
    pub online_statistics: Statistics,
    /// Statistics of the target networks.
    pub target_statistics: Statistics,
    /// Whether the running statistics follow the minibatch; `false` leaves them at mean 0 and variance 1.
    pub update_running_statistics: bool,
    /// Added to the variance.
    pub batch_norm_epsilon: f32,
    /// Share of the old running statistics kept at each update.
    pub batch_norm_decay: f32,
    /// Adam's step size for the actor.
    pub actor_learning_rate: f32,
    /// Adam's step size for the critic.
    pub critic_learning_rate: f32,
    /// Step size of COPDAC-Q's compatible parameters w; of no effect elsewhere.
    pub compatible_learning_rate: f32,
    /// Decay of Adam's first moment.
    pub adam_beta1: f64,
    /// Decay of Adam's second moment.
    pub adam_beta2: f64,
    /// Adam's ε, added after the bias-corrected root.
    pub adam_epsilon: f32,
    /// L2 penalty on the actor's weight matrices, added to their gradient.
    pub actor_weight_decay: f32,
    /// L2 penalty on the critic's weight matrices, added to their gradient.
    pub critic_weight_decay: f32,
    /// Discount factor γ.
    pub gamma: f32,
    /// Share of the online parameters in each soft update.
    pub tau: f32,
    /// How the targets follow.
    pub target_update: TargetUpdate,
    /// What the targets start from: 1 is a copy of the online networks, less blends them into a draw of their own.
    pub initial_blend: f32,
    /// Transitions a minibatch.
    pub batch_size: u32,
    /// Transitions the ring of an agent holds.
    pub replay_capacity: u32,
    /// Transitions in the ring before the first update.
    pub learning_starts: u32,
    /// Learn from fewer transitions than a batch while the ring holds no more.
    pub partial_batches: bool,
    /// Updates after each step of all of an agent's environments.
    pub updates_per_iteration: u32,
    /// Environment steps an agent, over all its environments, with uniformly random actions first.
    pub random_steps: u32,
    /// Exploration noise.
    pub exploration: Exploration,
    /// What the noise is multiplied by as training goes on.
    pub noise_schedule: NoiseSchedule,
    /// Noise counts in half action ranges (true) or in units of the action (false).
    pub relative_noise: bool,
    /// Ornstein–Uhlenbeck noise starts anew with each episode.
    pub reset_noise: bool,
    /// Store the action before it is clipped to its bounds.
    pub store_unclipped_actions: bool,
    /// Store the time limit as a terminal state.
    pub truncation_is_terminal: bool,
    /// Steps after which an episode is truncated; 0 takes the environment's own limit.
    pub maximum_episode_length: u32,
}

/// Hidden layers of a network.
const MOST_LAYERS: usize = 512;

/// Of what parameters are drawn from, so that none overflows.
const LARGEST_START: f32 = 1e18;

impl Config {
    /// Rollouts (steps of all environments) that `steps` amounts to.
    pub fn iterations(&self) -> u64 {
        self.steps.div_ceil(u64::from(self.environments.max(1)))
    }

    /// Steps after which an episode in `environment` is truncated.
    pub fn time_limit(&self, environment: &crate::Environment) -> u32 {
        match self.maximum_episode_length {
            0 => environment.time_limit,
            limit => limit.min(environment.time_limit),
        }
    }

    /// Rows of a minibatch.
    pub fn minibatch_rows(&self) -> u32 {
        match self.minibatch {
            Minibatch::Replay => self.batch_size,
            Minibatch::Latest => self.environments,
        }
    }

    /// Transitions the ring must hold before an update is possible.
    pub(crate) fn transitions_needed(&self) -> u32 {
        match (self.minibatch, self.algorithm) {
            // the action taken next is known one step later
            (Minibatch::Latest, Algorithm::OnPolicy) => self.environments.saturating_mul(2),
            (Minibatch::Latest, _) => self.environments,
            (Minibatch::Replay, _) if self.partial_batches => 1,
            (Minibatch::Replay, _) => self.batch_size,
        }
    }

    fn validate_algorithm(&self) -> Result<()> {
        check(self.algorithm.has_targets() || self.batch_norm == BatchNorm::None, || {
            format!(
                "batch_norm is {:?}, but the algorithms of Silver et al. 2014 have none: use batch_norm none or algorithm ddpg",
                self.batch_norm
            )
        })?;
        check(self.algorithm != Algorithm::OnPolicy || self.minibatch == Minibatch::Latest, || {
            "the on-policy algorithm learns from the latest step only: use minibatch latest, or algorithm off-policy with replay".into()
        })?;
        let two_steps = 2 * u64::from(self.environments);
        check(self.minibatch == Minibatch::Replay || u64::from(self.replay_capacity) >= two_steps, || {
            format!(
                "replay_capacity ({}) is less than two steps of all environments ({two_steps}), which minibatch latest needs",
                self.replay_capacity
            )
        })?;
        check(self.minibatch == Minibatch::Replay || self.updates_per_iteration == 1, || {
            format!(
                "updates_per_iteration is {}, but the latest step can be used once only: use 1, or minibatch replay",
                self.updates_per_iteration
            )
        })
    }

    /// Refuses what cannot work, whatever the device.
    ///
    /// # Errors
    /// [`Error::Config`] naming the setting, its value and what would be right.
    pub fn validate(&self) -> Result<()> {
        let positive = [
            ("agents", self.agents),
            ("environments", self.environments),
            ("batch_size", self.batch_size),
            ("replay_capacity", self.replay_capacity),
            ("updates_per_iteration", self.updates_per_iteration),
        ];
        for (name, value) in positive {
            check(value > 0, || format!("{name} is 0; it must be at least 1"))?;
        }
        check(self.agents <= 65_535, || format!("agents ({}) exceeds 65535, the most workgroups a dispatch can have", self.agents))?;
        for (name, widths) in [("actor_hidden", &self.actor_hidden), ("critic_hidden", &self.critic_hidden)] {
            let most = MOST_LAYERS;
            check(widths.len() <= most, || format!("{name} has {} layers; at most {most} are supported", widths.len()))?;
            check(!widths.is_empty(), || format!("{name} is empty; a network needs at least one hidden layer, such as [64, 64]"))?;
            for (layer, &width) in widths.iter().enumerate() {
                check(width > 0, || format!("{name}: layer {} has width 0; every layer needs at least one unit", layer + 1))?;
                check(width <= 65_536, || format!("{name}: layer {} has width {width}; at most 65536 is supported", layer + 1))?;
            }
        }
        // an iteration is recorded as a whole
        check(self.updates_per_iteration <= 10_000, || {
            format!("updates_per_iteration is {}; at most 10000 is supported: take more steps", self.updates_per_iteration)
        })?;
        self.validate_algorithm()?;
        let layers = self.critic_hidden.len() as u32;
        check((1..=layers).contains(&self.action_layer), || {
            format!("action_layer is {}, but the critic has {layers} hidden layers: choose from 1 to {layers}", self.action_layer)
        })?;
        check(self.minibatch == Minibatch::Latest || self.batch_size <= self.replay_capacity, || {
            format!("batch_size ({}) exceeds replay_capacity ({})", self.batch_size, self.replay_capacity)
        })?;
        check(self.environments <= self.replay_capacity, || {
            format!(
                "environments ({}) exceeds replay_capacity ({}): one step would overwrite itself",
                self.environments, self.replay_capacity
            )
        })?;
        check(self.learning_starts <= self.replay_capacity, || {
            format!(
                "learning_starts ({}) exceeds replay_capacity ({}): learning would never start",
                self.learning_starts, self.replay_capacity
            )
        })?;
        let unit = [("initial_blend", self.initial_blend), ("batch_norm_decay", self.batch_norm_decay)];
        unit.into_iter().try_for_each(|(name, value)| within_unit(name, value))?;
        let not_negative = [
            ("output_initialization", self.output_initialization),
            ("basis_weights", self.basis_weights),
            ("basis_biases", self.basis_biases),
        ];
        for (name, value) in not_negative {
            not_below_zero(name, value)?;
            check(value <= LARGEST_START, || format!("{name} is {value}; at most {LARGEST_START:e} is supported"))?;
        }
        above_zero("batch_norm_epsilon", self.batch_norm_epsilon)?;
        // a row alone is its own mean, whatever it is
        let normalises = self.batch_norm != BatchNorm::None && self.online_statistics == Statistics::Batch;
        check(!normalises || self.minibatch_rows() > 1, || {
            "batch_size is 1, but batch norm takes the statistics of a minibatch, which needs 2 rows at least: use a larger batch_size, \
             or batch_norm none"
                .into()
        })?;
        if let Initialization::TruncatedNormal(deviation) = self.hidden_initialization {
            check(deviation > 0.0 && deviation <= LARGEST_START, || {
                format!("hidden_initialization has a standard deviation of {deviation}; it must be above 0, at most {LARGEST_START:e}")
            })?;
        }
        HyperParameters::of_agent(self, 0).validate()
    }
}

pub(crate) fn check(holds: bool, message: impl FnOnce() -> String) -> Result<()> {
    if holds { Ok(()) } else { Err(Error::config(message())) }
}

pub(crate) fn within_unit(name: &str, value: f32) -> Result<()> {
    check((0.0..=1.0).contains(&value), || format!("{name} is {value}; it must lie in 0 to 1"))
}

pub(crate) fn not_below_zero(name: &str, value: f32) -> Result<()> {
    check(value >= 0.0 && value.is_finite(), || format!("{name} is {value}; it must be finite and not negative"))
}

/// Refuses numbers from outside that no network or environment can do anything with.
pub(crate) fn all_finite(what: &str, numbers: &[f32]) -> Result<()> {
    let odd = numbers.iter().position(|number| !number.is_finite());
    odd.map_or(Ok(()), |index| Err(Error::config(format!("{what} {index} is {}; every one must be finite", numbers[index]))))
}

pub(crate) fn above_zero(name: &str, value: f32) -> Result<()> {
    check(value > 0.0 && value.is_finite(), || format!("{name} is {value}; it must be finite and above 0"))
}
