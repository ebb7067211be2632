//! The world, and all that learning in it takes: a population, a pacer, and its policy bound to the world's buffers.

use crate::world::{self, World};
use ddpg_wgpu::checkpoint::Contents;
use ddpg_wgpu::wgpu;
use ddpg_wgpu::{Config, Environment, Inference, Measurements, Pacer, Pending, Population, Result, Rows, Snapshot};
use std::time::Duration;

/// Frames from one measurement to the next.
const MEASURED_EVERY: u64 = 20;

pub struct Scene {
    device: wgpu::Device,
    queue: wgpu::Queue,
    world: World,
    pub population: Population,
    pub pacer: Pacer,
    inference: Inference,
    pending: Option<Pending<Vec<Measurements>>>,
    mean_return: Option<f32>,
    frame: u64,
}

impl Scene {
    /// What to ask an adapter for.
    pub fn device_descriptor(adapter: &wgpu::Adapter) -> Result<wgpu::DeviceDescriptor<'static>> {
        Ok(wgpu::DeviceDescriptor {
            required_features: adapter.features() & ddpg_wgpu::optional_features(),
            required_limits: ddpg_wgpu::required_limits(&Config::default(), &Environment::pendulum_v1())?,
            ..Default::default()
        })
    }

    /// `format` of what is drawn to; `budget` of GPU time a frame for training.
    pub fn new(device: &wgpu::Device, queue: &wgpu::Queue, format: wgpu::TextureFormat, budget: Duration) -> Result<Self> {
        let world = World::new(device, format);
        let population = Population::new(device, queue, &Environment::pendulum_v1(), &Config::default())?;
        let rows = |offset| Rows { buffer: &world.bodies, offset, stride: world::STRIDE };
        let inference = population.policy(0)?.bind(rows(world::OBSERVATION), rows(world::TORQUE), world::BODIES)?;
        let pacer = Pacer::new(device, queue, budget);
        let (device, queue) = (device.clone(), queue.clone());
        Ok(Self { device, queue, world, population, pacer, inference, pending: None, mean_return: None, frame: 0 })
    }

    /// Trains as much as fits into the budget, if wanted; then the policy as it is moves the pendulums, and they are drawn.
    ///
    /// # Errors
    /// Where the device fails.
    pub fn frame(&mut self, target: &wgpu::Texture, trains: bool) -> Result<()> {
        if let Some(arrived) = self.pending.as_mut().and_then(Pending::take) {
            self.pending = None;
            let returns: Vec<f32> = arrived?.iter().flat_map(|agent| &agent.episodes).map(|episode| episode.episode_return).collect();
            if !returns.is_empty() {
                self.mean_return = Some(returns.iter().sum::<f32>() / returns.len() as f32);
            }
            self.world.add_returns(&self.queue, returns);
        }
        let mut encoder = self.device.create_command_encoder(&Default::default());
        if trains {
            self.pacer.record(&mut self.population, &mut encoder, u64::MAX);
            if self.pending.is_none() && self.frame.is_multiple_of(MEASURED_EVERY) {
                self.pending = Some(self.population.record_measurements(&mut encoder));
            }
        }
        self.inference.record(&mut encoder);
        self.world.step(&mut encoder);
        self.world.draw(&self.queue, &mut encoder, target);
        self.queue.submit([encoder.finish()]);
        self.frame += 1;
        Ok(())
    }

    /// Shows what was drawn.
    pub fn present(&self, acquired: wgpu::SurfaceTexture) {
        self.queue.present(acquired);
    }

    /// Mean return of the episodes that ended last, once there are any.
    pub fn mean_return(&self) -> Option<f32> {
        self.mean_return
    }

    /// The agent as it is now, once it has arrived.
    pub fn save(&self) -> Result<Pending<Snapshot>> {
        let mut encoder = self.device.create_command_encoder(&Default::default());
        let pending = self.population.record_snapshot(&mut encoder, 0, Contents::Parameters)?;
        self.queue.submit([encoder.finish()]);
        Ok(pending)
    }

    /// Draws the world as it is once more.
    pub fn draw(&self, encoder: &mut wgpu::CommandEncoder, target: &wgpu::Texture) {
        self.world.draw(&self.queue, encoder, target);
    }
}
