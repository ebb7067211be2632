//! From a preset, a file and flags to a run with nothing left open, and back.

use crate::settings::{InitializationKind, NoiseKind, Settings};
use ddpg_wgpu::{Config, Error, Exploration, Initialization, Preset, TargetUpdate};

/// A run with nothing left open.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    pub preset: Preset,
    pub env: String,
    pub config: Config,
    pub eval_every: u64,
    pub eval_episodes: u32,
    pub eval_seed: u32,
    pub final_episodes: u32,
    pub log_every: u64,
    pub save_replay: bool,
}

/// Calls a macro with the settings that have the same name and type in [`Config`].
macro_rules! plain_settings {
    ($call:ident) => {
        $call!(
            agents,
            seed,
            steps,
            maximum_episode_length,
            algorithm,
            optimizer,
            minibatch,
            actor_hidden,
            critic_hidden,
            action_layer,
            output_initialization,
            basis_weights,
            basis_biases,
            batch_norm,
            online_statistics,
            target_statistics,
            update_running_statistics,
            batch_norm_epsilon,
            batch_norm_decay,
            actor_learning_rate,
            critic_learning_rate,
            compatible_learning_rate,
            adam_beta1,
            adam_beta2,
            adam_epsilon,
            actor_weight_decay,
            critic_weight_decay,
            gamma,
            tau,
            initial_blend,
            updates_per_iteration,
            batch_size,
            replay_capacity,
            learning_starts,
            partial_batches,
            store_unclipped_actions,
            truncation_is_terminal,
            random_steps,
            relative_noise,
            reset_noise
        )
    };
}

impl Run {
    /// A preset with nothing changed.
    pub fn preset(preset: Preset) -> Self {
        Self {
            preset,
            env: "Pendulum-v1".to_owned(),
            config: Config::preset(preset),
            eval_every: 6000,
            eval_episodes: 50,
            eval_seed: 1,
            final_episodes: 1000,
            log_every: 1000,
            save_replay: false,
        }
    }

    /// The preset, changed by `file`, changed by `flags`.
    ///
    /// # Errors
    /// [`Error::Config`] for settings that contradict each other.
    pub fn resolve(file: Settings, flags: Settings) -> Result<Self, Error> {
        let mut run = Self::preset(flags.preset.or(file.preset).unwrap_or_default());
        run.apply(file)?;
        run.apply(flags)?;
        run.validate()?;
        Ok(run)
    }

    fn apply(&mut self, settings: Settings) -> Result<(), Error> {
        self.config.exploration = exploration(self.config.exploration, &settings)?;
        self.config.hidden_initialization = initialization(self.config.hidden_initialization, &settings)?;
        match settings.hard_update_every {
            None => {}
            Some(0) => self.config.target_update = TargetUpdate::Soft,
            Some(every) => self.config.target_update = TargetUpdate::Hard(every),
        }
        macro_rules! take {
            ($($name:ident),*) => { $(if let Some(value) = settings.$name { self.config.$name = value; })* };
        }
        plain_settings!(take);
        if let Some(environments) = settings.envs {
            self.config.environments = environments;
        }
        macro_rules! take_own {
            ($($name:ident),*) => { $(if let Some(value) = settings.$name { self.$name = value; })* };
        }
        take_own!(env, eval_every, eval_episodes, eval_seed, final_episodes, log_every, save_replay);
        Ok(())
    }

    fn validate(&self) -> Result<(), Error> {
        self.config.validate()?;
        let at_least_one = [
            ("steps", self.config.steps),
            ("eval_episodes", self.eval_episodes.into()),
            ("final_episodes", self.final_episodes.into()),
            ("log_every", self.log_every),
        ];
        for (name, value) in at_least_one {
            if value == 0 {
                return Err(Error::Config(format!("{name} is 0; it must be at least 1")));
            }
        }
        if i64::try_from(self.config.seed).is_err() {
            return Err(Error::Config(format!("seed is {}; a configuration file holds at most {}", self.config.seed, i64::MAX)));
        }
        // the device counts the steps of an environment, and the updates, in 32 bits
        let iterations = self.config.iterations();
        let updates = iterations.saturating_mul(self.config.updates_per_iteration.into());
        if updates > u64::from(u32::MAX) {
            return Err(Error::Config(format!(
                "steps ({}) amount to {updates} updates; at most {} are counted",
                self.config.steps,
                u32::MAX
            )));
        }
        Ok(())
    }

    /// The same run as settings, none of them open that has a meaning here.
    pub fn settings(&self) -> Settings {
        let Config { exploration, hidden_initialization, target_update, environments, .. } = self.config;
        let mut settings = Settings {
            preset: Some(self.preset),
            env: Some(self.env.clone()),
            envs: Some(environments),
            eval_every: Some(self.eval_every),
            eval_episodes: Some(self.eval_episodes),
            eval_seed: Some(self.eval_seed),
            final_episodes: Some(self.final_episodes),
            log_every: Some(self.log_every),
            save_replay: Some(self.save_replay),
            ..Default::default()
        };
        macro_rules! put {
            ($($name:ident),*) => { $(settings.$name = Some(self.config.$name.clone());)* };
        }
        plain_settings!(put);
        settings.hard_update_every = match target_update {
            TargetUpdate::Soft => Some(0),
            TargetUpdate::Hard(every) => Some(every),
        };
        match hidden_initialization {
            Initialization::FanIn => settings.hidden_initialization = Some(InitializationKind::FanIn),
            Initialization::TruncatedNormal(deviation) => {
                settings.hidden_initialization = Some(InitializationKind::TruncatedNormal);
                settings.hidden_deviation = Some(deviation);
            }
        }
        match exploration {
            Exploration::None => settings.exploration = Some(NoiseKind::None),
            Exploration::Gaussian { sigma } => {
                settings.exploration = Some(NoiseKind::Gaussian);
                settings.noise_sigma = Some(sigma);
            }
            Exploration::OrnsteinUhlenbeck { sigma, theta, dt } => {
                settings.exploration = Some(NoiseKind::OrnsteinUhlenbeck);
                (settings.noise_sigma, settings.noise_theta, settings.noise_dt) = (Some(sigma), Some(theta), Some(dt));
            }
        }
        settings
    }
}

/// What was set before, changed by what is set now; a change of kind keeps the numbers that both kinds have.
fn exploration(before: Exploration, settings: &Settings) -> Result<Exploration, Error> {
    let (kind, sigma, theta, dt) = match before {
        Exploration::None => (NoiseKind::None, 0.1, 0.15, 1.0),
        Exploration::Gaussian { sigma } => (NoiseKind::Gaussian, sigma, 0.15, 1.0),
        Exploration::OrnsteinUhlenbeck { sigma, theta, dt } => (NoiseKind::OrnsteinUhlenbeck, sigma, theta, dt),
    };
    let kind = settings.exploration.unwrap_or(kind);
    let unused = |name: &str, kind: &str| Err(Error::Config(format!("{name} has no effect with exploration {kind}")));
    let sigma = settings.noise_sigma.unwrap_or(sigma);
    match kind {
        NoiseKind::None if settings.noise_sigma.is_some() => unused("noise_sigma", "none"),
        NoiseKind::None if settings.noise_theta.is_some() => unused("noise_theta", "none"),
        NoiseKind::None if settings.noise_dt.is_some() => unused("noise_dt", "none"),
        NoiseKind::None => Ok(Exploration::None),
        NoiseKind::Gaussian if settings.noise_theta.is_some() => unused("noise_theta", "gaussian"),
        NoiseKind::Gaussian if settings.noise_dt.is_some() => unused("noise_dt", "gaussian"),
        NoiseKind::Gaussian => Ok(Exploration::Gaussian { sigma }),
        NoiseKind::OrnsteinUhlenbeck => {
            Ok(Exploration::OrnsteinUhlenbeck { sigma, theta: settings.noise_theta.unwrap_or(theta), dt: settings.noise_dt.unwrap_or(dt) })
        }
    }
}

fn initialization(before: Initialization, settings: &Settings) -> Result<Initialization, Error> {
    let (kind, deviation) = match before {
        Initialization::FanIn => (InitializationKind::FanIn, 0.02),
        Initialization::TruncatedNormal(deviation) => (InitializationKind::TruncatedNormal, deviation),
    };
    match settings.hidden_initialization.unwrap_or(kind) {
        InitializationKind::FanIn if settings.hidden_deviation.is_some() => {
            Err(Error::Config("hidden_deviation has no effect with hidden_initialization fan-in".to_owned()))
        }
        InitializationKind::FanIn => Ok(Initialization::FanIn),
        InitializationKind::TruncatedNormal => Ok(Initialization::TruncatedNormal(settings.hidden_deviation.unwrap_or(deviation))),
    }
}
