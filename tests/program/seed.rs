//! The program of 2017 that this project started from, as `--preset seed`: its flags, its line an episode, its files. Every
//! flag has an effect that is looked for here.

use crate::*;
use ddpg_wgpu::Snapshot;
use std::path::PathBuf;

/// The seed's program with networks that train in no time.
const SMALL: &str = "train --preset seed --actor-hidden 8,8 --critic-hidden 8,8 --final-episodes 2 --eval-every 0";

fn run(directory: &Path, arguments: &str) -> Output {
    ddpg(directory, &arguments.split_whitespace().collect::<Vec<_>>())
}

/// Runs the small program and loads its agent.
fn agent(directory: &Path, name: &str, arguments: &str) -> Snapshot {
    succeeds(run(directory, &format!("{SMALL} --quiet --no-gym-monitor --out {name} {arguments}")));
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
    rows(directory.join("episodes.csv")).split_off(1)
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
    let text = succeeds(run(here, &format!("{SMALL} --env Pendulum-v0 --max-episodes 3 --out run")));
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
    let told = succeeds(run(here, "render run --episodes 2 --out swing.gif --size 64"));
    assert!(told.contains("400 frames"), "{told}");
    assert_eq!(film(&here.join("swing.gif")), (64, 64, 400));
    assert_eq!(run(here, "render run --agent 4").status.code(), Some(2));
}

#[test]
fn each_learning_flag_has_its_effect() {
    let directory = scratch();
    let here = directory.path();
    // few runs, each of several flags, because each compiles its shaders: in every pair that is compared, one differs
    let base = agent(here, "base", "--steps 114 --actor-lr 0 --hard-update-every 10");
    let shortsighted = agent(here, "gamma", "--steps 114 --actor-lr 0 --hard-update-every 10 --gamma 0.5");
    let other = agent(here, "other", "--steps 114 --critic-lr 0 --tau 1 --minibatch-size 32");
    let explorer = "--steps 114 --random-seed 7 --hard-update-every 20 --exploration decaying-offset --max-episode-len 20 --save-replay";
    let explorer = agent(here, "explorer", explorer);

    // as in the seed, learning starts with one transition more than a batch
    assert_eq!((base.updates, other.updates), (114 - 64, 114 - 32));
    // the actor stays where it started, whatever the critic does; and the other way round
    assert!(same("actor.", &base, &shortsighted) && !same("critic.", &base, &shortsighted));
    assert!(!same("actor.", &base, &other) && !same("critic.", &base, &other));
    let moved = |agent: &Snapshot, name: &str| agent.tensor(name).expect("a tensor").1.iter().any(|&value| value != 0.0);
    // biases start at zero, and stay there in a network that does not learn
    for (agent, actor, critic) in [(&base, false, true), (&other, true, false), (&explorer, true, true)] {
        assert_eq!((moved(agent, "actor.layer1.bias"), moved(agent, "critic.layer2.bias")), (actor, critic));
    }
    assert!(explorer.hyper_parameters.seed == 7 && base.hyper_parameters.seed == 1234 && !same("actor.", &explorer, &base));
    // τ = 1 copies at every update; of 50 updates the last is a tenth, but no twentieth
    assert!(targets_are_copies(&other) && targets_are_copies(&base) && !targets_are_copies(&explorer));

    // the decaying offset is what an untrained actor does, but for its own output of nearly zero
    let (_, transitions) = explorer.tensor("replay.transitions").expect("the ring");
    for (step, transition) in transitions.chunks(9).take(64).enumerate() {
        let expected = 1.0 / (1.0 + (step / 20) as f32);
        assert!((transition[3] - expected).abs() < 0.05, "step {step}: {}, not {expected}", transition[3]);
    }
}

#[test]
fn each_program_flag_has_its_effect() {
    let directory = scratch();
    let here = directory.path();
    let arguments = "--env Pendulum-v1 --max-episodes 5 --max-episode-len 20 --buffer-size 70 --log-every 20";
    let watching = "--render-env --monitor-dir films --summary-dir graphs";
    let text = succeeds(run(here, &format!("{SMALL} --out all {arguments} {watching}")));
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

    // going on: the statistics go on too
    let text = succeeds(run(here, "train --resume all --max-episodes 7"));
    assert!(text.contains("| Episode: 6 |") && !text.contains("| Episode: 4 |"), "{text}");
    let statistics = fs::read_to_string(here.join("films/agent-0000/episodes.json")).expect("statistics");
    let statistics: Value = serde_json::from_str(&statistics).expect("JSON");
    assert_eq!(statistics["episode_lengths"].as_array().map(Vec::len), Some(7));

    // off, in every way there is
    succeeds(run(here, &format!("{SMALL} --out off --steps 10 --monitor-dir never --tensorboard=false --use-gym-monitor false")));
    assert!(!here.join("never").exists() && !here.join("off/tensorboard").exists() && !here.join("results").exists());
    for off in ["--use-gym-monitor false", "--no-gym-monitor", "--use-gym-monitor=false"] {
        let text = succeeds(run(here, &format!("train --preset seed --print-config {off}")));
        assert!(text.contains("use_gym_monitor = false"), "{off}: {text}");
    }
    // the line an episode under another preset
    let modern =
        "train --agents 2 --envs 2 --actor-hidden 8 --critic-hidden 8 --final-episodes 2 --print-episodes --max-episodes 2 --out modern";
    let text = succeeds(run(here, modern));
    for line in ["| Episode: 1 |", "| Agent: 0 |", "| Agent: 1 |"] {
        assert!(text.contains(line), "no {line:?} in: {text}");
    }
    assert_eq!(run(here, &format!("{SMALL} --out never --noise-initial 2")).status.code(), Some(2));
    assert_eq!(run(here, &format!("{SMALL} --out never --noise-span 20")).status.code(), Some(2));
}
