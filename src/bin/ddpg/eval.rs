//! `ddpg eval`: the returns of saved agents.

use crate::failure::Usage;
use crate::layers::read_settings;
use crate::numbers::{whole, whole_in};
use crate::output::say;
use crate::report;
use crate::resolve::{MOST_EPISODES, Run};
use crate::run_directory::{CONFIG, is_no_sweep, run_of_best};
use anyhow::{Context, Result};
use clap::Args;
use ddpg_wgpu::{Environment, Evaluation, Gpu, Population, Snapshot, Trainer};
use serde_json::json;
use std::path::{Path, PathBuf};

const EXAMPLES: &str = "Examples:\n  ddpg eval runs/Pendulum-v1__modern__1__1790000000\n  \
    ddpg eval runs/pendulum/agent-0003.safetensors --episodes 20000\n  ddpg eval runs/pendulum --json | jq '.agents[].mean_return'\n  \
    ddpg eval runs/pendulum/best                     each agent as an evaluation on the way found it at its best";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Run directory, the best within it, or the file of one agent
    #[arg(value_name = "DIR")]
    path: PathBuf,
    /// Episodes an agent [default: as at the end of the run]
    #[arg(long, value_name = "N", value_parser = whole_in::<u32>(1..=MOST_EPISODES.into()))]
    episodes: Option<u32>,
    /// Seed of the starting states, the same for every agent [default: as at the end of the run]
    #[arg(long, value_name = "N", value_parser = whole::<u32>)]
    seed: Option<u32>,
    /// Environment to evaluate in [default: the one the agents were trained in]
    #[arg(long, value_name = "NAME")]
    env: Option<String>,
    /// Print a JSON object and nothing else
    #[arg(long)]
    json: bool,
    /// Adapter to run on: its index in `ddpg devices`, or part of its name [default: the most powerful]
    #[arg(long, value_name = "NAME|INDEX")]
    adapter: Option<String>,
}

/// The run that a directory belongs to, where it says so.
fn run_of(directory: &Path) -> Result<Option<Run>> {
    let path = run_of_best(directory).unwrap_or(directory).join(CONFIG);
    if path.exists() { read_settings(&path).and_then(|file| Ok(Some(Run::resolve(file, Default::default())?))) } else { Ok(None) }
}

/// The agents of a run directory, or of one file, and the run they are of, where that is known. A file may lie anywhere:
/// what is beside it counts only where it is of the same environment.
pub fn load(path: &Path) -> Result<(Vec<Snapshot>, Option<Run>)> {
    if !path.exists() {
        return Err(Usage(format!("{}: there is no such run directory or file", path.display())).into());
    }
    if path.is_dir() {
        is_no_sweep(path)?;
        return Ok((Snapshot::load_all(path)?, run_of(path)?));
    }
    let snapshot = Snapshot::load(path)?;
    let beside = path.parent().and_then(|directory| run_of(directory).ok().flatten());
    let run = beside.filter(|run| run.env == snapshot.environment);
    Ok((vec![snapshot], run))
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let (snapshots, run) = load(&arguments.path)?;
    let defaults = run.clone().unwrap_or_else(|| Run::preset(Default::default()));
    let episodes = arguments.episodes.unwrap_or(defaults.final_episodes);
    let seed = arguments.seed.unwrap_or(defaults.eval_seed);
    let trained_in = run.map_or_else(|| snapshots[0].environment.clone(), |run| run.env);
    let environment = Environment::by_name(arguments.env.as_ref().unwrap_or(&trained_in))?;

    let gpu = Gpu::open_blocking(arguments.adapter.as_deref())?;
    let evaluations = evaluate(&gpu, &environment, &snapshots, episodes, seed)?;
    if arguments.json {
        let agents: Vec<_> = evaluations.iter().map(report::json).collect();
        say!("{:#}", json!({ "environment": environment.name, "evaluation_seed": seed, "agents": agents }));
        return Ok(());
    }
    let halted: Vec<_> = snapshots.iter().map(|snapshot| snapshot.halted).collect();
    say!("{}, starting states of seed {seed}, on {}", environment.name, gpu.description());
    say!("{}", report::evaluations(&evaluations, &halted));
    say!("mean over agents: {}", report::in_short(&evaluations, &environment.name));
    Ok(())
}

/// The saved actors, in a population that has no more of the rest than it must.
pub fn revive(gpu: &Gpu, environment: &Environment, snapshots: &[Snapshot]) -> Result<Trainer> {
    let mut config = snapshots[0].config.clone();
    config.agents = u32::try_from(snapshots.len()).context("more agents than can be counted")?;
    // batch norm asks for two rows, and a minibatch of the latest step for two steps of all environments
    (config.environments, config.batch_size, config.replay_capacity, config.learning_starts) = (2, 2, 4, 1);
    let hyper_parameters = snapshots.iter().map(|snapshot| snapshot.hyper_parameters).collect();
    let population = Population::with_hyper_parameters(&gpu.device, &gpu.queue, environment, &config, hyper_parameters)?;
    for (agent, snapshot) in (0..).zip(snapshots) {
        population.load_parameters(agent, snapshot)?;
    }
    Ok(Trainer::from_population(population))
}

fn evaluate(gpu: &Gpu, environment: &Environment, snapshots: &[Snapshot], episodes: u32, seed: u32) -> Result<Vec<Evaluation>> {
    let result = revive(gpu, environment, snapshots)?.evaluate_blocking(episodes, seed);
    // what the device says says more than what the call does
    gpu.check()?;
    let mut evaluations = result?;
    for (evaluation, snapshot) in evaluations.iter_mut().zip(snapshots) {
        evaluation.agent = snapshot.agent;
    }
    Ok(evaluations)
}
