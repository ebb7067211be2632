//! The library inside somebody else's program: policies on the caller's buffers and as WGSL, environments on the host,
//! training within a budget, and errors instead of panics.
#![cfg(feature = "checkpoint")]

use ddpg_wgpu::checkpoint::Contents;
use ddpg_wgpu::wgpu::{self, BufferUsages};
use ddpg_wgpu::*;
use std::time::Duration;

fn gpu() -> Gpu {
    Gpu::open_blocking(None).unwrap_or_else(|error| panic!("{error}"))
}

fn noise(count: usize, seed: u32) -> Vec<f32> {
    let word = |i: usize| philox([i as u32, 0, 0, 0], [seed, 0])[0];
    (0..count).map(|i| word(i) as f32 / u32::MAX as f32 * 2.0 - 1.0).collect()
}

fn buffer(gpu: &Gpu, floats: &[f32]) -> wgpu::Buffer {
    let usage = BufferUsages::STORAGE | BufferUsages::COPY_DST | BufferUsages::COPY_SRC;
    let size = 4 * floats.len() as u64;
    let buffer = gpu.device.create_buffer(&wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false });
    gpu.queue.write_buffer(&buffer, 0, &floats.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<_>>());
    buffer
}

fn read(gpu: &Gpu, buffer: &wgpu::Buffer) -> Vec<f32> {
    let usage = BufferUsages::MAP_READ | BufferUsages::COPY_DST;
    let staging = gpu.device.create_buffer(&wgpu::BufferDescriptor { label: None, size: buffer.size(), usage, mapped_at_creation: false });
    let mut encoder = gpu.device.create_command_encoder(&Default::default());
    encoder.copy_buffer_to_buffer(buffer, 0, &staging, 0, buffer.size());
    gpu.queue.submit([encoder.finish()]);
    staging.slice(..).map_async(wgpu::MapMode::Read, |result| result.expect("mapped"));
    gpu.device.poll(wgpu::PollType::wait_indefinitely()).expect("the device works");
    let view = staging.slice(..).get_mapped_range().expect("mapped");
    view.chunks_exact(4).map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])).collect()
}

struct Case {
    name: &'static str,
    observation_size: u32,
    low: Vec<f32>,
    high: Vec<f32>,
    hidden: Vec<u32>,
    batch_norm: BatchNorm,
}

fn cases() -> Vec<Case> {
    let case = |name, observation_size, actions: u32, hidden: &[u32], batch_norm| Case {
        name,
        observation_size,
        low: (0..actions).map(|i| -1.0 - i as f32).collect(),
        high: (0..actions).map(|i| 2.0 + 0.5 * i as f32).collect(),
        hidden: hidden.to_vec(),
        batch_norm,
    };
    vec![
        case("plain", 3, 1, &[64, 64], BatchNorm::None),
        case("one of each", 1, 1, &[1], BatchNorm::None),
        case("awkward, normalised", 5, 3, &[37, 19], BatchNorm::InputAndHidden),
        case("awkward, hidden norm", 7, 6, &[65, 33, 9], BatchNorm::Hidden),
        case("paper", 3, 1, &[400, 300], BatchNorm::InputAndHidden),
    ]
}

/// Two agents that have learned a little from random transitions, so that running statistics are not what they began as.
fn trained(gpu: &Gpu, case: &Case) -> Trainer {
    let environment = Environment::host(case.name, case.observation_size, case.low.clone(), case.high.clone()).expect("sizes");
    let mut config = Config::default();
    config.agents = 2;
    config.environments = 1;
    config.actor_hidden = case.hidden.clone();
    config.critic_hidden = case.hidden.clone();
    config.batch_norm = case.batch_norm;
    config.batch_norm_decay = 0.8;
    config.replay_capacity = 300;
    config.learning_starts = 64;
    let mut population = Population::new(&gpu.device, &gpu.queue, &environment, &config).expect("a population");
    let rows = 2 * 100;
    population
        .push_transitions(&Transitions {
            observations: &noise(rows * case.observation_size as usize, 1).iter().map(|x| 3.0 * x + 1.0).collect::<Vec<_>>(),
            actions: &noise(rows * case.low.len(), 2),
            rewards: &noise(rows, 3),
            next_observations: &noise(rows * case.observation_size as usize, 4),
            terminated: &vec![false; rows],
        })
        .expect("they fit");
    assert!(population.learns());
    let mut encoder = gpu.device.create_command_encoder(&Default::default());
    population.record_iterations(&mut encoder, 10);
    gpu.queue.submit([encoder.finish()]);
    gpu.check().expect("no error");
    Trainer::from_population(population)
}

/// The actor in float64, from the named tensors of a snapshot.
fn reference(snapshot: &Snapshot, epsilon: f64, observation: &[f32]) -> Vec<f64> {
    let tensor = |name: &str| {
        snapshot.tensor(&format!("actor.{name}")).map(|(_, numbers)| numbers.iter().map(|&x| f64::from(x)).collect::<Vec<_>>())
    };
    let normalise = |x: &mut [f64], norm: &str| {
        if let Some(scale) = tensor(&format!("{norm}.scale")) {
            let part = |part: &str| tensor(&format!("{norm}.{part}")).expect("a norm has four parts");
            let (shift, mean, variance) = (part("shift"), part("running_mean"), part("running_variance"));
            for i in 0..x.len() {
                x[i] = scale[i] * (x[i] - mean[i]) / (variance[i] + epsilon).sqrt() + shift[i];
            }
        }
    };
    let dense = |x: &[f64], layer: &str| {
        let (weight, bias) = (tensor(&format!("{layer}.weight")).expect("weights"), tensor(&format!("{layer}.bias")).expect("a bias"));
        let units = bias.len();
        (0..units).map(|u| bias[u] + x.iter().enumerate().map(|(i, x)| x * weight[i * units + u]).sum::<f64>()).collect::<Vec<_>>()
    };
    let mut x: Vec<f64> = observation.iter().map(|&x| f64::from(x)).collect();
    normalise(&mut x, "input_norm");
    for layer in 1..=snapshot.config.actor_hidden.len() {
        x = dense(&x, &format!("layer{layer}"));
        normalise(&mut x, &format!("norm{layer}"));
        x.iter_mut().for_each(|x| *x = x.max(0.0));
    }
    let bounds = snapshot.action_low.iter().zip(&snapshot.action_high);
    let scaled = |(z, (&low, &high)): (f64, (&f32, &f32))| 0.5 * f64::from(high + low) + 0.5 * f64::from(high - low) * z.tanh();
    dense(&x, "output").into_iter().zip(bounds).map(scaled).collect()
}

fn assert_close(what: &str, found: &[f32], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (&found, &expected)) in found.iter().zip(expected).enumerate() {
        assert!(found.is_finite(), "{what}: {found} at {i}");
        assert!((f64::from(found) - expected).abs() <= tolerance, "{what}: {found} at {i}, expected {expected}");
    }
}

/// Strides, offsets and counts that divide nothing; what lies between the rows stays.
#[test]
fn a_policy_reads_and_writes_the_callers_buffers() {
    let gpu = gpu();
    for case in cases() {
        let trainer = trained(&gpu, &case);
        let snapshots = trainer.snapshot_blocking(Contents::Parameters).expect("snapshots");
        let (inputs, outputs) = (case.observation_size as usize, case.low.len());
        let loaded = Policy::from_snapshot(&gpu.device, &gpu.queue, &snapshots[1]).expect("a policy");
        let live = |agent| trainer.population().policy(agent).expect("an agent");
        for (agent, count, kind, policy) in [(0, 1, "live", live(0)), (1, 67, "live", live(1)), (1, 67, "loaded", loaded)] {
            let snapshot = &snapshots[agent as usize];
            let (offset, stride) = (3, inputs + outputs + 2);
            let world = noise(offset + count * stride, 5);
            let observation = |row: usize| &world[offset + row * stride..][..inputs];
            let expected: Vec<_> = (0..count).flat_map(|row| reference(snapshot, 1e-5, observation(row))).collect();
            let what = format!("{}, {kind}, agent {agent}, {count} rows", case.name);
            // observations and actions in one buffer
            let buffer = buffer(&gpu, &world);
            let rows = |offset: usize| Rows { buffer: &buffer, offset: offset as u32, stride: stride as u32 };
            let inference = policy.bind(rows(offset), rows(offset + inputs), count as u32).expect("they fit");
            let mut encoder = gpu.device.create_command_encoder(&Default::default());
            inference.record(&mut encoder);
            gpu.queue.submit([encoder.finish()]);
            gpu.check().expect("no error");
            let after = read(&gpu, &buffer);
            let found: Vec<_> = (0..count).flat_map(|row| after[offset + row * stride + inputs..][..outputs].to_vec()).collect();
            assert_close(&what, &found, &expected, 1e-5);
            for (i, (before, after)) in world.iter().zip(&after).enumerate() {
                let is_action = i >= offset && ((i - offset) % stride) >= inputs && (i - offset) % stride < inputs + outputs;
                assert!(is_action || before == after, "{what}: float {i} was overwritten");
            }
        }
    }
}

#[test]
fn many_rows_go_in_rounds() {
    let gpu = gpu();
    let case = &cases()[4];
    let trainer = trained(&gpu, case);
    let snapshot = &trainer.snapshot_blocking(Contents::Parameters).expect("snapshots")[0];
    let count = 20_001;
    let observations = noise(3 * count, 8);
    let (from, to) = (buffer(&gpu, &observations), buffer(&gpu, &vec![0.0; count]));
    let policy = trainer.population().policy(0).expect("an agent");
    let rows = |buffer, stride| Rows { buffer, offset: 0, stride };
    let inference = policy.bind(rows(&from, 3), rows(&to, 1), count as u32).expect("they fit");
    let mut encoder = gpu.device.create_command_encoder(&Default::default());
    inference.record_into(&mut encoder.begin_compute_pass(&Default::default()));
    gpu.queue.submit([encoder.finish()]);
    let found = read(&gpu, &to);
    for row in [0, 1, 9_999, 10_000, 12_345, 19_999, 20_000] {
        assert_close("rounds", &found[row..=row], &reference(snapshot, 1e-5, &observations[3 * row..][..3]), 1e-5);
    }
    gpu.check().expect("no error");
}

#[test]
fn exported_wgsl_gives_the_same_actions() {
    let gpu = gpu();
    for case in cases() {
        let trainer = trained(&gpu, &case);
        let snapshots = trainer.snapshot_blocking(Contents::Parameters).expect("snapshots");
        let mut storages = vec![WeightStorage::Buffer { group: 0, binding: 2 }];
        let constants = snapshots[1].policy_wgsl(WeightStorage::Constants);
        match case.name {
            "paper" => assert!(constants.expect_err("too large").to_string().contains("8192"), "both numbers"),
            _ => storages.push(WeightStorage::Constants),
        }
        for storage in storages {
            let what = format!("{}, {storage:?}", case.name);
            let exported = snapshots[1].policy_wgsl(storage).expect("it exports");
            // the same from the device, without waiting
            let mut encoder = gpu.device.create_command_encoder(&Default::default());
            let pending = trainer.population().record_policy_wgsl(&mut encoder, 1, storage).expect("an agent");
            gpu.queue.submit([encoder.finish()]);
            assert_eq!(pending.wait_blocking(&gpu.device).expect("it arrives"), exported, "{what}");

            let count = 67;
            let observations = noise(case.observation_size as usize * count, 6);
            let expected: Vec<_> =
                observations.chunks(case.observation_size as usize).flat_map(|row| reference(&snapshots[1], 1e-5, row)).collect();
            let found = run_exported(&gpu, &exported, storage, case.observation_size as usize, case.low.len(), &observations);
            assert_close(&what, &found, &expected, 1e-5);
            gpu.check().expect("no error");
        }
    }
}

/// The exported policy in a shader of a stranger's.
fn run_exported(gpu: &Gpu, exported: &PolicyWgsl, storage: WeightStorage, inputs: usize, outputs: usize, observations: &[f32]) -> Vec<f32> {
    let source = format!(
        "{}
        @group(0) @binding(0) var<storage, read> observations: array<f32>;
        @group(0) @binding(1) var<storage, read_write> actions: array<f32>;
        @compute @workgroup_size(32) fn main(@builtin(global_invocation_id) id: vec3u) {{
            if id.x >= arrayLength(&actions) / {outputs}u {{ return; }}
            var observation: array<f32, {inputs}>;
            for (var i = 0u; i < {inputs}u; i++) {{ observation[i] = observations[id.x * {inputs}u + i]; }}
            let action = policy(observation);
            for (var i = 0u; i < {outputs}u; i++) {{ actions[id.x * {outputs}u + i] = action[i]; }}
        }}",
        exported.source
    );
    let module =
        gpu.device.create_shader_module(wgpu::ShaderModuleDescriptor { label: None, source: wgpu::ShaderSource::Wgsl(source.into()) });
    let pipeline = gpu.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: None,
        layout: None,
        module: &module,
        entry_point: None,
        compilation_options: Default::default(),
        cache: None,
    });
    let rows = observations.len() / inputs;
    let (from, to, weights) = (buffer(gpu, observations), buffer(gpu, &vec![0.0; rows * outputs]), buffer(gpu, &exported.weights));
    let mut entries = vec![
        wgpu::BindGroupEntry { binding: 0, resource: from.as_entire_binding() },
        wgpu::BindGroupEntry { binding: 1, resource: to.as_entire_binding() },
    ];
    if storage != WeightStorage::Constants {
        entries.push(wgpu::BindGroupEntry { binding: 2, resource: weights.as_entire_binding() });
    }
    let layout = pipeline.get_bind_group_layout(0);
    let bind_group = gpu.device.create_bind_group(&wgpu::BindGroupDescriptor { label: None, layout: &layout, entries: &entries });
    let mut encoder = gpu.device.create_command_encoder(&Default::default());
    {
        let mut pass = encoder.begin_compute_pass(&Default::default());
        pass.set_pipeline(&pipeline);
        pass.set_bind_group(0, &bind_group, &[]);
        pass.dispatch_workgroups(rows.div_ceil(32) as u32, 1, 1);
    }
    gpu.queue.submit([encoder.finish()]);
    read(gpu, &to)
}

#[test]
fn wrong_rows_are_refused_with_both_numbers() {
    let gpu = gpu();
    let trainer = trained(&gpu, &cases()[0]);
    let policy = trainer.population().policy(0).expect("an agent");
    let small = buffer(&gpu, &[0.0; 10]);
    let rows = |offset, stride| Rows { buffer: &small, offset, stride };
    let message = policy.bind(rows(2, 3), rows(0, 1), 3).expect_err("too small").to_string();
    assert!(message.contains("need 11 floats") && message.contains("holds 10"), "{message}");
    let message = policy.bind(rows(0, 3), rows(0, 0), 3).expect_err("overwrites").to_string();
    assert!(message.contains("overwrite"), "{message}");
    assert!(policy.bind(rows(0, 3), rows(0, 1), 0).is_err());
    assert!(trainer.population().policy(2).expect_err("two agents").to_string().contains("no agent 2 in a population of 2"));
    let usage = BufferUsages::COPY_DST;
    let other = gpu.device.create_buffer(&wgpu::BufferDescriptor { label: None, size: 40, usage, mapped_at_creation: false });
    let message = policy.bind(Rows { buffer: &other, offset: 0, stride: 3 }, rows(0, 1), 3).expect_err("no STORAGE").to_string();
    assert!(message.contains("STORAGE"), "{message}");
    gpu.check().expect("nothing reached the device");
}

/// Transitions in the order they were pushed, wrapped around the ring; the agent learns from them.
#[test]
fn a_host_environment_fills_the_ring() {
    let gpu = gpu();
    let environment = Environment::host("line", 2, vec![-1.0], vec![1.0]).expect("sizes");
    let mut config = Config::default();
    config.agents = 2;
    config.environments = 3;
    config.replay_capacity = 8;
    config.batch_size = 4;
    config.learning_starts = 8;
    let mut population = Population::new(&gpu.device, &gpu.queue, &environment, &config).expect("a population");
    for (from, count) in [(0, 3), (3, 4), (7, 0), (7, 4)] {
        // the agent and a running number tell each transition from every other
        let ids: Vec<f32> = (0..2).flat_map(|agent| (from..from + count).map(move |i| (100 * agent + i) as f32)).collect();
        let observations: Vec<f32> = ids.iter().flat_map(|i| [*i, i + 0.25]).collect();
        let next_observations: Vec<f32> = ids.iter().flat_map(|i| [i + 0.5, i + 0.75]).collect();
        let actions: Vec<f32> = ids.iter().map(|i| -i).collect();
        let rewards: Vec<f32> = ids.iter().map(|i| 2.0 * i).collect();
        let terminated: Vec<bool> = ids.iter().map(|i| i % 2.0 == 1.0).collect();
        let batch = Transitions {
            observations: &observations,
            actions: &actions,
            rewards: &rewards,
            next_observations: &next_observations,
            terminated: &terminated,
        };
        population.push_transitions(&batch).expect("they fit");
        let short = Transitions { rewards: &rewards[..count], ..batch };
        assert_eq!(population.push_transitions(&short).is_err(), count > 0, "the arrays must fit each other");
    }
    assert!(population.learns());
    let mut trainer = Trainer::from_population(population);
    let snapshots = trainer.snapshot_blocking(Contents::TrainingAndReplay).expect("snapshots");
    for (agent, snapshot) in snapshots.iter().enumerate() {
        let (shape, ring) = snapshot.tensor("replay.transitions").expect("a ring");
        assert_eq!(shape, [8, 7]);
        // eleven pushed into a ring of eight: 8, 9, 10, then 3 to 7
        for (slot, i) in [8, 9, 10, 3, 4, 5, 6, 7].into_iter().enumerate() {
            let id = (100 * agent + i) as f32;
            let expected = [id, id + 0.25, -id, 2.0 * id, (i % 2) as f32, id + 0.5, id + 0.75];
            assert_eq!(ring[7 * slot..][..7], expected, "agent {agent}, slot {slot}");
        }
    }
    trainer.advance_blocking(5).expect("it learns");
    assert_eq!(trainer.population().updates(), 5);
    let mut population = trainer.into_population();
    assert!(population.end_episode(1, 3, 0.0, 1).is_err(), "three environments");
    population.end_episode(1, 2, -12.5, 200).expect("an environment");
    let measured = Trainer::from_population(population).measure_blocking().expect("measured");
    let logged: Vec<_> = measured.iter().map(|m| m.episodes.iter().map(|e| (e.episode_return, e.length)).collect::<Vec<_>>()).collect();
    assert_eq!(logged, [vec![], vec![(-12.5, 200)]]);
    assert!(measured.iter().all(|m| m.updates == 5 && m.critic_loss.is_some_and(f32::is_finite) && m.halted.is_none()), "{measured:?}");
}

#[test]
fn a_host_environment_gets_the_policys_actions_and_noisy_ones() {
    let gpu = gpu();
    let environment = Environment::host("line", 3, vec![-1.0, 0.0], vec![1.0, 4.0]).expect("sizes");
    let mut config = Config::default();
    config.agents = 2;
    config.environments = 5;
    config.random_steps = 10;
    config.exploration = Exploration::Gaussian { sigma: 0.1 };
    let mut population = Population::new(&gpu.device, &gpu.queue, &environment, &config).expect("a population");
    assert!(population.request_actions(&[0.0; 29], false).is_err(), "two agents, five environments, three observations");
    let observations = noise(30, 3);
    let mut ask = |explore| {
        let pending = population.request_actions(&observations, explore).expect("they fit");
        pending.wait_blocking(&gpu.device).expect("they arrive")
    };
    let policy = ask(false);
    assert_eq!(policy, ask(false), "the policy is deterministic");
    let random = [ask(true), ask(true)];
    let noisy = [ask(true), ask(true), ask(true)];
    let snapshots = Trainer::from_population(population).snapshot_blocking(Contents::Parameters).expect("snapshots");
    for row in 0..10 {
        assert_close("policy", &policy[2 * row..][..2], &reference(&snapshots[row / 5], 1e-5, &observations[3 * row..][..3]), 1e-5);
    }
    for actions in random.iter().chain(&noisy) {
        assert_eq!(actions.len(), 20);
        assert!(actions.chunks(2).all(|a| (-1.0..=1.0).contains(&a[0]) && (0.0..=4.0).contains(&a[1])), "{actions:?}");
    }
    let spread = |all: &[Vec<f32>]| {
        let squares = all.iter().flat_map(|a| a.iter().zip(&policy).map(|(a, p)| f64::from(a - p).powi(2)).step_by(2));
        (squares.clone().sum::<f64>() / squares.count() as f64).sqrt()
    };
    assert!(spread(&random) > 0.3, "the first steps are uniformly random: {}", spread(&random));
    assert!((0.03..0.25).contains(&spread(&noisy)), "then the policy with noise of 0.1: {}", spread(&noisy));
    assert_ne!(noisy[0], noisy[1]);
}

#[test]
fn nothing_finite_does_not_reach_the_ring() {
    let gpu = gpu();
    let environment = Environment::host("line", 1, vec![-1.0], vec![1.0]).expect("sizes");
    let mut population = Population::new(&gpu.device, &gpu.queue, &environment, &Config::default()).expect("a population");
    let batch =
        Transitions { observations: &[0.0], actions: &[0.0], rewards: &[f32::NAN], next_observations: &[0.0], terminated: &[false] };
    population.push_transitions(&batch).expect("it is pushed");
    let measured = Trainer::from_population(population).measure_blocking().expect("measured");
    assert_eq!(measured[0].halted.map(|halted| halted.reason), Some(HaltReason::Environment));
    assert_eq!(measured[0].replay_length, 0);
}

#[test]
fn environments_of_the_wrong_side_are_refused() {
    let gpu = gpu();
    let mut config = Config::default();
    config.environments = 1;
    let mut population = Population::new(&gpu.device, &gpu.queue, &Environment::pendulum_v1(), &config).expect("a population");
    assert!(matches!(population.request_actions(&[0.0; 3], true), Err(Error::Config(_))));
    let host = Environment::host("line", 1, vec![-1.0], vec![1.0]).expect("sizes");
    let trainer = Trainer::new(&gpu.device, &gpu.queue, &host, &config).expect("a trainer");
    assert!(matches!(trainer.evaluate_blocking(1, 1), Err(Error::Config(_))));
}

/// A frame loop: the measured time of training stays near the budget, and nothing waits.
#[test]
fn a_pacer_keeps_to_its_budget() {
    for limits in [None, Some(wgpu::Limits::default())] {
        let gpu = match limits.clone() {
            None => gpu(),
            Some(limits) => Gpu::open_with_limits_blocking(None, limits).expect("a device"),
        };
        let mut config = Config::default();
        config.learning_starts = 200;
        let mut population = Population::new(&gpu.device, &gpu.queue, &Environment::pendulum_v1(), &config).expect("a population");
        let mut pacer = Pacer::new(&gpu.device, &gpu.queue, Duration::from_millis(8));
        assert_eq!(pacer.measures_device_time(), limits.is_none() && gpu.device.features().contains(wgpu::Features::TIMESTAMP_QUERY));
        let mut spent = Vec::new();
        let mut recorded = 0;
        let mut measured = None;
        for frame in 0..60 {
            let mut encoder = gpu.device.create_command_encoder(&Default::default());
            recorded += pacer.record(&mut population, &mut encoder, u64::MAX);
            let mut pending = (frame == 40).then(|| population.record_measurements(&mut encoder));
            gpu.queue.submit([encoder.finish()]);
            // the application's own wait, for its display say
            gpu.device.poll(wgpu::PollType::wait_indefinitely()).expect("the device works");
            spent.extend((frame >= 20).then(|| pacer.last()).flatten());
            measured = measured.or(pending.as_mut().and_then(Pending::take));
        }
        gpu.check().expect("no error");
        assert_eq!(recorded, population.iterations());
        let measured = measured.expect("it arrived").expect("it was measured");
        assert!(measured[0].critic_loss.is_some_and(f32::is_finite));
        // how close it keeps to the budget depends on who else uses the machine: `pacing::tests` pins that with a clock of
        // its own
        assert!(!spent.is_empty());
        assert!(population.updates() > 0, "no update in 60 frames");
    }
}

/// A device that works with timestamps, where it has them, and one that has to do without.
fn gpus() -> [Gpu; 2] {
    [gpu(), Gpu::open_with_limits_blocking(None, wgpu::Limits::default()).expect("a device")]
}

/// What a device refuses takes it no time, which must not be taken for speed.
#[test]
fn a_pacer_learns_nothing_from_frames_that_the_device_refuses() {
    for gpu in gpus() {
        let mut population =
            Population::new(&gpu.device, &gpu.queue, &Environment::pendulum_v1(), &Config::default()).expect("a population");
        let mut pacer = Pacer::new(&gpu.device, &gpu.queue, Duration::from_millis(8));
        for frame in 0..12 {
            let (mut encoder, _) = refused_encoder(&gpu);
            assert_eq!(pacer.record(&mut population, &mut encoder, u64::MAX), 1, "frame {frame}");
            gpu.queue.submit([encoder.finish()]);
            gpu.device.poll(wgpu::PollType::wait_indefinitely()).expect("the device works");
        }
        assert_eq!((pacer.measured(), pacer.last()), (0, None));
    }
}

#[test]
fn populations_that_share_a_pacer_are_estimated_each_by_itself() {
    for gpu in gpus() {
        let population = |learning_starts| {
            let mut config = Config::default();
            config.learning_starts = learning_starts;
            Population::new(&gpu.device, &gpu.queue, &Environment::pendulum_v1(), &config).expect("a population")
        };
        let (mut learns, mut collects) = (population(1), population(100_000));
        let mut pacer = Pacer::new(&gpu.device, &gpu.queue, Duration::from_millis(100));
        let mut encoder = gpu.device.create_command_encoder(&Default::default());
        learns.record_iterations(&mut encoder, 100);
        gpu.queue.submit([encoder.finish()]);
        assert!(learns.learns());
        let mut most = [0, 0];
        for _ in 0..12 {
            let mut encoder = gpu.device.create_command_encoder(&Default::default());
            let recorded = [&mut learns, &mut collects].map(|population| pacer.record(population, &mut encoder, u64::MAX));
            most = [most[0].max(recorded[0]), most[1].max(recorded[1])];
            gpu.queue.submit([encoder.finish()]);
            gpu.device.poll(wgpu::PollType::wait_indefinitely()).expect("the device works");
        }
        assert!(most[1] > 1, "at most {most:?} iterations a frame");
        gpu.check().expect("no error");
    }
}

#[test]
fn a_pacer_records_nothing_where_there_is_nothing_to_learn_from() {
    let gpu = gpu();
    let environment = Environment::host("line", 1, vec![-1.0], vec![1.0]).expect("sizes");
    let mut population = Population::new(&gpu.device, &gpu.queue, &environment, &Config::default()).expect("a population");
    let mut pacer = Pacer::new(&gpu.device, &gpu.queue, Duration::from_millis(8));
    for _ in 0..5 {
        let mut encoder = gpu.device.create_command_encoder(&Default::default());
        assert_eq!(pacer.record(&mut population, &mut encoder, u64::MAX), 0);
        gpu.queue.submit([encoder.finish()]);
        gpu.device.poll(wgpu::PollType::wait_indefinitely()).expect("the device works");
    }
    let mut population = trained(&gpu, &cases()[0]).into_population();
    let mut encoder = gpu.device.create_command_encoder(&Default::default());
    assert_eq!(pacer.record(&mut population, &mut encoder, u64::MAX), 1, "one that learns");
}

/// Nobody polls: what is under way of one population holds back that one, and no other.
#[test]
fn a_pacer_waits_for_eight_frames_that_are_under_way() {
    for gpu in gpus() {
        let mut config = Config::default();
        config.learning_starts = 100_000;
        let population = || Population::new(&gpu.device, &gpu.queue, &Environment::pendulum_v1(), &config).expect("a population");
        let (mut one, mut other) = (population(), population());
        let mut pacer = Pacer::new(&gpu.device, &gpu.queue, Duration::from_secs(1000));
        let mut frame = |population: &mut Population| {
            let mut encoder = gpu.device.create_command_encoder(&Default::default());
            (pacer.record(population, &mut encoder, u64::MAX), encoder)
        };
        let mut frames: Vec<_> = (0..10).map(|_| frame(&mut one)).collect();
        frames.extend((0..9).map(|_| frame(&mut other)));
        let recorded: Vec<u64> = frames.iter().map(|(iterations, _)| *iterations).collect();
        assert_eq!(recorded, [[1; 8].as_slice(), &[0; 2], &[1; 8], &[0; 1]].concat());
        assert_eq!((one.iterations(), other.iterations()), (8, 8));
        gpu.queue.submit(frames.into_iter().map(|(_, encoder)| encoder.finish()));
        gpu.device.poll(wgpu::PollType::wait_indefinitely()).expect("the device works");
        assert_eq!(frame(&mut one).0, 2, "none is under way any more: twice as many as were measured");
        gpu.check().expect("no error");
    }
}

/// No frame is partly of iterations that learn and partly of others, which could not be measured apart.
#[test]
fn a_pacers_frame_ends_where_learning_starts() {
    for gpu in gpus() {
        let mut config = Config::default();
        (config.environments, config.learning_starts) = (3, 100);
        let mut population = Population::new(&gpu.device, &gpu.queue, &Environment::pendulum_v1(), &config).expect("a population");
        let mut pacer = Pacer::new(&gpu.device, &gpu.queue, Duration::from_secs(1000));
        let mut recorded = Vec::new();
        while !population.learns() {
            let mut encoder = gpu.device.create_command_encoder(&Default::default());
            recorded.push(pacer.record(&mut population, &mut encoder, u64::MAX));
            gpu.queue.submit([encoder.finish()]);
            gpu.device.poll(wgpu::PollType::wait_indefinitely()).expect("the device works");
            assert!(recorded.len() < 20, "{recorded:?}");
        }
        // 34 steps of three environments hold a hundred transitions
        assert_eq!((population.iterations(), recorded), (34, vec![1, 2, 4, 8, 16, 3]));
        gpu.check().expect("no error");
    }
}

#[test]
fn an_encoder_that_is_never_submitted_is_an_error_value() {
    let gpu = gpu();
    let mut population = Population::new(&gpu.device, &gpu.queue, &Environment::pendulum_v1(), &Config::default()).expect("a population");
    let mut encoder = gpu.device.create_command_encoder(&Default::default());
    let mut pending = population.record_measurements(&mut encoder);
    assert!(pending.take().is_none());
    drop(encoder);
    assert!(matches!(pending.take(), Some(Err(Error::Gpu(_)))));
}

/// An encoder into which an application whose error handler only counts records something of its own that is wrong.
fn refused_encoder(gpu: &Gpu) -> (wgpu::CommandEncoder, std::sync::Arc<std::sync::atomic::AtomicU32>) {
    let reports = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
    let counted = reports.clone();
    gpu.device.on_uncaptured_error(std::sync::Arc::new(move |_| {
        counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }));
    let mut encoder = gpu.device.create_command_encoder(&Default::default());
    let (from, to) = (buffer(gpu, &[0.0; 4]), buffer(gpu, &[0.0; 4]));
    encoder.copy_buffer_to_buffer(&from, 8, &to, 0, 16);
    (encoder, reports)
}

#[test]
fn a_submission_that_the_device_refuses_delivers_an_error_value() {
    let gpu = gpu();
    let mut population = trained(&gpu, &cases()[0]).into_population();
    population.end_episode(0, 0, -3.0, 7).expect("an environment");
    let (mut encoder, reports) = refused_encoder(&gpu);
    let snapshot = population.record_snapshot(&mut encoder, 0, Contents::TrainingAndReplay).expect("an agent");
    let source = population.record_policy_wgsl(&mut encoder, 0, WeightStorage::Constants).expect("an agent");
    let measured = population.record_measurements(&mut encoder);
    gpu.queue.submit([encoder.finish()]);
    let results = [
        ("a snapshot", snapshot.wait_blocking(&gpu.device).map(drop)),
        ("a policy", source.wait_blocking(&gpu.device).map(drop)),
        ("measurements", measured.wait_blocking(&gpu.device).map(drop)),
    ];
    for (what, result) in results {
        assert!(matches!(&result, Err(Error::Gpu(message)) if message.contains("refused")), "{what}: {result:?}");
    }
    assert!(reports.load(std::sync::atomic::Ordering::Relaxed) > 0, "the application was told");
    // nothing was measured then: the next has all of it
    let measured = Trainer::from_population(population).measure_blocking().expect("the device works on");
    assert_eq!((measured[0].updates, measured[0].episodes.len()), (10, 1));
}

/// Measurements in flight across a restart and a restore, and taken in another order than they were recorded.
#[test]
fn every_episode_is_measured_once() {
    let gpu = gpu();
    let environment = Environment::host("line", 1, vec![-1.0], vec![1.0]).expect("sizes");
    let mut population = Population::new(&gpu.device, &gpu.queue, &environment, &Config::default()).expect("a population");
    let end_episodes = |population: &mut Population, returns: std::ops::Range<u32>| {
        returns.for_each(|episode_return| population.end_episode(0, 0, episode_return as f32, 1).expect("an environment"));
    };
    let measure = |population: &mut Population| {
        let mut encoder = gpu.device.create_command_encoder(&Default::default());
        let pending = population.record_measurements(&mut encoder);
        gpu.queue.submit([encoder.finish()]);
        pending
    };
    let returns = |pending: Pending<Vec<Measurements>>| {
        let measured = pending.wait_blocking(&gpu.device).expect("it arrives");
        measured[0].episodes.iter().map(|episode| episode.episode_return as u32).collect::<Vec<_>>()
    };
    end_episodes(&mut population, 0..3);
    let first = measure(&mut population);
    end_episodes(&mut population, 3..5);
    let second = measure(&mut population);
    assert_eq!((returns(second), returns(first)), (vec![3, 4], vec![0, 1, 2]), "in the wrong order");

    end_episodes(&mut population, 5..7);
    let before = measure(&mut population);
    population.restart();
    assert_eq!(returns(before), [5, 6]);
    end_episodes(&mut population, 10..12);
    let after = measure(&mut population);
    assert_eq!(returns(after), [10, 11], "the numbers of episodes begin anew");

    let mut encoder = gpu.device.create_command_encoder(&Default::default());
    let snapshot = population.record_snapshot(&mut encoder, 0, Contents::Training).expect("an agent");
    gpu.queue.submit([encoder.finish()]);
    let snapshot = snapshot.wait_blocking(&gpu.device).expect("it arrives");
    end_episodes(&mut population, 12..17);
    let before = measure(&mut population);
    population.restore(&[snapshot]).expect("it fits");
    end_episodes(&mut population, 20..21);
    let after = measure(&mut population);
    assert_eq!((returns(after), returns(before)), (vec![20], vec![12, 13, 14, 15, 16]));
    gpu.check().expect("no error");
}

/// Measured after each update, the largest value is that update's own.
#[test]
fn an_episode_on_the_host_is_logged_with_the_mean_of_its_updates_largest_values() {
    let gpu = gpu();
    let mut population = trained(&gpu, &cases()[1]).into_population();
    let measured = |population: &mut Population, updates| {
        let mut encoder = gpu.device.create_command_encoder(&Default::default());
        population.record_updates(&mut encoder, updates);
        let pending = population.record_measurements(&mut encoder);
        gpu.queue.submit([encoder.finish()]);
        pending.wait_blocking(&gpu.device).expect("it arrives").swap_remove(1)
    };
    // takes the updates before with it
    population.end_episode(1, 0, 0.5, 3).expect("an environment");
    assert_eq!(measured(&mut population, 0).episodes.len(), 1);
    let mut updates = 10;
    for (number, taken) in (1..).zip([0, 2, 1, 0, 3]) {
        let values: Vec<_> = (0..taken).map(|_| measured(&mut population, 1).value_maximum.expect("it learned")).collect();
        updates += taken;
        population.end_episode(1, 0, -0.5, 7).expect("an environment");
        let episodes = measured(&mut population, 0).episodes;
        assert_eq!(episodes.len(), 1, "{number}");
        let found = (episodes[0].number, episodes[0].episode_return, episodes[0].length, episodes[0].updates);
        assert_eq!(found, (number, -0.5, 7, updates));
        let mean = values.iter().map(|&x| f64::from(x)).sum::<f64>() / f64::from(taken.max(1));
        assert_close(&format!("episode {number}"), &[episodes[0].maximum_value], &[mean], 1e-6 + 1e-6 * mean.abs());
        assert_eq!(mean == 0.0, taken == 0, "values that tell");
    }
    gpu.check().expect("no error");
}

#[test]
fn a_result_is_ready_until_it_is_taken() {
    let gpu = gpu();
    let mut population = Population::new(&gpu.device, &gpu.queue, &Environment::pendulum_v1(), &Config::default()).expect("a population");
    let mut encoder = gpu.device.create_command_encoder(&Default::default());
    let mut pending = population.record_measurements(&mut encoder);
    assert!(!pending.is_ready());
    gpu.queue.submit([encoder.finish()]);
    gpu.device.poll(wgpu::PollType::wait_indefinitely()).expect("the device works");
    assert!(pending.is_ready());
    pending.take().expect("it is there").expect("it was measured");
    assert!(!pending.is_ready() && pending.take().is_none());
    let message = pending.wait_blocking(&gpu.device).expect_err("it is gone").to_string();
    assert!(message.contains("taken already"), "{message}");
}

/// Much is submitted behind the request: its result is there before all that is done.
#[test]
fn waiting_for_a_result_is_not_waiting_for_what_follows_it() {
    let gpu = gpu();
    let mut population = trained(&gpu, &cases()[4]).into_population();
    let pending = population.request_actions(&[0.1; 6], false).expect("they fit");
    let mut encoder = gpu.device.create_command_encoder(&Default::default());
    population.record_iterations(&mut encoder, 200);
    let mut later = population.record_measurements(&mut encoder);
    gpu.queue.submit([encoder.finish()]);
    assert_eq!(pending.wait_blocking(&gpu.device).expect("they arrive").len(), 2);
    assert!(later.take().is_none(), "it waited for 200 updates, too");
    later.wait_blocking(&gpu.device).expect("it arrives");
}

#[test]
fn waiting_for_what_was_not_submitted_ends() {
    let gpu = gpu();
    let mut population = Population::new(&gpu.device, &gpu.queue, &Environment::pendulum_v1(), &Config::default()).expect("a population");
    let mut encoder = gpu.device.create_command_encoder(&Default::default());
    let pending = population.record_measurements(&mut encoder);
    let start = std::time::Instant::now();
    let message = pending.wait_blocking(&gpu.device).expect_err("it cannot come").to_string();
    assert!(message.contains("its encoder was not submitted"), "{message}");
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[test]
fn requirements_are_stated_and_checked() {
    let environment = Environment::pendulum_v1();
    let mut config = Config::default();
    assert_eq!(required_limits(&config, &environment).expect("limits"), wgpu::Limits::default());
    assert!(required_features().is_empty());
    let gpu = Gpu::open_with_limits_blocking(None, wgpu::Limits::default()).expect("WebGPU's default limits");
    check_device(&gpu.device, &config, &environment).expect("they suffice");
    config.replay_capacity = 100_000_000;
    let message = check_device(&gpu.device, &config, &environment).expect_err("3.6 GB").to_string();
    assert!(message.contains("3600000000 bytes") && message.contains("134217728 bytes"), "{message}");
    let limits = required_limits(&config, &environment).expect("limits");
    assert_eq!(limits.max_buffer_size, 3_600_000_000);
    assert!(matches!(Population::new(&gpu.device, &gpu.queue, &environment, &config), Err(Error::Limit { .. })));
    gpu.check().expect("nothing reached the device");
}

/// Iterations recorded, a snapshot of every agent behind them, and one submission of both, for which nobody waits.
fn advance_and_save(gpu: &Gpu, population: &mut Population, iterations: u64) -> Vec<Pending<Snapshot>> {
    let mut encoder = gpu.device.create_command_encoder(&Default::default());
    population.record_iterations(&mut encoder, iterations);
    let contents = Contents::TrainingAndReplay;
    let record = |agent| population.record_snapshot(&mut encoder, agent, contents).expect("an agent");
    let pending = (0..population.config().agents).map(record).collect();
    gpu.queue.submit([encoder.finish()]);
    pending
}

fn arrived(gpu: &Gpu, pending: Vec<Pending<Snapshot>>) -> Vec<Snapshot> {
    gpu.device.poll(wgpu::PollType::wait_indefinitely()).expect("the device works");
    pending.into_iter().map(|mut pending| pending.take().expect("it is there").expect("it has arrived")).collect()
}

#[test]
fn agents_saved_to_bytes_without_waiting_go_on_elsewhere_as_if_nothing_had_happened() {
    let gpu = gpu();
    let populations = || {
        let mut copdac = Config::preset(Preset::CopdacQ);
        (copdac.agents, copdac.environments, copdac.learning_starts) = (2, 3, 9);
        let copdac = Population::new(&gpu.device, &gpu.queue, &Environment::pendulum_v1(), &copdac).expect("a population");
        let mut trained = cases().iter().take(4).map(|case| trained(&gpu, case).into_population()).collect::<Vec<_>>();
        trained.push(copdac);
        trained
    };
    for (mut one, mut other) in populations().into_iter().zip(populations()) {
        let what = one.environment().name.to_string();
        let saved = arrived(&gpu, advance_and_save(&gpu, &mut one, 20));
        assert!(saved.iter().all(|snapshot| snapshot.updates > 0 && snapshot.contents() == Contents::TrainingAndReplay), "{what}");
        // as those who wait see it
        let mut one = Trainer::from_population(one);
        assert!(one.snapshot_blocking(Contents::TrainingAndReplay).expect("snapshots") == saved, "{what}");
        let bytes: Vec<_> = saved.iter().map(|snapshot| snapshot.to_bytes().expect("bytes")).collect();
        let loaded: Vec<_> = bytes.iter().map(|bytes| Snapshot::from_bytes(bytes).expect("a snapshot")).collect();
        assert!(loaded == saved, "{what}");

        let parameters = |snapshots: &[Snapshot]| snapshots[0].tensor("actor.layer1.weight").map(|(_, numbers)| numbers.to_vec());
        let before = arrived(&gpu, advance_and_save(&gpu, &mut other, 7));
        assert_ne!(parameters(&before), parameters(&saved), "{what}");
        other.restore(&loaded).expect("they fit");
        assert_eq!((other.iterations(), other.updates()), (one.population().iterations(), u64::from(saved[0].updates)), "{what}");
        one.advance_blocking(5).expect("it trains");
        let ended = arrived(&gpu, advance_and_save(&gpu, &mut other, 5));
        assert!(ended == one.snapshot_blocking(Contents::TrainingAndReplay).expect("snapshots"), "{what}");
        assert_ne!(parameters(&ended), parameters(&saved), "{what}");
        gpu.check().expect("no error");
    }
}

#[test]
fn bytes_that_hold_no_agent_are_refused() {
    let gpu = gpu();
    let bytes = trained(&gpu, &cases()[1]).snapshot_blocking(Contents::Parameters).expect("snapshots")[0].to_bytes().expect("bytes");
    let refused = |bytes: &[u8]| match Snapshot::from_bytes(bytes) {
        Err(Error::Checkpoint(message)) => message,
        other => panic!("{other:?}"),
    };
    assert!(refused(&[]).contains("0 bytes"));
    let half = bytes.len() / 2;
    assert!(refused(&bytes[..half]).contains(&format!("{half} bytes")));
    let mut infinite = bytes.clone();
    let last = infinite.len() - 4;
    infinite[last..].copy_from_slice(&f32::INFINITY.to_le_bytes());
    assert!(refused(&infinite).contains("must be finite"), "{}", refused(&infinite));
    Snapshot::from_bytes(&bytes).expect("the whole of it is an agent");
}

#[test]
fn what_was_recorded_into_a_dropped_encoder_never_arrives() {
    let gpu = gpu();
    let trainer = trained(&gpu, &cases()[1]);
    let mut encoder = gpu.device.create_command_encoder(&Default::default());
    let mut pending = trainer.population().record_snapshot(&mut encoder, 1, Contents::Training).expect("an agent");
    assert!(!pending.is_ready() && pending.take().is_none());
    drop(encoder);
    assert!(pending.is_ready());
    assert!(matches!(pending.take(), Some(Err(Error::Gpu(message))) if message.contains("dropped")));
    assert!(
        trainer.population().record_snapshot(&mut gpu.device.create_command_encoder(&Default::default()), 2, Contents::Training).is_err()
    );
}

/// Whatever is asked of a device that is gone, and the checkpoint that was saved before.
#[test]
fn a_lost_device_is_an_error_value_and_the_checkpoint_stays() {
    let gpu = gpu();
    let directory = tempfile::tempdir().expect("a directory");
    let trainer = trained(&gpu, &cases()[2]);
    Snapshot::save_all(&trainer.snapshot_blocking(Contents::TrainingAndReplay).expect("snapshots"), directory.path()).expect("saved");
    let path = directory.path().join(Snapshot::file_name(0));
    let before = std::fs::read(&path).expect("a file");
    let rows_buffer = buffer(&gpu, &[0.0; 64]);
    let policy = trainer.population().policy(0).expect("an agent");
    gpu.device.destroy();
    let rows = Rows { buffer: &rows_buffer, offset: 0, stride: 8 };
    let failed = [
        ("snapshot", trainer.snapshot_blocking(Contents::Parameters).map(drop)),
        ("save", trainer.snapshot_blocking(Contents::Parameters).and_then(|s| Snapshot::save_all(&s, directory.path()))),
    ];
    for (what, result) in failed {
        assert!(matches!(result, Err(Error::Gpu(_))), "{what}: {result:?}");
    }
    // these only record: they may succeed, but they must not panic
    let inference = policy.bind(rows, rows, 4);
    let environment = Environment::host("line", 3, vec![-1.0], vec![1.0]).expect("sizes");
    let _ = Population::new(&gpu.device, &gpu.queue, &environment, &Config::default());
    let mut encoder = gpu.device.create_command_encoder(&Default::default());
    if let Ok(inference) = inference {
        inference.record(&mut encoder);
    }
    let pending = trainer.population().record_policy_wgsl(&mut encoder, 0, WeightStorage::Constants).expect("an agent");
    gpu.queue.submit([encoder.finish()]);
    assert!(matches!(pending.wait_blocking(&gpu.device), Err(Error::Gpu(_))));
    assert_eq!(std::fs::read(&path).expect("a file"), before);
    Snapshot::load(&path).expect("it is whole");
}
