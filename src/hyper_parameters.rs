//! What may differ from agent to agent of one population.

use crate::config::{Config, Exploration, NoiseSchedule, TargetUpdate, above_zero, check, not_below_zero, within_unit};
use crate::error::Result;
use bytemuck::{Pod, Zeroable};

/// One agent's own settings. A population of `n` agents has `n` of these; sizes of networks, batches and buffers are
/// shared.
///
/// ```
/// use ddpg_wgpu::{Config, HyperParameters};
/// let mut config = Config::default();
/// config.agents = 3;
/// // a learning rate of its own for each agent; seeds differ anyway
/// let mut hyper_parameters = HyperParameters::of_population(&config);
/// for (settings, rate) in hyper_parameters.iter_mut().zip([1e-4, 1e-3, 1e-2]) {
///     settings.actor_learning_rate = rate;
/// }
/// assert_eq!(hyper_parameters[2].seed, config.seed + 2);
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct HyperParameters {
    /// Seed of the agent's initial parameters, noise, minibatches and environments.
    pub seed: u64,
    /// Discount factor γ.
    pub gamma: f32,
    /// Share of the online parameters in each soft update.
    pub tau: f32,
    /// Adam's step size for the actor.
    pub actor_learning_rate: f32,
    /// Adam's step size for the critic.
    pub critic_learning_rate: f32,
    /// Step size of COPDAC-Q's compatible parameters.
    pub compatible_learning_rate: f32,
    /// L2 penalty on the actor's weight matrices.
    pub actor_weight_decay: f32,
    /// L2 penalty on the critic's weight matrices.
    pub critic_weight_decay: f32,
    /// Decay of Adam's first moment.
    pub adam_beta1: f64,
    /// Decay of Adam's second moment.
    pub adam_beta2: f64,
    /// Adam's ε, added after the bias-corrected root.
    pub adam_epsilon: f32,
    /// How the targets follow.
    pub target_update: TargetUpdate,
    /// Exploration noise.
    pub exploration: Exploration,
    /// What the noise is multiplied by as training goes on.
    #[cfg_attr(feature = "serde", serde(default))]
    pub noise_schedule: NoiseSchedule,
    /// Noise counts in half action ranges (true) or in units of the action (false).
    pub relative_noise: bool,
}

impl HyperParameters {
    /// The settings of agent `agent` as `config` gives them: all alike, but for the seed.
    pub fn of_agent(config: &Config, agent: u32) -> Self {
        Self {
            seed: config.seed.wrapping_add(u64::from(agent)),
            gamma: config.gamma,
            tau: config.tau,
            actor_learning_rate: config.actor_learning_rate,
            critic_learning_rate: config.critic_learning_rate,
            compatible_learning_rate: config.compatible_learning_rate,
            actor_weight_decay: config.actor_weight_decay,
            critic_weight_decay: config.critic_weight_decay,
            adam_beta1: config.adam_beta1,
            adam_beta2: config.adam_beta2,
            adam_epsilon: config.adam_epsilon,
            target_update: config.target_update,
            exploration: config.exploration,
            noise_schedule: config.noise_schedule,
            relative_noise: config.relative_noise,
        }
    }

    /// The settings of every agent of `config`, in order.
    pub fn of_population(config: &Config) -> Vec<Self> {
        (0..config.agents).map(|agent| Self::of_agent(config, agent)).collect()
    }

    /// Refuses what cannot work.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) naming the setting, its value and what would be right.
    pub fn validate(&self) -> Result<()> {
        within_unit("gamma", self.gamma)?;
        within_unit("tau", self.tau)?;
        let not_negative = [
            ("actor_learning_rate", self.actor_learning_rate),
            ("critic_learning_rate", self.critic_learning_rate),
            ("compatible_learning_rate", self.compatible_learning_rate),
            ("actor_weight_decay", self.actor_weight_decay),
            ("critic_weight_decay", self.critic_weight_decay),
        ];
        not_negative.into_iter().try_for_each(|(name, value)| not_below_zero(name, value))?;
        above_zero("adam_epsilon", self.adam_epsilon)?;
        for (name, value) in [("adam_beta1", self.adam_beta1), ("adam_beta2", self.adam_beta2)] {
            check((0.0..1.0).contains(&value), || format!("{name} is {value}; it must lie in 0 to 1, 1 excluded"))?;
        }
        if let TargetUpdate::Hard(every) = self.target_update {
            check(every > 0, || "target_update is every 0 updates; it must be at least every 1".into())?;
        }
        self.validate_noise()
    }

    fn validate_noise(&self) -> Result<()> {
        let noise = match self.exploration {
            Exploration::None => vec![],
            Exploration::Gaussian { sigma } => vec![("exploration sigma", sigma)],
            Exploration::DecayingOffset { initial } | Exploration::DecayingGaussian { initial } => vec![("exploration initial", initial)],
            Exploration::OrnsteinUhlenbeck { sigma, theta, dt, start } => {
                check(start.is_finite(), || format!("exploration start is {start}; it must be finite"))?;
                vec![("exploration sigma", sigma), ("exploration theta", theta), ("exploration dt", dt)]
            }
        };
        noise.into_iter().try_for_each(|(name, value)| not_below_zero(name, value))?;
        let (factor, span) = match self.noise_schedule {
            NoiseSchedule::Constant => return Ok(()),
            NoiseSchedule::Linear { last, steps } => (("noise_schedule last", last), ("noise_schedule steps", steps)),
            NoiseSchedule::Exponential { least, half_life } => (("noise_schedule least", least), ("noise_schedule half_life", half_life)),
        };
        let ((name, factor), (span_name, span)) = (factor, span);
        not_below_zero(name, factor)?;
        above_zero(span_name, span)
    }

    pub(crate) fn raw(&self) -> RawHyperParameters {
        let (noise_kind, noise_sigma, ou_theta, ou_dt, ou_start) = match self.exploration {
            Exploration::None => (0, 0.0, 0.0, 0.0, 0.0),
            Exploration::Gaussian { sigma } => (1, sigma, 0.0, 0.0, 0.0),
            Exploration::OrnsteinUhlenbeck { sigma, theta, dt, start } => (2, sigma, theta, dt, start),
            Exploration::DecayingOffset { initial } => (3, initial, 0.0, 0.0, 0.0),
            Exploration::DecayingGaussian { initial } => (4, initial, 0.0, 0.0, 0.0),
        };
        let (noise_schedule, noise_final, noise_span) = match self.noise_schedule {
            NoiseSchedule::Constant => (0, 1.0, 1.0),
            NoiseSchedule::Linear { last, steps } => (1, last, steps),
            NoiseSchedule::Exponential { least, half_life } => (2, least, half_life),
        };
        RawHyperParameters {
            seed_low: self.seed as u32,
            seed_high: (self.seed >> 32) as u32,
            gamma: self.gamma,
            tau: self.tau,
            actor_learning_rate: self.actor_learning_rate,
            critic_learning_rate: self.critic_learning_rate,
            actor_weight_decay: self.actor_weight_decay,
            critic_weight_decay: self.critic_weight_decay,
            adam_beta1: self.adam_beta1 as f32,
            adam_beta2: self.adam_beta2 as f32,
            adam_one_minus_beta1: (1.0 - self.adam_beta1) as f32,
            adam_one_minus_beta2: (1.0 - self.adam_beta2) as f32,
            adam_epsilon: self.adam_epsilon,
            hard_update_every: match self.target_update {
                TargetUpdate::Soft => 0,
                TargetUpdate::Hard(every) => every,
            },
            noise_kind,
            noise_sigma,
            ou_theta,
            ou_dt,
            noise_is_relative: self.relative_noise.into(),
            compatible_learning_rate: self.compatible_learning_rate,
            ou_start,
            noise_schedule,
            noise_final,
            noise_span,
        }
    }
}

/// Twin of `struct HyperParameters` in `shaders/shared/bindings.wgsl`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Pod, Zeroable)]
#[allow(missing_docs)]
pub struct RawHyperParameters {
    pub seed_low: u32,
    pub seed_high: u32,
    pub gamma: f32,
    pub tau: f32,
    pub actor_learning_rate: f32,
    pub critic_learning_rate: f32,
    pub actor_weight_decay: f32,
    pub critic_weight_decay: f32,
    pub adam_beta1: f32,
    pub adam_beta2: f32,
    pub adam_one_minus_beta1: f32,
    pub adam_one_minus_beta2: f32,
    pub adam_epsilon: f32,
    pub hard_update_every: u32,
    pub noise_kind: u32,
    pub noise_sigma: f32,
    pub ou_theta: f32,
    pub ou_dt: f32,
    pub noise_is_relative: u32,
    pub compatible_learning_rate: f32,
    pub ou_start: f32,
    pub noise_schedule: u32,
    pub noise_final: f32,
    pub noise_span: f32,
}
