//! Snapshots from and to the device.

use super::{BIAS_CORRECTION, Contents, Counters, OBSERVATIONS, REPLAY, SLOTS, Snapshot, Values, moment_tensors, parameter_tensors};
use crate::buffer::{Source, read_blocking};
use crate::error::{Error, Result};
use crate::measure::replace_logged;
use crate::memory::AgentState;
use crate::population::Population;
use crate::trainer::{Trainer, halted};
use bytemuck::Zeroable;

impl Trainer {
    /// Every agent as it stands, one snapshot an agent, waiting for the device.
    ///
    /// # Errors
    /// [`Error::Gpu`] where the device fails.
    pub fn snapshot_blocking(&self, contents: Contents) -> Result<Vec<Snapshot>> {
        let states = self.states_blocking()?;
        states.iter().enumerate().map(|(agent, state)| self.population.snapshot(agent, state, contents)).collect()
    }

    /// Goes on from `snapshots`, one an agent: parameters, and as much of the training's state as they hold. Without a
    /// replay ring in them the rings start empty, and learning goes on once they hold enough again. Settings are those of
    /// this trainer, not of the snapshots; waits for the device.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] where a snapshot does not fit this population, naming the tensor and both shapes;
    /// [`Error::Gpu`] where the device fails. Nothing is changed unless all fit.
    pub fn restore_blocking(&mut self, snapshots: &[Snapshot]) -> Result<()> {
        let population = &mut self.population;
        let agents = population.config.agents as usize;
        let fits = |snapshot: &Snapshot| population.check_networks(snapshot).and_then(|()| population.check_training_state(snapshot));
        if snapshots.len() != agents {
            return Err(Error::Checkpoint(format!("{} snapshots for {agents} agents; there must be one an agent", snapshots.len())));
        }
        snapshots.iter().try_for_each(fits)?;
        let first = &snapshots[0];
        for other in &snapshots[1..] {
            if other.counters.steps != first.counters.steps || other.contents() != first.contents() {
                return Err(other.error(format!(
                    "it was saved after {} environment steps, but agent 0 after {}: they are not of the same moment",
                    other.environment_steps, first.environment_steps
                )));
            }
        }
        let trains = first.contents() >= Contents::Training;
        for (agent, snapshot) in snapshots.iter().enumerate() {
            population.load_parameters_blocking(agent, snapshot)?;
            if trains {
                population.load_training_state(agent, snapshot)?;
            }
        }
        if trains {
            let most = |of: fn(&Snapshot) -> u32| u64::from(snapshots.iter().map(of).max().unwrap_or_default());
            // a halted agent stays behind the others, which count
            let held = if first.contents() == Contents::TrainingAndReplay { most(|s| s.counters.replay_length) } else { 0 };
            population.continue_from(first.counters.steps.into(), most(|s| s.counters.updates), held);
            replace_logged(&population.logged, snapshots.iter().map(|snapshot| snapshot.counters.episodes).collect());
        }
        Ok(())
    }
}

impl Population {
    fn snapshot(&self, agent: usize, state: &AgentState, contents: Contents) -> Result<Snapshot> {
        let mut snapshot = Snapshot {
            agent: agent as u32,
            environment: self.environment.name.clone().into_owned(),
            observation_size: self.environment.observation_size,
            action_low: self.environment.action_low.clone(),
            action_high: self.environment.action_high.clone(),
            config: self.config.clone(),
            hyper_parameters: self.hyper_parameters[agent],
            environment_steps: u64::from(state.steps) * u64::from(self.config.environments),
            updates: state.updates,
            halted: halted(state),
            counters: Counters {
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
            },
            tensors: Default::default(),
            path: None,
        };
        let mut keep = |name: &str, shape: Vec<usize>, numbers| snapshot.tensors.insert(name.to_owned(), Values { shape, numbers });
        let sizes = &self.memory.sizes;
        let parameters = self.read(&self.memory.buffers.parameters, agent, 4 * sizes.parameters_stride, 0, 4 * sizes.parameters_stride)?;
        for tensor in parameter_tensors(&self.networks) {
            keep(&tensor.name, tensor.shape(), tensor.gather(&parameters));
        }
        if contents >= Contents::Training {
            let moments = self.read(&self.memory.buffers.moments, agent, 4 * sizes.moments_stride, 0, 4 * sizes.moments_stride)?;
            for tensor in moment_tensors(&self.networks, sizes.second_moment_offset) {
                keep(&tensor.name, tensor.shape(), tensor.gather(&moments));
            }
            keep(BIAS_CORRECTION, vec![2], vec![state.bias_correction1, state.bias_correction2]);
            let [rows, floats] = self.slots();
            let length = (rows * floats) as u32;
            keep(SLOTS, vec![rows, floats], self.read(&self.memory.buffers.environments, agent, length, 0, length)?);
            let (offset, stride) = self.observations();
            let activations = 4 * sizes.activations_stride;
            let padded = self.read(&self.memory.buffers.activations, agent, activations, offset, rows as u32 * stride)?;
            let columns = self.environment.observation_size as usize;
            let observations = padded.chunks(stride as usize).flat_map(|row| &row[..columns]).copied().collect();
            keep(OBSERVATIONS, vec![rows, columns], observations);
        }
        if contents >= Contents::TrainingAndReplay {
            let length = state.replay_length * sizes.transition_stride;
            let transitions =
                if length == 0 { vec![] } else { self.read(&self.memory.buffers.replay, agent, sizes.replay_stride, 0, length)? };
            keep(REPLAY, vec![state.replay_length as usize, sizes.transition_stride as usize], transitions);
        }
        Ok(snapshot)
    }

    /// `length` floats from `offset` in an agent's slice of `stride` floats.
    fn read(&self, source: &impl Source, agent: usize, stride: u32, offset: u32, length: u32) -> Result<Vec<f32>> {
        let start = byte(agent, stride, offset);
        read_blocking(&self.device, &self.queue, source, start..start + 4 * u64::from(length))
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
        snapshot.check(&self.networks)
    }

    fn check_training_state(&self, snapshot: &Snapshot) -> Result<()> {
        if snapshot.contents() < Contents::Training {
            return Ok(());
        }
        let slots = self.slots();
        snapshot.check_shape(SLOTS, &slots)?;
        snapshot.check_shape(OBSERVATIONS, &[slots[0], self.environment.observation_size as usize])?;
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

    /// Gives agent `agent` the networks of `snapshot`, and nothing else; waits for the device.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] where they do not fit, naming the tensor and both shapes; [`Error::Config`] where there is no
    /// such agent; [`Error::Gpu`] where the device fails.
    pub fn load_parameters_blocking(&self, agent: usize, snapshot: &Snapshot) -> Result<()> {
        if agent >= self.config.agents as usize {
            return Err(Error::config(format!("there is no agent {agent} in a population of {}", self.config.agents)));
        }
        self.check_networks(snapshot)?;
        let length = 4 * self.memory.sizes.parameters_stride;
        // what is not in a snapshot (the action bounds, the padding) stays
        let mut parameters = self.read(&self.memory.buffers.parameters, agent, length, 0, length)?;
        for tensor in parameter_tensors(&self.networks) {
            tensor.scatter(&snapshot.tensors[&tensor.name].numbers, &mut parameters);
        }
        self.write_parameters(agent, &parameters);
        Ok(())
    }

    /// Everything else but the parameters; the snapshot has been checked.
    fn load_training_state(&self, agent: usize, snapshot: &Snapshot) -> Result<()> {
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
            episode_maximum_value: counters.episode_maximum_value,
            episode_began: counters.episode_began,
            halted: counters.halted,
            halted_at: counters.halted_at,
            value_maximum: f32::MIN,
            ..AgentState::zeroed()
        };
        let bytes = bytemuck::bytes_of(&state);
        self.queue.write_buffer(&self.memory.buffers.agent_states, agent as u64 * bytes.len() as u64, bytes);
        Ok(())
    }
}

/// Where float `offset` of an agent's slice of `stride` floats begins.
fn byte(agent: usize, stride: u32, offset: u32) -> u64 {
    4 * (agent as u64 * u64::from(stride) + u64::from(offset))
}
