//! The kernels compiled: one WGSL module, a pipeline for each set of kinds of operation, and the bindings they all share.

use crate::contract;
use crate::dispatch_table::{DispatchEntry, dispatch_stride};
use crate::environment::Environment;
use crate::error::{Error, Result};
use crate::kernels::{Grid, Kinds};
use crate::shader;
use crate::transfer::Movers;
use crate::vectors::{Content, Medium};
use std::collections::HashMap;
use std::num::NonZeroU64;
use std::sync::{Mutex, OnceLock, PoisonError};

/// The types of group 0's bindings, in the order of `shaders/shared/bindings.wgsl`: sizes, operations and hyper-parameters,
/// then what kernels write, a role each.
pub(crate) fn memory_binding_types(medium: Medium) -> [wgpu::BindingType; 9] {
    let buffer = |ty| wgpu::BindingType::Buffer { ty, has_dynamic_offset: false, min_binding_size: None };
    let (uniform, write) = (buffer(wgpu::BufferBindingType::Uniform), buffer(wgpu::BufferBindingType::Storage { read_only: false }));
    let (words, floats) = (medium.binding_type(Content::Words), medium.binding_type(Content::Floats));
    [uniform, uniform, words, floats, floats, floats, write, write, write]
}

impl std::ops::Deref for Pipelines {
    type Target = Grid;

    fn deref(&self) -> &Grid {
        &self.grid
    }
}

/// What a population does differently, `OPTIONS` of `shaders/shared/bindings.wgsl`.
pub(crate) mod option {
    pub const RECORD_GRADIENTS: u32 = 1;
    pub const STORE_UNCLIPPED_ACTIONS: u32 = 2;
    pub const TRUNCATION_IS_TERMINAL: u32 = 4;
    pub const RESET_NOISE: u32 = 8;
    pub const GRADIENT_DESCENT: u32 = 16;
    pub const NO_TARGETS: u32 = 32;
    pub const RELATIVE_ACTIONS: u32 = 64;
}

/// What a pipeline is compiled from.
struct Blueprint<'a> {
    label: &'a str,
    entry_point: &'a str,
    kinds: Kinds,
    source: String,
    layout: &'a wgpu::PipelineLayout,
    constants: Vec<(&'static str, f64)>,
    checks_bounds: bool,
}

/// The kernels with one environment on one device.
#[derive(Debug)]
pub(crate) struct Pipelines {
    device: wgpu::Device,
    source: String,
    layout: wgpu::PipelineLayout,
    /// Without the table of dispatches.
    specialised_layout: wgpu::PipelineLayout,
    pub memory_layout: wgpu::BindGroupLayout,
    pub dispatch_layout: wgpu::BindGroupLayout,
    grid: Grid,
    /// Bits of [`option`].
    options: u32,
    /// Whether kinds that differ in little share a pipeline: on a software driver, which takes seconds to compile one.
    shares: bool,
    /// Bytes between two entries of the dispatch table.
    pub dispatch_alignment: u32,
    pipelines: Mutex<HashMap<(Kinds, &'static str), wgpu::ComputePipeline>>,
    movers: OnceLock<Movers>,
}

impl Pipelines {
    /// Checks the environment's WGSL; each kernel is compiled when a program first needs it. `options`: bits of [`option`].
    ///
    /// # Errors
    /// [`Error::Shader`] for WGSL that does not hold; [`Error::Limit`] where the device offers less than WebGPU's defaults.
    pub fn new(device: &wgpu::Device, environment: &Environment, grid: Grid, options: u32) -> Result<Self> {
        let limits = device.limits();
        if limits.max_storage_buffers_per_shader_stage < 7 {
            return Err(Error::Limit {
                what: "the kernels' binding layout".into(),
                needed: "7 storage buffers a stage".into(),
                offered: format!("{}", limits.max_storage_buffers_per_shader_stage),
                remedy: "open the device with WebGPU's default limits or more".into(),
            });
        }
        contract::check(environment)?;
        let source = shader::assemble(environment, grid.tile)?.source;
        let entry = |binding, ty| wgpu::BindGroupLayoutEntry { binding, visibility: wgpu::ShaderStages::COMPUTE, ty, count: None };
        let memory: Vec<_> = (0..).zip(memory_binding_types(grid.medium())).map(|(binding, ty)| entry(binding, ty)).collect();
        let bind_group_layout =
            |label, entries: &[_]| device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: Some(label), entries });
        let memory_layout = bind_group_layout("memory", &memory);
        let one_of_many = wgpu::BindingType::Buffer {
            ty: wgpu::BufferBindingType::Uniform,
            has_dynamic_offset: true,
            min_binding_size: NonZeroU64::new(size_of::<DispatchEntry>() as u64),
        };
        let dispatch_layout = bind_group_layout("dispatch", &[entry(0, one_of_many)]);
        let pipeline_layout = |bind_group_layouts: &[_]| {
            let label = Some("ddpg-wgpu");
            device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor { label, bind_group_layouts, immediate_size: 0 })
        };
        let layout = pipeline_layout(&[Some(&memory_layout), Some(&dispatch_layout)]);
        let specialised_layout = pipeline_layout(&[Some(&memory_layout)]);
        Ok(Self {
            device: device.clone(),
            source,
            layout,
            specialised_layout,
            memory_layout,
            dispatch_layout,
            grid,
            options,
            shares: device.adapter_info().device_type == wgpu::DeviceType::Cpu,
            dispatch_alignment: dispatch_stride(device),
            pipelines: Mutex::default(),
            movers: OnceLock::new(),
        })
    }

    /// The kernels that move rows between an agent's memory and other buffers.
    pub fn movers(&self) -> Result<&Movers> {
        if let Some(movers) = self.movers.get() {
            return Ok(movers);
        }
        let movers = Movers::new(&self.device, self.medium(), self.options)?;
        Ok(self.movers.get_or_init(|| movers))
    }

    /// The pipeline of a dispatch's kinds of operation, compiled when it is first asked for: programs ask as they are built.
    pub fn pipeline(&self, kinds: Kinds, is_banded: bool) -> wgpu::ComputePipeline {
        let entry_point = match (self.tile.mixes_kinds(), is_banded) {
            (false, false) => "layered",
            (false, true) => "layered_in_bands",
            (true, false) => "layered_or_chained",
            (true, true) => "layered_or_banded",
        };
        let kinds = if self.shares { kinds.with_families(self.joins_tanh) } else { kinds };
        let mut pipelines = self.pipelines.lock().unwrap_or_else(PoisonError::into_inner);
        pipelines.entry((kinds, entry_point)).or_insert_with(|| self.compile(&kinds.names(), entry_point, kinds)).clone()
    }

    /// The pipeline of the fused plan, for programs of `kinds`.
    pub fn iterating_pipeline(&self, kinds: Kinds) -> wgpu::ComputePipeline {
        let kinds = if self.shares { kinds.with_batch_norm() } else { kinds };
        self.compile("iterate", "iterate_fused", kinds)
    }

    pub fn device(&self) -> &wgpu::Device {
        &self.device
    }

    /// The module of all kernels.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The pipeline of a module of its own, written for one dispatch of `kinds`.
    pub fn compile_specialised(&self, entry_point: &str, kinds: Kinds, source: String) -> wgpu::ComputePipeline {
        let mut constants = self.overrides(kinds);
        constants.push(("SPECIALISED", 1.0));
        let label = kinds.names();
        let layout = &self.specialised_layout;
        self.build(Blueprint { label: &label, entry_point, kinds, source, layout, constants, checks_bounds: false })
    }

    fn overrides(&self, kinds: Kinds) -> Vec<(&'static str, f64)> {
        let mut overrides = self.grid.overrides(kinds);
        overrides.push(("OPTIONS", f64::from(self.options)));
        overrides
    }

    fn compile(&self, label: &str, entry_point: &str, kinds: Kinds) -> wgpu::ComputePipeline {
        let (source, constants) = (shader::of_kinds(&self.source, kinds), self.overrides(kinds));
        self.build(Blueprint { label, entry_point, kinds, source, layout: &self.layout, constants, checks_bounds: true })
    }

    fn build(&self, blueprint: Blueprint<'_>) -> wgpu::ComputePipeline {
        let Blueprint { label, entry_point, kinds, source, layout, constants, checks_bounds } = blueprint;
        let descriptor = wgpu::ShaderModuleDescriptor { label: Some(label), source: wgpu::ShaderSource::Wgsl(source.into()) };
        let module = if kinds.run_the_environment() {
            self.device.create_shader_module(descriptor)
        } else {
            let checks = wgpu::ShaderRuntimeChecks {
                force_loop_bounding: false,
                bounds_checks: checks_bounds,
                ..wgpu::ShaderRuntimeChecks::checked()
            };
            // SAFETY: the checks that are left out end loops that never end and, where operations are constants, keep indices
            // within their arrays. Every loop of these kernels counts towards a bound that it leaves alone, or halves. Every
            // index is made of a lane or a row below the bounds that its operation states, of the operation's places, which the
            // host lays out within buffers and workgroup memory, and of a slot of the ring below its capacity. The
            // environment's code, which may say anything, is not called by them.
            #[expect(unsafe_code, reason = "either check takes a tenth of an update's time (benches/RESULTS.md)")]
            unsafe {
                self.device.create_shader_module_trusted(descriptor, checks)
            }
        };
        self.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(label),
            layout: Some(layout),
            module: &module,
            entry_point: Some(entry_point),
            compilation_options: wgpu::PipelineCompilationOptions {
                constants: &constants,
                // every kernel writes its workgroup memory before it reads it
                zero_initialize_workgroup_memory: false,
            },
            cache: None,
        })
    }
}
