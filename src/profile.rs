//! Times each dispatch of a population's programs by itself.

use crate::error::Result;
use crate::memory::wait_blocking;
use crate::population::Population;
use crate::program::{Operation, Program};
use std::time::Instant;

/// How long one dispatch takes when it is repeated on its own.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct DispatchTime {
    /// `rollout` or `learn`.
    pub program: &'static str,
    /// The kernel's name, as in `shaders/program.wgsl`.
    pub kernel: &'static str,
    /// Operations that share the dispatch.
    pub operations: u32,
    /// Workgroups, over all agents.
    pub workgroups: u32,
    /// Multiplications and additions of its matrix products.
    pub flops: f64,
    /// Seconds a dispatch.
    pub seconds: f64,
}

impl Population {
    /// Times every dispatch of a rollout and of an update, each repeated `repeats` times on its own, waiting for the
    /// device. What the agents have learned is spoilt by it: for benchmarks only.
    ///
    /// # Errors
    /// [`Error::Gpu`](crate::Error::Gpu) where the device fails.
    pub fn time_dispatches_blocking(&self, repeats: u32) -> Result<Vec<DispatchTime>> {
        let mut times = Vec::new();
        for (program, name) in self.named_programs() {
            for dispatch in &program.dispatches {
                let alone = Program { dispatches: vec![dispatch.clone()] };
                let run = |repeats: u32| {
                    let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("profile") });
                    {
                        let mut pass = self.begin(&mut encoder);
                        for _ in 0..repeats {
                            alone.record(&mut pass, &self.kernels, &self.memory.table, self.config.agents);
                        }
                    }
                    let start = Instant::now();
                    self.queue.submit([encoder.finish()]);
                    wait_blocking(&self.device)?;
                    Ok(start.elapsed().as_secs_f64())
                };
                run(1)?;
                let seconds = run(repeats)? / f64::from(repeats);
                let operations = &self.operations()[dispatch.first as usize..(dispatch.first + dispatch.operations) as usize];
                times.push(DispatchTime {
                    program: name,
                    kernel: dispatch.kernel.name(),
                    operations: dispatch.operations,
                    workgroups: dispatch.units * dispatch.operations * self.config.agents,
                    flops: operations.iter().map(Operation::flops).sum::<f64>() * f64::from(self.config.agents),
                    seconds,
                });
            }
        }
        Ok(times)
    }
}
