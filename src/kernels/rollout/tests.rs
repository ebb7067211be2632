use super::*;
use crate::config::Config;
use crate::kernels::harness::{Numbers, assert_close, chi_square, rig, wide};
use crate::kernels::philox::{purpose, reference_uniform};
use crate::kernels::world::{World, marked, probe, quiet};
use crate::memory::EPISODE_LOG;
use crate::{Environment, philox};

/// The probe's state after a reset at `step`: age, life, mark.
fn reset_state(seed: u64, step: u32, lane: u32) -> [f32; 3] {
    let draw = |i| reference_uniform(philox([step, lane, purpose::RESET, i], [seed as u32, (seed >> 32) as u32])[0]);
    [0.0, 2.0 + (5.0 * draw(0)).floor() as f32, draw(1) as f32]
}

/// What the log has of an episode.
#[derive(Debug, Clone)]
struct Logged {
    log: [f32; 4],
    steps: u32,
    updates: u32,
}

fn observe([age, life, mark]: [f32; 3]) -> [f32; 5] {
    [age, life, mark, age * life, 1.0]
}

#[test]
fn episodes_end_reset_and_are_logged_as_the_reference_has_it() {
    let environment = probe(2);
    for truncation_is_terminal in [false, true] {
        let (agents, environments, steps) = (3, 33, 10);
        let config = Config { truncation_is_terminal, ..quiet(agents, environments, environments * steps) };
        let mut world = World::new(rig(&environment), &environment, &config);
        world.reset();
        let mut numbers = Numbers::new(5);
        let mut kinds = [0; 4];
        let mut states: Vec<Vec<[f32; 3]>> = Vec::new();
        let mut logs: Vec<Vec<Logged>> = vec![Vec::new(); agents as usize];
        let mut returns = vec![vec![0.0_f32; environments as usize]; agents as usize];
        for agent in 0..agents {
            let seed = world.contents.hyper_parameters[agent as usize].seed;
            states.push((0..environments).map(|e| reset_state(seed, 0, e)).collect());
            let expected: Vec<f32> = states[agent as usize].iter().flat_map(|&state| observe(state)).collect();
            assert_eq!(world.observations(agent), expected, "agent {agent}: first observations");
        }
        // the first number of updates that no f32 holds
        let mut updates = (1 << 24) + 1;
        world.contents.states.iter_mut().for_each(|state| (state.updates, state.episode_began) = (updates, updates));
        // of each agent: updates since a step ended an episode, and the sum of their largest values
        let mut since = vec![(0_u32, 0.0_f32); agents as usize];
        for step in 0..steps {
            // updates between the steps, and what they add
            let (taken, value) = [(2, 3.5), (3, -7.0), (0, 0.0), (5, 0.25), (1, 6.0)][step as usize % 5];
            updates += taken;
            for (state, since) in world.contents.states.iter_mut().zip(&mut since) {
                state.updates = updates;
                state.episode_maximum_value += value;
                *since = (since.0 + taken, since.1 + value);
            }
            let actions: Vec<Vec<f32>> = (0..agents)
                .map(|agent| {
                    // quarters, so that sums are exact
                    let actions: Vec<f32> = numbers.uniform(2 * environments, 0.0, 4.0).iter().map(|x| x.floor() / 4.0).collect();
                    world.put_actor_output(agent, &actions);
                    actions
                })
                .collect();
            world.step(1);
            for agent in 0..agents {
                let seed = world.contents.hyper_parameters[agent as usize].seed;
                for e in 0..environments {
                    let what = format!("terminal {truncation_is_terminal}, agent {agent}, environment {e}, step {step}");
                    let i = e as usize;
                    let before = states[agent as usize][i];
                    let after = [before[0] + 1.0, before[1], marked(before[2], seed, step, e)];
                    let reward = after[0] + actions[agent as usize][2 * i] + actions[agent as usize][2 * i + 1];
                    returns[agent as usize][i] += reward;
                    let by_the_task = after[0] >= after[1];
                    let ending = reference(by_the_task, after[0] as u32, 4, truncation_is_terminal);
                    kinds[usize::from(ending.ends) + 2 * usize::from(by_the_task)] += 1;
                    let stored = world.stored(agent, step * environments + e);
                    assert_eq!(stored.observation, observe(before), "{what}: observation");
                    assert_eq!(stored.action, actions[agent as usize][2 * i..2 * i + 2], "{what}: action");
                    assert_eq!(stored.reward, reward, "{what}: reward");
                    assert_eq!(stored.next_observation, observe(after), "{what}: the episode's own next observation");
                    assert_eq!(stored.terminated, f32::from(u8::from(ending.terminated)), "{what}: terminated");
                    let next = if ending.ends { reset_state(seed, step + 1, e) } else { after };
                    assert_eq!(world.observations(agent)[5 * i..5 * i + 5], observe(next), "{what}: what the actor sees next");
                    assert_eq!(world.environment(agent, e)[..3], next, "{what}: state");
                    if ending.ends {
                        let (taken, sum) = since[agent as usize];
                        let maximum_value = if taken == 0 { 0.0 } else { sum / taken as f32 };
                        let log = [returns[agent as usize][i], after[0], maximum_value, 0.0];
                        logs[agent as usize].push(Logged { log, steps: step + 1, updates });
                        returns[agent as usize][i] = 0.0;
                    }
                    // noise, then return, length, and a finished episode that has been logged
                    let (sum, length) = if ending.ends { (0.0, 0.0) } else { (returns[agent as usize][i], after[0]) };
                    assert_eq!(world.environment(agent, e)[5..7], [sum, length], "{what}: return and length");
                    assert_eq!(world.environment(agent, e)[8], 0.0, "{what}: logged");
                    states[agent as usize][i] = next;
                }
                let state = world.contents.states[agent as usize];
                let log = &logs[agent as usize];
                assert_eq!((state.steps, state.episodes as usize), (step + 1, log.len()), "agent {agent}: counters");
                for (number, expected) in log.iter().enumerate().skip(log.len().saturating_sub(EPISODE_LOG)) {
                    let (place, what) = (number % EPISODE_LOG, format!("agent {agent}, episode {number}, step {step}"));
                    assert_close(&state.log[place], &wide(&expected.log), 1e-6, 0.0, &what);
                    assert_eq!((state.log_steps[place], state.log_updates[place]), (expected.steps, expected.updates), "{what}");
                }
                if log.last().is_some_and(|logged| logged.steps == step + 1) {
                    since[agent as usize] = (0, 0.0);
                }
                let (taken, sum) = since[agent as usize];
                assert_eq!((state.updates, state.episode_began), (updates, updates - taken), "agent {agent}, step {step}");
                assert_eq!(state.episode_maximum_value, sum, "agent {agent}, step {step}");
            }
        }
        assert!(kinds[0] > 50 && kinds[1] > 50 && kinds[3] > 50, "going on, truncated, terminated: {kinds:?}");
        assert!(logs[0].len() > EPISODE_LOG, "the log has wrapped");
    }
}

#[test]
fn a_physics_that_is_not_finite_halts_its_agent_and_stays_out_of_the_ring() {
    let environment = probe(2);
    for bad in [f32::NAN, f32::INFINITY] {
        let mut world = World::new(rig(&environment), &environment, &quiet(2, 3, 30));
        world.reset();
        world.step(1);
        world.environment(1, 2)[2] = bad;
        let before = world.contents.states[1];
        world.step(2);
        let state = world.contents.states[1];
        assert_eq!((state.halted, state.replay_length, state.replay_head), (4, before.replay_length, before.replay_head), "{bad}");
        assert!((0..3).all(|slot| world.slot(1, slot).iter().all(|x| x.is_finite())), "{bad}");
        let other = world.contents.states[0];
        assert_eq!((other.halted, other.replay_length), (0, 9));
    }
}

#[test]
fn pendulum_starts_uniformly() {
    const BINS: usize = 64;
    let environment = Environment::pendulum_v1();
    let mut world = World::new(rig(&environment), &environment, &quiet(3, 20_000, 20_000));
    world.reset();
    let mut counts = [[0u32; BINS]; 2];
    let mut angles = Vec::new();
    for agent in 0..3 {
        let seed = world.contents.hyper_parameters[agent as usize].seed;
        for e in 0..20_000 {
            let state = [world.environment(agent, e)[0], world.environment(agent, e)[1]].map(f64::from);
            for (i, (x, bound)) in state.into_iter().zip([std::f64::consts::PI, 1.0]).enumerate() {
                let words = philox([0, e, purpose::RESET, i as u32], [seed as u32, (seed >> 32) as u32]);
                let share = (x / bound + 1.0) / 2.0;
                assert!((share - reference_uniform(words[0])).abs() < 1e-6, "agent {agent}, environment {e}, {i}: {x}");
                counts[i][((share * BINS as f64) as usize).min(BINS - 1)] += 1;
            }
            angles.push(state);
        }
    }
    for (what, counts) in ["angle", "angular velocity"].iter().zip(&counts) {
        // 63 degrees of freedom: above 129 with probability 1e-6
        assert!(chi_square(counts) < 129.0, "{what}: chi-square {}", chi_square(counts));
    }
    // uniform in +-pi and +-1: variances pi^2 / 3 and 1 / 3, and no correlation
    let n = angles.len() as f64;
    let mean = |f: &dyn Fn(&[f64; 2]) -> f64| angles.iter().map(f).sum::<f64>() / n;
    let correlation = mean(&|x| x[0] * x[1]) / (std::f64::consts::PI / 3.0);
    assert!(correlation.abs() < 5.0 / n.sqrt(), "correlation {correlation}");
    let neighbours = angles.windows(2).map(|pair| pair[0][0] * pair[1][0]).sum::<f64>() / n / (std::f64::consts::PI.powi(2) / 3.0);
    assert!(neighbours.abs() < 5.0 / n.sqrt(), "neighbouring environments {neighbours}");
}

#[test]
fn the_reference_tells_termination_from_truncation() {
    assert_eq!(reference(false, 3, 4, true), Ending { ends: false, terminated: false });
    assert_eq!(reference(false, 4, 4, false), Ending { ends: true, terminated: false });
    assert_eq!(reference(false, 4, 4, true), Ending { ends: true, terminated: true });
    assert_eq!(reference(true, 2, 4, false), Ending { ends: true, terminated: true });
}
