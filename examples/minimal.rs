//! Train an agent, then ask how good it is: the whole library in twenty lines.
use ddpg_wgpu::{Config, Environment, Gpu, Result, Trainer};

fn main() -> Result<()> {
    let gpu = Gpu::open_blocking(None)?;
    let environment = Environment::pendulum_v1();
    let mut config = Config::default();
    config.steps = std::env::args().nth(1).and_then(|steps| steps.parse().ok()).unwrap_or(config.steps);
    let mut trainer = Trainer::new(&gpu.device, &gpu.queue, &environment, &config)?;
    for _ in 0..10 {
        trainer.advance_blocking(config.iterations() / 10)?;
        let measured = &trainer.measure_blocking()?[0];
        let last = measured.episodes.last().map_or(f32::NAN, |episode| episode.episode_return);
        println!("{:>6} steps, last return {last:>8.1}, critic loss {:?}", measured.steps, measured.critic_loss);
    }
    let evaluation = &trainer.evaluate_blocking(1000, 1)?[0];
    println!("mean return {:.1} ± {:.1} over 1000 episodes", evaluation.mean_return, evaluation.standard_error);
    Ok(())
}
