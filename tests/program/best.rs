//! The best of each agent, which a run keeps beside the last.

use crate::*;
use ddpg_wgpu::Snapshot;

/// Three agents, evaluated every 200 steps.
fn evaluated(here: &Path, arguments: &[&str]) -> Output {
    train(here, &[&["--agents", "3", "--eval-every", "200", "--eval-seed", "7", "--quiet"], arguments].concat())
}

/// The evaluation that found each agent at its best, the first such: step, mean return, episodes, by the run's table.
fn highest(run: &Path) -> [(u64, f64, usize); 3] {
    let rows = rows(run.join("evaluations.csv"));
    [0, 1, 2].map(|agent: usize| {
        let own = rows[1..].iter().filter(|row| row[2] == agent.to_string());
        let found = own
            .map(|row| (row[0].parse().expect("a step"), row[4].parse().expect("a return"), row[9].parse().expect("a number of episodes")));
        found.fold((0, f64::NEG_INFINITY, 0), |best, found| if found.1 > best.1 { found } else { best })
    })
}

/// The step that each agent of a directory is of.
fn steps(directory: &Path) -> Vec<u64> {
    Snapshot::load_all(directory).expect("agents").iter().map(|snapshot| snapshot.environment_steps).collect()
}

#[test]
fn the_best_are_those_of_the_highest_evaluation() {
    let directory = scratch();
    let here = directory.path();
    let text = succeeds(evaluated(here, &["--steps", "1600", "--out", "run"]));
    let (run, summary) = (here.join("run"), json(here.join("run/summary.json")));
    let highest = highest(&run);
    assert_eq!(steps(&run.join("best")), highest.map(|(step, ..)| step));
    let evaluate = |arguments: &[&str]| -> Value {
        serde_json::from_str(&succeeds(ddpg(here, &[&["eval", "--json"], arguments].concat()))).expect("JSON")
    };
    for (agent, (step, mean, episodes)) in highest.into_iter().enumerate() {
        let file = format!("best/agent-000{agent}.safetensors");
        let mut kept = summary["agents"][agent]["best"].clone();
        let told = kept.as_object_mut().and_then(|kept| kept.remove("mean_return")).and_then(|mean| mean.as_f64()).expect("a return");
        assert!((told - mean).abs() < 1e-9, "agent {agent}: {told}, but {mean} in the table");
        assert_eq!(kept, serde_json::json!({ "environment_steps": step, "episodes": episodes, "parameters": file }));
        // with the run's seed
        let again = evaluate(&[&format!("run/{file}"), "--episodes", &episodes.to_string()]);
        let again = again["agents"][0]["mean_return"].as_f64().expect("a return");
        assert!((again - mean).abs() < 0.01, "agent {agent}: {again}, but {mean} at step {step}");
    }
    let all = evaluate(&["run/best"]);
    assert_eq!((&all["evaluation_seed"], &all["agents"][2]["episodes"]), (&7.into(), &16.into()));

    // what is said of them follows the table, which is of the last
    let earlier: Vec<_> = highest.iter().filter(|(step, ..)| *step < 1600).collect();
    let most = earlier.iter().max_by(|(_, a, _), (_, b, _)| a.total_cmp(b));
    let (step, mean, _) = most.expect("some were better on the way than at the end: all that is tested here");
    let told = text.split("evaluate again: ddpg eval run\n").nth(1).unwrap_or_else(|| panic!("{text}"));
    assert!(told.starts_with("best of the evaluations on the way: run/best ("), "{told}");
    for part in [&format!("at step {step}: {mean:.1} over 4 episodes)\n"), "evaluate the best: ddpg eval run/best\n"] {
        assert!(told.contains(part), "no {part:?} in: {told}");
    }
    assert!(earlier.len() == 1 || told.contains(&format!("({} of 3 agents; agent ", earlier.len())), "{told}");

    succeeds(ddpg(here, &["render", "run/best", "--agent", "2", "--episodes", "1", "--size", "16"]));
    // they are no run
    let refused = ["run/best: ", "parameters alone", "go on with --resume run"];
    fails(&ddpg(here, &["train", "--resume", "run/best", "--steps", "2000"]), 2, &refused);
    for file in (0..3).map(Snapshot::file_name) {
        fs::copy(run.join("best").join(&file), run.join(&file)).expect("copied");
    }
    fails(&ddpg(here, &["train", "--resume", "run", "--steps", "2000"]), 1, &["hold parameters alone", "those that ddpg train has saved"]);

    // nothing of it is left in the way of another run, which ends with its only evaluation
    fs::write(run.join("best/.agent-0001.safetensors.4711.tmp"), "").expect("written");
    let text = succeeds(train(here, &["--steps", "100", "--out", "run", "--overwrite", "--quiet"]));
    assert!(!text.contains("run/best"), "{text}");
    let left: Vec<_> = fs::read_dir(run.join("best")).expect("the best").map(|entry| entry.expect("an entry").file_name()).collect();
    assert_eq!((left, steps(&run.join("best"))), (vec!["agent-0000.safetensors".into()], vec![100]));
}

#[test]
fn a_resumed_run_keeps_a_better_earlier_best() {
    let directory = scratch();
    let here = directory.path();
    succeeds(evaluated(here, &["--steps", "400", "--out", "run"]));
    let (run, best) = (here.join("run"), here.join("run/best"));
    // as if the first had been found better than can be, the second worse, and the third had been lost
    let kept = steps(&best);
    let table = rows(run.join("evaluations.csv"));
    let tell = |row: &Vec<String>| {
        let mut row = row.clone();
        match (row[2].as_str(), kept.iter().any(|step| step.to_string() == row[0])) {
            ("0", true) => row[4] = "-0.5".to_owned(),
            ("1", true) => row[4] = "-99999".to_owned(),
            _ => {}
        }
        row.join(",") + "\n"
    };
    fs::write(run.join("evaluations.csv"), table.iter().map(tell).collect::<String>()).expect("written");
    fs::remove_file(best.join("agent-0002.safetensors")).expect("removed");
    let first = fs::read(best.join("agent-0000.safetensors")).expect("a file");

    // what cannot be read is not replaced
    let second = fs::read(best.join("agent-0001.safetensors")).expect("a file");
    fs::write(best.join("agent-0001.safetensors"), "no agent").expect("written");
    let config = read(run.join("config.toml"));
    let resume = |arguments: &[&str]| ddpg(here, &[&["train", "--resume", "run", "--quiet"], arguments].concat());
    fails(&resume(&["--steps", "600"]), 1, &["cannot go on with run/best: repair or remove it", "agent-0001.safetensors: not a whole"]);
    assert_eq!(read(run.join("config.toml")), config, "something was replaced");
    fs::write(best.join("agent-0001.safetensors"), second).expect("written");

    // elsewhere a history begins anew, with its own best
    succeeds(resume(&["--steps", "600", "--out", "other"]));
    assert_eq!(steps(&here.join("other/best")), [600; 3]);
    succeeds(resume(&["--steps", "600"]));
    assert!(fs::read(best.join("agent-0000.safetensors")).expect("a file") == first, "a better earlier best is lost");
    assert_eq!(steps(&best)[1..], [600; 2]);
    assert_eq!(json(run.join("summary.json"))["agents"][0]["best"]["mean_return"], -0.5);
}

#[test]
fn where_the_best_cannot_be_kept_the_agents_are_saved() {
    let directory = scratch();
    let here = directory.path();
    fs::create_dir(here.join("run")).expect("made");
    fs::write(here.join("run/best"), "somebody's file").expect("written");
    let output = evaluated(here, &["--steps", "400", "--out", "run", "--overwrite"]);
    fails(&output, 1, &["run/best", "stopped at step 200; the agents of step 200 are in run"]);
    assert_eq!(steps(&here.join("run")), [200; 3]);
    assert_eq!(read(here.join("run/best")), "somebody's file");
}

#[cfg(unix)]
#[test]
fn an_interrupted_run_says_where_its_best_are() {
    let directory = scratch();
    let here = directory.path();
    let endless = [&["train"], SHORT, &["--steps", "100000000", "--eval-every", "2000", "--out", "run"]].concat();
    let training = start(here, &endless, Stdio::piped());
    let logged = || fs::read_to_string(here.join("run/metrics.csv")).map_or(0, |metrics| metrics.lines().count());
    wait_until(|| here.join("run/best/agent-0000.safetensors").exists());
    let before = logged();
    wait_until(|| logged() > before);
    send("-TERM", &training);
    let output = training.wait_with_output().expect("it ends");
    fails(&output, 130, &[]);
    let summary = json(here.join("run/summary.json"));
    let best = &summary["agents"][0]["best"];
    assert!(best["mean_return"].is_number(), "{summary}");
    // with what it has learned since, it is another agent; by chance it has just been found better
    let has_learned_on = best["environment_steps"] != summary["environment_steps"];
    assert_eq!(stdout(&output).contains("evaluate the best: ddpg eval run/best"), has_learned_on, "{summary}");
    succeeds(ddpg(here, &["eval", "run/best", "--episodes", "1"]));
}
