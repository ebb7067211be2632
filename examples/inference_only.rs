//! Loads a trained agent from a safetensors file and evaluates its policy on a buffer of our own, with a device that knows
//! nothing of training; then writes the policy as WGSL.
//!
//! ```sh
//! cargo run --release -- train --out runs/demo
//! cargo run --release --example inference_only -- runs/demo/agent-0000.safetensors [policy.wgsl]
//! ```
use ddpg_wgpu::wgpu::{self, BufferUsages};
use ddpg_wgpu::{Error, Gpu, Policy, Result, Rows, Snapshot, WeightStorage};

const ROWS: u32 = 4096;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let Some(path) = arguments.next() else {
        eprintln!("usage: inference_only AGENT.safetensors [POLICY.wgsl]");
        std::process::exit(2);
    };
    let snapshot = Snapshot::load(path)?;
    // WebGPU's default limits and no features, as a browser gives them
    let gpu = Gpu::open_with_limits_blocking(None, wgpu::Limits::default())?;
    let policy = Policy::from_snapshot(&gpu.device, &gpu.queue, &snapshot)?;
    let (inputs, outputs) = (policy.observation_size(), policy.action_size());
    println!("{}: {inputs} observations, {outputs} actions, {} updates", snapshot.environment, snapshot.updates);

    // one buffer, rows of observation and action
    let stride = inputs + outputs;
    let observation = |row: u32| (0..inputs).map(move |i| (0.37 * row as f32 + i as f32).cos());
    let floats: Vec<f32> = (0..ROWS).flat_map(|row| observation(row).chain((0..outputs).map(|_| 0.0))).collect();
    let bytes: Vec<u8> = floats.iter().flat_map(|float| float.to_le_bytes()).collect();
    let buffer = |usage| {
        gpu.device.create_buffer(&wgpu::BufferDescriptor { label: None, size: bytes.len() as u64, usage, mapped_at_creation: false })
    };
    let rows = buffer(BufferUsages::STORAGE | BufferUsages::COPY_DST | BufferUsages::COPY_SRC);
    let readback = buffer(BufferUsages::MAP_READ | BufferUsages::COPY_DST);
    gpu.queue.write_buffer(&rows, 0, &bytes);

    let at = |offset| Rows { buffer: &rows, offset, stride };
    let inference = policy.bind(at(0), at(inputs), ROWS)?;
    // once before the clock runs: software drivers compile at the first dispatch
    let mut encoder = gpu.device.create_command_encoder(&Default::default());
    inference.record(&mut encoder);
    gpu.queue.submit([encoder.finish()]);
    gpu.device.poll(wgpu::PollType::wait_indefinitely()).map_err(|error| Error::Gpu(error.to_string()))?;
    let start = std::time::Instant::now();
    let mut encoder = gpu.device.create_command_encoder(&Default::default());
    inference.record(&mut encoder);
    encoder.copy_buffer_to_buffer(&rows, 0, &readback, 0, rows.size());
    gpu.queue.submit([encoder.finish()]);
    readback.slice(..).map_async(wgpu::MapMode::Read, |_| {});
    let failed = |error: &dyn std::fmt::Display| Error::Gpu(error.to_string());
    gpu.device.poll(wgpu::PollType::wait_indefinitely()).map_err(|error| failed(&error))?;
    let view = readback.slice(..).get_mapped_range().map_err(|error| failed(&error))?;
    println!("{ROWS} actions in {:?}", start.elapsed());
    let floats: Vec<f32> = view.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    for row in floats.chunks(stride as usize).take(4) {
        println!("{:?} -> {:?}", &row[..inputs as usize], &row[inputs as usize..]);
    }

    if let Some(path) = arguments.next() {
        let storage = WeightStorage::Buffer { group: 0, binding: 0 };
        let exported = snapshot.policy_wgsl(WeightStorage::Constants).or_else(|_| snapshot.policy_wgsl(storage))?;
        std::fs::write(&path, &exported.source).map_err(|source| Error::Io { path: path.clone().into(), source })?;
        println!("wrote {path}: {} weights", exported.weights.len());
    }
    gpu.check()
}
