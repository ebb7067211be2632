//! Where the time of a rollout and of an update goes.

use super::Bench;
use super::sample::Spread;
use super::updates::network;
use anyhow::Result;
use ddpg_wgpu::{DispatchTime, Plan};
use serde_json::{Value, json};

/// One dispatch of one network's programs.
#[derive(Debug, Clone)]
pub struct Dispatch {
    pub network: &'static str,
    /// Of the first repetition; `seconds` is the median of all.
    pub time: DispatchTime,
    pub seconds: Spread,
}

impl Dispatch {
    pub fn gigaflops(&self) -> f64 {
        1e-9 * self.time.flops / self.seconds.median.max(1e-12)
    }

    pub fn gigabytes(&self) -> f64 {
        1e-9 * self.time.bytes / self.seconds.median.max(1e-12)
    }

    pub fn json(&self) -> Value {
        json!({
            "network": self.network,
            "program": self.time.program,
            "kernel": self.time.kernel,
            "operations": self.time.operations,
            "workgroups": self.time.workgroups,
            "microseconds": { "median": 1e6 * self.seconds.median, "min": 1e6 * self.seconds.min, "max": 1e6 * self.seconds.max },
            "flops": self.time.flops,
            "bytes": self.time.bytes,
            "gigaflops_per_second": self.gigaflops(),
            "gigabytes_per_second": self.gigabytes(),
            "clock": self.time.clock,
        })
    }
}

/// Every dispatch of each network in a plan whose dispatches are kernels; one agent in one environment.
pub fn measure(bench: &Bench) -> Result<Vec<Dispatch>> {
    let repeats = if bench.is_software() { 30 } else { 300 };
    let mut dispatches = Vec::new();
    for name in ["400-300", "256-256", "64-64"] {
        bench.progress.message(&format!("kernels, {name}"));
        let case = network(name).ring(1000);
        let mut options = bench.options;
        options.plan = options.plan.filter(|&plan| plan != Plan::Fused);
        let trainer = case.filled(&bench.gpu, options)?;
        let repetitions: Vec<Vec<DispatchTime>> =
            (0..bench.pace.repetitions).map(|_| trainer.population().time_dispatches_blocking(repeats)).collect::<Result<_, _>>()?;
        bench.gpu.check()?;
        for (index, time) in repetitions[0].iter().enumerate() {
            let samples: Vec<f64> = repetitions.iter().map(|times| times[index].seconds).collect();
            dispatches.extend(Spread::of(&samples).map(|seconds| Dispatch { network: name, time: time.clone(), seconds }));
        }
    }
    Ok(dispatches)
}
