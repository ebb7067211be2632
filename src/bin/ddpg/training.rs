//! A run while it trains: slices of updates; between them measurements, evaluations and saved agents; and its end.

use crate::failure::Interrupted;
use crate::interrupt::Interrupt;
use crate::output::{note, say};
use crate::resolve::Run;
use crate::run_directory::Records;
use crate::telling::Telling;
use crate::watch::Watchers;
use anyhow::{Context, Result, bail};
use ddpg_wgpu::checkpoint::Contents;
use ddpg_wgpu::{Evaluation, Gpu, Halted, Measurements, Trainer};
use std::time::Instant;

pub struct Training<'a> {
    run: &'a Run,
    gpu: Gpu,
    trainer: Trainer,
    records: Records,
    watchers: Watchers,
    telling: Telling<'a>,
    interrupt: Interrupt,
    measurements: Vec<Measurements>,
    /// Episodes each agent has finished.
    finished: Vec<u64>,
}

impl<'a> Training<'a> {
    /// `finished`: the episodes that each agent has had before.
    pub fn new(
        run: &'a Run,
        gpu: Gpu,
        trainer: Trainer,
        records: Records,
        watchers: Watchers,
        telling: Telling<'a>,
        finished: Vec<u64>,
    ) -> Self {
        let interrupt = crate::interrupt::listen("stopping: saving the agents");
        Self { run, gpu, trainer, records, watchers, telling, interrupt, measurements: vec![], finished }
    }

    pub fn train(mut self) -> Result<()> {
        let result = self.advance().and_then(|()| self.finish());
        // what failed may be a file alone: the agents are worth another try
        if result.as_ref().is_err_and(|error| !error.is::<Interrupted>())
            && self.records.saved() != Some(self.trainer.population().environment_steps())
            && self.gpu.check().is_ok()
        {
            let _ = self.save();
        }
        self.telling.progress.finish();
        result.with_context(|| {
            let step = self.trainer.population().environment_steps();
            match self.records.saved() {
                Some(saved) => format!("stopped at step {step}; the agents of step {saved} are in {}", self.records.path().display()),
                None => format!("stopped at step {step}, before any agent was saved"),
            }
        })
    }

    /// The next multiple of `every` environment steps, in iterations; none for 0.
    fn next(&self, every: u64) -> u64 {
        if every == 0 {
            return u64::MAX;
        }
        let environments = u64::from(self.run.config.environments);
        (self.trainer.population().environment_steps() / every + 1).saturating_mul(every).div_ceil(environments)
    }

    fn advance(&mut self) -> Result<()> {
        let total = self.run.iterations();
        let (mut log, mut evaluate) = (self.next(self.run.log_every), self.next(self.run.eval_every));
        while self.trainer.population().iterations() < total && !self.interrupt.is_asked() && !self.had_all_episodes() {
            let started = Instant::now();
            let left = log.min(evaluate).min(total) - self.trainer.population().iterations();
            let result = self.trainer.advance_slice_blocking(left);
            self.gpu.check()?;
            result?;
            self.telling.pace.trained(started.elapsed());
            self.telling.show(self.trainer.population());
            let now = self.trainer.population().iterations();
            if now == log || now == evaluate {
                self.measure()?;
                log = self.next(self.run.log_every);
                if self.measurements.iter().all(|measured| measured.halted.is_some()) || self.had_all_episodes() {
                    return Ok(());
                }
            }
            if now == evaluate {
                evaluate = self.next(self.run.eval_every);
                if now < total {
                    // files first: an evaluation may be cut short
                    self.save()?;
                    let evaluations = self.evaluate(self.run.eval_episodes)?;
                    self.telling.on_the_way(self.trainer.population(), &evaluations);
                }
            }
        }
        Ok(())
    }

    fn measure(&mut self) -> Result<()> {
        if !self.measurements.is_empty() && self.telling.pace.is_logged(self.trainer.population()) {
            return Ok(());
        }
        let before: Vec<Option<Halted>> = self.measurements.iter().map(|measured| measured.halted).collect();
        self.measurements = self.trainer.measure_blocking()?;
        self.gpu.check()?;
        for measured in &self.measurements {
            let was = before.get(measured.agent as usize).copied().flatten();
            if let (Some(halted), None) = (measured.halted, was) {
                self.telling.halted(measured.agent, halted);
            }
        }
        if !self.telling.pace.has_moved(self.trainer.population()) {
            // all was written before
            return Ok(());
        }
        let speed = self.telling.pace.log(self.trainer.population());
        let mut unlogged = 0;
        for (finished, measured) in self.finished.iter_mut().zip(&self.measurements) {
            unlogged += measured.episodes.first().map_or(0, |first| u64::from(first.number).saturating_sub(*finished));
            *finished = measured.episodes.last().map_or(*finished, |last| u64::from(last.number) + 1);
        }
        self.telling.unlogged(unlogged);
        self.records.measured(&self.measurements, speed)?;
        self.watchers.measured(&self.trainer, &self.measurements, speed, &self.telling.progress);
        Ok(())
    }

    fn had_all_episodes(&self) -> bool {
        self.run.had_all(&self.finished)
    }

    fn evaluate(&mut self, episodes: u32) -> Result<Vec<Evaluation>> {
        let work = || self.trainer.evaluate_blocking(episodes, self.run.eval_seed);
        let evaluations = self.interrupt.during(self.last_words(), work);
        self.gpu.check()?;
        let evaluations = evaluations?;
        let step = self.trainer.population().environment_steps();
        self.records.evaluated(step, &self.measurements, &evaluations, &self.telling.title())?;
        self.keep_best(&evaluations)?;
        self.watchers.evaluated(&self.trainer, step, &evaluations, &self.telling.progress);
        self.telling.evaluated(&evaluations);
        Ok(evaluations)
    }

    /// Keeps the parameters of the agents that were never found better.
    fn keep_best(&mut self, evaluations: &[Evaluation]) -> Result<()> {
        let better: Vec<_> = evaluations.iter().filter(|found| self.records.best.is_beaten_by(found.agent, found.mean_return)).collect();
        let parameters = |evaluation: &&Evaluation| self.trainer.snapshot_agent_blocking(evaluation.agent, Contents::Parameters);
        let snapshots: Result<Vec<_>, _> = better.iter().map(parameters).collect();
        self.gpu.check()?;
        self.records.best.keep(&snapshots?, &better)
    }

    /// What is left to do where the run is stopped after the agents were saved.
    fn last_words(&self) -> impl FnOnce() + Send + 'static {
        let (directory, progress, summary) = (self.records.directory(), self.telling.progress.clone(), self.summary(&[], true));
        let text = self.farewell();
        move || {
            progress.finish();
            if let Err(error) = directory.summarize(&summary) {
                note(format_args!("error: {error:#}"));
            }
            say!("{text}");
            directory.release();
        }
    }

    fn save(&mut self) -> Result<()> {
        let contents = if self.run.save_replay { Contents::TrainingAndReplay } else { Contents::Training };
        let snapshots = self.trainer.snapshot_blocking(contents)?;
        self.gpu.check()?;
        self.records.save(&snapshots)?;
        self.watchers.saved(&snapshots, &self.telling.progress);
        Ok(())
    }

    /// Everything after the last update: files first, then the table.
    fn finish(&mut self) -> Result<()> {
        self.measure()?;
        self.save()?;
        if self.interrupt.is_asked() {
            self.records.directory().summarize(&self.summary(&[], true))?;
            self.telling.progress.finish();
            say!("{}", self.farewell());
            return Err(Interrupted.into());
        }
        self.telling.progress.message("evaluating");
        let evaluations = self.evaluate(self.run.final_episodes)?;
        self.records.directory().summarize(&self.summary(&evaluations, false))?;
        self.telling.progress.finish();
        self.telling.results(self.trainer.population(), &self.measurements, &evaluations, &self.records.best);
        if !self.measurements.is_empty() && self.measurements.iter().all(|measured| measured.halted.is_some()) {
            bail!("every agent stopped learning: see the table for when and why");
        }
        Ok(())
    }

    fn farewell(&self) -> String {
        self.telling.farewell(self.trainer.population(), &self.measurements, &self.records.best)
    }

    fn summary(&self, evaluations: &[Evaluation], interrupted: bool) -> serde_json::Value {
        self.telling.summary(self.trainer.population(), &self.measurements, evaluations, &self.records.best, interrupted)
    }
}
