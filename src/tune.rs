//! Which plan and which tile serve a device and a configuration best, by measurement.

use crate::config::Config;
use crate::environment::Environment;
use crate::error::{Error, Result};
use crate::hyper_parameters::HyperParameters;
use crate::kernels::{Dealing, Tile};
use crate::operation::Operation;
use crate::plan::Plan;
use crate::population::{Options, Population, operations_of};
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
    /// How finely work is dealt out.
    pub dealing: Dealing,
    /// Iterations of the whole population a second: a step of every environment, and the updates that follow it.
    pub iterations_per_second: f64,
}

/// How long each candidate is measured, in parts of which the fastest counts: what disturbs only ever slows down.
const PARTS: u32 = 3;
const PART: Duration = Duration::from_millis(100);

impl Tuned {
    /// Every plan and tile that runs on `device`, and, where the tile `small` is the fastest, other ways to deal out its work;
    /// the fastest first. What `wanted` names is not varied. Each candidate is compiled and then trains agents of its own for a
    /// third of a second, in a replay ring that is just large enough; half a minute in all on a GPU, minutes on a software
    /// driver, which is slow to compile.
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
        let mut refused = None;
        let mut measure = |candidate: Tuned| match measure_blocking(device, queue, environment, config, candidate.options()) {
            Ok(iterations_per_second) => Ok(Some(Tuned { iterations_per_second, ..candidate })),
            // what one candidate cannot do, another may
            Err(error @ Error::Limit { .. }) => {
                refused = Some(error);
                Ok(None)
            }
            Err(error) => Err(error),
        };
        let tiles = Tile::ALL.into_iter().filter(|tile| tile.runs_on(device));
        let candidates = tiles.flat_map(|tile| Plan::ALL.map(|plan| (plan, tile)));
        let asked_for = |(plan, tile): &(Plan, Tile)| {
            wanted.plan.is_none_or(|wanted| wanted == *plan) && wanted.tile.is_none_or(|wanted| wanted == *tile)
        };
        let mut tuned = Vec::new();
        for (plan, tile) in candidates.filter(asked_for) {
            let dealing = wanted.dealing.unwrap_or_default();
            tuned.extend(measure(Tuned { plan, tile, dealing, iterations_per_second: 0.0 })?);
        }
        let faster = |a: &Tuned, b: &Tuned| b.iterations_per_second.total_cmp(&a.iterations_per_second);
        tuned.sort_by(faster);
        if let Some(fastest) = tuned.first().copied().filter(|tuned| tuned.tile.mixes_kinds() && wanted.dealing.is_none()) {
            let operations = |candidate: &Tuned| operations_of(device, environment, config, candidate.options());
            tuned.extend(refine(fastest, config.agents, operations, &mut measure)?);
            tuned.sort_by(faster);
        }
        match refused {
            Some(error) if tuned.is_empty() => Err(error),
            _ if tuned.is_empty() => Err(Error::config("the tile that was asked for does not run on this device")),
            _ => Ok(tuned),
        }
    }

    /// The options that run a population so.
    pub fn options(&self) -> Options {
        let mut options = Options::default();
        (options.plan, options.tile, options.dealing) = (Some(self.plan), Some(self.tile), Some(self.dealing));
        options
    }
}

/// The next way to deal out work in some direction, if there is one.
type Direction = fn(Dealing, agents: u32) -> Option<Dealing>;

const DIRECTIONS: [Direction; 5] = [
    |dealing, agents| Some(Dealing { banded_agents: if agents <= dealing.banded_agents { 0 } else { agents }, ..dealing }),
    |dealing, _| (dealing.invocations < 1 << 20).then_some(Dealing { invocations: 2 * dealing.invocations, ..dealing }),
    |dealing, _| (dealing.invocations > 1 << 10).then_some(Dealing { invocations: dealing.invocations / 2, ..dealing }),
    |dealing, _| (dealing.chained < 64).then_some(Dealing { chained: (2 * dealing.chained).max(1), ..dealing }),
    |dealing, _| (dealing.chained > 0).then_some(Dealing { chained: dealing.chained / 2, ..dealing }),
];

/// Other ways to deal out work than that of `best`, measured: on in each direction for as long as it gets faster.
fn refine(
    mut best: Tuned,
    agents: u32,
    operations: impl Fn(&Tuned) -> Result<Vec<Operation>>,
    mut measure: impl FnMut(Tuned) -> Result<Option<Tuned>>,
) -> Result<Vec<Tuned>> {
    let mut tuned = Vec::new();
    let mut current = operations(&best)?;
    let mut seen = vec![current.clone()];
    for direction in DIRECTIONS {
        let mut dealing = best.dealing;
        while let Some(next) = direction(dealing, agents) {
            dealing = next;
            let candidate = Tuned { dealing, ..best };
            let its_operations = operations(&candidate)?;
            // a step that comes to the same is taken once more; bands have but two sides
            let further = its_operations == current && dealing.banded_agents == best.dealing.banded_agents;
            match seen.contains(&its_operations) {
                true if further => continue,
                true => break,
                false => seen.push(its_operations.clone()),
            }
            let Some(measured) = measure(candidate)? else { break };
            tuned.push(measured);
            if measured.iterations_per_second <= best.iterations_per_second {
                break;
            }
            (best, current) = (measured, its_operations);
        }
    }
    Ok(tuned)
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
    use crate::config::BatchNorm;
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
        // the small one more than once, where it is the fastest
        tiles.dedup();
        let mut expected: Vec<_> = Tile::ALL.into_iter().filter(|tile| tile.runs_on(&gpu.device)).collect();
        expected.sort_by_key(|tile| tile.name());
        assert_eq!(tiles, expected);
        let options = tuned[0].options();
        assert_eq!((options.plan, options.tile), (Some(tuned[0].plan), Some(tuned[0].tile)));
    }

    const GPU: (Plan, Tile) = (Plan::Specialised, Tile::Small);

    /// The dealings that are measured of a population of `config`, where `rate` says how fast each is.
    fn refined(config: &Config, (plan, tile): (Plan, Tile), rate: impl Fn(Dealing) -> f64) -> Vec<Tuned> {
        let device = &default_limits().device;
        let environment = Environment::pendulum_v1();
        let dealing = Dealing::default();
        let first = Tuned { plan, tile, dealing, iterations_per_second: rate(dealing) };
        let operations = |candidate: &Tuned| operations_of(device, &environment, config, candidate.options());
        let measure = |candidate: Tuned| Ok(Some(Tuned { iterations_per_second: rate(candidate.dealing), ..candidate }));
        refine(first, config.agents, operations, measure).expect("refined")
    }

    #[test]
    fn dealing_goes_on_in_each_direction_for_as_long_as_it_gets_faster() {
        let mut config = Config::default();
        (config.actor_hidden, config.critic_hidden, config.batch_norm) = (vec![400, 300], vec![400, 300], BatchNorm::InputAndHidden);
        // 65,536 invocations and chains of levels of up to eight workgroups are best
        let distance = |value: u32, best: u32| (f64::from(value.max(1)) / f64::from(best)).log2().abs();
        let tuned = refined(&config, GPU, |dealing| -distance(dealing.invocations, 1 << 16) - distance(dealing.chained, 8));
        let best = tuned.iter().max_by(|a, b| a.iterations_per_second.total_cmp(&b.iterations_per_second)).expect("some");
        assert_eq!((best.dealing.invocations, best.dealing.chained), (1 << 16, 8), "{tuned:?}");
        assert!(tuned.len() < 10 && tuned.iter().all(|tuned| tuned.dealing.banded_agents == 32), "batch norm has no bands: {tuned:?}");
    }

    #[test]
    fn dealings_that_come_to_the_same_are_not_measured_twice() {
        let mut config = Config::default();
        let all = refined(&config, GPU, |dealing| f64::from(dealing.invocations));
        let of = |all: &[Tuned], value: fn(&Dealing) -> u32| all.iter().map(|tuned| value(&tuned.dealing)).collect::<Vec<_>>();
        assert!(of(&all, |dealing| dealing.banded_agents).contains(&0) && all.len() < 16, "{all:?}");
        let device = &default_limits().device;
        let operations = |tuned: &Tuned| operations_of(device, &Environment::pendulum_v1(), &config, tuned.options()).expect("laid out");
        let mut seen: Vec<Vec<Operation>> = all.iter().map(operations).collect();
        let measured = seen.len();
        seen.sort_by_key(|operations| format!("{operations:?}"));
        seen.dedup();
        assert_eq!(seen.len(), measured, "{all:?}");
        config.agents = 1000;
        let many = refined(&config, GPU, |dealing| f64::from(dealing.banded_agents));
        assert!(of(&many, |dealing| dealing.banded_agents).contains(&1000), "{many:?}");
        assert_eq!(refined(&config, (Plan::Layered, Tile::Portable), |_| 1.0), [], "another tile deals in one way");
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
