//! The kernels: one WGSL module, a pipeline for each kind of operation, and the bindings they all share.
//!
//! Each shader of `shaders/` has a room here with its float64 `reference`, the executable specification that its tests
//! hold the shader to.

pub mod adam;
pub mod batch_norm;
pub mod dense_backward_input;
pub mod dense_backward_parameters;
pub mod dense_forward;
pub mod exploration;
#[cfg(test)]
mod fixture;
#[cfg(test)]
pub(crate) mod harness;
#[cfg(test)]
mod layout;
pub mod loss;
pub mod math;
pub mod philox;
#[cfg(test)]
mod portability;
pub mod replay;
pub mod rollout;
pub mod soft_update;
mod tile;
#[cfg(test)]
pub(crate) mod world;

pub use tile::Tile;

use crate::contract;
use crate::environment::Environment;
use crate::error::{Error, Result};
use crate::plan::{DispatchEntry, dispatch_stride};
use crate::shader;
use crate::transfer::Movers;
use crate::vectors::{Content, Medium};
use std::collections::HashMap;
use std::num::NonZeroU64;
use std::sync::{Mutex, OnceLock, PoisonError};

/// The kinds of operation, as in `shaders/program.wgsl`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u32)]
pub(crate) enum Kernel {
    Sample,
    NormaliseInput,
    ForwardLinear,
    ForwardRectified,
    ForwardTanh,
    ForwardNormalised,
    ForwardInference,
    TemporalDifference,
    PolicyObjective,
    BackwardRectified,
    BackwardTanh,
    BackwardNormalised,
    BackwardInputNorm,
    BackwardParameters,
    SoftUpdate,
    ResetEnvironments,
    StepEnvironments,
    ClearMeasurements,
    FollowedAction,
    TangentRectified,
    TangentTanh,
    CompatibleDifference,
    BeginUpdate,
    CriticLoss,
    ActorLoss,
    LoadBand,
    TemporalDifferenceBand,
    PolicyObjectiveBand,
    SampleBand,
}

impl Kernel {
    pub const ALL: &'static [Kernel; 29] = &[
        Kernel::Sample,
        Kernel::NormaliseInput,
        Kernel::ForwardLinear,
        Kernel::ForwardRectified,
        Kernel::ForwardTanh,
        Kernel::ForwardNormalised,
        Kernel::ForwardInference,
        Kernel::TemporalDifference,
        Kernel::PolicyObjective,
        Kernel::BackwardRectified,
        Kernel::BackwardTanh,
        Kernel::BackwardNormalised,
        Kernel::BackwardInputNorm,
        Kernel::BackwardParameters,
        Kernel::SoftUpdate,
        Kernel::ResetEnvironments,
        Kernel::StepEnvironments,
        Kernel::ClearMeasurements,
        Kernel::FollowedAction,
        Kernel::TangentRectified,
        Kernel::TangentTanh,
        Kernel::CompatibleDifference,
        Kernel::BeginUpdate,
        Kernel::CriticLoss,
        Kernel::ActorLoss,
        Kernel::LoadBand,
        Kernel::TemporalDifferenceBand,
        Kernel::PolicyObjectiveBand,
        Kernel::SampleBand,
    ];

    /// The kinds that only networks with batch norm have.
    const BATCH_NORM: &'static [Kernel] = &[
        Kernel::NormaliseInput,
        Kernel::ForwardNormalised,
        Kernel::ForwardInference,
        Kernel::BackwardNormalised,
        Kernel::BackwardInputNorm,
    ];

    pub fn from_kind(kind: u32) -> Self {
        Self::ALL[kind as usize]
    }

    /// The kinds that differ from it in little, itself among them: where they share a pipeline on a software driver, all of
    /// their code runs, whichever is asked for. A tanh would take a fifth of the others' time.
    pub fn family(self) -> &'static [Kernel] {
        const FAMILIES: [&[Kernel]; 3] = [
            &[Kernel::ForwardRectified, Kernel::ForwardLinear],
            &[Kernel::BackwardNormalised, Kernel::BackwardInputNorm],
            &[Kernel::TangentRectified, Kernel::TangentTanh],
        ];
        let alone = &Self::ALL[self as usize..=self as usize];
        FAMILIES.into_iter().find(|family| family.contains(&self)).unwrap_or(alone)
    }

    /// Whether it has a product and treats every row alike, and alone.
    pub fn treats_rows_alike(self) -> bool {
        matches!(
            self,
            Kernel::ForwardLinear | Kernel::ForwardRectified | Kernel::ForwardTanh | Kernel::BackwardRectified | Kernel::BackwardTanh
        )
    }

    /// The name of its constant in `shaders/program.wgsl`.
    pub fn name(self) -> &'static str {
        match self {
            Kernel::Sample => "SAMPLE",
            Kernel::NormaliseInput => "NORMALISE_INPUT",
            Kernel::ForwardLinear => "FORWARD_LINEAR",
            Kernel::ForwardRectified => "FORWARD_RECTIFIED",
            Kernel::ForwardTanh => "FORWARD_TANH",
            Kernel::ForwardNormalised => "FORWARD_NORMALISED",
            Kernel::ForwardInference => "FORWARD_INFERENCE",
            Kernel::TemporalDifference => "TEMPORAL_DIFFERENCE",
            Kernel::PolicyObjective => "POLICY_OBJECTIVE",
            Kernel::BackwardRectified => "BACKWARD_RECTIFIED",
            Kernel::BackwardTanh => "BACKWARD_TANH",
            Kernel::BackwardNormalised => "BACKWARD_NORMALISED",
            Kernel::BackwardInputNorm => "BACKWARD_INPUT_NORM",
            Kernel::BackwardParameters => "BACKWARD_PARAMETERS",
            Kernel::SoftUpdate => "SOFT_UPDATE",
            Kernel::ResetEnvironments => "RESET_ENVIRONMENTS",
            Kernel::StepEnvironments => "STEP_ENVIRONMENTS",
            Kernel::ClearMeasurements => "CLEAR_MEASUREMENTS",
            Kernel::FollowedAction => "FOLLOWED_ACTION",
            Kernel::TangentRectified => "TANGENT_RECTIFIED",
            Kernel::TangentTanh => "TANGENT_TANH",
            Kernel::CompatibleDifference => "COMPATIBLE_DIFFERENCE",
            Kernel::BeginUpdate => "BEGIN_UPDATE",
            Kernel::CriticLoss => "CRITIC_LOSS",
            Kernel::ActorLoss => "ACTOR_LOSS",
            Kernel::LoadBand => "LOAD_BAND",
            Kernel::TemporalDifferenceBand => "TEMPORAL_DIFFERENCE_BAND",
            Kernel::PolicyObjectiveBand => "POLICY_OBJECTIVE_BAND",
            Kernel::SampleBand => "SAMPLE_BAND",
        }
    }
}

/// A set of kinds: `KINDS` of a pipeline, a bit each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) struct Kinds(u32);

impl Kinds {
    pub fn of(kernel: Kernel) -> Self {
        Self(1 << kernel as u32)
    }

    pub fn iter(self) -> impl Iterator<Item = Kernel> {
        Kernel::ALL.iter().copied().filter(move |&kernel| self.0 & Self::of(kernel).0 != 0)
    }

    /// `KINDS`.
    pub fn bits(self) -> u32 {
        self.0
    }

    /// Their names, as in `shaders/program.wgsl`.
    pub fn names(self) -> String {
        self.iter().map(Kernel::name).collect::<Vec<_>>().join(" + ")
    }

    /// With all that differ from one of them in little.
    fn with_families(self) -> Self {
        self.iter().flat_map(Kernel::family).copied().collect()
    }

    /// Whether one of them calls what an environment's author wrote.
    fn run_the_environment(self) -> bool {
        self.iter().any(|kernel| matches!(kernel, Kernel::ResetEnvironments | Kernel::StepEnvironments))
    }

    /// With all of batch norm's where there is one of them.
    fn with_batch_norm(self) -> Self {
        let normalises = self.iter().any(|kernel| Kernel::BATCH_NORM.contains(&kernel));
        self.iter().chain(Kernel::BATCH_NORM.iter().copied().filter(|_| normalises)).collect()
    }
}

impl FromIterator<Kernel> for Kinds {
    fn from_iter<T: IntoIterator<Item = Kernel>>(kernels: T) -> Self {
        Self(kernels.into_iter().fold(0, |kinds, kernel| kinds | Self::of(kernel).0))
    }
}

/// The types of group 0's bindings, in the order of `shaders/shared/bindings.wgsl`: sizes, operations and hyper-parameters,
/// then what kernels write, a role each.
fn memory_binding_types(medium: Medium) -> [wgpu::BindingType; 9] {
    let buffer = |ty| wgpu::BindingType::Buffer { ty, has_dynamic_offset: false, min_binding_size: None };
    let (uniform, write) = (buffer(wgpu::BufferBindingType::Uniform), buffer(wgpu::BufferBindingType::Storage { read_only: false }));
    let (words, floats) = (medium.binding_type(Content::Words), medium.binding_type(Content::Floats));
    [uniform, uniform, words, floats, floats, floats, write, write, write]
}

/// How work is dealt out to workgroups: all that a program needs to know of the kernels while it is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Grid {
    pub tile: Tile,
    pub workgroup_size: u32,
    /// Invocations that keep an agent's share of the device busy: tiles are split until there are as many.
    pub invocations: u32,
    /// Workgroup memory for bands of rows, vec4s; 0: rows are not taken in bands.
    pub band_memory: u32,
}

/// A product's share of a dispatch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Deal {
    /// Workgroups.
    pub units: u32,
    /// Columns (vec4s) that a workgroup owns, where it owns whole columns; else tiles side by side in its block, 0: all.
    pub strip: u32,
    /// Invocations that share a tile, each along another part of the inner dimension.
    pub split: u32,
}

impl Grid {
    /// Invocations that hide each other's waiting on a GPU of the larger kind.
    const BUSY: u32 = 32_768;

    /// An agent's share of the device, in invocations, from which bands are the faster way: 32 agents, of 64 and more.
    const FEWEST_FOR_BANDS: u32 = 1024;

    /// In vec4s: half of what WebGPU's default limits leave.
    const LEAST_BAND_MEMORY: u32 = 256;

    /// More, in vec4s, would leave a processor of a GPU too few workgroups at a time.
    const MOST_BAND_MEMORY: u32 = 2048;

    /// A tile in workgroups of the size that suits it where a dispatch is one level of a program, for `agents`.
    pub fn of(tile: Tile, agents: u32) -> Self {
        Self { tile, workgroup_size: tile.workgroup_size(), invocations: Self::BUSY / agents.max(1), band_memory: 0 }
    }

    /// The same with bands, where `bytes` of workgroup memory hold them besides what sums meet in (`sh_reduce`), and where
    /// there are few agents: many keep a GPU busy layer by layer, and then more of it (`benches/RESULTS.md`).
    pub fn with_bands(self, bytes: u32) -> Self {
        const REDUCE: u32 = 16 * 512;
        let helps = self.tile.mixes_kinds() && self.invocations >= Self::FEWEST_FOR_BANDS;
        let left = bytes.saturating_sub(REDUCE) / 16;
        let band_memory = if helps && left >= Self::LEAST_BAND_MEMORY { left.min(Self::MOST_BAND_MEMORY) } else { 0 };
        Self { band_memory, ..self }
    }

    /// The same where one workgroup does all that an agent has to do. Where there are many of them, they hide each other's
    /// waiting, and splitting only costs.
    pub fn of_one_workgroup(tile: Tile, workgroup_size: u32, agents: u32) -> Self {
        Self { tile, workgroup_size, invocations: workgroup_size.min(Self::BUSY / agents.max(1)), band_memory: 0 }
    }

    /// The overrides of a pipeline of `kinds`; a module declares those of its tile only.
    pub fn overrides(&self, kinds: Kinds) -> Vec<(&'static str, f64)> {
        let band_memory = self.tile.mixes_kinds().then_some(("BAND_MEMORY", self.band_memory.max(1)));
        let all = [("KINDS", kinds.bits()), ("WORKGROUP_SIZE", self.workgroup_size), ("TEAM", self.tile.team())];
        all.into_iter().chain(band_memory).map(|(name, value)| (name, f64::from(value))).collect()
    }

    /// What parameters, moments and activations are in.
    pub fn medium(&self) -> Medium {
        self.tile.medium()
    }

    /// An output of `rows` by `columns` (vec4s), each a sum of `inner` steps, dealt out tile by tile.
    pub fn deal(&self, rows: u32, columns: u32, inner: u32) -> Deal {
        let (tile_rows, tile_columns, team) = self.tile.shape();
        let invocations = rows.div_ceil(tile_rows) * columns.div_ceil(tile_columns * team) * team;
        let split = self.split(invocations, inner, self.workgroup_size);
        if !self.tile.mixes_kinds() {
            return Deal { units: (invocations * split).div_ceil(self.workgroup_size), strip: 0, split };
        }
        // a block about as high as wide loads the least rows and columns
        let (tiles, down, across) = (self.workgroup_size / split, rows.div_ceil(tile_rows), columns);
        let square = 1 << tiles.ilog2().div_ceil(2);
        let high = (tiles / square).min(down.next_power_of_two());
        let wide = (tiles / high).min(across.next_power_of_two());
        Deal { units: down.div_ceil(tiles / wide) * across.div_ceil(wide), strip: wide, split }
    }

    /// The same where a workgroup owns whole columns: as many as keep it busy.
    pub fn deal_columns(&self, rows: u32, columns: u32, inner: u32) -> Deal {
        let (tile_rows, tile_columns, team) = self.tile.shape();
        let row_tiles = rows.div_ceil(tile_rows);
        let invocations = row_tiles * columns.div_ceil(tile_columns * team) * team;
        let split = self.split(invocations, inner, self.workgroup_size / row_tiles);
        let teams = self.workgroup_size / team / split / row_tiles;
        let strip = (teams.max(1) * tile_columns * team).min(columns);
        Deal { units: columns.div_ceil(strip), strip, split }
    }

    /// Whether the rows of a minibatch are taken in bands. A single row leaves nothing to tell its matrices apart by.
    pub fn bands(&self, rows: u32) -> bool {
        self.band_memory > 0 && rows > 1
    }

    /// Bands of `rows` that teams can take through operations in place, a row of tiles each; 0: a workgroup is not a team.
    pub fn bands_in_place(&self, rows: u32) -> u32 {
        let (tile_rows, _, team) = self.tile.shape();
        if team > 1 && self.workgroup_size == team { rows.div_ceil(tile_rows) } else { 0 }
    }

    /// Rows a band, the best first: as many as leave the device enough bands, and fewer where they need too much memory.
    pub fn band_rows(&self, rows: u32) -> Vec<u32> {
        let (tile_rows, _, _) = self.tile.shape();
        let enough = |band: u32| rows.div_ceil(band) * self.workgroup_size >= self.invocations;
        [4, 2, 1].map(|tiles| tiles * tile_rows).into_iter().filter(|&band| band == tile_rows || enough(band)).collect()
    }

    /// A product of `rows` by `columns` (vec4s) by `inner` (vec4s) dealt out to the `invocations` of a workgroup that a level
    /// of a chain leaves it: each has four rows of a column, and `split` of them share one. Also the rounds that takes.
    /// Where the right matrix is `transposed`, neighbours share a column, so that they load neighbouring vec4s. A round has
    /// four columns at least, since a vec4 is finished in one.
    pub fn deal_band(&self, rows: u32, columns: u32, inner: u32, transposed: bool, invocations: u32) -> (u32, u32) {
        let slots = (rows * columns).max(1);
        let least = if transposed { 4 } else { 1 };
        let most = (invocations / slots).clamp(least, self.tile.most_parts()).min(inner).min(invocations / 4);
        let split = 1 << most.max(1).ilog2();
        (split, (slots * split).div_ceil(invocations))
    }

    /// The largest power of two that leaves nobody idle for want of tiles or of steps.
    fn split(&self, invocations: u32, inner: u32, most: u32) -> u32 {
        let most = most.min(inner).min(self.tile.most_parts()).min(self.invocations / invocations.max(1));
        1 << most.max(1).ilog2()
    }
}

impl std::ops::Deref for Kernels {
    type Target = Grid;

    fn deref(&self) -> &Grid {
        &self.grid
    }
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
pub(crate) struct Kernels {
    device: wgpu::Device,
    source: String,
    layout: wgpu::PipelineLayout,
    /// Without the table of dispatches.
    specialised_layout: wgpu::PipelineLayout,
    pub memory_layout: wgpu::BindGroupLayout,
    pub dispatch_layout: wgpu::BindGroupLayout,
    grid: Grid,
    /// Whether kinds that differ in little share a pipeline: on a software driver, which takes seconds to compile one.
    shares: bool,
    /// Bytes between two entries of the dispatch table.
    pub dispatch_alignment: u32,
    pipelines: Mutex<HashMap<(Kinds, &'static str), wgpu::ComputePipeline>>,
    movers: OnceLock<Movers>,
}

impl Kernels {
    /// Checks the environment's WGSL; each kernel is compiled when a program first needs it.
    ///
    /// # Errors
    /// [`Error::Shader`] for WGSL that does not hold; [`Error::Limit`] where the device offers less than WebGPU's defaults.
    pub fn new(device: &wgpu::Device, environment: &Environment, grid: Grid) -> Result<Self> {
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
        let movers = Movers::new(&self.device, self.medium())?;
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
        let kinds = if self.shares { kinds.with_families() } else { kinds };
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
        let mut constants = self.grid.overrides(kinds);
        constants.push(("SPECIALISED", 1.0));
        let label = kinds.names();
        let layout = &self.specialised_layout;
        self.build(Blueprint { label: &label, entry_point, kinds, source, layout, constants, checks_bounds: false })
    }

    fn compile(&self, label: &str, entry_point: &str, kinds: Kinds) -> wgpu::ComputePipeline {
        let (source, constants) = (shader::of_kinds(&self.source, kinds), self.grid.overrides(kinds));
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
