//! From a preset, a file and flags to a run with nothing left open, and back.

use crate::settings::{InitializationKind, NoiseKind, ScheduleKind, Settings};
use ddpg_wgpu::{Config, Environment, Error, Exploration, Initialization, NoiseSchedule, Preset, TargetUpdate};

/// Most episodes of an evaluation: each return is kept, and this many say all that there is to say.
pub const MOST_EPISODES: u32 = 1_000_000;

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
    /// Episodes an agent after which training ends; 0: only `config.steps` ends it.
    pub max_episodes: u64,
    pub print_episodes: bool,
    pub tensorboard: bool,
    /// Without one, a directory in the run directory.
    pub summary_dir: Option<String>,
    pub use_gym_monitor: bool,
    /// Without one, a directory in the run directory.
    pub monitor_dir: Option<String>,
    pub render_env: bool,
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
            relative_actions,
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
        let seed = preset == Preset::Seed;
        Self {
            preset,
            env: if seed { "Pendulum-v0" } else { "Pendulum-v1" }.to_owned(),
            config: Config::preset(preset),
            eval_every: 6000,
            eval_episodes: 50,
            eval_seed: 1,
            final_episodes: 1000,
            // a line an episode, soon after it ends
            log_every: if seed { 200 } else { 1000 },
            save_replay: false,
            max_episodes: if seed { 50_000 } else { 0 },
            print_episodes: seed,
            tensorboard: true,
            summary_dir: seed.then(|| "results/tf_ddpg".to_owned()),
            use_gym_monitor: seed,
            monitor_dir: seed.then(|| "results/gym_ddpg".to_owned()),
            render_env: false,
        }
    }

    /// The preset, changed by `file`, changed by `flags`.
    ///
    /// # Errors
    /// [`Error::Config`] for settings that contradict each other.
    pub fn resolve(file: Settings, flags: Settings) -> Result<Self, Error> {
        Self::layered([file, flags])
    }

    /// The preset that the last of `layers` names, changed by each of them in turn.
    ///
    /// # Errors
    /// [`Error::Config`] for settings that contradict each other.
    pub fn layered<const N: usize>(layers: [Settings; N]) -> Result<Self, Error> {
        let mut run = Self::preset(layers.iter().rev().find_map(|layer| layer.preset).unwrap_or_default());
        for layer in layers {
            run.apply(layer)?;
        }
        run.validate()?;
        Ok(run)
    }

    fn apply(&mut self, settings: Settings) -> Result<(), Error> {
        self.config.exploration = exploration(self.config.exploration, &settings)?;
        self.config.noise_schedule = schedule(self.config.noise_schedule, &settings)?;
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
        // the seed learns as soon as its buffer holds more than a batch
        if let (Preset::Seed, Some(batch), None) = (self.preset, settings.batch_size, settings.learning_starts) {
            self.config.learning_starts = batch.saturating_add(1);
        }
        if let Some(environments) = settings.envs {
            self.config.environments = environments;
        }
        macro_rules! take_own {
            ($($name:ident),*) => { $(if let Some(value) = settings.$name { self.$name = value; })* };
        }
        take_own!(env, eval_every, eval_episodes, eval_seed, final_episodes, log_every, save_replay);
        take_own!(max_episodes, print_episodes, tensorboard, use_gym_monitor, render_env);
        self.summary_dir = settings.summary_dir.or(self.summary_dir.take());
        self.monitor_dir = settings.monitor_dir.or(self.monitor_dir.take());
        if self.max_episodes > 0 && settings.max_episodes.is_some() && settings.steps.is_none() {
            self.config.steps = self.steps_of_episodes()?;
        }
        Ok(())
    }

    /// Rollouts until the run ends, where no episode ends before its time limit; sooner where some do and `max_episodes`
    /// counts them.
    pub fn iterations(&self) -> u64 {
        match self.max_episodes {
            0 => self.config.iterations(),
            _ => {
                self.config.iterations().min(self.steps_of_episodes().map_or(u64::MAX, |steps| steps / u64::from(self.config.environments)))
            }
        }
    }

    /// Whether agents that have `finished` so many episodes have had all that were asked for.
    pub fn had_all(&self, finished: &[u64]) -> bool {
        self.max_episodes > 0 && finished.iter().all(|&finished| finished >= self.max_episodes)
    }

    /// The flag that ends the run, and what it says now.
    pub fn bound(&self) -> String {
        let steps = self.steps_of_episodes().unwrap_or(u64::MAX);
        if self.max_episodes > 0 && steps <= self.config.steps {
            format!("--max-episodes (now {})", self.max_episodes)
        } else {
            format!("--steps (now {})", self.config.steps)
        }
    }

    /// Environment steps that `max_episodes` take where none ends before its time limit.
    fn steps_of_episodes(&self) -> Result<u64, Error> {
        let limit = self.config.time_limit(&Environment::by_name(&self.env)?);
        let environments = u64::from(self.config.environments.max(1));
        Ok(self.max_episodes.div_ceil(environments).saturating_mul(environments).saturating_mul(limit.into()))
    }

    fn validate(&self) -> Result<(), Error> {
        self.config.validate().map_err(with_flag)?;
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
        for (name, value) in [("eval_episodes", self.eval_episodes), ("final_episodes", self.final_episodes)] {
            if value > MOST_EPISODES {
                return Err(Error::Config(format!("{name} is {value}; it must be at most {MOST_EPISODES}")));
            }
        }
        for (name, place) in [("summary_dir", &self.summary_dir), ("monitor_dir", &self.monitor_dir)] {
            if place.as_ref().is_some_and(String::is_empty) {
                return Err(Error::Config(format!("{name} is empty; it must name a directory")));
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
        let Config { exploration, noise_schedule, hidden_initialization, target_update, environments, .. } = self.config;
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
            max_episodes: Some(self.max_episodes),
            print_episodes: Some(self.print_episodes),
            tensorboard: Some(self.tensorboard),
            summary_dir: self.summary_dir.clone(),
            use_gym_monitor: Some(self.use_gym_monitor),
            monitor_dir: self.monitor_dir.clone(),
            render_env: Some(self.render_env),
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
            Exploration::OrnsteinUhlenbeck { sigma, theta, dt, start } => {
                settings.exploration = Some(NoiseKind::OrnsteinUhlenbeck);
                (settings.noise_sigma, settings.noise_theta, settings.noise_dt) = (Some(sigma), Some(theta), Some(dt));
                settings.noise_start = Some(start);
            }
            Exploration::DecayingOffset { initial } => {
                (settings.exploration, settings.noise_initial) = (Some(NoiseKind::DecayingOffset), Some(initial));
            }
            Exploration::DecayingGaussian { initial } => {
                (settings.exploration, settings.noise_initial) = (Some(NoiseKind::DecayingGaussian), Some(initial));
            }
        }
        match noise_schedule {
            NoiseSchedule::Constant => settings.noise_schedule = Some(ScheduleKind::Constant),
            NoiseSchedule::Linear { last: factor, steps: span } | NoiseSchedule::Exponential { least: factor, half_life: span } => {
                let linear = matches!(noise_schedule, NoiseSchedule::Linear { .. });
                settings.noise_schedule = Some(if linear { ScheduleKind::Linear } else { ScheduleKind::Exponential });
                (settings.noise_final, settings.noise_span) = (Some(factor), Some(span));
            }
        }
        settings
    }
}

/// What the library calls otherwise than the command line does, and the flag.
const OTHER_NAMES: [(&str, &str); 11] = [
    ("environments", "--envs"),
    ("target_update", "--hard-update-every"),
    ("hidden_initialization has a standard deviation", "--hidden-deviation"),
    ("exploration sigma", "--noise-sigma"),
    ("exploration theta", "--noise-theta"),
    ("exploration dt", "--noise-dt"),
    ("exploration start", "--noise-start"),
    ("exploration initial", "--noise-initial"),
    ("noise_schedule last", "--noise-final"),
    ("noise_schedule least", "--noise-final"),
    ("noise_schedule", "--noise-span"),
];

/// The same error, with the name of the flag where the setting has another.
fn with_flag(error: Error) -> Error {
    match error {
        Error::Config(message) => match OTHER_NAMES.iter().find(|(name, _)| message.starts_with(name)) {
            Some((_, flag)) => Error::Config(format!("{message} ({flag})")),
            None => Error::Config(message),
        },
        other => other,
    }
}

/// The numbers of every kind of noise.
struct Noise {
    sigma: f32,
    theta: f32,
    dt: f32,
    start: f32,
    initial: f32,
}

/// What was set before, changed by what is set now; a change of kind keeps the numbers that both kinds have.
fn exploration(before: Exploration, settings: &Settings) -> Result<Exploration, Error> {
    let noise = Noise { sigma: 0.1, theta: 0.15, dt: 1.0, start: 0.0, initial: 1.0 };
    let (kind, noise) = match before {
        Exploration::None => (NoiseKind::None, noise),
        Exploration::Gaussian { sigma } => (NoiseKind::Gaussian, Noise { sigma, ..noise }),
        Exploration::OrnsteinUhlenbeck { sigma, theta, dt, start } => {
            (NoiseKind::OrnsteinUhlenbeck, Noise { sigma, theta, dt, start, ..noise })
        }
        Exploration::DecayingOffset { initial } => (NoiseKind::DecayingOffset, Noise { initial, ..noise }),
        Exploration::DecayingGaussian { initial } => (NoiseKind::DecayingGaussian, Noise { initial, ..noise }),
    };
    let kind = settings.exploration.unwrap_or(kind);
    let (name, has): (&str, &[&str]) = match kind {
        NoiseKind::None => ("none", &[]),
        NoiseKind::Gaussian => ("gaussian", &["noise_sigma"]),
        NoiseKind::OrnsteinUhlenbeck => ("ornstein-uhlenbeck", &["noise_sigma", "noise_theta", "noise_dt", "noise_start"]),
        NoiseKind::DecayingOffset => ("decaying-offset", &["noise_initial"]),
        NoiseKind::DecayingGaussian => ("decaying-gaussian", &["noise_initial"]),
    };
    let Settings { noise_sigma, noise_theta, noise_dt, noise_start, noise_initial, .. } = *settings;
    let given = [
        ("noise_sigma", noise_sigma),
        ("noise_theta", noise_theta),
        ("noise_dt", noise_dt),
        ("noise_start", noise_start),
        ("noise_initial", noise_initial),
    ];
    if let Some((unused, _)) = given.iter().find(|(setting, value)| value.is_some() && !has.contains(setting)) {
        return Err(Error::Config(format!("{unused} has no effect with exploration {name}")));
    }
    let (sigma, initial) = (noise_sigma.unwrap_or(noise.sigma), noise_initial.unwrap_or(noise.initial));
    Ok(match kind {
        NoiseKind::None => Exploration::None,
        NoiseKind::Gaussian => Exploration::Gaussian { sigma },
        NoiseKind::OrnsteinUhlenbeck => Exploration::OrnsteinUhlenbeck {
            sigma,
            theta: noise_theta.unwrap_or(noise.theta),
            dt: noise_dt.unwrap_or(noise.dt),
            start: noise_start.unwrap_or(noise.start),
        },
        NoiseKind::DecayingOffset => Exploration::DecayingOffset { initial },
        NoiseKind::DecayingGaussian => Exploration::DecayingGaussian { initial },
    })
}

fn schedule(before: NoiseSchedule, settings: &Settings) -> Result<NoiseSchedule, Error> {
    let (kind, factor, span) = match before {
        NoiseSchedule::Constant => (ScheduleKind::Constant, 0.1, 50_000.0),
        NoiseSchedule::Linear { last, steps } => (ScheduleKind::Linear, last, steps),
        NoiseSchedule::Exponential { least, half_life } => (ScheduleKind::Exponential, least, half_life),
    };
    let Settings { noise_schedule, noise_final, noise_span, .. } = *settings;
    let (factor, span) = (noise_final.unwrap_or(factor), noise_span.unwrap_or(span));
    match noise_schedule.unwrap_or(kind) {
        ScheduleKind::Constant if noise_final.is_some() || noise_span.is_some() => {
            let name = if noise_final.is_some() { "noise_final" } else { "noise_span" };
            Err(Error::Config(format!("{name} has no effect with noise_schedule constant")))
        }
        ScheduleKind::Constant => Ok(NoiseSchedule::Constant),
        ScheduleKind::Linear => Ok(NoiseSchedule::Linear { last: factor, steps: span }),
        ScheduleKind::Exponential => Ok(NoiseSchedule::Exponential { least: factor, half_life: span }),
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
