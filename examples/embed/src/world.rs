//! The application's own world: its pendulums, its pipelines, its pictures. Nothing here knows that anybody learns.

use ddpg_wgpu::wgpu::{self, BufferUsages, util::DeviceExt};

pub const BODIES: u32 = 64;
/// Floats of a body; its observation begins at float 2, its torque is float 5.
pub const STRIDE: u32 = 8;
pub const OBSERVATION: u32 = 2;
pub const TORQUE: u32 = 5;
/// Most points of the curve.
const POINTS: usize = 512;
const BACKGROUND: wgpu::Color = wgpu::Color { r: 0.02, g: 0.02, b: 0.03, a: 1.0 };

pub struct World {
    pub bodies: wgpu::Buffer,
    curve: wgpu::Buffer,
    view: wgpu::Buffer,
    returns: Vec<f32>,
    step: wgpu::ComputePipeline,
    step_group: wgpu::BindGroup,
    draw_group: wgpu::BindGroup,
    /// Pipeline and how many lines it draws: bodies, axes, curve.
    drawings: [wgpu::RenderPipeline; 3],
}

impl World {
    pub fn new(device: &wgpu::Device, format: wgpu::TextureFormat) -> Self {
        let module = device.create_shader_module(wgpu::include_wgsl!("world.wgsl"));
        // all due for an episode of their own: age 200
        let body = |i: u32| [0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 200.0, 1.7 * i as f32];
        let bytes: Vec<u8> = (0..BODIES).flat_map(body).flat_map(f32::to_le_bytes).collect();
        let usage = BufferUsages::STORAGE | BufferUsages::COPY_DST;
        let bodies = device.create_buffer_init(&wgpu::util::BufferInitDescriptor { label: Some("bodies"), contents: &bytes, usage });
        let buffer = |label, size, usage| {
            device.create_buffer(&wgpu::BufferDescriptor { label: Some(label), size, usage, mapped_at_creation: false })
        };
        let curve = buffer("curve", 4 * POINTS as u64, usage);
        let view = buffer("view", 16, BufferUsages::UNIFORM | BufferUsages::COPY_DST);
        let step = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some("step_bodies"),
            layout: None,
            module: &module,
            entry_point: Some("step_bodies"),
            compilation_options: Default::default(),
            cache: None,
        });
        let entry = |binding, resource| wgpu::BindGroupEntry { binding, resource };
        let step_group = device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some("step"),
            layout: &step.get_bind_group_layout(0),
            entries: &[entry(0, bodies.as_entire_binding())],
        });
        let shown = |binding, ty| wgpu::BindGroupLayoutEntry {
            binding,
            visibility: wgpu::ShaderStages::VERTEX,
            ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset: false, min_binding_size: None },
            count: None,
        };
        let read = wgpu::BufferBindingType::Storage { read_only: true };
        let draw_layout = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
            label: Some("draw"),
            entries: &[shown(0, read), shown(1, read), shown(2, wgpu::BufferBindingType::Uniform)],
        });
        let empty = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: None, entries: &[] });
        let layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some("draw"),
            bind_group_layouts: &[Some(&empty), Some(&draw_layout)],
            immediate_size: 0,
        });
        let drawings = ["draw_bodies", "draw_axes", "draw_curve"].map(|entry_point| {
            device.create_render_pipeline(&wgpu::RenderPipelineDescriptor {
                label: Some(entry_point),
                layout: Some(&layout),
                vertex: wgpu::VertexState {
                    module: &module,
                    entry_point: Some(entry_point),
                    compilation_options: Default::default(),
                    buffers: &[],
                },
                primitive: Default::default(),
                depth_stencil: None,
                multisample: Default::default(),
                fragment: Some(wgpu::FragmentState {
                    module: &module,
                    entry_point: Some("paint"),
                    compilation_options: Default::default(),
                    targets: &[Some(format.into())],
                }),
                multiview_mask: None,
                cache: None,
            })
        });
        let draw_group = device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some("draw"),
            layout: &draw_layout,
            entries: &[entry(0, bodies.as_entire_binding()), entry(1, curve.as_entire_binding()), entry(2, view.as_entire_binding())],
        });
        Self { bodies, curve, view, returns: Vec::new(), step, step_group, draw_group, drawings }
    }

    /// Adds finished episodes to the curve; when it is full, every other point goes.
    pub fn add_returns(&mut self, queue: &wgpu::Queue, returns: Vec<f32>) {
        self.returns.extend(returns);
        while self.returns.len() > POINTS {
            let mut keep = false;
            self.returns.retain(|_| {
                keep = !keep;
                keep
            });
        }
        let bytes: Vec<u8> = self.returns.iter().flat_map(|r| r.to_le_bytes()).collect();
        queue.write_buffer(&self.curve, 0, &bytes);
    }

    /// Steps the pendulums by the torques in their buffer.
    pub fn step(&self, encoder: &mut wgpu::CommandEncoder) {
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor { label: Some("step"), timestamp_writes: None });
        pass.set_pipeline(&self.step);
        pass.set_bind_group(0, &self.step_group, &[]);
        pass.dispatch_workgroups(BODIES.div_ceil(64), 1, 1);
    }

    /// Draws them, and the curve.
    pub fn draw(&self, queue: &wgpu::Queue, encoder: &mut wgpu::CommandEncoder, target: &wgpu::Texture) {
        let points = self.returns.len() as u32;
        let view = [points, (target.width() as f32).to_bits(), (target.height() as f32).to_bits(), 0];
        queue.write_buffer(&self.view, 0, &view.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<_>>());
        let mut pass = encoder.begin_render_pass(&wgpu::RenderPassDescriptor {
            label: Some("draw"),
            color_attachments: &[Some(wgpu::RenderPassColorAttachment {
                view: &target.create_view(&Default::default()),
                depth_slice: None,
                resolve_target: None,
                ops: wgpu::Operations { load: wgpu::LoadOp::Clear(BACKGROUND), store: wgpu::StoreOp::Store },
            })],
            ..Default::default()
        });
        pass.set_bind_group(1, &self.draw_group, &[]);
        let lines = [BODIES, 3, points.saturating_sub(1)];
        // browsers warn of drawing nothing
        for (pipeline, lines) in self.drawings.iter().zip(lines).filter(|(_, lines)| *lines > 0) {
            pass.set_pipeline(pipeline);
            pass.draw(0..6, 0..lines);
        }
    }
}
