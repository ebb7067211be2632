//! Times each dispatch of a population's programs by itself.

use crate::error::{Error, Result};
use crate::kernels::{Kernel, Kinds};
use crate::operation::Operation;
use crate::population::Population;
use crate::program::Program;
use crate::stopwatch::{Clock, Stopwatch};

/// How long one dispatch takes when it is repeated on its own.
///
/// ```no_run
/// # let gpu = ddpg_wgpu::Gpu::open_blocking(None)?;
/// # let mut trainer = ddpg_wgpu::Trainer::new(&gpu.device, &gpu.queue, &ddpg_wgpu::Environment::pendulum_v1(), &Default::default())?;
/// for time in trainer.population().time_dispatches_blocking(100)? {
///     println!("{} {}: {:.1} us, {:.1} GFLOP/s", time.program, time.kernel, 1e6 * time.seconds, 1e-9 * time.flops / time.seconds);
/// }
/// # Ok::<(), ddpg_wgpu::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct DispatchTime {
    /// `rollout` or `learn`.
    pub program: &'static str,
    /// The names of its kernels, as in `shaders/program.wgsl`, with ` + ` between them.
    pub kernel: String,
    /// Operations that share the dispatch.
    pub operations: u32,
    /// Workgroups, over all agents.
    pub workgroups: u32,
    /// Multiplications and additions of its matrix products.
    pub flops: f64,
    /// Bytes it must move: each of its matrices once where it is read, and once where it is written.
    pub bytes: f64,
    /// Seconds a dispatch.
    pub seconds: f64,
    /// Whose clock said so.
    pub clock: Clock,
}

impl Population {
    /// Times every dispatch of a rollout and of an update, each repeated `repeats` times on its own, waiting for the
    /// device: by its own clock where it has `TIMESTAMP_QUERY`. What the agents have learned is spoilt by it: for
    /// benchmarks only.
    ///
    /// # Errors
    /// [`Error::Gpu`](crate::Error::Gpu) where the device fails.
    pub fn time_dispatches_blocking(&self, repeats: u32) -> Result<Vec<DispatchTime>> {
        let (rollout, learn) = self.dispatches();
        (0..rollout + learn)
            .map(|index| {
                self.time_dispatch_blocking(index, 1)?;
                self.time_dispatch_blocking(index, repeats)
            })
            .collect()
    }

    /// Times one of them: `index` counts those of a rollout, then those of an update, as [`Population::dispatches`] tells.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) where there is no such dispatch, or for no repeats;
    /// [`Error::Gpu`](crate::Error::Gpu) where the device fails.
    pub fn time_dispatch_blocking(&self, index: usize, repeats: u32) -> Result<DispatchTime> {
        let all = self.named_programs().into_iter().flat_map(|(program, name)| program.dispatches.iter().map(move |one| (one, name)));
        let Some((dispatch, program)) = all.clone().nth(index).filter(|_| repeats > 0) else {
            let count = all.count();
            return Err(Error::config(format!("dispatch {index} of {count} cannot be timed {repeats} times; they count from 0")));
        };
        let stopwatch = Stopwatch::new(&self.device, &self.queue);
        let alone = Program { dispatches: vec![dispatch.clone()] };
        let seconds = stopwatch.time_blocking(|pass| {
            pass.set_bind_group(0, &self.memory.bind_group, &[]);
            for _ in 0..repeats {
                alone.record(pass, &self.pipelines, &self.memory.table, self.config.agents);
            }
        })?;
        let agents = f64::from(self.config.agents);
        let operations = &self.operations()[dispatch.first as usize..(dispatch.first + dispatch.operations) as usize];
        let (units, side_by_side) = dispatch.workgroups;
        Ok(DispatchTime {
            program,
            kernel: operations.iter().map(|operation| Kernel::from_kind(operation.kind)).collect::<Kinds>().names(),
            operations: dispatch.operations,
            workgroups: units * side_by_side * self.config.agents,
            flops: agents * operations.iter().map(Operation::flops).sum::<f64>(),
            bytes: agents * operations.iter().map(bytes).sum::<f64>(),
            seconds: seconds / f64::from(repeats),
            clock: stopwatch.clock(),
        })
    }
}

fn bytes(operation: &Operation) -> f64 {
    let [rows, inner, columns] = [operation.rows, operation.inner, operation.columns].map(f64::from);
    let vec4s = match Kernel::from_kind(operation.kind) {
        // the layer's input and gradient; weights and bias, both moments and the target's copy are read and written
        Kernel::BackwardParameters => rows * (inner + columns) + 8.0 * (4.0 * inner + 1.0) * columns,
        // two rows of matrices and one of weights; a backward pass reads what the forward pass left
        _ if inner > 0.0 => rows * (inner + 2.0 * columns) + 4.0 * inner * columns,
        _ => 2.0 * rows * columns,
    };
    16.0 * vec4s
}

#[cfg(test)]
mod tests {
    use crate::kernels::harness::all_limits;
    use crate::{Clock, Config, Environment, HyperParameters, Options, Plan, Population};

    #[test]
    fn every_dispatch_is_timed_and_its_arithmetic_counted() {
        let gpu = all_limits();
        let mut config = Config::default();
        (config.agents, config.environments, config.batch_size, config.learning_starts) = (2, 1, 64, 64);
        let mut options = Options::default();
        options.plan = Some(Plan::Layered);
        let (environment, hyper_parameters) = (Environment::pendulum_v1(), HyperParameters::of_population(&config));
        let population = Population::with_options(&gpu.device, &gpu.queue, &environment, &config, hyper_parameters, options);
        let mut trainer = crate::Trainer::from_population(population.expect("a population"));
        trainer.advance_blocking(70).expect("it trains");
        let times = trainer.population().time_dispatches_blocking(3).expect("timed");
        let (rollout, learn) = trainer.population().dispatches();
        assert_eq!(times.len(), rollout + learn);
        let device = gpu.device.features().contains(wgpu::Features::TIMESTAMP_QUERY);
        for time in &times {
            assert!(time.seconds > 0.0 && time.seconds < 10.0, "{time:?}");
            assert_eq!(time.clock, if device { Clock::Device } else { Clock::Host });
            assert!(time.bytes >= 0.0 && time.workgroups > 0, "{time:?}");
        }
        for (index, repeats) in [(rollout + learn, 1), (0, 0)] {
            let refused = trainer.population().time_dispatch_blocking(index, repeats);
            assert!(matches!(refused, Err(crate::Error::Config(_))), "{refused:?}");
        }
        // each weight takes part in four products of the actor's or six of the critic's, but for the first layers'
        // input gradients; rows are padded to whole vec4s, an output of one unit to four
        let flops: f64 = times.iter().filter(|time| time.program == "learn").map(|time| time.flops).sum();
        let (actor, critic) = (3.0 * 64.0 + 64.0 * 64.0 + 64.0, 4.0 * 64.0 + 64.0 * 64.0 + 64.0);
        let counted = 2.0 * 64.0 * (4.0 * actor + 6.0 * critic) * f64::from(config.agents);
        assert!((0.95..1.2).contains(&(flops / counted)), "{flops} counted, {counted} expected");
    }
}
