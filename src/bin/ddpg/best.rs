//! The best of a run: each agent's parameters as they were when an evaluation found its highest mean return.

use crate::output::in_a_command;
use anyhow::Result;
use ddpg_wgpu::{Evaluation, Measurements, Snapshot};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Where they are, in the run's directory: files of the same names as there.
pub const DIRECTORY: &str = "best";

/// A row of `evaluations.csv`, as far as it is read again.
#[derive(Debug)]
pub struct Row {
    pub step: u64,
    pub agent: u32,
    pub mean_return: f64,
    pub episodes: usize,
}

/// What an evaluation found of an agent, and when.
#[derive(Debug)]
struct Found {
    step: u64,
    updates: u32,
    mean_return: f64,
    episodes: usize,
}

/// The parameters that are kept, and what is known of them.
#[derive(Debug)]
pub struct Best {
    directory: PathBuf,
    agents: BTreeMap<u32, Found>,
}

impl Best {
    /// Of the run in `directory`, which has none yet.
    pub fn none(directory: &Path) -> Self {
        Self { directory: directory.join(DIRECTORY), agents: BTreeMap::new() }
    }

    /// Of the run in `directory` that goes on with the evaluations `rows`. A file says which step it is of, and its row what was
    /// found then, so that the two agree wherever the run was stopped. A file without a row is not of this history.
    pub fn left_in(directory: &Path, rows: &[Row]) -> Result<Self> {
        let mut best = Self::none(directory);
        for agent in rows.iter().map(|row| row.agent).collect::<BTreeSet<_>>() {
            let path = best.directory.join(Snapshot::file_name(agent));
            if !path.exists() {
                continue;
            }
            let Snapshot { environment_steps: step, updates, .. } = Snapshot::load(path)?;
            if let Some(&Row { mean_return, episodes, .. }) = rows.iter().find(|row| (row.agent, row.step) == (agent, step)) {
                best.agents.insert(agent, Found { step, updates, mean_return, episodes });
            }
        }
        Ok(best)
    }

    /// Whether `agent` has never been found better than with `mean_return`.
    pub fn is_beaten_by(&self, agent: u32, mean_return: f64) -> bool {
        // no number is worse than any, but better than no agent
        let worth = |mean: f64| if mean.is_finite() { mean } else { f64::NEG_INFINITY };
        self.agents.get(&agent).is_none_or(|best| worth(mean_return) > worth(best.mean_return))
    }

    /// Keeps agents as they stand, in the order of their evaluations; their files are each replaced at once.
    pub fn keep(&mut self, snapshots: &[Snapshot], evaluations: &[&Evaluation]) -> Result<()> {
        Snapshot::save_all(snapshots, &self.directory)?;
        for (snapshot, evaluation) in snapshots.iter().zip(evaluations) {
            let &Snapshot { agent, environment_steps: step, updates, .. } = snapshot;
            let found = Found { step, updates, mean_return: evaluation.mean_return, episodes: evaluation.returns.len() };
            self.agents.insert(agent, found);
        }
        Ok(())
    }

    /// Where the best of agents that have learned on since then are; nothing where there are none such.
    pub fn told(&self, now: &[Measurements]) -> Option<String> {
        let has_learned_on =
            |measured: &&Measurements| self.agents.get(&measured.agent).is_some_and(|best| best.updates < measured.updates);
        let passed: Vec<_> = now.iter().filter(has_learned_on).map(|measured| (measured.agent, &self.agents[&measured.agent])).collect();
        let finite = passed.iter().filter(|(_, best)| best.mean_return.is_finite());
        let (agent, Found { step, mean_return, episodes, .. }) = finite.max_by(|(_, a), (_, b)| a.mean_return.total_cmp(&b.mean_return))?;
        let whose = match (passed.len(), now.len()) {
            (_, 1) => String::new(),
            (1, _) => format!("agent {agent} at "),
            (passed, all) => format!("{passed} of {all} agents; agent {agent} at "),
        };
        let (directory, again) = (self.directory.display(), in_a_command(&self.directory));
        Some(format!(
            "best of the evaluations on the way: {directory} ({whose}step {step}: {mean_return:.1} over {episodes} episode{})\n\
             evaluate the best: ddpg eval {again}",
            if *episodes == 1 { "" } else { "s" }
        ))
    }

    /// An agent's best for programs: null where it was never evaluated.
    pub fn json(&self, agent: u32) -> Value {
        self.agents.get(&agent).map_or(Value::Null, |Found { step, mean_return, episodes, .. }| {
            let parameters = format!("{DIRECTORY}/{}", Snapshot::file_name(agent));
            json!({ "environment_steps": step, "mean_return": mean_return, "episodes": episodes, "parameters": parameters })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_is_beaten_by_more_alone_and_what_is_no_number_by_any() {
        let mut best = Best::none(Path::new("run"));
        best.agents.insert(3, Found { step: 8, updates: 1, mean_return: -150.0, episodes: 2 });
        let beaten_by = |best: &Best, means: &[f64]| means.iter().map(|&mean| best.is_beaten_by(3, mean)).collect::<Vec<_>>();
        let all = [-149.9, -150.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
        assert_eq!(beaten_by(&best, &all), [true, false, false, false, false]);
        for no_number in [f64::NAN, f64::INFINITY] {
            best.agents.get_mut(&3).expect("found").mean_return = no_number;
            assert_eq!(beaten_by(&best, &all), [true, true, false, false, false]);
        }
        assert!(best.is_beaten_by(4, f64::NAN), "an agent without any has no file yet");
    }
}
