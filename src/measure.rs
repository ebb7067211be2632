//! What is measured of agents that learn: from their states, as the device counts them, to [`Measurements`]; delivered without
//! waiting.

use crate::hyper_parameters::HyperParameters;
use crate::memory::{AgentState, EPISODE_LOG};
use crate::pending::Pending;
use crate::population::Population;

/// Why and when an agent stopped learning.
///
/// ```no_run
/// # let gpu = ddpg_wgpu::Gpu::open_blocking(None)?;
/// # let mut trainer = ddpg_wgpu::Trainer::new(&gpu.device, &gpu.queue, &ddpg_wgpu::Environment::pendulum_v1(), &Default::default())?;
/// trainer.advance_blocking(1000)?;
/// if let Some(halted) = trainer.measure_blocking()?[0].halted {
///     println!("agent 0 {halted}");
/// }
/// # Ok::<(), ddpg_wgpu::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Halted {
    /// The update (from 1) that would have spoiled the parameters. For a loss that was not finite nothing of it was taken, but
    /// for what the running statistics of batch norm follow of finite observations. For a gradient only the parameters stay that it
    /// would have spoiled, and those whose gradients come later; all are finite.
    pub update: u32,
    /// What was found.
    pub reason: HaltReason,
}

/// What made an agent stop.
///
/// ```no_run
/// # let gpu = ddpg_wgpu::Gpu::open_blocking(None)?;
/// # let mut trainer = ddpg_wgpu::Trainer::new(&gpu.device, &gpu.queue, &ddpg_wgpu::Environment::pendulum_v1(), &Default::default())?;
/// use ddpg_wgpu::HaltReason;
/// trainer.advance_blocking(1000)?;
/// let stopped = trainer.measure_blocking()?[0].halted;
/// if stopped.is_some_and(|halted| halted.reason == HaltReason::Environment) {
///     println!("the environment gave NaN or infinity");
/// }
/// # Ok::<(), ddpg_wgpu::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum HaltReason {
    /// The critic's loss was NaN or infinite.
    Loss,
    /// A gradient of the critic was.
    CriticGradient,
    /// A gradient of the actor was.
    ActorGradient,
    /// The environment returned a reward or observation that was.
    Environment,
}

impl std::fmt::Display for Halted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let what = match self.reason {
            HaltReason::Loss => "the critic's loss became NaN or infinite",
            HaltReason::CriticGradient => "a gradient of the critic became NaN or infinite",
            HaltReason::ActorGradient => "a gradient of the actor became NaN or infinite",
            HaltReason::Environment => "the environment returned NaN or infinity",
        };
        write!(f, "stopped at update {}: {what}", self.update)
    }
}

/// One finished training episode.
///
/// ```no_run
/// # let gpu = ddpg_wgpu::Gpu::open_blocking(None)?;
/// # let mut trainer = ddpg_wgpu::Trainer::new(&gpu.device, &gpu.queue, &ddpg_wgpu::Environment::pendulum_v1(), &Default::default())?;
/// trainer.advance_blocking(1000)?;
/// for episode in &trainer.measure_blocking()?[0].episodes {
///     println!("{}: {:.1} in {} steps", episode.number, episode.episode_return, episode.length);
/// }
/// # Ok::<(), ddpg_wgpu::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Episode {
    /// Its number, from 0, over all environments of the agent.
    pub number: u32,
    /// Sum of its rewards.
    pub episode_return: f32,
    /// Its steps.
    pub length: u32,
    /// Mean, over the updates since an earlier step ended an episode of the agent, of the minibatch's largest Q(s, a); 0
    /// where there was no update. (The seed's Qmax, but for its divisor: the seed divides by one less than the length.)
    pub maximum_value: f32,
    /// Updates the agent had taken when it ended.
    pub updates: u32,
    /// Environment steps the agent had taken when it ended, over all its environments.
    pub steps: u64,
}

/// Averages over the updates since the last measurement, and the episodes that ended.
///
/// ```no_run
/// # let gpu = ddpg_wgpu::Gpu::open_blocking(None)?;
/// # let mut trainer = ddpg_wgpu::Trainer::new(&gpu.device, &gpu.queue, &ddpg_wgpu::Environment::pendulum_v1(), &Default::default())?;
/// trainer.advance_blocking(1000)?;
/// for measured in trainer.measure_blocking()? {
///     println!("agent {}: {} updates, critic loss {:?}", measured.agent, measured.updates, measured.critic_loss);
/// }
/// # Ok::<(), ddpg_wgpu::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Measurements {
    /// The agent's number.
    pub agent: u32,
    /// Its seed.
    pub seed: u64,
    /// Steps it has taken, over all its environments; they are counted on while an agent that has stopped waits.
    pub steps: u64,
    /// Updates it has taken.
    pub updates: u32,
    /// Transitions in its replay ring.
    pub replay_length: u32,
    /// Mean squared TD error; `None` before the first update.
    pub critic_loss: Option<f32>,
    /// −mean Q(s, μ(s)).
    pub actor_loss: Option<f32>,
    /// Mean Q(s, a).
    pub value: Option<f32>,
    /// Largest Q(s, a).
    pub value_maximum: Option<f32>,
    /// Mean |y − Q|.
    pub absolute_td_error: Option<f32>,
    /// Share of the policy's actions within 1 % of their bounds.
    pub saturated: Option<f32>,
    /// Episodes that ended since the last measurement, a restart or a restored snapshot: the last 64 of them at most.
    pub episodes: Vec<Episode>,
    /// Whether and why the agent has stopped.
    pub halted: Option<Halted>,
}

/// What `states` say of the time since the last measurement.
///
/// Which episodes are new the device says itself, in the order in which it ran measurements, restarts and restores: when and in
/// which order their results are taken, or whether at all, does not matter.
fn measurements(states: &[AgentState], environments: u32, hyper_parameters: &[HyperParameters]) -> Vec<Measurements> {
    let of_agent = |agent: usize, state: &AgentState| {
        let mean = |sum: f32| (state.measured_updates > 0).then(|| sum / state.measured_updates as f32);
        let first = state.reported.max(state.episodes.saturating_sub(EPISODE_LOG as u32));
        let episode = |number: u32| {
            let place = number as usize % EPISODE_LOG;
            let [episode_return, length, maximum_value, _] = state.log[place];
            let steps = u64::from(state.log_steps[place]) * u64::from(environments);
            Episode { number, episode_return, length: length as u32, maximum_value, updates: state.log_updates[place], steps }
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

pub(crate) fn halted(state: &AgentState) -> Option<Halted> {
    let reason = match state.halted {
        0 => return None,
        1 => HaltReason::Loss,
        2 => HaltReason::CriticGradient,
        3 => HaltReason::ActorGradient,
        _ => HaltReason::Environment,
    };
    Some(Halted { update: state.halted_at, reason })
}

impl Population {
    /// Records a measurement into `encoder`: what was measured since the last one, for every agent, after which the
    /// averages start anew. The numbers arrive after the encoder was submitted, without anybody waiting. Measurements may be
    /// taken in any order; one that is dropped takes its averages and episodes with it.
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
        let states = &self.memory.buffers.agent_states;
        let bytes = size_of::<AgentState>() as u64 * u64::from(self.config.agents);
        let pending = Pending::record(&self.device, encoder, states, 0..bytes, move |bytes| {
            Ok(measurements(&bytemuck::pod_collect_to_vec(bytes), environments, &hyper_parameters))
        });
        self.record_clear_measurements(encoder);
        pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;
    use bytemuck::Zeroable;

    const ENVIRONMENTS: u32 = 5;

    fn episode(number: u32) -> Episode {
        Episode {
            number,
            episode_return: number as f32 - 0.5,
            length: number + 1,
            maximum_value: -2.0 * number as f32,
            updates: 7 * number,
            steps: 15 * u64::from(number),
        }
    }

    /// After `episodes` episodes, the first `reported` of which were measured before.
    fn state(episodes: u32, reported: u32) -> AgentState {
        let mut state = AgentState { episodes, reported, ..AgentState::zeroed() };
        for number in 0..episodes {
            let (place, logged) = (number as usize % EPISODE_LOG, episode(number));
            state.log[place] = [logged.episode_return, logged.length as f32, logged.maximum_value, 0.0];
            state.log_updates[place] = logged.updates;
            state.log_steps[place] = 3 * number;
        }
        state
    }

    fn of(states: &[AgentState]) -> Vec<Measurements> {
        let config = Config { agents: states.len() as u32, seed: 77, ..Config::default() };
        measurements(states, ENVIRONMENTS, &HyperParameters::of_population(&config))
    }

    #[test]
    fn sums_become_means_and_every_count_its_own_field() {
        let learned = AgentState {
            steps: u32::MAX,
            updates: 9,
            replay_head: 1,
            replay_length: 31,
            measured_updates: 4,
            critic_loss: 8.0,
            actor_loss: -12.0,
            value: 20.0,
            value_maximum: 5.0,
            absolute_td_error: 2.0,
            saturated: 6.0,
            episode_maximum_value: 11.0,
            ..state(2, 1)
        };
        let halted = AgentState { halted: 1, halted_at: 3, steps: 6, updates: 2, value_maximum: f32::MIN, ..AgentState::zeroed() };
        let expected = Measurements {
            agent: 0,
            seed: 77,
            steps: 5 * u64::from(u32::MAX),
            updates: 9,
            replay_length: 31,
            critic_loss: Some(2.0),
            actor_loss: Some(-3.0),
            value: Some(5.0),
            value_maximum: Some(5.0),
            absolute_td_error: Some(0.5),
            saturated: Some(1.5),
            episodes: vec![episode(1)],
            halted: None,
        };
        // nothing was learned since: no mean of nothing, and no largest value either
        let nothing = Measurements {
            agent: 1,
            seed: HyperParameters::of_agent(&Config { seed: 77, ..Config::default() }, 1).seed,
            steps: 30,
            updates: 2,
            replay_length: 0,
            critic_loss: None,
            actor_loss: None,
            value: None,
            value_maximum: None,
            absolute_td_error: None,
            saturated: None,
            episodes: vec![],
            halted: Some(Halted { update: 3, reason: HaltReason::Loss }),
        };
        assert_ne!(nothing.seed, 77);
        assert_eq!(of(&[learned, halted]), [expected, nothing]);
    }

    #[test]
    fn of_many_episodes_the_last_are_told_and_none_twice() {
        for (episodes, reported, first) in [(3, 0, 0), (64, 0, 0), (65, 0, 1), (100, 0, 36), (100, 10, 36), (100, 97, 97), (100, 100, 100)]
        {
            let expected: Vec<_> = (first..episodes).map(episode).collect();
            assert_eq!(of(&[state(episodes, reported)])[0].episodes, expected, "{episodes} episodes, {reported} of them reported");
        }
    }

    #[test]
    fn what_stopped_an_agent_is_told_by_its_number() {
        // HALTED_LOSS, HALTED_CRITIC_GRADIENT, ... in shaders/shared/bindings.wgsl
        let reasons = [HaltReason::Loss, HaltReason::CriticGradient, HaltReason::ActorGradient, HaltReason::Environment];
        assert_eq!(halted(&AgentState { halted: 0, halted_at: 12, ..AgentState::zeroed() }), None);
        for (number, reason) in (1..).zip(reasons) {
            let state = AgentState { halted: number, halted_at: 12, ..AgentState::zeroed() };
            assert_eq!(halted(&state), Some(Halted { update: 12, reason }), "{number}");
        }
    }
}
