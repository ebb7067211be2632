//! Ends before the end: interrupts, signals, closed pipes, full disks, two that write to one directory.

use crate::*;

/// Ctrl-C; where these tests run behind others in a script, all that they start ignores it, and another signal says the same.
#[cfg(unix)]
fn interrupt() -> &'static str {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")?.trim().chars().last()?.to_digit(16));
    // a bit a signal; SIGINT is the second
    if ignored.unwrap_or(0) & 2 == 0 { "-INT" } else { "-TERM" }
}

#[cfg(unix)]
#[test]
fn a_closed_pipe_and_an_interrupt_are_not_accidents() {
    let directory = scratch();
    let here = directory.path();
    // whoever reads goes away before anything is written
    let mut listing = start(here, &["devices"], Stdio::piped());
    drop(listing.stdout.take());
    succeeds(listing.wait_with_output().expect("it ends"));

    // one that is full has lost what was asked for
    if cfg!(target_os = "linux") {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("a full device");
        let printing = start(here, &["train", "--print-config"], full).wait_with_output().expect("it ends");
        fails(&printing, 1, &["standard output", "No space left"]);
    }

    let training = start(here, &endless(), Stdio::null());
    wait_until(|| here.join("run/agent-0000.safetensors").exists());
    // it does not end with what only watches it
    fs::rename(here.join("run/tensorboard"), here.join("moved")).expect("moved");
    std::thread::sleep(Duration::from_secs(1));
    send(interrupt(), &training);
    let training = training.wait_with_output().expect("it ends");
    // during an evaluation there is nothing left to save
    fails(&training, 130, &["goes on without its TensorBoard files"]);
    let summary = json(here.join("run/summary.json"));
    assert_eq!(summary["interrupted"], true);
    // without the ring in its files, a resumed run fills it before it learns on
    let steps = summary["environment_steps"].as_u64().expect("a number") + 100;
    let text = succeeds(ddpg(here, &["train", "--resume", "run", "--steps", &steps.to_string()]));
    assert!(text.contains("the replay rings start empty"), "{text}");
    let now = json(here.join("run/summary.json"))["updates"].as_u64().expect("a number");
    // 100 steps are 25 iterations of four environments; the 16th of them fills the ring to the 64 it needs
    assert_eq!(now, summary["updates"].as_u64().expect("a number") + 10);
}

#[cfg(target_os = "linux")]
#[test]
fn a_signal_that_is_ignored_stays_so() {
    let directory = scratch();
    // as nohup does it; the shell becomes the program
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' HUP; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_ddpg")]).args(endless());
    let mut training = command.current_dir(directory.path()).stdout(Stdio::null()).spawn().expect("the program starts");
    let logged = || fs::read_to_string(directory.path().join("run/metrics.csv")).map_or(0, |metrics| metrics.lines().count());
    wait_until(|| logged() > 1);
    send("-HUP", &training);
    let before = logged();
    wait_until(|| logged() > before + 3);
    send("-TERM", &training);
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
    let training = start(here, &arguments, Stdio::piped());
    wait_until(|| here.join("run/agent-0015.safetensors").exists());
    std::thread::sleep(Duration::from_millis(500));
    let asked = Instant::now();
    send("-TERM", &training);
    let output = training.wait_with_output().expect("it ends");
    assert!(asked.elapsed() < Duration::from_secs(20), "{:?}", asked.elapsed());
    fails(&output, 130, &[]);
    assert!(stdout(&output).contains("go on: ddpg train --resume run"), "{}", stdout(&output));
    let summary = json(here.join("run/summary.json"));
    assert_eq!((&summary["interrupted"], &summary["agents"][0]["mean_return"]), (&true.into(), &Value::Null));
    assert!(!here.join("run/.ddpg.lock").exists());

    // all steps are taken: what is left is the evaluation
    let metrics = read(here.join("run/metrics.csv"));
    let text = succeeds(ddpg(here, &["train", "--resume", "run", "--final-episodes", "8"]));
    assert!(text.contains("all steps are taken") && text.contains("mean return"), "{text}");
    assert_eq!(read(here.join("run/metrics.csv")), metrics);
    let summary = json(here.join("run/summary.json"));
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
    let mut first = start(here, &endless(), Stdio::null());
    wait_until(|| here.join("run/agent-0000.safetensors").exists());
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
    let together = [0, 1, 2].map(|_| start(here, &usual, Stdio::null()));
    for started in together {
        succeeds(started.wait_with_output().expect("it ends"));
    }
    let runs: Vec<_> = fs::read_dir(here.join("runs")).expect("the runs").flatten().map(|entry| entry.path()).collect();
    assert!(runs.len() == 3 && runs.iter().all(|run| run.join("summary.json").exists()), "{runs:?}");
}
