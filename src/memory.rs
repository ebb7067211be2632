//! A population's memory on the device: the role buffers, each with a leading agent axis, and the bind groups over them.

use crate::buffer::filled;
use crate::dispatch_table::{DispatchEntry, dispatch_table, entry_binding};
use crate::error::Result;
use crate::operation::{MOST_OPERATIONS, Operation, check_operations};
use crate::pipelines::Pipelines;
use crate::vectors::Vectors;
use bytemuck::{Pod, Zeroable};

/// Twin of `struct Sizes` in `shaders/shared/bindings.wgsl`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Pod, Zeroable)]
#[allow(missing_docs)]
pub struct Sizes {
    pub agents: u32,
    pub environments: u32,
    pub parameters_stride: u32,
    pub target_offset: u32,
    pub moments_stride: u32,
    pub second_moment_offset: u32,
    pub gradient_offset: u32,
    pub activations_stride: u32,
    pub replay_stride: u32,
    pub transition_stride: u32,
    pub replay_capacity: u32,
    pub environment_stride: u32,
    pub batch_size: u32,
    pub observation_size: u32,
    pub action_size: u32,
    pub time_limit: u32,
    pub random_steps: u32,
    pub normalisation_epsilon: f32,
    pub normalisation_decay: f32,
}

/// Finished episodes an agent's state remembers.
pub(crate) const EPISODE_LOG: usize = 64;

/// Twin of `struct AgentState` in `shaders/shared/bindings.wgsl`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Pod, Zeroable)]
#[allow(missing_docs)]
pub struct AgentState {
    pub steps: u32,
    pub updates: u32,
    pub replay_head: u32,
    pub replay_length: u32,
    pub reported: u32,
    pub bias_correction1: f32,
    pub bias_correction2: f32,
    pub blend: f32,
    pub halted: u32,
    pub halted_at: u32,
    pub episodes: u32,
    pub episode_began: u32,
    pub measured_updates: u32,
    pub critic_loss: f32,
    pub actor_loss: f32,
    pub value: f32,
    pub value_maximum: f32,
    pub absolute_td_error: f32,
    pub saturated: f32,
    pub episode_maximum_value: f32,
    pub log: [[f32; 4]; EPISODE_LOG],
    pub log_steps: [u32; EPISODE_LOG],
    pub log_updates: [u32; EPISODE_LOG],
}

// nothing lies between its members, nor behind them, that is not named
const _: () = assert!(size_of::<AgentState>() == 80 + 24 * EPISODE_LOG);

/// What the kernels read and write, a role each.
#[derive(Debug, Clone)]
pub(crate) struct RoleBuffers {
    pub parameters: Vectors,
    pub hyper_parameters: Vectors,
    pub moments: Vectors,
    pub activations: Vectors,
    pub replay: wgpu::Buffer,
    pub environments: wgpu::Buffer,
    pub agent_states: wgpu::Buffer,
}

/// The role buffers, the operation table, and the bind groups over them.
#[derive(Debug)]
pub(crate) struct Memory {
    pub sizes: Sizes,
    pub buffers: RoleBuffers,
    pub bind_group: wgpu::BindGroup,
    pub table: wgpu::BindGroup,
    /// The sizes.
    pub uniform: wgpu::Buffer,
}

impl Memory {
    /// Bind groups over `buffers`, with the operations that programs were scheduled into.
    ///
    /// # Errors
    /// [`Error::Limit`](crate::Error::Limit) for more operations than a table holds.
    pub fn new(
        device: &wgpu::Device,
        queue: &wgpu::Queue,
        pipelines: &Pipelines,
        sizes: Sizes,
        operations: &[Operation],
        buffers: RoleBuffers,
    ) -> Result<Self> {
        check_operations(operations.len())?;
        let uniform = filled(device, queue, "sizes", wgpu::BufferUsages::UNIFORM, &[sizes]);
        // uniform: every invocation of a workgroup reads the same operation, which such memory is made for
        let mut whole = vec![Operation::zeroed(); MOST_OPERATIONS];
        for (place, operation) in whole.iter_mut().zip(operations) {
            *place = *operation;
        }
        let table = filled(device, queue, "operations", wgpu::BufferUsages::UNIFORM, &whole);
        let entries: Vec<_> = (0..operations.len() as u32).map(|first| DispatchEntry { first, ..DispatchEntry::zeroed() }).collect();
        let (dispatches, _) = dispatch_table(device, queue, &entries);
        let bound = [
            uniform.as_entire_binding(),
            table.as_entire_binding(),
            buffers.hyper_parameters.binding(),
            buffers.parameters.binding(),
            buffers.moments.binding(),
            buffers.activations.binding(),
            buffers.replay.as_entire_binding(),
            buffers.environments.as_entire_binding(),
            buffers.agent_states.as_entire_binding(),
        ];
        let entries: Vec<_> = (0u32..).zip(bound).map(|(binding, resource)| wgpu::BindGroupEntry { binding, resource }).collect();
        let bind_group = device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some("memory"),
            layout: &pipelines.memory_layout,
            entries: &entries,
        });
        let table = device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some("dispatch"),
            layout: &pipelines.dispatch_layout,
            entries: &[entry_binding(&dispatches)],
        });
        Ok(Self { sizes, buffers, bind_group, table, uniform })
    }
}
