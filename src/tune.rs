//! Which plan and which tile serve a device and a configuration best, by measurement.

use crate::config::Config;
use crate::environment::Environment;
use crate::error::{Error, Result};
use crate::hyper_parameters::HyperParameters;
use crate::kernels::Tile;
use crate::plan::Plan;
use crate::population::{Options, Population};
use crate::trainer::Trainer;
use std::time::{Duration, Instant};

/// A way to run a population, and how fast it was.
///
/// ```no_run
/// # let gpu = ddpg_wgpu::Gpu::open_blocking(None)?;
/// use ddpg_wgpu::{Config, Environment, Tuned};
/// let (environment, config) = (Environment::pendulum_v1(), Config::default());
/// let best = Tuned::all_blocking(&gpu.device, &gpu.queue, &environment, &config, Default::default())?[0];
/// println!("{} plan, {} tile: {:.0} iterations/s", best.plan, best.tile.name(), best.iterations_per_second);
/// # Ok::<(), ddpg_wgpu::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Tuned {
    /// How iterations are executed.
    pub plan: Plan,
    /// How the products are tiled.
    pub tile: Tile,
    /// Iterations of the whole population a second: a step of every environment, and the updates that follow it.
    pub iterations_per_second: f64,
}

/// How long each candidate is measured, in parts of which the fastest counts: what disturbs only ever slows down.
const PARTS: u32 = 3;
const PART: Duration = Duration::from_millis(100);

impl Tuned {
    /// Every plan and tile that runs on `device`, the fastest first. Where `wanted` names a plan or a tile, only the others
    /// are chosen. Each candidate is compiled and then trains agents of its own for a third of a second, in a replay ring
    /// that is just large enough; seconds in all on a GPU, minutes on a software driver, which is slow to compile.
    ///
    /// # Errors
    /// As [`Population::with_options`], where no candidate can run; [`Error::Config`] for an environment on the host, where
    /// there is nothing to learn from before the host has stepped it.
    pub fn all_blocking(
        device: &wgpu::Device,
        queue: &wgpu::Queue,
        environment: &Environment,
        config: &Config,
        wanted: Options,
    ) -> Result<Vec<Tuned>> {
        if environment.is_host() {
            return Err(Error::config("only environments on the GPU can be tuned for: those on the host have nothing to learn from yet"));
        }
        let tiles = Tile::ALL.into_iter().filter(|tile| tile.runs_on(device));
        let candidates = tiles.flat_map(|tile| Plan::ALL.map(|plan| (plan, tile)));
        let asked_for = |(plan, tile): &(Plan, Tile)| {
            wanted.plan.is_none_or(|wanted| wanted == *plan) && wanted.tile.is_none_or(|wanted| wanted == *tile)
        };
        let mut tuned = Vec::new();
        let mut refused = None;
        for (plan, tile) in candidates.filter(asked_for) {
            let mut candidate = Tuned { plan, tile, iterations_per_second: 0.0 };
            match measure_blocking(device, queue, environment, config, candidate.options()) {
                Ok(iterations_per_second) => {
                    candidate.iterations_per_second = iterations_per_second;
                    tuned.push(candidate);
                }
                // what one candidate cannot do, another may
                Err(error @ Error::Limit { .. }) => refused = Some(error),
                Err(error) => return Err(error),
            }
        }
        tuned.sort_by(|a, b| b.iterations_per_second.total_cmp(&a.iterations_per_second));
        match refused {
            Some(error) if tuned.is_empty() => Err(error),
            _ if tuned.is_empty() => Err(Error::config("the tile that was asked for does not run on this device")),
            _ => Ok(tuned),
        }
    }

    /// The options that run a population so.
    pub fn options(&self) -> Options {
        let mut options = Options::default();
        (options.plan, options.tile) = (Some(self.plan), Some(self.tile));
        options
    }
}

/// Iterations a second of a population of `config` that learns, run as `options` say.
fn measure_blocking(
    device: &wgpu::Device,
    queue: &wgpu::Queue,
    environment: &Environment,
    config: &Config,
    options: Options,
) -> Result<f64> {
    let mut config = config.clone();
    config.learning_starts = config.transitions_needed();
    config.replay_capacity = config.replay_capacity.min(config.learning_starts.max(4096));
    let hyper_parameters = HyperParameters::of_population(&config);
    let mut trainer = Trainer::from_population(Population::with_options(device, queue, environment, &config, hyper_parameters, options)?);
    trainer.advance_blocking(u64::from(config.learning_starts.div_ceil(config.environments)))?;
    // the first updates wait for caches, and tell the trainer how many fit into a submission
    trainer.advance_slice_blocking(u64::MAX)?;
    let mut best: f64 = 0.0;
    for _ in 0..PARTS {
        let (start, mut iterations) = (Instant::now(), 0);
        while start.elapsed() < PART {
            iterations += trainer.advance_slice_blocking(u64::MAX)?;
        }
        best = best.max(iterations as f64 / start.elapsed().as_secs_f64());
    }
    Ok(best)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::harness::default_limits;

    fn small() -> Config {
        let mut config = Config::default();
        (config.actor_hidden, config.critic_hidden) = (vec![9], vec![9]);
        (config.batch_size, config.learning_starts, config.environments) = (8, 5000, 2);
        config
    }

    #[test]
    fn candidates_are_measured_and_the_fastest_comes_first() {
        let gpu = default_limits();
        let mut wanted = Options::default();
        wanted.plan = Some(Plan::Layered);
        let tuned = Tuned::all_blocking(&gpu.device, &gpu.queue, &Environment::pendulum_v1(), &small(), wanted).expect("tuned");
        let mut tiles: Vec<_> = tuned.iter().map(|tuned| tuned.tile).collect();
        assert!(tuned.iter().all(|tuned| tuned.plan == Plan::Layered && tuned.iterations_per_second > 1.0), "{tuned:?}");
        assert!(tuned.is_sorted_by(|a, b| a.iterations_per_second >= b.iterations_per_second), "{tuned:?}");
        tiles.sort_by_key(|tile| tile.name());
        let mut expected: Vec<_> = Tile::ALL.into_iter().filter(|tile| tile.runs_on(&gpu.device)).collect();
        expected.sort_by_key(|tile| tile.name());
        assert_eq!(tiles, expected);
        let options = tuned[0].options();
        assert_eq!((options.plan, options.tile), (Some(tuned[0].plan), Some(tuned[0].tile)));
    }

    #[test]
    fn what_no_candidate_can_do_is_an_error() {
        let gpu = default_limits();
        let mut config = small();
        config.agents = 1000;
        config.actor_hidden = vec![512, 512];
        let mut wanted = Options::default();
        (wanted.plan, wanted.tile) = (Some(Plan::Layered), Some(Tile::Portable));
        let refused = Tuned::all_blocking(&gpu.device, &gpu.queue, &Environment::pendulum_v1(), &config, wanted);
        assert!(matches!(refused, Err(Error::Limit { .. })), "{refused:?}");
    }
}
