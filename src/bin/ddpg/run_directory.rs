//! The files of a run: configuration, metrics, evaluations, curve, agents, summary.

use crate::best::{self, Best, Row};
use crate::failure::Usage;
use crate::lock::{self, Lock};
use crate::output::in_a_command;
use crate::pace::Speed;
use crate::plot::{Point, learning_curve};
use crate::recorded;
use crate::report::{cell, spread};
use anyhow::{Context, Result, anyhow, bail};
use ddpg_wgpu::{Evaluation, Measurements, Snapshot};
use std::fs::{self, File, OpenOptions};
use std::io::{BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub const CONFIG: &str = "config.toml";
const METRICS: &str = "metrics.csv";
const EPISODES: &str = "episodes.csv";
const EVALUATIONS: &str = "evaluations.csv";
const CURVE: &str = "curve.svg";
const SUMMARY: &str = "summary.json";
/// The live picture.
pub const LIVE: &str = "latest.gif";
/// Where watchers write, unless they are told another place.
pub const TENSORBOARD: &str = "tensorboard";
pub const MONITOR: &str = "monitor";
/// Whether a file in an agent's sub-directory of such a place is one of the watcher's.
type IsIts = fn(&str) -> bool;
const WATCHERS: [(&str, IsIts); 2] = [(TENSORBOARD, crate::tensorboard::is_event_file), (MONITOR, crate::monitor::is_record)];
/// What `ddpg sweep` leaves besides.
const SWEEP: [&str; 4] = ["points.csv", "agents.csv", SWEEP_SUMMARY, BEST];
pub const SWEEP_SUMMARY: &str = "sweep.json";
pub const BEST: &str = "best.toml";

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
    /// Whether it was not there before.
    made: bool,
    lock: Lock,
}

/// Whether a run or a sweep writes a file of this name.
fn is_ours(name: &str) -> bool {
    TABLES.iter().any(|(table, _)| *table == name)
        || [CONFIG, CURVE, SUMMARY, LIVE, recorded::FILE].contains(&name)
        || SWEEP.contains(&name)
        || is_agent(name)
}

fn is_agent(name: &str) -> bool {
    name.starts_with("agent-") && name.ends_with(".safetensors")
}

/// Removes the files of `directory` whose names are `chosen`; there may be no such directory.
fn remove_files(directory: &Path, chosen: impl Fn(&str) -> bool) -> Result<()> {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if chosen(&entry.file_name().to_string_lossy()) {
            fs::remove_file(entry.path()).with_context(|| entry.path().display().to_string())?;
        }
    }
    Ok(())
}

/// Removes them, and the directory where nothing else is in it.
fn remove_directory(directory: &Path, chosen: impl Fn(&str) -> bool) -> Result<()> {
    remove_files(directory, chosen)?;
    let _ = fs::remove_dir(directory);
    Ok(())
}

/// Whether it is what a run that was killed while it wrote leaves of one of its files: `.summary.json.4711.tmp`.
fn is_unfinished(name: &str) -> bool {
    let inner = name.strip_prefix('.').and_then(|rest| rest.strip_suffix(".tmp")).and_then(|rest| rest.rsplit_once('.'));
    inner.is_some_and(|(file, process)| is_ours(file) && process.parse::<u32>().is_ok())
}

/// That `directory` is not a sweep's: there are no agents in it to go on with, to evaluate or to draw.
///
/// # Errors
/// [`Usage`] where it is, with what can be done with it.
pub fn is_no_sweep(directory: &Path) -> Result<()> {
    if !directory.join(SWEEP_SUMMARY).exists() {
        return Ok(());
    }
    let (shown, best) = (directory.display(), directory.join(BEST));
    let instead = match best.exists() {
        true => format!("train the best with: ddpg train --config {}", in_a_command(&best)),
        false => format!("and this one was stopped before it had a {BEST}"),
    };
    Err(Usage(format!("{shown}: a sweep keeps settings, not agents; {instead}")).into())
}

/// The run whose best agents `directory` is for, unless it is of a run itself.
pub fn run_of_best(directory: &Path) -> Option<&Path> {
    let parent = directory.parent().filter(|_| directory.file_name() == Some(best::DIRECTORY.as_ref()))?;
    let run = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    (run.join(CONFIG).exists() && !directory.join(CONFIG).exists()).then_some(run)
}

/// Whether the run in `directory` has ended, with an evaluation at `step`.
pub fn is_evaluated(directory: &Path, step: u64) -> bool {
    let text = fs::read_to_string(directory.join(SUMMARY)).unwrap_or_default();
    let summary: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    summary["interrupted"] == false && summary["environment_steps"] == step
}

/// What an earlier run left in `path`; nothing where there is no such file. What cannot be read is not replaced.
pub fn left_behind(path: &Path) -> Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| unusable(path)),
    }
}

/// What to do about a file that a run cannot go on with.
pub fn unusable(path: &Path) -> String {
    format!("cannot go on with {}: repair or remove it", path.display())
}

/// What stands in a table below its columns, without a last row that has no end: a run leaves such that was killed while it wrote.
fn rows(table: &str) -> impl Iterator<Item = &str> {
    table[..table.rfind('\n').unwrap_or_default()].lines().skip(1)
}

/// Episodes that each agent of the run in `directory` had finished by `step`, as far as its table says; none without one.
pub fn finished_episodes(directory: &Path, step: u64, agents: u32) -> Result<Vec<u64>> {
    let path = directory.join(EPISODES);
    let mut finished = vec![0; agents as usize];
    let text = left_behind(&path)?.unwrap_or_default();
    for (number, row) in (2..).zip(rows(&text)) {
        let numbers: Vec<u64> = row.split(',').map_while(|cell| cell.parse().ok()).collect();
        let [at, _, agent, _, episode, ..] = numbers[..] else {
            let wrong = anyhow!("line {number} is {row:?}; it must begin with step, updates, agent, seed, episode");
            return Err(wrong.context(unusable(&path)));
        };
        if at <= step
            && let Some(count) = finished.get_mut(agent as usize)
        {
            *count = episode + 1;
        }
    }
    Ok(finished)
}

/// What a row of `evaluations.csv` says.
fn evaluation(row: &str) -> Option<Row> {
    let [step, _, agent, _, mean_return, .., episodes] = row.split(',').collect::<Vec<_>>()[..] else { return None };
    let (step, agent) = (step.parse().ok()?, agent.parse().ok()?);
    Some(Row { step, agent, mean_return: mean_return.parse().ok()?, episodes: episodes.parse().ok()? })
}

impl RunDirectory {
    /// Takes `path` for a run: it must be writable, nobody else's at the moment, and empty unless `overwrite` is set.
    pub fn claim(path: &Path, overwrite: bool) -> Result<Self> {
        let not = || format!("cannot write to the output directory {}", path.display());
        let made = !path.exists();
        fs::create_dir_all(path).with_context(not)?;
        Self::lock(path, made, overwrite)
    }

    /// Makes and takes a directory that nobody has, called `path` or, where that is taken, `path` with a number.
    pub fn claim_new(path: &Path) -> Result<Self> {
        let not = || format!("cannot write to the output directory {}", path.display());
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).with_context(not)?;
        }
        let mut candidate = path.to_owned();
        for number in 2_u32.. {
            match fs::create_dir(&candidate) {
                Ok(()) => break,
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                    let mut name = path.as_os_str().to_owned();
                    name.push(format!("-{number}"));
                    candidate = name.into();
                }
                Err(error) => return Err(error).with_context(not),
            }
        }
        Self::lock(&candidate, true, false)
    }

    fn lock(path: &Path, made: bool, overwrite: bool) -> Result<Self> {
        let shown = path.display();
        let not = || format!("cannot write to the output directory {shown}");
        let lock = Lock::take(path)?;
        let probe = path.join(format!(".writable.{}", std::process::id()));
        File::create(&probe).and_then(|_| fs::remove_file(&probe)).with_context(not)?;
        for entry in fs::read_dir(path).with_context(not)?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if is_unfinished(&name) {
                fs::remove_file(entry.path()).with_context(|| entry.path().display().to_string())?;
            } else if name != lock::NAME && !overwrite {
                bail!("the output directory {shown} is not empty: choose another with --out, or add --overwrite");
            }
        }
        remove_files(&path.join(best::DIRECTORY), is_unfinished)?;
        Ok(Self { path: path.to_owned(), made, lock })
    }

    /// Gives an unused directory back.
    pub fn give_up(&self) {
        self.release();
        if self.made {
            // only where it is empty
            let _ = fs::remove_dir(&self.path);
        }
    }

    /// Lets others write to it: after the last file.
    pub fn release(&self) {
        self.lock.release();
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes the files of an earlier run.
    pub fn clear(&self) -> Result<()> {
        // the configuration is replaced, not removed: a run that cannot start still has it
        remove_files(&self.path, |name| is_ours(name) && name != CONFIG)?;
        remove_directory(&self.path.join(best::DIRECTORY), is_agent)?;
        for (watcher, is_its) in WATCHERS {
            let place = self.path.join(watcher);
            for entry in fs::read_dir(&place).into_iter().flatten().flatten() {
                if entry.file_name().to_string_lossy().starts_with("agent-") {
                    remove_directory(&entry.path(), is_its)?;
                }
            }
            let _ = fs::remove_dir(&place);
        }
        Ok(())
    }

    /// Starts the files of a run in a directory that has been cleared.
    pub fn start(self, config: &str) -> Result<Records> {
        self.write(CONFIG, config)?;
        for (table, columns) in TABLES {
            self.write(table, &format!("{columns}\n"))?;
        }
        let best = Best::none(&self.path);
        Records::open(self, vec![], best)
    }

    /// Goes on with the files of a run that stands at `step`; rows beyond it are dropped.
    pub fn go_on(self, config: &str, step: u64) -> Result<Records> {
        let is_kept = |row: &&str| row.split(',').next().and_then(|at| at.parse::<u64>().ok()).is_some_and(|at| at <= step);
        let (mut kept, mut evaluations) = (Vec::new(), Vec::new());
        for (table, columns) in TABLES {
            let text = left_behind(&self.path.join(table))?.unwrap_or_default();
            let rows: Vec<_> = rows(&text).filter(is_kept).collect();
            evaluations.extend(rows.iter().filter(|_| table == EVALUATIONS).filter_map(|row| evaluation(row)));
            kept.push((table, std::iter::once(columns).chain(rows).flat_map(|row| [row, "\n"]).collect::<String>()));
        }
        let best = Best::left_in(&self.path, &evaluations).with_context(|| unusable(&self.path.join(best::DIRECTORY)))?;
        // all are read before any is replaced
        self.write(CONFIG, config)?;
        kept.iter().try_for_each(|(table, text)| self.write(table, text))?;
        let mut points: Vec<Point> = Vec::new();
        for Row { step, mean_return, .. } in evaluations {
            match points.last_mut() {
                Some(point) if point.step == step => point.returns.push(mean_return),
                _ => points.push(Point { step, returns: vec![mean_return] }),
            }
        }
        Records::open(self, points, best)
    }

    pub fn summarize(&self, summary: &serde_json::Value) -> Result<()> {
        self.write(SUMMARY, &format!("{summary:#}\n"))
    }

    /// Replaces a file at once, so that no half of it is ever seen.
    pub fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.path.join(name);
        let temporary = self.path.join(format!(".{name}.{}.tmp", std::process::id()));
        fs::write(&temporary, text).and_then(|()| fs::rename(&temporary, &path)).with_context(|| path.display().to_string())
    }
}

/// The open files of a run.
#[derive(Debug)]
pub struct Records {
    directory: Arc<RunDirectory>,
    metrics: BufWriter<File>,
    episodes: BufWriter<File>,
    evaluations: BufWriter<File>,
    points: Vec<Point>,
    pub best: Best,
    /// Environment steps of the agents on disk.
    saved: Option<u64>,
}

impl Records {
    fn open(directory: RunDirectory, points: Vec<Point>, best: Best) -> Result<Self> {
        let append = |name: &str| {
            let path = directory.path.join(name);
            OpenOptions::new().append(true).open(&path).map(BufWriter::new).with_context(|| path.display().to_string())
        };
        let (metrics, episodes, evaluations) = (append(METRICS)?, append(EPISODES)?, append(EVALUATIONS)?);
        Ok(Self { directory: Arc::new(directory), metrics, episodes, evaluations, points, best, saved: None })
    }

    pub fn path(&self) -> &Path {
        &self.directory.path
    }

    /// For what is written when the run ends while it cannot do so itself.
    pub fn directory(&self) -> Arc<RunDirectory> {
        self.directory.clone()
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
            let Evaluation { agent, seed, mean_return, min, max, .. } = evaluation;
            let [deviation, error] = spread(evaluation).map(cell);
            let (updates, episodes) = (measured.updates, evaluation.returns.len());
            writeln!(self.evaluations, "{step},{updates},{agent},{seed},{mean_return},{deviation},{error},{min},{max},{episodes}")?;
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
}
