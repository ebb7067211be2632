//! What it costs to train within a budget a frame, against training in one go: iterations a second of device time.
//!
//! ```sh
//! cargo run --release --example pacing_cost [SECONDS] [BUDGET_MS]
//! ```
use ddpg_wgpu::{Config, Environment, Error, Gpu, Pacer, Population, Result, Trainer, wgpu};
use std::time::{Duration, Instant};

fn main() -> Result<()> {
    let argument = |n: usize, default: f64| std::env::args().nth(n).and_then(|text| text.parse().ok()).unwrap_or(default);
    let (seconds, budget) = (argument(1, 5.0), argument(2, 8.0));
    let gpu = Gpu::open_blocking(None)?;
    let mut config = Config::default();
    config.learning_starts = config.batch_size;
    let mut trainer = Trainer::new(&gpu.device, &gpu.queue, &Environment::pendulum_v1(), &config)?;
    trainer.advance_blocking(200)?;
    let mut population: Population = trainer.into_population();
    let mut pacer = Pacer::new(&gpu.device, &gpu.queue, Duration::from_secs_f64(budget / 1e3));
    // alternate, so that whatever else the machine does meets both alike
    let (mut whole, mut paced) = ((0u64, 0.0), (0u64, 0.0));
    for _ in 0..10 {
        let mut trainer = Trainer::from_population(population);
        let start = Instant::now();
        while start.elapsed().as_secs_f64() < seconds / 20.0 {
            whole.0 += trainer.advance_slice_blocking(u64::MAX)?;
        }
        whole.1 += start.elapsed().as_secs_f64();
        population = trainer.into_population();
        let start = Instant::now();
        while start.elapsed().as_secs_f64() < seconds / 20.0 {
            let mut encoder = gpu.device.create_command_encoder(&Default::default());
            paced.0 += pacer.record(&mut population, &mut encoder, u64::MAX);
            gpu.queue.submit([encoder.finish()]);
            gpu.device.poll(wgpu::PollType::wait_indefinitely()).map_err(|error| Error::Gpu(error.to_string()))?;
        }
        paced.1 += start.elapsed().as_secs_f64();
    }
    let rate = |(iterations, seconds): (u64, f64)| iterations as f64 / seconds;
    println!("slices of 50 ms: {:.0} iterations/s; frames of {budget} ms: {:.0} iterations/s", rate(whole), rate(paced));
    println!("the frames cost {:.1} %", 100.0 * (1.0 - rate(paced) / rate(whole)));
    gpu.check()
}
