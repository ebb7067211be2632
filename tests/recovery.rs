//! What has been learned outlives what goes wrong, and what cannot work is refused before it does harm.
#![cfg(feature = "checkpoint")]

use ddpg_wgpu::checkpoint::Contents;
use ddpg_wgpu::*;

fn gpu() -> Gpu {
    Gpu::open_blocking(None).unwrap_or_else(|error| panic!("{error}"))
}

fn small() -> Config {
    let mut config = Config::default();
    (config.actor_hidden, config.critic_hidden) = (vec![9], vec![9]);
    (config.agents, config.environments, config.batch_size) = (2, 1, 8);
    (config.replay_capacity, config.learning_starts, config.random_steps) = (200, 8, 0);
    config
}

/// A population whose transitions come from the host.
fn hosted(gpu: &Gpu, config: &Config) -> Population {
    let environment = Environment::host("of this test", 2, vec![-1.0], vec![1.0]).expect("sizes");
    Population::new(&gpu.device, &gpu.queue, &environment, config).unwrap_or_else(|error| panic!("{error}"))
}

/// Pushes `count` transitions an agent, the rewards of agent 1 replaced by `reward`.
fn push(population: &mut Population, count: usize, reward: f32) {
    let all = 2 * count;
    let numbers: Vec<f32> = (0..2 * all).map(|i| (i as f32 * 0.37).sin()).collect();
    let mut rewards = numbers[..all].to_vec();
    rewards[count..].fill(reward);
    let transitions = Transitions {
        observations: &numbers,
        actions: &numbers[..all],
        rewards: &rewards,
        next_observations: &numbers,
        terminated: &vec![false; all],
    };
    population.push_transitions(&transitions).expect("they fit");
}

fn updates(gpu: &Gpu, population: &mut Population, count: u64) -> Vec<Measurements> {
    let mut encoder = gpu.device.create_command_encoder(&Default::default());
    population.record_updates(&mut encoder, count);
    let pending = population.record_measurements(&mut encoder);
    gpu.queue.submit([encoder.finish()]);
    pending.wait_blocking(&gpu.device).expect("measured")
}

fn saved(gpu: &Gpu, population: &Population, contents: Contents) -> Vec<Snapshot> {
    let one = |agent| {
        let mut encoder = gpu.device.create_command_encoder(&Default::default());
        let pending = population.record_snapshot(&mut encoder, agent, contents).expect("there is such an agent");
        gpu.queue.submit([encoder.finish()]);
        pending.wait_blocking(&gpu.device).expect("it arrives")
    };
    (0..2).map(one).collect()
}

#[test]
fn an_agent_that_stopped_goes_on_with_the_parameters_it_is_given() {
    let gpu = gpu();
    for whole in [true, false] {
        let mut population = hosted(&gpu, &small());
        push(&mut population, 20, 1.0);
        assert_eq!(updates(&gpu, &mut population, 5)[1].updates, 5);
        let good = saved(&gpu, &population, Contents::Parameters);
        push(&mut population, 1, f32::NAN);
        let halted = updates(&gpu, &mut population, 5);
        assert!(halted[0].halted.is_none() && halted[0].updates == 10, "agent 0 goes on: {:?}", halted[0]);
        assert!(halted[1].halted.is_some_and(|halted| halted.reason == HaltReason::Environment) && halted[1].updates == 5);
        if whole {
            population.restore(&good).expect("they fit");
        } else {
            population.load_parameters(1, &good[1]).expect("they fit");
        }
        let after = updates(&gpu, &mut population, 7);
        assert_eq!((after[1].halted, after[1].updates), (None, 12), "whole: {whole}");
        // the first reason to stop stays
        push(&mut population, 200, 1e25);
        updates(&gpu, &mut population, 1);
        push(&mut population, 1, f32::NAN);
        let halted = updates(&gpu, &mut population, 1)[1].halted.map(|halted| (halted.reason, halted.update));
        assert_eq!(halted, Some((HaltReason::Loss, 13)), "whole: {whole}");
    }
}

/// One episode in ten begins with an observation that is no number.
const BAD_STARTS: &str = "
fn environment_reset(random: ptr<function, Random>) -> State {
    return State(random_uniform(random), 0.0);
}
fn environment_step(state: State, action: Action, random: ptr<function, Random>) -> Step {
    return Step(State(state[0], state[1] + 1.0), action[0], false);
}
fn environment_observe(state: State) -> Observation {
    let is_bad = state[0] < 0.1 && state[1] == 0.0;
    return Observation(select(state[0], bitcast<f32>(0x7fc00000u + u32(state[1])), is_bad), state[1]);
}
";

/// What stopped it stands there still, and it would act on it next.
#[test]
fn an_agent_that_was_set_going_again_is_saved_and_restored_before_its_next_step() {
    let gpu = gpu();
    let environment = Environment::new("bad-starts", BAD_STARTS, 2, 2, vec![-1.0], vec![1.0], 3).expect("sizes");
    let trainer = || Trainer::new(&gpu.device, &gpu.queue, &environment, &small()).unwrap_or_else(|error| panic!("{error}"));
    let mut going = trainer();
    let good = going.snapshot_blocking(Contents::Parameters).expect("snapshots");
    while going.measure_blocking().expect("measured").iter().any(|measured| measured.halted.is_none()) {
        going.advance_blocking(3).expect("the device works");
    }
    for (agent, snapshot) in (0..).zip(&good) {
        going.population().load_parameters(agent, snapshot).expect("they fit");
    }
    for contents in [Contents::Training, Contents::TrainingAndReplay] {
        let bytes = |trainer: &Trainer| -> Vec<Vec<u8>> {
            let snapshots = trainer.snapshot_blocking(contents).expect("snapshots");
            assert!(snapshots.iter().all(|snapshot| snapshot.halted.is_none()));
            snapshots.iter().map(|snapshot| snapshot.to_bytes().expect("bytes")).collect()
        };
        let snapshots: Vec<_> = bytes(&going).iter().map(|bytes| Snapshot::from_bytes(bytes).expect("a snapshot")).collect();
        let (_, observations) = snapshots[0].tensor("environments.observations").expect("a tensor");
        assert!(observations[0].is_nan(), "{observations:?}");
        let mut restored = trainer();
        restored.restore(&snapshots).unwrap_or_else(|error| panic!("{error}"));
        // without its ring it is not the same
        assert!(contents == Contents::Training || bytes(&restored) == bytes(&going), "something has changed");
    }
    gpu.check().unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn snapshots_that_hold_different_things_are_not_mixed() {
    let gpu = gpu();
    let mut population = hosted(&gpu, &small());
    push(&mut population, 20, 1.0);
    let whole = saved(&gpu, &population, Contents::TrainingAndReplay);
    let parameters = saved(&gpu, &population, Contents::Parameters);
    let refused = population.restore(&[whole[0].clone(), parameters[1].clone()]).expect_err("they differ").to_string();
    assert!(refused.contains("parameters alone") && refused.contains("training and a replay ring"), "{refused}");
    // parameters of different moments are parameters
    updates(&gpu, &mut population, 3);
    let later = saved(&gpu, &population, Contents::Parameters);
    population.restore(&[parameters[0].clone(), later[1].clone()]).expect("they fit");
}

#[test]
fn a_ring_that_grew_between_recording_and_submitting_is_an_error() {
    let gpu = gpu();
    let mut population = hosted(&gpu, &small());
    push(&mut population, 20, 1.0);
    let mut encoder = gpu.device.create_command_encoder(&Default::default());
    let pending = population.record_snapshot(&mut encoder, 0, Contents::TrainingAndReplay).expect("there is such an agent");
    push(&mut population, 5, 1.0);
    gpu.queue.submit([encoder.finish()]);
    let error = pending.wait_blocking(&gpu.device).expect_err("the ring has grown").to_string();
    assert!(error.contains("20 transitions") && error.contains("25"), "{error}");
}

#[test]
fn nothing_is_learned_from_an_empty_ring() {
    let gpu = gpu();
    let mut config = small();
    (config.critic_weight_decay, config.batch_norm) = (0.5, BatchNorm::InputAndHidden);
    let mut population = hosted(&gpu, &config);
    let before = saved(&gpu, &population, Contents::Training);
    let measured = updates(&gpu, &mut population, 50);
    assert_eq!((population.updates(), measured[0].updates, measured[0].value_maximum), (0, 0, None));
    let bytes = |snapshots: &[Snapshot]| snapshots.iter().map(|snapshot| snapshot.to_bytes().expect("bytes")).collect::<Vec<_>>();
    assert!(bytes(&before) == bytes(&saved(&gpu, &population, Contents::Training)), "something has changed");
    // nor does one agent whose own ring is empty, where another's is not
    push(&mut population, 20, f32::NAN);
    population.load_parameters(1, &before[1]).expect("they fit");
    let measured = updates(&gpu, &mut population, 3);
    assert_eq!((measured[0].updates, measured[1].updates, measured[1].halted, measured[1].critic_loss), (3, 0, None, None));
    assert!(bytes(&before)[1] == bytes(&saved(&gpu, &population, Contents::Training))[1], "agent 1 has changed");
    let mut trainer = Trainer::from_population(hosted(&gpu, &config));
    let refused = trainer.update_slice_blocking(1).expect_err("the ring is empty").to_string();
    assert!(refused.contains("holds 0 transitions") && refused.contains("needs 8"), "{refused}");
}

#[test]
fn numbers_that_are_none_are_refused_at_the_door() {
    let gpu = gpu();
    let mut population = hosted(&gpu, &small());
    let refused = |result: ddpg_wgpu::Result<()>, says: &str| {
        let message = result.expect_err(says).to_string();
        assert!(message.contains(says) && message.contains("finite"), "{message}");
    };
    refused(population.request_actions(&[0.0, 1.0, f32::NAN, 2.0], true).map(drop), "observation 2 is NaN");
    refused(population.end_episode(0, 0, f32::INFINITY, 3), "return of an episode is inf");
    assert_eq!(population.environment_steps(), 0, "nothing was counted");
    let mut simulation = Simulation::new(&gpu.device, &gpu.queue, &Environment::pendulum_v1(), 2, 1).expect("a simulation");
    refused(simulation.hold_actions(&[1.0, f32::NEG_INFINITY]), "action 1 is -inf");
}

#[test]
fn settings_of_one_agent_are_checked_as_those_of_all_are() {
    let gpu = gpu();
    let config = small();
    type Change = fn(&mut HyperParameters);
    let set: [(&str, Change); 6] = [
        ("gamma is NaN", |settings| settings.gamma = f32::NAN),
        ("tau is 1.5", |settings| settings.tau = 1.5),
        ("critic_learning_rate is -1", |settings| settings.critic_learning_rate = -1.0),
        ("adam_beta2 is 1;", |settings| settings.adam_beta2 = 1.0),
        ("every 0 updates", |settings| settings.target_update = TargetUpdate::Hard(0)),
        ("exploration sigma is NaN", |settings| settings.exploration = Exploration::Gaussian { sigma: f32::NAN }),
    ];
    for (says, change) in set {
        let mut all = HyperParameters::of_population(&config);
        change(&mut all[1]);
        let refused = Population::with_hyper_parameters(&gpu.device, &gpu.queue, &Environment::pendulum_v1(), &config, all);
        let message = refused.expect_err(says).to_string();
        assert!(message.contains("agent 1: ") && message.contains(says), "{message}");
    }
    type Setting = fn(&mut Config);
    let shared: [(&str, Setting); 5] = [
        ("updates_per_iteration is 10001", |config| config.updates_per_iteration = 10_001),
        ("actor_hidden has 513 layers", |config| config.actor_hidden = vec![1; 513]),
        ("basis_weights is 200", |config| config.basis_weights = 2e38),
        ("deviation of 300", |config| config.hidden_initialization = Initialization::TruncatedNormal(3e38)),
        ("environments is 0", |config| config.environments = 0),
    ];
    for (says, change) in shared {
        let mut config = small();
        change(&mut config);
        config.iterations();
        let message = config.validate().expect_err(says).to_string();
        assert!(message.contains(says), "{message}");
    }
    let mut config = small();
    (config.batch_norm, config.batch_size) = (BatchNorm::Hidden, 1);
    let message = config.validate().expect_err("a row is its own mean").to_string();
    assert!(message.contains("batch_size is 1") && message.contains("2 rows"), "{message}");
    config.online_statistics = Statistics::Running;
    config.validate().expect("running statistics are not those of the minibatch");
}
