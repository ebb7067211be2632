//! What a run writes for TensorBoard: a sub-directory an agent, with the numbers of the CSV files under the same names.
//!
//! | tag | step |
//! |---|---|
//! | `Reward`, `Qmax Value` | episode |
//! | `charts/episodic_return`, `charts/episodic_length` | environment steps when the episode ended |
//! | `losses/…`, `charts/replay_length`, `charts/SPS`, `charts/UPS` | environment steps, as in `metrics.csv` |
//! | `eval/episodic_return` | environment steps, as in `evaluations.csv` |
//! | `weights/…`, `actions/…` (histograms) | environment steps, at each evaluation |
//! | `hyperparameters` (text) | 0 |

use crate::pace::Speed;
use crate::tensorboard::EventFile;
use anyhow::Result;
use ddpg_wgpu::{Evaluation, Measurements, Snapshot, Trajectory};
use std::path::Path;

/// One event file an agent.
#[derive(Debug)]
pub struct Summaries {
    agents: Vec<EventFile>,
}

/// The name of an agent's sub-directory.
pub fn agent_directory(agent: usize) -> String {
    format!("agent-{agent:04}")
}

/// As `metrics.csv` has it.
fn tenths(number: f64) -> f32 {
    ((number * 10.0).round() / 10.0) as f32
}

impl Summaries {
    /// Starts an event file for each of `agents`; after a resumption, `void_from` is the first step that may be written anew.
    pub fn create(directory: &Path, agents: u32, config: &str, void_from: Option<u64>) -> Result<Self> {
        let rows = config.lines().filter_map(|line| line.split_once(" = "));
        let table: String = rows.map(|(name, value)| format!("|{name}|{}|\n", value.replace('|', "\\|"))).collect();
        let text = format!("|setting|value|\n|-|-|\n{table}");
        let create = |agent: usize| {
            let place = directory.join(agent_directory(agent));
            let mut file = EventFile::create(&place, void_from)?;
            file.text("hyperparameters", 0, &text);
            file.flush()?;
            Ok(file)
        };
        Ok(Self { agents: (0..agents as usize).map(create).collect::<Result<_>>()? })
    }

    /// The rows of `metrics.csv` and `episodes.csv`.
    pub fn measured(&mut self, measurements: &[Measurements], speed: Speed) -> Result<()> {
        for (file, m) in self.agents.iter_mut().zip(measurements) {
            let numbers = [
                ("losses/qf1_loss", m.critic_loss),
                ("losses/actor_loss", m.actor_loss),
                ("losses/qf1_values", m.value),
                ("losses/qf1_values_max", m.value_maximum),
                ("losses/absolute_td_error", m.absolute_td_error),
                ("losses/saturated_actions", m.saturated),
                ("charts/replay_length", Some(m.replay_length as f32)),
                ("charts/SPS", Some(tenths(speed.steps))),
                ("charts/UPS", Some(tenths(speed.updates))),
            ];
            for (tag, number) in numbers {
                if let Some(number) = number {
                    file.scalar(tag, m.steps, number);
                }
            }
            for episode in &m.episodes {
                file.scalar("Reward", episode.number.into(), episode.episode_return);
                file.scalar("Qmax Value", episode.number.into(), episode.maximum_value);
                file.scalar("charts/episodic_return", episode.steps, episode.episode_return);
                file.scalar("charts/episodic_length", episode.steps, episode.length as f32);
            }
            file.flush()?;
        }
        Ok(())
    }

    /// The rows of `evaluations.csv`, and the actions of one episode an agent.
    pub fn evaluated(&mut self, step: u64, evaluations: &[Evaluation], trajectories: &[Trajectory]) -> Result<()> {
        for (file, evaluation) in self.agents.iter_mut().zip(evaluations) {
            file.scalar("eval/episodic_return", step, evaluation.mean_return as f32);
        }
        for trajectory in trajectories {
            let Some(file) = self.agents.get_mut(trajectory.agent as usize) else { continue };
            let size = trajectory.actions.len() / trajectory.length().max(1);
            for dimension in 0..size {
                let actions: Vec<f32> = trajectory.actions.iter().skip(dimension).step_by(size).copied().collect();
                file.histogram(&format!("actions/{dimension}"), step, &actions);
            }
        }
        self.agents.iter_mut().try_for_each(EventFile::flush)
    }

    /// Histograms of the actors' and critics' parameters.
    pub fn saved(&mut self, snapshots: &[Snapshot]) -> Result<()> {
        for (file, snapshot) in self.agents.iter_mut().zip(snapshots) {
            for name in snapshot.tensor_names().filter(|name| name.starts_with("actor.") || name.starts_with("critic.")) {
                if let Some((_, numbers)) = snapshot.tensor(name) {
                    file.histogram(&format!("weights/{name}"), snapshot.environment_steps, numbers);
                }
            }
            file.flush()?;
        }
        Ok(())
    }
}
