//! A device with WebGPU's default limits and no optional feature, opened without the library's help: trains Pendulum, runs
//! the policy into a buffer of its own, and fails unless the actions are the policy's.

use ddpg_wgpu::wgpu::{self, BufferUsages};
use ddpg_wgpu::{Config, Environment, Population, Rows, WeightStorage, check_device};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    let adapter = pollster::block_on(instance.request_adapter(&Default::default()))?;
    let descriptor = wgpu::DeviceDescriptor { required_limits: wgpu::Limits::default(), ..Default::default() };
    let (device, queue) = pollster::block_on(adapter.request_device(&descriptor))?;

    let environment = Environment::pendulum_v1();
    let config = Config::default();
    check_device(&device, &config, &environment)?;
    let mut population = Population::new(&device, &queue, &environment, &config)?;
    let submit = |encoder: wgpu::CommandEncoder| {
        queue.submit([encoder.finish()]);
        device.poll(wgpu::PollType::wait_indefinitely())
    };
    let iterations = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(300u64);
    for _ in 0..iterations / 10 {
        let mut encoder = device.create_command_encoder(&Default::default());
        population.record_iterations(&mut encoder, 10);
        submit(encoder)?;
    }
    let mut encoder = device.create_command_encoder(&Default::default());
    let mut measured = population.record_measurements(&mut encoder);
    let mut exported = population.record_policy_wgsl(&mut encoder, 0, WeightStorage::Constants)?;
    submit(encoder)?;
    let measured = measured.take().ok_or("no measurements")??;
    let exported = exported.take().ok_or("no source")??;
    println!("{} updates, critic loss {:?}; {} bytes of WGSL", population.updates(), measured[0].critic_loss, exported.source.len());
    if population.updates() == 0 || !measured[0].critic_loss.is_some_and(f32::is_finite) {
        return Err("it did not train".into());
    }

    // upright and still: cos 1, sin 0, velocity 0; and hanging
    let floats = [1.0f32, 0.0, 0.0, f32::NAN, -1.0, 0.0, 0.0, f32::NAN];
    let buffer = |usage| device.create_buffer(&wgpu::BufferDescriptor { label: None, size: 32, usage, mapped_at_creation: false });
    let rows = buffer(BufferUsages::STORAGE | BufferUsages::COPY_DST | BufferUsages::COPY_SRC);
    let readback = buffer(BufferUsages::MAP_READ | BufferUsages::COPY_DST);
    queue.write_buffer(&rows, 0, &floats.iter().flat_map(|float| float.to_le_bytes()).collect::<Vec<_>>());
    let at = |offset| Rows { buffer: &rows, offset, stride: 4 };
    let inference = population.policy(0)?.bind(at(0), at(3), 2)?;
    let mut encoder = device.create_command_encoder(&Default::default());
    inference.record(&mut encoder);
    encoder.copy_buffer_to_buffer(&rows, 0, &readback, 0, 32);
    encoder.map_buffer_on_submit(&readback, wgpu::MapMode::Read, .., |_| {});
    submit(encoder)?;
    let view = readback.slice(..).get_mapped_range()?;
    let floats: Vec<f32> = view.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    println!("torques {} and {} N·m", floats[3], floats[7]);
    let within = |torque: f32| (-2.0..=2.0).contains(&torque);
    if !(within(floats[3]) && within(floats[7])) { Err("the torques are not the policy's".into()) } else { Ok(()) }
}
