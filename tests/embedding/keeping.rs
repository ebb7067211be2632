//! Agents kept as bytes, and what a lost device leaves.

use super::{buffer, cases, gpu, trained};
use ddpg_wgpu::checkpoint::Contents;
use ddpg_wgpu::wgpu;
use ddpg_wgpu::*;

/// Iterations recorded, a snapshot of every agent behind them, and one submission of both, for which nobody waits.
fn advance_and_save(gpu: &Gpu, population: &mut Population, iterations: u64) -> Vec<Pending<Snapshot>> {
    let mut encoder = gpu.device.create_command_encoder(&Default::default());
    population.record_iterations(&mut encoder, iterations);
    let contents = Contents::TrainingAndReplay;
    let record = |agent| population.record_snapshot(&mut encoder, agent, contents).expect("an agent");
    let pending = (0..population.config().agents).map(record).collect();
    gpu.queue.submit([encoder.finish()]);
    pending
}

fn arrived(gpu: &Gpu, pending: Vec<Pending<Snapshot>>) -> Vec<Snapshot> {
    gpu.device.poll(wgpu::PollType::wait_indefinitely()).expect("the device works");
    pending.into_iter().map(|mut pending| pending.take().expect("it is there").expect("it has arrived")).collect()
}

#[test]
fn agents_saved_to_bytes_without_waiting_go_on_elsewhere_as_if_nothing_had_happened() {
    let gpu = gpu();
    let populations = || {
        let mut copdac = Config::preset(Preset::CopdacQ);
        (copdac.agents, copdac.environments, copdac.learning_starts) = (2, 3, 9);
        let copdac = Population::new(&gpu.device, &gpu.queue, &Environment::pendulum_v1(), &copdac).expect("a population");
        let mut trained = cases().iter().take(4).map(|case| trained(&gpu, case).into_population()).collect::<Vec<_>>();
        trained.push(copdac);
        trained
    };
    for (mut one, mut other) in populations().into_iter().zip(populations()) {
        let what = one.environment().name.to_string();
        let saved = arrived(&gpu, advance_and_save(&gpu, &mut one, 20));
        assert!(saved.iter().all(|snapshot| snapshot.updates > 0 && snapshot.contents() == Contents::TrainingAndReplay), "{what}");
        // as those who wait see it
        let mut one = Trainer::from_population(one);
        assert!(one.snapshot_blocking(Contents::TrainingAndReplay).expect("snapshots") == saved, "{what}");
        let bytes: Vec<_> = saved.iter().map(|snapshot| snapshot.to_bytes().expect("bytes")).collect();
        let loaded: Vec<_> = bytes.iter().map(|bytes| Snapshot::from_bytes(bytes).expect("a snapshot")).collect();
        assert!(loaded == saved, "{what}");

        let parameters = |snapshots: &[Snapshot]| snapshots[0].tensor("actor.layer1.weight").map(|(_, numbers)| numbers.to_vec());
        let before = arrived(&gpu, advance_and_save(&gpu, &mut other, 7));
        assert_ne!(parameters(&before), parameters(&saved), "{what}");
        other.restore(&loaded).expect("they fit");
        assert_eq!((other.iterations(), other.updates()), (one.population().iterations(), u64::from(saved[0].updates)), "{what}");
        one.advance_blocking(5).expect("it trains");
        let ended = arrived(&gpu, advance_and_save(&gpu, &mut other, 5));
        assert!(ended == one.snapshot_blocking(Contents::TrainingAndReplay).expect("snapshots"), "{what}");
        assert_ne!(parameters(&ended), parameters(&saved), "{what}");
        gpu.check().expect("no error");
    }
}

#[test]
fn bytes_that_hold_no_agent_are_refused() {
    let gpu = gpu();
    let bytes = trained(&gpu, &cases()[1]).snapshot_blocking(Contents::Parameters).expect("snapshots")[0].to_bytes().expect("bytes");
    let refused = |bytes: &[u8]| match Snapshot::from_bytes(bytes) {
        Err(Error::Checkpoint(message)) => message,
        other => panic!("{other:?}"),
    };
    assert!(refused(&[]).contains("0 bytes"));
    let half = bytes.len() / 2;
    assert!(refused(&bytes[..half]).contains(&format!("{half} bytes")));
    let mut infinite = bytes.clone();
    let last = infinite.len() - 4;
    infinite[last..].copy_from_slice(&f32::INFINITY.to_le_bytes());
    assert!(refused(&infinite).contains("must be finite"), "{}", refused(&infinite));
    Snapshot::from_bytes(&bytes).expect("the whole of it is an agent");
}

#[test]
fn what_was_recorded_into_a_dropped_encoder_never_arrives() {
    let gpu = gpu();
    let trainer = trained(&gpu, &cases()[1]);
    let mut encoder = gpu.device.create_command_encoder(&Default::default());
    let mut pending = trainer.population().record_snapshot(&mut encoder, 1, Contents::Training).expect("an agent");
    assert!(!pending.is_ready() && pending.take().is_none());
    drop(encoder);
    assert!(pending.is_ready());
    assert!(matches!(pending.take(), Some(Err(Error::Gpu(message))) if message.contains("dropped")));
    assert!(
        trainer.population().record_snapshot(&mut gpu.device.create_command_encoder(&Default::default()), 2, Contents::Training).is_err()
    );
}

#[test]
fn agents_are_kept_and_read_all_together() {
    let gpu = gpu();
    let directory = tempfile::tempdir().expect("a directory");
    let snapshots = trained(&gpu, &cases()[1]).snapshot_blocking(Contents::Training).expect("snapshots");
    let place = &directory.path().join("made/for them");
    let twice = Snapshot::save_all(&[snapshots[0].clone(), snapshots[0].clone()], place).expect_err("one would replace the other");
    assert!(twice.to_string().contains("two snapshots are of agent 0"), "{twice}");
    assert!(!place.join(Snapshot::file_name(0)).exists(), "one of them was written");
    Snapshot::save_all(&snapshots, place).expect("saved");
    let loaded = Snapshot::load_all(place).expect("both");
    assert_eq!(loaded.iter().map(|snapshot| snapshot.agent).collect::<Vec<_>>(), [0, 1]);
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("nowhere", place.join(Snapshot::file_name(2))).expect("linked");
        let refused = Snapshot::load_all(place).expect_err("the last leads nowhere").to_string();
        assert!(refused.contains("agent-0002.safetensors"), "{refused}");
    }
}

/// Whatever is asked of a device that is gone, and the checkpoint that was saved before.
#[test]
fn a_lost_device_is_an_error_value_and_the_checkpoint_stays() {
    let gpu = gpu();
    let directory = tempfile::tempdir().expect("a directory");
    let trainer = trained(&gpu, &cases()[2]);
    Snapshot::save_all(&trainer.snapshot_blocking(Contents::TrainingAndReplay).expect("snapshots"), directory.path()).expect("saved");
    let path = directory.path().join(Snapshot::file_name(0));
    let before = std::fs::read(&path).expect("a file");
    let rows_buffer = buffer(&gpu, &[0.0; 64]);
    let policy = trainer.population().policy(0).expect("an agent");
    gpu.device.destroy();
    let rows = Rows { buffer: &rows_buffer, offset: 0, stride: 8 };
    let failed = [
        ("snapshot", trainer.snapshot_blocking(Contents::Parameters).map(drop)),
        ("save", trainer.snapshot_blocking(Contents::Parameters).and_then(|s| Snapshot::save_all(&s, directory.path()))),
    ];
    for (what, result) in failed {
        assert!(matches!(result, Err(Error::Gpu(_))), "{what}: {result:?}");
    }
    // these only record: they may succeed, but they must not panic
    let inference = policy.bind(rows, rows, 4);
    let environment = Environment::host("line", 3, vec![-1.0], vec![1.0]).expect("sizes");
    let _ = Population::new(&gpu.device, &gpu.queue, &environment, &Config::default());
    let mut encoder = gpu.device.create_command_encoder(&Default::default());
    if let Ok(inference) = inference {
        inference.record(&mut encoder);
    }
    let pending = trainer.population().record_policy_wgsl(&mut encoder, 0, WeightStorage::Constants).expect("an agent");
    gpu.queue.submit([encoder.finish()]);
    assert!(matches!(pending.wait_blocking(&gpu.device), Err(Error::Gpu(_))));
    assert_eq!(std::fs::read(&path).expect("a file"), before);
    Snapshot::load(&path).expect("it is whole");
}
