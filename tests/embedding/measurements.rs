//! What is measured, and told once.

use super::{assert_close, cases, gpu, trained};
use ddpg_wgpu::checkpoint::Contents;
use ddpg_wgpu::*;

/// Measurements in flight across a restart and a restore, and taken in another order than they were recorded.
#[test]
fn every_episode_is_measured_once() {
    let gpu = gpu();
    let environment = Environment::host("line", 1, vec![-1.0], vec![1.0]).expect("sizes");
    let mut population = Population::new(&gpu.device, &gpu.queue, &environment, &Config::default()).expect("a population");
    let end_episodes = |population: &mut Population, returns: std::ops::Range<u32>| {
        returns.for_each(|episode_return| population.end_episode(0, 0, episode_return as f32, 1).expect("an environment"));
    };
    let measure = |population: &mut Population| {
        let mut encoder = gpu.device.create_command_encoder(&Default::default());
        let pending = population.record_measurements(&mut encoder);
        gpu.queue.submit([encoder.finish()]);
        pending
    };
    let returns = |pending: Pending<Vec<Measurements>>| {
        let measured = pending.wait_blocking(&gpu.device).expect("it arrives");
        measured[0].episodes.iter().map(|episode| episode.episode_return as u32).collect::<Vec<_>>()
    };
    end_episodes(&mut population, 0..3);
    let first = measure(&mut population);
    end_episodes(&mut population, 3..5);
    let second = measure(&mut population);
    assert_eq!((returns(second), returns(first)), (vec![3, 4], vec![0, 1, 2]), "in the wrong order");

    end_episodes(&mut population, 5..7);
    let before = measure(&mut population);
    population.restart();
    assert_eq!(returns(before), [5, 6]);
    end_episodes(&mut population, 10..12);
    let after = measure(&mut population);
    assert_eq!(returns(after), [10, 11], "the numbers of episodes begin anew");

    let mut encoder = gpu.device.create_command_encoder(&Default::default());
    let snapshot = population.record_snapshot(&mut encoder, 0, Contents::Training).expect("an agent");
    gpu.queue.submit([encoder.finish()]);
    let snapshot = snapshot.wait_blocking(&gpu.device).expect("it arrives");
    end_episodes(&mut population, 12..17);
    let before = measure(&mut population);
    population.restore(&[snapshot]).expect("it fits");
    end_episodes(&mut population, 20..21);
    let after = measure(&mut population);
    assert_eq!((returns(after), returns(before)), (vec![20], vec![12, 13, 14, 15, 16]));
    gpu.check().expect("no error");
}

/// Measured after each update, the largest value is that update's own.
#[test]
fn an_episode_on_the_host_is_logged_with_the_mean_of_its_updates_largest_values() {
    let gpu = gpu();
    let mut population = trained(&gpu, &cases()[1]).into_population();
    let measured = |population: &mut Population, updates| {
        let mut encoder = gpu.device.create_command_encoder(&Default::default());
        population.record_updates(&mut encoder, updates);
        let pending = population.record_measurements(&mut encoder);
        gpu.queue.submit([encoder.finish()]);
        pending.wait_blocking(&gpu.device).expect("it arrives").swap_remove(1)
    };
    // takes the updates before with it
    population.end_episode(1, 0, 0.5, 3).expect("an environment");
    assert_eq!(measured(&mut population, 0).episodes.len(), 1);
    let mut updates = 10;
    for (number, taken) in (1..).zip([0, 2, 1, 0, 3]) {
        let values: Vec<_> = (0..taken).map(|_| measured(&mut population, 1).value_maximum.expect("it learned")).collect();
        updates += taken;
        population.end_episode(1, 0, -0.5, 7).expect("an environment");
        let episodes = measured(&mut population, 0).episodes;
        assert_eq!(episodes.len(), 1, "{number}");
        let found = (episodes[0].number, episodes[0].episode_return, episodes[0].length, episodes[0].updates);
        assert_eq!(found, (number, -0.5, 7, updates));
        let mean = values.iter().map(|&x| f64::from(x)).sum::<f64>() / f64::from(taken.max(1));
        assert_close(&format!("episode {number}"), &[episodes[0].maximum_value], &[mean], 1e-6 + 1e-6 * mean.abs());
        assert_eq!(mean == 0.0, taken == 0, "values that tell");
    }
    gpu.check().expect("no error");
}
