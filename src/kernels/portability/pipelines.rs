//! Every pipeline that this crate and its program have a device compile.

use crate::allocator::Allocator;
use crate::config::{BatchNorm, Config};
use crate::ddpg::{Networks, Update};
use crate::environment::Environment;
use crate::kernels::{Grid, Kernel, Kinds, Tile};
use crate::layout;
use crate::population::Options;
use crate::rollout::Rollout;
use crate::shader::{self, capabilities};
use crate::specialised;
use crate::vectors::Medium;
use naga::back::{PipelineConstants, pipeline_constants::process_overrides};
use naga::valid::{ModuleInfo, ValidationFlags, Validator};
use naga::{Module, ShaderStage};
use std::collections::HashSet;

/// WebGPU's defaults: bytes of workgroup memory, invocations a workgroup.
pub const WORKGROUP_MEMORY: u32 = 16 << 10;
pub const INVOCATIONS: u32 = 256;

/// Of the layered plan, of the same where a dispatch mixes kinds, also with bands, of the fused plan, and of bands in place.
const ENTRY_POINTS: [&str; 5] = ["layered", "layered_or_chained", "layered_or_banded", "iterate_fused", "layered_in_bands"];

pub const STAGE: ShaderStage = ShaderStage::Compute;

pub struct Pipeline {
    /// For people.
    pub what: String,
    pub source: String,
    pub entry: &'static str,
    pub constants: PipelineConstants,
    /// What it asks of a device is what this tile asks.
    pub tile: Tile,
}

impl Pipeline {
    fn new(what: impl Into<String>, source: impl Into<String>, entry: &'static str, tile: Tile) -> Self {
        Self { what: what.into(), source: source.into(), entry, constants: PipelineConstants::default(), tile }
    }

    fn with(mut self, constant: &str, value: u32) -> Self {
        self.constants.insert(constant.into(), f64::from(value));
        self
    }

    /// The module, valid, its overrides resolved.
    pub fn resolved(&self) -> (Module, ModuleInfo) {
        let (what, source) = (&self.what, &self.source);
        let module = naga::front::wgsl::parse_str(source).unwrap_or_else(|error| panic!("{what}: {}", error.emit_to_string(source)));
        let info = Validator::new(ValidationFlags::all(), capabilities(self.tile)).validate(&module);
        let info = info.unwrap_or_else(|error| panic!("{what}: {error}"));
        let resolved = process_overrides(&module, &info, Some((STAGE, self.entry)), &self.constants);
        let (module, info) = resolved.unwrap_or_else(|error| panic!("{what}: {error}"));
        (module.into_owned(), info.into_owned())
    }
}

pub fn environments() -> impl Iterator<Item = Environment> {
    Environment::names().into_iter().map(|name| Environment::by_name(&name).unwrap_or_else(|error| panic!("{error}")))
}

/// Of programs of `environment`: a layered pipeline has one kind, its family, or those that share a level; the fused plan's
/// has what its programs need.
pub fn of_programs(environment: &Environment, tile: Tile) -> impl Iterator<Item = Pipeline> + use<> {
    let source = shader::assemble(environment, tile).unwrap_or_else(|error| panic!("{error}")).source;
    let [layered, chained, banded, fused, in_bands] = ENTRY_POINTS;
    let every: Kinds = Kernel::ALL.iter().copied().collect();
    let single = Kernel::ALL.iter().map(|&kernel| Kinds::of(kernel));
    let of_levels: HashSet<Kinds> =
        single.flat_map(|kinds| [kinds, kinds.with_families(false), kinds.with_families(true)]).chain([every]).collect();
    let of_levels = of_levels.into_iter().map(move |kinds| (if tile.mixes_kinds() { chained } else { layered }, kinds));
    // what shares a dispatch with bands: all kinds but those in which rows meet, and those of a rollout
    let beside_bands = |kernel: &Kernel| !Kernel::BATCH_NORM.contains(kernel) && !Kinds::of(*kernel).run_the_environment();
    let of_bands: Kinds = Kernel::ALL.iter().copied().filter(beside_bands).collect();
    let of_bands = tile.mixes_kinds().then_some((banded, of_bands));
    let of_rows = Kernel::ALL.iter().filter(|kernel| kernel.treats_rows_alike()).map(|&kernel| Kinds::of(kernel));
    let in_place: HashSet<Kinds> = of_rows.flat_map(|kinds| [false, true].map(|joins_tanh| kinds.with_families(joins_tanh))).collect();
    let in_place = in_place.into_iter().filter(move |_| tile.team() > 1).map(move |kinds| (in_bands, kinds));
    let name = environment.name.clone();
    of_levels.chain(of_bands).chain(in_place).chain([(fused, every)]).map(move |(entry, kinds)| {
        let what = format!("{name}, {tile:?}, {entry}, {}", kinds.names());
        let grid = match entry == fused {
            true => Grid::of(tile, 1).in_one_workgroup(INVOCATIONS),
            false => Grid::of(tile, 1).with_bands(WORKGROUP_MEMORY),
        };
        let mut pipeline = Pipeline::new(what, shader::of_kinds(&source, kinds), entry, tile);
        pipeline.constants.extend(grid.overrides(kinds).into_iter().map(|(name, value)| (name.to_owned(), value)));
        pipeline
    })
}

/// Of the specialised plan: every dispatch of a rollout and of an update, in bands and with batch norm.
pub fn of_specialised_programs(environment: &Environment) -> Vec<Pipeline> {
    let mut plain = Config::default();
    (plain.actor_hidden, plain.critic_hidden, plain.batch_size) = (vec![64, 20], vec![64, 33], 30);
    let normalised = Config { batch_norm: BatchNorm::InputAndHidden, ..plain.clone() };
    let grid = Grid::of(Tile::Small, 1);
    let source = shader::assemble(environment, Tile::Small).unwrap_or_else(|error| panic!("{error}")).source;
    let mut pipelines = Vec::new();
    for (what, config, grid) in [("bands", plain, grid.with_bands(WORKGROUP_MEMORY)), ("batch norm", normalised, grid)] {
        let networks = Networks::new(&config, environment);
        let update = Update::new(&config, &networks, &grid);
        let mut activations = Allocator { used: update.length };
        let rollout = Rollout::new(&networks, &grid, 3, None, &mut activations);
        let mut table = Vec::new();
        let programs = [rollout.steps, update.steps].map(|steps| steps.schedule(&mut table, &grid));
        let sizes = layout::sizes(&config, environment, &networks, activations.length(), Options::default());
        for (number, dispatch) in programs.iter().flat_map(|program| &program.dispatches).enumerate() {
            let (source, kinds) = specialised::module(&source, grid.workgroup_size, dispatch, &table, &sizes);
            let what = format!("{}, {what}, dispatch {number}, specialised", environment.name);
            let mut pipeline = Pipeline::new(what, source, specialised::ENTRY_POINT, Tile::Small).with("SPECIALISED", 1);
            pipeline.constants.extend(grid.overrides(kinds).into_iter().map(|(name, value)| (name.to_owned(), value)));
            pipelines.push(pipeline);
        }
    }
    pipelines
}

/// Of [`crate::Simulation`].
pub fn of_simulation(environment: &Environment) -> impl Iterator<Item = Pipeline> + use<> {
    let source = shader::assemble_simulation(environment).unwrap_or_else(|error| panic!("{error}"));
    let name = environment.name.clone();
    [("simulation_restart", 0), ("simulate", 0), ("simulate", 1)].into_iter().map(move |(entry, random)| {
        Pipeline::new(format!("{entry} of {name}, random {random}"), &source, entry, Tile::Portable).with("RANDOM_ACTIONS", random)
    })
}

/// Of [`crate::Renderer`], for environments that can be drawn.
pub fn of_drawing(environment: &Environment) -> Option<Pipeline> {
    let source = crate::render::source(environment)?;
    Some(Pipeline::new(format!("the drawing of {}", environment.name), source, "frame", Tile::Portable))
}

/// Of what moves rows between an agent's memory, in a buffer or in textures, and other buffers.
pub fn of_transfer(medium: Medium) -> impl Iterator<Item = Pipeline> {
    let source = shader::assemble_transfer(medium).unwrap_or_else(|error| panic!("{error}"));
    let tile = if medium == Medium::Buffer { Tile::Portable } else { Tile::Texture };
    let entries = ["gather_rows", "scatter_rows", "explore_rows", "push_rows", "advance_agents", "end_episode"];
    entries.into_iter().map(move |entry| Pipeline::new(format!("{entry}, {medium:?}"), &source, entry, tile))
}

/// Of what `ddpg bench` measures an adapter's ceilings with.
pub fn of_bench() -> impl Iterator<Item = Pipeline> {
    macro_rules! shader {
        ($($file:literal)*) => { concat!($(include_str!(concat!("../../../shaders/bench/", $file))),*) };
    }
    [
        (Tile::Portable, "copy", shader!("copy.wgsl")),
        (Tile::Portable, "multiply", shader!("product_workgroup.wgsl")),
        (Tile::Portable, "multiply", shader!("product_registers.wgsl")),
        (Tile::Texture, "copy", shader!("copy_texture.wgsl")),
        (Tile::Texture, "multiply", shader!("product_shared.wgsl" "product_texture.wgsl")),
        (Tile::Subgroup, "multiply", shader!("product_shared.wgsl" "product_subgroup.wgsl")),
    ]
    .into_iter()
    .map(|(tile, entry, source)| {
        let pipeline = Pipeline::new(source.lines().next().unwrap_or_default(), source, entry, tile);
        if entry == "multiply" { pipeline.with("SIZE", 512) } else { pipeline }
    })
}
