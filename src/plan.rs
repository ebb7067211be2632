//! How a population's iterations reach the device: a dispatch a level of its programs, or whole iterations in one.

use crate::config::{BatchNorm, Config};
use crate::dispatch_table::{DispatchEntry, dispatch_table, entry_binding};
use crate::error::{Error, Result};
use crate::kernels::{Dealing, Grid, Tile};
use crate::pipelines::Pipelines;
use crate::program::Program;
use std::ops::Range;

/// How iterations are executed. Every plan computes the same updates, in the order of the algorithm, to rounding.
///
/// ```
/// use ddpg_wgpu::Plan;
/// assert_eq!(Plan::ALL.map(Plan::name), ["layered", "specialised", "fused"]);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum Plan {
    /// A dispatch a level of independent operations: any network, any algorithm; the whole device works on each layer.
    Layered,
    /// The layered plan, each of whose dispatches has a pipeline of its own with its operations as constants
    /// (`src/specialised.rs`): the fastest on GPUs, which take seconds to compile it when a network is new to them.
    Specialised,
    /// A workgroup is an agent and runs many iterations in one dispatch (`shaders/fused.wgsl`): any network and algorithm.
    Fused,
}

impl Plan {
    /// Every plan.
    pub const ALL: [Plan; 3] = [Plan::Layered, Plan::Specialised, Plan::Fused];

    /// Its name, as `ddpg train --plan` takes it.
    pub fn name(self) -> &'static str {
        match self {
            Plan::Layered => "layered",
            Plan::Specialised => "specialised",
            Plan::Fused => "fused",
        }
    }

    /// The grid that this plan's work is dealt out over: with the tile and as finely as asked for, or as is best.
    pub(crate) fn grid(self, device: &wgpu::Device, tile: Option<Tile>, dealing: Option<Dealing>, config: &Config) -> Grid {
        let best = || if self == Plan::Layered { Tile::best(device) } else { Tile::Small };
        let grid = Grid::dealt(tile.unwrap_or_else(best), config.agents, dealing.unwrap_or_default());
        // batch norm makes the rows of a minibatch meet in every layer
        let rows_meet = config.batch_norm != BatchNorm::None;
        match self {
            Plan::Fused => grid.in_one_workgroup(FUSED_INVOCATIONS),
            Plan::Layered | Plan::Specialised if rows_meet => grid,
            Plan::Layered | Plan::Specialised => grid.with_bands(device.limits().max_compute_workgroup_storage_size),
        }
    }
}

impl std::fmt::Display for Plan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Invocations that work on an agent in the fused plan: the most that WebGPU promises.
const FUSED_INVOCATIONS: u32 = 256;

/// Most iterations, as a power of two, that one dispatch runs.
const LONGEST: u32 = 8;

/// What an iteration consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Iteration {
    pub simulates: bool,
    pub updates: u32,
}

/// A pipeline that runs whole iterations, and a table of the ways in which it is dispatched: powers of two of each kind
/// of iteration, so that any number of them is a few dispatches and nothing is ever uploaded.
#[derive(Debug)]
pub(crate) struct Iterator {
    pipeline: wgpu::ComputePipeline,
    table: wgpu::BindGroup,
    kinds: Vec<Iteration>,
    stride: u32,
    /// Most iterations of a dispatch, as a power of two.
    longest: u32,
}

impl Iterator {
    /// The fused plan's, for the kinds of iteration that will be recorded.
    pub fn new(
        device: &wgpu::Device,
        queue: &wgpu::Queue,
        pipelines: &Pipelines,
        rollout: &Program,
        learn: &Program,
        kinds: Vec<Iteration>,
    ) -> Self {
        // where the host simulates, no iteration runs the rollout
        let simulates = kinds.iter().any(|kind| kind.simulates);
        let dispatches = rollout.dispatches.iter().filter(|_| simulates).chain(&learn.dispatches);
        let pipeline = pipelines.iterating_pipeline(dispatches.flat_map(|dispatch| dispatch.kinds.iter()).collect());
        let entries = entries(&kinds, rollout.operations(), learn.operations());
        let (buffer, stride) = dispatch_table(device, queue, &entries);
        // Mesa's software driver silently ends the loops of a dispatch that have taken 65,535 iterations all together
        let longest = if device.adapter_info().device_type == wgpu::DeviceType::Cpu { 0 } else { LONGEST };
        let table = device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some("iterations"),
            layout: &pipelines.dispatch_layout,
            entries: &[entry_binding(&buffer)],
        });
        Self { pipeline, table, kinds, stride, longest }
    }

    /// Records `count` iterations of one of the kinds that this was built for.
    pub fn record(&self, pass: &mut wgpu::ComputePass<'_>, iteration: Iteration, count: u64, agents: u32) {
        let Some(kind) = self.kinds.iter().position(|known| *known == iteration) else {
            debug_assert!(false, "{iteration:?} is not in the table");
            return;
        };
        pass.set_pipeline(&self.pipeline);
        let mut left = count;
        while left > 0 {
            let power = left.ilog2().min(self.longest);
            let entry = kind as u32 * (LONGEST + 1) + power;
            pass.set_bind_group(1, &self.table, &[entry * self.stride]);
            pass.dispatch_workgroups(1, 1, agents);
            left -= 1 << power;
        }
    }
}

fn entries(kinds: &[Iteration], rollout: Range<u32>, learn: Range<u32>) -> Vec<DispatchEntry> {
    let entry = |kind: &Iteration, power: u32| DispatchEntry {
        first: rollout.start,
        operations: rollout.len() as u32,
        learn_first: learn.start,
        learn_operations: learn.len() as u32,
        iterations: 1 << power,
        simulates: u32::from(kind.simulates),
        updates: kind.updates,
        reserved: 0,
    };
    kinds.iter().flat_map(|kind| (0..=LONGEST).map(move |power| entry(kind, power))).collect()
}

/// The plan that was asked for, or the layered one, on GPUs specialised: the fastest wherever all were measured
/// (`benches/RESULTS.md`), with one agent as with a thousand, whose small levels it runs in one workgroup an agent too.
/// Not through DX12, one of whose two compilers takes a minute for what others do in a second, nor in browsers, which may
/// use it.
///
/// # Errors
/// [`Error::Limit`] where the device cannot run the one that was asked for, or not with the tile that was.
pub(crate) fn choose(device: &wgpu::Device, wanted: Option<Plan>, tile: Option<Tile>) -> Result<Plan> {
    let limits = device.limits();
    let mixes_kinds = tile.unwrap_or_else(|| Tile::best(device)).mixes_kinds();
    let compiles_fast = matches!(device.adapter_info().backend, wgpu::Backend::Vulkan | wgpu::Backend::Metal);
    let fused =
        limits.max_compute_invocations_per_workgroup >= FUSED_INVOCATIONS && limits.max_compute_workgroup_size_x >= FUSED_INVOCATIONS;
    match wanted {
        Some(Plan::Fused) if !fused => Err(Error::Limit {
            what: "the fused plan".into(),
            needed: format!("{FUSED_INVOCATIONS} invocations a workgroup"),
            offered: limits.max_compute_invocations_per_workgroup.to_string(),
            remedy: "use the layered plan".into(),
        }),
        Some(Plan::Specialised) if tile.is_some_and(|tile| !tile.mixes_kinds()) => Err(Error::Limit {
            what: "the specialised plan".into(),
            needed: format!("the tile {}", Tile::Small.name()),
            offered: tile.map_or("", Tile::name).into(),
            remedy: "leave the tile to the plan, or use the layered plan".into(),
        }),
        Some(wanted) => Ok(wanted),
        None if mixes_kinds && compiles_fast => Ok(Plan::Specialised),
        None => Ok(Plan::Layered),
    }
}

#[cfg(test)]
mod tests;
