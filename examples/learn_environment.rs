//! Trains a few seeds on one of the crate's environments and prints how the return rises above a random policy's:
//!
//!     cargo run --release --example learn_environment -- CartPoleSwingUp-v0 [steps] [agents] [noise]

use ddpg_wgpu::{Config, Environment, Exploration, Gpu, Result, Trainer};
use std::time::Instant;

fn main() -> Result<()> {
    let argument = |n: usize| std::env::args().nth(n);
    let number = |n, default: f64| argument(n).and_then(|text| text.parse().ok()).unwrap_or(default);
    let environment = Environment::by_name(&argument(1).unwrap_or_else(|| "CartPoleSwingUp-v0".into()))?;
    let gpu = Gpu::open_blocking(None)?;
    let mut config = Config::default();
    config.steps = number(2, 96_000.0) as u64;
    config.agents = number(3, 3.0) as u32;
    match argument(4).as_deref() {
        // noise that keeps its direction, where single pushes lead nowhere
        Some("ou") => config.exploration = Exploration::OrnsteinUhlenbeck { sigma: 0.5, theta: 0.15, dt: 0.1, start: 0.0 },
        _ => config.exploration = Exploration::Gaussian { sigma: number(4, 0.2) as f32 },
    }

    // a policy that acts at random: the training episodes of the first steps
    let mut random = config.clone();
    random.random_steps = u32::MAX;
    random.learning_starts = random.replay_capacity;
    let mut trainer = Trainer::new(&gpu.device, &gpu.queue, &environment, &random)?;
    trainer.advance_blocking(2 * u64::from(environment.time_limit))?;
    let returns: Vec<f32> =
        trainer.measure_blocking()?.iter().flat_map(|measured| measured.episodes.iter().map(|e| e.episode_return)).collect();
    println!("{}: random {:.1} over {} episodes", environment.name, returns.iter().sum::<f32>() / returns.len() as f32, returns.len());

    let mut trainer = Trainer::new(&gpu.device, &gpu.queue, &environment, &config)?;
    let start = Instant::now();
    for _ in 0..6 {
        trainer.advance_blocking(config.iterations() / 6)?;
        let evaluations = trainer.evaluate_blocking(200, 1)?;
        let returns: Vec<_> =
            evaluations.iter().map(|evaluation| format!("{:8.1} ± {:<5.1}", evaluation.mean_return, evaluation.standard_error)).collect();
        println!("{:8} steps {:6.0} s  {}", trainer.population().environment_steps(), start.elapsed().as_secs_f64(), returns.join(" "));
    }
    gpu.check()
}
