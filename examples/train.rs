//! Trains and evaluates with the library alone.
use ddpg_wgpu::*;
fn main() -> Result<()> {
    let gpu = Gpu::open_blocking(None)?;
    println!("{}", gpu.description());
    let mut config = Config::default();
    let arg = |n: usize, d: u32| std::env::args().nth(n).and_then(|s| s.parse().ok()).unwrap_or(d);
    config.agents = arg(1, 1);
    config.environments = arg(2, 1);
    config.updates_per_iteration = arg(3, 1);
    config.steps = arg(4, 6000).into();
    let t = std::time::Instant::now();
    let mut trainer = Trainer::new(&gpu.device, &gpu.queue, &Environment::pendulum_v1(), &config)?;
    gpu.check()?;
    println!("built in {:?}, dispatches {:?}", t.elapsed(), trainer.population().dispatches());
    let n = config.iterations();
    for i in 0..6 {
        let u = trainer.population().updates();
        let t = std::time::Instant::now();
        trainer.advance_blocking(n / 6)?;
        let dt = t.elapsed().as_secs_f64();
        let du = trainer.population().updates() - u;
        gpu.check()?;
        let m = trainer.measure_blocking()?;
        let t = std::time::Instant::now();
        let e = trainer.evaluate_blocking(200, 7)?;
        println!(
            "{i} {:.0} updates/s, {:?} loss {:?} q {:?} halted {:?} eval {:?} in {:?}",
            du as f64 / dt,
            m[0].steps,
            m[0].critic_loss,
            m[0].value,
            m[0].halted,
            e.iter().map(|e| e.mean_return as i32).collect::<Vec<_>>(),
            t.elapsed()
        );
    }
    Ok(())
}
