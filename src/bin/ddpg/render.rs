//! `ddpg render`: a trained policy as an animated picture.

use crate::failure::Usage;
use crate::numbers::{whole, whole_in};
use crate::output::say;
use crate::{eval, video};
use anyhow::Result;
use clap::Args;
use ddpg_wgpu::{Environment, Gpu, Renderer};
use std::path::PathBuf;

const EXAMPLES: &str = "Examples:\n  ddpg render runs/pendulum\n  ddpg render runs/pendulum --agent 3 --episodes 5 --out swing-up.gif";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Run directory, the best within it, or the file of one agent
    #[arg(value_name = "DIR")]
    path: PathBuf,
    /// Episodes to show, one after another
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = whole_in::<u32>(1..=1000))]
    episodes: u32,
    /// File to write
    #[arg(long, value_name = "FILE.gif", default_value = "policy.gif")]
    out: PathBuf,
    /// Agent to show, by its place in the run directory
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = whole::<usize>)]
    agent: usize,
    /// Seed of the starting states
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = whole::<u32>)]
    seed: u32,
    /// Width and height, pixels
    #[arg(long, value_name = "PIXELS", default_value_t = video::SIZE, value_parser = whole_in::<u32>(16..=1024))]
    size: u32,
    /// Environment to show the agent in [default: the one it was trained in]
    #[arg(long, value_name = "NAME")]
    env: Option<String>,
    /// Adapter to run on: its index in `ddpg devices`, or part of its name [default: the most powerful]
    #[arg(long, value_name = "NAME|INDEX")]
    adapter: Option<String>,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    video::check(&arguments.out)?;
    let (snapshots, run) = eval::load(&arguments.path)?;
    let Some(snapshot) = snapshots.get(arguments.agent) else {
        return Err(Usage(format!("there is no agent {}; {} has {}", arguments.agent, arguments.path.display(), snapshots.len())).into());
    };
    let trained_in = run.map_or_else(|| snapshot.environment.clone(), |run| run.env);
    let environment = Environment::by_name(arguments.env.as_ref().unwrap_or(&trained_in))?;
    let gpu = Gpu::open_blocking(arguments.adapter.as_deref())?;
    let renderer = Renderer::new(&gpu.device, &gpu.queue, &environment, arguments.size, arguments.size)?;
    let trainer = eval::revive(&gpu, &environment, std::slice::from_ref(snapshot))?;
    let evaluations = trainer.evaluate_blocking(arguments.episodes, arguments.seed);
    let trajectories = trainer.trajectories_blocking(arguments.episodes, arguments.seed);
    // what the device says says more than what the calls do
    gpu.check()?;
    let (evaluations, trajectories) = (evaluations?, trajectories?);
    video::write(&arguments.out, &renderer, &trajectories)?;
    let returns: Vec<_> = evaluations[0].returns.iter().map(|number| format!("{number:.1}")).collect();
    let frames: usize = trajectories.iter().map(|trajectory| trajectory.length()).sum();
    say!("{}: {frames} frames, returns {}", arguments.out.display(), returns.join(", "));
    Ok(())
}
