//! The kernels of `shaders/transfer.wgsl`: between an agent's memory and buffers of others.

use crate::buffer::filled;
use crate::error::Result;
use crate::vectors::Medium;
use bytemuck::{Pod, Zeroable};

/// Twin of `struct Transfer` in `shaders/transfer.wgsl`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Pod, Zeroable)]
#[allow(missing_docs)]
pub struct Transfer {
    pub rows: u32,
    pub columns: u32,
    pub offset: u32,
    pub stride: u32,
    pub agent_stride: u32,
    pub inside: u32,
    pub inside_stride: u32,
    pub inside_agent_stride: u32,
    pub bounds: u32,
    pub counts_step: u32,
    pub episode_return: f32,
    pub episode_length: f32,
    pub agent: u32,
    pub environment: u32,
    pub reserved: [u32; 2],
}

/// Rows a workgroup moves, `TRANSFER_ROWS` of the shader.
pub(crate) const ROWS: u32 = 64;

/// Number of the binding of `transfer`, of the buffer that is read, and of the one that is written.
const TRANSFER: u32 = 9;
pub(crate) const IN: u32 = 10;
pub(crate) const OUT: u32 = 11;

/// One of the entry points.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mover {
    Gather,
    Scatter,
    Explore,
    Push,
    Advance,
    EndEpisode,
}

/// The kernels, each compiled when it is first bound.
#[derive(Debug)]
pub(crate) struct Movers {
    device: wgpu::Device,
    module: wgpu::ShaderModule,
    /// `OPTIONS` of the shader.
    options: u32,
    pipelines: [std::sync::OnceLock<wgpu::ComputePipeline>; 6],
}

/// A mover with its buffers, ready to be recorded.
#[derive(Debug)]
pub(crate) struct Move {
    pipeline: wgpu::ComputePipeline,
    bind_group: wgpu::BindGroup,
    workgroups: [u32; 2],
}

impl Movers {
    pub fn new(device: &wgpu::Device, medium: Medium, options: u32) -> Result<Self> {
        let source = crate::shader::assemble_transfer(medium)?;
        let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: Some("ddpg-wgpu transfer"),
            source: wgpu::ShaderSource::Wgsl(source.into()),
        });
        Ok(Self { device: device.clone(), module, options, pipelines: Default::default() })
    }

    /// Binds `mover` to the memory that it uses, by its binding numbers.
    pub fn bind(
        &self,
        queue: &wgpu::Queue,
        mover: Mover,
        transfer: Transfer,
        agents: u32,
        bound: &[(u32, wgpu::BindingResource<'_>)],
    ) -> Move {
        let entry_point = match mover {
            Mover::Gather => "gather_rows",
            Mover::Scatter => "scatter_rows",
            Mover::Explore => "explore_rows",
            Mover::Push => "push_rows",
            Mover::Advance => "advance_agents",
            Mover::EndEpisode => "end_episode",
        };
        let pipeline = self.pipelines[mover as usize].get_or_init(|| {
            self.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: Some(entry_point),
                layout: None,
                module: &self.module,
                entry_point: Some(entry_point),
                compilation_options: wgpu::PipelineCompilationOptions {
                    constants: &[("OPTIONS", f64::from(self.options))],
                    ..Default::default()
                },
                cache: None,
            })
        });
        let uniform = filled(&self.device, queue, "transfer", wgpu::BufferUsages::UNIFORM, &[transfer]);
        let entries: Vec<_> = bound
            .iter()
            .cloned()
            .chain([(TRANSFER, uniform.as_entire_binding())])
            .map(|(binding, resource)| wgpu::BindGroupEntry { binding, resource })
            .collect();
        let bind_group = self.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some(entry_point),
            layout: &pipeline.get_bind_group_layout(0),
            entries: &entries,
        });
        let x = if matches!(mover, Mover::Advance | Mover::EndEpisode) { 1 } else { transfer.rows.div_ceil(ROWS) };
        Move { pipeline: pipeline.clone(), bind_group, workgroups: [x, agents] }
    }
}

impl Move {
    pub fn record(&self, pass: &mut wgpu::ComputePass<'_>) {
        pass.set_pipeline(&self.pipeline);
        pass.set_bind_group(0, &self.bind_group, &[]);
        pass.dispatch_workgroups(self.workgroups[0], 1, self.workgroups[1]);
    }
}
