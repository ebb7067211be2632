//! An environment of your own, from WGSL to a trained and evaluated agent. On a software driver it takes about a minute:
//!
//!     cargo run --release --example custom_environment
//!
//! The task: a drone that moves up and down holds a height that is asked for. Its motor answers late, the wind pushes, and
//! crashing into the floor or the ceiling ends the episode.

use ddpg_wgpu::{Config, Environment, Gpu, Result, Trainer};
use std::time::Instant;

/// Three functions, over types declared from the sizes below: State is array<f32, 4>, Observation array<f32, 4>, Action
/// array<f32, 1>. `ddpg_wgpu::environment` documents what may be used here.
const DRONE: &str = "
const DRONE_GRAVITY: f32 = 9.8;   // m/s^2
const DRONE_TIME_STEP: f32 = 0.05; // s

// State: height (m), velocity (m/s), thrust of the motor (m/s^2), height asked for (m).
fn environment_reset(random: ptr<function, Random>) -> State {
    let height = 1.0 + 3.0 * random_uniform(random);
    let wanted = 1.0 + 3.0 * random_uniform(random);
    return State(height, 0.0, DRONE_GRAVITY, wanted);
}

// The action asks for a thrust (m/s^2); the motor comes a fifth closer to it a step. `random` brings gusts: the same seed,
// the same gusts.
fn environment_step(state: State, action: Action, random: ptr<function, Random>) -> Step {
    let thrust = mix(state[2], action[0], 0.2);
    let gust = 0.5 * random_normal(random);
    let velocity = state[1] + (thrust - DRONE_GRAVITY + gust - 0.1 * state[1]) * DRONE_TIME_STEP;
    let height = state[0] + velocity * DRONE_TIME_STEP;
    let crashed = height < 0.0 || height > 5.0;
    // terminated says that nothing more can be earned; the time limit is not our business
    let reward = 1.0 - min(abs(height - state[3]), 1.0) - select(0.0, 20.0, crashed);
    return Step(State(height, velocity, thrust, state[3]), reward, crashed);
}

// What the networks see: a few numbers of size 1 or so.
fn environment_observe(state: State) -> Observation {
    return Observation(state[3] - state[0], 0.5 * state[1], 0.2 * (state[2] - DRONE_GRAVITY), state[0] - 2.5);
}
";

fn main() -> Result<()> {
    // name, WGSL, floats of State and of Observation, lowest and highest action, steps until an episode is truncated
    let drone = Environment::new("Drone", DRONE, 4, 4, vec![0.0], vec![20.0], 200)?;
    // Needs no device. Break a line above to see what it says.
    drone.check()?;

    let gpu = Gpu::open_blocking(None)?;
    println!("training on {}", gpu.description());
    let mut config = Config::default();
    config.agents = 2; // two seeds, side by side
    config.steps = 48_000;
    let mut trainer = Trainer::new(&gpu.device, &gpu.queue, &drone, &config)?;

    let start = Instant::now();
    println!("   steps   seconds   mean return of 100 episodes, an agent each (at most 200)");
    let rounds = 6;
    for round in 0..=rounds {
        if round > 0 {
            // the whole loop runs on the GPU: act, step, store, sample, learn
            trainer.advance_blocking(config.iterations() / rounds)?;
        }
        for measured in trainer.measure_blocking()? {
            // an environment that returns NaN or infinity stops its agent; here is where one would learn of it
            if let Some(halted) = measured.halted {
                println!("agent {} {halted}", measured.agent);
            }
        }
        let evaluations = trainer.evaluate_blocking(100, 1)?;
        let returns: Vec<_> = evaluations.iter().map(|evaluation| format!("{:8.1}", evaluation.mean_return)).collect();
        println!("{:8} {:9.1}   {}", trainer.population().environment_steps(), start.elapsed().as_secs_f64(), returns.join(" "));
    }

    // other starting heights than those above
    println!("\nagent   mean return of 1000 episodes");
    for evaluation in trainer.evaluate_blocking(1000, 2)? {
        println!("{:5}   {:.1} ± {:.1}", evaluation.agent, evaluation.mean_return, evaluation.standard_error);
    }
    gpu.check()
}
