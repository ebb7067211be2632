//! Trains on a simulation that runs on the CPU: pendulums of rigid bodies, simulated by rapier. While the host simulates a
//! step, the device already learns from the one before.
//!
//! ```sh
//! cargo run --release -p host_environment [STEPS]
//! ```
use ddpg_wgpu::{Config, Environment, Gpu, Population, Result, Transitions};
use rapier2d::prelude::*;
use std::f32::consts::PI;
use std::time::Instant;

const PENDULUMS: usize = 16;
const TIME_LIMIT: u32 = 200;
/// Physics steps an action holds for, of 1/40 s each.
const SUBSTEPS: usize = 2;
const MAXIMUM_TORQUE: f32 = 2.0;

/// A rod of 1 m and 1 kg, hung at its end.
struct Pendulum {
    rod: RigidBodyHandle,
    hinge: Vector,
    steps: u32,
    episode_return: f32,
}

struct Simulation {
    world: PhysicsWorld,
    pendulums: Vec<Pendulum>,
    /// Episodes begun so far: where each begins follows from its number.
    episodes: u32,
}

impl Simulation {
    fn new() -> Self {
        let mut world = PhysicsWorld::default();
        world.gravity = Vector::new(0.0, -10.0);
        world.integration_parameters.dt = 0.05 / SUBSTEPS as f32;
        let pendulums = (0..PENDULUMS).map(|i| Self::hang(&mut world, Vector::new(3.0 * i as f32, 0.0))).collect();
        let mut simulation = Self { world, pendulums, episodes: 0 };
        (0..PENDULUMS).for_each(|i| simulation.begin(i));
        simulation
    }

    fn hang(world: &mut PhysicsWorld, hinge: Vector) -> Pendulum {
        let anchor = world.insert_body(RigidBodyBuilder::fixed().translation(hinge));
        let rod = world.insert_body(RigidBodyBuilder::dynamic().translation(hinge + Vector::new(0.0, 0.5)).can_sleep(false));
        // a thin rod: m l² / 12 about its middle
        let thickness = 0.02;
        world.insert_collider(ColliderBuilder::cuboid(0.5 * thickness, 0.5).density(1.0 / thickness), Some(rod));
        let joint = RevoluteJointBuilder::new().contacts_enabled(false).local_anchor2(Vector::new(0.0, -0.5));
        world.insert_impulse_joint(anchor, rod, joint);
        Pendulum { rod, hinge, steps: 0, episode_return: 0.0 }
    }

    /// Starts an episode at any angle, at up to 1 rad/s.
    fn begin(&mut self, index: usize) {
        let [angle, velocity, ..] = ddpg_wgpu::philox([self.episodes, 0, 0, 0], [2024, 0]).map(|word| word as f32 / u32::MAX as f32);
        self.episodes += 1;
        let (angle, velocity) = (PI * (2.0 * angle - 1.0), 2.0 * velocity - 1.0);
        let pendulum = &mut self.pendulums[index];
        (pendulum.steps, pendulum.episode_return) = (0, 0.0);
        let rod = &mut self.world.bodies[pendulum.rod];
        let middle = 0.5 * Vector::new(-angle.sin(), angle.cos());
        rod.set_rotation(Rotation::new(angle), true);
        rod.set_translation(pendulum.hinge + middle, true);
        rod.set_angvel(velocity, true);
        rod.set_linvel(velocity * Vector::new(-middle.y, middle.x), true);
    }

    /// Angle from upright (rad) and angular velocity (rad/s).
    fn state(&self, index: usize) -> (f32, f32) {
        let rod = &self.world.bodies[self.pendulums[index].rod];
        (rod.rotation().angle(), rod.angvel())
    }

    fn observations(&self) -> Vec<f32> {
        let observe = |index| {
            let (angle, velocity) = self.state(index);
            [angle.cos(), angle.sin(), velocity]
        };
        (0..PENDULUMS).flat_map(observe).collect()
    }

    /// Holds the torques for a step of 0.05 s; the rewards are Pendulum-v1's.
    fn step(&mut self, torques: &[f32]) -> Vec<f32> {
        let reward = |(index, &torque): (usize, &f32)| {
            let (angle, velocity) = self.state(index);
            -(angle * angle + 0.1 * velocity * velocity + 0.001 * torque * torque)
        };
        let rewards: Vec<f32> = torques.iter().enumerate().map(reward).collect();
        for (pendulum, &torque) in self.pendulums.iter().zip(torques) {
            let rod = &mut self.world.bodies[pendulum.rod];
            rod.reset_torques(true);
            rod.add_torque(torque, true);
        }
        (0..SUBSTEPS).for_each(|_| self.world.step());
        for (pendulum, reward) in self.pendulums.iter_mut().zip(&rewards) {
            pendulum.steps += 1;
            pendulum.episode_return += reward;
        }
        rewards
    }
}

fn main() -> Result<()> {
    let gpu = Gpu::open_blocking(None)?;
    let environment = Environment::host("rapier pendulum", 3, vec![-MAXIMUM_TORQUE], vec![MAXIMUM_TORQUE])?;
    let mut config = Config::default();
    config.environments = PENDULUMS as u32;
    let steps = std::env::args().nth(1).and_then(|steps| steps.parse().ok()).unwrap_or(40_000u64);
    let mut population = Population::new(&gpu.device, &gpu.queue, &environment, &config)?;
    let mut simulation = Simulation::new();
    let (mut finished, start) = (Vec::new(), Instant::now());
    let (mut waited, mut simulated, mut requested, mut pushed) = (0.0, 0.0, 0.0, 0.0);
    let not_terminated = [false; PENDULUMS];
    while population.environment_steps() < steps {
        let begun = Instant::now();
        let observations = simulation.observations();
        let pending = population.request_actions(&observations, true)?;
        // behind the request in the queue: the device learns while the host simulates
        let mut encoder = gpu.device.create_command_encoder(&Default::default());
        population.record_iterations(&mut encoder, 1);
        gpu.queue.submit([encoder.finish()]);
        requested += begun.elapsed().as_secs_f64();
        let asked = Instant::now();
        let actions = pending.wait_blocking(&gpu.device)?;
        waited += asked.elapsed().as_secs_f64();

        let begun = Instant::now();
        let rewards = simulation.step(&actions);
        let next_observations = simulation.observations();
        simulated += begun.elapsed().as_secs_f64();
        let begun = Instant::now();
        population.push_transitions(&Transitions {
            observations: &observations,
            actions: &actions,
            rewards: &rewards,
            next_observations: &next_observations,
            // a time limit is no end of the task
            terminated: &not_terminated,
        })?;
        pushed += begun.elapsed().as_secs_f64();
        for index in 0..PENDULUMS {
            if simulation.pendulums[index].steps == TIME_LIMIT {
                let episode_return = simulation.pendulums[index].episode_return;
                finished.push(episode_return);
                population.end_episode(0, index as u32, episode_return, TIME_LIMIT)?;
                simulation.begin(index);
            }
        }
        if finished.len() >= PENDULUMS {
            let mean = finished.iter().sum::<f32>() / finished.len() as f32;
            println!("{:>6} steps, mean return of {} episodes {mean:>8.1}", population.environment_steps(), finished.len());
            finished.clear();
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    println!("{:.0} steps/s, {} updates", population.environment_steps() as f64 / seconds, population.updates());
    for (what, part) in [("submitting", requested), ("waiting for actions", waited), ("simulating", simulated), ("pushing", pushed)] {
        println!("{:>3.0} % {what}", 100.0 * part / seconds);
    }
    gpu.check()
}
