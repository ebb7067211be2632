//! Prints how long each dispatch takes.
use ddpg_wgpu::*;
fn main() -> Result<()> {
    let gpu = Gpu::open_blocking(None)?;
    let arg = |n: usize, d: u32| std::env::args().nth(n).and_then(|s| s.parse().ok()).unwrap_or(d);
    let mut config = Config::preset(if arg(2, 0) == 0 { Preset::Modern } else { Preset::Paper });
    config.agents = arg(1, 1);
    config.replay_capacity = 10000;
    if arg(2, 0) == 2 {
        config = Config::default();
        config.actor_hidden = vec![256, 256];
        config.critic_hidden = vec![256, 256];
        config.batch_size = 256;
        config.agents = arg(1, 1);
    }
    config.learning_starts = config.batch_size;
    config.environments = arg(3, 1);
    let mut options = Options::default();
    if arg(6, 0) == 1 {
        options.tile = Some(Tile::Portable);
    }
    options.plan = match arg(7, 9) {
        0 => Some(Plan::Layered),
        1 => Some(Plan::Fused),
        2 => Some(Plan::Resident),
        _ => None,
    };
    let hyper = HyperParameters::of_population(&config);
    let start = std::time::Instant::now();
    let population = Population::with_options(&gpu.device, &gpu.queue, &Environment::pendulum_v1(), &config, hyper, options)?;
    let mut trainer = Trainer::from_population(population);
    println!("{} compiled in {:.2} s", trainer.population().plan(), start.elapsed().as_secs_f64());
    trainer.advance_blocking(u64::from(config.batch_size / config.environments) + 5)?;
    let t = std::time::Instant::now();
    let n = arg(4, 100) as u64;
    trainer.advance_blocking(n)?;
    println!("{:.1} iterations/s, dispatches {:?}", n as f64 / t.elapsed().as_secs_f64(), trainer.population().dispatches());
    println!("{:?}", trainer.measure_blocking()?[0]);
    let mut total = 0.0;
    for t in trainer.population().time_dispatches_blocking(arg(5, 50))? {
        println!(
            "{:8} {:20} ops {} wgs {:4} {:8.1} us {:6.2} GFLOP/s",
            t.program,
            t.kernel,
            t.operations,
            t.workgroups,
            t.seconds * 1e6,
            t.flops / t.seconds / 1e9
        );
        total += t.seconds;
    }
    println!("total {:.1} us", total * 1e6);
    gpu.check()
}
