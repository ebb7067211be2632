//! Pendulum alone.

use super::Bench;
use super::sample::{Row, count};
use anyhow::{Result, ensure};
use ddpg_wgpu::{Environment, Simulation};

/// Some environments, with one kind of actions.
#[derive(Debug)]
pub struct Case {
    environments: u32,
    random: bool,
}

pub fn cases(bench: &Bench) -> Vec<Case> {
    let case = |environments, random| Case { environments, random };
    let mut cases = vec![case(4096, false), case(4096, true)];
    if !bench.is_software() {
        // what it takes to fill a GPU
        cases.extend([case(1 << 20, false), case(1 << 20, true)]);
    }
    cases
}

impl Case {
    pub fn title(&self) -> String {
        let actions = if self.random { "random" } else { "held" };
        format!("simulation: Pendulum-v1, {} environments, {actions} actions", count(self.environments.into()))
    }

    pub fn run(&self, bench: &Bench) -> Result<Row> {
        let gpu = &bench.gpu;
        let mut simulation = Simulation::new(&gpu.device, &gpu.queue, &Environment::pendulum_v1(), self.environments, 1)?;
        if !self.random {
            let torques: Vec<f32> = (0..self.environments).map(|e| (e % 401) as f32 / 100.0 - 2.0).collect();
            simulation.hold_actions(&torques)?;
        }
        let mut steps = 0u64;
        let samples = bench.pace.rates(|| {
            let taken = u64::from(simulation.advance_slice_blocking(u32::MAX)?);
            steps += taken;
            Ok(taken * u64::from(self.environments))
        })?;
        gpu.check()?;
        // a device that did nothing would be the fastest of all
        for (e, standing) in simulation.standings_blocking()?.iter().enumerate() {
            let counted = u64::from(standing.episodes) * 200 + u64::from(standing.length);
            ensure!(counted == steps, "{steps} steps were recorded, but environment {e} took {counted}");
        }
        Ok(Row { title: self.title(), unit: "environment steps/s", samples, note: String::new() })
    }
}
