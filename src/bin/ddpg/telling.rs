//! What a run tells of itself: what it is before it begins, how far it is, what came of it.

use crate::best::Best;
use crate::output::{in_a_command, say};
use crate::pace::{Pace, Speed};
use crate::progress::Progress;
use crate::report;
use crate::resolve::Run;
use ddpg_wgpu::{Config, Evaluation, Gpu, Halted, Measurements, Plan, Population, Snapshot, Trainer};
use serde_json::json;
use std::path::{Path, PathBuf};

pub fn introduce(config: &str, iterations: u64, gpu: &Gpu, trainer: &Trainer, directory: &Path) {
    let (rollout, update) = trainer.population().dispatches();
    say!("{}\n", config.trim_end());
    say!("adapter: {}", gpu.description());
    match trainer.population().plan() {
        Plan::Fused => say!("plan: {}, whole iterations in a dispatch", Plan::Fused),
        plan => say!("plan: {plan}, {rollout} dispatches a step of the environments, {update} an update"),
    }
    let Config { steps, environments, learning_starts, updates_per_iteration: updates, .. } = trainer.population().config();
    let all = steps.saturating_sub((*learning_starts).into()) / u64::from(*environments) * u64::from(*updates);
    say!(
        "learning: {updates} update{} for every {environments} environment steps, about {all} in all",
        if *updates == 1 { "" } else { "s" }
    );
    say!("run directory: {}", directory.display());
    let population = trainer.population();
    if population.iterations() >= iterations {
        say!("all steps are taken: only the evaluation is left");
    } else if population.iterations() > 0 {
        let ring = match population.learns() {
            true => "",
            false => {
                "; the replay rings start empty: learning goes on from new transitions alone, and may unlearn what it had \
                 (--save-replay keeps the rings)"
            }
        };
        say!("going on after {} environment steps and {} updates{ring}", population.environment_steps(), population.updates());
    }
    say!("");
}

/// Who tells it while the run goes on.
#[derive(Debug)]
pub struct Telling<'a> {
    run: &'a Run,
    adapter: String,
    directory: PathBuf,
    pub progress: Progress,
    pub pace: Pace,
    /// The last evaluation, in short.
    latest: Option<String>,
    /// Whether it was said that episodes ended faster than they are logged.
    told_of_unlogged: bool,
}

impl<'a> Telling<'a> {
    pub fn new(run: &'a Run, quiet: bool, gpu: &Gpu, population: &Population, directory: &Path) -> Self {
        Self {
            run,
            adapter: gpu.description(),
            directory: directory.to_owned(),
            progress: Progress::new(quiet, run.config.steps, population.environment_steps()),
            pace: Pace::new(run, population),
            latest: None,
            told_of_unlogged: false,
        }
    }

    /// What its learning curve is called.
    pub fn title(&self) -> String {
        let Run { env, preset, config, .. } = self.run;
        let agents = if config.agents == 1 { "one agent".to_owned() } else { format!("{} agents", config.agents) };
        format!("{env}, preset {}, {agents} from seed {}", preset.name(), config.seed)
    }

    /// Where training stands.
    pub fn show(&self, population: &Population) {
        self.progress.show(population.environment_steps().min(self.run.config.steps), || {
            let Speed { steps, updates } = self.pace.now(population);
            let latest = self.latest.as_ref().map_or_else(|| "no evaluation yet".to_owned(), |latest| format!("return {latest}"));
            // what a narrow terminal cuts off is the speed
            format!("{latest}, {steps:.0} steps/s, {updates:.0} updates/s")
        });
    }

    pub fn halted(&self, agent: u32, halted: Halted) {
        self.progress.warn(&format!("agent {agent} {halted}; it keeps its last good parameters"));
    }

    /// That episodes ended without a row of their own; told once.
    pub fn unlogged(&mut self, episodes: u64) {
        if episodes > 0 && !self.told_of_unlogged {
            self.told_of_unlogged = true;
            self.progress.warn(&format!(
                "{episodes} episodes have ended unlogged: an agent keeps the last 64 between two rows; \
                 a smaller --log-every makes more rows, fewer --envs fewer episodes that end together"
            ));
        }
    }

    /// Notes an evaluation for what is shown from now on.
    pub fn evaluated(&mut self, evaluations: &[Evaluation]) {
        self.latest = Some(report::in_short(evaluations, &self.run.env));
    }

    /// The line of an evaluation on the way.
    pub fn on_the_way(&self, population: &Population, evaluations: &[Evaluation]) {
        let Speed { steps, updates } = self.pace.now(population);
        let (step, taken) = (population.environment_steps(), population.updates());
        let mean = report::in_short(evaluations, &self.run.env);
        self.progress.tell(&format!("step {step:>9}  update {taken:>9}  {steps:.0} steps/s  {updates:.0} updates/s  mean return {mean}"));
    }

    /// What is said of a run that was interrupted.
    pub fn farewell(&self, population: &Population, measurements: &[Measurements], best: &Best) -> String {
        let (directory, again) = (self.directory.display(), in_a_command(&self.directory));
        let (step, updates) = (population.environment_steps(), population.updates());
        let best = best.told(measurements).map(|told| format!("\n{told}")).unwrap_or_default();
        format!("interrupted at step {step}, update {updates}: the agents are in {directory}\ngo on: ddpg train --resume {again}{best}")
    }

    /// The table at the end, and what follows it.
    pub fn results(&self, population: &Population, measurements: &[Measurements], evaluations: &[Evaluation], best: &Best) {
        let halted: Vec<_> = measurements.iter().map(|measured| measured.halted).collect();
        say!("{}", report::evaluations(evaluations, &halted));
        let Speed { steps, updates } = self.pace.overall(population);
        let [wall, trained] = self.pace.seconds();
        say!(
            "mean return {}\n{wall:.1} s, {trained:.1} s of it training: {steps:.0} environment steps/s, {updates:.0} updates/s\n\
             run directory: {}\nevaluate again: ddpg eval {}",
            report::in_short(evaluations, &self.run.env),
            self.directory.display(),
            in_a_command(&self.directory)
        );
        if let Some(told) = best.told(measurements) {
            say!("{told}");
        }
    }

    /// The same for programs: `summary.json`.
    pub fn summary(
        &self,
        population: &Population,
        measurements: &[Measurements],
        evaluations: &[Evaluation],
        best: &Best,
        interrupted: bool,
    ) -> serde_json::Value {
        let Speed { steps, updates } = self.pace.overall(population);
        let [wall, trained] = self.pace.seconds();
        let agents: Vec<_> = measurements
            .iter()
            .map(|measured| {
                let evaluation = evaluations.get(measured.agent as usize).map(report::json);
                let mut agent = evaluation.unwrap_or_else(|| json!({ "agent": measured.agent, "seed": measured.seed }));
                agent["updates"] = measured.updates.into();
                agent["halted"] = measured.halted.map(|halted| halted.to_string()).into();
                agent["parameters"] = Snapshot::file_name(measured.agent).into();
                agent["best"] = best.json(measured.agent);
                agent
            })
            .collect();
        json!({
            "environment": self.run.env,
            "preset": self.run.preset.name(),
            "adapter": self.adapter,
            "version": env!("CARGO_PKG_VERSION"),
            "interrupted": interrupted,
            "environment_steps": population.environment_steps(),
            "updates": population.updates(),
            "wall_seconds": wall,
            "training_seconds": trained,
            "environment_steps_per_second": steps,
            "updates_per_second": updates,
            "evaluation_seed": self.run.eval_seed,
            "agents": agents,
        })
    }
}
