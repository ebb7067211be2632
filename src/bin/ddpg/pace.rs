//! How fast a run goes.

use crate::resolve::Run;
use ddpg_wgpu::Population;
use std::time::{Duration, Instant};

/// Environment steps and updates a second.
#[derive(Debug, Clone, Copy)]
pub struct Speed {
    pub steps: f64,
    pub updates: f64,
}

/// The time that a run takes, and how far it came in it.
#[derive(Debug)]
pub struct Pace {
    agents: f64,
    environments: f64,
    started: Instant,
    /// Time spent training, without evaluations.
    trained: Duration,
    /// Iterations and updates when this process began.
    began: (u64, u64),
    /// The same, and the time trained, at the last row of metrics.
    logged: (u64, u64, Duration),
    /// One agent's speed between the last two rows; the first has the compilation of the shaders in it.
    recent: Option<Speed>,
}

impl Pace {
    /// Of a run whose agents stand as in `population`.
    pub fn new(run: &Run, population: &Population) -> Self {
        let began = (population.iterations(), population.updates());
        Self {
            agents: f64::from(run.config.agents),
            environments: f64::from(run.config.environments),
            started: Instant::now(),
            trained: Duration::ZERO,
            began,
            logged: (began.0, began.1, Duration::ZERO),
            recent: None,
        }
    }

    /// After `time` spent training.
    pub fn trained(&mut self, time: Duration) {
        self.trained += time;
    }

    /// Seconds since this process began, and those of them spent training.
    pub fn seconds(&self) -> [f64; 2] {
        [self.started.elapsed(), self.trained].map(|time| time.as_secs_f64())
    }

    /// Whether this process has trained at all.
    pub fn has_moved(&self, population: &Population) -> bool {
        population.iterations() != self.began.0
    }

    /// Whether the last row of metrics is of where the agents stand.
    pub fn is_logged(&self, population: &Population) -> bool {
        population.iterations() == self.logged.0
    }

    /// One agent's speed since the last row of metrics, for the next.
    pub fn log(&mut self, population: &Population) -> Speed {
        let (iterations, updates, trained) = self.logged;
        self.logged = (population.iterations(), population.updates(), self.trained);
        let speed = self.speed(population, (iterations, updates), self.trained - trained);
        self.recent = Some(speed);
        speed
    }

    /// The speed over all of this process, all agents together.
    pub fn overall(&self, population: &Population) -> Speed {
        self.of_all(self.speed(population, self.began, self.trained))
    }

    /// The speed at the moment, all agents together.
    pub fn now(&self, population: &Population) -> Speed {
        self.recent.map_or_else(|| self.overall(population), |recent| self.of_all(recent))
    }

    /// One agent's speed in the `time` since it had taken `iterations` and `updates`.
    fn speed(&self, population: &Population, (iterations, updates): (u64, u64), time: Duration) -> Speed {
        let seconds = time.as_secs_f64().max(1e-9);
        Speed {
            steps: (population.iterations() - iterations) as f64 * self.environments / seconds,
            updates: (population.updates() - updates) as f64 / seconds,
        }
    }

    fn of_all(&self, one: Speed) -> Speed {
        Speed { steps: one.steps * self.agents, updates: one.updates * self.agents }
    }
}
