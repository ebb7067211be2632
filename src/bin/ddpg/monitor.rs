//! The monitor directory: the statistics of every training episode, and videos of the policy as it learns.

use crate::run_directory::{left_behind, unusable};
use crate::summaries::agent_directory;
use crate::tensorboard::now;
use crate::video;
use anyhow::{Context, Result};
use ddpg_wgpu::{Measurements, Renderer, Trainer};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const EPISODES: &str = "episodes.json";

/// One agent's episodes, in the order they ended.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Statistics {
    /// Seconds since 1970 when training began.
    initial_reset_timestamp: f64,
    /// Seconds since 1970 when each episode was read from the device.
    timestamps: Vec<f64>,
    episode_lengths: Vec<u32>,
    episode_rewards: Vec<f32>,
}

/// Writes what a run with `--use-gym-monitor` records.
#[derive(Debug)]
pub struct Monitor {
    directory: PathBuf,
    agents: Vec<Statistics>,
    renderer: Option<Renderer>,
    /// The next episode of agent 0 that is worth a video.
    next_video: u32,
    written: Instant,
}

/// How long statistics may wait to be written: the file is replaced as a whole.
const PATIENCE: Duration = Duration::from_secs(10);

/// Whether a video is made of the policy after this many episodes: 0, 1, 8, 27, … 729, then every thousandth.
fn is_worth_a_video(episode: u32) -> bool {
    if episode < 1000 { (0..10u32).any(|root| root.pow(3) == episode) } else { episode.is_multiple_of(1000) }
}

/// Whether a monitor writes a file of this name.
pub fn is_record(name: &str) -> bool {
    name == EPISODES || (name.starts_with("episode-") && name.ends_with(".gif"))
}

impl Monitor {
    /// Starts in `directory`, replacing what an earlier run left there; after a resumption, goes on with it. Without a
    /// renderer there are no videos.
    pub fn open(directory: &Path, agents: u32, renderer: Option<Renderer>, resumed: bool) -> Result<Self> {
        let fresh = Statistics { initial_reset_timestamp: now(), ..Default::default() };
        let mut statistics = Vec::new();
        for agent in 0..agents as usize {
            let place = directory.join(agent_directory(agent));
            fs::create_dir_all(&place).with_context(|| format!("cannot write to the monitor directory {}", directory.display()))?;
            let path = place.join(EPISODES);
            let earlier = if resumed { left_behind(&path)? } else { None };
            statistics.push(match earlier {
                Some(text) => serde_json::from_str(&text).with_context(|| unusable(&path))?,
                None => fresh.clone(),
            });
            for entry in fs::read_dir(&place)?.flatten().filter(|_| !resumed) {
                if is_record(&entry.file_name().to_string_lossy()) {
                    fs::remove_file(entry.path()).with_context(|| entry.path().display().to_string())?;
                }
            }
        }
        Ok(Self { directory: directory.to_owned(), agents: statistics, renderer, next_video: 0, written: Instant::now() })
    }

    /// Takes in the episodes that ended, and makes a video of agent 0 where one is due: an episode of its policy as it
    /// stands, without noise, from the starting state of `seed`.
    pub fn measured(&mut self, trainer: &Trainer, measurements: &[Measurements], seed: u32) -> Result<()> {
        for (statistics, measured) in self.agents.iter_mut().zip(measurements) {
            for episode in &measured.episodes {
                // a resumed run may repeat what the one before had noted already
                let number = statistics.timestamps.len().min(episode.number as usize);
                statistics.timestamps.truncate(number);
                statistics.episode_lengths.truncate(number);
                statistics.episode_rewards.truncate(number);
                statistics.timestamps.push(now());
                statistics.episode_lengths.push(episode.length);
                statistics.episode_rewards.push(episode.episode_return);
            }
        }
        if self.written.elapsed() > PATIENCE {
            self.write()?;
        }
        let finished = measurements.first().and_then(|measured| measured.episodes.last()).map_or(0, |episode| episode.number + 1);
        self.video(trainer, finished, seed)
    }

    /// A video of agent 0 after `finished` episodes, where one is due.
    pub fn video(&mut self, trainer: &Trainer, finished: u32, seed: u32) -> Result<()> {
        let Some(renderer) = &self.renderer else { return Ok(()) };
        if finished < self.next_video {
            return Ok(());
        }
        self.next_video = (finished + 1..).find(|&episode| is_worth_a_video(episode)).unwrap_or(u32::MAX);
        let trajectories = trainer.trajectories_blocking(1, seed)?;
        let path = self.directory.join(agent_directory(0)).join(format!("episode-{finished:06}.gif"));
        video::write(&path, renderer, &trajectories[..1])
    }

    /// Writes the statistics, each file at once.
    pub fn write(&mut self) -> Result<()> {
        for (agent, statistics) in self.agents.iter().enumerate() {
            let path = self.directory.join(agent_directory(agent)).join(EPISODES);
            let temporary = path.with_extension(format!("json.{}.tmp", std::process::id()));
            let text = serde_json::to_string(statistics)?;
            fs::write(&temporary, text).and_then(|()| fs::rename(&temporary, &path)).with_context(|| path.display().to_string())?;
        }
        self.written = Instant::now();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn videos_grow_rarer() {
        let episodes: Vec<_> = (0..3500).filter(|&episode| is_worth_a_video(episode)).collect();
        assert_eq!(episodes, [0, 1, 8, 27, 64, 125, 216, 343, 512, 729, 1000, 2000, 3000]);
    }
}
