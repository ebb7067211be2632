//! Evaluation episodes recorded step by step on the device: what there is to draw, and what the policy does.

use crate::buffer::{Source, check_fits, most_bytes, read_blocking, zeroed};
use crate::error::{Error, Result};
use crate::evaluate::{ACTIVATION_BYTES, EPISODE_RETURN, FINISHED_LENGTH, Stage, largest};
use crate::fault::guarded;
use crate::trainer::Trainer;

/// One episode of one agent's policy, without noise: the states it met and the actions it took in them.
///
/// ```no_run
/// # let gpu = ddpg_wgpu::Gpu::open_blocking(None)?;
/// # let mut trainer = ddpg_wgpu::Trainer::new(&gpu.device, &gpu.queue, &ddpg_wgpu::Environment::pendulum_v1(), &Default::default())?;
/// for episode in trainer.trajectories_blocking(3, 1)? {
///     // Pendulum's state is an angle and an angular velocity
///     println!("agent {}, {} steps, first angle {}", episode.agent, episode.length(), episode.states[0]);
/// }
/// # Ok::<(), ddpg_wgpu::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Trajectory {
    /// The agent's number.
    pub agent: u32,
    /// Physics states before each step, `[steps, state_size]`, row by row.
    pub states: Vec<f32>,
    /// The actions taken in them, `[steps, action_size]`, row by row.
    pub actions: Vec<f32>,
    /// Sum of the rewards before each step, `[steps]`.
    pub returns: Vec<f32>,
}

impl Trajectory {
    /// Its steps.
    pub fn length(&self) -> usize {
        self.returns.len()
    }
}

impl Trainer {
    /// Runs `episodes` episodes of every agent's actor as [`Trainer::evaluate_blocking`] does, from the same starting states
    /// for the same `seed`, and keeps every state and action: agent after agent, episode after episode. The device copies
    /// them as it goes; the host reads once, at the end.
    ///
    /// # Errors
    /// [`Error::Config`] for no episodes, more than fit at once, or an environment on the host; [`Error::Limit`] where not even
    /// one fits; [`Error::Gpu`] where the device fails.
    pub fn trajectories_blocking(&self, episodes: u32, seed: u32) -> Result<Vec<Trajectory>> {
        let population = &self.population;
        if episodes == 0 {
            return Err(Error::config("a recording of 0 episodes; ask for at least 1"));
        }
        let stage = Stage::new(population, episodes, seed, ACTIVATION_BYTES)?;
        let agents = population.config.agents as usize;
        let action = stage.rollout.action;
        // each step: every environment of every agent, then every agent's actions; whole vec4s, as copies of activations want it
        let floats = |episodes: u32| {
            let environments = (agents * stage.stride * episodes as usize).next_multiple_of(4);
            (environments, 4 * action.stride as usize * episodes as usize)
        };
        let bytes = |episodes: u32| {
            let (environments, actions) = floats(episodes);
            4 * (environments + agents * actions) as u64 * u64::from(stage.limit)
        };
        let limits = population.device.limits();
        let most = largest(stage.environments, |episodes| bytes(episodes) <= most_bytes(&limits));
        check_fits("one recorded episode of every agent", bytes(1), most_bytes(&limits), "binding", "train fewer agents")?;
        if most < episodes {
            return Err(Error::config(format!("a recording of {episodes} episodes; {most} fit at once")));
        }
        let (environments, actions) = floats(episodes);
        let step_floats = environments + agents * actions;
        let recording = guarded(&population.device, || Ok(zeroed(&population.device, "the recorded episodes", bytes(episodes))))?;
        let buffers = &stage.memory.buffers;
        let slice = 16 * u64::from(stage.memory.sizes.activations_stride);
        let mut encoder = stage.encoder();
        stage.record(&stage.reset, &mut encoder, 1);
        for step in 0..stage.limit {
            let at = 4 * step_floats as u64 * u64::from(step);
            encoder.copy_buffer_to_buffer(&buffers.environments, 0, &recording, at, 4 * environments as u64);
            stage.record(&stage.step, &mut encoder, 1);
            for agent in 0..agents as u64 {
                let from = agent * slice + 16 * u64::from(action.offset);
                let to = at + 4 * environments as u64 + agent * 4 * actions as u64;
                buffers.activations.record_copy(&mut encoder, from..from + 4 * actions as u64, &recording, to);
            }
        }
        population.queue.submit([encoder.finish()]);
        let end: Vec<f32> = read_blocking(&population.device, &population.queue, &buffers.environments, 0..4 * environments as u64)?;
        let recorded: Vec<f32> = read_blocking(&population.device, &population.queue, &recording, 0..bytes(episodes))?;

        let (state_size, action_size) = (population.environment.state_size as usize, population.environment.action_size() as usize);
        let mut trajectories = Vec::with_capacity(agents * episodes as usize);
        for agent in 0..agents {
            for episode in 0..episodes as usize {
                let place = agent * stage.floats() + episode * stage.stride;
                // whole numbers, exact in float32
                let length = end[place + stage.tail + FINISHED_LENGTH] as usize;
                let mut trajectory = Trajectory { agent: agent as u32, states: vec![], actions: vec![], returns: vec![] };
                for step in recorded.chunks(step_floats).take(length) {
                    let acted = environments + agent * actions + episode * 4 * action.stride as usize;
                    trajectory.states.extend(&step[place..place + state_size]);
                    trajectory.actions.extend(&step[acted..acted + action_size]);
                    trajectory.returns.push(step[place + stage.tail + EPISODE_RETURN]);
                }
                trajectories.push(trajectory);
            }
        }
        Ok(trajectories)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Config, Environment, Gpu};

    #[test]
    fn as_many_episodes_as_an_error_names_fit() {
        let limits = wgpu::Limits { max_storage_buffer_binding_size: 1 << 20, ..Default::default() };
        let gpu = Gpu::open_with_limits_blocking(None, limits).expect("a device");
        let mut config = Config { agents: 2, replay_capacity: 1000, ..Config::default() };
        (config.actor_hidden, config.critic_hidden) = (vec![16], vec![16]);
        let pendulum = Environment::pendulum_v1();
        let trainer = Trainer::new(&gpu.device, &gpu.queue, &pendulum, &config).unwrap_or_else(|error| panic!("{error}"));
        let first_number = |text: &str, mark: &str| -> u32 {
            let behind = text.split_once(mark).unwrap_or_else(|| panic!("{mark:?} is not in {text:?}")).1;
            behind.split([' ', ':']).next().and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("no number in {text:?}"))
        };
        let recorded = |episodes| trainer.trajectories_blocking(episodes, 1).map_err(|error| error.to_string());
        for asked in [1000, 50_000, u32::MAX] {
            let refused = recorded(asked).expect_err("too many");
            let named = first_number(&refused, "episodes; ");
            assert_eq!(recorded(named).expect("as many as was said").len(), 2 * named as usize);
            assert_eq!(first_number(&recorded(named + 1).expect_err("one more"), "episodes; "), named);
        }
        let evaluated = |episodes| {
            let mut encoder = gpu.device.create_command_encoder(&Default::default());
            trainer.population().record_evaluation(&mut encoder, episodes, 1).map(drop).map_err(|error| error.to_string())
        };
        let named = first_number(&evaluated(u32::MAX).expect_err("too many"), "offers ");
        evaluated(named).expect("as many as was said");
        evaluated(named + 1).expect_err("one more");
        gpu.check().unwrap_or_else(|error| panic!("{error}"));
    }
}
