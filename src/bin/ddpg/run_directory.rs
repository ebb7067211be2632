//! The files of a run: configuration, metrics, evaluations, curve, agents, summary.

use crate::plot::{Point, learning_curve};
use anyhow::{Context, Result, bail};
use ddpg_wgpu::{Evaluation, Measurements, Snapshot};
use std::fs::{self, File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

pub const CONFIG: &str = "config.toml";
const METRICS: &str = "metrics.csv";
const EPISODES: &str = "episodes.csv";
const EVALUATIONS: &str = "evaluations.csv";
const CURVE: &str = "curve.svg";
const SUMMARY: &str = "summary.json";
/// What `ddpg sweep` leaves besides.
const SWEEP: [&str; 4] = ["points.csv", "agents.csv", "sweep.json", "best.toml"];

/// Each file of rows with its columns; the first is always the environment steps of an agent.
const TABLES: [(&str, &str); 3] = [
    (
        METRICS,
        "step,updates,agent,seed,losses/qf1_loss,losses/actor_loss,losses/qf1_values,losses/qf1_values_max,\
         losses/absolute_td_error,losses/saturated_actions,charts/replay_length,charts/SPS,charts/UPS",
    ),
    (EPISODES, "step,updates,agent,seed,episode,charts/episodic_return,charts/episodic_length,charts/qmax"),
    (EVALUATIONS, "step,updates,agent,seed,eval/episodic_return,standard_deviation,standard_error,min,max,episodes"),
];

/// A directory that this run writes to, and nobody else.
#[derive(Debug)]
pub struct RunDirectory {
    path: PathBuf,
}

impl RunDirectory {
    /// Takes `path` for a new run: it must be writable, and empty unless `overwrite` is set.
    pub fn claim(path: &Path, overwrite: bool) -> Result<Self> {
        let shown = path.display();
        let not = || format!("cannot write to the output directory {shown}");
        fs::create_dir_all(path).with_context(not)?;
        let probe = path.join(format!(".writable.{}", std::process::id()));
        File::create(&probe).and_then(|_| fs::remove_file(&probe)).with_context(not)?;
        if fs::read_dir(path).with_context(not)?.next().is_some() && !overwrite {
            bail!("the output directory {shown} is not empty: choose another with --out, or add --overwrite");
        }
        Ok(Self { path: path.to_owned() })
    }

    /// Gives an unused directory back.
    pub fn give_up(&self) {
        // only where it is empty
        let _ = fs::remove_dir(&self.path);
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes the files of an earlier run.
    pub fn clear(&self) -> Result<()> {
        for entry in fs::read_dir(&self.path).with_context(|| self.path.display().to_string())?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let ours = TABLES.iter().any(|(table, _)| *table == name) || [CURVE, SUMMARY].contains(&name.as_str());
            let sweeps = SWEEP.contains(&name.as_str());
            if ours || sweeps || (name.starts_with("agent-") && name.ends_with(".safetensors")) {
                fs::remove_file(entry.path()).with_context(|| entry.path().display().to_string())?;
            }
        }
        Ok(())
    }

    /// Removes the files of an earlier run and starts this one's.
    pub fn start(self, config: &str) -> Result<Records> {
        self.clear()?;
        self.write(CONFIG, config)?;
        for (table, columns) in TABLES {
            self.write(table, &format!("{columns}\n"))?;
        }
        Records::open(self, vec![])
    }

    /// Goes on with the files of a run that stands at `step`; rows beyond it are dropped.
    pub fn go_on(self, config: &str, step: u64) -> Result<Records> {
        self.write(CONFIG, config)?;
        let mut points: Vec<Point> = Vec::new();
        for (table, columns) in TABLES {
            let path = self.path.join(table);
            let text = fs::read_to_string(&path).unwrap_or_default();
            let at = |row: &str| row.split(',').next().and_then(|first| first.parse::<u64>().ok());
            let rows: Vec<_> = text.lines().skip(1).filter(|row| at(row).is_some_and(|at| at <= step)).collect();
            let kept: String = std::iter::once(columns).chain(rows.iter().copied()).flat_map(|row| [row, "\n"]).collect();
            self.write(table, &kept)?;
            for row in rows.iter().filter(|_| table == EVALUATIONS) {
                let (Some(step), Some(mean)) = (at(row), row.split(',').nth(4).and_then(|mean| mean.parse().ok())) else { continue };
                match points.last_mut() {
                    Some(point) if point.step == step => point.returns.push(mean),
                    _ => points.push(Point { step, returns: vec![mean] }),
                }
            }
        }
        Records::open(self, points)
    }

    /// Replaces a file at once, so that no half of it is ever seen.
    pub fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.path.join(name);
        let temporary = self.path.join(format!(".{name}.{}.tmp", std::process::id()));
        fs::write(&temporary, text).and_then(|()| fs::rename(&temporary, &path)).with_context(|| path.display().to_string())
    }
}

/// How fast training goes, one agent.
#[derive(Debug, Clone, Copy)]
pub struct Speed {
    pub steps: f64,
    pub updates: f64,
}

/// The open files of a run.
#[derive(Debug)]
pub struct Records {
    directory: RunDirectory,
    metrics: BufWriter<File>,
    episodes: BufWriter<File>,
    evaluations: BufWriter<File>,
    points: Vec<Point>,
    /// Environment steps of the agents on disk.
    saved: Option<u64>,
}

fn cell(value: Option<f32>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

impl Records {
    fn open(directory: RunDirectory, points: Vec<Point>) -> Result<Self> {
        let append = |name: &str| {
            let path = directory.path.join(name);
            OpenOptions::new().append(true).open(&path).map(BufWriter::new).with_context(|| path.display().to_string())
        };
        let (metrics, episodes, evaluations) = (append(METRICS)?, append(EPISODES)?, append(EVALUATIONS)?);
        Ok(Self { directory, metrics, episodes, evaluations, points, saved: None })
    }

    pub fn path(&self) -> &Path {
        &self.directory.path
    }

    /// Environment steps of the agents on disk.
    pub fn saved(&self) -> Option<u64> {
        self.saved
    }

    /// Rows of `metrics.csv` and `episodes.csv`.
    pub fn measured(&mut self, measurements: &[Measurements], speed: Speed) -> Result<()> {
        for m in measurements {
            writeln!(
                self.metrics,
                "{},{},{},{},{},{},{},{},{},{},{},{:.1},{:.1}",
                m.steps,
                m.updates,
                m.agent,
                m.seed,
                cell(m.critic_loss),
                cell(m.actor_loss),
                cell(m.value),
                cell(m.value_maximum),
                cell(m.absolute_td_error),
                cell(m.saturated),
                m.replay_length,
                speed.steps,
                speed.updates
            )?;
            for e in &m.episodes {
                let Measurements { agent, seed, .. } = m;
                let (number, episode_return, length, qmax) = (e.number, e.episode_return, e.length, e.maximum_value);
                writeln!(self.episodes, "{},{},{agent},{seed},{number},{episode_return},{length},{qmax}", e.steps, e.updates)?;
            }
        }
        self.metrics.flush()?;
        Ok(self.episodes.flush()?)
    }

    /// Rows of `evaluations.csv`, and the learning curve with them.
    pub fn evaluated(&mut self, step: u64, measurements: &[Measurements], evaluations: &[Evaluation], title: &str) -> Result<()> {
        for (evaluation, measured) in evaluations.iter().zip(measurements) {
            let Evaluation { agent, seed, mean_return, standard_deviation, standard_error, min, max, .. } = evaluation;
            let (updates, episodes) = (measured.updates, evaluation.returns.len());
            writeln!(
                self.evaluations,
                "{step},{updates},{agent},{seed},{mean_return},{standard_deviation},{standard_error},{min},{max},{episodes}"
            )?;
        }
        self.evaluations.flush()?;
        self.points.push(Point { step, returns: evaluations.iter().map(|evaluation| evaluation.mean_return).collect() });
        learning_curve(&self.directory.path.join(CURVE), title, &self.points)
    }

    /// The agents' files, each replaced at once.
    pub fn save(&mut self, snapshots: &[Snapshot]) -> Result<()> {
        Snapshot::save_all(snapshots, &self.directory.path)?;
        self.saved = snapshots.first().map(|snapshot| snapshot.environment_steps);
        Ok(())
    }

    pub fn summarize(&self, summary: &serde_json::Value) -> Result<()> {
        self.directory.write(SUMMARY, &format!("{summary:#}\n"))
    }
}
