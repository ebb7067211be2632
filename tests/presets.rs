//! Pins every number of every preset to the value its source prints, so that neither code nor documentation drifts.
#![cfg(feature = "serde")]

use ddpg_wgpu::{Config, Preset};
use serde_json::{Value, json};

/// One setting: its name, and what the modern, paper and seed presets set it to.
type Pin = (&'static str, Value, Value, Value);

/// Sources: "paper" is Lillicrap et al. 2016, *Continuous control with deep reinforcement learning*, section 7 unless
/// another is named; "seed" is the 2017 TensorFlow program this project started from, its command-line defaults and its
/// networks; "modern" is our own choice, by our own measurements.
fn pins() -> Vec<Pin> {
    let same = |name, value: Value| (name, value.clone(), value.clone(), value);
    vec![
        // one run is one agent, unless asked otherwise
        same("agents", json!(1)),
        // both publications step one environment; eight an agent reach a good policy soonest
        ("environments", json!(8), json!(1), json!(1)),
        // seed: --random-seed 1234; the paper names none
        ("seed", json!(1), json!(1), json!(1234)),
        // all three are DDPG
        same("algorithm", json!("ddpg")),
        same("optimizer", json!("adam")),
        same("minibatch", json!("replay")),
        // of effect in COPDAC-Q alone
        same("compatible_learning_rate", json!(1e-3)),
        same("basis_weights", json!(4.0)),
        same("basis_biases", json!(4.0)),
        // paper, section 4: "at most 2.5 million steps of experience"; seed: --max-episodes 50000, of Pendulum's 200 steps
        ("steps", json!(36_000), json!(2_500_000), json!(10_000_000)),
        // paper: two hidden layers of 400 and 300 units; seed: the same
        ("actor_hidden", json!([64, 64]), json!([400, 300]), json!([400, 300])),
        ("critic_hidden", json!([64, 64]), json!([400, 300]), json!([400, 300])),
        // paper: actions are included from the second hidden layer of Q on; seed: the same
        ("action_layer", json!(1), json!(2), json!(2)),
        // paper: none printed, its actions range over ±1; seed: the actor's output times its bound, 2, goes to the critic
        ("relative_actions", json!(true), json!(false), json!(false)),
        // paper: uniform in ±1/√fan-in; seed: its layer library's default, a truncated normal of deviation 0.02
        ("hidden_initialization", json!("fan-in"), json!("fan-in"), json!({ "truncated-normal": 0.02 })),
        // paper: the final layers uniform in ±3e-3 (low-dimensional case); seed: the same
        ("output_initialization", json!(0.125), json!(3e-3), json!(3e-3)),
        // paper: on the state input, all layers of μ, and the layers of Q before the action; seed: hidden layers only
        ("batch_norm", json!("none"), json!("input-and-hidden"), json!("hidden")),
        // paper: Ioffe & Szegedy 2015, statistics of the minibatch; seed: never leaves inference mode
        ("online_statistics", json!("batch"), json!("batch"), json!("running")),
        ("target_statistics", json!("batch"), json!("batch"), json!("running")),
        ("update_running_statistics", json!(true), json!(true), json!(false)),
        // seed: 1e-5, its layer library's default; the paper prints none
        same("batch_norm_epsilon", json!(1e-5)),
        // of no effect in the seed; the paper prints none
        same("batch_norm_decay", json!(0.99)),
        // paper: 1e-4 and 1e-3; seed: --actor-lr 1e-4 and --critic-lr 1e-3
        ("actor_learning_rate", json!(1e-3), json!(1e-4), json!(1e-4)),
        ("critic_learning_rate", json!(4e-3), json!(1e-3), json!(1e-3)),
        // paper: Adam; the numbers are those of Kingma & Ba 2015, Algorithm 1, and TensorFlow's defaults
        same("adam_beta1", json!(0.9)),
        same("adam_beta2", json!(0.999)),
        same("adam_epsilon", json!(1e-8)),
        // paper: L2 decay of 1e-2 for Q; seed: none
        same("actor_weight_decay", json!(0.0)),
        ("critic_weight_decay", json!(0.0), json!(1e-2), json!(0.0)),
        // paper: 0.99; seed: --gamma 0.99
        same("gamma", json!(0.99)),
        // paper: 0.001; seed: --tau 0.001
        ("tau", json!(4e-2), json!(1e-3), json!(1e-3)),
        // paper: soft updates; seed: the same
        same("target_update", json!("soft")),
        // paper, Algorithm 1: targets start as copies; seed: one soft update towards the online networks
        ("initial_blend", json!(1.0), json!(1.0), json!(1e-3)),
        // paper: minibatches of 64 (low-dimensional case); seed: --minibatch-size 64
        same("batch_size", json!(64)),
        // paper: 1e6; seed: --buffer-size 1e6
        ("replay_capacity", json!(100_000), json!(1_000_000), json!(1_000_000)),
        // paper: none printed, a batch is the least; seed: once the buffer holds more than a minibatch
        ("learning_starts", json!(1000), json!(64), json!(65)),
        same("partial_batches", json!(false)),
        // paper, Algorithm 1: one update a step; seed: the same
        same("updates_per_iteration", json!(1)),
        ("random_steps", json!(1000), json!(0), json!(0)),
        // paper: Ornstein–Uhlenbeck, θ 0.15, σ 0.2, no dt; seed: σ 0.3, θ 0.15, dt 1e-2
        (
            "exploration",
            json!({ "kind": "gaussian", "sigma": 0.2 }),
            json!({ "kind": "ornstein-uhlenbeck", "sigma": 0.2, "theta": 0.15, "dt": 1.0, "start": 0.0 }),
            json!({ "kind": "ornstein-uhlenbeck", "sigma": 0.3, "theta": 0.15, "dt": 1e-2, "start": 0.0 }),
        ),
        // no publication of ours lessens its noise
        same("noise_schedule", json!({ "kind": "constant" })),
        // seed: noise in units of torque
        ("relative_noise", json!(true), json!(true), json!(false)),
        // paper, Algorithm 1: a random process is initialised each episode; seed: never reset
        ("reset_noise", json!(true), json!(true), json!(false)),
        // seed: stores what it asked for, not what the environment clipped it to
        ("store_unclipped_actions", json!(false), json!(false), json!(true)),
        // seed: stores the time limit as the end of the task
        ("truncation_is_terminal", json!(false), json!(false), json!(true)),
        // seed: --max-episode-len 1000, beyond Pendulum's own limit of 200
        ("maximum_episode_length", json!(0), json!(0), json!(1000)),
    ]
}

/// Numbers as the float32 that the settings are, so that 0.1 is 0.1.
fn rounded(value: &Value) -> Value {
    match value {
        Value::Number(number) if number.is_f64() => json!(number.as_f64().map(|number| number as f32)),
        Value::Array(values) => values.iter().map(rounded).collect(),
        Value::Object(entries) => entries.iter().map(|(key, value)| (key.clone(), rounded(value))).collect(),
        other => other.clone(),
    }
}

#[test]
fn every_number_of_every_preset_is_pinned() {
    for (column, preset) in [Preset::Modern, Preset::Paper, Preset::Seed].into_iter().enumerate() {
        let config = serde_json::to_value(Config::preset(preset)).expect("a configuration is JSON");
        let config = config.as_object().expect("a configuration is an object");
        let pins = pins();
        for (name, modern, paper, seed) in &pins {
            let pinned = [modern, paper, seed][column];
            let found = config.get(*name).unwrap_or_else(|| panic!("there is no setting {name}"));
            assert_eq!(rounded(found), rounded(pinned), "{name} of the {} preset", preset.name());
        }
        for name in config.keys() {
            assert!(pins.iter().any(|(pinned, ..)| pinned == name), "{name} is not pinned: add it with its source");
        }
    }
}

#[test]
fn presets_are_valid_and_the_default_is_modern() {
    for preset in Preset::ALL {
        Config::preset(preset).validate().unwrap_or_else(|error| panic!("{}: {error}", preset.name()));
    }
    assert_eq!(Config::default(), Config::preset(Preset::Modern));
    assert_eq!(Preset::ALL.map(Preset::name), ["modern", "paper", "seed", "on-policy", "off-policy", "copdac-q"]);
}

/// The presets of Silver et al. 2014 start from the paper's and change these.
#[test]
fn the_presets_of_2014_are_pinned() {
    let common = json!({
        "environments": 64, "steps": 1_280_000, "algorithm": "on-policy", "optimizer": "gradient-descent", "minibatch": "latest",
        "actor_hidden": [64, 64], "critic_hidden": [64, 64], "action_layer": 1, "batch_norm": "none", "actor_learning_rate": 1e-3,
        "critic_learning_rate": 5e-3, "critic_weight_decay": 0.0, "gamma": 0.9, "replay_capacity": 128, "learning_starts": 128,
        "exploration": { "kind": "gaussian", "sigma": 0.2 },
    });
    let off_policy = json!({
        "environments": 8, "steps": 160_000, "algorithm": "off-policy", "minibatch": "replay", "replay_capacity": 100_000,
    });
    let copdac_q = json!({
        "algorithm": "compatible", "critic_hidden": [256], "critic_learning_rate": 4e-3, "compatible_learning_rate": 3e-2,
    });
    let changes = [(Preset::OnPolicy, json!({})), (Preset::OffPolicy, off_policy), (Preset::CopdacQ, copdac_q)];
    for (preset, own) in changes {
        let mut expected = serde_json::to_value(Config::preset(Preset::Paper)).expect("a configuration is JSON");
        for changes in [&common, &own] {
            for (name, value) in changes.as_object().expect("an object") {
                let setting = expected.get_mut(name).unwrap_or_else(|| panic!("there is no setting {name}"));
                *setting = value.clone();
            }
        }
        let found = serde_json::to_value(Config::preset(preset)).expect("a configuration is JSON");
        assert_eq!(rounded(&found), rounded(&expected), "{}", preset.name());
    }
}
