//! Pipelines of one dispatch each: its operations, and the population's sizes, are constants of their modules instead of entries
//! of a table. A driver's compiler then knows every size, stride and place: it divides by shifts, unrolls what is short, and
//! leaves out what the operation does not have (`benches/RESULTS.md`).

use crate::error::Result;
use crate::fault::guarded;
use crate::kernels::{Kernel, Kinds};
use crate::memory::Sizes;
use crate::operation::{Operation, flag};
use crate::pipelines::Pipelines;
use crate::program::Dispatch;
use crate::shader;
#[cfg(not(target_family = "wasm"))]
use std::num::NonZero;
#[cfg(not(target_family = "wasm"))]
use std::sync::atomic::{AtomicUsize, Ordering};

/// The entry point of each such module.
pub(crate) const ENTRY_POINT: &str = "specialised";

/// The pipelines of some dispatches of a population of `sizes`, compiled on all processors where there are threads, which end with it.
///
/// # Errors
/// [`Error::Gpu`](crate::Error::Gpu) with what the device reports.
pub(crate) fn compile_all(
    pipelines: &Pipelines,
    dispatches: &[&mut Dispatch],
    table: &[Operation],
    sizes: &Sizes,
) -> Result<Vec<wgpu::ComputePipeline>> {
    let compile = |dispatch: &Dispatch| guarded(pipelines.device(), || Ok(pipeline(pipelines, dispatch, table, sizes)));
    #[cfg(target_family = "wasm")]
    return dispatches.iter().map(|dispatch| compile(dispatch)).collect();
    #[cfg(not(target_family = "wasm"))]
    on_all_processors(dispatches, |dispatch| compile(dispatch)).into_iter().collect()
}

/// What `work` makes of each item, in their order.
#[cfg(not(target_family = "wasm"))]
fn on_all_processors<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let run = || {
        let mut done = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(index) else { return done };
            done.push((index, work(item)));
        }
    };
    let mut done = std::thread::scope(|scope| {
        let processors = std::thread::available_parallelism().map_or(1, NonZero::get).min(items.len());
        // this thread works too, and does it all where no other can be had
        let helpers: Vec<_> = (1..processors).filter_map(|_| std::thread::Builder::new().spawn_scoped(scope, run).ok()).collect();
        let own = run();
        let others = helpers.into_iter().flat_map(|helper| helper.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        own.into_iter().chain(others).collect::<Vec<_>>()
    });
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, result)| result).collect()
}

/// The pipeline of a dispatch whose operations lie in `table`, where a dispatch takes every kind.
fn pipeline(pipelines: &Pipelines, dispatch: &Dispatch, table: &[Operation], sizes: &Sizes) -> wgpu::ComputePipeline {
    let (source, kinds) = module(pipelines.source(), pipelines.workgroup_size, dispatch, table, sizes);
    pipelines.compile_specialised(ENTRY_POINT, kinds, source)
}

/// The module of a dispatch, out of the `source` of all kernels, and its kinds.
pub(crate) fn module(source: &str, workgroup_size: u32, dispatch: &Dispatch, table: &[Operation], sizes: &Sizes) -> (String, Kinds) {
    let operations = &table[dispatch.first as usize..(dispatch.first + dispatch.operations) as usize];
    let kinds: Kinds = operations.iter().map(|operation| Kernel::from_kind(operation.kind)).collect();
    let writer = Writer { operations, first: dispatch.first, workgroup_size };
    // what looks operations up stays, but executes none
    let mut text = with_sizes(&shader::of_kinds(source, Kinds::default()), sizes);
    text.extend(kinds.iter().map(|kernel| shader::copies_of_kind(source, kernel)));
    text.extend(operations.iter().enumerate().map(|(index, operation)| constant(index, operation)));
    text += &format!(
        "@compute @workgroup_size(WORKGROUP_SIZE)\n\
         fn {ENTRY_POINT}(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) lane: u32) {{\n\
         let agent = {};\n{}}}\n",
        if sizes.agents == 1 { "0u" } else { "workgroup.z" },
        writer.dispatch(dispatch.workgroups.1 as usize)
    );
    (text, kinds)
}

/// The declaration of a population's sizes in `shaders/shared/bindings.wgsl`.
const SIZES: &str = "@group(0) @binding(0) var<uniform> sizes: Sizes;";

/// `source` with the sizes as a constant.
fn with_sizes(source: &str, sizes: &Sizes) -> String {
    let words: &[u32] = bytemuck::cast_slice(std::slice::from_ref(sizes));
    // the last two are floats
    let whole = words[..words.len() - 2].iter().map(|word| format!("{word}u"));
    let fractions = [sizes.normalisation_epsilon, sizes.normalisation_decay].map(|number| format!("{number:?}f"));
    let values: Vec<String> = whole.chain(fractions).collect();
    // the environment's text comes first and may say anything
    let Some((before, behind)) = source.rsplit_once(SIZES) else { return source.to_owned() };
    format!("{before}const sizes = Sizes({});{behind}", values.join(", "))
}

/// An operation as a constant; its fields are all of them words.
fn constant(index: usize, operation: &Operation) -> String {
    let words: &[u32] = bytemuck::cast_slice(std::slice::from_ref(operation));
    let words: Vec<String> = words.iter().map(|word| format!("{word}u")).collect();
    format!("const OPERATION_{index} = Operation({});\n", words.join(", "))
}

/// Writes what `shaders/program.wgsl` and `shaders/bands.wgsl` do in loops over the table, operation by operation.
struct Writer<'a> {
    /// Of the dispatch.
    operations: &'a [Operation],
    /// Where they begin in the table, from which an operation counts `rest`.
    first: u32,
    workgroup_size: u32,
}

impl Writer<'_> {
    /// As `layered_or_chained` and `layered_or_banded`; `heads` operations lie side by side.
    fn dispatch(&self, heads: usize) -> String {
        let first = &self.operations[0];
        if first.band == 0 && first.chain != 0 {
            return self.chained();
        }
        let cases = (0..heads).map(|head| {
            let selector = if head + 1 == heads { "default".to_owned() } else { format!("case {head}u") };
            let operation = &self.operations[head];
            let body = if operation.band > 0 {
                self.banded(head)
            } else {
                format!("if workgroup.x < {}u {{ {} }}\n", operation.units, self.execute(head, "workgroup.x"))
            };
            format!("{selector}: {{\n{body}}}\n")
        });
        format!("switch workgroup.y {{\n{}}}\n", cases.collect::<String>())
    }

    fn execute(&self, index: usize, unit: &str) -> String {
        format!("{}(OPERATION_{index}, agent, {unit}, lane);", shader::name_of_copy("execute", self.kind(index)))
    }

    fn kind(&self, index: usize) -> Kernel {
        Kernel::from_kind(self.operations[index].kind)
    }

    /// Small levels one after the other, by one workgroup.
    fn chained(&self) -> String {
        let each = (0..self.operations.len()).map(|index| {
            let Operation { units, ends_level, .. } = self.operations[index];
            let barrier = if ends_level != 0 { "memory_barrier();\n" } else { "" };
            format!("for (var unit = 0u; unit < {units}u; unit++) {{ {} }}\n{barrier}", self.execute(index, "unit"))
        });
        each.collect()
    }

    /// A band of rows through a chain of levels.
    fn banded(&self, head: usize) -> String {
        let Operation { band, rows, rest, chain, .. } = self.operations[head];
        let rest = (rest - self.first) as usize;
        let mut indices: Vec<usize> = std::iter::once(head).chain(rest..rest + chain as usize - 1).collect();
        let mut text = format!(
            "let first_row = workgroup.x * {band}u;\nif first_row >= {rows}u {{ return; }}\n\
             let band = Band(agent, first_row, min(agent_states[agent].replay_length, {rows}u), hyper_parameters_of(agent).gamma);\nvar begun: Begun;\n"
        );
        while let Some(&first) = indices.first() {
            let level: Vec<usize> = indices.drain(..self.operations[first].level as usize).collect();
            text += &self.level(&level);
        }
        text
    }

    /// Operations side by side, a share of the workgroup each.
    fn level(&self, level: &[usize]) -> String {
        let first = self.operations[level[0]];
        let call = |function: &str, index: usize, arguments: String| {
            format!("{}(OPERATION_{index}, band, {arguments});", shader::name_of_copy(function, self.kind(index)))
        };
        let begin = self.each(level, |index, base| call("begin_band", index, format!("round, lane - {base}u, &begun")));
        let finish = self.each(level, |index, base| call("finish_band", index, format!("begun, {base}u")));
        let meet = if first.flags & flag::MEETS != 0 { "sh_reduce[lane] = begun.sums;\nworkgroupBarrier();\n" } else { "" };
        format!("for (var round = 0u; round < {}u; round++) {{\n{begin}{meet}{finish}workgroupBarrier();\n}}\n", first.units)
    }

    /// A statement for each operation of a level, by the invocations that are its own from `base` on.
    fn each(&self, level: &[usize], statement: impl Fn(usize, u32) -> String) -> String {
        let strip = self.operations[level[0]].strip;
        let branches: Vec<String> = level
            .iter()
            .zip((0..).step_by(strip as usize))
            .map(|(&index, base)| {
                let takes_the_rest = base + strip >= self.workgroup_size;
                let condition = if takes_the_rest { String::new() } else { format!("if lane < {}u ", base + strip) };
                format!("{condition}{{ {} }}", statement(index, base))
            })
            .collect();
        branches.join(" else ") + "\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ddpg::{Networks, Update};
    use crate::kernels::{Grid, Tile};
    use crate::program::Steps;
    use crate::{Config, Environment};

    /// The text of the first dispatch of an update of 64-64.
    fn bands() -> (String, Vec<Operation>) {
        let grid = Grid::of(Tile::Small, 1).with_bands(48 << 10);
        let (config, environment) = (Config::default(), Environment::pendulum_v1());
        let Steps(steps) = Update::new(&config, &Networks::new(&config, &environment), &grid).steps;
        let mut table = vec![Operation::default(); 3];
        let program = Steps(steps).schedule(&mut table, &grid);
        let source = shader::assemble(&environment, Tile::Small).unwrap_or_else(|error| panic!("{error}")).source;
        let sizes = Sizes { agents: 1, replay_stride: 4711, normalisation_epsilon: 1e-5, normalisation_decay: 0.99, ..Sizes::default() };
        (module(&source, grid.workgroup_size, &program.dispatches[0], &table, &sizes).0, table)
    }

    #[test]
    fn the_sizes_are_a_constant_and_a_single_agent_is_the_first() {
        let (text, _) = bands();
        assert!(!text.contains("var<uniform> sizes"), "there is a uniform left");
        let constant = text.split_once("const sizes = Sizes(").and_then(|(_, behind)| behind.split_once(");")).expect("a constant").0;
        assert!(constant.starts_with("1u, 0u,") && constant.contains(" 4711u,") && constant.ends_with(" 1e-5f, 0.99f"), "{constant}");
        assert!(text.contains("let agent = 0u;"));
    }

    #[test]
    fn every_operation_of_a_dispatch_is_a_constant_and_called_once() {
        let (text, table) = bands();
        let constants = text.matches("const OPERATION_").count();
        assert!(constants > 10 && constants < table.len(), "{constants}");
        for index in 0..constants {
            let calls = text.matches(&format!("(OPERATION_{index},")).count();
            assert!(calls == 2, "operation {index} of a band begins and is finished: {calls} calls");
        }
    }

    #[test]
    fn the_levels_of_a_chain_end_with_barriers() {
        let operations = [0, 1, 1].map(|ends_level| Operation { units: 2, ends_level, ..Operation::default() });
        let text = Writer { operations: &operations, first: 0, workgroup_size: 256 }.chained();
        let waits = |index: usize| {
            let behind = text.split_once(&format!("(OPERATION_{index},")).expect("it is executed").1;
            behind.split("for (").next().is_some_and(|behind| behind.contains("}\nmemory_barrier();"))
        };
        assert_eq!([0, 1, 2].map(waits), [false, true, true], "{text}");
    }

    #[test]
    fn all_work_is_done_once_and_in_order() {
        for count in [0, 1, 2, 100] {
            let items: Vec<usize> = (0..count).collect();
            assert_eq!(on_all_processors(&items, |item| 2 * item), items.iter().map(|item| 2 * item).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_level_is_dealt_out_to_the_invocations_it_has() {
        let operation = Operation { strip: 64, ..Operation::default() };
        let writer = Writer { operations: &[operation; 4], first: 0, workgroup_size: 256 };
        let dealt = |level: &[usize]| writer.each(level, |index, base| format!("{index} from {base}"));
        assert_eq!(dealt(&[0, 1, 2]), "if lane < 64u { 0 from 0 } else if lane < 128u { 1 from 64 } else if lane < 192u { 2 from 128 }\n");
        assert!(dealt(&[0, 1, 2, 3]).ends_with("else { 3 from 192 }\n"));
        let whole = Writer { operations: &[Operation { strip: 256, ..operation }], ..writer };
        assert_eq!(whole.each(&[0], |index, base| format!("{index} from {base}")), "{ 0 from 0 }\n");
    }
}
