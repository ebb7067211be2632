//! Snapshots from and to the device.

use super::{BIAS_CORRECTION, Contents, Counters, OBSERVATIONS, REPLAY, SLOTS, Snapshot, Values, moment_tensors, parameter_tensors};
use crate::buffer::Source;
use crate::error::{Error, Result};
use crate::measure::halted;
use crate::memory::AgentState;
use crate::pending::Pending;
use crate::population::Population;
use crate::trainer::Trainer;
use bytemuck::Zeroable;

impl Trainer {
    /// Every agent as it stands, one snapshot an agent, waiting for the device.
    ///
    /// # Errors
    /// [`Error::Gpu`](crate::Error::Gpu) where the device fails.
    pub fn snapshot_blocking(&self, contents: Contents) -> Result<Vec<Snapshot>> {
        (0..self.population.config.agents).map(|agent| self.snapshot_agent_blocking(agent, contents)).collect()
    }

    /// Agent `agent` as it stands, waiting for the device.
    ///
    /// # Errors
    /// [`Error::Config`] where there is no such agent, [`Error::Gpu`](crate::Error::Gpu) where the device fails.
    pub fn snapshot_agent_blocking(&self, agent: u32, contents: Contents) -> Result<Snapshot> {
        let population = &self.population;
        let mut encoder = population.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("snapshot") });
        let pending = population.record_snapshot(&mut encoder, agent, contents)?;
        population.queue.submit([encoder.finish()]);
        pending.wait_blocking(&population.device)
    }

    /// As [`Population::restore`].
    ///
    /// # Errors
    /// As [`Population::restore`].
    pub fn restore(&mut self, snapshots: &[Snapshot]) -> Result<()> {
        self.population.restore(snapshots)
    }
}

impl Population {
    /// Records a snapshot of agent `agent`, as it is at that point of `encoder`. It arrives after the encoder was submitted,
    /// without anybody waiting.
    ///
    /// ```no_run
    /// # use ddpg_wgpu::{Config, Environment, Gpu, Population};
    /// # let gpu = Gpu::open_blocking(None)?;
    /// # let mut population = Population::new(&gpu.device, &gpu.queue, &Environment::pendulum_v1(), &Config::default())?;
    /// use ddpg_wgpu::checkpoint::Contents;
    /// let mut encoder = gpu.device.create_command_encoder(&Default::default());
    /// let mut pending = population.record_snapshot(&mut encoder, 0, Contents::Parameters)?;
    /// gpu.queue.submit([encoder.finish()]);
    /// // some frames later
    /// if let Some(snapshot) = pending.take() {
    ///     let bytes = snapshot?.to_bytes()?; // of a safetensors file
    /// }
    /// # Ok::<(), ddpg_wgpu::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Config`] where there is no such agent. In what arrives: [`Error::Gpu`](crate::Error::Gpu) where the device
    /// fails.
    pub fn record_snapshot(&self, encoder: &mut wgpu::CommandEncoder, agent: u32, contents: Contents) -> Result<Pending<Snapshot>> {
        self.check_agent(agent)?;
        let agent = agent as usize;
        let (sizes, buffers) = (self.memory.sizes, &self.memory.buffers);
        let [rows, floats] = self.slots();
        let (offset, stride) = self.observations();
        let (trains, replays) = (contents >= Contents::Training, contents >= Contents::TrainingAndReplay);
        // floats of the agent's slice, where they are wanted
        let slice = |is_wanted: bool, slice_stride: u32, offset: u32, length: u32| {
            let start = byte(agent, slice_stride, offset);
            start..start + if is_wanted { 4 * u64::from(length) } else { 0 }
        };
        let state = (agent * size_of::<AgentState>()) as u64;
        let slots = (rows * floats) as u32;
        let held = self.replay_length() as usize;
        let held_floats = held as u32 * sizes.transition_stride;
        let parts: [(&dyn Source, _); 6] = [
            (&buffers.agent_states, state..state + size_of::<AgentState>() as u64),
            (&buffers.parameters, slice(true, 4 * sizes.parameters_stride, 0, 4 * sizes.parameters_stride)),
            (&buffers.moments, slice(trains, 4 * sizes.moments_stride, 0, 4 * sizes.moments_stride)),
            (&buffers.environments, slice(trains, slots, 0, slots)),
            (&buffers.activations, slice(trains, 4 * sizes.activations_stride, offset, rows as u32 * stride)),
            (&buffers.replay, slice(replays, sizes.replay_stride, 0, held_floats)),
        ];
        let mut snapshot = self.blank_snapshot(agent);
        let networks = self.networks.clone();
        let columns = self.environment.observation_size as usize;
        Ok(Pending::record_parts(&self.device, encoder, parts, move |[state, parameters, moments, slots, observations, replay]| {
            let state: AgentState = bytemuck::pod_read_unaligned(state);
            snapshot.note(&state);
            let mut keep = |name: &str, shape: Vec<usize>, numbers| snapshot.tensors.insert(name.to_owned(), Values { shape, numbers });
            let parameters = numbers(parameters);
            for tensor in parameter_tensors(&networks) {
                keep(&tensor.name, tensor.shape(), tensor.gather(&parameters));
            }
            if trains {
                let moments = numbers(moments);
                for tensor in moment_tensors(&networks, sizes.second_moment_offset) {
                    keep(&tensor.name, tensor.shape(), tensor.gather(&moments));
                }
                keep(BIAS_CORRECTION, vec![2], vec![state.bias_correction1, state.bias_correction2]);
                keep(SLOTS, vec![rows, floats], numbers(slots));
                let padded = numbers(observations);
                let observations = padded.chunks(stride as usize).flat_map(|row| &row[..columns]).copied().collect();
                keep(OBSERVATIONS, vec![rows, columns], observations);
            }
            if replays {
                let shape = vec![state.replay_length as usize, sizes.transition_stride as usize];
                if shape[0] > held {
                    return Err(Error::Checkpoint(format!(
                        "the replay ring held {held} transitions when the snapshot was recorded, but {} when it was taken: submit its \
                         encoder before any other work that adds to the ring",
                        shape[0]
                    )));
                }
                let mut transitions = numbers(replay);
                // a halted agent holds fewer than the others
                transitions.truncate(shape[0] * shape[1]);
                keep(REPLAY, shape, transitions);
            }
            Ok(snapshot)
        }))
    }

    /// Goes on from `snapshots`, one an agent: parameters, and as much of the training's state as they hold, before whatever is
    /// submitted next. With a training's state but no replay ring in them the rings start empty, and learning goes on once they
    /// hold enough again; with parameters alone everything else stays as it is. Settings are those of this population, not of
    /// the snapshots. An agent that had stopped goes on, unless its snapshot is of one that had.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] where a snapshot does not fit this population, naming the tensor and both shapes. Nothing is
    /// changed unless all fit.
    pub fn restore(&mut self, snapshots: &[Snapshot]) -> Result<()> {
        let agents = self.config.agents as usize;
        if snapshots.len() != agents {
            return Err(Error::Checkpoint(format!("{} snapshots for {agents} agents; there must be one an agent", snapshots.len())));
        }
        snapshots.iter().try_for_each(|snapshot| self.check_networks(snapshot).and_then(|()| self.check_training_state(snapshot)))?;
        let first = &snapshots[0];
        let trains = first.contents() >= Contents::Training;
        for other in &snapshots[1..] {
            if other.contents() != first.contents() {
                return Err(other.error(format!("it holds {}, but that of agent 0 {}", other.contents(), first.contents())));
            }
            if trains && other.counters.steps != first.counters.steps {
                return Err(other.error(format!(
                    "it was saved after {} environment steps, but agent 0 after {}: they are not of the same moment",
                    other.environment_steps, first.environment_steps
                )));
            }
        }
        for (agent, snapshot) in snapshots.iter().enumerate() {
            self.write_networks(agent, snapshot);
            if trains {
                self.write_training_state(agent, snapshot);
            }
        }
        if trains {
            let most = |of: fn(&Snapshot) -> u32| u64::from(snapshots.iter().map(of).max().unwrap_or_default());
            // a halted agent stays behind the others, which count
            let held = if first.contents() == Contents::TrainingAndReplay { most(|s| s.counters.replay_length) } else { 0 };
            self.continue_from(first.counters.steps.into(), most(|s| s.counters.updates), held);
        }
        Ok(())
    }

    /// Gives agent `agent` the networks of `snapshot`, and nothing else, before whatever is submitted next. An agent that had
    /// stopped goes on with them.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] where they do not fit, naming the tensor and both shapes; [`Error::Config`] where there is no
    /// such agent.
    pub fn load_parameters(&self, agent: u32, snapshot: &Snapshot) -> Result<()> {
        self.check_agent(agent)?;
        self.check_networks(snapshot)?;
        self.write_networks(agent as usize, snapshot);
        Ok(())
    }

    /// What the host knows of agent `agent`.
    fn blank_snapshot(&self, agent: usize) -> Snapshot {
        Snapshot {
            agent: agent as u32,
            environment: self.environment.name.clone().into_owned(),
            observation_size: self.environment.observation_size,
            action_low: self.environment.action_low.clone(),
            action_high: self.environment.action_high.clone(),
            config: self.config.clone(),
            hyper_parameters: self.hyper_parameters[agent],
            environment_steps: 0,
            updates: 0,
            halted: None,
            counters: Counters::default(),
            tensors: Default::default(),
            path: None,
        }
    }

    fn write(&self, buffer: &wgpu::Buffer, agent: usize, stride: u32, offset: u32, numbers: &[f32]) {
        self.queue.write_buffer(buffer, byte(agent, stride, offset), bytemuck::cast_slice(numbers));
    }

    /// Environments, and floats of each.
    fn slots(&self) -> [usize; 2] {
        [self.config.environments as usize, self.memory.sizes.environment_stride as usize]
    }

    /// Where the observations to act on next stand in an agent's activations, and from one to the next, floats.
    fn observations(&self) -> (u32, u32) {
        (4 * self.rollout.observation.offset, 4 * self.rollout.observation.stride)
    }

    fn check_networks(&self, snapshot: &Snapshot) -> Result<()> {
        let environment = &self.environment;
        if snapshot.observation_size != environment.observation_size {
            return Err(snapshot.error(format!(
                "it was trained in {} with {} observations, but {} has {}",
                snapshot.environment, snapshot.observation_size, environment.name, environment.observation_size
            )));
        }
        if (&snapshot.action_low, &snapshot.action_high) != (&environment.action_low, &environment.action_high) {
            return Err(snapshot.error(format!(
                "it was trained in {} with actions from {:?} to {:?}, but those of {} range from {:?} to {:?}",
                snapshot.environment,
                snapshot.action_low,
                snapshot.action_high,
                environment.name,
                environment.action_low,
                environment.action_high
            )));
        }
        if snapshot.config.relative_actions != self.config.relative_actions {
            return Err(snapshot.error(format!(
                "its critic learned with relative_actions = {}, but that of this population takes {}: use the same",
                snapshot.config.relative_actions, self.config.relative_actions
            )));
        }
        snapshot.check(&self.networks)
    }

    fn check_training_state(&self, snapshot: &Snapshot) -> Result<()> {
        if snapshot.contents() < Contents::Training {
            return Ok(());
        }
        let slots = self.slots();
        snapshot.check_shape(SLOTS, &slots)?;
        snapshot.check_shape(OBSERVATIONS, &[slots[0], self.environment.observation_size as usize])?;
        // its numbers may be any: what stopped an agent stands there still when it is set going again
        if snapshot.contents() == Contents::TrainingAndReplay {
            let Counters { replay_length, replay_head, .. } = snapshot.counters;
            snapshot.check_shape(REPLAY, &[replay_length as usize, self.memory.sizes.transition_stride as usize])?;
            let saved = snapshot.config.replay_capacity;
            if saved != self.config.replay_capacity || replay_length > saved || replay_head >= saved {
                return Err(snapshot.error(format!(
                    "its replay ring of {saved} transitions ({replay_length} held, the next at {replay_head}) does not fit a \
                     replay_capacity of {}",
                    self.config.replay_capacity
                )));
            }
        }
        Ok(())
    }

    /// The snapshot has been checked.
    fn write_networks(&self, agent: usize, snapshot: &Snapshot) {
        // what is in no snapshot: the action bounds, the padding
        let mut parameters = self.parameters_of_no_network();
        for tensor in parameter_tensors(&self.networks) {
            tensor.scatter(&snapshot.tensors[&tensor.name].numbers, &mut parameters);
        }
        self.write_parameters(agent, &parameters);
        // why and when it stopped, side by side
        let halted = agent * size_of::<AgentState>() + std::mem::offset_of!(AgentState, halted);
        self.queue.write_buffer(&self.memory.buffers.agent_states, halted as u64, &[0; 2 * size_of::<u32>()]);
    }

    /// Everything else but the parameters; the snapshot has been checked.
    fn write_training_state(&self, agent: usize, snapshot: &Snapshot) {
        let sizes = &self.memory.sizes;
        let tensor = |name: &str| &snapshot.tensors[name].numbers;
        let mut moments = vec![0.0; 4 * sizes.moments_stride as usize];
        for place in moment_tensors(&self.networks, sizes.second_moment_offset) {
            place.scatter(tensor(&place.name), &mut moments);
        }
        self.memory.buffers.moments.write(&self.queue, byte(agent, 4 * sizes.moments_stride, 0), &moments);
        let [rows, floats] = self.slots();
        self.write(&self.memory.buffers.environments, agent, (rows * floats) as u32, 0, tensor(SLOTS));
        let (offset, stride) = self.observations();
        let columns = self.environment.observation_size as usize;
        let mut padded = vec![0.0; rows * stride as usize];
        for (row, observation) in padded.chunks_mut(stride as usize).zip(tensor(OBSERVATIONS).chunks(columns)) {
            row[..columns].copy_from_slice(observation);
        }
        self.memory.buffers.activations.write(&self.queue, byte(agent, 4 * sizes.activations_stride, offset), &padded);
        let holds_replay = snapshot.contents() == Contents::TrainingAndReplay;
        if holds_replay {
            self.write(&self.memory.buffers.replay, agent, sizes.replay_stride, 0, tensor(REPLAY));
        }
        let counters = snapshot.counters;
        let state = AgentState {
            steps: counters.steps,
            updates: counters.updates,
            replay_head: if holds_replay { counters.replay_head } else { 0 },
            replay_length: if holds_replay { counters.replay_length } else { 0 },
            bias_correction1: tensor(BIAS_CORRECTION)[0],
            bias_correction2: tensor(BIAS_CORRECTION)[1],
            episodes: counters.episodes,
            // the log is not saved
            reported: counters.episodes,
            episode_maximum_value: counters.episode_maximum_value,
            episode_began: counters.episode_began,
            halted: counters.halted,
            halted_at: counters.halted_at,
            value_maximum: f32::MIN,
            ..AgentState::zeroed()
        };
        let bytes = bytemuck::bytes_of(&state);
        self.queue.write_buffer(&self.memory.buffers.agent_states, agent as u64 * bytes.len() as u64, bytes);
    }
}

impl Snapshot {
    /// Notes what the device counts.
    fn note(&mut self, state: &AgentState) {
        self.environment_steps = u64::from(state.steps) * u64::from(self.config.environments);
        self.updates = state.updates;
        self.halted = halted(state);
        self.counters = Counters {
            steps: state.steps,
            updates: state.updates,
            replay_head: state.replay_head,
            replay_length: state.replay_length,
            episodes: state.episodes,
            // JSON has no infinity
            episode_maximum_value: if state.episode_maximum_value.is_finite() { state.episode_maximum_value } else { 0.0 },
            episode_began: state.episode_began,
            halted: state.halted,
            halted_at: state.halted_at,
        };
    }
}

fn numbers(bytes: &[u8]) -> Vec<f32> {
    bytemuck::pod_collect_to_vec(bytes)
}

/// Where float `offset` of an agent's slice of `stride` floats begins.
fn byte(agent: usize, stride: u32, offset: u32) -> u64 {
    4 * (agent as u64 * u64::from(stride) + u64::from(offset))
}
