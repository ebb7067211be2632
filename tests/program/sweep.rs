//! `ddpg sweep` as a user runs it: files, ranking, exit codes, messages.

use crate::*;

/// Agents of a few seconds.
const SHORT: &[&str] = &[
    "sweep",
    "--envs",
    "4",
    "--batch-size",
    "16",
    "--learning-starts",
    "64",
    "--random-steps",
    "64",
    "--actor-hidden",
    "8,8",
    "--critic-hidden",
    "8,8",
    "--steps",
    "800",
    "--final-episodes",
    "8",
];

fn sweep(directory: &Path, arguments: &[&str]) -> Output {
    ddpg(directory, &[SHORT, arguments].concat())
}

#[test]
fn a_sweep_ranks_every_point_over_its_seeds() {
    let directory = scratch();
    // a critic's step size of 1e30 cannot go well
    let output = sweep(
        directory.path(),
        &["--grid", "critic-lr=1e-3,1e30", "--random", "tau=1e-3..1e-1", "--samples", "2", "--seeds", "2", "--seed", "5", "--out", "run"],
    );
    let said = stdout(&output);
    assert!(output.status.success(), "{said}{}", stderr(&output));
    for part in ["4 points of critic_learning_rate, tau with 2 seeds each: 8 agents", "2 of 2 stopped", "to the end", "best.toml"] {
        assert!(said.contains(part), "no {part:?} in: {said}");
    }
    let run = directory.path().join("run");

    let agents = rows(run.join("agents.csv"));
    assert_eq!(agents[0][..7], ["rank", "point", "agent", "seed", "critic_learning_rate", "tau", "mean_return"]);
    assert_eq!(agents.len(), 9);
    let column = |table: &[Vec<String>], name: &str| -> Vec<f64> {
        let at = table[0].iter().position(|column| column == name).unwrap_or_else(|| panic!("no column {name}"));
        table[1..].iter().map(|row| row[at].parse().unwrap_or(f64::NAN)).collect()
    };
    let (numbers, seeds) = (column(&agents, "agent"), column(&agents, "seed"));
    let returns = column(&agents, "mean_return");
    assert!(returns.iter().all(|r| (-2000.0..0.0).contains(r)), "{returns:?}");

    // a point's numbers are those of its agents
    let points = rows(run.join("points.csv"));
    assert_eq!(points.len(), 5);
    let means = column(&points, "mean_return");
    let halted = column(&points, "halted");
    let order: Vec<_> = halted.iter().zip(&means).map(|(halted, mean)| (halted, -mean)).collect();
    assert!(order.is_sorted(), "{order:?}");
    for (index, row) in points[1..].iter().enumerate() {
        let of_point = 2 * index..2 * index + 2;
        let point: f64 = row[1].parse().expect("a number");
        assert_eq!(numbers[of_point.clone()], [2.0 * point, 2.0 * point + 1.0]);
        assert_eq!(seeds[of_point.clone()], [5.0, 6.0]);
        let [a, b] = returns[of_point] else { panic!("two seeds") };
        let spread = (a - b).abs() / 2f64.sqrt();
        let close = |name: &str, expected: f64| {
            let told = column(&points, name)[index];
            assert!((told - expected).abs() < 1e-6 * expected.abs() + 1e-6, "{name}: {told} for {expected}");
        };
        close("mean_return", 0.5 * (a + b));
        close("standard_deviation", spread);
        close("worst_return", a.min(b));
        close("worst_seed", if b < a { 6.0 } else { 5.0 });
        // float32 holds 1e30
        close("halted", if row[2] == "0.001" { 0.0 } else { 2.0 });
    }
    let tau = column(&points, "tau");
    assert!(tau.iter().all(|tau| (1e-3..=1e-1).contains(tau)), "{tau:?}");

    let summary = json(run.join("sweep.json"));
    assert_eq!((summary["agents"].as_u64(), summary["environment_steps"].as_u64()), (Some(8), Some(800)));
    let (first, best) = (&summary["points"][0], &points[1]);
    assert!(first["mean_return"].as_f64().is_some_and(|mean| (mean - means[0]).abs() < 1e-6), "{first}");
    assert_eq!(first["parameters"]["critic_learning_rate"].as_f64().map(|rate| rate as f32), best[2].parse().ok());
    assert_eq!(first["agents"].as_array().map(Vec::len), Some(2));

    // it keeps no agents
    for command in [&["eval"][..], &["render"], &["train", "--resume"]] {
        let refused = ddpg(directory.path(), &[command, &["run"]].concat());
        fails(&refused, 2, &["run: a sweep keeps settings, not agents", "ddpg train --config run/best.toml"]);
    }
    // the best settings are a configuration
    let printed = succeeds(ddpg(directory.path(), &["train", "--config", "run/best.toml", "--print-config"]));
    let config: toml::Table = toml::from_str(&printed).expect("TOML");
    assert_eq!(config["agents"].as_integer(), Some(1));
    let best = config["tau"].as_float().expect("a number");
    assert!((best - tau[0]).abs() < 1e-6, "{best} for {}", tau[0]);
}

#[test]
fn what_cannot_be_swept_is_refused_before_anything_is_made() {
    let directory = scratch();
    let refusals: [(&[&str], &[&str]); 13] = [
        (&[], &["--grid NAME=", "--random NAME="]),
        (&["--grid", "tua=1"], &["\"tua\"", "actor_learning_rate"]),
        (&["--grid", "batch_size=32,64"], &["batch_size is shared by all agents of a population", "one sweep a value"]),
        (&["--grid", "buffer-size=32,64"], &["replay_capacity is shared"]),
        (&["--grid", "seed=1,2"], &["--seeds"]),
        (&["--grid", "agents=1,2"], &["no use for agents"]),
        (&["--grid", "actor_lr=1e-3", "--grid", "actor_learning_rate=1e-4"], &["actor_learning_rate is varied twice"]),
        (&["--grid", "tau=2"], &["tau=2", "0 to 1"]),
        (&["--random", "tau=1..1", "--samples", "2"], &["empty"]),
        (&["--random", "tau=1e-3..1", "--samples", "1000", "--seeds", "100"], &["1000 points of 100 seeds are 100000 agents", "65535"]),
        (&["--grid", "tau=0.1", "--agents", "3"], &["--agents", "--seeds"]),
        (&["--grid", "tau=0.1", "--tensorboard"], &["--tensorboard"]),
        (&["--grid", "tau=0.1", "--replay-capacity", "4000000000"], &["replay ring", "replay_capacity"]),
    ];
    for (arguments, says) in refusals {
        fails(&sweep(directory.path(), arguments), 2, says);
    }
    let left: Vec<_> = fs::read_dir(directory.path()).expect("the directory").flatten().map(|entry| entry.path()).collect();
    let empty = |path: &Path| path.is_dir() && fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none());
    assert!(left.iter().all(|path| empty(path)), "{left:?}");
}

#[test]
fn the_ranking_is_told_and_kept_where_a_file_cannot_be_written() {
    let directory = scratch();
    let training = start(directory.path(), &[SHORT, &["--grid", "tau=0.01,0.02", "--out", "run"]].concat(), Stdio::piped());
    // the first file of a sweep is its configuration; then something comes in the way of another
    let run = directory.path().join("run");
    wait_until(|| run.join("config.toml").exists());
    fs::create_dir(run.join("points.csv")).expect("made");
    let output = training.wait_with_output().expect("it ends");
    fails(&output, 1, &["points.csv"]);
    assert!(stdout(&output).contains("mean return"), "{}", stdout(&output));
    for name in ["sweep.json", "agents.csv", "best.toml"] {
        assert!(run.join(name).is_file(), "no {name}");
    }
    // one seed has no standard deviation
    assert_eq!(json(run.join("sweep.json"))["points"][0]["standard_deviation"], Value::Null);
    assert!(stdout(&output).lines().any(|line| line.contains(" – ")), "{}", stdout(&output));
}

#[cfg(unix)]
#[test]
fn a_sweep_that_is_stopped_during_its_evaluation_says_so() {
    use std::io::BufRead;
    let directory = scratch();
    let mut arguments = [SHORT, &["--grid", "tau=0.01,0.02", "--seeds", "8", "--out", "run"]].concat();
    let episodes = arguments.iter().position(|&argument| argument == "--final-episodes").expect("there") + 1;
    // many minutes of them
    arguments[episodes] = "1000000";
    let mut training = start(directory.path(), &arguments, Stdio::piped());
    let mut lines = std::io::BufReader::new(training.stdout.take().expect("a pipe")).lines();
    assert!(lines.any(|line| line.expect("a line").contains("evaluating each agent")), "it ended before");
    std::thread::sleep(Duration::from_millis(300));
    let asked = Instant::now();
    send("-TERM", &training);
    let output = training.wait_with_output().expect("it ends");
    assert!(asked.elapsed() < Duration::from_secs(20), "{:?}", asked.elapsed());
    fails(&output, 130, &["there is no ranking"]);
    let summary = json(directory.path().join("run/sweep.json"));
    assert_eq!((&summary["interrupted"], &summary["environment_steps"]), (&true.into(), &800.into()));
}

#[cfg(unix)]
#[test]
fn a_sweep_that_is_stopped_while_it_trains_does_not_look_finished() {
    let directory = scratch();
    let mut arguments = [SHORT, &["--grid", "tau=0.01,0.02", "--out", "run"]].concat();
    let steps = arguments.iter().position(|&argument| argument == "--steps").expect("there") + 1;
    arguments[steps] = "100000000";
    let training = start(directory.path(), &arguments, Stdio::piped());
    wait_until(|| directory.path().join("run/config.toml").exists());
    std::thread::sleep(Duration::from_secs(1));
    send("-TERM", &training);
    let output = training.wait_with_output().expect("it ends");
    fails(&output, 130, &[]);
    let (said, summary) = (stdout(&output), json(directory.path().join("run/sweep.json")));
    let (stopped, step) = (said.find("interrupted at step"), summary["environment_steps"].to_string());
    assert!(stopped.is_some() && stopped < said.find("mean return"), "{said}");
    assert!(said.contains(&format!("interrupted at step {step} of 100000000")), "{said}");
}
