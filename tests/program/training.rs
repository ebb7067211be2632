//! `ddpg train`, `eval` and `render` as a user runs them: what a run leaves behind, and what is refused of what was left.

use crate::*;
use ddpg_wgpu::Preset;
use safetensors_header::{Parts, join, split};

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

/// What their algorithms ask of a population that learns is not asked of one that only acts.
#[test]
fn agents_of_every_preset_are_evaluated_and_drawn_again() {
    let directory = scratch();
    let here = directory.path();
    for preset in Preset::ALL.map(Preset::name) {
        succeeds(train(here, &["--preset", preset, "--steps", "100", "--quiet", "--out", preset]));
        let trained = &json(here.join(preset).join("summary.json"))["agents"][0]["mean_return"];
        let evaluated: Value = serde_json::from_str(&succeeds(ddpg(here, &["eval", preset, "--json"]))).expect("JSON");
        assert_eq!(&evaluated["agents"][0]["mean_return"], trained, "{preset}");
        succeeds(ddpg(here, &["render", preset, "--episodes", "1", "--size", "32"]));
    }
}

/// An agent's state keeps 64 of them between two rows.
#[test]
fn episodes_that_end_together_and_are_not_logged_are_told_of() {
    let directory = scratch();
    let many = ["train", "--envs", "100", "--steps", "20000", "--log-every", "20000", "--learning-starts", "20000"];
    let output = ddpg(directory.path(), &[&many[..], &["--random-steps", "20000", "--final-episodes", "4", "--out", "run"]].concat());
    assert!(stderr(&output).contains("36 episodes have ended unlogged"), "{}", stderr(&output));
    let text = succeeds(output);
    assert!(text.contains("learning: 1 update for every 100 environment steps, about 0 in all"), "{text}");
    assert_eq!(rows(directory.path().join("run/episodes.csv")).len(), 1 + 64);
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
    let expected = ["agent-0000.safetensors", "agent-0001.safetensors", "best", "config.toml", "curve.svg", "episodes.csv"];
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
    let summary = json(run.join("summary.json"));
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

    let single = succeeds(ddpg(here, &["eval", "run/agent-0001.safetensors", "--json", "--episodes", "1"]));
    let single: Value = serde_json::from_str(&single).expect("JSON");
    assert_eq!((&single["agents"][0]["standard_deviation"], &single["agents"][0]["standard_error"]), (&Value::Null, &Value::Null));

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
    fails(&render("x.png"), 2, &["a GIF is all that is written", "x.gif"]);
    let reacher = ddpg(here, &["render", "run", "--env", "Reacher-v0"]);
    fails(&reacher, 2, &["Reacher-v0 cannot be drawn; Pendulum-v0 and Pendulum-v1 can"]);
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
    keeps_what_it_cannot_read(here);
    // and with the same tile, unless another is asked for
    let executed = || read(here.join("tiled/execution.json"));
    run(&["--steps", "80", "--out", "tiled", "--plan", "layered", "--tile", "portable", "--quiet"]);
    succeeds(ddpg(here, &["train", "--resume", "tiled", "--steps", "120", "--quiet"]));
    assert!(executed().contains("\"plan\": \"layered\"") && executed().contains("\"tile\": \"portable\""), "{}", executed());
    succeeds(ddpg(here, &["train", "--resume", "tiled", "--steps", "160", "--tile", "small", "--plan", "layered", "--quiet"]));
    assert!(executed().contains("\"tile\": \"small\""), "{}", executed());
}

/// A run does not go on over a history that it cannot read.
fn keeps_what_it_cannot_read(here: &Path) {
    let monitored = "monitor/agent-0000/episodes.json";
    fs::create_dir_all(here.join("half/monitor/agent-0000")).expect("made");
    fs::write(here.join("half").join(monitored), "{}").expect("written");
    let all =
        || ["config.toml", "metrics.csv", "episodes.csv", "evaluations.csv", monitored].map(|name| fs::read(here.join("half").join(name)));
    let refused = |name: &str, monitor: &str, says: &str| {
        let before = all().map(|bytes| bytes.expect("a file"));
        let output = ddpg(here, &["train", "--resume", "half", "--steps", "900", "--use-gym-monitor", monitor]);
        fails(&output, 1, &[name, "repair or remove it", says]);
        assert!(all().map(|bytes| bytes.expect("a file")) == before, "{name} cannot be read, but something was replaced");
    };
    for name in ["metrics.csv", "episodes.csv", "evaluations.csv"] {
        let path = here.join("half").join(name);
        let whole = fs::read(&path).expect("a file");
        fs::write(&path, [&whole[..], b"\xff"].concat()).expect("written");
        refused(name, "false", "UTF-8");
        fs::write(&path, whole).expect("written");
    }
    refused(monitored, "true", "missing field");
    fs::write(here.join("half").join(monitored), b"\xff").expect("written");
    refused(monitored, "true", "UTF-8");
    fs::remove_dir_all(here.join("half/monitor")).expect("removed");
    counts_no_episodes_that_it_cannot_read(here);
}

/// Nor does one that goes on elsewhere take an episode table that it cannot read for one without episodes.
fn counts_no_episodes_that_it_cannot_read(here: &Path) {
    let path = here.join("half/episodes.csv");
    let whole = fs::read(&path).expect("a file");
    let arguments = ["train", "--resume", "half", "--out", "elsewhere", "--steps", "700", "--max-episodes", "9", "--quiet"];
    let refused = |says: &str| {
        fails(&ddpg(here, &arguments), 1, &["half/episodes.csv", "repair or remove it", says]);
        assert!(!here.join("elsewhere").exists(), "a run was begun");
    };
    fs::write(&path, [&whole[..], b"\xff\n"].concat()).expect("written");
    refused("UTF-8");
    fs::write(&path, [&whole[..], b"400,300,0,1\n"].concat()).expect("written");
    refused("line 2 is \"400,300,0,1\"; it must begin with step, updates, agent, seed, episode");
    fs::remove_file(&path).expect("removed");
    fs::create_dir(&path).expect("made");
    refused("directory");
    fs::remove_dir(&path).expect("removed");
    succeeds(ddpg(here, &arguments));
    // what a run leaves that was killed while it wrote
    fs::write(&path, [&whole[..], b"400,3"].concat()).expect("written");
    succeeds(ddpg(here, &[&arguments[..], &["--overwrite"]].concat()));
    fs::write(&path, whole).expect("written");
    let metrics = here.join("half/metrics.csv");
    fs::write(&metrics, read(&metrics) + "40").expect("written");
    succeeds(ddpg(here, &["train", "--resume", "half", "--steps", "700", "--quiet"]));
    let steps: Vec<_> = rows(metrics).into_iter().map(|row| row[0].clone()).collect();
    assert_eq!(steps, ["step", "200", "300", "400", "600", "700"]);
}

#[test]
fn a_run_from_before_there_were_relative_actions_goes_on_without() {
    let directory = scratch();
    let here = directory.path();
    succeeds(train(here, &["--steps", "200", "--relative-actions=false", "--out", "run", "--quiet"]));
    let config = here.join("run/config.toml");
    let (line, text) = ("relative_actions = false\n", read(&config));
    assert!(text.contains(line), "{text}");
    fs::write(&config, text.replace(line, "")).expect("written");
    succeeds(ddpg(here, &["train", "--resume", "run", "--steps", "400", "--quiet"]));
    assert!(read(&config).contains(line));
}

#[test]
fn an_agent_that_meets_infinity_stops_with_its_last_good_parameters() {
    let directory = scratch();
    let output = train(directory.path(), &["--steps", "400", "--critic-learning-rate", "1e38", "--out", "run"]);
    fails(&output, 1, &["agent 0 stopped at update", "NaN or infinite", "every agent stopped", "run"]);
    let summary = json(directory.path().join("run/summary.json"));
    assert!(summary["agents"][0]["halted"].as_str().is_some_and(|reason| reason.contains("stopped at update")), "{summary}");
    let parts = split(&fs::read(directory.path().join("run/agent-0000.safetensors")).expect("a file"));
    for name in parts.header.as_object().expect("an object").keys().filter(|name| *name != "__metadata__") {
        assert!(tensor(&parts, name).iter().all(|number| number.is_finite()), "{name} holds NaN or infinity");
    }
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
        succeeds(program(here, &arguments).env("XDG_CACHE_HOME", here).env("HOME", here).output().expect("the program starts"))
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
