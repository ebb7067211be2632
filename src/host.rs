//! An environment on the host: batches of actions out of the device, batches of transitions into its replay rings.

use crate::buffer::{most_bytes, storage};
use crate::config::all_finite;
use crate::error::{Error, Result};
use crate::fault::guarded;
use crate::layout::transition_stride;
use crate::pending::Pending;
use crate::population::Population;
use crate::transfer::{IN, Move, Mover, OUT, ROWS, Transfer};
use bytemuck::Zeroable;
use std::ops::Range;

/// Transitions for the replay rings of a population, every array row-major with the agent first.
///
/// As many for each agent; `count` is how many. An episode that a time limit ends is not `terminated`.
///
/// ```
/// use ddpg_wgpu::Transitions;
/// // one agent, one transition: three numbers of observation, one of action
/// let transitions = Transitions {
///     observations: &[1.0, 0.0, 0.0],
///     actions: &[0.5],
///     rewards: &[-0.1],
///     next_observations: &[0.99, 0.05, 0.1],
///     terminated: &[false],
/// };
/// # let _ = transitions;
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Transitions<'a> {
    /// `[agents, count, observation]`: what the action was chosen from.
    pub observations: &'a [f32],
    /// `[agents, count, action]`
    pub actions: &'a [f32],
    /// `[agents, count]`
    pub rewards: &'a [f32],
    /// `[agents, count, observation]`: what followed; at the end of an episode its last observation.
    pub next_observations: &'a [f32],
    /// `[agents, count]`: whether the task itself ended there, so that nothing of value follows.
    pub terminated: &'a [bool],
}

/// Buffers that the host fills and reads, kept from call to call.
#[derive(Debug, Default)]
pub(crate) struct HostMemory {
    actions: Option<ActionMoves>,
    inbox: Option<wgpu::Buffer>,
}

#[derive(Debug)]
struct ActionMoves {
    observations: wgpu::Buffer,
    actions: wgpu::Buffer,
    gather: Move,
    scatter: Move,
    explore: Move,
    advance: Move,
}

impl Population {
    /// Asks for the actions to take on `observations` (`[agents, environments, observation]`): the policy's own, or with
    /// the agents' exploration noise if `explore` (and uniformly random ones for the first `random_steps`). They arrive as
    /// `[agents, environments, action]`, within their bounds, without anybody waiting: simulate meanwhile, or ask for
    /// another group's.
    ///
    /// It submits to the queue. With `explore` it counts as a step of every environment.
    ///
    /// # Errors
    /// [`Error::Config`] where the population has a GPU environment, for a wrong number of floats, or one that is not finite;
    /// [`Error::Gpu`] where the device fails.
    pub fn request_actions(&mut self, observations: &[f32], explore: bool) -> Result<Pending<Vec<f32>>> {
        self.check_host("actions can be requested")?;
        let lanes = self.config.agents as usize * self.config.environments as usize;
        let expected = lanes * self.environment.observation_size as usize;
        if observations.len() != expected {
            return Err(Error::config(format!(
                "{} floats of observations, but {expected} are needed: {} agents, {} environments, {} observations",
                observations.len(),
                self.config.agents,
                self.config.environments,
                self.environment.observation_size
            )));
        }
        all_finite("observation", observations)?;
        let device = self.device.clone();
        if self.host.actions.is_none() {
            self.host.actions = Some(guarded(&device, || self.action_moves())?);
        }
        guarded(&device, || Ok(self.submit_actions(observations, explore)))?
            .ok_or_else(|| Error::Gpu("the buffers of the actions are gone".into()))
    }

    fn submit_actions(&self, observations: &[f32], explore: bool) -> Option<Pending<Vec<f32>>> {
        let moves = self.host.actions.as_ref()?;
        self.queue.write_buffer(&moves.observations, 0, bytemuck::cast_slice(observations));
        let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("actions") });
        {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor { label: Some("actions"), timestamp_writes: None });
            moves.gather.record(&mut pass);
            pass.set_bind_group(0, &self.memory.bind_group, &[]);
            self.record_actor(&mut pass);
            if explore {
                moves.explore.record(&mut pass);
                moves.advance.record(&mut pass);
            } else {
                moves.scatter.record(&mut pass);
            }
        }
        let bytes = moves.actions.size();
        let pending =
            Pending::record(&self.device, &mut encoder, &moves.actions, 0..bytes, |bytes| Ok(bytemuck::pod_collect_to_vec(bytes)));
        self.queue.submit([encoder.finish()]);
        Some(pending)
    }

    fn action_moves(&self) -> Result<ActionMoves> {
        let (environments, agents) = (self.config.environments, self.config.agents);
        let buffer = |what: &str, columns: u32| {
            let bytes = 4 * u64::from(columns) * u64::from(environments) * u64::from(agents);
            let limits = self.device.limits();
            if bytes > most_bytes(&limits) {
                return storage(&self.device, what, bytes, "use fewer environments");
            }
            Ok(self.device.create_buffer(&wgpu::BufferDescriptor {
                label: Some(what),
                size: bytes,
                usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::COPY_SRC,
                mapped_at_creation: false,
            }))
        };
        let observations = buffer("host observations", self.environment.observation_size)?;
        let actions = buffer("host actions", self.environment.action_size())?;
        let transfer = |columns: u32, inside: crate::operation::Matrix| Transfer {
            rows: environments,
            columns,
            stride: columns,
            agent_stride: columns * environments,
            inside: inside.offset,
            inside_stride: inside.stride,
            inside_agent_stride: self.memory.sizes.activations_stride,
            bounds: self.networks.bounds,
            ..Transfer::zeroed()
        };
        let inward = transfer(self.environment.observation_size, self.rollout.observation);
        let outward = transfer(self.environment.action_size(), self.rollout.action);
        let step = Transfer { counts_step: 1, ..Transfer::zeroed() };
        let movers = self.pipelines.movers()?;
        let inside = &self.memory.buffers;
        let whole = wgpu::Buffer::as_entire_binding;
        let (sizes, states) = ((0, whole(&self.memory.uniform)), (8, whole(&inside.agent_states)));
        let activations = (5, inside.activations.binding());
        let explored = [
            sizes.clone(),
            (2, inside.hyper_parameters.binding()),
            (3, inside.parameters.binding()),
            activations.clone(),
            (7, whole(&inside.environments)),
            states.clone(),
            (OUT, whole(&actions)),
        ];
        Ok(ActionMoves {
            gather: movers.bind(&self.queue, Mover::Gather, inward, agents, &[activations.clone(), (IN, whole(&observations))]),
            scatter: movers.bind(&self.queue, Mover::Scatter, outward, agents, &[activations, (OUT, whole(&actions))]),
            explore: movers.bind(&self.queue, Mover::Explore, outward, agents, &explored),
            advance: movers.bind(&self.queue, Mover::Advance, step, agents, &[sizes, states]),
            observations,
            actions,
        })
    }

    /// Puts transitions into the agents' replay rings, the oldest out first. It submits to the queue and returns; their
    /// numbers need not match the environments', so that stored or demonstrated experience can be pushed as well.
    ///
    /// An agent whose transitions hold NaN or infinity stops learning, as [`Measurements`](crate::Measurements) then tell.
    ///
    /// # Errors
    /// [`Error::Config`] where the population has a GPU environment, or for arrays whose lengths do not fit each other;
    /// [`Error::Limit`] where a buffer does not even hold one transition of every agent; [`Error::Gpu`] where the device fails.
    pub fn push_transitions(&mut self, transitions: &Transitions<'_>) -> Result<()> {
        self.check_host("transitions can be pushed")?;
        let count = self.check_transitions(transitions)?;
        if count == 0 {
            return Ok(());
        }
        // more than the ring holds would only overwrite each other
        let kept = count.min(self.config.replay_capacity as usize);
        let device = self.device.clone();
        let (mut first, most) = (count - kept, self.most_transitions());
        while first < count {
            let end = count.min(first + most);
            let rows = self.interleaved(transitions, count, first..end);
            guarded(&device, || self.submit_transitions(&rows, (end - first) as u32))?;
            self.pushed += (end - first) as u64;
            first = end;
        }
        Ok(())
    }

    /// Transitions an agent that one dispatch moves, out of a buffer of a size that is not out of the ordinary.
    fn most_transitions(&self) -> usize {
        const ORDINARY: u64 = 128 << 20;
        let limits = self.device.limits();
        let bytes = 4 * u64::from(transition_stride(&self.environment)) * u64::from(self.config.agents);
        let rows = (ORDINARY.min(most_bytes(&limits)) / bytes).clamp(1, u32::MAX.into()) as u32;
        rows.min(ROWS.saturating_mul(limits.max_compute_workgroups_per_dimension)) as usize
    }

    fn submit_transitions(&mut self, rows: &[f32], count: u32) -> Result<()> {
        let bytes = 4 * rows.len() as u64;
        let inbox = match self.host.inbox.take() {
            Some(inbox) if inbox.size() >= bytes => inbox,
            // room to grow, so that batches of changing sizes do not allocate each time
            _ => {
                let room = bytes.next_power_of_two().min(most_bytes(&self.device.limits())).max(bytes);
                storage(&self.device, "host transitions", room, "use fewer agents")?
            }
        };
        self.queue.write_buffer(&inbox, 0, bytemuck::cast_slice(rows));
        let columns = transition_stride(&self.environment);
        let transfer = Transfer { rows: count, columns, stride: columns, agent_stride: columns * count, ..Transfer::zeroed() };
        let (movers, agents, inside) = (self.pipelines.movers()?, self.config.agents, &self.memory.buffers);
        let whole = wgpu::Buffer::as_entire_binding;
        let (sizes, states) = ((0, whole(&self.memory.uniform)), (8, whole(&inside.agent_states)));
        let pushed = [sizes.clone(), (6, whole(&inside.replay)), states.clone(), (IN, whole(&inbox))];
        let push = movers.bind(&self.queue, Mover::Push, transfer, agents, &pushed);
        let advance = movers.bind(&self.queue, Mover::Advance, transfer, agents, &[sizes, states]);
        let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("push") });
        {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor { label: Some("push"), timestamp_writes: None });
            push.record(&mut pass);
            advance.record(&mut pass);
        }
        self.queue.submit([encoder.finish()]);
        self.host.inbox = Some(inbox);
        Ok(())
    }

    /// Tells that an episode of one environment has ended, after its last transition was pushed: it is logged for
    /// [`Measurements`](crate::Measurements), and the environment's exploration noise starts anew
    /// ([`Config::reset_noise`](crate::Config::reset_noise)). It submits to the queue and returns.
    ///
    /// # Errors
    /// [`Error::Config`] where there is no such agent or environment, the population has a GPU environment, or the return is
    /// not finite; [`Error::Gpu`] where the device fails.
    pub fn end_episode(&mut self, agent: u32, environment: u32, episode_return: f32, length: u32) -> Result<()> {
        self.check_host("episodes can be ended")?;
        self.check_agent(agent)?;
        if environment >= self.config.environments {
            return Err(Error::config(format!("there is no environment {environment}; an agent has {}", self.config.environments)));
        }
        if !episode_return.is_finite() {
            return Err(Error::config(format!("the return of an episode is {episode_return}; it must be finite")));
        }
        let transfer = Transfer { agent, environment, episode_return, episode_length: length as f32, ..Transfer::zeroed() };
        guarded(&self.device, || {
            let inside = &self.memory.buffers;
            let whole = wgpu::Buffer::as_entire_binding;
            let bound = [
                (0, whole(&self.memory.uniform)),
                (2, inside.hyper_parameters.binding()),
                (7, whole(&inside.environments)),
                (8, whole(&inside.agent_states)),
            ];
            let end = self.pipelines.movers()?.bind(&self.queue, Mover::EndEpisode, transfer, 1, &bound);
            let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("end of an episode") });
            end.record(&mut encoder.begin_compute_pass(&wgpu::ComputePassDescriptor { label: None, timestamp_writes: None }));
            self.queue.submit([encoder.finish()]);
            Ok(())
        })
    }

    fn check_host(&self, what: &str) -> Result<()> {
        match self.environment.is_host() {
            true => Ok(()),
            false => Err(Error::config(format!(
                "environment {} is simulated on the GPU; {what} for one from Environment::host only",
                self.environment.name
            ))),
        }
    }

    /// Transitions an agent.
    fn check_transitions(&self, transitions: &Transitions<'_>) -> Result<usize> {
        let rows = transitions.rewards.len();
        let agents = self.config.agents as usize;
        if !rows.is_multiple_of(agents) {
            return Err(Error::config(format!("{rows} rewards for {agents} agents; there must be as many for each")));
        }
        let observation = self.environment.observation_size as usize;
        let action = self.environment.action_size() as usize;
        let lengths = [
            ("observations", transitions.observations.len(), rows * observation),
            ("actions", transitions.actions.len(), rows * action),
            ("next_observations", transitions.next_observations.len(), rows * observation),
            ("terminated", transitions.terminated.len(), rows),
        ];
        for (what, length, needed) in lengths {
            if length != needed {
                return Err(Error::config(format!("{what} holds {length} numbers, but {needed} are needed for {rows} rewards")));
            }
        }
        Ok(rows / agents)
    }

    /// Those in `range` of every agent's `count` transitions, as they lie in a replay ring.
    fn interleaved(&self, transitions: &Transitions<'_>, count: usize, range: Range<usize>) -> Vec<f32> {
        let observation = self.environment.observation_size as usize;
        let action = self.environment.action_size() as usize;
        let agents = self.config.agents as usize;
        let mut rows = Vec::with_capacity(agents * range.len() * (2 * observation + action + 2));
        for row in (0..agents).flat_map(|agent| agent * count + range.start..agent * count + range.end) {
            rows.extend_from_slice(&transitions.observations[row * observation..][..observation]);
            rows.extend_from_slice(&transitions.actions[row * action..][..action]);
            rows.push(transitions.rewards[row]);
            rows.push(if transitions.terminated[row] { 1.0 } else { 0.0 });
            rows.extend_from_slice(&transitions.next_observations[row * observation..][..observation]);
        }
        rows
    }
}
