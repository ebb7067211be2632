//! Which operations share a dispatch where a dispatch takes every kind, and which of them a workgroup takes a band of rows
//! through, with nothing but workgroup memory in between (`shaders/bands.wgsl`). Also which can be taken so in place, on software
//! drivers (`layered_in_bands`).

use crate::kernels::{Grid, Kernel};
use crate::operation::{Matrix, NOWHERE, Operation, Step, flag};
use std::ops::Range;

/// Operations that run one after the other: one that may be spread over many workgroups, or a chain that a workgroup takes
/// a band of rows through, level by level.
pub(crate) type Group = Vec<Operation>;

/// What one dispatch does: groups that do not depend on each other.
pub(crate) type Stage = Vec<Group>;

/// Deals `steps` out to the fewest dispatches.
pub(crate) fn stages(steps: &[Step], grid: &Grid) -> Vec<Stage> {
    let rows = steps.iter().filter(|step| step.operation.flags & flag::MINIBATCH_ROWS != 0).map(|step| step.operation.rows).max();
    match rows.filter(|&rows| grid.bands(rows)) {
        None => Dealer { steps, grid, band: 0 }.stages(),
        Some(rows) => {
            let dealt = grid.band_rows(rows).into_iter().map(|band| Dealer { steps, grid, band }.stages());
            dealt.min_by_key(Vec::len).unwrap_or_default()
        }
    }
}

/// Whether teams can take bands of rows through `operations`, the last `added` of them new, one after the other, each team
/// reading what it has written itself: instead of dispatches, which cost a software driver 20 µs each.
pub(crate) fn run_in_place(operations: &[&Operation], added: usize, grid: &Grid) -> bool {
    // such a driver ends all loops of an invocation silently after 65,535 iterations of all of them together
    const MOST_ITERATIONS: u32 = 30_000;
    // of a tile, besides the inner dimension: its rows, and some more
    const ITERATIONS_A_TILE: u32 = 16;
    // so many bands keep all cores busy; fewer are worth it where they are short
    const ENOUGH_BANDS: u32 = 4;
    const SHORT: u32 = 8;
    let rows_of = |operation: &Operation| (operation.rows, operation.flags & flag::MINIBATCH_ROWS);
    let family = Kernel::from_kind(operations[0].kind).family(grid.joins_tanh);
    let alike = |operation: &&Operation| {
        let kernel = Kernel::from_kind(operation.kind);
        kernel.treats_rows_alike() && family.contains(&kernel) && rows_of(operation) == rows_of(operations[0])
    };
    let bands = grid.bands_in_place(operations[0].rows);
    if bands == 0 || !operations.iter().all(alike) {
        return false;
    }
    let tiles = |operation: &&Operation| operation.units / bands;
    let iterations: u32 = operations.iter().map(|operation| tiles(operation) * (operation.inner + ITERATIONS_A_TILE)).sum();
    let new: u32 = operations[operations.len() - added..].iter().map(tiles).sum();
    iterations <= MOST_ITERATIONS && (bands >= ENOUGH_BANDS || new <= SHORT)
}

/// The matrices of an operation that treats every row alike, and alone.
struct Operands {
    reads: Vec<Matrix>,
    writes: Vec<Matrix>,
}

impl Operands {
    fn of(operation: &Operation) -> Option<Self> {
        if operation.flags & flag::MINIBATCH_ROWS == 0 || operation.rows < 2 {
            return None;
        }
        let matrix = |offset, stride, columns| Matrix { offset, stride, rows: operation.rows, columns };
        let input = |columns| matrix(operation.input, operation.input_stride, columns);
        let forward = |columns| matrix(operation.forward, operation.forward_stride, columns);
        let output = |columns| matrix(operation.output, operation.output_stride, columns);
        let rewards = matrix(operation.statistics, 1, 1);
        let (inner, columns) = (operation.inner, operation.columns);
        let (reads, writes) = match Kernel::from_kind(operation.kind) {
            Kernel::ForwardLinear | Kernel::ForwardRectified | Kernel::ForwardTanh => (vec![input(inner)], vec![output(columns)]),
            Kernel::BackwardRectified | Kernel::BackwardTanh => (vec![input(inner), forward(columns)], vec![output(columns)]),
            Kernel::TemporalDifferenceBand => (vec![input(1), forward(1), rewards], vec![output(1)]),
            Kernel::PolicyObjectiveBand => (vec![], vec![output(1)]),
            // the observation alone, or all of a transition
            Kernel::SampleBand if operation.forward == NOWHERE => (vec![], vec![output(columns)]),
            Kernel::SampleBand => {
                let action = matrix(operation.normalised, operation.normalised_stride, operation.weights_stride);
                (vec![], vec![output(columns), forward(columns), action, rewards])
            }
            _ => return None,
        };
        Some(Self { reads, writes })
    }
}

/// Whether nothing but a chain can do it.
fn is_of_bands_only(operation: &Operation) -> bool {
    matches!(Kernel::from_kind(operation.kind), Kernel::TemporalDifferenceBand | Kernel::PolicyObjectiveBand | Kernel::SampleBand)
}

/// The rows of a matrix in workgroup memory.
#[derive(Debug)]
struct Local {
    /// From the first column on that any operation of the chain touches.
    matrix: Matrix,
    /// The levels from which to which it holds something.
    begins: usize,
    ends: usize,
    /// Where the band's first row lies in workgroup memory.
    place: u32,
}

impl Local {
    fn holds(&self, window: Matrix) -> bool {
        self.matrix.is_of_matrix(window)
    }

    /// The columns of a window on it, from its first one.
    fn columns(&self, window: Matrix) -> Range<usize> {
        let first = (window.offset - self.matrix.offset) as usize;
        first..first + window.columns as usize
    }

    fn at(&self, window: Matrix) -> u32 {
        self.place + window.offset - self.matrix.offset
    }

    /// Makes room for a window that is touched in `level`.
    fn extend(&mut self, window: Matrix, level: usize) {
        self.matrix.offset = self.matrix.offset.min(window.offset);
        self.begins = self.begins.min(level);
        self.ends = self.ends.max(level);
    }
}

/// An operation of a chain and its level.
struct Link {
    level: usize,
    operation: Operation,
    operands: Operands,
}

struct Dealer<'a> {
    steps: &'a [Step],
    grid: &'a Grid,
    /// Rows a band; 0: none are made.
    band: u32,
}

impl Dealer<'_> {
    /// Each step goes into the first stage that it can: that of the last step it depends on, if both can be of one chain, or
    /// the one behind.
    fn stages(&self) -> Vec<Stage> {
        let mut members: Vec<(usize, Vec<usize>)> = Vec::new();
        for (index, step) in self.steps.iter().enumerate() {
            let mut stage = 0;
            let mut joined: Vec<usize> = Vec::new();
            for (group, (at, group_members)) in members.iter().enumerate() {
                let before: Vec<usize> = group_members.iter().copied().filter(|&j| step.conflicts(&self.steps[j])).collect();
                if before.is_empty() {
                    continue;
                }
                let joins = before.iter().all(|&j| self.chains(&self.steps[j].operation, &step.operation));
                let earliest = if joins { *at } else { at + 1 };
                if earliest > stage {
                    (stage, joined) = (earliest, Vec::new());
                }
                if joins && earliest == stage {
                    joined.push(group);
                }
            }
            // a group that can be joined counts only where the stage is still its own
            joined.retain(|&group| members[group].0 == stage);
            let mut together: Vec<usize> = joined.iter().flat_map(|&group| members[group].1.clone()).chain([index]).collect();
            together.sort_unstable();
            if !joined.is_empty() && self.chain(&together).is_none() {
                (stage, together) = (stage + 1, vec![index]);
                joined.clear();
            }
            for &group in joined.iter().rev() {
                members.remove(group);
            }
            members.push((stage, together));
        }
        let count = members.iter().map(|(stage, _)| stage + 1).max().unwrap_or(0);
        let mut stages: Vec<Stage> = vec![Vec::new(); count];
        for (stage, together) in members {
            stages[stage].push(self.group(&together));
        }
        for stage in &mut stages {
            // what takes longest begins first
            stage.sort_by_key(|group| (std::cmp::Reverse(group.len()), group[0].kind));
        }
        stages
    }

    fn chains(&self, earlier: &Operation, later: &Operation) -> bool {
        self.band > 0 && earlier.rows == later.rows && Operands::of(earlier).is_some() && Operands::of(later).is_some()
    }

    fn group(&self, members: &[usize]) -> Group {
        let first = self.steps[members[0]].operation;
        if members.len() > 1 || is_of_bands_only(&first) {
            // more were tried before they were joined, and what only chains can do has small matrices
            return self.chain(members).unwrap_or_default();
        }
        vec![first]
    }

    /// The chain of some steps, given in their order, or nothing where workgroup memory cannot hold it.
    fn chain(&self, members: &[usize]) -> Option<Group> {
        let mut levels: Vec<usize> = Vec::new();
        for (i, &member) in members.iter().enumerate() {
            let after = (0..i).filter(|&j| self.steps[member].conflicts(&self.steps[members[j]])).map(|j| levels[j] + 1).max();
            // what is loaded is level 0
            levels.push(after.unwrap_or(1));
        }
        let link = |(level, &member): (usize, &usize)| {
            let operation = self.steps[member].operation;
            Some(Link { level, operation, operands: Operands::of(&operation)? })
        };
        let mut links = levels.into_iter().zip(members).map(link).collect::<Option<Vec<Link>>>()?;
        links.sort_by_key(|link| (link.level, link.operation.kind));
        let mut locals = locals(&links);
        let loads: Vec<Vec<Matrix>> = locals.iter().map(|local| loads(&links, local)).collect();
        for (local, _) in locals.iter_mut().zip(&loads).filter(|(_, loads)| !loads.is_empty()) {
            local.begins = 0;
        }
        self.allot(&mut locals)?;

        let mut group: Vec<(usize, Operation)> = Vec::new();
        for (local, loads) in locals.iter().zip(&loads) {
            group.extend(loads.iter().map(|window| (0, self.load(local, *window))));
        }
        for Link { level, mut operation, operands } in links {
            let place = |window: Option<&Matrix>| {
                let held = window.and_then(|window| locals.iter().find(|local| local.holds(*window)).map(|local| local.at(*window)));
                held.unwrap_or(NOWHERE)
            };
            let (read, written) = (|index: usize| place(operands.reads.get(index)), |index: usize| place(operands.writes.get(index)));
            operation.local_output = written(0);
            match Kernel::from_kind(operation.kind) {
                Kernel::SampleBand => {
                    (operation.local_forward, operation.local_input, operation.weights) = (written(1), written(2), written(3));
                }
                kind => {
                    (operation.local_input, operation.local_forward) = (read(0), read(1));
                    if kind == Kernel::TemporalDifferenceBand {
                        operation.weights = read(2);
                    }
                }
            }
            operation.band = self.band;
            group.push((level, operation));
        }
        let mut levels: Vec<Group> =
            group.chunk_by(|a, b| a.0 == b.0).map(|level| level.iter().map(|(_, operation)| *operation).collect()).collect();
        levels.iter_mut().for_each(|level| self.deal(level));
        let mut group = levels.concat();
        group[0].chain = group.len() as u32;
        Some(group)
    }

    /// Deals the invocations of a workgroup out to the operations of a level.
    fn deal(&self, level: &mut Group) {
        let invocations = self.grid.workgroup_size / (level.len() as u32).next_power_of_two();
        let (mut most_rounds, mut meets) = (1, false);
        for operation in level.iter_mut() {
            (operation.strip, operation.split, operation.units) = (invocations, 1, 0);
            let kind = Kernel::from_kind(operation.kind);
            let transposed = matches!(kind, Kernel::BackwardRectified | Kernel::BackwardTanh);
            if kind.treats_rows_alike() {
                let (split, rounds) = self.grid.deal_band(self.band, operation.columns, operation.inner, transposed, invocations);
                operation.split = split;
                (most_rounds, meets) = (most_rounds.max(rounds), true);
            }
        }
        level[0].flags |= if meets { flag::MEETS } else { 0 };
        level[0].units = most_rounds;
        level[0].level = level.len() as u32;
    }

    /// Gives each matrix the first room that nothing else has while it holds something.
    fn allot(&self, locals: &mut [Local]) -> Option<()> {
        for i in 0..locals.len() {
            let size = |local: &Local| self.band * local.matrix.stride;
            let (allotted, rest) = locals.split_at_mut(i);
            let local = &mut rest[0];
            let beside = |other: &&Local| other.begins <= local.ends && local.begins <= other.ends;
            let mut taken: Vec<(u32, u32)> = allotted.iter().filter(beside).map(|other| (other.place, other.place + size(other))).collect();
            taken.sort_unstable();
            let needed = size(local);
            local.place = 0;
            for (from, to) in taken {
                if local.place + needed <= from {
                    break;
                }
                local.place = local.place.max(to);
            }
            if local.place + needed > self.grid.band_memory {
                return None;
            }
        }
        Some(())
    }

    fn load(&self, local: &Local, window: Matrix) -> Operation {
        Operation {
            kind: Kernel::LoadBand as u32,
            rows: window.rows,
            columns: window.columns,
            input: window.offset,
            input_stride: window.stride,
            output_stride: window.stride,
            local_output: local.at(window),
            band: self.band,
            ..Default::default()
        }
    }
}

/// The matrices that operations of the chain read, not yet allotted.
fn locals(links: &[Link]) -> Vec<Local> {
    let mut locals: Vec<Local> = Vec::new();
    for (level, &window) in links.iter().flat_map(|link| link.operands.reads.iter().map(|window| (link.level, window))) {
        match locals.iter_mut().find(|local| local.holds(window)) {
            Some(local) => local.extend(window, level),
            None => locals.push(Local { matrix: window, begins: level, ends: level, place: 0 }),
        }
    }
    for (level, &window) in links.iter().flat_map(|link| link.operands.writes.iter().map(|window| (link.level, window))) {
        if let Some(local) = locals.iter_mut().find(|local| local.holds(window)) {
            local.extend(window, level);
        }
    }
    locals
}

/// The columns of a matrix that are read without having been written by the chain.
fn loads(links: &[Link], local: &Local) -> Vec<Matrix> {
    let mut written = vec![usize::MAX; local.matrix.stride as usize];
    let mut needed = vec![false; local.matrix.stride as usize];
    for Link { level, operands, .. } in links {
        for window in operands.writes.iter().filter(|window| local.holds(**window)) {
            local.columns(*window).for_each(|column| written[column] = written[column].min(*level));
        }
        for window in operands.reads.iter().filter(|window| local.holds(**window)) {
            local.columns(*window).for_each(|column| needed[column] |= written[column] >= *level);
        }
    }
    let mut windows: Vec<Matrix> = Vec::new();
    for column in (0..needed.len()).filter(|&column| needed[column]) {
        let offset = local.matrix.offset + column as u32;
        match windows.last_mut() {
            Some(last) if last.offset + last.columns == offset => last.columns += 1,
            _ => windows.push(Matrix { offset, columns: 1, ..local.matrix }),
        }
    }
    windows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ddpg::{Networks, Update};
    use crate::{Config, Environment, Tile};
    use std::collections::HashMap;

    fn grid(agents: u32, bytes: u32) -> Grid {
        Grid::of(Tile::Small, agents).with_bands(bytes)
    }

    fn config(hidden: &[u32], batch_size: u32, action_layer: u32) -> Config {
        let mut config = Config::default();
        (config.actor_hidden, config.critic_hidden) = (hidden.to_vec(), hidden.to_vec());
        (config.batch_size, config.action_layer) = (batch_size, action_layer);
        config
    }

    fn update(config: &Config, grid: &Grid) -> Vec<Stage> {
        let environment = Environment::pendulum_v1();
        stages(&Update::new(config, &Networks::new(config, &environment), grid).steps.0, grid)
    }

    #[test]
    fn an_update_of_small_networks_is_four_dispatches_within_default_limits() {
        assert_eq!(update(&config(&[64, 64], 64, 2), &grid(1, 16 << 10)).len(), 4);
        let without = update(&config(&[64, 64], 64, 2), &Grid::of(Tile::Small, 1));
        assert!(without.len() > 12 && without.iter().flatten().all(|group| group.len() == 1 && group[0].band == 0));
    }

    #[test]
    fn memory_that_is_short_cuts_chains_and_many_agents_have_none() {
        let wide = config(&[400, 300], 64, 2);
        let [short, long] = [16, 48].map(|kibibytes| update(&wide, &grid(1, kibibytes << 10)).len());
        assert!(short > long && long == 4, "{short} dispatches with 16 KiB, {long} with 48");
        assert!(grid(32, 48 << 10).bands(64) && !grid(33, 48 << 10).bands(64) && !grid(1, 48 << 10).bands(1));
    }

    #[test]
    fn a_band_grows_with_the_agents_as_far_as_memory_allows() {
        let rows = |agents, bytes| {
            let stages = update(&config(&[64, 64], 64, 2), &grid(agents, bytes));
            stages.iter().flatten().map(|group| group[0].band).max()
        };
        assert_eq!([rows(1, 48 << 10), rows(16, 48 << 10), rows(32, 48 << 10)], [Some(4), Some(8), Some(16)]);
        assert_eq!(rows(32, 16 << 10), Some(4), "larger ones would take more dispatches");
    }

    /// Where an operation finds its windows, and where it leaves them, in workgroup memory.
    fn places(operation: &Operation) -> [Vec<(Matrix, u32)>; 2] {
        let kind = Kernel::from_kind(operation.kind);
        if kind == Kernel::LoadBand {
            let Operation { input: offset, input_stride: stride, rows, columns, .. } = *operation;
            let window = Matrix { offset, stride, rows, columns };
            return [vec![], vec![(window, operation.local_output)]];
        }
        let Operands { reads, writes } = Operands::of(operation).expect("it is of a chain");
        let (read, written) = match kind {
            Kernel::SampleBand => (vec![], vec![operation.local_output, operation.local_forward, operation.local_input, operation.weights]),
            _ => (vec![operation.local_input, operation.local_forward, operation.weights], vec![operation.local_output]),
        };
        [reads.into_iter().zip(read).collect(), writes.into_iter().zip(written).collect()]
    }

    /// Runs a chain on the addresses of numbers in place of the numbers.
    fn finds_what_it_reads(chain: &Group, memory: u32, what: &str) {
        let mut held: HashMap<u32, (u32, u32)> = HashMap::new();
        let mut level = 0;
        while level < chain.len() {
            let operations = &chain[level..level + chain[level].level as usize];
            let mut touched: HashMap<u32, usize> = HashMap::new();
            let cells = |window: &Matrix, place: u32| {
                let (window, stride) = (*window, window.stride);
                (0..chain[0].band)
                    .flat_map(move |row| (0..window.columns).map(move |c| (place + row * stride + c, (window.offset + c, row))))
            };
            for (index, operation) in operations.iter().enumerate() {
                for (cell, number) in places(operation)[0].iter().flat_map(|(window, place)| cells(window, *place)) {
                    assert_eq!(held.get(&cell), Some(&number), "{what}: operation {index} of the level at {level}, cell {cell}");
                    touched.insert(cell, index);
                }
            }
            for (index, operation) in operations.iter().enumerate() {
                let [_, written] = places(operation);
                let written = written.into_iter().filter(|(_, place)| *place != NOWHERE);
                for (cell, number) in written.flat_map(|(window, place)| cells(&window, place).collect::<Vec<_>>()) {
                    assert!(cell < memory, "{what}: cell {cell} of {memory}");
                    assert!(touched.insert(cell, index).is_none(), "{what}: cell {cell} is touched twice in the level at {level}");
                    held.insert(cell, number);
                }
            }
            assert!(operations[0].units > 0 && operations.len() as u32 * operations[0].strip <= 256, "{what}");
            level += operations.len();
        }
        assert_eq!(level as u32, chain[0].chain, "{what}");
    }

    #[test]
    fn chains_find_in_workgroup_memory_what_they_read() {
        let mut chains = 0;
        for (hidden, batch_size, action_layer) in [
            (&[64, 64][..], 64, 2),
            (&[64, 64], 64, 1),
            (&[37, 20, 7], 21, 2),
            (&[37, 20, 7], 21, 4),
            (&[9], 2, 2),
            (&[400, 300], 64, 1),
            (&[256, 256], 256, 3),
        ] {
            for (agents, kibibytes) in [(1, 16), (1, 24), (1, 48), (32, 48)] {
                let grid = grid(agents, kibibytes << 10);
                for group in update(&config(hidden, batch_size, action_layer), &grid).iter().flatten().filter(|group| group[0].band > 0) {
                    finds_what_it_reads(group, grid.band_memory, &format!("{hidden:?}, action at {action_layer}, {kibibytes} KiB"));
                    chains += 1;
                }
            }
        }
        assert!(chains > 60, "{chains} chains");
    }

    /// The products of a level cover their outputs once, each with all of its inner dimension.
    #[test]
    fn rounds_and_splits_cover_every_column() {
        let grid = grid(1, 48 << 10);
        for (columns, inner, transposed) in
            [(16, 16, false), (16, 16, true), (1, 16, false), (75, 101, true), (64, 64, false), (2, 1, true), (300, 3, false)]
        {
            for invocations in [32, 64, 128, 256] {
                let (split, rounds) = grid.deal_band(8, columns, inner, transposed, invocations);
                let slots = 2 * 4 * columns;
                assert!(
                    split.is_power_of_two() && split <= inner && 4 * split <= invocations && slots * split <= rounds * invocations,
                    "{columns} by {inner}"
                );
                assert!(transposed || split == 1 || rounds == 1, "only what fits into one round is split: {columns} by {inner}");
            }
        }
    }
}
