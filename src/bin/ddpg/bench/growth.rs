//! How speed grows, and where it stops: one thing at a time, from 64-64, batch 64, one agent, one environment.

use super::Bench;
use super::sample::{Pace, Spread};
use super::updates::{Case, check, flops, network};
use anyhow::Result;
use ddpg_wgpu::Error;
use serde_json::{Value, json};
use std::time::Duration;

/// One point of one axis.
#[derive(Debug, Clone)]
pub struct Point {
    pub axis: &'static str,
    pub value: u32,
    /// Updates of all agents a second, or environment steps of all environments.
    pub rate: Option<Spread>,
    pub unit: &'static str,
    /// Arithmetic of the updates a second.
    pub gigaflops: Option<f64>,
    pub note: String,
}

impl Point {
    pub fn json(&self) -> Value {
        json!({
            "axis": self.axis,
            "value": self.value,
            "unit": self.unit,
            "median": self.rate.map(|rate| rate.median),
            "min": self.rate.map(|rate| rate.min),
            "max": self.rate.map(|rate| rate.max),
            "gigaflops_per_second": self.gigaflops,
            "note": self.note,
        })
    }
}

const WIDTHS: [u32; 7] = [16, 32, 64, 128, 256, 512, 1024];
const BATCHES: [u32; 7] = [16, 32, 64, 128, 256, 1024, 4096];
const AGENTS: [u32; 8] = [1, 2, 8, 32, 128, 512, 1024, 4096];
const ENVIRONMENTS: [u32; 6] = [1, 16, 64, 256, 1024, 4096];

/// Where an axis ends: one update of the next point would take longer than this.
const PATIENCE: Duration = Duration::from_secs(2);

pub fn measure(bench: &Bench) -> Result<Vec<Point>> {
    let mut points = Vec::new();
    let axes: [(&'static str, &[u32]); 4] = [("width", &WIDTHS), ("batch", &BATCHES), ("agents", &AGENTS), ("environments", &ENVIRONMENTS)];
    for (axis, values) in axes {
        let values = if bench.quick { &values[..3] } else { values };
        for &value in values {
            bench.progress.message(&format!("growth: {axis} {value}"));
            let point = measure_point(bench, axis, value)?;
            let slow = point.rate.is_some_and(|rate| 1.0 / rate.median.max(1e-9) * f64::from(point.agents()) > PATIENCE.as_secs_f64());
            let stop = point.rate.is_none() || slow;
            points.push(point);
            if stop {
                break;
            }
        }
    }
    Ok(points)
}

impl Point {
    fn agents(&self) -> u32 {
        if self.axis == "agents" { self.value } else { 1 }
    }
}

fn case(axis: &str, value: u32) -> Case {
    let mut case = network("64-64").ring(1000);
    let config = &mut case.config;
    match axis {
        "width" => (config.actor_hidden, config.critic_hidden) = (vec![value; 2], vec![value; 2]),
        "batch" => config.batch_size = value,
        "agents" => config.agents = value,
        _ => config.environments = value,
    }
    let ring = config.batch_size.max(config.environments).max(1000);
    case.ring(ring)
}

fn measure_point(bench: &Bench, axis: &'static str, value: u32) -> Result<Point> {
    let case = case(axis, value);
    let unit = if axis == "environments" { "environment steps/s" } else { "updates/s" };
    let point = |rate, gigaflops, note| Point { axis, value, rate, unit, gigaflops, note };
    let samples = match rates(bench, &case, axis == "environments", bench.pace.brief()) {
        Ok(samples) => samples,
        Err(error) if matches!(error.downcast_ref::<Error>(), Some(Error::Limit { .. })) => {
            return Ok(point(None, None, error.to_string()));
        }
        Err(error) => return Err(error),
    };
    let rate = Spread::of(&samples);
    let updates = if axis == "environments" { 1.0 / f64::from(value) } else { 1.0 };
    let gigaflops = rate.map(|rate| 1e-9 * rate.median * updates * flops(&case.config));
    Ok(point(rate, gigaflops, String::new()))
}

/// Updates alone, or whole iterations: a step of every environment and an update.
fn rates(bench: &Bench, case: &Case, whole: bool, pace: Pace) -> Result<Vec<f64>> {
    let mut trainer = case.filled(&bench.gpu, bench.options)?;
    if !whole {
        return Ok(case.measure(&bench.gpu, pace, trainer)?.samples);
    }
    let environments = u64::from(case.config.environments);
    let samples = pace.rates(|| Ok(environments * trainer.advance_slice_blocking(u64::MAX)?))?;
    check(&bench.gpu, trainer)?;
    Ok(samples)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_point_is_a_valid_configuration() {
        for (axis, values) in [("width", &WIDTHS[..]), ("batch", &BATCHES), ("agents", &AGENTS), ("environments", &ENVIRONMENTS)] {
            for &value in values {
                case(axis, value).config.validate().unwrap_or_else(|error| panic!("{axis} {value}: {error}"));
            }
        }
    }
}
