//! A trained policy at work where the data is: from the caller's observations to the caller's actions, on the device.

use crate::allocator::{Allocator, MOST_VEC4S, vec4s};
use crate::buffer::{most_bytes, storage};
use crate::ddpg::Networks;
use crate::error::{Error, Result};
use crate::fault::guarded;
use crate::hyper_parameters::RawHyperParameters;
use crate::kernels::Grid;
use crate::memory::{AgentState, Memory, RoleBuffers, Sizes};
use crate::operation::Matrix;
use crate::passes::{Activations, Builder, Mode, Pass};
use crate::pipelines::Pipelines;
use crate::population::Population;
use crate::program::{Program, Steps};
use crate::transfer::{IN, Move, Mover, OUT, ROWS as TRANSFER_ROWS, Transfer};
use crate::vectors::{Content, Vectors};
use bytemuck::Zeroable;
use std::sync::Arc;

/// Rows of 32-bit floats in a buffer of the caller's: an observation or an action a row.
///
/// ```no_run
/// # let gpu = ddpg_wgpu::Gpu::open_blocking(None)?;
/// # let bodies = gpu.device.create_buffer(&ddpg_wgpu::wgpu::BufferDescriptor {
/// #     label: None, size: 64 * 32, usage: ddpg_wgpu::wgpu::BufferUsages::STORAGE, mapped_at_creation: false });
/// use ddpg_wgpu::Rows;
/// // bodies of eight floats; what is meant begins at the third of them
/// let observations = Rows { buffer: &bodies, offset: 2, stride: 8 };
/// # let _ = observations;
/// # Ok::<(), ddpg_wgpu::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a> {
    /// The buffer, with the usage `STORAGE`.
    pub buffer: &'a wgpu::Buffer,
    /// Floats before the first row.
    pub offset: u32,
    /// Floats from the start of one row to the start of the next; what lies between the rows is left alone.
    pub stride: u32,
}

/// An agent's actor, for use: deterministic, batch norm in inference mode, actions scaled to their bounds.
///
/// One from [`Population::policy`] shares the agent's parameters and so follows its training; one from
/// [`Policy::from_snapshot`] stands on its own.
///
/// ```no_run
/// # use ddpg_wgpu::{Config, Environment, Gpu, Population, Rows};
/// # let gpu = Gpu::open_blocking(None)?;
/// # let population = Population::new(&gpu.device, &gpu.queue, &Environment::pendulum_v1(), &Config::default())?;
/// # let bodies = gpu.device.create_buffer(&ddpg_wgpu::wgpu::BufferDescriptor {
/// #     label: None, size: 64 * 32, usage: ddpg_wgpu::wgpu::BufferUsages::STORAGE, mapped_at_creation: false });
/// // 64 bodies of eight floats: an observation from float 2 on, the torque is float 6
/// let policy = population.policy(0)?;
/// let observations = Rows { buffer: &bodies, offset: 2, stride: 8 };
/// let torques = Rows { buffer: &bodies, offset: 6, stride: 8 };
/// let inference = policy.bind(observations, torques, 64)?;
/// // each frame:
/// let mut encoder = gpu.device.create_command_encoder(&Default::default());
/// inference.record(&mut encoder);
/// gpu.queue.submit([encoder.finish()]);
/// # Ok::<(), ddpg_wgpu::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Policy {
    pub(crate) device: wgpu::Device,
    pub(crate) queue: wgpu::Queue,
    pipelines: Arc<Pipelines>,
    pub(crate) networks: Networks,
    pub(crate) parameters: Vectors,
    /// vec4s before the agent's own parameters.
    pub(crate) first: u32,
    pub(crate) epsilon: f32,
}

/// A policy bound to buffers of observations and actions, ready to be recorded as often as wanted.
///
/// ```no_run
/// # let gpu = ddpg_wgpu::Gpu::open_blocking(None)?;
/// # let population = ddpg_wgpu::Population::new(&gpu.device, &gpu.queue, &ddpg_wgpu::Environment::pendulum_v1(), &Default::default())?;
/// # let bodies = gpu.device.create_buffer(&ddpg_wgpu::wgpu::BufferDescriptor {
/// #     label: None, size: 64 * 32, usage: ddpg_wgpu::wgpu::BufferUsages::STORAGE, mapped_at_creation: false });
/// # let rows = |offset| ddpg_wgpu::Rows { buffer: &bodies, offset, stride: 8 };
/// let inference = population.policy(0)?.bind(rows(2), rows(6), 64)?;
/// let mut encoder = gpu.device.create_command_encoder(&Default::default());
/// let mut pass = encoder.begin_compute_pass(&Default::default());
/// inference.record_into(&mut pass);
/// drop(pass);
/// gpu.queue.submit([encoder.finish()]);
/// # Ok::<(), ddpg_wgpu::Error>(())
/// ```
#[derive(Debug)]
pub struct Inference {
    pipelines: Arc<Pipelines>,
    memory: Memory,
    program: Program,
    /// One an amount of rows that fits the activations.
    moves: Vec<(Move, Move)>,
}

/// Bytes of activations an inference may take; more rows go in several rounds.
const ACTIVATION_BYTES: u64 = 16 << 20;

impl Population {
    /// The policy of agent `agent` as it learns: each use sees the parameters of that moment.
    ///
    /// # Errors
    /// [`Error::Config`] where there is no such agent.
    pub fn policy(&self, agent: u32) -> Result<Policy> {
        self.check_agent(agent)?;
        Ok(Policy {
            device: self.device.clone(),
            queue: self.queue.clone(),
            pipelines: self.pipelines.clone(),
            networks: self.networks.clone(),
            parameters: self.memory.buffers.parameters.clone(),
            first: agent * self.memory.sizes.parameters_stride,
            epsilon: self.config.batch_norm_epsilon,
        })
    }

    pub(crate) fn check_agent(&self, agent: u32) -> Result<()> {
        match self.config.agents {
            agents if agent < agents => Ok(()),
            agents => Err(Error::config(format!("there is no agent {agent} in a population of {agents}"))),
        }
    }
}

impl Policy {
    /// A policy of `parameters`, an agent's online half.
    #[cfg(feature = "checkpoint")]
    fn new(
        device: &wgpu::Device,
        queue: &wgpu::Queue,
        environment: &crate::Environment,
        config: &crate::Config,
        parameters: &[f32],
    ) -> Result<Self> {
        let grid = Grid::of(crate::Tile::best(device), 1);
        Ok(Self {
            device: device.clone(),
            queue: queue.clone(),
            parameters: Vectors::filled(
                device,
                queue,
                (grid.medium(), Content::Floats),
                "the parameters of a policy",
                parameters,
                "use smaller networks",
            )?,
            pipelines: Arc::new(Pipelines::new(device, environment, grid, 0)?),
            networks: Networks::new(config, environment),
            first: 0,
            epsilon: config.batch_norm_epsilon,
        })
    }

    /// The policy of a snapshot, on any device.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] for a snapshot that does not hold what it should, [`Error::Limit`] or [`Error::Gpu`] where the
    /// device cannot hold it.
    #[cfg(feature = "checkpoint")]
    pub fn from_snapshot(device: &wgpu::Device, queue: &wgpu::Queue, snapshot: &crate::Snapshot) -> Result<Self> {
        let (environment, networks, parameters) = snapshot.online_parameters()?;
        guarded(device, || {
            let environment =
                crate::Environment::host(environment.name, environment.observation_size, environment.action_low, environment.action_high)?;
            let policy = Self::new(device, queue, &environment, &snapshot.config, &parameters)?;
            debug_assert_eq!(policy.networks, networks);
            Ok(policy)
        })
    }

    /// Floats of an observation.
    pub fn observation_size(&self) -> u32 {
        self.networks.actor.observation_size
    }

    /// Floats of an action.
    pub fn action_size(&self) -> u32 {
        self.networks.actor.action_size
    }

    /// Prepares the evaluation of `count` rows: action `i` from observation `i`. Both may lie in one buffer. Compiles and
    /// allocates what is needed, so that recording does neither.
    ///
    /// # Errors
    /// [`Error::Config`] for rows that the buffers do not hold, or buffers without the usage `STORAGE`; [`Error::Limit`]
    /// for a buffer larger than one binding; [`Error::Gpu`] where the device fails.
    pub fn bind(&self, observations: Rows<'_>, actions: Rows<'_>, count: u32) -> Result<Inference> {
        if count == 0 {
            return Err(Error::config("inference of 0 rows; there must be at least 1"));
        }
        observations.check(&self.device, "observations", self.observation_size(), count)?;
        actions.check(&self.device, "actions", self.action_size(), count)?;
        if actions.stride < self.action_size() && count > 1 {
            let (stride, size) = (actions.stride, self.action_size());
            return Err(Error::config(format!("actions of {size} floats with a stride of {stride}: they would overwrite each other")));
        }
        guarded(&self.device, || self.build(observations, actions, count))
    }

    fn build(&self, observations: Rows<'_>, actions: Rows<'_>, count: u32) -> Result<Inference> {
        let (device, queue, limits) = (&self.device, &self.queue, self.device.limits());
        let mut rows = count;
        let (pass, layout) = loop {
            let pass = ForwardPass::new(&self.networks, &self.pipelines, rows, self.first);
            let units = pass.steps.0.iter().map(|step| step.operation.units).max().unwrap_or_default();
            let (bytes, workgroups) = (16 * pass.length, units.max(rows.div_ceil(TRANSFER_ROWS)));
            if rows == 1 || (bytes <= ACTIVATION_BYTES && workgroups <= limits.max_compute_workgroups_per_dimension) {
                break (pass, bytes);
            }
            rows = rows.div_ceil(2);
        };
        let mut table = Vec::new();
        let program = pass.steps.schedule(&mut table, &self.pipelines);
        let (smaller, medium) = ("use smaller networks", self.pipelines.medium());
        program.check("an inference", smaller, &limits, &self.pipelines)?;
        program.prepare(&self.pipelines);
        let unused = |what: &str| storage(device, what, 16, smaller);
        let buffers = RoleBuffers {
            parameters: self.parameters.clone(),
            hyper_parameters: Vectors::filled(device, queue, (medium, Content::Words), "unused", &[RawHyperParameters::zeroed()], smaller)?,
            moments: Vectors::new(device, medium, "unused moments", 16, smaller)?,
            activations: Vectors::new(device, medium, "the activations of an inference", layout, smaller)?,
            replay: unused("unused replay")?,
            environments: unused("unused environments")?,
            agent_states: storage(device, "unused counters", size_of::<AgentState>() as u64, smaller)?,
        };
        let sizes = Sizes {
            agents: 1,
            environments: 1,
            activations_stride: pass.length.min(MOST_VEC4S) as u32,
            observation_size: self.observation_size(),
            action_size: self.action_size(),
            normalisation_epsilon: self.epsilon,
            ..Sizes::zeroed()
        };
        let memory = Memory::new(device, queue, &self.pipelines, sizes, &table, buffers)?;
        let movers = self.pipelines.movers()?;
        let inside = || (5, memory.buffers.activations.binding());
        let between = |matrix: Matrix, outside: Rows<'_>, columns, first: u32| Transfer {
            rows: rows.min(count - first),
            columns,
            offset: outside.offset + first * outside.stride,
            stride: outside.stride,
            inside: matrix.offset,
            inside_stride: matrix.stride,
            ..Transfer::zeroed()
        };
        let moves = (0..count)
            .step_by(rows as usize)
            .map(|first| {
                let gather = between(pass.observation, observations, self.observation_size(), first);
                let scatter = between(pass.action, actions, self.action_size(), first);
                (
                    movers.bind(queue, Mover::Gather, gather, 1, &[inside(), (IN, observations.buffer.as_entire_binding())]),
                    movers.bind(queue, Mover::Scatter, scatter, 1, &[inside(), (OUT, actions.buffer.as_entire_binding())]),
                )
            })
            .collect();
        Ok(Inference { pipelines: self.pipelines.clone(), memory, program, moves })
    }
}

/// The actor's forward pass alone.
#[derive(Debug)]
pub(crate) struct ForwardPass {
    pub observation: Matrix,
    pub action: Matrix,
    /// vec4s of activations.
    pub length: u64,
    /// None where the activations are more than there can be.
    pub steps: Steps,
}

impl ForwardPass {
    /// `first` counts the vec4s before the agent's parameters.
    fn new(networks: &Networks, grid: &Grid, rows: u32, first: u32) -> Self {
        let mut actor = networks.actor.clone();
        actor.bounds += first;
        let mut memory = Allocator::default();
        let observation = memory.matrix(rows, vec4s(actor.observation_size));
        let activations = Activations::new(&actor, observation, &mut memory);
        let pass = Pass { parameters: first, mode: Mode::Inference, flags: 0 };
        let mut steps = Vec::new();
        if memory.fits() {
            Builder { network: &actor, grid, target_offset: networks.length, verdict: None }.forward(&mut steps, pass, &activations, None);
        }
        Self { observation, action: activations.output, length: memory.used, steps: Steps(steps) }
    }
}

impl Rows<'_> {
    fn check(&self, device: &wgpu::Device, what: &str, columns: u32, count: u32) -> Result<()> {
        if !self.buffer.usage().contains(wgpu::BufferUsages::STORAGE) {
            let usage = self.buffer.usage();
            return Err(Error::config(format!("the buffer of the {what} has the usage {usage:?}, but STORAGE is needed")));
        }
        let bytes = self.buffer.size();
        if !bytes.is_multiple_of(4) {
            return Err(Error::config(format!(
                "the buffer of the {what} has {bytes} bytes, but a storage buffer of 32-bit floats needs a multiple of 4: {} or {}",
                bytes - bytes % 4,
                bytes.next_multiple_of(4)
            )));
        }
        let needed = u64::from(self.offset) + u64::from(count - 1) * u64::from(self.stride) + u64::from(columns);
        let held = bytes / 4;
        if needed > held {
            return Err(Error::config(format!(
                "{count} {what} of {columns} floats, from {} on and {} apart, need {needed} floats, but the buffer holds {held}",
                self.offset, self.stride
            )));
        }
        let most = most_bytes(&device.limits());
        if bytes > most {
            return Err(Error::Limit {
                what: format!("the buffer of the {what}"),
                needed: format!("{bytes} bytes"),
                offered: format!("{most} bytes in one binding"),
                remedy: "use a smaller buffer, or request the device with a larger max_storage_buffer_binding_size".into(),
            });
        }
        Ok(())
    }
}

impl Inference {
    /// Records the evaluation into `encoder`, as one compute pass.
    pub fn record(&self, encoder: &mut wgpu::CommandEncoder) {
        let descriptor = wgpu::ComputePassDescriptor { label: Some("ddpg-wgpu inference"), timestamp_writes: None };
        self.record_into(&mut encoder.begin_compute_pass(&descriptor));
    }

    /// Records the evaluation into a compute pass of the caller's. It sets the pass's pipeline and its bind groups 0 and 1,
    /// which the caller has to set anew afterwards.
    pub fn record_into(&self, pass: &mut wgpu::ComputePass<'_>) {
        for (gather, scatter) in &self.moves {
            gather.record(pass);
            pass.set_bind_group(0, &self.memory.bind_group, &[]);
            self.program.record(pass, &self.pipelines, &self.memory.table, 1);
            scatter.record(pass);
        }
    }
}
