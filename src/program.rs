//! A program: operations written in the order of the algorithm, levelled by what they read and write, recorded once and
//! replayed as often as wanted.

use crate::kernels::{Grid, Kernel, Kernels, Kinds};
use bytemuck::{Pod, Zeroable};
use std::ops::Range;

/// Twin of `struct Operation` in `shaders/shared/bindings.wgsl`; every offset and stride counts vec4s.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Pod, Zeroable)]
#[allow(missing_docs)]
pub struct Operation {
    pub kind: u32,
    pub network: u32,
    pub units: u32,
    pub strip: u32,
    pub split: u32,
    pub flags: u32,
    pub rows: u32,
    pub inner: u32,
    pub columns: u32,
    pub input: u32,
    pub input_stride: u32,
    pub weights: u32,
    pub weights_stride: u32,
    pub bias: u32,
    pub output: u32,
    pub output_stride: u32,
    pub forward: u32,
    pub forward_stride: u32,
    pub normalised: u32,
    pub normalised_stride: u32,
    pub norm: u32,
    pub statistics: u32,
    pub extra: u32,
    pub extra_stride: u32,
    pub ends_level: u32,
    pub chain: u32,
    pub reserved0: u32,
    pub reserved1: u32,
}

/// Operations of all programs of a population: what a uniform buffer holds within WebGPU's default limits, as in
/// `shaders/shared/bindings.wgsl`.
pub(crate) const MOST_OPERATIONS: usize = 512;

impl Operation {
    /// Multiplications and additions of its product; 0 where it has none.
    pub fn flops(&self) -> f64 {
        2.0 * 16.0 * f64::from(self.rows) * f64::from(self.inner) * f64::from(self.columns)
    }
}

/// `Operation::flags`, as in `shaders/shared/bindings.wgsl`.
pub(crate) mod flag {
    pub const MINIBATCH_ROWS: u32 = 1;
    pub const UPDATE_RUNNING: u32 = 2;
    pub const CANCELLED_BIAS: u32 = 4;
    pub const TRAIN_NORM: u32 = 8;
    pub const EVALUATION: u32 = 16;
    pub const RUNNING_STATISTICS: u32 = 32;
    pub const LATEST_STEP: u32 = 64;
    pub const PREVIOUS_STEP: u32 = 128;
    pub const DELTA_RULE: u32 = 256;
}

/// What an operation touches: a stretch of an agent's slice of one of the role buffers.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Access {
    Parameters(Range<u32>),
    Activations(Range<u32>),
    /// The environments, the replay ring and the agent's state, which few operations touch and always together.
    Agent,
}

impl Access {
    fn overlaps(&self, other: &Access) -> bool {
        let cross = |a: &Range<u32>, b: &Range<u32>| a.start < b.end && b.start < a.end;
        match (self, other) {
            (Access::Parameters(a), Access::Parameters(b)) | (Access::Activations(a), Access::Activations(b)) => cross(a, b),
            (Access::Agent, Access::Agent) => true,
            _ => false,
        }
    }
}

/// One operation and what it touches.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub operation: Operation,
    pub reads: Vec<Access>,
    pub writes: Vec<Access>,
}

impl Step {
    fn conflicts(&self, earlier: &Step) -> bool {
        let any = |a: &[Access], b: &[Access]| a.iter().any(|a| b.iter().any(|b| a.overlaps(b)));
        any(&self.writes, &earlier.writes) || any(&self.writes, &earlier.reads) || any(&self.reads, &earlier.writes)
    }
}

/// A run of operations that one dispatch executes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Dispatch {
    /// The kinds of its operations, a bit each.
    pub kinds: Kinds,
    /// Index of the first operation in the shared table.
    pub first: u32,
    pub operations: u32,
    /// Workgroups an agent: the most that one of the operations has, and operations side by side.
    pub workgroups: (u32, u32),
}

/// Steps in the order of the algorithm, still to be levelled.
#[derive(Debug, Clone, Default)]
pub(crate) struct Steps(pub Vec<Step>);

impl Steps {
    /// The level of each step: one more than the highest level of an earlier step that it conflicts with.
    fn levels(&self) -> Vec<usize> {
        let mut levels: Vec<usize> = Vec::with_capacity(self.0.len());
        for (i, step) in self.0.iter().enumerate() {
            let after = (0..i).filter(|&j| step.conflicts(&self.0[j])).map(|j| levels[j] + 1).max();
            levels.push(after.unwrap_or(0));
        }
        levels
    }

    /// Orders the steps by level and kind, and groups each level, or each kind of a level, into a dispatch. `table` takes
    /// the operations.
    pub fn schedule(&self, table: &mut Vec<Operation>, grid: &Grid) -> Program {
        let levels = self.levels();
        let mixes = grid.tile.mixes_kinds();
        // changing pipelines costs a GPU more than code that it skips: one for all
        let every: Kinds = self.0.iter().map(|step| Kernel::from_kind(step.operation.kind)).collect();
        let mut order: Vec<usize> = (0..self.0.len()).collect();
        order.sort_by_key(|&i| (levels[i], self.0[i].operation.kind));
        let mut dispatches: Vec<Dispatch> = Vec::new();
        let mut previous = None;
        for i in order {
            let operation = self.0[i].operation;
            let key = (levels[i], operation.kind);
            let joins = |(level, kind)| level == levels[i] && (kind == operation.kind || mixes);
            match dispatches.last_mut() {
                Some(last) if previous.is_some_and(joins) => {
                    last.operations += 1;
                    last.workgroups = (last.workgroups.0.max(operation.units), last.operations);
                }
                _ => dispatches.push(Dispatch {
                    kinds: if mixes { every } else { Kinds::of(Kernel::from_kind(operation.kind)) },
                    first: table.len() as u32,
                    operations: 1,
                    workgroups: (operation.units, 1),
                }),
            }
            if previous.is_some_and(|(level, _)| level != levels[i])
                && let Some(last) = table.last_mut()
            {
                last.ends_level = 1;
            }
            previous = Some(key);
            table.push(operation);
        }
        if let Some(last) = table.last_mut() {
            last.ends_level = 1;
        }
        if mixes {
            dispatches = chain(dispatches, table);
        }
        Program { dispatches }
    }
}

/// Workgroups of a level that one workgroup works off in less time than another dispatch takes to start.
const CHAINED_UNITS: u32 = 4;

/// Joins neighbouring levels that hold little work, each a dispatch so far, to dispatches of one workgroup.
fn chain(levels: Vec<Dispatch>, table: &mut [Operation]) -> Vec<Dispatch> {
    let operations = |dispatch: &Dispatch| dispatch.first as usize..(dispatch.first + dispatch.operations) as usize;
    let small: Vec<bool> =
        levels.iter().map(|level| table[operations(level)].iter().map(|operation| operation.units).sum::<u32>() <= CHAINED_UNITS).collect();
    let mut dispatches: Vec<(Dispatch, bool)> = Vec::new();
    for (level, small) in levels.into_iter().zip(small) {
        match dispatches.last_mut() {
            Some((last, true)) if small => {
                last.operations += level.operations;
                last.workgroups = (1, 1);
                table[last.first as usize].chain = last.operations;
            }
            _ => dispatches.push((level, small)),
        }
    }
    dispatches.into_iter().map(|(dispatch, _)| dispatch).collect()
}

/// Dispatches in order; replaying them into a pass is all it takes to run the program.
#[derive(Debug, Clone, Default)]
pub(crate) struct Program {
    pub dispatches: Vec<Dispatch>,
}

impl Program {
    /// Where its operations lie in the table.
    pub fn operations(&self) -> Range<u32> {
        let first = self.dispatches.first().map_or(0, |dispatch| dispatch.first);
        first..self.dispatches.last().map_or(first, |dispatch| dispatch.first + dispatch.operations)
    }

    /// Compiles what the program needs, so that recording it never waits for a compiler.
    pub fn prepare(&self, kernels: &Kernels) {
        for dispatch in &self.dispatches {
            kernels.pipeline(dispatch.kinds);
        }
    }

    /// Records the program into `pass`, whose bind group 0 is already the population's.
    pub fn record(&self, pass: &mut wgpu::ComputePass<'_>, kernels: &Kernels, table: &wgpu::BindGroup, agents: u32) {
        for dispatch in &self.dispatches {
            pass.set_pipeline(&kernels.pipeline(dispatch.kinds));
            pass.set_bind_group(1, table, &[dispatch.first * kernels.dispatch_alignment]);
            let (units, operations) = dispatch.workgroups;
            pass.dispatch_workgroups(units, operations, agents);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::Tile;

    fn step(kind: u32, reads: Vec<Access>, writes: Vec<Access>) -> Step {
        Step { operation: Operation { kind, units: 1, ..Default::default() }, reads, writes }
    }

    /// Two pairs of independent steps, the second pair after the first, in operations of `units` workgroups.
    fn two_levels(units: u32) -> Steps {
        use Access::{Activations, Parameters};
        let mut steps = vec![
            step(3, vec![Parameters(0..4)], vec![Activations(0..4)]),
            step(3, vec![Parameters(4..8)], vec![Activations(4..8)]),
            step(2, vec![Activations(0..8)], vec![Activations(8..9)]),
            // reads what the first step reads: no conflict; writes what it reads: one
            step(13, vec![], vec![Parameters(0..4)]),
        ];
        steps.iter_mut().for_each(|step| step.operation.units = units);
        Steps(steps)
    }

    struct Scheduled {
        program: Program,
        /// The first operation and the workgroups of each dispatch.
        dispatches: Vec<(u32, (u32, u32))>,
        /// Kind, `ends_level` and `chain` of each operation.
        operations: Vec<[u32; 3]>,
    }

    fn scheduled(steps: &Steps, tile: Tile) -> Scheduled {
        let mut table = Vec::new();
        let program = steps.schedule(&mut table, &Grid::of(tile, 1));
        let dispatches = program.dispatches.iter().map(|dispatch| (dispatch.first, dispatch.workgroups)).collect();
        let operations = table.iter().map(|operation| [operation.kind, operation.ends_level, operation.chain]).collect();
        Scheduled { program, dispatches, operations }
    }

    #[test]
    fn independent_steps_share_a_level_and_conflicting_ones_do_not() {
        let steps = two_levels(1);
        assert_eq!(steps.levels(), [0, 0, 1, 1]);
        let Scheduled { dispatches, operations, .. } = scheduled(&steps, Tile::Portable);
        assert_eq!(dispatches, [(0, (1, 2)), (2, (1, 1)), (3, (1, 1))]);
        assert_eq!(operations, [[3, 0, 0], [3, 1, 0], [2, 0, 0], [13, 1, 0]]);
    }

    #[test]
    fn where_kinds_are_mixed_a_level_is_a_dispatch_and_one_pipeline_takes_them_all() {
        let Scheduled { program, dispatches, operations } = scheduled(&two_levels(3), Tile::Small);
        assert_eq!(dispatches, [(0, (3, 2)), (2, (3, 2))]);
        assert_eq!(operations, [[3, 0, 0], [3, 1, 0], [2, 0, 0], [13, 1, 0]]);
        for dispatch in &program.dispatches {
            assert_eq!(dispatch.kinds.iter().map(|kind| kind as u32).collect::<Vec<_>>(), [2, 3, 13]);
        }
    }

    #[test]
    fn neighbouring_small_levels_are_a_chain_and_a_large_one_ends_it() {
        let mut steps = two_levels(2);
        let mut large = step(13, vec![], vec![Access::Parameters(0..4)]);
        large.operation.units = CHAINED_UNITS + 1;
        steps.0.push(large);
        let Scheduled { dispatches, operations, .. } = scheduled(&steps, Tile::Small);
        assert_eq!(dispatches, [(0, (1, 1)), (4, (CHAINED_UNITS + 1, 1))]);
        assert_eq!(operations, [[3, 0, 4], [3, 1, 0], [2, 0, 0], [13, 1, 0], [13, 1, 0]]);
    }
}
