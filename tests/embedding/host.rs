//! Environments on the host.

use super::{assert_close, gpu, noise, reference};
use ddpg_wgpu::checkpoint::Contents;
use ddpg_wgpu::*;

/// Transitions in the order they were pushed, wrapped around the ring; the agent learns from them.
#[test]
fn a_host_environment_fills_the_ring() {
    let gpu = gpu();
    let environment = Environment::host("line", 2, vec![-1.0], vec![1.0]).expect("sizes");
    let mut config = Config::default();
    config.agents = 2;
    config.environments = 3;
    config.replay_capacity = 8;
    config.batch_size = 4;
    config.learning_starts = 8;
    let mut population = Population::new(&gpu.device, &gpu.queue, &environment, &config).expect("a population");
    for (from, count) in [(0, 3), (3, 4), (7, 0), (7, 4)] {
        // the agent and a running number tell each transition from every other
        let ids: Vec<f32> = (0..2).flat_map(|agent| (from..from + count).map(move |i| (100 * agent + i) as f32)).collect();
        let observations: Vec<f32> = ids.iter().flat_map(|i| [*i, i + 0.25]).collect();
        let next_observations: Vec<f32> = ids.iter().flat_map(|i| [i + 0.5, i + 0.75]).collect();
        let actions: Vec<f32> = ids.iter().map(|i| -i).collect();
        let rewards: Vec<f32> = ids.iter().map(|i| 2.0 * i).collect();
        let terminated: Vec<bool> = ids.iter().map(|i| i % 2.0 == 1.0).collect();
        let batch = Transitions {
            observations: &observations,
            actions: &actions,
            rewards: &rewards,
            next_observations: &next_observations,
            terminated: &terminated,
        };
        population.push_transitions(&batch).expect("they fit");
        let short = Transitions { rewards: &rewards[..count], ..batch };
        assert_eq!(population.push_transitions(&short).is_err(), count > 0, "the arrays must fit each other");
    }
    assert!(population.learns());
    let mut trainer = Trainer::from_population(population);
    let snapshots = trainer.snapshot_blocking(Contents::TrainingAndReplay).expect("snapshots");
    for (agent, snapshot) in snapshots.iter().enumerate() {
        let (shape, ring) = snapshot.tensor("replay.transitions").expect("a ring");
        assert_eq!(shape, [8, 7]);
        // eleven pushed into a ring of eight: 8, 9, 10, then 3 to 7
        for (slot, i) in [8, 9, 10, 3, 4, 5, 6, 7].into_iter().enumerate() {
            let id = (100 * agent + i) as f32;
            let expected = [id, id + 0.25, -id, 2.0 * id, (i % 2) as f32, id + 0.5, id + 0.75];
            assert_eq!(ring[7 * slot..][..7], expected, "agent {agent}, slot {slot}");
        }
    }
    trainer.advance_blocking(5).expect("it learns");
    assert_eq!(trainer.population().updates(), 5);
    let mut population = trainer.into_population();
    assert!(population.end_episode(1, 3, 0.0, 1).is_err(), "three environments");
    population.end_episode(1, 2, -12.5, 200).expect("an environment");
    let measured = Trainer::from_population(population).measure_blocking().expect("measured");
    let logged: Vec<_> = measured.iter().map(|m| m.episodes.iter().map(|e| (e.episode_return, e.length)).collect::<Vec<_>>()).collect();
    assert_eq!(logged, [vec![], vec![(-12.5, 200)]]);
    assert!(measured.iter().all(|m| m.updates == 5 && m.critic_loss.is_some_and(f32::is_finite) && m.halted.is_none()), "{measured:?}");
}

#[test]
fn a_host_environment_gets_the_policys_actions_and_noisy_ones() {
    let gpu = gpu();
    let environment = Environment::host("line", 3, vec![-1.0, 0.0], vec![1.0, 4.0]).expect("sizes");
    let mut config = Config::default();
    config.agents = 2;
    config.environments = 5;
    config.random_steps = 10;
    config.exploration = Exploration::Gaussian { sigma: 0.1 };
    let mut population = Population::new(&gpu.device, &gpu.queue, &environment, &config).expect("a population");
    assert!(population.request_actions(&[0.0; 29], false).is_err(), "two agents, five environments, three observations");
    let observations = noise(30, 3);
    let mut ask = |explore| {
        let pending = population.request_actions(&observations, explore).expect("they fit");
        pending.wait_blocking(&gpu.device).expect("they arrive")
    };
    let policy = ask(false);
    assert_eq!(policy, ask(false), "the policy is deterministic");
    let random = [ask(true), ask(true)];
    let noisy = [ask(true), ask(true), ask(true)];
    let snapshots = Trainer::from_population(population).snapshot_blocking(Contents::Parameters).expect("snapshots");
    for row in 0..10 {
        assert_close("policy", &policy[2 * row..][..2], &reference(&snapshots[row / 5], 1e-5, &observations[3 * row..][..3]), 1e-5);
    }
    for actions in random.iter().chain(&noisy) {
        assert_eq!(actions.len(), 20);
        assert!(actions.chunks(2).all(|a| (-1.0..=1.0).contains(&a[0]) && (0.0..=4.0).contains(&a[1])), "{actions:?}");
    }
    let spread = |all: &[Vec<f32>]| {
        let squares = all.iter().flat_map(|a| a.iter().zip(&policy).map(|(a, p)| f64::from(a - p).powi(2)).step_by(2));
        (squares.clone().sum::<f64>() / squares.count() as f64).sqrt()
    };
    assert!(spread(&random) > 0.3, "the first steps are uniformly random: {}", spread(&random));
    assert!((0.03..0.25).contains(&spread(&noisy)), "then the policy with noise of 0.1: {}", spread(&noisy));
    assert_ne!(noisy[0], noisy[1]);
}

#[test]
fn nothing_finite_does_not_reach_the_ring() {
    let gpu = gpu();
    let environment = Environment::host("line", 1, vec![-1.0], vec![1.0]).expect("sizes");
    let mut population = Population::new(&gpu.device, &gpu.queue, &environment, &Config::default()).expect("a population");
    let batch =
        Transitions { observations: &[0.0], actions: &[0.0], rewards: &[f32::NAN], next_observations: &[0.0], terminated: &[false] };
    population.push_transitions(&batch).expect("it is pushed");
    let measured = Trainer::from_population(population).measure_blocking().expect("measured");
    assert_eq!(measured[0].halted.map(|halted| halted.reason), Some(HaltReason::Environment));
    assert_eq!(measured[0].replay_length, 0);
}

#[test]
fn environments_of_the_wrong_side_are_refused() {
    let gpu = gpu();
    let mut config = Config::default();
    config.environments = 1;
    let mut population = Population::new(&gpu.device, &gpu.queue, &Environment::pendulum_v1(), &config).expect("a population");
    assert!(matches!(population.request_actions(&[0.0; 3], true), Err(Error::Config(_))));
    let host = Environment::host("line", 1, vec![-1.0], vec![1.0]).expect("sizes");
    let trainer = Trainer::new(&gpu.device, &gpu.queue, &host, &config).expect("a trainer");
    assert!(matches!(trainer.evaluate_blocking(1, 1), Err(Error::Config(_))));
}
