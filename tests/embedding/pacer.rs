//! Training within a budget of time a frame.

use super::{cases, gpu, refused_encoder, trained};
use ddpg_wgpu::wgpu;
use ddpg_wgpu::*;
use std::time::Duration;

/// A frame loop: the measured time of training stays near the budget, and nothing waits.
#[test]
fn a_pacer_keeps_to_its_budget() {
    for limits in [None, Some(wgpu::Limits::default())] {
        let gpu = match limits.clone() {
            None => gpu(),
            Some(limits) => Gpu::open_with_limits_blocking(None, limits).expect("a device"),
        };
        let mut config = Config::default();
        config.learning_starts = 200;
        let mut population = Population::new(&gpu.device, &gpu.queue, &Environment::pendulum_v1(), &config).expect("a population");
        let mut pacer = Pacer::new(&gpu.device, &gpu.queue, Duration::from_millis(8));
        assert_eq!(pacer.measures_device_time(), limits.is_none() && gpu.device.features().contains(wgpu::Features::TIMESTAMP_QUERY));
        let mut spent = Vec::new();
        let mut recorded = 0;
        let mut measured = None;
        for frame in 0..60 {
            let mut encoder = gpu.device.create_command_encoder(&Default::default());
            recorded += pacer.record(&mut population, &mut encoder, u64::MAX);
            let mut pending = (frame == 40).then(|| population.record_measurements(&mut encoder));
            gpu.queue.submit([encoder.finish()]);
            // the application's own wait, for its display say
            gpu.device.poll(wgpu::PollType::wait_indefinitely()).expect("the device works");
            spent.extend((frame >= 20).then(|| pacer.last()).flatten());
            measured = measured.or(pending.as_mut().and_then(Pending::take));
        }
        gpu.check().expect("no error");
        assert_eq!(recorded, population.iterations());
        let measured = measured.expect("it arrived").expect("it was measured");
        assert!(measured[0].critic_loss.is_some_and(f32::is_finite));
        // how close it keeps to the budget depends on who else uses the machine: `pacing::tests` pins that with a clock of
        // its own
        assert!(!spent.is_empty());
        assert!(population.updates() > 0, "no update in 60 frames");
    }
}

/// A device that works with timestamps, where it has them, and one that has to do without.
fn gpus() -> [Gpu; 2] {
    [gpu(), Gpu::open_with_limits_blocking(None, wgpu::Limits::default()).expect("a device")]
}

/// What a device refuses takes it no time, which must not be taken for speed.
#[test]
fn a_pacer_learns_nothing_from_frames_that_the_device_refuses() {
    for gpu in gpus() {
        let mut population =
            Population::new(&gpu.device, &gpu.queue, &Environment::pendulum_v1(), &Config::default()).expect("a population");
        let mut pacer = Pacer::new(&gpu.device, &gpu.queue, Duration::from_millis(8));
        for frame in 0..12 {
            let (mut encoder, _) = refused_encoder(&gpu);
            assert_eq!(pacer.record(&mut population, &mut encoder, u64::MAX), 1, "frame {frame}");
            gpu.queue.submit([encoder.finish()]);
            gpu.device.poll(wgpu::PollType::wait_indefinitely()).expect("the device works");
        }
        assert_eq!((pacer.measured(), pacer.last()), (0, None));
    }
}

#[test]
fn populations_that_share_a_pacer_are_estimated_each_by_itself() {
    for gpu in gpus() {
        let population = |learning_starts| {
            let mut config = Config::default();
            config.learning_starts = learning_starts;
            Population::new(&gpu.device, &gpu.queue, &Environment::pendulum_v1(), &config).expect("a population")
        };
        let (mut learns, mut collects) = (population(1), population(100_000));
        let mut pacer = Pacer::new(&gpu.device, &gpu.queue, Duration::from_millis(100));
        let mut encoder = gpu.device.create_command_encoder(&Default::default());
        learns.record_iterations(&mut encoder, 100);
        gpu.queue.submit([encoder.finish()]);
        assert!(learns.learns());
        let mut most = [0, 0];
        for _ in 0..12 {
            let mut encoder = gpu.device.create_command_encoder(&Default::default());
            let recorded = [&mut learns, &mut collects].map(|population| pacer.record(population, &mut encoder, u64::MAX));
            most = [most[0].max(recorded[0]), most[1].max(recorded[1])];
            gpu.queue.submit([encoder.finish()]);
            gpu.device.poll(wgpu::PollType::wait_indefinitely()).expect("the device works");
        }
        assert!(most[1] > 1, "at most {most:?} iterations a frame");
        gpu.check().expect("no error");
    }
}

#[test]
fn a_pacer_records_nothing_where_there_is_nothing_to_learn_from() {
    let gpu = gpu();
    let environment = Environment::host("line", 1, vec![-1.0], vec![1.0]).expect("sizes");
    let mut population = Population::new(&gpu.device, &gpu.queue, &environment, &Config::default()).expect("a population");
    let mut pacer = Pacer::new(&gpu.device, &gpu.queue, Duration::from_millis(8));
    for _ in 0..5 {
        let mut encoder = gpu.device.create_command_encoder(&Default::default());
        assert_eq!(pacer.record(&mut population, &mut encoder, u64::MAX), 0);
        gpu.queue.submit([encoder.finish()]);
        gpu.device.poll(wgpu::PollType::wait_indefinitely()).expect("the device works");
    }
    let mut population = trained(&gpu, &cases()[0]).into_population();
    let mut encoder = gpu.device.create_command_encoder(&Default::default());
    assert_eq!(pacer.record(&mut population, &mut encoder, u64::MAX), 1, "one that learns");
}

/// Nobody polls: what is under way of one population holds back that one, and no other.
#[test]
fn a_pacer_waits_for_eight_frames_that_are_under_way() {
    for gpu in gpus() {
        let mut config = Config::default();
        config.learning_starts = 100_000;
        let population = || Population::new(&gpu.device, &gpu.queue, &Environment::pendulum_v1(), &config).expect("a population");
        let (mut one, mut other) = (population(), population());
        let mut pacer = Pacer::new(&gpu.device, &gpu.queue, Duration::from_secs(1000));
        let mut frame = |population: &mut Population| {
            let mut encoder = gpu.device.create_command_encoder(&Default::default());
            (pacer.record(population, &mut encoder, u64::MAX), encoder)
        };
        let mut frames: Vec<_> = (0..10).map(|_| frame(&mut one)).collect();
        frames.extend((0..9).map(|_| frame(&mut other)));
        let recorded: Vec<u64> = frames.iter().map(|(iterations, _)| *iterations).collect();
        assert_eq!(recorded, [[1; 8].as_slice(), &[0; 2], &[1; 8], &[0; 1]].concat());
        assert_eq!((one.iterations(), other.iterations()), (8, 8));
        gpu.queue.submit(frames.into_iter().map(|(_, encoder)| encoder.finish()));
        gpu.device.poll(wgpu::PollType::wait_indefinitely()).expect("the device works");
        assert_eq!(frame(&mut one).0, 2, "none is under way any more: twice as many as were measured");
        gpu.check().expect("no error");
    }
}

/// No frame is partly of iterations that learn and partly of others, which could not be measured apart.
#[test]
fn a_pacers_frame_ends_where_learning_starts() {
    for gpu in gpus() {
        let mut config = Config::default();
        (config.environments, config.learning_starts) = (3, 100);
        let mut population = Population::new(&gpu.device, &gpu.queue, &Environment::pendulum_v1(), &config).expect("a population");
        let mut pacer = Pacer::new(&gpu.device, &gpu.queue, Duration::from_secs(1000));
        let mut recorded = Vec::new();
        while !population.learns() {
            let mut encoder = gpu.device.create_command_encoder(&Default::default());
            recorded.push(pacer.record(&mut population, &mut encoder, u64::MAX));
            gpu.queue.submit([encoder.finish()]);
            gpu.device.poll(wgpu::PollType::wait_indefinitely()).expect("the device works");
            assert!(recorded.len() < 20, "{recorded:?}");
        }
        // 34 steps of three environments hold a hundred transitions
        assert_eq!((population.iterations(), recorded), (34, vec![1, 2, 4, 8, 16, 3]));
        gpu.check().expect("no error");
    }
}
