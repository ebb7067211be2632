//! Networks that learn with relative actions do not see what units an environment counts them in, in any plan or algorithm.
#![cfg(feature = "checkpoint")]

use ddpg_wgpu::checkpoint::Contents;
use ddpg_wgpu::{Algorithm, BatchNorm, Config, Environment, Gpu, HyperParameters, Minibatch, Options, Plan, Population, Tile, Trainer};

/// Two columns of vec4s, the second with padding.
const ACTIONS: usize = 5;
const UNIT: [(f32, f32); ACTIONS] = [(-1.0, 1.0); ACTIONS];
const OTHERS: [(f32, f32); ACTIONS] = [(-200.0, 200.0), (0.0, 3.0), (-5.0, -1.0), (-0.5, 0.75), (2.0, 2.25)];

/// A cart that five motors of different strength push, each by how far its action is from the middle of its bounds.
fn cart(bounds: [(f32, f32); ACTIONS]) -> Environment {
    let pushes = bounds.iter().zip(1..).enumerate().map(|(i, ((low, high), strength))| {
        let (half_range, centre) = (0.5 * (high - low), 0.5 * (high + low));
        format!("    push += {strength}.0 * (action[{i}] - {centre:?}) / {half_range:?};\n")
    });
    let source = format!(
        "fn environment_reset(random: ptr<function, Random>) -> State {{
    return State(2.0 * random_uniform(random) - 1.0, random_uniform(random));
}}
fn environment_step(state: State, action: Action, random: ptr<function, Random>) -> Step {{
    var push = 0.0;
{}    let velocity = 0.9 * state[1] + 0.02 * push;
    let position = state[0] + 0.1 * velocity;
    return Step(State(position, velocity), -position * position - 0.01 * push * push, false);
}}
fn environment_observe(state: State) -> Observation {{
    return state;
}}",
        pushes.collect::<String>()
    );
    let (low, high) = bounds.into_iter().unzip();
    Environment::new("Cart", source, 2, 2, low, high, 10).unwrap_or_else(|error| panic!("{error}"))
}

fn config(relative_actions: bool) -> Config {
    let mut config = Config::default();
    (config.agents, config.environments, config.relative_actions) = (2, 5, relative_actions);
    (config.actor_hidden, config.critic_hidden) = (vec![21, 9], vec![13, 10]);
    (config.batch_size, config.replay_capacity, config.learning_starts, config.random_steps) = (13, 100, 20, 10);
    // rounding differs with the units; without it Adam makes a step of any of the smallest gradients
    config.adam_epsilon = 1e-3;
    config
}

/// All networks of all agents after some thirty updates, and how many of their actions are at their bounds.
fn learned(bounds: [(f32, f32); ACTIONS], config: &Config, options: Options) -> Vec<(String, Vec<f32>)> {
    let gpu = Gpu::open_blocking(None).unwrap_or_else(|error| panic!("{error}"));
    let hyper_parameters = HyperParameters::of_population(config);
    let population = Population::with_options(&gpu.device, &gpu.queue, &cart(bounds), config, hyper_parameters, options);
    let mut trainer = Trainer::from_population(population.unwrap_or_else(|error| panic!("{error}")));
    trainer.advance_blocking(33).unwrap_or_else(|error| panic!("{error}"));
    let measured = trainer.measure_blocking().expect("they are measured");
    assert!(measured.iter().all(|agent| agent.updates >= 29 && agent.halted.is_none()), "{measured:?}");
    let snapshots = trainer.snapshot_blocking(Contents::Parameters).expect("they are read");
    let networks = snapshots.iter().flat_map(|snapshot| {
        let tensor = |name: &str| snapshot.tensor(name).expect("it has it").1.to_vec();
        snapshot.tensor_names().map(move |name| (format!("agent {}, {name}", snapshot.agent), tensor(name)))
    });
    let saturated = measured.iter().map(|agent| (format!("agent {}, saturated", agent.agent), agent.saturated.into_iter().collect()));
    networks.chain(saturated).collect()
}

/// The largest difference between two of the same numbers, in thousandths, and where it is.
fn difference(expected: &[(String, Vec<f32>)], actual: &[(String, Vec<f32>)]) -> (f32, String) {
    assert_eq!(expected.len(), actual.len());
    let mut largest = (0.0, String::new());
    for ((name, expected), (_, actual)) in expected.iter().zip(actual) {
        for (a, b) in expected.iter().zip(actual) {
            let apart = 1e3 * (a - b).abs() / (1.0 + a.abs());
            if apart > largest.0 || apart.is_nan() {
                largest = (apart, format!("{name}: {b}, but {a} with actions from -1 to 1"));
            }
        }
    }
    largest
}

fn do_not_see_the_units(what: &str, config: &Config, options: Options) {
    let [unit, others] = [UNIT, OTHERS].map(|bounds| learned(bounds, config, options));
    let (apart, place) = difference(&unit, &others);
    assert!(apart <= 1.0, "{what}, {place}");
}

fn by(plan: Plan, tile: Tile) -> Options {
    let mut options = Options::default();
    (options.plan, options.tile) = (Some(plan), Some(tile));
    options
}

#[test]
fn networks_do_not_see_the_units_in_any_plan() {
    do_not_see_the_units("as is best here", &config(true), Options::default());
    do_not_see_the_units("layer by layer", &config(true), by(Plan::Layered, Tile::Portable));
    do_not_see_the_units("in bands", &config(true), by(Plan::Specialised, Tile::Small));
    do_not_see_the_units("whole iterations", &config(true), by(Plan::Fused, Tile::Portable));
}

#[test]
fn networks_do_not_see_the_units_whatever_the_algorithm() {
    let mut with_batch_norm = config(true);
    (with_batch_norm.batch_norm, with_batch_norm.action_layer) = (BatchNorm::InputAndHidden, 2);
    do_not_see_the_units("batch norm", &with_batch_norm, Options::default());
    for algorithm in [Algorithm::OnPolicy, Algorithm::OffPolicy, Algorithm::Compatible] {
        let mut config = config(true);
        config.algorithm = algorithm;
        if algorithm == Algorithm::OnPolicy {
            config.minibatch = Minibatch::Latest;
        }
        do_not_see_the_units(&format!("{algorithm:?}"), &config, Options::default());
    }
}

/// What the tests above hold only because actions are relative.
#[test]
fn actions_in_their_own_units_are_seen() {
    let [unit, others] = [UNIT, OTHERS].map(|bounds| learned(bounds, &config(false), Options::default()));
    assert!(difference(&unit, &others).0 > 10.0);
    // with bounds of ±1 they are the same
    let (apart, place) = difference(&unit, &learned(UNIT, &config(true), Options::default()));
    assert!(apart == 0.0, "{place}");
}

#[test]
fn a_critic_does_not_change_its_units() {
    let gpu = Gpu::open_blocking(None).unwrap_or_else(|error| panic!("{error}"));
    let [mut relative, mut own] =
        [true, false].map(|relative| Trainer::new(&gpu.device, &gpu.queue, &cart(UNIT), &config(relative)).expect("a trainer"));
    let snapshots = relative.snapshot_blocking(Contents::Training).expect("they are read");
    relative.restore(&snapshots).expect("its own");
    let message = own.restore(&snapshots).expect_err("another's").to_string();
    assert!(message.contains("its critic learned with relative_actions = true, but that of this population takes false"), "{message}");
}
