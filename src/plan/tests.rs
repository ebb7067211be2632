//! Every plan against the layered one, over iterations of rollout and learning; the fused one over a hundred updates.

use super::Plan;
use crate::buffer::read_blocking;
use crate::kernels::harness::default_limits;
use crate::kernels::{Dealing, Tile};
use crate::population::{Options, Population};
use crate::{BatchNorm, Config, Environment, Gpu, HaltReason, HyperParameters, Optimizer, Trainer};

/// Awkward widths, batch and number of environments; agents that differ in their hyper-parameters.
fn config(agents: u32) -> Config {
    let mut config = Config::default();
    config.agents = agents;
    config.environments = 3;
    config.actor_hidden = vec![37, 20];
    config.critic_hidden = vec![33, 65, 7];
    config.action_layer = 2;
    config.batch_size = 21;
    config.replay_capacity = 150;
    config.learning_starts = 40;
    config.random_steps = 30;
    config.tau = 2e-2;
    config.critic_weight_decay = 1e-2;
    config
}

/// After `iterations`, recorded one count after the other.
fn trained(gpu: &Gpu, config: &Config, environment: &Environment, options: Options, iterations: &[u64]) -> Trainer {
    let mut hyper_parameters = HyperParameters::of_population(config);
    for (agent, hyper) in hyper_parameters.iter_mut().enumerate() {
        hyper.tau *= 1.0 + agent as f32;
    }
    let population = Population::with_options(&gpu.device, &gpu.queue, environment, config, hyper_parameters, options)
        .unwrap_or_else(|error| panic!("{options:?}: {error}"));
    assert_eq!(Some(population.plan()), options.plan);
    let mut trainer = Trainer::from_population(population);
    for &iterations in iterations {
        trainer.advance_blocking(iterations).unwrap_or_else(|error| panic!("{options:?}: {error}"));
    }
    trainer
}

fn by(plan: Plan, tile: Option<Tile>) -> Options {
    let mut options = Options::default();
    (options.plan, options.tile) = (Some(plan), tile);
    options
}

fn parameters(gpu: &Gpu, trainer: &Trainer) -> Vec<f32> {
    let population = trainer.population();
    let bytes = 16 * u64::from(population.memory.sizes.parameters_stride) * u64::from(population.config().agents);
    let parameters = read_blocking(&gpu.device, &gpu.queue, &population.memory.buffers.parameters, 0..bytes);
    gpu.check().unwrap_or_else(|error| panic!("{error}"));
    parameters.unwrap_or_else(|error| panic!("{error}"))
}

/// Within a thousandth: rounding differs, and an update amplifies it.
fn agree(expected: &[f32], actual: &[f32], what: &str) {
    assert_eq!(expected.len(), actual.len());
    for (index, (&expected, &actual)) in expected.iter().zip(actual).enumerate() {
        let close = actual.is_finite() && (actual - expected).abs() <= 1e-3 + 1e-3 * expected.abs();
        assert!(close, "{what}: parameter {index} is {actual}, expected {expected}");
    }
}

/// A hundred updates of `plan` against those of the layered one.
fn agrees(gpu: &Gpu, config: &Config, environment: &Environment, plan: Plan) {
    let [mut layered, mut other] = [Plan::Layered, plan].map(|plan| trained(gpu, config, environment, by(plan, None), &[113]));
    let [counted, counted_too] = [&mut layered, &mut other].map(|trainer| trainer.measure_blocking().expect("they are measured"));
    for (a, b) in counted.iter().zip(&counted_too) {
        assert_eq!((a.steps, a.updates, a.replay_length, a.halted), (b.steps, b.updates, b.replay_length, b.halted), "{plan}");
        assert_eq!(a.updates, 100, "{plan}");
        let (a, b) = (a.critic_loss.unwrap_or(f32::NAN), b.critic_loss.unwrap_or(f32::NAN));
        assert!((a - b).abs() <= 1e-3 * a.abs(), "{plan}: critic loss {b}, layered {a}");
    }
    agree(&parameters(gpu, &layered), &parameters(gpu, &other), plan.name());
}

/// However the iterations are cut into dispatches, the bits are the same.
fn keeps_its_bits(gpu: &Gpu, config: &Config, environment: &Environment, plan: Plan) {
    let [whole, cut] =
        [&[25][..], &[1, 15, 2, 7]].map(|iterations| parameters(gpu, &trained(gpu, config, environment, by(plan, None), iterations)));
    assert!(whole == cut, "{plan}: another cut gives other parameters");
}

/// A population that starts anew does what it did, bit by bit, and counts from zero.
fn starts_anew(gpu: &Gpu, config: &Config, environment: &Environment, plan: Plan) {
    let mut trainer = trained(gpu, config, environment, by(plan, None), &[]);
    let [first, second] = [(); 2].map(|()| {
        trainer.population.restart();
        trainer.advance_blocking(60).unwrap_or_else(|error| panic!("{error}"));
        (parameters(gpu, &trainer), trainer.measure_blocking().expect("they are measured"))
    });
    assert_eq!(first.1, second.1, "{plan}");
    assert!(first.1.iter().all(|measured| measured.updates > 40 && measured.episodes.len() == 6 && measured.episodes[0].number == 0));
    assert!(first.0 == second.0, "{plan}: another start gives other parameters");
}

#[test]
fn the_fused_plan_agrees_with_the_layered_one() {
    agrees(default_limits(), &config(2), &Environment::pendulum_v1(), Plan::Fused);
    keeps_its_bits(default_limits(), &config(2), &Environment::pendulum_v1(), Plan::Fused);
    starts_anew(default_limits(), &config(2), &Environment { time_limit: 25, ..Environment::pendulum_v1() }, Plan::Fused);
}

#[test]
fn the_fused_plan_agrees_with_batch_norm() {
    let mut config = config(1);
    config.batch_norm = BatchNorm::InputAndHidden;
    config.actor_hidden = vec![20, 9];
    config.critic_hidden = vec![20, 9];
    config.adam_epsilon = 1e-3;
    agrees(default_limits(), &config, &Environment::pendulum_v1(), Plan::Fused);
}

/// As on a GPU: a dispatch takes all kinds of a stage, small stages are one dispatch, inner dimensions are split, and bands
/// of rows go through chains of layers in workgroup memory.
#[test]
fn stages_of_mixed_kinds_and_bands_agree_with_a_dispatch_a_kind() {
    let (gpu, environment) = (default_limits(), Environment::pendulum_v1());
    let mut config = config(2);
    (config.actor_hidden, config.critic_hidden) = (vec![37], vec![33, 65]);
    let [expected, actual] =
        [Tile::Portable, Tile::Small].map(|tile| trained(gpu, &config, &environment, by(Plan::Layered, Some(tile)), &[63]));
    let [separate, mixed] = [&expected, &actual].map(|trainer| trainer.population().dispatches().1);
    assert!(mixed == 4 && separate > 12, "{mixed} dispatches, {separate} where each kind has its own");
    agree(&parameters(gpu, &expected), &parameters(gpu, &actual), "mixed kinds and bands");
}

/// However finely work is dealt out: products split among many invocations or not at all, levels in one workgroup or a
/// dispatch each, in bands or layer by layer.
#[test]
fn every_dealing_agrees_with_the_usual_one() {
    let (gpu, environment) = (default_limits(), Environment::pendulum_v1());
    let of = |batch_norm, (invocations, chained, banded_agents)| {
        let mut config = config(2);
        (config.actor_hidden, config.critic_hidden, config.batch_norm, config.adam_epsilon) = (vec![37], vec![33, 65], batch_norm, 1e-3);
        let options = Options { dealing: Some(Dealing { invocations, chained, banded_agents }), ..by(Plan::Layered, Some(Tile::Small)) };
        let trainer = trained(gpu, &config, &environment, options, &[23]);
        (trainer.population().dispatches().1, parameters(gpu, &trainer))
    };
    for (batch_norm, dealings) in [
        (BatchNorm::None, &[((0, 0, 0), (12, 24)), ((1 << 20, 64, 0), (1, 1))][..]),
        (BatchNorm::InputAndHidden, &[((1 << 12, 0, 2), (16, 24))]),
    ] {
        let (usual, expected) = of(batch_norm, (32_768, 4, 32));
        for &(dealing, (fewest, most)) in dealings {
            let (dispatches, actual) = of(batch_norm, dealing);
            let what = format!("{batch_norm:?}, {dealing:?}: {dispatches} dispatches, usually {usual}");
            assert!((fewest..=most).contains(&dispatches) && dispatches != usual, "{what}");
            agree(&expected, &actual, &what);
        }
    }
}

/// The operations of the layered plan, of a rollout and of an update, as constants, without checks of their indices.
#[test]
fn the_specialised_plan_agrees_with_the_layered_one() {
    let (gpu, environment) = (default_limits(), Environment::pendulum_v1());
    let mut config = config(2);
    (config.actor_hidden, config.critic_hidden) = (vec![20], vec![37, 6]);
    (config.learning_starts, config.batch_size) = (21, 11);
    let by = |(plan, tile)| trained(gpu, &config, &environment, by(plan, Some(tile)), &[25]);
    let [expected, actual] = [(Plan::Layered, Tile::Portable), (Plan::Specialised, Tile::Small)].map(by);
    assert!(actual.population().dispatches().1 < expected.population().dispatches().1 && actual.population().updates() > 15);
    agree(&parameters(gpu, &expected), &parameters(gpu, &actual), "operations as constants");
}

#[test]
fn gpus_are_specialised_for_and_other_tiles_refused() {
    let gpu = default_limits();
    let chosen = |plan, tile| super::choose(&gpu.device, plan, tile);
    assert_eq!(chosen(None, Some(Tile::Small)).expect("a plan"), Plan::Specialised);
    assert_eq!(chosen(None, Some(Tile::Portable)).expect("a plan"), Plan::Layered);
    let refused = chosen(Some(Plan::Specialised), Some(Tile::Portable)).expect_err("it needs another tile").to_string();
    assert!(refused.contains("portable") && refused.contains("small") && refused.contains("layered"), "{refused}");
}

/// Sixteen rows a band, which several agents leave room for.
#[test]
fn wide_bands_agree_with_a_dispatch_a_kind() {
    let (gpu, environment) = (default_limits(), Environment::pendulum_v1());
    let mut config = config(32);
    (config.actor_hidden, config.critic_hidden, config.action_layer) = (vec![13], vec![9, 6], 1);
    (config.batch_size, config.learning_starts) = (63, 63);
    let [expected, actual] =
        [Tile::Portable, Tile::Small].map(|tile| trained(gpu, &config, &environment, by(Plan::Layered, Some(tile)), &[40]));
    let bands = actual.population().operations().iter().map(|operation| operation.band).max();
    assert_eq!(bands, Some(16));
    agree(&parameters(gpu, &expected), &parameters(gpu, &actual), "bands of sixteen rows");
}

/// Writes `number` into place `at` of all transitions of agent 1, where every row of the next minibatch may find it.
fn spoil(trainer: &Trainer, at: u32, number: f32) {
    let (population, sizes) = (trainer.population(), trainer.population().memory.sizes);
    for slot in 0..sizes.replay_capacity {
        let at = 4 * u64::from(sizes.replay_stride + slot * sizes.transition_stride + at);
        population.queue.write_buffer(&population.memory.buffers.replay, at, bytemuck::bytes_of(&number));
    }
}

/// However its steps are dealt out, an update whose loss is not finite changes nothing of its agent, and stops it alone, until it
/// starts anew.
#[test]
fn a_minibatch_that_is_not_finite_changes_nothing() {
    let (gpu, environment) = (default_limits(), Environment::pendulum_v1());
    let mut config = config(2);
    (config.actor_hidden, config.critic_hidden, config.partial_batches) = (vec![37], vec![33, 65], true);
    // whose steps are finite where gradients are: Adam would square them
    config.optimizer = Optimizer::GradientDescent;
    for (plan, tile) in [(Plan::Layered, Tile::Portable), (Plan::Layered, Tile::Small), (Plan::Specialised, Tile::Small)] {
        let mut trainer = trained(gpu, &config, &environment, by(plan, Some(tile)), &[]);
        // the squares of the second are not finite, of the third only their sum is not
        for reward in [f32::INFINITY, 1e25, 1.5e19] {
            let what = format!("{plan}, {tile:?}, rewards of {reward}");
            let initial = parameters(gpu, &trainer);
            trainer.advance_blocking(18).unwrap_or_else(|error| panic!("{what}: {error}"));
            let (before, counted) = (parameters(gpu, &trainer), trainer.measure_blocking().expect("they are measured"));
            let half = before.len() / 2;
            assert!(counted[1].updates > 0 && counted[1].halted.is_none(), "{what}: agent 1 has not started: {:?}", counted[1]);
            assert!(initial[half..] != before[half..], "{what}: agent 1 has not learned");
            let sizes = trainer.population().memory.sizes;
            spoil(&trainer, sizes.observation_size + sizes.action_size, reward);
            trainer.advance_blocking(3).unwrap_or_else(|error| panic!("{what}: {error}"));
            let (after, states) = (parameters(gpu, &trainer), trainer.measure_blocking().expect("they are measured"));
            assert!(before[half..] == after[half..], "{what}: agent 1 has changed");
            assert!(before[..half] != after[..half], "{what}: agent 0 has not learned");
            assert_eq!(states[1].updates, counted[1].updates, "{what}");
            assert_eq!(states[0].updates, counted[0].updates + 3, "{what}");
            let halted = states[1].halted.map(|halt| (halt.update, halt.reason));
            assert_eq!(halted, Some((counted[1].updates + 1, HaltReason::Loss)), "{what}");
            assert!(states[0].halted.is_none(), "{what}");
            trainer.population.restart();
        }
    }
}

/// As [`parameters`], of the tensors whose names hold `part`, online and target: one list an agent.
fn tensors(trainer: &Trainer, parameters: &[f32], part: &str) -> [Vec<f32>; 2] {
    let networks = &trainer.population().networks;
    let agents = parameters.chunks(parameters.len() / 2);
    let halves = agents.map(|parameters| {
        let halves = [parameters, &parameters[4 * networks.length as usize..]];
        let tensors = || [&networks.actor, &networks.critic].into_iter().flat_map(|network| network.tensors());
        let of_half = |half| tensors().filter(|tensor| tensor.name.contains(part)).flat_map(move |tensor| tensor.gather(half));
        halves.into_iter().flat_map(of_half).collect()
    });
    let halves: Vec<Vec<f32>> = halves.collect();
    <[_; 2]>::try_from(halves).expect("two agents")
}

/// What batch norm's running statistics follow is finite, of agents that have not stopped, and only where they are to follow.
#[test]
fn running_statistics_stay_with_an_agent_that_stopped_and_where_they_should() {
    let (gpu, environment) = (default_limits(), Environment::pendulum_v1());
    let mut config = config(2);
    (config.actor_hidden, config.critic_hidden, config.batch_norm) = (vec![13], vec![9, 6], BatchNorm::InputAndHidden);
    let mut trainer = trained(gpu, &config, &environment, by(Plan::Layered, Some(Tile::Portable)), &[]);
    let reward = environment.observation_size + environment.action_size();
    for (what, at) in [("an observation", 0), ("a reward", reward)] {
        let initial = parameters(gpu, &trainer);
        trainer.advance_blocking(25).unwrap_or_else(|error| panic!("{what}: {error}"));
        let before = parameters(gpu, &trainer);
        let [first, followed] = [&initial, &before].map(|parameters| tensors(&trainer, parameters, ".running_"));
        assert!((0..2).all(|agent| first[agent] != followed[agent]), "{what}: they have not followed");
        spoil(&trainer, at, f32::INFINITY);
        trainer.advance_blocking(1).unwrap_or_else(|error| panic!("{what}: {error}"));
        let stopped = parameters(gpu, &trainer);
        assert!(trainer.measure_blocking().expect("they are measured")[1].halted.is_some(), "{what}: agent 1 goes on");
        assert!(stopped.iter().all(|number| number.is_finite()), "{what}: parameters are not finite");
        // of a minibatch with another reward the observations are what they are
        let parts = if at == reward { &["weight", "bias", ".scale", ".shift"][..] } else { &[".running_"] };
        for &part in parts {
            let [before, stopped] = [&before, &stopped].map(|parameters| tensors(&trainer, parameters, part));
            assert!(before[1] == stopped[1] && !before[1].is_empty(), "{what}: {part} of agent 1");
        }
        trainer.advance_blocking(3).unwrap_or_else(|error| panic!("{what}: {error}"));
        let (after, half) = (parameters(gpu, &trainer), before.len() / 2);
        assert!(stopped[half..] == after[half..], "{what}: agent 1 has changed after it stopped");
        assert!(stopped[..half] != after[..half], "{what}: agent 0 has not learned");
        trainer.population.restart();
    }
    config.update_running_statistics = false;
    let mut trainer = trained(gpu, &config, &environment, by(Plan::Layered, Some(Tile::Portable)), &[]);
    let before = parameters(gpu, &trainer);
    trainer.advance_blocking(24).unwrap_or_else(|error| panic!("{error}"));
    let after = parameters(gpu, &trainer);
    assert!(trainer.population().updates() > 10 && tensors(&trainer, &before, "weight") != tensors(&trainer, &after, "weight"));
    assert!(tensors(&trainer, &before, ".running_") == tensors(&trainer, &after, ".running_"), "they have followed");
}
