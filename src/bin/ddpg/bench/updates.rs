//! Updates alone, and updates with an environment step each.

use super::sample::{Pace, Row, Spread, count};
use super::{Bench, Workload};
use anyhow::{Result, ensure};
use ddpg_wgpu::{Config, Environment, Gpu, HyperParameters, Options, Plan, Population, Preset, Trainer};

/// Transitions that each ring is filled with before updates are timed.
const RING: u32 = 10_000;
/// The same where many rings must fit one buffer.
const SMALL_RING: u32 = 2_000;

/// Networks of one size and agents of one number.
#[derive(Debug, Clone)]
pub struct Case {
    pub network: &'static str,
    pub config: Config,
}

/// The networks that are measured everywhere; one agent in one environment.
pub fn network(name: &'static str) -> Case {
    let mut config = Config::preset(if name == "400-300" { Preset::Paper } else { Preset::Modern });
    if name == "256-256" {
        (config.actor_hidden, config.critic_hidden, config.batch_size) = (vec![256, 256], vec![256, 256], 256);
    }
    config.environments = 1;
    // while the ring fills, what the policy does is of no importance
    config.random_steps = 0;
    Case { network: name, config }.ring(RING)
}

pub fn cases(workload: Workload) -> Vec<Case> {
    match workload {
        Workload::Paper => vec![network("400-300")],
        Workload::Wide => vec![network("256-256")],
        Workload::Small => vec![network("64-64")],
        _ => vec![network("64-64").agents(32), network("64-64").agents(1024)],
    }
}

impl Case {
    pub fn agents(mut self, agents: u32) -> Self {
        self.config.agents = agents;
        let ring = if agents > 64 { SMALL_RING } else { RING };
        self.ring(ring)
    }

    pub fn ring(mut self, transitions: u32) -> Self {
        let ring = transitions.max(self.config.batch_size);
        (self.config.replay_capacity, self.config.learning_starts) = (ring, ring);
        self
    }

    pub fn title(&self) -> String {
        let Config { agents, batch_size, .. } = self.config;
        let agents = if agents == 1 { "one agent".to_owned() } else { format!("{} agents", count(agents.into())) };
        let norm = if self.network == "400-300" { ", batch norm" } else { "" };
        format!("updates: {}, batch {batch_size}{norm}, {agents}", self.network)
    }

    fn population(&self, gpu: &Gpu, options: Options) -> Result<Population> {
        let hyper_parameters = HyperParameters::of_population(&self.config);
        let environment = Environment::pendulum_v1();
        Ok(Population::with_options(&gpu.device, &gpu.queue, &environment, &self.config, hyper_parameters, options)?)
    }

    /// A trainer whose replay rings are full.
    pub fn filled(&self, gpu: &Gpu, options: Options) -> Result<Trainer> {
        let mut trainer = Trainer::from_population(self.population(gpu, options)?);
        trainer.advance_blocking(self.config.learning_starts.into())?;
        gpu.check()?;
        Ok(trainer)
    }

    pub fn run(&self, bench: &Bench) -> Result<Row> {
        let agents = self.config.agents;
        if agents >= 1024 && bench.quick {
            return Ok(Row::skipped(&self.title(), "--quick leaves it out"));
        }
        let mut trainer = self.filled(&bench.gpu, bench.options)?;
        if bench.is_software() {
            let start = std::time::Instant::now();
            trainer.update_slice_blocking(1)?;
            let (seconds, most) = (start.elapsed().as_secs_f64(), 10.0);
            if seconds > most {
                return Ok(Row::skipped(&self.title(), &format!("one update of all agents takes {seconds:.0} s on this software driver")));
            }
        }
        self.measure(&bench.gpu, bench.pace, trainer)
    }

    /// Updates alone.
    pub fn measure(&self, gpu: &Gpu, pace: Pace, mut trainer: Trainer) -> Result<Row> {
        let agents = u64::from(self.config.agents);
        let samples = pace.rates(|| Ok(agents * trainer.update_slice_blocking(u64::MAX)?))?;
        let plan = how(trainer.population());
        check(gpu, trainer)?;
        let unit = if agents == 1 { "updates/s" } else { "agent-updates/s" };
        let note = match Spread::of(&samples) {
            Some(spread) => format!("{plan}, {:.1} GFLOP/s", 1e-9 * spread.median * flops(&self.config)),
            None => String::new(),
        };
        Ok(Row { title: self.title(), unit, samples, note })
    }
}

/// The plan, and what an update takes where that is dispatches of its own.
fn how(population: &Population) -> String {
    match population.plan() {
        Plan::Fused => format!("{} plan", Plan::Fused),
        plan => format!("{plan} plan, {} dispatches an update", population.dispatches().1),
    }
}

/// That every agent took the updates that were recorded: halted agents, or a lost device, would be the fastest of all.
pub fn check(gpu: &Gpu, mut trainer: Trainer) -> Result<()> {
    gpu.check()?;
    let recorded = trainer.population().updates();
    for measured in trainer.measure_blocking()? {
        let taken = u64::from(measured.updates);
        ensure!(
            taken == recorded & u64::from(u32::MAX) && measured.halted.is_none(),
            "agent {} took {taken} of {recorded} updates{}",
            measured.agent,
            measured.halted.map(|halted| format!(": it {halted}")).unwrap_or_default()
        );
    }
    Ok(())
}

/// Environment steps a second of one agent in one environment that learns after every step.
pub fn end_to_end(bench: &Bench) -> Result<Row> {
    let mut case = network("64-64");
    (case.config.replay_capacity, case.config.learning_starts) = (100_000, 1000);
    let mut trainer = case.filled(&bench.gpu, bench.options)?;
    let samples = bench.pace.rates(|| Ok(trainer.advance_slice_blocking(u64::MAX)?))?;
    let note = how(trainer.population());
    check(&bench.gpu, trainer)?;
    let title = "end to end: one environment, one update a step, 64-64, batch 64".to_owned();
    Ok(Row { title, unit: "environment steps/s", samples, note })
}

/// Multiplications and additions of one agent's update, counted over the weights of the dense layers: each of the actor's
/// takes part in four products (both actors forward, two gradients), each of the critic's in six; gradients that stop at a
/// first layer's inputs are counted as if they did not.
pub fn flops(config: &Config) -> f64 {
    let environment = Environment::pendulum_v1();
    let (observation, action) = (f64::from(environment.observation_size), f64::from(environment.action_size()));
    let weights = |hidden: &[u32], outputs: f64, action_layer: Option<usize>| {
        let widths = hidden.iter().map(|&width| f64::from(width)).chain([outputs]);
        let mut inputs = observation;
        widths
            .enumerate()
            .map(|(layer, width)| {
                let entering = if action_layer == Some(layer + 1) { action } else { 0.0 };
                let weights = (inputs + entering) * width;
                inputs = width;
                weights
            })
            .sum::<f64>()
    };
    let actor = weights(&config.actor_hidden, action, None);
    let critic = weights(&config.critic_hidden, 1.0, Some(config.action_layer as usize));
    2.0 * f64::from(config.batch_size) * (4.0 * actor + 6.0 * critic)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arithmetic_of_an_update_is_counted_over_its_weights() {
        // 64-64: 3·64 + 64·64 + 64 and 4·64 + 64·64 + 64 weights
        assert_eq!(flops(&network("64-64").config), 128.0 * (4.0 * 4352.0 + 6.0 * 4416.0));
        // 400-300, the action into the second layer: 3·400 + 400·300 + 300 and 3·400 + 401·300 + 300
        assert_eq!(flops(&network("400-300").config), 128.0 * (4.0 * 121_500.0 + 6.0 * 121_800.0));
    }

    #[test]
    fn every_case_is_a_valid_configuration() {
        for workload in [Workload::Paper, Workload::Wide, Workload::Small, Workload::Populations] {
            for case in cases(workload) {
                case.config.validate().unwrap_or_else(|error| panic!("{}: {error}", case.title()));
                assert_eq!((case.config.environments, case.config.updates_per_iteration), (1, 1));
            }
        }
    }
}
