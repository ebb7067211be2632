//! `ddpg bench`: how fast this machine simulates, learns and gets somewhere; a table and a JSON file.

mod ceilings;
mod growth;
mod kernels;
mod learning;
mod machine;
mod report;
mod sample;
mod simulation;
mod updates;

use crate::execution::Execution;
use crate::failure::Usage;
use crate::numbers::{whole, whole_in};
use crate::output::say;
use crate::progress::Progress;
use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use ddpg_wgpu::{Error, Gpu, Options, wgpu};
use machine::Machine;
use report::Report;
use sample::{Pace, Row};
use std::path::PathBuf;

const EXAMPLES: &str = "Each figure is the median of the repetitions, with the lowest and the highest beside it. Nothing is read back within a\n\
    repetition, and no submission is planned to take more than 50 ms.\n\n\
    Examples:\n  \
    ddpg bench                                     everything but --growth\n  \
    ddpg bench --quick                             the same in short\n  \
    ddpg bench --only simulation,64-64 --json -    two workloads, JSON on standard output\n  \
    ddpg bench --only kernels                      where the time of an update goes, beside what the adapter can do\n  \
    ddpg bench --only growth                       updates/s against width, batch, agents and environments";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Run these workloads only
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    only: Vec<Workload>,
    /// Repetitions of each workload after a warm-up [default: 5, or 3 with --quick]
    #[arg(long, value_name = "N", value_parser = whole_in::<u32>(1..=1000))]
    repetitions: Option<u32>,
    /// Shorter repetitions, and without the largest workloads: to see whether all works
    #[arg(long)]
    quick: bool,
    /// Add the table of updates/s against width, batch, agents and environments
    #[arg(long)]
    growth: bool,
    /// JSON file to write; - writes it to standard output instead of the tables
    #[arg(long, value_name = "FILE", default_value = "runs/bench.json")]
    json: PathBuf,
    #[command(flatten)]
    execution: Execution,
    /// Train from this seed until the mean return is reached, and tell: what the workload `return` starts as a process
    #[arg(long, value_name = "SEED", value_parser = whole::<u64>, hide = true)]
    until_return: Option<u64>,
}

/// What there is to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Workload {
    /// Pendulum alone, nobody learning
    Simulation,
    /// Updates of the 400-300 networks of Lillicrap et al. 2016: batch norm, batch 64
    #[value(name = "400-300")]
    Paper,
    /// Updates of 256-256 networks, batch 256
    #[value(name = "256-256")]
    Wide,
    /// Updates of 64-64 networks, batch 64
    #[value(name = "64-64")]
    Small,
    /// 32 and 1,024 agents of 64-64
    Populations,
    /// One environment, one update a step, 64-64, batch 64
    EndToEnd,
    /// From the start of the process to a mean return of −200 on Pendulum, preset modern
    Return,
    /// The time of each kernel, and what the adapter can do
    Kernels,
    /// Updates/s against width, batch, agents and environments
    Growth,
}

/// What the workloads share.
pub struct Bench {
    gpu: Gpu,
    pace: Pace,
    quick: bool,
    progress: Progress,
    options: Options,
}

impl Bench {
    /// Whether the CPU plays the GPU: workloads are then sized for it.
    fn is_software(&self) -> bool {
        self.gpu.info.device_type == wgpu::DeviceType::Cpu
    }
}

pub fn run(arguments: &Arguments) -> Result<()> {
    if let Some(seed) = arguments.until_return {
        return learning::until_return(seed, &arguments.execution);
    }
    let to_stdout = arguments.json.as_os_str() == "-";
    if !to_stdout {
        // before minutes of measuring, not after
        report::prepare(&arguments.json)?;
    }
    let workloads = chosen(arguments);
    let gpu = arguments.execution.open()?;
    let repetitions = arguments.repetitions.unwrap_or(if arguments.quick { 3 } else { 5 });
    let pace = Pace::new(repetitions, arguments.quick);
    let mut report = Report::new(Machine::of(&gpu), pace);
    let progress = Progress::of("workloads", to_stdout, workloads.len() as u64, 0);
    let bench = Bench { gpu, pace, quick: arguments.quick, progress, options: arguments.execution.options() };
    if !to_stdout {
        say!("{}", report.machine);
    }
    for (done, workload) in workloads.iter().enumerate() {
        let name = workload.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
        bench.progress.show(done as u64, || name.clone());
        run_workload(&bench, *workload, arguments, &mut report).with_context(|| format!("workload {name}"))?;
        if !to_stdout {
            report.write(&arguments.json)?;
        }
    }
    bench.progress.finish();
    if to_stdout {
        say!("{:#}", report.json());
    } else {
        report.print();
        say!("{} repetitions after a warm-up; written to {}", repetitions, arguments.json.display());
    }
    Ok(())
}

fn chosen(arguments: &Arguments) -> Vec<Workload> {
    let named = |workload: &Workload| match arguments.only.is_empty() {
        true => *workload != Workload::Growth,
        false => arguments.only.contains(workload),
    };
    Workload::value_variants().iter().filter(|w| named(w) || (**w == Workload::Growth && arguments.growth)).copied().collect()
}

fn run_workload(bench: &Bench, workload: Workload, arguments: &Arguments, report: &mut Report) -> Result<()> {
    let note = |row: Result<Row>, title: &str| match row {
        // a device that is too small is no failure of the others
        Err(error) if matches!(error.downcast_ref::<Error>(), Some(Error::Limit { .. })) => Ok(Row::skipped(title, &error.to_string())),
        row => row,
    };
    match workload {
        Workload::Simulation => {
            for case in simulation::cases(bench) {
                report.add(note(case.run(bench), &case.title())?);
            }
        }
        Workload::Paper | Workload::Wide | Workload::Small | Workload::Populations => {
            for case in updates::cases(workload) {
                report.add(note(case.run(bench), &case.title())?);
            }
        }
        Workload::EndToEnd => report.add(updates::end_to_end(bench)?),
        Workload::Return => report.add(learning::run(bench, &arguments.execution)?),
        Workload::Kernels => {
            report.ceilings = ceilings::measure(bench)?;
            report.kernels = kernels::measure(bench)?;
        }
        Workload::Growth => report.growth = growth::measure(bench)?,
    }
    Ok(())
}

/// A refusal that names the option.
fn usage(message: String) -> anyhow::Error {
    Usage(message).into()
}
