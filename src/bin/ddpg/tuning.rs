//! `--tune`: the plan, the tile and the dealing that are fastest by measurement, remembered for each adapter, driver and configuration.

use crate::execution::Execution;
use crate::output::{note, say};
use anyhow::{Context, Result};
use clap::Args;
use ddpg_wgpu::{Config, Dealing, Environment, Gpu, Options, Tile, Tuned};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Flags of the commands that train one population.
#[derive(Debug, Clone, Args)]
pub struct Tuning {
    /// Measure which plan and tile train fastest here, and how finely work is dealt out best; use that, and keep the answer
    #[arg(long)]
    tune: bool,
}

/// What was measured once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Remembered {
    /// Adapter, driver and version of this program.
    machine: Value,
    /// What decides how much work there is, and of what shape.
    work: Value,
    #[serde(flatten)]
    best: Tuned,
}

impl Tuning {
    pub fn is_asked(&self) -> bool {
        self.tune
    }

    /// What was asked for, the rest by measurement where that was asked for too.
    ///
    /// # Errors
    /// What measuring meets. A cache that cannot be read or written is only told of.
    pub fn options(&self, execution: &Execution, gpu: &Gpu, environment: &Environment, config: &Config, quiet: bool) -> Result<Options> {
        let wanted = execution.options();
        let all_named = wanted.plan.is_some() && wanted.tile.is_some_and(|tile| tile != Tile::Small || wanted.dealing.is_some());
        if !self.tune || all_named {
            return Ok(wanted);
        }
        let file = cache_file();
        let (machine, work) = (machine(gpu), work(environment, config, wanted));
        let mut cache = file.as_deref().map(read).unwrap_or_default();
        let known = cache.iter().find(|entry| (&entry.machine, &entry.work) == (&machine, &work));
        if let (Some(known), Some(file)) = (known, &file) {
            if !quiet {
                say!("tuned before: {} ({}; delete it to measure anew)", described(&known.best), file.display());
            }
            return Ok(known.best.options());
        }
        if !quiet {
            say!("tuning: each plan and tile in turn, which takes minutes on a software driver");
        }
        let measured = Tuned::all_blocking(&gpu.device, &gpu.queue, environment, config, wanted)?;
        for (index, tuned) in measured.iter().enumerate().filter(|_| !quiet) {
            let used = if index == 0 { "  <- used" } else { "" };
            say!("  {:>12.1} iterations/s  {}{used}", tuned.iterations_per_second, described(tuned));
        }
        let best = measured[0];
        cache.push(Remembered { machine, work, best });
        if let Some(file) = file
            && let Err(error) = write(&file, &cache)
        {
            note(format_args!("warning: the tuning is not kept for the next time: {error:#}"));
        }
        Ok(best.options())
    }
}

/// How a population runs, in words.
fn described(tuned: &Tuned) -> String {
    let Tuned { plan, tile, dealing, .. } = tuned;
    let mut text = format!("{plan} plan, {} tile", tile.name());
    let usual = Dealing::default();
    for (flag, value, usual) in [
        ("--invocations", dealing.invocations, usual.invocations),
        ("--chained", dealing.chained, usual.chained),
        ("--banded-agents", dealing.banded_agents, usual.banded_agents),
    ] {
        if value != usual {
            text += &format!(", {flag} {value}");
        }
    }
    text
}

fn machine(gpu: &Gpu) -> Value {
    let info = &gpu.info;
    json!({
        "adapter": info.name,
        "driver": info.driver,
        "driver_info": info.driver_info,
        "backend": info.backend.to_str(),
        "ddpg-wgpu": env!("CARGO_PKG_VERSION"),
    })
}

fn work(environment: &Environment, config: &Config, wanted: Options) -> Value {
    json!({
        "environment": environment.name,
        "environments": config.environments,
        "agents": config.agents,
        "algorithm": config.algorithm,
        "actor_hidden": config.actor_hidden,
        "critic_hidden": config.critic_hidden,
        "action_layer": config.action_layer,
        "batch_norm": config.batch_norm,
        "batch_size": config.batch_size,
        "updates_per_iteration": config.updates_per_iteration,
        "plan": wanted.plan,
        "tile": wanted.tile,
        "dealing": wanted.dealing,
    })
}

/// Where the operating system keeps what can be made again.
fn cache_file() -> Option<PathBuf> {
    Some(dirs::cache_dir()?.join("ddpg-wgpu").join("tuning.json"))
}

/// What is remembered; nothing where there is no such file, or none that this version understands.
fn read(file: &Path) -> Vec<Remembered> {
    let Ok(text) = std::fs::read_to_string(file) else { return Vec::new() };
    serde_json::from_str(&text).unwrap_or_else(|error| {
        note(format_args!("warning: {} is not understood ({error}): measuring anew", file.display()));
        Vec::new()
    })
}

/// Replaces the file whole: a run that is stopped half-way leaves the old one.
fn write(file: &Path, cache: &[Remembered]) -> Result<()> {
    let directory = file.parent().context("a file without a directory")?;
    std::fs::create_dir_all(directory).with_context(|| format!("cannot create {}", directory.display()))?;
    let unfinished = file.with_extension(format!("{}.tmp", std::process::id()));
    let text = serde_json::to_string_pretty(cache)?;
    let written = std::fs::write(&unfinished, text).and_then(|()| std::fs::rename(&unfinished, file));
    written.with_context(|| format!("cannot write {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_is_read_again_and_what_is_not_understood_is_forgotten() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("deeper").join("tuning.json");
        assert_eq!(read(&file), []);
        let (machine, work) = (json!({ "adapter": "an adapter" }), json!({ "agents": 3 }));
        let dealing = json!({ "invocations": 8192, "chained": 0, "banded_agents": 7 });
        let best = json!({ "plan": "fused", "tile": "small", "dealing": dealing, "iterations_per_second": 12.5 });
        let best = serde_json::from_value(best).expect("what was measured");
        let entry = Remembered { machine, work, best };
        assert_eq!(described(&entry.best), "fused plan, small tile, --invocations 8192, --chained 0, --banded-agents 7");
        write(&file, &[entry.clone(), entry.clone()]).expect("written");
        assert_eq!(read(&file), [entry.clone(), entry]);
        for text in [
            "",
            "{}",
            "[{\"plan\": \"fused\"}]",
            "[{\"machine\": 1, \"work\": 1, \"plan\": \"fused\", \"tile\": \"small\", \"iterations_per_second\": 1}]",
        ] {
            std::fs::write(&file, text).expect("written");
            assert_eq!(read(&file), [], "{text}");
        }
    }
}
