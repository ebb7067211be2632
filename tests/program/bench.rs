//! `ddpg bench` as a user runs it: tables, JSON, exit codes, messages. What it measures depends on the machine.

use crate::*;

fn bench(directory: &Path, arguments: &[&str]) -> Output {
    ddpg(directory, &[&["bench"], arguments].concat())
}

#[test]
fn a_workload_is_measured_told_and_written() {
    let directory = scratch();
    let arguments = ["--quick", "--repetitions", "2", "--only", "64-64,simulation"];
    let said = succeeds(bench(directory.path(), &arguments));
    for part in ["adapter: ", "commit ", "median", "4,096 environments, held actions", "64-64, batch 64, one agent", "runs/bench.json"] {
        assert!(said.contains(part), "no {part:?} in: {said}");
    }
    let written = json(directory.path().join("runs/bench.json"));
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
    let said = succeeds(bench(directory.path(), &["--quick", "--repetitions", "1", "--only", "simulation", "--json", "-"]));
    let told: Value = serde_json::from_str(&said).expect("JSON alone");
    assert!(told["workloads"][0]["median"].as_f64().is_some_and(|rate| rate > 0.0), "{told:#}");
}

#[test]
fn what_cannot_be_measured_is_refused_first() {
    let directory = scratch();
    fs::write(directory.path().join("file"), "").expect("writable");
    let refusals: [(&[&str], i32, &str); 5] = [
        (&["--only", "everything"], 2, "end-to-end"),
        (&["--repetitions", "0"], 2, "1..=1000"),
        (&["--json", "."], 2, "is a directory"),
        (&["--json", "file/bench.json"], 1, "cannot write to file/bench.json"),
        (&["--adapter", "abacus"], 2, "abacus"),
    ];
    for (arguments, code, says) in refusals {
        fails(&bench(directory.path(), arguments), code, &[says]);
    }
    assert!(!directory.path().join("runs/bench.json").exists(), "an empty file is left");
}

#[cfg(target_os = "linux")]
#[test]
fn the_process_that_a_workload_starts_ends_with_it() {
    let directory = scratch();
    let mut measuring = start(directory.path(), &["bench", "--only", "return", "--repetitions", "1"], Stdio::null());
    let children = || fs::read_to_string(format!("/proc/{0}/task/{0}/children", measuring.id())).unwrap_or_default();
    wait_until(|| !children().trim().is_empty());
    let child = children().trim().to_owned();
    send("-TERM", &measuring);
    // nobody may be there to take note of its end: then it stays as a zombie
    wait_until(|| fs::read_to_string(format!("/proc/{child}/stat")).map_or(true, |stat| stat.contains(") Z ")));
    measuring.wait().expect("it ends");
}
