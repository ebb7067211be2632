//! From the start of a process to an agent that swings Pendulum up, each time in a process of its own.

use super::Bench;
use super::sample::{Row, Spread, count};
use crate::execution::Execution;
use crate::output::say;
use anyhow::{Context, Result, bail, ensure};
use ddpg_wgpu::{Config, Environment, HyperParameters, Population, Trainer};
use serde::{Deserialize, Serialize};
use std::process::{Command, Stdio};
use std::time::Instant;

/// The mean return to reach.
const MARK: f64 = -200.0;
/// Episodes of each evaluation, and the seed of their starting states.
const EPISODES: (u32, u32) = (100, 1);
/// Updates from one evaluation to the next.
const EVERY: u64 = 250;

const PROCESS: &str = "another process of this program";

/// Caches of compiled shaders that drivers keep on disk: a first run has none. The names are Mesa's and NVIDIA's.
const NO_CACHES: [(&str, &str); 3] =
    [("MESA_SHADER_CACHE_DISABLE", "true"), ("MESA_GLSL_CACHE_DISABLE", "true"), ("__GL_SHADER_DISK_CACHE", "0")];

/// What a process tells when it is done.
#[derive(Debug, Serialize, Deserialize)]
struct Reached {
    seed: u64,
    mean_return: f64,
    steps: u64,
    updates: u64,
}

/// Trains one agent of the default preset until it has reached the mark, and tells.
pub fn until_return(seed: u64, execution: &Execution) -> Result<()> {
    end_with_whoever_asked();
    let gpu = execution.open()?;
    let mut config = Config::default();
    config.seed = seed;
    let (environment, hyper_parameters) = (Environment::pendulum_v1(), HyperParameters::of_population(&config));
    let population = Population::with_options(&gpu.device, &gpu.queue, &environment, &config, hyper_parameters, execution.options())?;
    let mut trainer = Trainer::from_population(population);
    let mut mean_return = f64::NEG_INFINITY;
    while trainer.population().iterations() < config.iterations() {
        let iterations =
            if trainer.population().learns() { EVERY } else { u64::from(config.learning_starts / config.environments) + EVERY };
        trainer.advance_blocking(iterations)?;
        mean_return = trainer.evaluate_blocking(EPISODES.0, EPISODES.1)?[0].mean_return;
        gpu.check()?;
        if mean_return >= MARK {
            let population = trainer.population();
            let (steps, updates) = (population.environment_steps(), population.updates());
            say!("{}", serde_json::to_string(&Reached { seed, mean_return, steps, updates })?);
            return Ok(());
        }
    }
    bail!("seed {seed} has not reached a mean return of {MARK} in {} steps; the last was {mean_return:.1}", config.steps)
}

/// Whoever started this process holds the other end of its standard input, and lets go of it by ending, however it ends.
fn end_with_whoever_asked() {
    std::thread::spawn(|| {
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        std::process::exit(130);
    });
}

pub fn run(bench: &Bench, execution: &Execution) -> Result<Row> {
    let program = std::env::current_exe().context("this program's own file")?;
    let (mut samples, mut reached, mut failures) = (vec![], vec![], String::new());
    for seed in 1..=u64::from(bench.pace.repetitions) {
        let mut command = Command::new(&program);
        command.args(["bench", "--until-return", &seed.to_string()]).args(execution.flags()).envs(NO_CACHES);
        let start = Instant::now();
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().context(PROCESS)?;
        let held = child.stdin.take();
        let output = child.wait_with_output().context(PROCESS)?;
        drop(held);
        let seconds = start.elapsed().as_secs_f64();
        if output.status.success() {
            let told: Reached = serde_json::from_slice(&output.stdout).context("what the process told")?;
            samples.push(seconds);
            reached.push(told.steps as f64);
        } else {
            // no figure, but no reason to lose the others
            let said = String::from_utf8_lossy(&output.stderr);
            failures += &format!("; {}", said.trim().trim_start_matches("error: "));
        }
    }
    ensure!(!samples.is_empty(), "no seed got there{failures}");
    let steps = Spread::of(&reached).map_or(0.0, |spread| spread.median);
    Ok(Row {
        title: format!("wall time to a mean return of {MARK}: Pendulum-v1, preset modern, one agent"),
        unit: "s",
        samples,
        note: format!(
            "whole processes, shader compilation included; seeds 1 to {}, median {} environment steps; {} episodes every {EVERY} \
             updates{failures}",
            bench.pace.repetitions,
            count(steps as u64),
            EPISODES.0
        ),
    })
}
