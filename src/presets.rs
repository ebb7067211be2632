//! Named sets of settings: where each number of a run comes from that nobody chose.

use crate::config::{
    Algorithm, BatchNorm, Config, Exploration, Initialization, Minibatch, NoiseSchedule, Optimizer, Statistics, TargetUpdate,
};

/// A named set of defaults.
///
/// ```
/// use ddpg_wgpu::{Config, Preset};
/// for preset in Preset::ALL {
///     println!("{}: {} environment steps", preset.name(), Config::preset(preset).steps);
/// }
/// assert_eq!(Preset::default().name(), "modern");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum Preset {
    /// Small networks, whatever reaches a good policy soonest.
    #[default]
    Modern,
    /// Lillicrap et al. 2016 as printed, batch normalisation included.
    Paper,
    /// The numbers of the 2017 TensorFlow program this project started from.
    Seed,
    /// On-policy deterministic actor-critic (Silver et al. 2014, equations 11–13).
    OnPolicy,
    /// Off-policy deterministic actor-critic, OPDAC (equations 16–18), with a replay ring.
    OffPolicy,
    /// COPDAC-Q (equations 19–22).
    CopdacQ,
}

impl Preset {
    /// All presets.
    pub const ALL: [Preset; 6] = [Preset::Modern, Preset::Paper, Preset::Seed, Preset::OnPolicy, Preset::OffPolicy, Preset::CopdacQ];

    /// The name used on the command line and in files.
    pub fn name(self) -> &'static str {
        match self {
            Preset::Modern => "modern",
            Preset::Paper => "paper",
            Preset::Seed => "seed",
            Preset::OnPolicy => "on-policy",
            Preset::OffPolicy => "off-policy",
            Preset::CopdacQ => "copdac-q",
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Config::preset(Preset::Modern)
    }
}

impl Config {
    /// The numbers of a preset.
    pub fn preset(preset: Preset) -> Self {
        let paper = Config {
            agents: 1,
            environments: 1,
            seed: 1,
            algorithm: Algorithm::Ddpg,
            optimizer: Optimizer::Adam,
            minibatch: Minibatch::Replay,
            steps: 2_500_000,
            actor_hidden: vec![400, 300],
            critic_hidden: vec![400, 300],
            action_layer: 2,
            relative_actions: false,
            hidden_initialization: Initialization::FanIn,
            output_initialization: 3e-3,
            basis_weights: 4.0,
            basis_biases: 4.0,
            batch_norm: BatchNorm::InputAndHidden,
            online_statistics: Statistics::Batch,
            target_statistics: Statistics::Batch,
            update_running_statistics: true,
            batch_norm_epsilon: 1e-5,
            batch_norm_decay: 0.99,
            actor_learning_rate: 1e-4,
            critic_learning_rate: 1e-3,
            compatible_learning_rate: 1e-3,
            adam_beta1: 0.9,
            adam_beta2: 0.999,
            adam_epsilon: 1e-8,
            actor_weight_decay: 0.0,
            critic_weight_decay: 1e-2,
            gamma: 0.99,
            tau: 1e-3,
            target_update: TargetUpdate::Soft,
            initial_blend: 1.0,
            batch_size: 64,
            replay_capacity: 1_000_000,
            learning_starts: 64,
            partial_batches: false,
            updates_per_iteration: 1,
            random_steps: 0,
            exploration: Exploration::OrnsteinUhlenbeck { sigma: 0.2, theta: 0.15, dt: 1.0, start: 0.0 },
            noise_schedule: NoiseSchedule::Constant,
            relative_noise: true,
            reset_noise: true,
            store_unclipped_actions: false,
            truncation_is_terminal: false,
            maximum_episode_length: 0,
        };
        match preset {
            Preset::Paper => paper,
            Preset::Seed => Config {
                seed: 1234,
                steps: 10_000_000,
                hidden_initialization: Initialization::TruncatedNormal(0.02),
                batch_norm: BatchNorm::Hidden,
                online_statistics: Statistics::Running,
                target_statistics: Statistics::Running,
                update_running_statistics: false,
                critic_weight_decay: 0.0,
                initial_blend: 1e-3,
                learning_starts: 65,
                exploration: Exploration::OrnsteinUhlenbeck { sigma: 0.3, theta: 0.15, dt: 1e-2, start: 0.0 },
                relative_noise: false,
                reset_noise: false,
                store_unclipped_actions: true,
                truncation_is_terminal: true,
                maximum_episode_length: 1000,
                ..paper
            },
            Preset::Modern => Config {
                environments: 8,
                steps: 36_000,
                actor_hidden: vec![64, 64],
                critic_hidden: vec![64, 64],
                action_layer: 1,
                relative_actions: true,
                // 1/sqrt(64), as the hidden layers: from 3e-3 the policy takes longer to leave zero
                output_initialization: 0.125,
                batch_norm: BatchNorm::None,
                actor_learning_rate: 1e-3,
                critic_learning_rate: 4e-3,
                critic_weight_decay: 0.0,
                tau: 4e-2,
                replay_capacity: 100_000,
                learning_starts: 1000,
                random_steps: 1000,
                exploration: Exploration::Gaussian { sigma: 0.2 },
                ..paper
            },
            Preset::OnPolicy => of_2014(paper),
            Preset::OffPolicy => Config {
                environments: 8,
                steps: 160_000,
                algorithm: Algorithm::OffPolicy,
                minibatch: Minibatch::Replay,
                replay_capacity: 100_000,
                ..of_2014(paper)
            },
            Preset::CopdacQ => Config {
                algorithm: Algorithm::Compatible,
                critic_hidden: vec![256],
                critic_learning_rate: 4e-3,
                compatible_learning_rate: 3e-2,
                ..of_2014(paper)
            },
        }
    }
}

/// The on-policy preset. Silver et al. 2014 print no numbers for networks such as these: they were found over five seeds.
/// Without target networks a longer horizon diverges on Pendulum, and so do larger steps.
fn of_2014(paper: Config) -> Config {
    Config {
        environments: 64,
        steps: 1_280_000,
        algorithm: Algorithm::OnPolicy,
        optimizer: Optimizer::GradientDescent,
        minibatch: Minibatch::Latest,
        actor_hidden: vec![64, 64],
        critic_hidden: vec![64, 64],
        action_layer: 1,
        batch_norm: BatchNorm::None,
        actor_learning_rate: 1e-3,
        critic_learning_rate: 5e-3,
        critic_weight_decay: 0.0,
        gamma: 0.9,
        replay_capacity: 128,
        learning_starts: 128,
        exploration: Exploration::Gaussian { sigma: 0.2 },
        ..paper
    }
}
