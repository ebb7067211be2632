//! Results on their way.

use super::{cases, gpu, refused_encoder, trained};
use ddpg_wgpu::checkpoint::Contents;
use ddpg_wgpu::wgpu;
use ddpg_wgpu::*;
use std::time::Duration;

#[test]
fn an_encoder_that_is_never_submitted_is_an_error_value() {
    let gpu = gpu();
    let mut population = Population::new(&gpu.device, &gpu.queue, &Environment::pendulum_v1(), &Config::default()).expect("a population");
    let mut encoder = gpu.device.create_command_encoder(&Default::default());
    let mut pending = population.record_measurements(&mut encoder);
    assert!(pending.take().is_none());
    drop(encoder);
    assert!(matches!(pending.take(), Some(Err(Error::Gpu(_)))));
}

#[test]
fn a_submission_that_the_device_refuses_delivers_an_error_value() {
    let gpu = gpu();
    let mut population = trained(&gpu, &cases()[0]).into_population();
    population.end_episode(0, 0, -3.0, 7).expect("an environment");
    let (mut encoder, reports) = refused_encoder(&gpu);
    let snapshot = population.record_snapshot(&mut encoder, 0, Contents::TrainingAndReplay).expect("an agent");
    let source = population.record_policy_wgsl(&mut encoder, 0, WeightStorage::Constants).expect("an agent");
    let measured = population.record_measurements(&mut encoder);
    gpu.queue.submit([encoder.finish()]);
    let results = [
        ("a snapshot", snapshot.wait_blocking(&gpu.device).map(drop)),
        ("a policy", source.wait_blocking(&gpu.device).map(drop)),
        ("measurements", measured.wait_blocking(&gpu.device).map(drop)),
    ];
    for (what, result) in results {
        assert!(matches!(&result, Err(Error::Gpu(message)) if message.contains("refused")), "{what}: {result:?}");
    }
    assert!(reports.load(std::sync::atomic::Ordering::Relaxed) > 0, "the application was told");
    // nothing was measured then: the next has all of it
    let measured = Trainer::from_population(population).measure_blocking().expect("the device works on");
    assert_eq!((measured[0].updates, measured[0].episodes.len()), (10, 1));
}

#[test]
fn a_result_is_ready_until_it_is_taken() {
    let gpu = gpu();
    let mut population = Population::new(&gpu.device, &gpu.queue, &Environment::pendulum_v1(), &Config::default()).expect("a population");
    let mut encoder = gpu.device.create_command_encoder(&Default::default());
    let mut pending = population.record_measurements(&mut encoder);
    assert!(!pending.is_ready());
    gpu.queue.submit([encoder.finish()]);
    gpu.device.poll(wgpu::PollType::wait_indefinitely()).expect("the device works");
    assert!(pending.is_ready());
    pending.take().expect("it is there").expect("it was measured");
    assert!(!pending.is_ready() && pending.take().is_none());
    let message = pending.wait_blocking(&gpu.device).expect_err("it is gone").to_string();
    assert!(message.contains("taken already"), "{message}");
}

/// Much is submitted behind the request: its result is there before all that is done.
#[test]
fn waiting_for_a_result_is_not_waiting_for_what_follows_it() {
    let gpu = gpu();
    let mut population = trained(&gpu, &cases()[4]).into_population();
    let pending = population.request_actions(&[0.1; 6], false).expect("they fit");
    let mut encoder = gpu.device.create_command_encoder(&Default::default());
    // tens of milliseconds of a GPU, more of a processor
    let updates = if gpu.device.adapter_info().device_type == wgpu::DeviceType::Cpu { 20 } else { 200 };
    population.record_iterations(&mut encoder, updates);
    let mut later = population.record_measurements(&mut encoder);
    gpu.queue.submit([encoder.finish()]);
    assert_eq!(pending.wait_blocking(&gpu.device).expect("they arrive").len(), 2);
    assert!(later.take().is_none(), "it waited for {updates} updates, too");
    later.wait_blocking(&gpu.device).expect("it arrives");
}

#[test]
fn waiting_for_what_was_not_submitted_ends() {
    let gpu = gpu();
    let mut population = Population::new(&gpu.device, &gpu.queue, &Environment::pendulum_v1(), &Config::default()).expect("a population");
    let mut encoder = gpu.device.create_command_encoder(&Default::default());
    let pending = population.record_measurements(&mut encoder);
    let start = std::time::Instant::now();
    let message = pending.wait_blocking(&gpu.device).expect_err("it cannot come").to_string();
    assert!(message.contains("its encoder was not submitted"), "{message}");
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}
