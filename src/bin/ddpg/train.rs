//! `ddpg train`: trains agents and leaves a run directory behind.

use crate::execution::Execution;
use crate::failure::Usage;
use crate::layers::{self, Layer};
use crate::output::say;
use crate::recorded::{self, Recorded};
use crate::resolve::Run;
use crate::run_directory::{RunDirectory, finished_episodes, is_evaluated};
use crate::settings::Settings;
use crate::telling::{Telling, introduce};
use crate::training::Training;
use crate::tuning::Tuning;
use crate::watch::Watchers;
use anyhow::{Context, Result, bail};
use clap::Args;
use ddpg_wgpu::{Environment, Gpu, HyperParameters, Population, Snapshot, Trainer};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

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
    let (gpu, trainer, recorded, finished) = built.inspect_err(|_| directory.give_up())?;
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
    let telling = Telling::new(&run, arguments.quiet, &gpu, trainer.population(), records.path());
    Training::new(&run, gpu, trainer, records, watchers, telling, finished).train()
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

/// What a run begins with, and the episodes that each agent has finished before this process.
fn build(
    arguments: &Arguments,
    run: &Run,
    environment: &Environment,
    snapshots: Option<&[Snapshot]>,
) -> Result<(Gpu, Trainer, Recorded, Vec<u64>)> {
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
    let mut finished = vec![0; run.config.agents as usize];
    if let Some((directory, snapshots)) = arguments.resume.as_ref().zip(snapshots) {
        trainer.restore(snapshots)?;
        let (taken, iterations) = (snapshots[0].environment_steps, trainer.population().iterations());
        if iterations == 0 && taken > 0 {
            bail!(
                "the agents hold {}: enough to evaluate, but not to go on with; --resume wants those that ddpg train has saved",
                snapshots[0].contents()
            );
        }
        // a run that was stopped after its last step still has to be evaluated
        let is_evaluated = is_evaluated(directory, taken);
        if iterations > run.iterations() || (iterations == run.iterations() && is_evaluated) {
            return Err(Usage(format!("the run has taken {taken} steps already; ask for more than that with {}", run.bound())).into());
        }
        finished = finished_episodes(directory, trainer.population().environment_steps(), run.config.agents)?;
        if is_evaluated && run.had_all(&finished) {
            let now = run.max_episodes;
            return Err(Usage(format!("the run has had its episodes already; ask for more with --max-episodes (now {now})")).into());
        }
    }
    gpu.check()?;
    Ok((gpu, trainer, recorded, finished))
}
