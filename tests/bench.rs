//! `ddpg bench` as a user runs it: tables, JSON, exit codes, messages. What it measures depends on the machine.
#![cfg(feature = "cli")]

use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn bench(directory: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ddpg"));
    command.current_dir(directory).arg("bench").args(arguments).env("NO_COLOR", "1").env_remove("RUST_LOG");
    command.output().expect("the program starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[track_caller]
fn succeeds(output: &Output) -> String {
    let said = text(&output.stdout);
    assert!(output.status.success(), "{said}{}", text(&output.stderr));
    said
}

#[test]
fn a_workload_is_measured_told_and_written() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let arguments = ["--quick", "--repetitions", "2", "--only", "64-64,simulation"];
    let said = succeeds(&bench(directory.path(), &arguments));
    for part in ["adapter: ", "commit ", "median", "4,096 environments, held actions", "64-64, batch 64, one agent", "runs/bench.json"] {
        assert!(said.contains(part), "no {part:?} in: {said}");
    }
    let file = fs::read_to_string(directory.path().join("runs/bench.json")).expect("the JSON file");
    let written: Value = serde_json::from_str(&file).expect("JSON");
    assert_eq!(written["repetitions"].as_u64(), Some(2));
    for key in ["adapter", "driver", "version", "commit", "backend"] {
        assert!(written["machine"][key].is_string(), "no {key} in {written:#}");
    }
    let workloads = written["workloads"].as_array().expect("workloads");
    assert!(workloads.len() >= 3, "{written:#}");
    for workload in workloads {
        let number = |key: &str| workload[key].as_f64().unwrap_or_else(|| panic!("no {key} in {workload:#}"));
        let samples: Vec<f64> = workload["samples"].as_array().expect("samples").iter().filter_map(Value::as_f64).collect();
        assert_eq!(samples.len(), 2);
        assert!(number("min") > 0.0 && number("min") <= number("median") && number("median") <= number("max"), "{workload:#}");
        assert!((number("median") - 0.5 * (samples[0] + samples[1])).abs() < 1e-6 * number("median"), "{workload:#}");
    }

    // on standard output: JSON and nothing else
    let said = succeeds(&bench(directory.path(), &["--quick", "--repetitions", "1", "--only", "simulation", "--json", "-"]));
    let told: Value = serde_json::from_str(&said).expect("JSON alone");
    assert!(told["workloads"][0]["median"].as_f64().is_some_and(|rate| rate > 0.0), "{told:#}");
}

#[test]
fn what_cannot_be_measured_is_refused_first() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    fs::write(directory.path().join("file"), "").expect("writable");
    let refusals: [(&[&str], i32, &str); 5] = [
        (&["--only", "everything"], 2, "end-to-end"),
        (&["--repetitions", "0"], 2, "1..=1000"),
        (&["--json", "."], 2, "is a directory"),
        (&["--json", "file/bench.json"], 1, "cannot write to file/bench.json"),
        (&["--adapter", "abacus"], 2, "abacus"),
    ];
    for (arguments, code, says) in refusals {
        let output = bench(directory.path(), arguments);
        let errors = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {errors}");
        assert!(errors.contains(says) && !errors.contains("panicked"), "{arguments:?}: no {says:?} in: {errors}");
    }
    assert!(!directory.path().join("runs/bench.json").exists(), "an empty file is left");
}

#[cfg(target_os = "linux")]
#[test]
fn the_process_that_a_workload_starts_ends_with_it() {
    use std::time::{Duration, Instant};
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut command = Command::new(env!("CARGO_BIN_EXE_ddpg"));
    command.current_dir(directory.path()).args(["bench", "--only", "return", "--repetitions", "1"]);
    let mut measuring = command.stdout(std::process::Stdio::null()).spawn().expect("the program starts");
    let until = |done: &dyn Fn() -> bool| {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !done() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    let children = || fs::read_to_string(format!("/proc/{0}/task/{0}/children", measuring.id())).unwrap_or_default();
    until(&|| !children().trim().is_empty());
    let child = children().trim().to_owned();
    assert!(!child.is_empty(), "no process was started");
    assert!(Command::new("kill").args(["-TERM", &measuring.id().to_string()]).status().expect("kill runs").success());
    // nobody may be there to take note of its end: then it stays as a zombie
    let runs = || fs::read_to_string(format!("/proc/{child}/stat")).is_ok_and(|stat| !stat.contains(") Z "));
    until(&|| !runs());
    assert!(!runs(), "process {child} goes on alone");
    measuring.wait().expect("it ends");
}
