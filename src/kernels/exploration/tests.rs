use super::*;
use crate::Environment;
use crate::config::Config;
use crate::kernels::harness::{Numbers, assert_close, chi_square, rig, wide};
use crate::kernels::philox::{normal_tolerance, purpose, reference_normals, reference_uniform};
use crate::kernels::world::{World, probe, quiet};
use crate::philox;

const ORNSTEIN_UHLENBECK: Exploration = Exploration::OrnsteinUhlenbeck { sigma: 0.3, theta: 0.15, dt: 0.5, start: 0.0 };
const GAUSSIAN: Exploration = Exploration::Gaussian { sigma: 0.25 };

/// Standard deviations that a statistic may be off by: beyond, with probability 1e-6 or less, two-sided.
const DEVIATIONS: f64 = 5.0;

/// The noise of every agent, environment, step and action, in that order, with the shader's arithmetic undone: absolute
/// units, an actor that outputs zero, actions stored before they are clipped.
struct Recording {
    agents: usize,
    environments: usize,
    steps: usize,
    actions: usize,
    noise: Vec<f64>,
}

impl Recording {
    fn new(environment: &Environment, exploration: Exploration, agents: u32, environments: u32, steps: u32) -> Self {
        let config = Config {
            exploration,
            relative_noise: false,
            reset_noise: false,
            store_unclipped_actions: true,
            ..quiet(agents, environments, environments * steps)
        };
        let mut world = World::new(rig(environment), environment, &config);
        world.reset();
        world.step(steps as usize);
        let mut noise = Vec::new();
        for agent in 0..agents {
            for e in 0..environments {
                for step in 0..steps {
                    noise.extend(wide(&world.stored(agent, step * environments + e).action));
                }
            }
        }
        let [agents, environments, steps] = [agents, environments, steps].map(|n| n as usize);
        Self { agents, environments, steps, actions: environment.action_size() as usize, noise }
    }

    fn at(&self, agent: usize, environment: usize, step: usize, action: usize) -> f64 {
        self.noise[((agent * self.environments + environment) * self.steps + step) * self.actions + action]
    }

    /// Every pair of numbers that `shift` (agents, environments, steps, actions) parts.
    fn pairs(&self, shift: [usize; 4]) -> Vec<(f64, f64)> {
        let mut pairs = Vec::new();
        for agent in 0..self.agents - shift[0] {
            for e in 0..self.environments - shift[1] {
                for step in 0..self.steps - shift[2] {
                    for action in 0..self.actions - shift[3] {
                        let later = self.at(agent + shift[0], e + shift[1], step + shift[2], action + shift[3]);
                        pairs.push((self.at(agent, e, step, action), later));
                    }
                }
            }
        }
        pairs
    }
}

/// Mean, variance and kurtosis of standard normals.
fn assert_standard_normal(numbers: &[f64], what: &str) {
    let n = numbers.len() as f64;
    let moment = |power| numbers.iter().map(|x: &f64| x.powi(power)).sum::<f64>() / n;
    assert!(moment(1).abs() < DEVIATIONS / n.sqrt(), "{what}: mean {}", moment(1));
    let tolerance = DEVIATIONS * (2.0 / n).sqrt();
    assert!(tolerance < 0.01, "{what}: {n} numbers cannot tell a variance that is wrong by 2 %");
    assert!((moment(2) - 1.0).abs() < tolerance, "{what}: variance {}", moment(2));
    assert!((moment(3)).abs() < DEVIATIONS * (15.0 / n).sqrt(), "{what}: skewness {}", moment(3));
    assert!((moment(4) - 3.0).abs() < DEVIATIONS * (96.0 / n).sqrt(), "{what}: fourth moment {}", moment(4));
}

fn assert_uncorrelated(pairs: &[(f64, f64)], what: &str) {
    let sum = |f: fn(&(f64, f64)) -> f64| pairs.iter().map(f).sum::<f64>();
    let correlation = sum(|p| p.0 * p.1) / (sum(|p| p.0 * p.0) * sum(|p| p.1 * p.1)).sqrt();
    let tolerance = DEVIATIONS / (pairs.len() as f64).sqrt();
    assert!(correlation.abs() < tolerance, "{what}: correlation {correlation} of {} pairs", pairs.len());
}

const APART: [([usize; 4], &str); 6] = [
    ([1, 0, 0, 0], "neighbouring agents"),
    ([0, 1, 0, 0], "neighbouring environments"),
    ([0, 0, 1, 0], "successive steps"),
    ([0, 0, 0, 1], "neighbouring actions"),
    ([0, 1, 1, 0], "the next environment's next step"),
    ([1, 1, 0, 0], "the next agent's next environment"),
];

#[test]
fn gaussian_noise_has_its_variance_and_is_independent() {
    let recording = Recording::new(&probe(3), GAUSSIAN, 3, 1000, 64);
    let standard: Vec<f64> = recording.noise.iter().map(|x| x / 0.25).collect();
    assert_standard_normal(&standard, "all");
    for (shift, what) in APART {
        assert_uncorrelated(&recording.pairs(shift), what);
    }
}

#[test]
fn ornstein_uhlenbeck_noise_has_its_transient_variance_and_autocorrelation() {
    let recording = Recording::new(&probe(3), ORNSTEIN_UHLENBECK, 3, 1000, 64);
    // the innovations, recovered by the recurrence, are independent standard normals
    let (sigma, a) = (0.3 * 0.5_f64.sqrt(), 1.0 - 0.15 * 0.5);
    let mut innovations = Recording { noise: recording.noise.clone(), ..recording };
    for (i, e) in innovations.noise.iter_mut().enumerate() {
        let step = i / recording.actions % recording.steps;
        let previous = if step == 0 { 0.0 } else { recording.noise[i - recording.actions] };
        *e = (recording.noise[i] - a * previous) / sigma;
    }
    assert_standard_normal(&innovations.noise, "innovations");
    for (shift, what) in APART {
        assert_uncorrelated(&innovations.pairs(shift), what);
    }
    // covariances over independent processes: Var[xy] = Var[x] Var[y] + Cov^2
    let processes = (recording.agents * recording.environments * recording.actions) as f64;
    for (earlier, lag) in [(1, 0), (2, 0), (5, 0), (10, 0), (32, 0), (64, 0), (1, 1), (4, 4), (20, 1), (20, 10), (32, 32)] {
        let mut sum = 0.0;
        for process in 0..processes as usize {
            let (lane, action) = (process / recording.actions, process % recording.actions);
            let (agent, e) = (lane / recording.environments, lane % recording.environments);
            sum += recording.at(agent, e, earlier - 1, action) * recording.at(agent, e, earlier + lag - 1, action);
        }
        let of = |earlier: usize, lag: usize| reference_covariance(ORNSTEIN_UHLENBECK, earlier as i32, lag as i32);
        let (expected, first, second) = (of(earlier, lag), of(earlier, 0), of(earlier + lag, 0));
        let deviation = ((first * second + expected * expected) / processes).sqrt();
        let covariance = sum / processes;
        assert!((covariance - expected).abs() < DEVIATIONS * deviation, "{earlier} + {lag}: {covariance}, expected {expected}");
    }
    // and the stationary variance, sigma^2 / (2 theta) for small steps, pooled over the last, well parted steps
    let late: Vec<f64> = recording.noise.iter().skip(63 * 3).step_by(64 * 3).map(|x| x.powi(2)).collect();
    let stationary = sigma * sigma / (1.0 - a * a);
    let variance = late.iter().sum::<f64>() / late.len() as f64;
    assert!((variance / stationary - 1.0).abs() < DEVIATIONS * (2.0 / late.len() as f64).sqrt(), "{variance}, expected {stationary}");
}

/// Every number of the noise, of each action size, against the reference and the words it is drawn from.
#[test]
fn noise_matches_the_reference_draw_by_draw_in_relative_and_absolute_units() {
    for environment in [Environment::pendulum_v1(), probe(2), probe(3), probe(5)] {
        for (exploration, relative) in [(GAUSSIAN, true), (GAUSSIAN, false), (ORNSTEIN_UHLENBECK, true), (ORNSTEIN_UHLENBECK, false)] {
            for unclipped in [false, true] {
                let (agents, environments, steps) = (2, 5, 3);
                let config = Config {
                    exploration,
                    relative_noise: relative,
                    reset_noise: false,
                    store_unclipped_actions: unclipped,
                    ..quiet(agents, environments, 40)
                };
                let mut world = World::new(rig(&environment), &environment, &config);
                world.reset();
                let actions = environment.action_size();
                let mut numbers = Numbers::new(actions.into());
                let outputs: Vec<_> = (0..agents)
                    .map(|agent| {
                        let output = numbers.uniform(environments * actions, -1.5, 1.5);
                        world.put_actor_output(agent, &output);
                        wide(&output)
                    })
                    .collect();
                world.step(steps);
                for (agent, e, i) in (0..agents).flat_map(|a| (0..environments).flat_map(move |e| (0..actions).map(move |i| (a, e, i)))) {
                    let seed = world.contents.hyper_parameters[agent as usize].seed;
                    let dimension = i as usize;
                    let [low, high] = [&environment.action_low, &environment.action_high].map(|bound| f64::from(bound[dimension]));
                    let unit = if relative { 0.5 * (high - low) } else { 1.0 };
                    let output = outputs[agent as usize][(e * actions + i) as usize];
                    let (mut noise, mut tolerance) = (0.0, 0.0);
                    for step in 0..steps as u32 {
                        let words = philox([step, e, purpose::NOISE, i], [seed as u32, (seed >> 32) as u32]);
                        noise = reference(noise, reference_normals([words[0], words[1]])[0], exploration);
                        tolerance += normal_tolerance(words[0]);
                        let mut expected = output + unit * noise;
                        if !unclipped {
                            expected = reference_action(output, unit * noise, low, high);
                        }
                        let stored = world.stored(agent, step * environments + e).action[dimension];
                        let what = format!("{}, {exploration:?}, relative {relative}, agent {agent}, {e}, {i}, {step}", environment.name);
                        assert_close(&[stored], &[expected], 1e-6, tolerance + 1e-6, &what);
                    }
                    let kept = world.environment(agent, e)[environment.state_size as usize + dimension];
                    assert_close(&[kept], &[noise], 1e-6, tolerance + 1e-6, "the process's state");
                }
            }
        }
    }
}

#[test]
fn noise_starts_anew_with_each_episode_where_asked() {
    let environment = probe(2);
    for reset_noise in [true, false] {
        let config = Config { exploration: ORNSTEIN_UHLENBECK, reset_noise, ..quiet(2, 64, 64 * 8) };
        let mut world = World::new(rig(&environment), &environment, &config);
        world.reset();
        let (mut ended, mut going) = (0, 0);
        for _ in 0..8 {
            world.step(1);
            for (agent, e) in (0..2).flat_map(|agent| (0..64).map(move |e| (agent, e))) {
                let floats = world.environment(agent, e);
                let (age, noise) = (floats[0], [floats[3], floats[4]]);
                if age == 0.0 {
                    ended += 1;
                    assert_eq!(noise == [0.0; 2], reset_noise, "{noise:?} after an episode's end");
                } else {
                    going += 1;
                    assert!(noise.iter().all(|&x| x != 0.0), "{noise:?} within an episode");
                }
            }
        }
        assert!(ended > 100 && going > 100, "{ended} ended, {going} going on");
    }
}

#[test]
fn random_actions_are_uniform_within_their_bounds_and_end_on_time() {
    let environment = probe(3);
    let (agents, environments, steps) = (3, 1000, 20);
    let config = Config { random_steps: environments * steps, ..quiet(agents, environments, environments * (steps + 1)) };
    let mut world = World::new(rig(&environment), &environment, &config);
    world.reset();
    world.step(steps as usize + 1);
    const BINS: usize = 64;
    let mut counts = [[0u32; BINS]; 3];
    for (agent, slot) in (0..agents).flat_map(|agent| (0..environments * (steps + 1)).map(move |slot| (agent, slot))) {
        let (step, e) = (slot / environments, slot % environments);
        let seed = world.contents.hyper_parameters[agent as usize].seed;
        let stored = world.stored(agent, slot).action;
        for (i, (&action, count)) in (0..).zip(stored.iter().zip(&mut counts)) {
            let [low, high] = [environment.action_low[i], environment.action_high[i]].map(f64::from);
            if step == steps {
                // the actor's zero, clipped
                assert_eq!(f64::from(action), 0.0_f64.clamp(low, high), "after the random steps");
                continue;
            }
            let words = philox([step, e, purpose::RANDOM_ACTION, i as u32], [seed as u32, (seed >> 32) as u32]);
            let share = (f64::from(action) - low) / (high - low);
            assert_close(&[share], &[reference_uniform(words[0])], 0.0, 1e-6, &format!("agent {agent}, slot {slot}, action {i}"));
            count[((share * BINS as f64) as usize).min(BINS - 1)] += 1;
        }
    }
    for (i, counts) in counts.iter().enumerate() {
        let chi_square = chi_square(counts);
        // 63 degrees of freedom: above 129 with probability 1e-6
        assert!(chi_square < 129.0, "action {i}: chi-square {chi_square}");
    }
}

#[test]
fn the_reference_covariance_is_that_of_the_recurrence() {
    // the variance follows v <- a^2 v + sigma^2 dt, and tends to sigma^2 dt / (1 - a^2)
    let (a, step) = (1.0 - 0.15 * 0.5, f64::from(0.3_f32).powi(2) * 0.5);
    let a = 1.0 - (1.0 - a) * f64::from(0.15_f32) / 0.15;
    let mut variance = 0.0;
    for n in 1..200 {
        variance = a * a * variance + step;
        assert_close(&[reference_covariance(ORNSTEIN_UHLENBECK, n, 0)], &[variance], 1e-9, 0.0, "variance");
        assert_close(&[reference_covariance(ORNSTEIN_UHLENBECK, n, 3)], &[variance * a.powi(3)], 1e-9, 0.0, "covariance");
    }
    assert_close(&[variance], &[step / (1.0 - a * a)], 1e-6, 0.0, "stationary");
    assert_eq!(reference(2.0, 0.0, ORNSTEIN_UHLENBECK), 2.0 - f64::from(0.15_f32) * 2.0 * 0.5);
}
