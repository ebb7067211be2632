//! The program as a user runs it: files, exit codes, messages. Each training run compiles its shaders, so that one run
//! serves many assertions.
#![cfg(feature = "cli")]

use safetensors_header::{Parts, join, split};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
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

fn ddpg(directory: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ddpg"));
    command.current_dir(directory).args(arguments).env("NO_COLOR", "1").env_remove("RUST_LOG");
    command.output().expect("the program starts")
}

fn train(directory: &Path, arguments: &[&str]) -> Output {
    ddpg(directory, &[&["train"], SHORT, arguments].concat())
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

#[track_caller]
fn succeeds(output: Output) -> String {
    let text = stdout(&output);
    assert!(output.status.success(), "{}\n{text}{}", output.status, String::from_utf8_lossy(&output.stderr));
    text
}

/// It fails with `code` and says all of `says` on standard error, without a panic.
#[track_caller]
fn fails(output: &Output, code: i32, says: &[&str]) {
    let errors = String::from_utf8_lossy(&output.stderr);
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

/// Just enough of the safetensors format to damage a file on purpose.
mod safetensors_header {
    use serde_json::Value;

    pub struct Parts {
        pub header: Value,
        pub data: Vec<u8>,
    }

    pub fn split(bytes: &[u8]) -> Parts {
        let (length, rest) = bytes.split_first_chunk::<8>().expect("a length");
        let (header, data) = rest.split_at(u64::from_le_bytes(*length) as usize);
        Parts { header: serde_json::from_slice(header).expect("JSON"), data: data.to_vec() }
    }

    pub fn join(parts: &Parts) -> Vec<u8> {
        let mut header = serde_json::to_vec(&parts.header).expect("JSON");
        header.resize(header.len().next_multiple_of(8), b' ');
        [&(header.len() as u64).to_le_bytes(), header.as_slice(), &parts.data].concat()
    }
}

/// The numbers of a tensor, as they stand in the file.
fn tensor(parts: &Parts, name: &str) -> Vec<f32> {
    let entry = &parts.header[name];
    let at = |i: usize| entry["data_offsets"][i].as_u64().unwrap_or_else(|| panic!("no tensor {name}")) as usize;
    parts.data[at(0)..at(1)].chunks(4).map(|b| f32::from_le_bytes(b.try_into().expect("four bytes"))).collect()
}

#[test]
fn a_run_leaves_everything_behind_and_can_be_evaluated_again() {
    let directory = scratch();
    let here = directory.path();
    let text = succeeds(train(here, &["--steps", "1600", "--agents", "2", "--seed", "5", "--eval-every", "800", "--out", "run"]));
    // introduction: every setting, the adapter, the programs
    for part in ["gamma = 0.99", "noise_sigma = 0.2", "adapter: ", "plan: ", "step       800", "ddpg eval run"] {
        assert!(text.contains(part), "no {part:?} in: {text}");
    }
    assert!(!text.contains('\u{1b}') && !text.contains('\r'), "control characters in plain output");

    let run = here.join("run");
    let mut names: Vec<_> = fs::read_dir(&run).expect("a run directory").map(|e| e.expect("an entry").file_name()).collect();
    names.sort();
    let expected = ["agent-0000.safetensors", "agent-0001.safetensors", "config.toml", "curve.svg", "episodes.csv"];
    assert_eq!(names, [&expected[..], &["evaluations.csv", "execution.json", "metrics.csv", "summary.json", "tensorboard"]].concat());
    assert!(read(run.join("curve.svg")).starts_with("<svg"));

    let metrics = rows(run.join("metrics.csv"));
    assert_eq!(metrics[0][..6], ["step", "updates", "agent", "seed", "losses/qf1_loss", "losses/actor_loss"]);
    assert_eq!(metrics.len(), 1 + 2 * 8, "a row an agent every 200 steps");
    assert_eq!(metrics[2][..4], ["200", "35", "1", "6"]);
    // each of two agents' four environments ends two episodes of 200 steps
    let episodes = rows(run.join("episodes.csv"));
    assert_eq!(episodes.len(), 1 + 2 * 8);
    assert!(episodes[1..].iter().all(|row| row[6] == "200" && row[5].parse::<f32>().is_ok_and(|r| (-3300.0..0.0).contains(&r))));
    let evaluations = rows(run.join("evaluations.csv"));
    assert_eq!(evaluations[1..].iter().map(|row| row[0].as_str()).collect::<Vec<_>>(), ["800", "800", "1600", "1600"]);

    // the printed configuration is the file, and the file is the run
    let config = read(run.join("config.toml"));
    assert!(text.starts_with(config.trim_end()));
    assert_eq!(succeeds(ddpg(here, &["train", "--config", "run/config.toml", "--print-config"])), config);

    // evaluation of what was saved is the table at the end of the run
    let summary: Value = serde_json::from_str(&read(run.join("summary.json"))).expect("JSON");
    let again: Value = serde_json::from_str(&succeeds(ddpg(here, &["eval", "run", "--json"]))).expect("JSON alone");
    let agents = again["agents"].as_array().expect("a list");
    assert_eq!(agents.len(), 2);
    for (agent, recorded) in agents.iter().zip(summary["agents"].as_array().expect("a list")) {
        for key in ["agent", "seed", "episodes"] {
            assert_eq!(agent[key], recorded[key]);
        }
        for key in ["mean_return", "standard_deviation", "standard_error", "min", "max"] {
            let (now, then) = (agent[key].as_f64().expect(key), recorded[key].as_f64().expect(key));
            assert!((now - then).abs() < 0.01, "{key}: {now}, but {then} at the end of training");
        }
    }
    assert_eq!((&agents[1]["seed"], &agents[1]["episodes"]), (&6.into(), &16.into()));
    // one agent alone, other episodes
    let one = succeeds(ddpg(here, &["eval", "run/agent-0001.safetensors", "--json", "--episodes", "3", "--seed", "9"]));
    let one: Value = serde_json::from_str(&one).expect("JSON");
    assert_eq!((&one["agents"][0]["agent"], &one["agents"][0]["episodes"]), (&1.into(), &3.into()));

    // wherever its file lies
    fs::create_dir(here.join("elsewhere")).expect("made");
    fs::copy(run.join("agent-0001.safetensors"), here.join("elsewhere/agent.safetensors")).expect("copied");
    for other in ["[package]\nname = \"else\"\n", "env = \"Reacher-v0\"\n"] {
        fs::write(here.join("elsewhere/config.toml"), other).expect("written");
        let text = succeeds(ddpg(here, &["eval", "elsewhere/agent.safetensors", "--episodes", "2"]));
        assert!(text.starts_with("Pendulum-v1"), "{text}");
    }

    // what another program reads
    let parts = split(&fs::read(run.join("agent-0001.safetensors")).expect("a file"));
    let metadata = &parts.header["__metadata__"];
    for (key, value) in [("action_scale", "[2.0]"), ("action_centre", "[0.0]"), ("seed", "6"), ("environment_steps", "1600")] {
        assert_eq!(metadata[key], value, "{key}");
    }
    assert_eq!(parts.header["actor.layer1.weight"]["shape"], serde_json::json!([3, 8]));
    assert_eq!(parts.header["critic.layer1.action_weight"]["shape"], serde_json::json!([1, 8]));
    assert_eq!(tensor(&parts, "target_actor.output.bias").len(), 1);
    let other = split(&fs::read(run.join("agent-0000.safetensors")).expect("a file"));
    assert_ne!(tensor(&parts, "actor.output.bias"), tensor(&other, "actor.output.bias"), "two seeds gave the same parameters");

    pictures(here);
    damage(here, &run);
    refuses_to_overwrite(here);
}

/// A picture goes where it is told to, and replaces nothing but a picture.
fn pictures(here: &Path) {
    let render = |out: &str| ddpg(here, &["render", "run", "--episodes", "1", "--size", "16", "--out", out]);
    fails(&render("run"), 2, &["run is a directory", "run/policy.gif"]);
    fails(&render("nowhere/policy.gif"), 2, &["there is no directory nowhere"]);
    fs::create_dir(here.join("pictures")).expect("made");
    succeeds(render("pictures/policy.gif"));
    let picture = fs::read(here.join("pictures/policy.gif")).expect("a picture");
    assert!(picture.starts_with(b"GIF89a"));
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("pictures/policy.gif", here.join("link.gif")).expect("linked");
        fs::write(here.join("pictures/policy.gif"), "").expect("written");
        succeeds(render("link.gif"));
        assert!(here.join("link.gif").is_symlink(), "the link was replaced");
        assert!(fs::read(here.join("pictures/policy.gif")).expect("a picture") == picture);
        // whoever reads from a pipe gets the picture
        assert!(Command::new("mkfifo").arg(here.join("pipe.gif")).status().expect("mkfifo runs").success());
        let reader = std::thread::spawn({
            let pipe = here.join("pipe.gif");
            move || fs::read(pipe).expect("read")
        });
        succeeds(render("pipe.gif"));
        if fs::metadata(here.join("pipe.gif")).expect("there").is_file() {
            panic!("the pipe was replaced");
        }
        assert!(reader.join().expect("the reader") == picture);
    }
    assert_eq!(fs::read_dir(here.join("pictures")).expect("a directory").count(), 1, "unfinished files are left");
}

/// Every way a file can be wrong is an error that names it.
fn damage(here: &Path, run: &Path) {
    let path = run.join("agent-0000.safetensors");
    let whole = fs::read(&path).expect("a file");
    let refused = |bytes: &[u8], says: &[&str]| {
        fs::write(&path, bytes).expect("written");
        fails(&ddpg(here, &["eval", "run"]), 1, &[&["agent-0000.safetensors"], says].concat());
    };
    refused(&whole[..whole.len() - 1], &["not a whole safetensors file"]);
    refused(&whole[..5], &["not a whole safetensors file", "5 bytes"]);
    refused(b"", &["not a whole safetensors file"]);
    refused(b"this is no checkpoint at all, only text", &["not a whole safetensors file"]);
    let changed = |change: fn(&mut Parts), says: &[&str]| {
        let mut parts = split(&whole);
        change(&mut parts);
        refused(&join(&parts), says);
    };
    changed(|parts| parts.header["actor.layer1.weight"]["shape"] = serde_json::json!([8, 3]), &["actor.layer1.weight", "[8, 3]", "[3, 8]"]);
    changed(|parts| parts.header["actor.layer1.weight"]["dtype"] = "I32".into(), &["actor.layer1.weight", "I32", "F32"]);
    changed(
        |parts| {
            let entry = parts.header["critic.output.bias"].take();
            parts.header.as_object_mut().expect("an object").remove("critic.output.bias");
            parts.header["critic.output.other"] = entry;
        },
        &["critic.output.bias is missing"],
    );
    changed(
        |parts| {
            let at = parts.header["actor.layer2.bias"]["data_offsets"][0].as_u64().expect("an offset") as usize;
            parts.data[at + 4..at + 8].copy_from_slice(&f32::NAN.to_le_bytes());
        },
        &["actor.layer2.bias", "NaN", "index 1"],
    );
    changed(|parts| parts.header["__metadata__"]["format_version"] = "99".into(), &["version 99", "version 1"]);
    changed(|parts| parts.header["__metadata__"]["config"] = "{".into(), &["config"]);
    changed(|parts| parts.header["__metadata__"]["observation_size"] = "4".into(), &["[3, 8]", "[4, 8]"]);
    changed(|parts| parts.header["__metadata__"]["action_high"] = "[3.0]".into(), &["[2.0]", "[3.0]", "Pendulum-v1"]);
    fs::write(&path, whole).expect("written");
    // or not be there at all
    fs::rename(run.join("agent-0001.safetensors"), run.join("agent-0002.safetensors")).expect("renamed");
    fails(&ddpg(here, &["eval", "run"]), 1, &["agent-0001.safetensors is missing", "agent-0002.safetensors is there"]);
    fs::rename(run.join("agent-0002.safetensors"), run.join("agent-0001.safetensors")).expect("renamed");
}

fn refuses_to_overwrite(here: &Path) {
    fails(&train(here, &["--steps", "100", "--out", "run"]), 1, &["run is not empty", "--overwrite"]);
    // nor is anything lost to a run that cannot start
    let elsewhere = ["--steps", "100", "--out", "run", "--overwrite", "--summary-dir", "run/config.toml/graphs"];
    fails(&train(here, &elsewhere), 1, &["cannot write to the directory run/config.toml/graphs"]);
    assert!(here.join("run/agent-0001.safetensors").exists(), "the earlier run is lost");
    fs::create_dir_all(here.join("run/monitor/agent-0001")).expect("made");
    let earlier = ["run/latest.gif", "run/best.toml", "run/monitor/agent-0001/episodes.json", "run/monitor/agent-0001/episode-000000.gif"];
    for name in ["run/monitor/notes.txt"].iter().chain(&earlier) {
        fs::write(here.join(name), "").expect("written");
    }
    succeeds(train(here, &["--steps", "100", "--out", "run", "--overwrite", "--quiet"]));
    for name in ["run/agent-0001.safetensors", "run/tensorboard/agent-0001", "run/monitor/agent-0001"].iter().chain(&earlier) {
        assert!(!here.join(name).exists(), "{name} of the earlier run is left");
    }
    let events = fs::read_dir(here.join("run/tensorboard/agent-0000")).expect("event files").count();
    assert_eq!(events, 1, "event files of the earlier run are left");
    assert!(here.join("run/monitor/notes.txt").exists(), "what is not ours was removed");
}

#[test]
fn the_same_seed_gives_the_same_file_also_when_it_stops_and_goes_on() {
    let directory = scratch();
    let here = directory.path();
    let file = |run: &str| fs::read(here.join(run).join("agent-0000.safetensors")).expect("a file");
    let normalised = ["--batch-norm", "input-and-hidden", "--exploration", "ornstein-uhlenbeck", "--save-replay"];
    let run = |arguments: &[&str]| succeeds(train(here, &[&normalised, arguments].concat()));
    run(&["--steps", "600", "--out", "one", "--quiet"]);

    // half of it, then the rest in another process
    run(&["--steps", "300", "--out", "half", "--quiet"]);
    let text = succeeds(ddpg(here, &["train", "--resume", "half", "--steps", "600"]));
    assert!(text.contains("going on after 300 environment steps"), "{text}");
    assert!(file("one") == file("half"), "the same seed gave other parameters, or the resumed run went elsewhere");
    let steps: Vec<_> = rows(here.join("half/metrics.csv")).into_iter().map(|row| row[0].clone()).collect();
    assert_eq!(steps, ["step", "200", "300", "400", "600"]);
    fails(&ddpg(here, &["train", "--resume", "half"]), 2, &["600 steps already"]);
    // and with the same tile, unless another is asked for
    let executed = || read(here.join("tiled/execution.json"));
    run(&["--steps", "80", "--out", "tiled", "--plan", "layered", "--tile", "portable", "--quiet"]);
    succeeds(ddpg(here, &["train", "--resume", "tiled", "--steps", "120", "--quiet"]));
    assert!(executed().contains("\"plan\": \"layered\"") && executed().contains("\"tile\": \"portable\""), "{}", executed());
    succeeds(ddpg(here, &["train", "--resume", "tiled", "--steps", "160", "--tile", "small", "--plan", "layered", "--quiet"]));
    assert!(executed().contains("\"tile\": \"small\""), "{}", executed());
    let wider = ddpg(here, &["train", "--resume", "half", "--steps", "900", "--actor-hidden", "9,8"]);
    fails(&wider, 1, &["agent-0000.safetensors", "actor.layer1.weight", "[3, 8]", "[3, 9]"]);
    fails(&ddpg(here, &["train", "--resume", "half", "--steps", "900", "--agents", "2"]), 1, &["1 snapshots for 2 agents"]);
}

#[test]
fn flags_win_over_the_file_and_the_file_over_the_preset() {
    let directory = scratch();
    let here = directory.path();
    fs::write(here.join("my.toml"), "preset = \"paper\"\ngamma = 0.5\ntau = 0.25\nnoise_sigma = 0.7\n").expect("written");
    let print = |arguments: &[&str]| succeeds(ddpg(here, &[&["train", "--print-config"], arguments].concat()));
    let all = print(&["--config", "my.toml", "--tau", "0.125", "--hard-update-every", "100"]);
    for line in ["gamma = 0.5", "tau = 0.125", "batch_norm = \"input-and-hidden\"", "hard_update_every = 100", "noise_sigma = 0.7"] {
        assert!(all.lines().any(|found| found == line), "no {line:?} in: {all}");
    }
    let all = print(&["--config", "my.toml", "--preset", "seed", "--exploration", "gaussian", "--reset-noise"]);
    for line in ["preset = \"seed\"", "seed = 1234", "gamma = 0.5", "exploration = \"gaussian\"", "noise_sigma = 0.7", "reset_noise = true"]
    {
        assert!(all.lines().any(|found| found == line), "no {line:?} in: {all}");
    }
    assert!(!all.contains("noise_theta"));
    // of a run that goes on, the file changes what it names and nothing else
    fs::create_dir(here.join("earlier")).expect("made");
    let earlier = print(&["--preset", "paper", "--tau", "0.03", "--seed", "9"]);
    fs::write(here.join("earlier/config.toml"), &earlier).expect("written");
    fs::write(here.join("longer.toml"), "steps = 123456\ngamma = 0.5\n").expect("written");
    let all = print(&["--resume", "earlier", "--config", "longer.toml", "--gamma", "0.75"]);
    let changed: Vec<_> = all.lines().filter(|line| !earlier.lines().any(|before| before == *line)).collect();
    assert_eq!(changed, ["steps = 123456", "gamma = 0.75"]);
    // whatever is printed says the same when it is read again
    for preset in ["modern", "paper", "seed"] {
        let first = print(&["--preset", preset]);
        fs::write(here.join("printed.toml"), &first).expect("written");
        assert_eq!(print(&["--config", "printed.toml"]), first);
    }
    // help shows every setting with its values
    let help = succeeds(ddpg(here, &["train", "--help"]));
    for name in print(&["--preset", "seed"]).lines().filter_map(|line| line.split(" =").next()) {
        assert!(help.contains(&format!("--{}", name.replace('_', "-"))), "{name} is not a flag");
    }
}

#[test]
fn bad_input_gets_a_clear_answer() {
    let directory = scratch();
    let here = directory.path();
    let train = |arguments: &[&str]| ddpg(here, &[&["train", "--out", "never"], arguments].concat());
    fails(&train(&["--bogus"]), 2, &["--bogus"]);
    fails(&train(&["--preset", "newest"]), 2, &["newest", "modern"]);
    fails(&train(&["--batch-size", "256", "--replay-capacity", "128"]), 2, &["batch_size (256)", "replay_capacity (128)"]);
    fails(&train(&["--actor-hidden", "64,0"]), 2, &["actor_hidden", "layer 2", "width 0"]);
    fails(&train(&["--critic-hidden", "-1"]), 2, &["-1"]);
    fails(&train(&["--learning-starts", "200", "--replay-capacity", "128"]), 2, &["learning_starts (200)", "replay_capacity (128)"]);
    fails(&train(&["--gamma", "NaN"]), 2, &["gamma is NaN", "0 to 1"]);
    fails(&train(&["--tau", "1.5"]), 2, &["tau is 1.5", "0 to 1"]);
    // a negative number is a value, and a setting is called what its flag is called
    fails(&train(&["--gamma", "-0.1"]), 2, &["gamma is -0.1", "0 to 1"]);
    fails(&train(&["--noise-sigma", "-1"]), 2, &["-1", "not negative", "--noise-sigma"]);
    fails(&train(&["--envs", "0"]), 2, &["is 0", "at least 1", "--envs"]);
    fails(&train(&["--noise-schedule", "linear", "--noise-span", "0"]), 2, &["above 0", "--noise-span"]);
    fails(&train(&["--steps", "-5"]), 2, &["-5", "--steps"]);
    fails(&train(&["--action-layer", "3"]), 2, &["action_layer is 3", "2 hidden layers"]);
    fails(&train(&["--env", "Acrobot-v1"]), 2, &["Acrobot-v1", "Pendulum-v1"]);
    fails(&train(&["--steps", "0"]), 2, &["steps is 0", "at least 1"]);
    for flag in ["--final-episodes", "--eval-episodes"] {
        fails(&train(&[flag, "4294967295"]), 2, &["episodes is 4294967295", "at most 1000000"]);
    }
    fails(&ddpg(here, &["eval", ".", "--episodes", "4294967295"]), 2, &["4294967295", "1..=1000000"]);
    fails(&train(&["--noise-theta", "0.1"]), 2, &["noise_theta", "gaussian"]);
    fails(&train(&["--config", "missing.toml"]), 2, &["missing.toml"]);
    for (text, says) in [
        ("gamma = 0.9\nlearning_rate = 3\n", &["my.toml", "line 2", "learning_rate"][..]),
        ("gamma = 0.9\n\ntau = = 3\n", &["my.toml", "line 3"]),
        ("batch_size = \"many\"\n", &["my.toml", "line 1", "many"]),
        ("batch_size = 64\nreplay_capacity = 32\n", &["batch_size (64)", "replay_capacity (32)"]),
    ] {
        fs::write(here.join("my.toml"), text).expect("written");
        fails(&train(&["--config", "my.toml"]), 2, says);
    }
    fails(&train(&["--adapter", "no such thing"]), 2, &["no such thing", "0: "]);
    fails(&train(&["--adapter", "1000"]), 2, &["1000", "0: "]);
    fails(&train(&["--replay-capacity", "4000000000"]), 2, &["4000000000", "replay_capacity of at most"]);
    // a file where a directory should be: root may write anywhere else
    fs::write(here.join("file"), "").expect("written");
    fails(&ddpg(here, &["train", "--out", "file/run"]), 1, &["cannot write to the output directory file/run"]);
    fails(&ddpg(here, &["eval", "nowhere"]), 2, &["nowhere"]);
    fails(&ddpg(here, &["eval", "."]), 1, &["no agent-0000.safetensors"]);
    fails(&ddpg(here, &["eval", ".", "--episodes", "0"]), 2, &["--episodes"]);
    fails(&ddpg(here, &[]), 2, &["Usage"]);
    assert!(!here.join("never").exists(), "a refused run left its directory behind");

    let no_adapter = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ddpg"));
        command.current_dir(here).args(arguments);
        // the Vulkan loader then finds no driver
        command.env("VK_DRIVER_FILES", "/nonexistent").env("VK_ICD_FILENAMES", "/nonexistent").output().expect("the program starts")
    };
    if cfg!(target_os = "linux") {
        for arguments in [&["devices"][..], &["train", "--out", "never"]] {
            fails(&no_adapter(arguments), 1, &["no GPU adapter was found", "mesa-vulkan-drivers"]);
        }
        assert!(no_adapter(&["train", "--print-config"]).status.success(), "printing the configuration needs no adapter");
        fails(&no_adapter(&["train", "--batch-size", "0"]), 2, &["batch_size is 0"]);
    }
    let devices = succeeds(ddpg(here, &["devices"]));
    for part in ["index", "backend", "driver", "largest storage binding", "transitions", "--adapter"] {
        assert!(devices.contains(part), "no {part:?} in: {devices}");
    }
}

#[test]
fn an_agent_that_meets_infinity_stops_with_its_last_good_parameters() {
    let directory = scratch();
    let output = train(directory.path(), &["--steps", "400", "--critic-learning-rate", "1e38", "--out", "run"]);
    fails(&output, 1, &["agent 0 stopped at update", "NaN or infinite", "every agent stopped", "run"]);
    let summary: Value = serde_json::from_str(&read(directory.path().join("run/summary.json"))).expect("JSON");
    assert!(summary["agents"][0]["halted"].as_str().is_some_and(|reason| reason.contains("stopped at update")), "{summary}");
    let parts = split(&fs::read(directory.path().join("run/agent-0000.safetensors")).expect("a file"));
    for name in parts.header.as_object().expect("an object").keys().filter(|name| *name != "__metadata__") {
        assert!(tensor(&parts, name).iter().all(|number| number.is_finite()), "{name} holds NaN or infinity");
    }
}

#[cfg(unix)]
#[test]
fn a_closed_pipe_and_an_interrupt_are_not_accidents() {
    let directory = scratch();
    let start = |arguments: &[&str], out: Stdio| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ddpg"));
        command.current_dir(directory.path()).args(arguments).stdout(out).stderr(Stdio::piped());
        command.spawn().expect("the program starts")
    };
    // whoever reads goes away before anything is written
    let mut listing = start(&["devices"], Stdio::piped());
    drop(listing.stdout.take());
    let listing = listing.wait_with_output().expect("it ends");
    assert!(listing.status.success(), "{}", String::from_utf8_lossy(&listing.stderr));

    // one that is full has lost what was asked for
    if cfg!(target_os = "linux") {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("a full device");
        let printing = start(&["train", "--print-config"], full.into()).wait_with_output().expect("it ends");
        fails(&printing, 1, &["standard output", "No space left"]);
    }

    let long = [&["train"], SHORT, &["--steps", "100000000", "--eval-every", "400", "--out", "run"]].concat();
    let training = start(&long, Stdio::null());
    let saved = directory.path().join("run/agent-0000.safetensors");
    wait_until(|| saved.exists());
    // it does not end with what only watches it
    fs::rename(directory.path().join("run/tensorboard"), directory.path().join("moved")).expect("moved");
    std::thread::sleep(Duration::from_secs(1));
    let interrupt = Command::new("kill").args(["-INT", &training.id().to_string()]).status().expect("kill runs");
    assert!(interrupt.success());
    let training = training.wait_with_output().expect("it ends");
    // during an evaluation there is nothing left to save
    fails(&training, 130, &["goes on without its TensorBoard files"]);
    let summary: Value = serde_json::from_str(&read(directory.path().join("run/summary.json"))).expect("JSON");
    assert_eq!(summary["interrupted"], true);
    // without the ring in its files, a resumed run fills it before it learns on
    let steps = summary["environment_steps"].as_u64().expect("a number") + 100;
    let text = succeeds(ddpg(directory.path(), &["train", "--resume", "run", "--steps", &steps.to_string()]));
    assert!(text.contains("the replay rings start empty"), "{text}");
    let updates = |text: &str| serde_json::from_str::<Value>(text).expect("JSON")["updates"].as_u64().expect("a number");
    let now = updates(&read(directory.path().join("run/summary.json")));
    // 100 steps are 25 iterations of four environments; the 16th of them fills the ring to the 64 it needs
    assert_eq!(now, summary["updates"].as_u64().expect("a number") + 10);
}

#[cfg(target_os = "linux")]
#[test]
fn a_signal_that_is_ignored_stays_so() {
    let directory = scratch();
    // as nohup does it; the shell becomes the program
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' HUP; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_ddpg"), "train"]).args(SHORT);
    command.args(["--steps", "100000000", "--eval-every", "400", "--out", "run"]);
    let mut training = command.current_dir(directory.path()).stdout(Stdio::null()).spawn().expect("the program starts");
    let signal =
        |name: &str| assert!(Command::new("kill").args([name, &training.id().to_string()]).status().is_ok_and(|kill| kill.success()));
    let evaluations = || fs::read_to_string(directory.path().join("run/metrics.csv")).map_or(0, |metrics| metrics.lines().count());
    wait_until(|| evaluations() > 1);
    signal("-HUP");
    let before = evaluations();
    wait_until(|| evaluations() > before + 3);
    signal("-TERM");
    assert_eq!(training.wait().expect("it ends").code(), Some(130));
}

#[cfg(unix)]
#[test]
fn an_evaluation_is_cut_short_and_taken_up_again() {
    let directory = scratch();
    let here = directory.path();
    let mut arguments = [&["train"], SHORT, &["--agents", "16", "--steps", "400", "--out", "run"]].concat();
    let episodes = arguments.iter().position(|&argument| argument == "--final-episodes").expect("there") + 1;
    // many minutes of them
    arguments[episodes] = "1000000";
    let mut command = Command::new(env!("CARGO_BIN_EXE_ddpg"));
    command.current_dir(here).args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
    let training = command.spawn().expect("the program starts");
    wait_until(|| here.join("run/agent-0015.safetensors").exists());
    std::thread::sleep(Duration::from_millis(500));
    let asked = Instant::now();
    assert!(Command::new("kill").args(["-TERM", &training.id().to_string()]).status().expect("kill runs").success());
    let output = training.wait_with_output().expect("it ends");
    assert!(asked.elapsed() < Duration::from_secs(20), "{:?}", asked.elapsed());
    fails(&output, 130, &[]);
    assert!(stdout(&output).contains("go on: ddpg train --resume run"), "{}", stdout(&output));
    let summary: Value = serde_json::from_str(&read(here.join("run/summary.json"))).expect("JSON");
    assert_eq!((&summary["interrupted"], &summary["agents"][0]["mean_return"]), (&true.into(), &Value::Null));
    assert!(!here.join("run/.ddpg.lock").exists());

    // all steps are taken: what is left is the evaluation
    let metrics = read(here.join("run/metrics.csv"));
    let text = succeeds(ddpg(here, &["train", "--resume", "run", "--final-episodes", "8"]));
    assert!(text.contains("all steps are taken") && text.contains("mean return"), "{text}");
    assert_eq!(read(here.join("run/metrics.csv")), metrics);
    let summary: Value = serde_json::from_str(&read(here.join("run/summary.json"))).expect("JSON");
    assert!(summary["interrupted"] == false && summary["agents"][0]["mean_return"].is_number(), "{summary}");
    fails(&ddpg(here, &["train", "--resume", "run"]), 2, &["400 steps already", "--steps (now 400)"]);
    fails(&ddpg(here, &["train", "--resume", "run", "--max-episodes", "2", "--max-episode-len", "50"]), 2, &["--max-episodes (now 2)"]);
    // episodes that ended before their time limit count as well
    let header = read(here.join("run/episodes.csv")).lines().next().expect("a header").to_owned();
    let rows: String = (0..16).map(|agent| format!("400,1,{agent},{agent},2,-9,30,0\n")).collect();
    fs::write(here.join("run/episodes.csv"), format!("{header}\n{rows}")).expect("written");
    let more = ["train", "--resume", "run", "--steps", "4000", "--max-episodes"];
    fails(&ddpg(here, &[&more[..], &["3"]].concat()), 2, &["had its episodes", "--max-episodes (now 3)"]);
}

#[test]
fn a_directory_has_one_writer() {
    let directory = scratch();
    let here = directory.path();
    let start = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ddpg"));
        command.current_dir(here).args(arguments).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the program starts")
    };
    let long = [&["train"], SHORT, &["--steps", "100000000", "--eval-every", "400", "--out", "run"]].concat();
    let mut first = start(&long);
    let saved = here.join("run/agent-0000.safetensors");
    wait_until(|| saved.exists());
    let refused = &["another ddpg writes to run", "--out"];
    fails(&train(here, &["--steps", "100", "--out", "run", "--overwrite"]), 1, refused);
    fails(&ddpg(here, &["train", "--resume", "run"]), 1, refused);
    fails(&ddpg(here, &["sweep", "--grid", "tau=0.1,0.2", "--out", "run", "--overwrite"]), 1, refused);
    // a run that is killed leaves no claim, and what it had not finished is cleared away
    first.kill().expect("killed");
    first.wait().expect("it ends");
    fs::write(here.join("run/.summary.json.4711.tmp"), "").expect("written");
    succeeds(ddpg(here, &["eval", "run", "--episodes", "1"]));
    succeeds(train(here, &["--steps", "100", "--out", "run", "--overwrite", "--quiet"]));
    let hidden = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().starts_with('.');
    let left: Vec<_> = fs::read_dir(here.join("run")).expect("the run").flatten().filter(hidden).collect();
    assert!(left.is_empty() || cfg!(not(unix)), "{left:?}");

    // runs that start together and are given no directory have one each
    let usual = [&["train"], SHORT, &["--steps", "8", "--seed", "3"]].concat();
    for started in [start(&usual), start(&usual), start(&usual)] {
        let output = started.wait_with_output().expect("it ends");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let runs: Vec<_> = fs::read_dir(here.join("runs")).expect("the runs").flatten().map(|entry| entry.path()).collect();
    assert!(runs.len() == 3 && runs.iter().all(|run| run.join("summary.json").exists()), "{runs:?}");
}

// where the operating system keeps caches is asked for by variables, but on Windows
#[cfg(not(windows))]
#[test]
fn what_was_tuned_is_remembered() {
    let directory = scratch();
    let here = directory.path();
    let tune = |arguments: &[&str]| {
        let arguments =
            [&["train", "--tune", "--tile", "portable", "--steps", "200", "--out", "run", "--overwrite"], SHORT, arguments].concat();
        let mut command = Command::new(env!("CARGO_BIN_EXE_ddpg"));
        command.current_dir(here).args(arguments).env("NO_COLOR", "1").env("XDG_CACHE_HOME", here).env("HOME", here);
        succeeds(command.output().expect("the program starts"))
    };
    let measured = tune(&[]);
    assert!(measured.lines().filter(|line| line.contains("portable") && line.contains("iterations/s")).count() >= 2, "{measured}");
    let best = measured.lines().find(|line| line.ends_with("<- used")).unwrap_or_else(|| panic!("nothing was chosen: {measured}"));
    let plan = best.split_whitespace().nth(2).expect("a plan");
    assert!(measured.contains(&format!("plan: {plan}")), "{measured}");
    let again = tune(&[]);
    assert!(again.contains(&format!("tuned before: {plan} plan, portable tile")) && !again.contains("iterations/s"), "{again}");
    // other work is another question
    let other = tune(&["--agents", "2", "--plan", "layered"]);
    assert!(!other.contains("tuned before"), "{other}");
    // nothing is left to choose
    assert!(!tune(&["--plan", "layered"]).contains("tuned before"));
}
