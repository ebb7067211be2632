use super::*;
use crate::buffer::read_blocking;
use crate::config::Config;
use crate::kernels::harness::{Numbers, Place, Rig, assert_close, chi_square, rig, rigs};
use crate::kernels::philox::purpose;
use crate::kernels::world::{Stored, World, marked, probe, quiet};
use crate::memory::AgentState;
use crate::{Environment, Population, philox};

#[test]
fn the_ring_is_first_in_first_out_and_wraps_within_a_step() {
    // capacities that environments do and do not divide, and one that a single step fills
    for (environments, capacity, steps) in [(5, 17, 9), (4, 12, 8), (7, 7, 3), (1, 3, 8), (3, 100, 5)] {
        let environment = probe(2);
        let mut world = World::new(rig(&environment), &environment, &quiet(2, environments, capacity));
        world.reset();
        let mut rings: Vec<Ring<Stored>> = vec![Ring::new(capacity as usize); 2];
        let mut numbers = Numbers::new(capacity.into());
        for step in 0..steps {
            let mut given = Vec::new();
            for agent in 0..2 {
                // within the bounds of both actions
                let actions = numbers.uniform(environments * 2, 0.0, 1.0);
                world.put_actor_output(agent, &actions);
                given.push((world.observations(agent), actions));
            }
            world.step(1);
            for (agent, (observations, actions)) in (0..2).zip(&given) {
                let ring = &mut rings[agent as usize];
                let seed = world.contents.hyper_parameters[agent as usize].seed;
                for e in 0..environments as usize {
                    let observation = observations[5 * e..5 * e + 5].to_vec();
                    let action = actions[2 * e..2 * e + 2].to_vec();
                    let [age, life, mark] = [observation[0] + 1.0, observation[1], marked(observation[2], seed, step, e as u32)];
                    ring.push(Stored {
                        observation,
                        reward: age + action[0] + action[1],
                        action,
                        terminated: f32::from(u8::from(age >= life)),
                        next_observation: vec![age, life, mark, age * life, 1.0],
                    });
                }
                let what = format!("{environments} environments, capacity {capacity}, step {step}, agent {agent}");
                let held: Vec<_> = (0..ring.len() as u32).map(|slot| world.stored(agent, slot)).collect();
                assert_eq!(held, ring.slots(), "{what}");
                let state = world.contents.states[agent as usize];
                assert_eq!((state.replay_length, state.replay_head), (ring.len() as u32, ring.head() as u32), "{what}");
                assert!(
                    (ring.len() as u32..capacity).all(|slot| world.slot(agent, slot).iter().all(|x| x.is_nan())),
                    "{what}: empty slots"
                );
            }
        }
    }
}

/// An action in half ranges from its centre.
fn half_ranges(environment: &Environment, action: &[f32]) -> Vec<f64> {
    let bounds = environment.action_low.iter().zip(&environment.action_high).map(|(&low, &high)| [low, high].map(f64::from));
    action.iter().zip(bounds).map(|(&action, [low, high])| 2.0 * (f64::from(action) - 0.5 * (high + low)) / (high - low)).collect()
}

/// A world whose rings hold `length` of `capacity` known transitions an agent.
fn filled(rig: Rig, environment: &Environment, config: &Config, length: u32) -> World {
    let mut world = World::new(rig, environment, config);
    for agent in 0..config.agents {
        for slot in 0..length {
            let first = (agent * 1_000_000 + slot * 16) as f32;
            for (i, float) in world.slot(agent, slot).iter_mut().enumerate() {
                *float = first + i as f32;
            }
        }
        world.contents.states[agent as usize].replay_length = length;
    }
    world
}

#[test]
fn minibatches_hold_the_drawn_transitions_and_small_rings_give_each_once() {
    // with the action at the first layer the policy step reads a copy of the observation of its own
    for (actions, action_layer, hidden, relative) in [(2, 1, vec![4], false), (5, 2, vec![4, 4], true), (3, 1, vec![4, 4], true)] {
        let environment = probe(actions);
        let sizes = [(1, 1), (8, 3), (8, 8), (31, 100), (65, 64), (64, 100), (100, 1)];
        // the tile of GPUs samples within its bands, which the golden updates test
        let rigs = rigs(&environment).into_iter().filter(|rig| !rig.pipelines.tile.mixes_kinds());
        for (rig, (rows, length)) in rigs.flat_map(|rig| sizes.map(|sizes| (rig.clone(), sizes))) {
            let config =
                Config { batch_size: rows, critic_hidden: hidden.clone(), action_layer, relative_actions: relative, ..quiet(3, 1, 100) };
            let mut world = filled(rig, &environment, &config, length);
            for (agent, state) in world.contents.states.iter_mut().enumerate() {
                state.updates = 10 + agent as u32;
            }
            world.sample();
            let taken = rows.min(length);
            for agent in 0..3 {
                let seed = world.contents.hyper_parameters[agent as usize].seed;
                let update = &world.update;
                let place = |matrix: crate::operation::Matrix, columns| Place::new(matrix.offset, matrix.stride, columns);
                let observation = place(update.observation, 5);
                let (next, action, rewards) = (place(update.next_observation, 5), place(update.action, actions), place(update.rewards, 4));
                let operation = update.steps.0[0].operation;
                let copy = (operation.extra != crate::operation::NOWHERE).then(|| Place::new(operation.extra, operation.extra_stride, 5));
                assert_eq!(copy.is_some(), action_layer == 1);
                for row in 0..taken {
                    let words = philox([10 + agent, row, purpose::SAMPLE, 0], [seed as u32, (seed >> 32) as u32]);
                    let expected = world.stored(agent, reference_slot(words[0], row, rows, length));
                    let activations = world.contents.activations_of(agent);
                    let of = |place: Place| Place { offset: place.offset + row * place.stride, ..place }.take(activations, 1);
                    let what = format!("{}, {actions} actions, agent {agent}, row {row} of {rows}, {length} held", world.rig.name);
                    assert_eq!(of(observation), expected.observation, "{what}: observation");
                    match relative {
                        false => assert_eq!(of(action), expected.action, "{what}: action"),
                        true => assert_close(&of(action), &half_ranges(&environment, &expected.action), 1e-6, 1e-6, &what),
                    }
                    assert_eq!(of(next), expected.next_observation, "{what}: next observation");
                    assert_eq!(of(rewards), [expected.reward, expected.terminated, 0.0, 0.0], "{what}: reward, terminated");
                    if let Some(copy) = copy {
                        assert_eq!(of(copy), expected.observation, "{what}: the policy step's observation");
                    }
                }
            }
        }
    }
}

/// Slots that `updates` successive minibatches of `rows` were drawn from, agent by agent, update by update.
fn draws(capacity: u32, length: u32, head: u32, rows: u32, updates: u32) -> Vec<Vec<Vec<u32>>> {
    let environment = probe(2);
    let mut world = filled(rig(&environment), &environment, &Config { batch_size: rows, ..quiet(3, 1, capacity) }, length);
    let mut drawn = vec![Vec::new(); 3];
    for update in 0..updates {
        for state in &mut world.contents.states {
            (state.updates, state.replay_head) = (update, head);
        }
        world.sample();
        for agent in 0..3 {
            let matrix = world.update.observation;
            let place = Place::new(matrix.offset, matrix.stride, 5);
            let observations = place.take(world.contents.activations_of(agent), rows);
            let slot = |first: &f32| (*first as u32 - agent * 1_000_000) / 16;
            drawn[agent as usize].push(observations.iter().step_by(5).map(slot).collect::<Vec<_>>());
        }
    }
    drawn
}

#[test]
fn sampling_is_uniform_over_partly_filled_and_wrapped_rings_and_independent() {
    for (capacity, length, head) in [(1500, 1000, 1000), (1000, 1000, 371)] {
        // 300 draws a slot: one that is never or twice as often drawn moves chi-square by 300
        let drawn = draws(capacity, length, head, 1000, 300);
        for (agent, updates) in drawn.iter().enumerate() {
            let mut counts = vec![0u32; length as usize];
            updates.iter().flatten().for_each(|&slot| counts[slot as usize] += 1);
            assert!(counts.iter().all(|&count| count > 0), "agent {agent}: some slots are never drawn");
            // 999 degrees of freedom: above 1228 with probability 1e-6 (Wilson & Hilferty)
            let chi_square = chi_square(&counts);
            assert!(chi_square < 1228.0, "agent {agent}, {length} of {capacity}: chi-square {chi_square}");
            // pairs of rows of one minibatch, in a table of 32 by 32: 1023 degrees of freedom
            let table = |pairs: &mut dyn Iterator<Item = (u32, u32)>, what: &str| {
                let mut counts = vec![0u32; 1024];
                pairs.for_each(|(a, b)| counts[(a * 32 / length * 32 + b * 32 / length) as usize] += 1);
                let expected: f64 = counts.iter().sum::<u32>().into();
                // 32 bins of 1000 slots are of 31 or 32
                let share = |i: u32| f64::from((0..length).filter(|slot| slot * 32 / length == i).count() as u32) / f64::from(length);
                let shares: Vec<f64> = (0..32).map(share).collect();
                let chi_square: f64 = counts
                    .iter()
                    .enumerate()
                    .map(|(i, &count)| {
                        let expected = expected * shares[i / 32] * shares[i % 32];
                        (f64::from(count) - expected).powi(2) / expected
                    })
                    .sum();
                assert!(chi_square < 1255.0, "agent {agent}, {what}: chi-square {chi_square}");
            };
            table(&mut updates.iter().flat_map(|rows| rows.windows(2).step_by(2).map(|pair| (pair[0], pair[1]))), "neighbouring rows");
            let successive = updates.windows(2).step_by(2);
            table(&mut successive.flat_map(|pair| pair[0].iter().copied().zip(pair[1].iter().copied())), "successive updates");
            let other = &drawn[(agent + 1) % 3];
            let both = updates.iter().zip(other);
            table(&mut both.flat_map(|(a, b)| a.iter().copied().zip(b.iter().copied())), "agents");
        }
    }
}

#[test]
fn a_population_waits_for_a_batch_clears_its_ring_and_takes_partial_batches_only_if_asked() {
    let gpu = crate::kernels::harness::default_limits();
    let config = Config { batch_size: 10, learning_starts: 1, ..quiet(2, 3, 20) };
    let environment = Environment::pendulum_v1();
    let mut population = Population::new(&gpu.device, &gpu.queue, &environment, &config).unwrap_or_else(|error| panic!("{error}"));
    let run = |population: &mut Population, iterations| {
        let mut encoder = gpu.device.create_command_encoder(&Default::default());
        population.record_iterations(&mut encoder, iterations);
        gpu.queue.submit([encoder.finish()]);
        states(gpu, population)
    };
    let of = |states: &[AgentState]| states.iter().map(|s| (s.replay_length, s.replay_head, s.updates)).collect::<Vec<_>>();
    // nine transitions are not ten
    assert_eq!(of(&run(&mut population, 3)), [(9, 9, 0); 2]);
    assert_eq!((population.learns(), population.replay_length()), (false, 9));
    assert_eq!(of(&run(&mut population, 1)), [(12, 12, 1); 2]);
    assert_eq!(of(&run(&mut population, 5)), [(20, 7, 6); 2]);
    let before = states(gpu, &population);
    let mut encoder = gpu.device.create_command_encoder(&Default::default());
    population.record_clear_replay(&mut encoder);
    gpu.queue.submit([encoder.finish()]);
    let emptied = states(gpu, &population);
    for (before, after) in before.iter().zip(&emptied) {
        assert_eq!(*after, AgentState { replay_length: 0, replay_head: 0, ..*before });
    }
    assert_eq!((population.learns(), population.replay_length()), (false, 0));
    // it waits again
    assert_eq!(of(&run(&mut population, 3)), [(9, 9, 6); 2]);
    assert_eq!(of(&run(&mut population, 1)), [(12, 12, 7); 2]);
    // restart empties too, and here the configuration asks for what there is
    population.config.partial_batches = true;
    population.restart();
    assert_eq!(of(&states(gpu, &population)), [(0, 0, 0); 2]);
    assert!(!population.learns());
    assert_eq!(of(&run(&mut population, 1)), [(3, 3, 1); 2]);
    assert_eq!(of(&run(&mut population, 1)), [(6, 6, 2); 2]);
}

fn states(gpu: &crate::Gpu, population: &Population) -> Vec<AgentState> {
    let buffer = &population.memory.buffers.agent_states;
    let bytes = size_of::<AgentState>() as u64 * u64::from(population.config().agents);
    let states = read_blocking(&gpu.device, &gpu.queue, buffer, 0..bytes).unwrap_or_else(|error| panic!("{error}"));
    gpu.check().unwrap_or_else(|error| panic!("{error}"));
    states
}

#[test]
fn the_reference_ring_forgets_the_oldest_first() {
    let mut ring = Ring::new(3);
    assert!(ring.is_empty());
    (1..=5).for_each(|number| ring.push(number));
    assert_eq!((ring.slots(), ring.len(), ring.head()), (&[4, 5, 3][..], 3, 2));
    ring.clear();
    assert_eq!((ring.len(), ring.head()), (0, 0));
}
