//! `ddpg train`: trains agents and leaves a run directory behind.

use crate::execution::Execution;
use crate::failure::{Interrupted, Usage};
use crate::interrupt::Interrupt;
use crate::layers::{self, Layer};
use crate::output::{in_a_command, note, say};
use crate::progress::Progress;
use crate::recorded::{self, Recorded};
use crate::report;
use crate::resolve::Run;
use crate::run_directory::{Records, RunDirectory, Speed, finished_episodes, is_evaluated};
use crate::settings::Settings;
use crate::tuning::Tuning;
use crate::watch::Watchers;
use anyhow::{Context, Result, bail};
use clap::Args;
use ddpg_wgpu::checkpoint::Contents;
use ddpg_wgpu::{Config, Environment, Evaluation, Gpu, Halted, HyperParameters, Measurements, Plan, Population, Snapshot, Trainer};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const EXAMPLES: &str = "Settings come from the preset, then from the run that --resume names, then from --config, then from flags; each\n\
    overrides those before.\n\
    A TOML file has the flags' names with _ for -, such as actor_learning_rate = 1e-3.\n\n\
    Examples:\n  \
    ddpg train                                       one agent on Pendulum-v1, as fast as we know\n  \
    ddpg train --agents 10 --seed 1                  ten seeds at once\n  \
    ddpg train --preset paper --steps 100000         Lillicrap et al. 2016, shortened\n  \
    ddpg train --actor-hidden 256,256 --critic-hidden 256,256 --batch-size 256\n  \
    ddpg train --preset seed --print-config > my.toml && ddpg train --config my.toml\n  \
    ddpg train --resume runs/pendulum --steps 80000  go on with a run";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// TOML file of settings; unknown names are errors
    #[arg(long, value_name = "FILE.toml")]
    config: Option<PathBuf>,
    /// Print the resolved settings as TOML and exit
    #[arg(long)]
    print_config: bool,
    /// Run directory [default: runs/{env}__{preset}__{seed}__{unix time}]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Replace the files of an earlier run in --out
    #[arg(long)]
    overwrite: bool,
    /// Go on with the run in this directory, in the same directory unless --out names another
    #[arg(long, value_name = "DIR")]
    resume: Option<PathBuf>,
    #[command(flatten)]
    execution: Execution,
    #[command(flatten)]
    tuning: Tuning,
    /// Print only the final table and its summary
    #[arg(long, short)]
    quiet: bool,
    /// The same as --use-gym-monitor false
    #[arg(long, conflicts_with = "use_gym_monitor", help_heading = "Watching")]
    no_gym_monitor: bool,
    #[command(flatten)]
    settings: Settings,
}

pub fn run(arguments: Arguments) -> Result<()> {
    let resumed = Layer::of_run(arguments.resume.as_deref())?;
    let file = Layer::read(arguments.config.as_deref())?;
    let mut flags = arguments.settings.clone();
    if arguments.no_gym_monitor {
        flags.use_gym_monitor = Some(false);
    }
    let flags = Layer::flags(flags);
    layers::agree_on_preset(&[&resumed, &file, &flags])?;
    if arguments.resume.is_some() {
        layers::keep_what_is_fixed(&resumed.settings, &[&file, &flags])?;
    }
    let run = Run::layered([resumed.settings, file.settings, flags.settings])?;
    let environment = Environment::by_name(&run.env)?;
    let config = toml::to_string(&run.settings()).context("the settings cannot be written as TOML")?;
    if arguments.print_config {
        say!("{}", config.trim_end());
        return Ok(());
    }
    let directory = match (&arguments.out, &arguments.resume) {
        (Some(out), _) => RunDirectory::claim(out, arguments.overwrite)?,
        (None, Some(resumed)) => RunDirectory::claim(resumed, true)?,
        (None, None) => RunDirectory::claim_new(&default_directory(&run, run.preset.name()))?,
    };
    // read only now, when nobody else writes to it
    let snapshots = arguments.resume.as_ref().map(Snapshot::load_all).transpose();
    let built = snapshots.map_err(anyhow::Error::from).and_then(|snapshots| build(&arguments, &run, &environment, snapshots.as_deref()));
    let (gpu, trainer, recorded) = built.inspect_err(|_| directory.give_up())?;
    if !arguments.quiet {
        introduce(&config, run.iterations(), &gpu, &trainer, directory.path());
    }
    let step = trainer.population().environment_steps();
    Watchers::prepare(&run).inspect_err(|_| directory.give_up())?;
    if !goes_on_in_place(&arguments) {
        directory.clear()?;
    }
    let watchers = Watchers::open(&run, &gpu, &trainer, directory.path(), &config, arguments.resume.is_some());
    let watchers = watchers.inspect_err(|_| directory.give_up())?;
    let records = if arguments.resume.is_some() { directory.go_on(&config, step)? } else { directory.start(&config)? };
    records.directory().write(recorded::FILE, &recorded.json())?;
    Training::new(&arguments, &run, gpu, trainer, records, watchers).train()
}

/// Whether the files in the run directory are those of the run that goes on.
fn goes_on_in_place(arguments: &Arguments) -> bool {
    let place = |path: &PathBuf| path.canonicalize().ok();
    match (&arguments.resume, &arguments.out) {
        (Some(resumed), Some(out)) => place(resumed) == place(out),
        (resumed, None) => resumed.is_some(),
        (None, Some(_)) => false,
    }
}

/// What a run is called that was given no directory.
pub fn default_directory(run: &Run, what: &str) -> PathBuf {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    Path::new("runs").join(format!("{}__{what}__{}__{now}", run.env, run.config.seed))
}

fn build(arguments: &Arguments, run: &Run, environment: &Environment, snapshots: Option<&[Snapshot]>) -> Result<(Gpu, Trainer, Recorded)> {
    let gpu = arguments.execution.open()?;
    let hyper_parameters = HyperParameters::of_population(&run.config);
    let mut options = arguments.tuning.options(&arguments.execution, &gpu, environment, &run.config, arguments.quiet)?;
    let before = arguments.resume.as_ref().filter(|_| !arguments.tuning.is_asked()).and_then(|directory| Recorded::read(directory));
    if let Some(before) = before {
        options = before.go_on(options, &gpu);
    }
    let population = Population::with_options(&gpu.device, &gpu.queue, environment, &run.config, hyper_parameters, options)?;
    let recorded = Recorded::of(&gpu, &population, options);
    let mut trainer = Trainer::from_population(population);
    if let Some(snapshots) = snapshots {
        trainer.restore(snapshots)?;
        let (taken, iterations) = (snapshots[0].environment_steps, trainer.population().iterations());
        if iterations == 0 && taken > 0 {
            bail!("the agents were saved for evaluation only: there is nothing to go on with");
        }
        // a run that was stopped after its last step still has to be evaluated
        let is_evaluated = arguments.resume.as_ref().is_none_or(|directory| is_evaluated(directory, taken));
        if iterations > run.iterations() || (iterations == run.iterations() && is_evaluated) {
            return Err(Usage(format!("the run has taken {taken} steps already; ask for more than that with {}", run.bound())).into());
        }
        if is_evaluated && run.had_all(&finished(arguments, &trainer)) {
            let now = run.max_episodes;
            return Err(Usage(format!("the run has had its episodes already; ask for more with --max-episodes (now {now})")).into());
        }
    }
    gpu.check()?;
    Ok((gpu, trainer, recorded))
}

/// Episodes that each agent has finished before this process.
fn finished(arguments: &Arguments, trainer: &Trainer) -> Vec<u64> {
    let (population, resumed) = (trainer.population(), arguments.resume.as_deref());
    let agents = population.config().agents;
    resumed.map_or_else(|| vec![0; agents as usize], |directory| finished_episodes(directory, population.environment_steps(), agents))
}

fn introduce(config: &str, iterations: u64, gpu: &Gpu, trainer: &Trainer, directory: &Path) {
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

struct Training<'a> {
    run: &'a Run,
    gpu: Gpu,
    trainer: Trainer,
    records: Records,
    watchers: Watchers,
    progress: Progress,
    interrupt: Interrupt,
    title: String,
    started: Instant,
    /// Time spent training, without evaluations.
    trained: Duration,
    /// Iterations and updates when this process began.
    began: (u64, u64),
    /// The same, and the time trained, at the last row of metrics.
    logged: (u64, u64, Duration),
    /// One agent's speed between the last two rows; the first has the compilation of the shaders in it.
    recent: Option<Speed>,
    measurements: Vec<Measurements>,
    /// Episodes each agent has finished.
    finished: Vec<u64>,
    latest: Option<String>,
    /// Whether it was said that episodes ended faster than they are logged.
    told_of_unlogged: bool,
}

impl<'a> Training<'a> {
    fn new(arguments: &Arguments, run: &'a Run, gpu: Gpu, trainer: Trainer, records: Records, watchers: Watchers) -> Self {
        let population = trainer.population();
        let began = (population.iterations(), population.updates());
        let progress = Progress::new(arguments.quiet, run.config.steps, population.environment_steps());
        let agents = if run.config.agents == 1 { "one agent".to_owned() } else { format!("{} agents", run.config.agents) };
        let title = format!("{}, preset {}, {agents} from seed {}", run.env, run.preset.name(), run.config.seed);
        let logged = (began.0, began.1, Duration::ZERO);
        let finished = finished(arguments, &trainer);
        let interrupt = crate::interrupt::listen("stopping: saving the agents");
        Self {
            run,
            gpu,
            trainer,
            records,
            watchers,
            progress,
            interrupt,
            started: Instant::now(),
            title,
            trained: Duration::ZERO,
            began,
            logged,
            recent: None,
            measurements: vec![],
            finished,
            latest: None,
            told_of_unlogged: false,
        }
    }

    fn train(mut self) -> Result<()> {
        let result = self.advance().and_then(|()| self.finish());
        // what failed may be a file alone: the agents are worth another try
        if result.as_ref().is_err_and(|error| !error.is::<Interrupted>())
            && self.records.saved() != Some(self.trainer.population().environment_steps())
            && self.gpu.check().is_ok()
        {
            let _ = self.save();
        }
        self.progress.finish();
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
            self.trained += started.elapsed();
            self.show();
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
                    self.tell(&evaluations);
                }
            }
        }
        Ok(())
    }

    /// Agents' steps and updates a second over all of this process, all agents together.
    fn speed(&self) -> Speed {
        let seconds = self.trained.as_secs_f64().max(1e-9);
        let (agents, environments) = (f64::from(self.run.config.agents), f64::from(self.run.config.environments));
        let population = self.trainer.population();
        let (iterations, updates) = (population.iterations() - self.began.0, population.updates() - self.began.1);
        Speed { steps: iterations as f64 * environments * agents / seconds, updates: updates as f64 * agents / seconds }
    }

    /// The speed at the moment, all agents together.
    fn speed_now(&self) -> Speed {
        let agents = f64::from(self.run.config.agents);
        self.recent.map_or_else(|| self.speed(), |one| Speed { steps: one.steps * agents, updates: one.updates * agents })
    }

    fn show(&self) {
        self.progress.show(self.trainer.population().environment_steps().min(self.run.config.steps), || {
            let Speed { steps, updates } = self.speed_now();
            let latest = self.latest.as_ref().map_or_else(|| "no evaluation yet".to_owned(), |latest| format!("return {latest}"));
            // what a narrow terminal cuts off is the speed
            format!("{latest}, {steps:.0} steps/s, {updates:.0} updates/s")
        });
    }

    fn measure(&mut self) -> Result<()> {
        if !self.measurements.is_empty() && self.trainer.population().iterations() == self.logged.0 {
            return Ok(());
        }
        let before: Vec<Option<Halted>> = self.measurements.iter().map(|measured| measured.halted).collect();
        self.measurements = self.trainer.measure_blocking()?;
        self.gpu.check()?;
        for measured in &self.measurements {
            let was = before.get(measured.agent as usize).copied().flatten();
            if let (Some(halted), None) = (measured.halted, was) {
                self.progress.warn(&format!("agent {} {halted}; it keeps its last good parameters", measured.agent));
            }
        }
        let population = self.trainer.population();
        if population.iterations() == self.began.0 {
            // all was written before
            return Ok(());
        }
        let (iterations, updates, trained) = self.logged;
        let seconds = (self.trained - trained).as_secs_f64().max(1e-9);
        let speed = Speed {
            steps: ((population.iterations() - iterations) * u64::from(self.run.config.environments)) as f64 / seconds,
            updates: (population.updates() - updates) as f64 / seconds,
        };
        self.logged = (population.iterations(), population.updates(), self.trained);
        self.recent = Some(speed);
        let mut unlogged = 0;
        for (finished, measured) in self.finished.iter_mut().zip(&self.measurements) {
            unlogged += measured.episodes.first().map_or(0, |first| u64::from(first.number).saturating_sub(*finished));
            *finished = measured.episodes.last().map_or(*finished, |last| u64::from(last.number) + 1);
        }
        if unlogged > 0 && !self.told_of_unlogged {
            self.told_of_unlogged = true;
            self.progress.warn(&format!(
                "{unlogged} episodes have ended unlogged: an agent keeps the last 64 between two rows; \
                 a smaller --log-every makes more rows, fewer --envs fewer episodes that end together"
            ));
        }
        self.records.measured(&self.measurements, speed)?;
        self.watchers.measured(&self.trainer, &self.measurements, speed, &self.progress);
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
        self.records.evaluated(step, &self.measurements, &evaluations, &self.title)?;
        self.watchers.evaluated(&self.trainer, step, &evaluations, &self.progress);
        self.latest = Some(report::in_short(&evaluations, &self.run.env));
        Ok(evaluations)
    }

    /// What is left to do where the run is stopped after the agents were saved.
    fn last_words(&self) -> impl FnOnce() + Send + 'static {
        let (directory, progress, summary, text) =
            (self.records.directory(), self.progress.clone(), self.summary(&[], true), self.farewell());
        move || {
            progress.finish();
            if let Err(error) = directory.summarize(&summary) {
                note(format_args!("error: {error:#}"));
            }
            say!("{text}");
            directory.release();
        }
    }

    fn farewell(&self) -> String {
        let (population, directory) = (self.trainer.population(), self.records.path().display());
        let (step, updates, again) = (population.environment_steps(), population.updates(), in_a_command(self.records.path()));
        format!("interrupted at step {step}, update {updates}: the agents are in {directory}\ngo on: ddpg train --resume {again}")
    }

    fn tell(&self, evaluations: &[Evaluation]) {
        let population = self.trainer.population();
        let Speed { steps, updates } = self.speed_now();
        let (step, taken) = (population.environment_steps(), population.updates());
        let mean = report::in_short(evaluations, &self.run.env);
        self.progress.tell(&format!("step {step:>9}  update {taken:>9}  {steps:.0} steps/s  {updates:.0} updates/s  mean return {mean}"));
    }

    fn save(&mut self) -> Result<()> {
        let contents = if self.run.save_replay { Contents::TrainingAndReplay } else { Contents::Training };
        let snapshots = self.trainer.snapshot_blocking(contents)?;
        self.gpu.check()?;
        self.records.save(&snapshots)?;
        self.watchers.saved(&snapshots, &self.progress);
        Ok(())
    }

    /// Everything after the last update: files first, then the table.
    fn finish(&mut self) -> Result<()> {
        self.measure()?;
        self.save()?;
        let directory = self.records.path().display().to_string();
        if self.interrupt.is_asked() {
            self.records.directory().summarize(&self.summary(&[], true))?;
            self.progress.finish();
            say!("{}", self.farewell());
            return Err(Interrupted.into());
        }
        self.progress.message("evaluating");
        let halted: Vec<_> = self.measurements.iter().map(|measured| measured.halted).collect();
        let evaluations = self.evaluate(self.run.final_episodes)?;
        self.records.directory().summarize(&self.summary(&evaluations, false))?;
        self.progress.finish();
        say!("{}", report::evaluations(&evaluations, &halted));
        let Speed { steps, updates: updates_a_second } = self.speed();
        let (wall, trained) = (self.started.elapsed().as_secs_f64(), self.trained.as_secs_f64());
        say!(
            "mean return {}\n{wall:.1} s, {trained:.1} s of it training: {steps:.0} environment steps/s, {updates_a_second:.0} updates/s\n\
             run directory: {directory}\nevaluate again: ddpg eval {}",
            report::in_short(&evaluations, &self.run.env),
            in_a_command(self.records.path())
        );
        if !halted.is_empty() && halted.iter().all(Option::is_some) {
            bail!("every agent stopped learning: see the table for when and why");
        }
        Ok(())
    }

    fn summary(&self, evaluations: &[Evaluation], interrupted: bool) -> serde_json::Value {
        let population = self.trainer.population();
        let Speed { steps, updates } = self.speed();
        let agents: Vec<_> = self
            .measurements
            .iter()
            .map(|measured| {
                let evaluation = evaluations.get(measured.agent as usize).map(report::json);
                let mut agent = evaluation.unwrap_or_else(|| json!({ "agent": measured.agent, "seed": measured.seed }));
                agent["updates"] = measured.updates.into();
                agent["halted"] = measured.halted.map(|halted| halted.to_string()).into();
                agent["parameters"] = Snapshot::file_name(measured.agent).into();
                agent
            })
            .collect();
        json!({
            "environment": self.run.env,
            "preset": self.run.preset.name(),
            "adapter": self.gpu.description(),
            "version": env!("CARGO_PKG_VERSION"),
            "interrupted": interrupted,
            "environment_steps": population.environment_steps(),
            "updates": population.updates(),
            "wall_seconds": self.started.elapsed().as_secs_f64(),
            "training_seconds": self.trained.as_secs_f64(),
            "environment_steps_per_second": steps,
            "updates_per_second": updates,
            "evaluation_seed": self.run.eval_seed,
            "agents": agents,
        })
    }
}
