//! Settings beyond what a device, or 32 bits, can do: errors that say so, before anything is compiled or allocated.

use ddpg_wgpu::wgpu::{self, BufferUsages};
use ddpg_wgpu::*;

fn gpu() -> Gpu {
    Gpu::open_blocking(None).unwrap_or_else(|error| panic!("{error}"))
}

/// A device whose dispatches have few workgroups.
fn with_workgroups(most: u32) -> Gpu {
    let limits = wgpu::Limits { max_compute_workgroups_per_dimension: most, ..Default::default() };
    Gpu::open_with_limits_blocking(None, limits).unwrap_or_else(|error| panic!("{error}"))
}

fn config(change: impl FnOnce(&mut Config)) -> Config {
    let mut config = Config::default();
    change(&mut config);
    config
}

/// Episodes of three steps, or of `time_limit` of which three are rewarded, by what their beginnings drew.
fn three_steps(is_over: bool, time_limit: u32) -> Environment {
    let source = format!(
        "fn environment_reset(random: ptr<function, Random>) -> State {{ return State(random_uniform(random), 0.0); }}
        fn environment_step(state: State, action: Action, random: ptr<function, Random>) -> Step {{
            let taken = state[1] + 1.0;
            return Step(State(state[0], taken), select(0.0, state[0], taken <= 3.0), {is_over} && taken >= 3.0);
        }}
        fn environment_observe(state: State) -> Observation {{ return Observation(state[0]); }}"
    );
    Environment::new("Three", source, 2, 1, vec![-1.0], vec![1.0], time_limit).expect("an environment")
}

fn small() -> Config {
    config(|config| {
        (config.environments, config.actor_hidden, config.critic_hidden) = (1, vec![8], vec![8]);
        (config.batch_size, config.replay_capacity, config.learning_starts) = (4, 3000, 4);
        config.random_steps = 0;
    })
}

#[test]
fn dispatches_that_the_device_cannot_make_are_refused() {
    let gpu = with_workgroups(16);
    let new = |config: &Config, environment: &Environment| Population::new(&gpu.device, &gpu.queue, environment, config).map(drop);
    new(&small(), &Environment::pendulum_v1()).expect("it fits");
    let host = Environment::host("host", 3, vec![-1.0], vec![1.0]).expect("an environment");
    for (config, environment) in [
        (config(|config| config.critic_hidden = vec![1024, 1024]), Environment::pendulum_v1()),
        (config(|config| config.environments = 100_000), Environment::pendulum_v1()),
        (config(|config| config.environments = 100_000), host.clone()),
        (config(|config| (config.environments, config.agents) = (1, 17)), Environment::pendulum_v1()),
    ] {
        let error = new(&config, &environment).expect_err("more than 16 workgroups");
        let message = error.to_string();
        assert!(matches!(error, Error::Limit { .. }) && message.contains("workgroups") && message.contains("offers 16"), "{message}");
    }
    gpu.check().expect("nothing reached the device");
    // within WebGPU's limits
    let gpu = self::gpu();
    if Tile::best(&gpu.device) == Tile::Subgroup {
        let wide = config(|config| {
            (config.actor_hidden, config.critic_hidden, config.batch_size) = (vec![4096, 4096], vec![8], 8);
        });
        for config in [wide, config(|config| (config.environments, config.replay_capacity) = (600_000, 600_000))] {
            let checked = check_device(&gpu.device, &config, &Environment::pendulum_v1()).expect_err("too many workgroups");
            let built = Population::new(&gpu.device, &gpu.queue, &Environment::pendulum_v1(), &config).expect_err("too many workgroups");
            assert!(checked.to_string().contains("offers 65535"), "{checked}");
            assert_eq!(checked.to_string(), built.to_string());
        }
    }
    gpu.check().expect("nothing reached the device");
}

#[test]
fn what_one_dispatch_cannot_do_goes_in_several() {
    let gpu = with_workgroups(16);
    let trainer = Trainer::new(&gpu.device, &gpu.queue, &three_steps(true, 50), &small()).expect("a trainer");
    let returns = &trainer.evaluate_blocking(5000, 1).expect("in batches")[0].returns;
    assert!(returns.len() == 5000 && returns.iter().all(|sum| (0.0..3.0).contains(sum)), "{:?}", &returns[..9]);
    // more rows than 16 workgroups move at once
    const ROWS: u32 = 3001;
    let usage = BufferUsages::STORAGE | BufferUsages::COPY_SRC;
    let size = 8 * u64::from(ROWS);
    let buffer = gpu.device.create_buffer(&wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false });
    let rows = |offset| Rows { buffer: &buffer, offset, stride: 2 };
    let inference = trainer.population().policy(0).expect("an agent").bind(rows(0), rows(1), ROWS).expect("in rounds");
    let mut encoder = gpu.device.create_command_encoder(&Default::default());
    inference.record(&mut encoder);
    gpu.queue.submit([encoder.finish()]);
    gpu.check().expect("no error");
}

#[cfg(feature = "checkpoint")]
#[test]
fn more_transitions_than_one_dispatch_moves_are_pushed_in_rounds() {
    use ddpg_wgpu::checkpoint::Contents;
    let gpu = with_workgroups(16);
    let host = Environment::host("host", 1, vec![-1.0], vec![1.0]).expect("an environment");
    let mut two = small();
    (two.agents, two.replay_capacity) = (2, 2900);
    let mut population = Population::new(&gpu.device, &gpu.queue, &host, &two).expect("a population");
    for (first, count) in [(0, 1024), (1024, 2500), (3524, 4000)] {
        let ids: Vec<f32> = (0..2).flat_map(|agent| (first..first + count).map(move |i| (100_000 * agent + i) as f32)).collect();
        let transitions = Transitions {
            observations: &ids,
            actions: &vec![0.5; ids.len()],
            rewards: &ids,
            next_observations: &ids,
            terminated: &vec![false; ids.len()],
        };
        population.push_transitions(&transitions).expect("in rounds");
    }
    assert_eq!(population.replay_length(), 2900);
    let snapshots = Trainer::from_population(population).snapshot_blocking(Contents::TrainingAndReplay).expect("snapshots");
    for (agent, snapshot) in snapshots.iter().enumerate() {
        let (shape, ring) = snapshot.tensor("replay.transitions").expect("a ring");
        assert_eq!(shape, [2900, 5]);
        let mut held: Vec<f32> = ring.chunks(5).map(|transition| transition[2]).collect();
        held.sort_by(f32::total_cmp);
        // the last 2900 of 7524
        let expected: Vec<f32> = (4624..7524).map(|i| (100_000 * agent + i) as f32).collect();
        assert!(held == expected, "agent {agent}: {} to {}", held[0], held[2899]);
    }
    gpu.check().expect("no error");
}

/// In release builds such sizes used to wrap around to small ones.
#[test]
fn sizes_beyond_32_bits_are_errors() {
    let gpu = gpu();
    let environment = Environment::pendulum_v1();
    let wide = vec![65_536; 6];
    let refused = [
        (config(|config| config.actor_hidden = wide.clone()), "the networks of an agent take"),
        (config(|config| config.critic_hidden = wide.clone()), "the networks of an agent take"),
        (config(|config| (config.batch_size, config.replay_capacity) = (1 << 24, 1 << 24)), "the activations of an agent take"),
        (config(|config| (config.environments, config.replay_capacity) = (1 << 31, u32::MAX)), "the activations of an agent take"),
        (
            config(|config| {
                (config.environments, config.replay_capacity, config.minibatch) = (1 << 31, u32::MAX, Minibatch::Latest);
                config.algorithm = Algorithm::OnPolicy;
            }),
            "two steps of all environments (4294967296)",
        ),
        (
            config(|config| {
                (config.environments, config.replay_capacity, config.minibatch) = (1 << 28, u32::MAX, Minibatch::Latest);
                config.algorithm = Algorithm::Compatible;
            }),
            "the activations of an agent take",
        ),
    ];
    for (config, says) in refused {
        let results = [
            required_limits(&config, &environment).map(drop),
            check_device(&gpu.device, &config, &environment),
            Population::new(&gpu.device, &gpu.queue, &environment, &config).map(drop),
        ];
        for result in results {
            let error = result.expect_err(says);
            let message = error.to_string();
            assert!(matches!(error, Error::Config(_)) && message.contains(says), "{message}");
        }
    }
    // what can be addressed, but by no device
    let large = config(|config| (config.agents, config.replay_capacity) = (65_535, u32::MAX));
    let limits = required_limits(&large, &environment).expect("a large device");
    assert_eq!(limits.max_buffer_size, 65_535 * 36 * u64::from(u32::MAX));
    assert!(matches!(check_device(&gpu.device, &large, &environment), Err(Error::Limit { .. })));
    gpu.check().expect("nothing reached the device");
}

#[cfg(feature = "checkpoint")]
#[test]
fn a_snapshot_of_absurd_networks_is_refused() {
    use ddpg_wgpu::checkpoint::Contents;
    let gpu = gpu();
    let trainer = Trainer::new(&gpu.device, &gpu.queue, &Environment::pendulum_v1(), &small()).expect("a trainer");
    let snapshot = &mut trainer.snapshot_blocking(Contents::Parameters).expect("snapshots")[0];
    snapshot.config.actor_hidden = vec![65_536; 6];
    let message = snapshot.to_bytes().expect_err("not its networks").to_string();
    assert!(message.contains("layer2.weight is missing"), "{message}");
    assert!(Policy::from_snapshot(&gpu.device, &gpu.queue, snapshot).is_err());
    snapshot.config.actor_hidden = vec![8];
    (snapshot.config.minibatch, snapshot.config.environments) = (Minibatch::Latest, 1 << 31);
    let message = snapshot.to_bytes().expect_err("no such ring").to_string();
    assert!(message.contains("4294967296"), "{message}");
}

/// An environment that does not compile tells whether sizes are looked at first.
#[test]
fn sizes_are_refused_before_anything_is_compiled() {
    let gpu = gpu();
    let broken = Environment::new("Broken", "fn nothing() {}", 1, 1, vec![-1.0], vec![1.0], 1).expect("its sizes hold");
    for (config, says) in [
        (config(|config| config.replay_capacity = u32::MAX), "a replay ring of 4294967295 transitions"),
        (config(|config| (config.actor_hidden, config.critic_hidden) = (vec![4; 60], vec![4; 60])), "offers 512"),
        // levelling takes the square of their number
        (config(|config| config.critic_hidden = vec![4; 512]), "offers 512"),
    ] {
        let checked = check_device(&gpu.device, &config, &broken);
        let built = Population::new(&gpu.device, &gpu.queue, &broken, &config).map(drop);
        for result in [checked, built] {
            let error = result.expect_err(says);
            assert!(matches!(error, Error::Limit { .. }) && error.to_string().contains(says), "{error}");
        }
    }
    gpu.check().expect("nothing reached the device");
}

#[test]
fn an_evaluation_ends_with_its_last_episode() {
    let gpu = with_workgroups(16);
    let evaluate = |environment: &Environment, episodes| {
        let trainer = Trainer::new(&gpu.device, &gpu.queue, environment, &small()).expect("a trainer");
        trainer.evaluate_blocking(episodes, 7).expect("evaluated")[0].returns.clone()
    };
    // a million steps would take minutes
    let soon = evaluate(&three_steps(true, 1 << 20), 100);
    assert!(soon.iter().all(|sum| (0.0..3.0).contains(sum)), "{soon:?}");
    // where the batches after the first begin does not depend on when those before have ended
    let [ended, cut_off] = [true, false].map(|is_over| evaluate(&three_steps(is_over, 60), 1000));
    assert_eq!(ended, cut_off);
    let mut starts = ended.iter().map(|sum| sum.to_bits()).collect::<Vec<_>>();
    starts.sort_unstable();
    starts.dedup();
    assert!(starts.len() > 990, "{} different beginnings of 1000", starts.len());
}

#[test]
fn an_evaluation_that_is_recorded_is_the_one_that_is_waited_for() {
    let gpu = with_workgroups(16);
    let host = Environment::host("robot", 3, vec![-1.0], vec![1.0]).expect("an environment");
    let mut two = small();
    two.agents = 2;
    for environment in [three_steps(true, 50), Environment::pendulum_v1()] {
        let mut trainer = Trainer::new(&gpu.device, &gpu.queue, &environment, &two).expect("a trainer");
        trainer.advance_blocking(20).expect("it trains");
        let expected = trainer.evaluate_blocking(30, 3).expect("evaluated");
        let mut encoder = gpu.device.create_command_encoder(&Default::default());
        let pending = trainer.population().record_evaluation(&mut encoder, 30, 3).expect("they fit");
        // the policy is that of this point of the encoder
        let mut population = trainer.into_population();
        population.record_iterations(&mut encoder, 10);
        gpu.queue.submit([encoder.finish()]);
        assert_eq!(pending.wait_blocking(&gpu.device).expect("it arrives"), expected, "{}", environment.name);
        let mut encoder = gpu.device.create_command_encoder(&Default::default());
        assert!(matches!(population.record_evaluation(&mut encoder, 0, 3), Err(Error::Config(_))));
        let error = population.record_evaluation(&mut encoder, 5000, 3).expect_err("more than 16 workgroups at once");
        assert!(matches!(error, Error::Limit { .. }) && error.to_string().contains("5000 episodes"), "{error}");
    }
    let population = Population::new(&gpu.device, &gpu.queue, &host, &two).expect("a population");
    let mut encoder = gpu.device.create_command_encoder(&Default::default());
    assert!(matches!(population.record_evaluation(&mut encoder, 2, 3), Err(Error::Config(_))));
    gpu.check().expect("no error");
}

#[test]
fn what_only_the_host_steps_cannot_be_recorded_on_the_device() {
    let gpu = gpu();
    let host = Environment::host("robot", 3, vec![-1.0], vec![1.0]).expect("an environment");
    let trainer = Trainer::new(&gpu.device, &gpu.queue, &host, &small()).expect("a trainer");
    for result in [trainer.trajectories_blocking(2, 1).map(drop), trainer.evaluate_blocking(2, 1).map(drop)] {
        let message = result.expect_err("no WGSL").to_string();
        assert!(message.contains("robot is simulated on the host"), "{message}");
    }
}

#[test]
fn a_buffer_that_is_not_made_of_floats_is_refused() {
    let gpu = gpu();
    let trainer = Trainer::new(&gpu.device, &gpu.queue, &Environment::pendulum_v1(), &small()).expect("a trainer");
    let odd = wgpu::BufferDescriptor { label: None, size: 18, usage: BufferUsages::STORAGE, mapped_at_creation: false };
    let odd = gpu.device.create_buffer(&odd);
    let rows = |offset, stride| Rows { buffer: &odd, offset, stride };
    let message = trainer.population().policy(0).expect("an agent").bind(rows(0, 3), rows(3, 1), 1).expect_err("18 bytes").to_string();
    assert!(message.contains("18 bytes") && message.contains("16 or 20"), "{message}");
    gpu.check().expect("nothing reached the device");
}
