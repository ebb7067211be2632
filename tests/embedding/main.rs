//! The library inside somebody else's program: policies on the caller's buffers and as WGSL, environments on the host,
//! training within a budget, and errors instead of panics.
#![cfg(feature = "checkpoint")]

mod host;
mod keeping;
mod measurements;
mod pacer;
mod pending;
mod policy;

use ddpg_wgpu::wgpu::{self, BufferUsages};
use ddpg_wgpu::*;

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
