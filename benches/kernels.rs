//! Every kind of kernel at the sizes of three networks, one agent in one environment: `cargo bench --bench kernels`.
//!
//! Each dispatch of a rollout and of an update is repeated on its own, timed by the device's own clock where it has one.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ddpg_wgpu::{Config, Environment, Gpu, Preset, Result, Trainer};
use std::collections::HashSet;
use std::time::Duration;

fn networks() -> [(&'static str, Config); 3] {
    let mut wide = Config::preset(Preset::Modern);
    (wide.actor_hidden, wide.critic_hidden, wide.batch_size) = (vec![256, 256], vec![256, 256], 256);
    let small = Config::preset(Preset::Modern);
    [("400-300", Config::preset(Preset::Paper)), ("256-256", wide), ("64-64", small)].map(|(name, mut config)| {
        config.environments = 1;
        (config.replay_capacity, config.learning_starts) = (1000, 1000);
        (name, config)
    })
}

fn time_all(criterion: &mut Criterion) -> Result<()> {
    let gpu = Gpu::open_blocking(None)?;
    println!("{}", gpu.description());
    for (network, config) in networks() {
        let mut trainer = Trainer::new(&gpu.device, &gpu.queue, &Environment::pendulum_v1(), &config)?;
        trainer.advance_blocking(config.learning_starts.into())?;
        let population = trainer.population();
        let mut group = criterion.benchmark_group(network);
        group.sample_size(10).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
        // dispatches of the same kernel over the same sizes take the same time
        let mut seen = HashSet::new();
        for (index, time) in population.time_dispatches_blocking(1)?.into_iter().enumerate() {
            if !seen.insert((time.kernel.clone(), time.operations, time.workgroups, time.flops as u64)) {
                continue;
            }
            group.throughput(Throughput::Elements(time.flops.max(1.0) as u64));
            group.bench_function(format!("{}/{index:02} {}", time.program, time.kernel.to_lowercase()), |bencher| {
                bencher.iter_custom(|iterations| {
                    let repeats = u32::try_from(iterations).unwrap_or(u32::MAX);
                    match population.time_dispatch_blocking(index, repeats) {
                        Ok(time) => Duration::from_secs_f64(time.seconds * iterations as f64),
                        Err(error) => panic!("{error}"),
                    }
                });
            });
        }
        group.finish();
        gpu.check()?;
    }
    Ok(())
}

fn kernels(criterion: &mut Criterion) {
    if let Err(error) = time_all(criterion) {
        panic!("{error}");
    }
}

criterion_group!(benches, kernels);
criterion_main!(benches);
