//! The program as a user runs it: files, exit codes, messages. Each training run compiles its shaders, so that one run
//! serves many assertions.
#![cfg(feature = "cli")]

mod bench;
mod best;
mod event_files;
mod seed;
mod settings;
mod stopping;
mod sweep;
mod training;

use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A run of a few seconds.
const SHORT: &[&str] = &[
    "--envs",
    "4",
    "--batch-size",
    "16",
    "--learning-starts",
    "64",
    "--random-steps",
    "100",
    "--actor-hidden",
    "8,8",
    "--critic-hidden",
    "8,8",
    "--final-episodes",
    "16",
    "--eval-episodes",
    "4",
    "--log-every",
    "200",
];

fn program(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ddpg"));
    command.current_dir(directory).args(arguments).env("NO_COLOR", "1").env_remove("RUST_LOG");
    command
}

fn ddpg(directory: &Path, arguments: &[&str]) -> Output {
    program(directory, arguments).output().expect("the program starts")
}

/// Starts it and goes on; `out` is where it tells.
fn start(directory: &Path, arguments: &[&str], out: impl Into<Stdio>) -> Child {
    program(directory, arguments).stdout(out).stderr(Stdio::piped()).spawn().expect("the program starts")
}

/// Sends a signal: `-INT`, `-TERM`.
#[cfg(unix)]
#[track_caller]
fn send(signal: &str, process: &Child) {
    let kill = Command::new("kill").args([signal, &process.id().to_string()]).status().expect("kill runs");
    assert!(kill.success());
}

fn train(directory: &Path, arguments: &[&str]) -> Output {
    ddpg(directory, &[&["train"], SHORT, arguments].concat())
}

/// A run that somebody has to end; it saves its agents to `run` every 400 steps.
fn endless() -> Vec<&'static str> {
    [&["train"], SHORT, &["--steps", "100000000", "--eval-every", "400", "--out", "run"]].concat()
}

/// Waits for what another process does.
#[track_caller]
fn wait_until(holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < deadline, "it has not come in a minute");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[track_caller]
fn succeeds(output: Output) -> String {
    let text = stdout(&output);
    assert!(output.status.success(), "{}\n{text}{}", output.status, stderr(&output));
    text
}

/// It fails with `code` and says all of `says` on standard error, without a panic.
#[track_caller]
fn fails(output: &Output, code: i32, says: &[&str]) {
    let errors = stderr(output);
    assert_eq!(output.status.code(), Some(code), "{errors}");
    assert!(!errors.contains("panicked"), "{errors}");
    for part in says {
        assert!(errors.contains(part), "no {part:?} in: {errors}");
    }
}

fn scratch() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

fn read(path: impl AsRef<Path>) -> String {
    let path = path.as_ref();
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn rows(path: impl AsRef<Path>) -> Vec<Vec<String>> {
    read(path).lines().map(|line| line.split(',').map(str::to_owned).collect()).collect()
}

fn json(path: impl AsRef<Path>) -> Value {
    serde_json::from_str(&read(path)).expect("JSON")
}
