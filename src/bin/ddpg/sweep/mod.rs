//! `ddpg sweep`: many settings, several seeds each, in one population.

mod ranking;
mod space;

use crate::execution::Execution;
use crate::failure::{Interrupted, Usage};
use crate::layers::{Layer, agree_on_preset};
use crate::numbers::whole_in;
use crate::output::{in_a_command, note, say};
use crate::progress::Progress;
use crate::resolve::Run;
use crate::run_directory::{BEST, CONFIG, RunDirectory, SWEEP_SUMMARY as SUMMARY};
use crate::settings::Settings;
use crate::train::default_directory;
use crate::tuning::Tuning;
use anyhow::{Context, Result};
use clap::Args;
use ddpg_wgpu::{Environment, Gpu, HyperParameters, Population, Trainer};
use ranking::Ranked;
use serde_json::json;
use space::{Point, Space};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

const EXAMPLES: &str = "Every point of the grid (and every random draw) trains with each of the seeds, all agents in the same dispatches.\n\
    Whatever does not vary is set as for `ddpg train`. Any setting that agents have of their own can vary: learning rates,\n\
    weight decays, Adam's numbers, gamma, tau, hard_update_every, exploration and its noise_…, relative_noise.\n\n\
    Examples:\n  \
    ddpg sweep --grid actor_learning_rate=1e-4,1e-3 --grid tau=5e-3,2e-2 --seeds 5\n  \
    ddpg sweep --random actor_learning_rate=1e-4..1e-2 --random gamma=0.9..0.999:linear --samples 50\n  \
    ddpg train --config runs/NAME/best.toml          train anew with the settings that came first";

/// Rows that a terminal shows; the files have all.
const SHOWN: usize = 30;

/// Episodes of the evaluation at the end, where nothing else is said: there are many agents.
const EPISODES: u32 = 100;

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Values of one parameter; several grids are multiplied
    #[arg(long, value_name = "NAME=VALUE,…", help_heading = "Sweep")]
    grid: Vec<String>,
    /// Range that one parameter is drawn from: uniform in its logarithm where both bounds are positive, unless :linear
    /// follows
    #[arg(long, value_name = "NAME=LOW..HIGH", help_heading = "Sweep")]
    random: Vec<String>,
    /// Points to draw from the random ranges
    #[arg(long, value_name = "N", value_parser = whole_in::<u32>(1..=u32::MAX.into()), help_heading = "Sweep")]
    samples: Option<u32>,
    /// Seeds of each point: --seed, --seed + 1, …
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = whole_in::<u32>(1..=u32::MAX.into()), help_heading = "Sweep")]
    seeds: u32,
    /// TOML file of settings; unknown names are errors
    #[arg(long, value_name = "FILE.toml")]
    config: Option<PathBuf>,
    /// Run directory [default: runs/{env}__sweep__{seed}__{unix time}]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Replace the files of an earlier run in --out
    #[arg(long)]
    overwrite: bool,
    #[command(flatten)]
    execution: Execution,
    #[command(flatten)]
    tuning: Tuning,
    /// Print only the final table and its summary
    #[arg(long, short)]
    quiet: bool,
    #[command(flatten)]
    settings: Settings,
}

/// A sweep with nothing left open.
struct Sweep {
    names: Vec<&'static str>,
    points: Vec<Point>,
    /// The run of each point, its agents not yet counted.
    runs: Vec<Run>,
    /// What all share: as many agents as points and seeds make.
    shared: Run,
    seeds: u32,
}

/// Settings of `ddpg train` that say nothing here. Agents are points times seeds; the rest is for runs that are watched.
pub const UNUSED: [&str; 12] = [
    "agents",
    "max_episodes",
    "eval_every",
    "eval_episodes",
    "log_every",
    "save_replay",
    "print_episodes",
    "tensorboard",
    "summary_dir",
    "use_gym_monitor",
    "monitor_dir",
    "render_env",
];

/// The first of them that was given.
fn unused(flags: &Settings) -> Option<&'static str> {
    let given = toml::Table::try_from(flags).unwrap_or_default();
    UNUSED.into_iter().find(|name| given.contains_key(*name))
}

impl Sweep {
    fn resolve(arguments: &Arguments) -> Result<Self> {
        let file = Layer::read(arguments.config.as_deref())?;
        agree_on_preset(&[&file, &Layer::flags(arguments.settings.clone())])?;
        let (file, mut flags) = (file.settings, arguments.settings.clone());
        if let Some(flag) = unused(&flags) {
            let instead = if flag == "agents" { ": it trains --seeds agents for each point" } else { "" };
            return Err(Usage(format!("a sweep has no use for --{}{instead}", flag.replace('_', "-"))).into());
        }
        flags.final_episodes = flags.final_episodes.or(file.final_episodes).or(Some(EPISODES));
        let space = Space::parse(&arguments.grid, &arguments.random, arguments.samples)?;
        let (points, seeds) = (space.len(), arguments.seeds);
        let agents = points.saturating_mul(seeds.into());
        // the most workgroups that a dispatch can have along one axis
        if agents > 65_535 {
            return Err(Usage(format!("{points} points of {seeds} seeds are {agents} agents; one population has 65535 at most")).into());
        }
        // the file's own number of agents is that of another run
        flags.agents = Some(1);
        let mut shared = Run::resolve(file.clone(), flags.clone())?;
        let points = space.points(shared.config.seed);
        let runs = points.iter().map(|point| space::run_at(point, &file, &flags)).collect::<Result<_>>()?;
        shared.config.agents = agents as u32;
        Ok(Self { names: space.names(), points, runs, shared, seeds })
    }

    /// Agents in the order of the points, seeds within them.
    fn hyper_parameters(&self) -> Vec<HyperParameters> {
        self.runs.iter().flat_map(|run| (0..self.seeds).map(|seed| HyperParameters::of_agent(&run.config, seed))).collect()
    }
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let sweep = Sweep::resolve(arguments)?;
    let environment = Environment::by_name(&sweep.shared.env)?;
    let directory = match &arguments.out {
        Some(out) => RunDirectory::claim(out, arguments.overwrite)?,
        None => RunDirectory::claim_new(&default_directory(&sweep.shared, "sweep"))?,
    };
    let build = || -> Result<_> {
        let gpu = arguments.execution.open()?;
        let (config, hyper_parameters) = (&sweep.shared.config, sweep.hyper_parameters());
        let options = arguments.tuning.options(&arguments.execution, &gpu, &environment, config, arguments.quiet)?;
        let population = Population::with_options(&gpu.device, &gpu.queue, &environment, config, hyper_parameters, options)?;
        let trainer = Trainer::from_population(population);
        gpu.check()?;
        Ok((gpu, trainer))
    };
    let (gpu, trainer) = build().inspect_err(|_| directory.give_up())?;
    if !arguments.quiet {
        let (points, seeds, agents) = (sweep.points.len(), sweep.seeds, sweep.shared.config.agents);
        say!("{}, {points} points of {} with {seeds} seeds each: {agents} agents", sweep.shared.env, sweep.names.join(", "));
        say!("adapter: {}\nrun directory: {}", gpu.description(), directory.path().display());
    }
    directory.clear()?;
    directory.write(CONFIG, &as_toml(&sweep.shared)?)?;
    train(&sweep, arguments, &gpu, trainer, &Arc::new(directory))
}

fn train(sweep: &Sweep, arguments: &Arguments, gpu: &Gpu, mut trainer: Trainer, directory: &Arc<RunDirectory>) -> Result<()> {
    let (run, started) = (&sweep.shared, Instant::now());
    let progress = Progress::new(arguments.quiet, run.config.steps, 0);
    let interrupt = crate::interrupt::listen("stopping: evaluating the agents as they are");
    while trainer.population().iterations() < run.iterations() && !interrupt.is_asked() {
        let left = run.iterations() - trainer.population().iterations();
        let advanced = trainer.advance_slice_blocking(left);
        gpu.check()?;
        advanced?;
        let population = trainer.population();
        progress.show(population.environment_steps().min(run.config.steps), || {
            let updates = population.updates() as f64 * f64::from(run.config.agents) / started.elapsed().as_secs_f64();
            format!("{updates:.0} updates/s of {} agents", run.config.agents)
        });
    }
    let trained = started.elapsed().as_secs_f64();
    progress.message("evaluating");
    progress.tell(&format!("trained for {trained:.1} s; evaluating each agent over {} episodes", run.final_episodes));
    let halted: Vec<_> = trainer.measure_blocking()?.into_iter().map(|measured| measured.halted).collect();
    // asked for after the last step, it stops the evaluation instead
    let interrupted = trainer.population().iterations() < run.iterations();
    let summary = |interrupted: bool, ranked: &[Ranked]| {
        let population = trainer.population();
        json!({
            "environment": run.env,
            "preset": run.preset.name(),
            "adapter": gpu.description(),
            "version": env!("CARGO_PKG_VERSION"),
            "interrupted": interrupted,
            "environment_steps": population.environment_steps(),
            "updates": population.updates(),
            "agents": run.config.agents,
            "seeds": sweep.seeds,
            "training_seconds": trained,
            "evaluation_seed": run.eval_seed,
            "evaluation_episodes": run.final_episodes,
            "points": ranked.iter().enumerate().map(|(index, ranked)| ranked.json(index + 1)).collect::<Vec<_>>(),
        })
    };
    let evaluate = || trainer.evaluate_blocking(run.final_episodes, run.eval_seed);
    let evaluations = if interrupted {
        evaluate()
    } else {
        let (directory, progress, summary) = (directory.clone(), progress.clone(), summary(true, &[]));
        let last_words = move || {
            progress.finish();
            if let Err(error) = directory.write(SUMMARY, &format!("{summary:#}\n")) {
                note(format_args!("error: {error:#}"));
            }
            note(format_args!("interrupted after the training, during the evaluation: there is no ranking"));
            directory.release();
        };
        interrupt.during(last_words, evaluate)
    };
    gpu.check()?;
    let agents = evaluations?.into_iter().zip(halted).collect();
    progress.finish();

    let ranked = ranking::rank(sweep.points.clone(), agents, sweep.seeds as usize);
    let step = trainer.population().environment_steps();
    let shown = ranking::show(&ranked, &sweep.names, SHOWN);
    if interrupted {
        say!("interrupted at step {step} of {}", run.config.steps);
    }
    say!("{shown}");
    // hours of training are in it: it is told before anything can fail, and written before what can be made of it
    write(sweep, directory, &ranked, &summary(interrupted, &ranked))?;
    let path = directory.path().display();
    if ranked.len() > SHOWN {
        say!("the first {SHOWN} of {}; {path}/points.csv has all", ranked.len());
    }
    say!("mean return over {} episodes of each seed; {trained:.1} s of training, {step} environment steps an agent", run.final_episodes);
    if let Some(best) = ranked.first().filter(|best| best.halted() > 0) {
        let (halted, seeds) = (best.halted(), best.agents.len());
        say!("even of the best, {halted} of {seeds} agents stopped learning: see agents.csv for when");
    }
    say!("run directory: {path}\ntrain with the best: ddpg train --config {}", in_a_command(&directory.path().join(BEST)));
    if interrupted {
        return Err(Interrupted.into());
    }
    if ranked.iter().all(|ranked| ranked.halted() == ranked.agents.len()) {
        anyhow::bail!("every agent stopped learning: see agents.csv for when");
    }
    Ok(())
}

fn as_toml(run: &Run) -> Result<String> {
    toml::to_string(&run.settings()).context("the settings cannot be written as TOML")
}

fn write(sweep: &Sweep, directory: &RunDirectory, ranked: &[Ranked], summary: &serde_json::Value) -> Result<()> {
    let [points, agents] = ranking::csv(ranked, &sweep.names);
    let best = ranked.first().map(|best| as_toml(&sweep.runs[best.number])).transpose()?;
    let files = [("points.csv", Some(points)), (SUMMARY, Some(format!("{summary:#}\n"))), ("agents.csv", Some(agents)), (BEST, best)];
    // one that cannot be written does not keep the others from it
    let written: Vec<_> = files.iter().filter_map(|(name, text)| Some(directory.write(name, text.as_ref()?))).collect();
    written.into_iter().collect()
}
