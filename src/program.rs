//! A program: operations written in the order of the algorithm, levelled by what they read and write, recorded once and
//! replayed as often as wanted.

use crate::bands;
use crate::error::{Error, Result};
use crate::kernels::{Grid, Kernel, Kinds};
use crate::memory::Sizes;
use crate::operation::{Operation, Step};
use crate::pipelines::Pipelines;
use crate::specialised;
use std::ops::Range;

/// Refuses more workgroups than a dispatch can have along one of its dimensions.
///
/// # Errors
/// [`Error::Limit`] with `remedy`.
pub(crate) fn check_workgroups(what: &str, workgroups: u32, limits: &wgpu::Limits, remedy: &str) -> Result<()> {
    let most = limits.max_compute_workgroups_per_dimension;
    if workgroups <= most {
        return Ok(());
    }
    Err(Error::Limit {
        what: what.into(),
        needed: format!("{workgroups} workgroups along a dimension of a dispatch"),
        offered: most.to_string(),
        remedy: remedy.into(),
    })
}
/// A run of operations that one dispatch executes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Dispatch {
    /// The kinds of its operations, a bit each.
    pub kinds: Kinds,
    /// Whether workgroups take bands of rows through chains of operations.
    pub is_banded: bool,
    /// Index of the first operation in the shared table.
    pub first: u32,
    pub operations: u32,
    /// Workgroups an agent: the most that one of the operations has, and operations side by side.
    pub workgroups: (u32, u32),
    /// Its own, where it has one; else that of its kinds.
    pub specialised: Option<wgpu::ComputePipeline>,
}

impl Dispatch {
    /// The workgroups of `agents` along each dimension, as the entry points have it.
    fn grid(&self, grid: &Grid, agents: u32) -> [u32; 3] {
        let (units, operations) = self.workgroups;
        let (x, y) = if grid.tile.mixes_kinds() { (units, operations) } else { (operations, units) };
        [x, y, agents]
    }
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

    /// The same where each kind of a level is a dispatch of its own: a step that is alone of its kind waits for the next one
    /// of its kind, where nothing that needs it comes before.
    fn gathered_levels(&self) -> Vec<usize> {
        let mut levels = self.levels();
        let kind = |i: usize| self.0[i].operation.kind;
        for i in (0..levels.len()).rev() {
            let alike = |level: usize| (0..levels.len()).any(|j| j != i && kind(j) == kind(i) && levels[j] == level);
            let needed = (i + 1..levels.len()).filter(|&j| self.0[j].conflicts(&self.0[i])).map(|j| levels[j]).min();
            let end = needed.or_else(|| levels.iter().max().map(|last| last + 1)).unwrap_or(0);
            if !alike(levels[i])
                && let Some(later) = (levels[i] + 1..end).find(|&level| alike(level))
            {
                levels[i] = later;
            }
        }
        levels
    }

    /// Groups the steps into dispatches; `table` takes the operations.
    pub fn schedule(&self, table: &mut Vec<Operation>, grid: &Grid) -> Program {
        let dispatches = if grid.tile.mixes_kinds() { self.stages(table, grid) } else { self.kinds_of_levels(table, grid) };
        Program { dispatches }
    }

    /// A dispatch a kind of each level, or a run of several where bands of rows can be taken through it.
    fn kinds_of_levels(&self, table: &mut Vec<Operation>, grid: &Grid) -> Vec<Dispatch> {
        let levels = self.gathered_levels();
        let kind = |i: usize| self.0[i].operation.kind;
        let mut order: Vec<usize> = (0..self.0.len()).collect();
        order.sort_by_key(|&i| (levels[i], kind(i)));
        let mut runs: Vec<Run> = Vec::new();
        for group in order.chunk_by(|&i, &j| (levels[i], kind(i)) == (levels[j], kind(j))) {
            match self.run_to_join(&runs, group, grid) {
                Some(run) => runs[run].push(group.to_vec()),
                None => runs.push(vec![group.to_vec()]),
            }
        }
        let mut dispatches = Vec::new();
        for (index, run) in runs.iter().enumerate() {
            let first = table.len();
            for level in run {
                table.extend(level.iter().map(|&i| self.0[i].operation));
                if let Some(last) = table.last_mut() {
                    last.ends_level = u32::from(run.len() > 1);
                }
            }
            let operations = &mut table[first..];
            let count = operations.len() as u32;
            let is_banded = run.len() > 1 || operations[0].kind == Kernel::SampleRows as u32;
            let units = operations.iter().map(|operation| operation.units).max().unwrap_or(0);
            let workgroups = if is_banded { (grid.bands_in_place(operations[0].rows), 1) } else { (units, count) };
            if is_banded {
                operations[0].chain = count;
            }
            // what lies side by side with the next dispatch does not end the level
            let next = runs.get(index + 1).map(|next| levels[next[0][0]]);
            if let Some(last) = operations.last_mut().filter(|_| next != Some(levels[run[0][0]])) {
                last.ends_level = 1;
            }
            let kinds = operations.iter().map(|operation| Kernel::from_kind(operation.kind)).collect();
            dispatches.push(Dispatch { kinds, is_banded, first: first as u32, operations: count, workgroups, specialised: None });
        }
        dispatches
    }

    /// The run that a level's operations of one kind can be a part of: the last one of such operations, unless they need
    /// what comes behind it.
    fn run_to_join(&self, runs: &[Run], group: &[usize], grid: &Grid) -> Option<usize> {
        for (index, run) in runs.iter().enumerate().rev() {
            let members = || run.iter().flatten().map(|&i| &self.0[i]);
            let operations: Vec<&Operation> = members().chain(group.iter().map(|&i| &self.0[i])).map(|step| &step.operation).collect();
            if bands::run_in_place(&operations, group.len(), grid) {
                return Some(index);
            }
            if group.iter().any(|&i| members().any(|earlier| self.0[i].conflicts(earlier))) {
                return None;
            }
        }
        None
    }

    /// A dispatch a stage, small ones joined.
    fn stages(&self, table: &mut Vec<Operation>, grid: &Grid) -> Vec<Dispatch> {
        let mut dispatches = Vec::new();
        for stage in bands::stages(&self.0, grid) {
            let first = table.len() as u32;
            let workgroups = |head: &Operation| if head.band == 0 { head.units } else { head.rows.div_ceil(head.band) };
            dispatches.push(Dispatch {
                kinds: stage.iter().flatten().map(|operation| Kernel::from_kind(operation.kind)).collect(),
                is_banded: stage.iter().any(|group| group[0].band > 0),
                first,
                operations: stage.iter().map(Vec::len).sum::<usize>() as u32,
                workgroups: (stage.iter().map(|group| workgroups(&group[0])).max().unwrap_or(0), stage.len() as u32),
                specialised: None,
            });
            // the first of each group, then what follows it
            let mut rest = first + stage.len() as u32;
            for group in &stage {
                table.push(Operation { rest, ..group[0] });
                rest += group.len() as u32 - 1;
            }
            table.extend(stage.iter().flat_map(|group| &group[1..]));
            if let Some(last) = table.last_mut() {
                last.ends_level = 1;
            }
        }
        let mut dispatches = chain(dispatches, table, grid.chained);
        // changing pipelines costs a GPU more than code that it skips: one for all of either sort
        for is_banded in [false, true] {
            let kinds = dispatches.iter().filter(|one| one.is_banded == is_banded).flat_map(|one| one.kinds.iter()).collect();
            dispatches.iter_mut().filter(|one| one.is_banded == is_banded).for_each(|one| one.kinds = kinds);
        }
        dispatches
    }
}

/// Steps that a dispatch executes level by level.
type Run = Vec<Vec<usize>>;

/// Joins neighbouring stages of `most` workgroups at most, each a dispatch so far, to dispatches of one workgroup.
fn chain(stages: Vec<Dispatch>, table: &mut [Operation], most: u32) -> Vec<Dispatch> {
    let operations = |dispatch: &Dispatch| dispatch.first as usize..(dispatch.first + dispatch.operations) as usize;
    let is_small = |stage: &Dispatch, table: &[Operation]| {
        !stage.is_banded && table[operations(stage)].iter().map(|operation| operation.units).sum::<u32>() <= most
    };
    let mut dispatches: Vec<(Dispatch, bool)> = Vec::new();
    for stage in stages {
        let small = is_small(&stage, table);
        match dispatches.last_mut() {
            Some((last, true)) if small => {
                last.operations += stage.operations;
                last.workgroups = (1, 1);
                last.kinds = last.kinds.iter().chain(stage.kinds.iter()).collect();
                table[last.first as usize].chain = last.operations;
            }
            _ => dispatches.push((stage, small)),
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

    /// Refuses a device whose dispatches cannot have as many workgroups as this program's.
    ///
    /// # Errors
    /// [`Error::Limit`] with `remedy`.
    pub fn check(&self, what: &str, remedy: &str, limits: &wgpu::Limits, grid: &Grid) -> Result<()> {
        let most = self.dispatches.iter().flat_map(|dispatch| dispatch.grid(grid, 1)).max().unwrap_or_default();
        check_workgroups(what, most, limits, remedy)
    }

    /// Compiles what the program needs, so that recording it never waits for a compiler.
    pub fn prepare(&self, pipelines: &Pipelines) {
        for dispatch in &self.dispatches {
            pipelines.pipeline(dispatch.kinds, dispatch.is_banded);
        }
    }

    /// Compiles a pipeline of its own for each dispatch of some programs, whose operations `table` holds.
    ///
    /// # Errors
    /// [`Error::Gpu`](crate::Error::Gpu) with what the device reports.
    pub fn specialise<const N: usize>(
        programs: [&mut Program; N],
        pipelines: &Pipelines,
        table: &[Operation],
        sizes: &Sizes,
    ) -> Result<()> {
        let dispatches: Vec<&mut Dispatch> = programs.into_iter().flat_map(|program| &mut program.dispatches).collect();
        let pipelines = specialised::compile_all(pipelines, &dispatches, table, sizes)?;
        for (dispatch, pipeline) in dispatches.into_iter().zip(pipelines) {
            dispatch.specialised = Some(pipeline);
        }
        Ok(())
    }

    /// Records the program into `pass`, whose bind group 0 is already the population's.
    pub fn record(&self, pass: &mut wgpu::ComputePass<'_>, pipelines: &Pipelines, table: &wgpu::BindGroup, agents: u32) {
        for dispatch in &self.dispatches {
            match &dispatch.specialised {
                Some(pipeline) => pass.set_pipeline(pipeline),
                None => {
                    pass.set_pipeline(&pipelines.pipeline(dispatch.kinds, dispatch.is_banded));
                    pass.set_bind_group(1, table, &[dispatch.first * pipelines.dispatch_alignment]);
                }
            }
            let [x, y, z] = dispatch.grid(pipelines, agents);
            pass.dispatch_workgroups(x, y, z);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::Tile;
    use crate::operation::{Access, Matrix};

    fn step(kind: u32, reads: Vec<Access>, writes: Vec<Access>) -> Step {
        Step { operation: Operation { kind, units: 1, ..Default::default() }, reads, writes }
    }

    /// Two pairs of independent steps, the second pair after the first, in operations of `units` workgroups.
    fn two_levels(units: u32) -> Steps {
        use Access::Parameters;
        let vector = |offset, columns| Matrix::vector(offset, columns).access();
        let mut steps = vec![
            step(3, vec![Parameters(0..4)], vec![vector(0, 4)]),
            step(3, vec![Parameters(4..8)], vec![vector(4, 4)]),
            step(2, vec![vector(0, 8)], vec![vector(8, 1)]),
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
    fn a_step_alone_of_its_kind_waits_for_the_next_one_unless_it_is_needed() {
        let vector = |offset| vec![Matrix::vector(offset, 1).access()];
        let of = |needed: bool| {
            Steps(vec![
                step(3, vec![], vector(0)),
                step(2, vec![], vector(1)),
                // needs the second, and the first where that is asked for
                step(13, [vector(1), if needed { vector(0) } else { vec![] }].concat(), vector(2)),
                step(3, vector(2), vector(3)),
            ])
        };
        assert_eq!(of(true).gathered_levels(), [0, 0, 1, 2]);
        assert_eq!(of(false).gathered_levels(), [2, 0, 1, 2]);
        let Scheduled { dispatches, operations, .. } = scheduled(&of(false), Tile::Portable);
        assert_eq!(dispatches, [(0, (1, 1)), (1, (1, 1)), (2, (1, 2))]);
        assert_eq!(operations, [[2, 1, 0], [13, 1, 0], [3, 0, 0], [3, 1, 0]]);
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
        large.operation.units = 5;
        steps.0.push(large);
        let Scheduled { dispatches, operations, .. } = scheduled(&steps, Tile::Small);
        assert_eq!(dispatches, [(0, (1, 1)), (4, (5, 1))]);
        assert_eq!(operations, [[3, 0, 4], [3, 1, 0], [2, 0, 0], [13, 1, 0], [13, 1, 0]]);
    }

    /// The steps of an update of `hidden` networks, scheduled for so many agents on a software driver.
    fn update(hidden: &[u32], batch_size: u32, agents: u32) -> (Program, Vec<Operation>) {
        let mut config = crate::Config::default();
        (config.actor_hidden, config.critic_hidden, config.batch_size) = (hidden.to_vec(), hidden.to_vec(), batch_size);
        let grid = Grid::of(Tile::Subgroup, agents);
        let networks = crate::ddpg::Networks::new(&config, &crate::Environment::pendulum_v1());
        let mut table = Vec::new();
        let program = crate::ddpg::Update::new(&config, &networks, &grid).steps.schedule(&mut table, &grid);
        (program, table)
    }

    #[test]
    fn bands_of_rows_run_in_place_through_all_layers() {
        let shapes =
            |program: &Program| -> Vec<_> { program.dispatches.iter().map(|dispatch| (dispatch.operations, dispatch.is_banded)).collect() };
        let critic = [(1, false), (2, true), (3, false)];
        // where there are many agents, each tanh is a dispatch
        let forward = [(7, true), (2, false), (4, true)];
        let actor = [(3, true), (1, false), (2, true), (1, false), (2, true), (3, false)];
        assert_eq!(shapes(&update(&[64, 64], 64, 32).0), [&forward[..], &critic, &actor].concat());
        let (program, table) = update(&[64, 64], 64, 1);
        let (forward, actor) = ([(15, true)], [(3, true), (1, false), (5, true), (3, false)]);
        assert_eq!(shapes(&program), [&forward[..], &critic, &actor].concat());
        for dispatch in program.dispatches.iter().filter(|dispatch| dispatch.is_banded) {
            let operations = &table[dispatch.first as usize..(dispatch.first + dispatch.operations) as usize];
            assert_eq!((operations[0].chain, dispatch.workgroups), (dispatch.operations, (8, 1)));
            assert!(operations.iter().all(|operation| operation.units > 0 && operation.units % 8 == 0), "whole rows of tiles");
            // each reads what one of an earlier level has written, or what lay there before
            let mut level = Vec::new();
            for operation in operations {
                assert!(level.iter().all(|&written| written != operation.input), "a level ends before what it writes is read");
                level.push(operation.output);
                if operation.ends_level != 0 {
                    level.clear();
                }
            }
        }
    }

    #[test]
    fn only_a_team_takes_bands_in_place() {
        for tile in [Tile::Subgroup, Tile::Texture] {
            assert_eq!(Grid::of(tile, 1).bands_in_place(65), 9, "{tile:?}");
        }
        for grid in [Grid::of(Tile::Subgroup, 1).in_one_workgroup(256), Grid::of(Tile::Portable, 1), Grid::of(Tile::Small, 1)] {
            assert_eq!(grid.bands_in_place(65), 0, "{grid:?}");
        }
    }

    #[test]
    fn bands_never_take_more_iterations_than_a_software_driver_counts() {
        for hidden in [256, 1024, 4096] {
            let (program, table) = update(&[hidden, hidden], 64, 1);
            for dispatch in program.dispatches.iter().filter(|dispatch| dispatch.is_banded) {
                let operations = &table[dispatch.first as usize..(dispatch.first + dispatch.operations) as usize];
                let iterations: u32 = operations.iter().map(|operation| operation.units / 8 * (operation.inner + 16)).sum();
                assert!(iterations < 32_768, "{iterations} with {hidden}");
            }
        }
    }
}
