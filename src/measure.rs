//! From the agents' states, as the device counts them, to [`Measurements`]; delivered without waiting.

use crate::hyper_parameters::HyperParameters;
use crate::memory::{AgentState, EPISODE_LOG};
use crate::pending::Pending;
use crate::population::Population;
use crate::trainer::{Episode, Measurements, halted};
use std::sync::{Arc, Mutex, PoisonError};

/// Episodes of each agent that were reported already.
pub(crate) type Logged = Arc<Mutex<Vec<u32>>>;

/// Notes `episodes` as reported and gives back what was reported before.
pub(crate) fn replace_logged(logged: &Logged, episodes: Vec<u32>) -> Vec<u32> {
    std::mem::replace(&mut *logged.lock().unwrap_or_else(PoisonError::into_inner), episodes)
}

/// What `states` say of the time since the last measurement.
pub(crate) fn measurements(
    states: &[AgentState],
    environments: u32,
    hyper_parameters: &[HyperParameters],
    logged: &Logged,
) -> Vec<Measurements> {
    let before = replace_logged(logged, states.iter().map(|state| state.episodes).collect());
    let of_agent = |agent: usize, state: &AgentState| {
        let mean = |sum: f32| (state.measured_updates > 0).then(|| sum / state.measured_updates as f32);
        let first = before[agent].max(state.episodes.saturating_sub(EPISODE_LOG as u32));
        let episode = |number: u32| {
            let [episode_return, length, maximum_value, updates] = state.log[number as usize % EPISODE_LOG];
            let steps = u64::from(state.log_steps[number as usize % EPISODE_LOG]) * u64::from(environments);
            Episode { number, episode_return, length: length as u32, maximum_value, updates: updates as u32, steps }
        };
        Measurements {
            agent: agent as u32,
            seed: hyper_parameters[agent].seed,
            steps: u64::from(state.steps) * u64::from(environments),
            updates: state.updates,
            replay_length: state.replay_length,
            critic_loss: mean(state.critic_loss),
            actor_loss: mean(state.actor_loss),
            value: mean(state.value),
            value_maximum: (state.measured_updates > 0).then_some(state.value_maximum),
            absolute_td_error: mean(state.absolute_td_error),
            saturated: mean(state.saturated),
            episodes: (first..state.episodes).map(episode).collect(),
            halted: halted(state),
        }
    };
    states.iter().enumerate().map(|(agent, state)| of_agent(agent, state)).collect()
}

impl Population {
    /// Records a measurement into `encoder`: what was measured since the last one, for every agent, after which the
    /// averages start anew. The numbers arrive after the encoder was submitted, without anybody waiting.
    ///
    /// ```no_run
    /// # use ddpg_wgpu::{Config, Environment, Gpu, Population};
    /// # let gpu = Gpu::open_blocking(None)?;
    /// # let mut population = Population::new(&gpu.device, &gpu.queue, &Environment::pendulum_v1(), &Config::default())?;
    /// let mut encoder = gpu.device.create_command_encoder(&Default::default());
    /// population.record_iterations(&mut encoder, 10);
    /// let mut pending = population.record_measurements(&mut encoder);
    /// gpu.queue.submit([encoder.finish()]);
    /// // some frames later; the application polls its device anyway, or submits again
    /// if let Some(measurements) = pending.take() {
    ///     println!("{:?}", measurements?[0].critic_loss);
    /// }
    /// # Ok::<(), ddpg_wgpu::Error>(())
    /// ```
    pub fn record_measurements(&mut self, encoder: &mut wgpu::CommandEncoder) -> Pending<Vec<Measurements>> {
        let environments = self.config.environments;
        let hyper_parameters = self.hyper_parameters.clone();
        let logged = self.logged.clone();
        let states = &self.memory.buffers.agent_states;
        let bytes = size_of::<AgentState>() as u64 * u64::from(self.config.agents);
        let pending = Pending::record(&self.device, encoder, states, 0..bytes, move |bytes| {
            Ok(measurements(&bytemuck::pod_collect_to_vec(bytes), environments, &hyper_parameters, &logged))
        });
        self.record_clear_measurements(encoder);
        pending
    }
}
