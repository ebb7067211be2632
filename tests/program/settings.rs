//! Flags, files and presets: which of them wins, and what is said of those that cannot be.

use crate::*;

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
    // a file that names no preset changes the one that a flag names
    fs::write(here.join("my.toml"), "gamma = 0.5\ntau = 0.25\nnoise_sigma = 0.7\n").expect("written");
    let all = print(&["--config", "my.toml", "--preset", "seed", "--exploration", "gaussian", "--reset-noise"]);
    for line in ["preset = \"seed\"", "seed = 1234", "gamma = 0.5", "exploration = \"gaussian\"", "noise_sigma = 0.7", "reset_noise = true"]
    {
        assert!(all.lines().any(|found| found == line), "no {line:?} in: {all}");
    }
    assert!(!all.contains("noise_theta"));
    // whole numbers as they are written elsewhere, and blanks in lists
    let all = print(&["--steps", "1e5", "--replay-capacity", "200_000", "--actor-hidden", "32, 16"]);
    for line in ["steps = 100000", "replay_capacity = 200000", "actor_hidden = [32, 16]"] {
        assert!(all.lines().any(|found| found == line), "no {line:?} in: {all}");
    }
    // of a run that goes on, the file changes what it names and nothing else
    fs::create_dir(here.join("earlier")).expect("made");
    let earlier = print(&["--preset", "paper", "--tau", "0.03", "--seed", "9"]);
    fs::write(here.join("earlier/config.toml"), &earlier).expect("written");
    fs::write(here.join("longer.toml"), "steps = 123456\ngamma = 0.5\n").expect("written");
    let all = print(&["--resume", "earlier", "--config", "longer.toml", "--gamma", "0.75"]);
    let changed: Vec<_> = all.lines().filter(|line| !earlier.lines().any(|before| before == *line)).collect();
    assert_eq!(changed, ["steps = 123456", "gamma = 0.75"]);
    // one that names a preset is of that preset
    assert_eq!(print(&["--resume", "earlier", "--preset", "paper"]), earlier);
    for source in ["--resume", "--config"] {
        let path = if source == "--resume" { "earlier" } else { "earlier/config.toml" };
        let refused = ddpg(here, &["train", source, path, "--preset", "modern", "--print-config"]);
        fails(&refused, 2, &["earlier/config.toml says preset paper", "leave --preset modern out"]);
    }
    let refused = ddpg(here, &["sweep", "--grid", "tau=0.1", "--config", "earlier/config.toml", "--preset", "modern"]);
    fails(&refused, 2, &["says preset paper"]);
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
fn what_a_run_has_been_made_with_cannot_change() {
    let directory = scratch();
    let here = directory.path();
    fs::create_dir(here.join("run")).expect("made");
    // as far as it is not said, it is as in the preset
    fs::write(here.join("run/config.toml"), "seed = 5\nactor_hidden = [9, 8]\n").expect("written");
    let resume = |arguments: &[&str]| ddpg(here, &[&["train", "--resume", "run", "--print-config"], arguments].concat());
    for (flag, value, says) in [
        ("--agents", "3", "agents is 1 in this run and cannot change with --resume (--agents 3)"),
        ("--seed", "7", "seed is 5 in this run and cannot change with --resume (--seed 7)"),
        ("--actor-hidden", "32,32", "actor_hidden is 9,8 in this run"),
        ("--env", "Pendulum-v0", "env is Pendulum-v1 in this run"),
        ("--batch-norm", "hidden", "batch_norm is none in this run"),
        ("--algorithm", "off-policy", "algorithm is ddpg in this run"),
        ("--hidden-deviation", "0.5", "hidden_deviation is not set in this run"),
    ] {
        fails(&resume(&[flag, value]), 2, &[says]);
    }
    fs::write(here.join("more.toml"), "steps = 123456\nagents = 2\n").expect("written");
    fails(&resume(&["--config", "more.toml"]), 2, &["agents is 1 in this run", "(agents = 2 in more.toml)"]);
    let same = succeeds(resume(&["--agents", "1", "--seed", "5", "--actor-hidden", "9,8", "--gamma", "0.5"]));
    assert!(same.contains("gamma = 0.5"), "{same}");
    // nor is there a run to go on with just anywhere
    let elsewhere = |path: &str, says: &[&str]| fails(&ddpg(here, &["train", "--resume", path]), 2, says);
    elsewhere("nosuch", &["nosuch: there is no such run directory"]);
    elsewhere("run/config.toml", &["run/config.toml is a file", "directory, such as run"]);
    elsewhere(".", &["there is no config.toml in this directory"]);
}

#[test]
fn the_settings_that_are_offered_are_read() {
    let directory = scratch();
    let offered = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/settings");
    let files: Vec<_> = fs::read_dir(&offered).expect("there are some").map(|entry| entry.expect("an entry").path()).collect();
    assert!(files.len() >= 4, "{files:?}");
    for file in files {
        let shown = file.to_str().expect("a path");
        let printed = succeeds(ddpg(directory.path(), &["train", "--print-config", "--config", shown]));
        for line in read(&file).lines().filter(|line| !line.starts_with('#')) {
            let (name, value) = line.split_once(" = ").unwrap_or_else(|| panic!("{shown}: {line}"));
            let kept = printed.lines().filter_map(|found| found.split_once(" = ")).find(|(found, _)| *found == name);
            let same = |kept: &str| kept == value || kept.parse::<f64>().ok().is_some_and(|kept| value.parse() == Ok(kept));
            assert!(kept.is_some_and(|(_, kept)| same(kept)), "{shown}: {line}, in: {printed}");
        }
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
    fails(&train(&["--envs", "0", "--max-episodes", "5"]), 2, &["is 0", "at least 1", "--envs"]);
    fails(&train(&["--noise-schedule", "linear", "--noise-span", "0"]), 2, &["above 0", "--noise-span"]);
    fails(&train(&["--steps", "-5"]), 2, &["-5", "--steps", "a whole number is wanted, 0 or more"]);
    for wrong in ["1.5", "1e-3", "many"] {
        fails(&train(&["--steps", wrong]), 2, &[wrong, "a whole number is wanted", "100000"]);
    }
    fails(&train(&["--batch-size", "5e9"]), 2, &["5e9", "at most 4294967295"]);
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
        // the Vulkan loader then finds no driver
        let variables = ["VK_DRIVER_FILES", "VK_ICD_FILENAMES"].map(|name| (name, "/nonexistent"));
        program(here, arguments).envs(variables).output().expect("the program starts")
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
fn a_path_without_a_name_is_none() {
    let directory = scratch();
    let here = directory.path();
    for flag in ["--out", "--resume", "--config"] {
        fails(&ddpg(here, &["train", flag, "", "--print-config"]), 2, &[flag, "a value is required"]);
    }
    fails(&ddpg(here, &["bench", "--json", ""]), 2, &["--json", "a value is required"]);
    for (flag, name) in [("--summary-dir", "summary_dir"), ("--monitor-dir", "monitor_dir")] {
        let says = format!("{name} is empty; it must name a directory");
        fails(&ddpg(here, &["train", flag, "", "--print-config"]), 2, &[&says]);
        fs::write(here.join("my.toml"), format!("{name} = \"\"\n")).expect("written");
        fails(&ddpg(here, &["train", "--config", "my.toml", "--print-config"]), 2, &[&says]);
    }
}
