//! `ddpg`: trains and evaluates DDPG agents on the GPU.

mod bench;
mod best;
mod devices;
mod eval;
mod execution;
mod failure;
mod interrupt;
mod layers;
mod lock;
mod monitor;
mod numbers;
mod output;
mod pace;
mod plot;
mod progress;
mod recorded;
mod render;
mod report;
mod resolve;
mod run_directory;
mod settings;
mod summaries;
mod sweep;
mod telling;
mod tensorboard;
mod train;
mod training;
mod tuning;
mod video;
mod watch;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use ddpg_wgpu::Preset;
use resolve::Run;
use std::process::ExitCode;

/// Deep deterministic policy gradients (Lillicrap et al. 2016), trained entirely on the GPU
#[derive(Debug, Parser)]
#[command(version, propagate_version = true, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 fine, 1 failure, 2 usage or impossible configuration, 130 after Ctrl-C.\n\
    RUST_LOG=info (or debug) shows what the GPU libraries say; NO_COLOR turns colours off.";

/// What the libraries may say unasked; a missing driver is reported by this program itself.
const QUIET: &str = "error,wgpu_hal::vulkan::instance=off";

#[derive(Debug, Subcommand)]
enum Command {
    /// Train agents, evaluate them, and save both in a run directory
    Train(Box<train::Arguments>),
    /// Train with many settings at once, and rank them
    Sweep(Box<sweep::Arguments>),
    /// Evaluate saved agents
    Eval(eval::Arguments),
    /// Draw episodes of a saved agent as an animated GIF (Pendulum alone)
    Render(render::Arguments),
    /// Measure how fast this machine simulates and learns
    Bench(bench::Arguments),
    /// List the GPU adapters of this machine and their limits
    Devices,
}

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| QUIET.into()))
        .with_writer(std::io::stderr)
        .with_ansi(
            std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) && std::io::IsTerminal::is_terminal(&std::io::stderr()),
        )
        .init();
    let parsed = with_defaults(Cli::command()).try_get_matches().and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) => {
            // help may go to a pipe that is closed early
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let result = match cli.command {
        Command::Train(arguments) => train::run(*arguments),
        Command::Sweep(arguments) => sweep::run(&arguments),
        Command::Eval(arguments) => eval::run(&arguments),
        Command::Render(arguments) => render::run(&arguments),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Devices => devices::run(),
    };
    match result {
        Ok(()) => match output::lost() {
            None => ExitCode::SUCCESS,
            Some(error) => {
                output::note(format_args!("error: not everything could be written to standard output: {error}"));
                ExitCode::FAILURE
            }
        },
        Err(error) => {
            if !error.is::<failure::Interrupted>() {
                output::note(format_args!("error: {error:#}"));
            }
            failure::exit_code(&error)
        }
    }
}

/// Adds each preset's value to the help of each setting, from the presets themselves.
fn with_defaults(command: clap::Command) -> clap::Command {
    let presets = Preset::ALL.map(|preset| (preset.name(), toml::Table::try_from(Run::preset(preset).settings()).unwrap_or_default()));
    let shown = |id: &str| {
        let values: Vec<_> = presets.iter().filter_map(|(name, table)| Some((name, settings::short(table.get(id)?)))).collect();
        let (_, first) = values.first()?;
        if values.len() == presets.len() && values.iter().all(|(_, value)| value == first) {
            return Some(format!(" [default: {first}]"));
        }
        let each: Vec<_> = values.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        Some(format!(" [{}]", each.join(", ")))
    };
    let with_values = |command: clap::Command| {
        // a negative number is a value that is refused, not a flag that is unknown
        let takes_values = |argument: &clap::Arg| argument.get_action().takes_values();
        let command = command.mut_args(|argument| if takes_values(&argument) { argument.allow_negative_numbers(true) } else { argument });
        command.mut_args(|argument| match (argument.get_help().cloned(), shown(argument.get_id().as_str())) {
            (Some(help), Some(values)) if argument.get_id() != "preset" => argument.help(format!("{help}{values}")),
            (Some(help), _) if argument.get_id() == "preset" => argument.help(format!("{help} [default: modern]")),
            _ => argument,
        })
    };
    command.mut_subcommand("train", with_values).mut_subcommand("sweep", |sweep| {
        with_values(sweep).mut_args(|argument| {
            let unused = sweep::UNUSED.contains(&argument.get_id().as_str());
            if unused { argument.hide(true) } else { argument }
        })
    })
}
