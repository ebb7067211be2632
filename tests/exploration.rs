//! Every kind of exploration noise against its definition in float64, through a whole rollout: an actor whose output layer
//! starts at zero acts with its noise alone, and the replay ring keeps what it did.
#![cfg(feature = "checkpoint")]

use ddpg_wgpu::checkpoint::Contents;
use ddpg_wgpu::{Config, Environment, Exploration, Gpu, NoiseSchedule, Population, Trainer, philox};

const ENVIRONMENTS: u32 = 3;
const EPISODE: u32 = 10;
const SEED: u64 = 77;

/// The torques stored at each step, `[steps][environments]`.
fn torques(change: impl Fn(&mut Config), steps: u32) -> Vec<Vec<f64>> {
    let gpu = Gpu::open_blocking(None).unwrap_or_else(|error| panic!("{error}"));
    let mut config = Config::default();
    (config.environments, config.seed, config.maximum_episode_length) = (ENVIRONMENTS, SEED, EPISODE);
    (config.actor_hidden, config.critic_hidden) = (vec![4], vec![4]);
    (config.output_initialization, config.random_steps, config.learning_starts) = (0.0, 0, 10_000);
    (config.replay_capacity, config.store_unclipped_actions, config.relative_noise) = (10_000, true, false);
    change(&mut config);
    let mut trainer = Trainer::new(&gpu.device, &gpu.queue, &Environment::pendulum_v1(), &config).expect("a trainer");
    trainer.advance_blocking(steps.into()).expect("steps");
    let snapshots = trainer.snapshot_blocking(Contents::TrainingAndReplay).expect("read");
    let (shape, numbers) = snapshots[0].tensor("replay.transitions").expect("the ring");
    // observation [3], action [1], reward, terminated, next observation [3]
    assert_eq!(shape, [(steps * ENVIRONMENTS) as usize, 9]);
    let torques: Vec<f64> = numbers.chunks(9).map(|transition| transition[3].into()).collect();
    torques.chunks(ENVIRONMENTS as usize).map(<[f64]>::to_vec).collect()
}

/// The standard normal of a step and an environment of an only action.
fn normal(step: usize, environment: usize) -> f64 {
    normal_of(SEED, step, environment, 0)
}

/// As `shaders/shared/philox.wgsl` has it: purpose 1, Box & Muller 1958.
fn normal_of(seed: u64, step: usize, environment: usize, action: usize) -> f64 {
    let words = philox([step as u32, environment as u32, 1, action as u32], [seed as u32, (seed >> 32) as u32]);
    (-2.0 * unit(words[0], 1).ln()).sqrt() * (std::f64::consts::TAU * (unit(words[1], 0) - 0.5)).cos()
}

fn unit(bits: u32, offset: u32) -> f64 {
    f64::from((bits >> 8) + offset) / f64::from(1 << 24)
}

#[track_caller]
fn agrees(found: &[Vec<f64>], expected: impl Fn(usize, usize) -> f64) {
    for (step, row) in found.iter().enumerate() {
        for (environment, &torque) in row.iter().enumerate() {
            let expected = expected(step, environment);
            let close = (torque - expected).abs() <= 5e-4;
            assert!(close, "step {step}, environment {environment}: {torque}, but {expected} by the reference");
        }
    }
}

/// An Ornstein–Uhlenbeck process in float64, from `start` again every `period` steps.
fn process([sigma, theta, dt, start]: [f64; 4], period: usize, step: usize, environment: usize) -> f64 {
    let first = step - step % period;
    (first..=step).fold(start, |x, at| x - theta * x * dt + sigma * dt.sqrt() * normal(at, environment))
}

#[test]
fn ornstein_uhlenbeck_starts_at_x0_and_starts_anew_where_asked() {
    let numbers = [0.3f32, 0.15, 0.25, 1.5];
    let [sigma, theta, dt, start] = numbers;
    let wide = [sigma, theta, dt, start].map(f64::from);
    let noise = Exploration::OrnsteinUhlenbeck { sigma, theta, dt, start };
    let set = |reset: bool| {
        move |config: &mut Config| {
            config.exploration = noise;
            config.reset_noise = reset;
        }
    };
    agrees(&torques(set(true), 25), |step, environment| process(wide, EPISODE as usize, step, environment));
    agrees(&torques(set(false), 25), |step, environment| process(wide, 1000, step, environment));
}

#[test]
fn the_decaying_kinds_divide_by_the_episodes_that_ended() {
    // all environments end their episodes in the same step
    let episodes = |step: usize| f64::from(ENVIRONMENTS * (step as u32 / EPISODE));
    let offset = torques(|config| config.exploration = Exploration::DecayingOffset { initial: 1.0 }, 35);
    agrees(&offset, |step, _| 1.0 / (1.0 + episodes(step)));
    let gaussian = torques(|config| config.exploration = Exploration::DecayingGaussian { initial: 0.5 }, 35);
    agrees(&gaussian, |step, environment| 0.5 / (1.0 + episodes(step)) * normal(step, environment));
}

#[test]
fn schedules_multiply_the_noise_and_leave_the_process_alone() {
    let steps = |step: usize| f64::from(step as u32 * ENVIRONMENTS);
    for schedule in [
        NoiseSchedule::Constant,
        NoiseSchedule::Linear { last: 0.25, steps: 60.0 },
        NoiseSchedule::Exponential { least: 0.125, half_life: 15.0 },
    ] {
        let gaussian = torques(|config| (config.exploration, config.noise_schedule) = (Exploration::Gaussian { sigma: 0.2 }, schedule), 30);
        agrees(&gaussian, |step, environment| schedule.reference(steps(step)) * 0.2f32 as f64 * normal(step, environment));
    }
    let linear = NoiseSchedule::Linear { last: 0.0, steps: 40.0 };
    let (sigma, theta, dt, start) = (0.5f32, 0.25, 0.5, -1.0);
    let moving = torques(
        |config| {
            config.exploration = Exploration::OrnsteinUhlenbeck { sigma, theta, dt, start };
            (config.noise_schedule, config.reset_noise) = (linear, false);
        },
        20,
    );
    let wide = [sigma, theta, dt, start].map(f64::from);
    agrees(&moving, |step, environment| linear.reference(steps(step)) * process(wide, 1000, step, environment));
    // the references themselves, at points that anyone can check
    assert_eq!([0.0, 20.0, 40.0, 90.0].map(|t| linear.reference(t)), [1.0, 0.5, 0.0, 0.0]);
    let halving = NoiseSchedule::Exponential { least: 0.2, half_life: 10.0 };
    assert!([(0.0, 1.0), (10.0, 0.5), (20.0, 0.25), (1e6, f64::from(0.2f32))].iter().all(|&(t, f)| halving.reference(t) == f));
}

#[test]
fn relative_noise_counts_in_half_action_ranges() {
    let relative = torques(|config| (config.exploration, config.relative_noise) = (Exploration::Gaussian { sigma: 0.1 }, true), 5);
    agrees(&relative, |step, environment| 2.0 * 0.1f32 as f64 * normal(step, environment));
    assert!(torques(|config| config.exploration = Exploration::None, 5).iter().flatten().all(|&torque| torque == 0.0));
}

/// Every action that the host is given, draw by draw: of two agents, across an episode's end in one environment of one.
#[test]
fn a_host_environment_gets_noise_of_its_agent_and_its_own_anew_after_an_episode() {
    const AGENTS: usize = 2;
    const LANES: usize = 3;
    const ASKED: usize = 6;
    const ENDED: (usize, usize) = (1, 2);
    let gpu = Gpu::open_blocking(None).unwrap_or_else(|error| panic!("{error}"));
    let bounds = [(-4.0, 4.0), (-2.0, 8.0)];
    let environment = Environment::host("arm", 3, bounds.map(|b| b.0).into(), bounds.map(|b| b.1).into()).expect("sizes");
    let (sigma, theta, dt, start) = (0.3f32, 0.15, 0.25, 0.7);
    let fading = NoiseSchedule::Linear { last: 0.5, steps: 12.0 };
    for (reset_noise, relative, schedule) in [(true, false, NoiseSchedule::Constant), (false, true, fading)] {
        let mut config = Config::default();
        (config.agents, config.environments, config.seed) = (AGENTS as u32, LANES as u32, SEED << 33 | SEED);
        (config.actor_hidden, config.critic_hidden) = (vec![4], vec![4]);
        // the first step of every environment is uniformly random
        (config.random_steps, config.relative_noise, config.reset_noise) = (LANES as u32, relative, reset_noise);
        config.noise_schedule = schedule;
        config.exploration = Exploration::OrnsteinUhlenbeck { sigma, theta, dt, start };
        let mut population = Population::new(&gpu.device, &gpu.queue, &environment, &config).expect("a population");
        let seeds: Vec<u64> = population.hyper_parameters().iter().map(|hyper| hyper.seed).collect();
        assert_ne!(seeds[0], seeds[1]);
        let observations: Vec<f32> = (0..AGENTS * LANES * 3).map(|i| (i as f32).sin()).collect();
        let ask = |population: &mut Population, explore| {
            let pending = population.request_actions(&observations, explore).expect("they fit");
            pending.wait_blocking(&gpu.device).expect("they arrive")
        };
        let policy = ask(&mut population, false);
        let mut found = Vec::new();
        for asked in 0..ASKED {
            if asked == 4 {
                population.end_episode(ENDED.0 as u32, ENDED.1 as u32, -1.5, 4).expect("an environment");
            }
            found.push(ask(&mut population, true));
        }
        for (agent, lane, action) in (0..AGENTS).flat_map(|a| (0..LANES).flat_map(move |e| (0..2).map(move |i| (a, e, i)))) {
            let place = (agent * LANES + lane) * 2 + action;
            let [sigma, theta, dt, start] = [sigma, theta, dt, start].map(f64::from);
            let (low, high) = (f64::from(bounds[action].0), f64::from(bounds[action].1));
            let scale = if relative { 0.5 * (high - low) } else { 1.0 };
            let mut noise = start;
            for (asked, found) in found.iter().enumerate() {
                let seed = seeds[agent];
                let mut expected = f64::from(policy[place]);
                if asked == 0 {
                    // purpose 3
                    let words = philox([0, lane as u32, 3, action as u32], [seed as u32, (seed >> 32) as u32]);
                    expected = low + (high - low) * unit(words[0], 0);
                } else {
                    if reset_noise && asked == 4 && (agent, lane) == ENDED {
                        noise = start;
                    }
                    noise += -theta * noise * dt + sigma * dt.sqrt() * normal_of(seed, asked, lane, action);
                    let factor = schedule.reference((asked * LANES) as f64);
                    expected = (expected + scale * factor * noise).clamp(low, high);
                }
                let off = (f64::from(found[place]) - expected).abs();
                let what = format!("reset {reset_noise}, agent {agent}, environment {lane}, action {action}, asked {asked}");
                assert!(off <= 1e-4, "{what}: {}, but {expected} by the reference", found[place]);
            }
        }
        let measured = Trainer::from_population(population).measure_blocking().expect("measured");
        let logged: Vec<Vec<_>> =
            measured.iter().map(|m| m.episodes.iter().map(|e| (e.number, e.episode_return, e.length, e.steps)).collect()).collect();
        assert_eq!(logged, [vec![], vec![(0, -1.5, 4, 4 * LANES as u64)]]);
        assert!(measured.iter().all(|measured| measured.steps == (ASKED * LANES) as u64));
        gpu.check().expect("no error");
    }
}

#[test]
fn schedules_that_cannot_be_are_refused() {
    for (schedule, says) in [
        (NoiseSchedule::Linear { last: -0.5, steps: 10.0 }, "last is -0.5"),
        (NoiseSchedule::Linear { last: 0.5, steps: 0.0 }, "steps is 0"),
        (NoiseSchedule::Exponential { least: 0.5, half_life: f32::NAN }, "half_life is NaN"),
    ] {
        let mut config = Config::default();
        config.noise_schedule = schedule;
        assert!(config.validate().is_err_and(|error| error.to_string().contains(says)), "{says}");
    }
}
