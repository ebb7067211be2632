//! Everyone who watches a run beside its own records: TensorBoard, the monitor, a live picture, a line an episode.

use crate::monitor::Monitor;
use crate::pace::Speed;
use crate::progress::Progress;
use crate::resolve::Run;
use crate::run_directory::{self, LIVE, TENSORBOARD};
use crate::summaries::Summaries;
use crate::video;
use anyhow::{Context, Result};
use ddpg_wgpu::{Evaluation, Gpu, Measurements, Renderer, Snapshot, Trainer};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Agents whose actions are recorded at each evaluation.
const MOST_RECORDED: u32 = 1024;

const SUMMARIES: &str = "its TensorBoard files";
const MONITOR: &str = "its monitor";

/// How often the live picture is drawn, at most.
const LIVE_EVERY: Duration = Duration::from_secs(5);

/// Who watches.
#[derive(Debug)]
pub struct Watchers {
    summaries: Option<Summaries>,
    monitor: Option<Monitor>,
    live: Option<Live>,
    prints: bool,
    agents: u32,
    seed: u32,
}

#[derive(Debug)]
struct Live {
    renderer: Renderer,
    path: PathBuf,
    drawn: Option<Instant>,
}

impl Watchers {
    /// Makes the directories that `run` names outside of its own: where that fails, nothing of an earlier run is lost yet.
    pub fn prepare(run: &Run) -> Result<()> {
        for (is_used, place) in [(run.tensorboard, &run.summary_dir), (run.use_gym_monitor, &run.monitor_dir)] {
            if let Some(place) = place.as_ref().filter(|_| is_used) {
                std::fs::create_dir_all(place).with_context(|| format!("cannot write to the directory {place}"))?;
            }
        }
        Ok(())
    }

    /// Opens what `run` asks for, by default within its directory.
    pub fn open(run: &Run, gpu: &Gpu, trainer: &Trainer, directory: &Path, config: &str, resumed: bool) -> Result<Self> {
        let agents = run.config.agents;
        let place = |given: &Option<String>, name: &str| given.as_ref().map_or_else(|| directory.join(name), PathBuf::from);
        let renderer = || Renderer::new(&gpu.device, &gpu.queue, trainer.population().environment(), video::SIZE, video::SIZE);
        // what can be refused comes first, before anything is written
        let live = if run.render_env { Some(Live { renderer: renderer()?, path: directory.join(LIVE), drawn: None }) } else { None };
        let summaries = if run.tensorboard {
            let void_from = resumed.then(|| trainer.population().environment_steps() + 1);
            Some(Summaries::create(&place(&run.summary_dir, TENSORBOARD), agents, config, void_from)?)
        } else {
            None
        };
        let monitor = if run.use_gym_monitor {
            // what cannot be drawn still has statistics
            Some(Monitor::open(&place(&run.monitor_dir, run_directory::MONITOR), agents, renderer().ok(), resumed)?)
        } else {
            None
        };
        let mut watchers = Self { summaries, monitor, live, prints: run.print_episodes, agents, seed: run.eval_seed };
        if let (Some(monitor), false) = (&mut watchers.monitor, resumed) {
            monitor.video(trainer, 0, run.eval_seed)?;
        }
        Ok(watchers)
    }

    /// After new measurements.
    pub fn measured(&mut self, trainer: &Trainer, measurements: &[Measurements], speed: Speed, progress: &Progress) {
        if self.prints {
            for measured in measurements {
                let agent = if self.agents > 1 { format!(" Agent: {} |", measured.agent) } else { String::new() };
                for episode in &measured.episodes {
                    let (reward, number, qmax) = (episode.episode_return as i64, episode.number, episode.maximum_value);
                    progress.tell(&format!("| Reward: {reward} | Episode: {number} | Qmax: {qmax:.4} |{agent}"));
                }
            }
        }
        let seed = self.seed;
        unless_it_fails(&mut self.summaries, SUMMARIES, progress, |summaries| summaries.measured(measurements, speed));
        unless_it_fails(&mut self.monitor, MONITOR, progress, |monitor| monitor.measured(trainer, measurements, seed));
        unless_it_fails(&mut self.live, "the live picture", progress, |live| {
            if live.drawn.is_none_or(|drawn| drawn.elapsed() > LIVE_EVERY) {
                video::write(&live.path, &live.renderer, &trainer.trajectories_blocking(1, seed)?[..1])?;
                live.drawn = Some(Instant::now());
            }
            Ok(())
        });
    }

    /// After an evaluation.
    pub fn evaluated(&mut self, trainer: &Trainer, step: u64, evaluations: &[Evaluation], progress: &Progress) {
        let (records, seed) = (self.agents <= MOST_RECORDED, self.seed);
        unless_it_fails(&mut self.summaries, SUMMARIES, progress, |summaries| {
            let trajectories = if records { trainer.trajectories_blocking(1, seed)? } else { vec![] };
            summaries.evaluated(step, evaluations, &trajectories)
        });
    }

    /// After the agents were saved.
    pub fn saved(&mut self, snapshots: &[Snapshot], progress: &Progress) {
        unless_it_fails(&mut self.summaries, SUMMARIES, progress, |summaries| summaries.saved(snapshots));
        unless_it_fails(&mut self.monitor, MONITOR, progress, Monitor::write);
    }
}

/// Lets a watcher look; one that fails is told of once and looks no more, for watching is not what a run is for.
fn unless_it_fails<T>(watcher: &mut Option<T>, what: &str, progress: &Progress, look: impl FnOnce(&mut T) -> Result<()>) {
    if let Some(present) = watcher
        && let Err(error) = look(present)
    {
        progress.warn(&format!("warning: training goes on without {what}: {error:#}"));
        *watcher = None;
    }
}
