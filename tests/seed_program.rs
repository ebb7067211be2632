//! The program of 2017 that this project started from, as `--preset seed`: its flags, its line an episode, its files. Every
//! flag has an effect that is looked for here.
#![cfg(feature = "cli")]

use ddpg_wgpu::Snapshot;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The seed's program with networks that train in no time.
const SMALL: &str = "train --preset seed --actor-hidden 8,8 --critic-hidden 8,8 --final-episodes 2 --eval-every 0";

fn run(directory: &Path, arguments: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ddpg"));
    command.current_dir(directory).args(arguments.split_whitespace()).env("NO_COLOR", "1").env_remove("RUST_LOG");
    command.output().expect("the program starts")
}

#[track_caller]
fn succeeds(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

fn scratch() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

/// Runs the small program and loads its agent.
fn agent(directory: &Path, name: &str, arguments: &str) -> Snapshot {
    succeeds(&run(directory, &format!("{SMALL} --quiet --no-gym-monitor --out {name} {arguments}")));
    Snapshot::load(directory.join(name).join("agent-0000.safetensors")).expect("an agent")
}

/// Whether all tensors of a network, whose names start with `prefix`, are the same in both.
fn same(prefix: &str, one: &Snapshot, other: &Snapshot) -> bool {
    let mut names = one.tensor_names().filter(|name| name.starts_with(prefix)).peekable();
    assert!(names.peek().is_some(), "no tensor starts with {prefix}");
    names.all(|name| one.tensor(name) == other.tensor(name))
}

/// Whether the target networks are the online networks.
fn targets_are_copies(agent: &Snapshot) -> bool {
    let mut names = agent.tensor_names().filter(|name| name.starts_with("actor.") || name.starts_with("critic."));
    names.all(|name| agent.tensor(name) == agent.tensor(&format!("target_{name}")))
}

fn only_file(directory: &Path, starts_with: &str) -> PathBuf {
    let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut found = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(starts_with)));
    let first = found.next().unwrap_or_else(|| panic!("no {starts_with}… in {}", directory.display()));
    assert_eq!(found.next(), None);
    first
}

fn episodes(directory: &Path) -> Vec<Vec<String>> {
    let text = fs::read_to_string(directory.join("episodes.csv")).expect("episodes.csv");
    text.lines().skip(1).map(|line| line.split(',').map(str::to_owned).collect()).collect()
}

/// Width, height and frames of a GIF, which must decode and show more than one picture.
fn film(path: &Path) -> (u16, u16, usize) {
    let mut decoder = gif::DecodeOptions::new().read_info(fs::File::open(path).expect("a file")).expect("a GIF");
    let (mut frames, mut first, mut moves) = (0, vec![], false);
    while let Some(frame) = decoder.read_next_frame().expect("a frame") {
        assert_eq!(frame.delay, 5, "hundredths of a second");
        if frames == 0 {
            first = frame.buffer.to_vec();
        }
        moves |= frame.buffer != first;
        frames += 1;
    }
    assert!(moves, "nothing moves in {}", path.display());
    (decoder.width(), decoder.height(), frames)
}

#[test]
fn it_prints_its_line_and_leaves_its_files() {
    let directory = scratch();
    let here = directory.path();
    let text = succeeds(&run(here, &format!("{SMALL} --env Pendulum-v0 --max-episodes 3 --out run")));
    // the configuration at the start
    for line in [
        "preset = \"seed\"",
        "env = \"Pendulum-v0\"",
        "seed = 1234",
        "steps = 600",
        "max_episodes = 3",
        "maximum_episode_length = 1000",
        "actor_learning_rate = 0.0001",
        "critic_learning_rate = 0.001",
        "gamma = 0.99",
        "tau = 0.001",
        "replay_capacity = 1000000",
        "batch_size = 64",
        "render_env = false",
        "use_gym_monitor = true",
        "monitor_dir = \"results/gym_ddpg\"",
        "summary_dir = \"results/tf_ddpg\"",
    ] {
        assert!(text.lines().any(|found| found.starts_with(line)), "no {line:?} in: {text}");
    }
    // its line an episode says what the CSV says
    let rows = episodes(&here.join("run"));
    let lines: Vec<_> = text.lines().filter(|line| line.starts_with("| Reward:")).collect();
    assert_eq!((rows.len(), lines.len()), (3, 3), "{text}");
    for (number, (line, row)) in lines.iter().zip(&rows).enumerate() {
        let [reward, qmax] = [5, 7].map(|column: usize| row[column].parse::<f32>().expect("a number"));
        assert_eq!(*line, format!("| Reward: {} | Episode: {number} | Qmax: {qmax:.4} |", reward as i64));
        assert_eq!(row[6], "200");
    }
    // its summaries and its monitor, where the seed has them
    only_file(&here.join("results/tf_ddpg/agent-0000"), "events.out.tfevents.");
    let monitor = here.join("results/gym_ddpg/agent-0000");
    let statistics = fs::read_to_string(monitor.join("episodes.json")).expect("statistics");
    let statistics: Value = serde_json::from_str(&statistics).expect("JSON");
    assert_eq!(statistics["episode_lengths"], serde_json::json!([200, 200, 200]));
    for (reward, row) in statistics["episode_rewards"].as_array().expect("a list").iter().zip(&rows) {
        assert_eq!(reward.as_f64().map(|reward| reward as f32), row[5].parse().ok());
    }
    let stamps: Vec<_> = statistics["timestamps"].as_array().expect("a list").iter().filter_map(Value::as_f64).collect();
    assert!(stamps.len() == 3 && stamps.windows(2).all(|pair| pair[0] <= pair[1]), "{stamps:?}");
    assert_eq!(film(&monitor.join("episode-000000.gif")), (240, 240, 200));
    assert!(monitor.join("episode-000001.gif").exists(), "no video after the first episode");
    assert!(!here.join("run/latest.gif").exists());

    // any policy can be watched afterwards
    let told = succeeds(&run(here, "render run --episodes 2 --out swing.gif --size 64"));
    assert!(told.contains("400 frames"), "{told}");
    assert_eq!(film(&here.join("swing.gif")), (64, 64, 400));
    assert_eq!(run(here, "render run --agent 4").status.code(), Some(2));
}

#[test]
fn each_learning_flag_has_its_effect() {
    let directory = scratch();
    let here = directory.path();
    let start = agent(here, "start", "--steps 60");
    let base = agent(here, "base", "--steps 120");
    assert_eq!((start.updates, base.updates), (0, 56));
    assert!(!same("actor.", &start, &base) && !same("critic.", &start, &base) && !targets_are_copies(&base));

    let still = agent(here, "actor", "--steps 120 --actor-lr 0");
    assert!(same("actor.", &start, &still) && !same("critic.", &start, &still));
    let still = agent(here, "critic", "--steps 120 --critic-lr 0");
    assert!(same("critic.", &start, &still) && !same("actor.", &start, &still));
    let shortsighted = agent(here, "gamma", "--steps 120 --gamma 0.5");
    assert!(!same("critic.", &base, &shortsighted));
    assert!(targets_are_copies(&agent(here, "tau", "--steps 120 --tau 1")));
    // as in the seed, learning starts with one transition more than a batch
    assert_eq!(agent(here, "batch", "--steps 120 --minibatch-size 32").updates, 120 - 32);
    let other = agent(here, "seed", "--steps 60 --random-seed 7");
    assert!(other.hyper_parameters.seed == 7 && !same("actor.", &start, &other));
    // copies every 10 updates, and nothing in between
    assert!(targets_are_copies(&agent(here, "hard", "--steps 114 --hard-update-every 10")));
    assert!(!targets_are_copies(&agent(here, "harder", "--steps 115 --hard-update-every 10")));
    // exploration
    let noiseless = agent(here, "still", "--steps 60 --exploration none --save-replay");
    let offset = agent(here, "offset", "--steps 60 --exploration decaying-offset --save-replay --max-episode-len 20");
    let torques = |agent: &Snapshot| -> Vec<f32> {
        agent.tensor("replay.transitions").expect("the ring").1.chunks(9).map(|transition| transition[3]).collect()
    };
    assert!(torques(&noiseless).iter().all(|torque| torque.abs() < 0.05));
    for (step, torque) in torques(&offset).iter().enumerate() {
        let expected = 1.0 / (1.0 + (step / 20) as f32);
        assert!((torque - expected).abs() < 0.05, "step {step}: {torque}, not {expected}");
    }
}

#[test]
fn each_program_flag_has_its_effect() {
    let directory = scratch();
    let here = directory.path();
    let arguments = "--env Pendulum-v1 --max-episodes 5 --max-episode-len 20 --buffer-size 70 --log-every 20";
    let watching = "--render-env --monitor-dir films --summary-dir graphs";
    let text = succeeds(&run(here, &format!("{SMALL} --out all {arguments} {watching}")));
    assert_eq!(text.lines().filter(|line| line.starts_with("| Reward:")).count(), 5, "{text}");
    let all = Snapshot::load(here.join("all/agent-0000.safetensors")).expect("an agent");
    assert_eq!((all.environment.as_str(), all.environment_steps), ("Pendulum-v1", 100));
    assert!(episodes(&here.join("all")).iter().all(|row| row[6] == "20"));
    let metrics = fs::read_to_string(here.join("all/metrics.csv")).expect("metrics.csv");
    let held: Vec<_> = metrics.lines().skip(1).filter_map(|line| line.split(',').nth(10)).collect();
    assert_eq!(held, ["20", "40", "60", "70", "70"]);
    assert_eq!(film(&here.join("all/latest.gif")).2, 20);
    assert!(here.join("films/agent-0000/episodes.json").exists());
    only_file(&here.join("graphs/agent-0000"), "events.out.tfevents.");
    assert!(!here.join("results").exists(), "files where nobody asked for them");

    // going on: the statistics go on too
    let text = succeeds(&run(here, "train --resume all --max-episodes 7"));
    assert!(text.contains("| Episode: 6 |") && !text.contains("| Episode: 4 |"), "{text}");
    let statistics = fs::read_to_string(here.join("films/agent-0000/episodes.json")).expect("statistics");
    let statistics: Value = serde_json::from_str(&statistics).expect("JSON");
    assert_eq!(statistics["episode_lengths"].as_array().map(Vec::len), Some(7));

    // off, in every way there is; the line an episode under another preset
    for (name, off) in [("one", "--use-gym-monitor false"), ("two", "--no-gym-monitor"), ("three", "--use-gym-monitor=false")] {
        let off = format!("{SMALL} --out {name} --steps 10 --monitor-dir never --tensorboard=false {off}");
        succeeds(&run(here, &off));
        assert!(!here.join("never").exists() && !here.join(name).join("tensorboard").exists());
    }
    let modern =
        "train --agents 2 --envs 2 --actor-hidden 8 --critic-hidden 8 --final-episodes 2 --print-episodes --max-episodes 2 --out modern";
    let text = succeeds(&run(here, modern));
    for line in ["| Episode: 1 |", "| Agent: 0 |", "| Agent: 1 |"] {
        assert!(text.contains(line), "no {line:?} in: {text}");
    }
    assert_eq!(run(here, &format!("{SMALL} --out never --noise-initial 2")).status.code(), Some(2));
    assert_eq!(run(here, &format!("{SMALL} --out never --noise-span 20")).status.code(), Some(2));
}
