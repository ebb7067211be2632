//! The host loop: submits slices of work, and now and then reads a few numbers.

use crate::buffer::wait_blocking;
use crate::config::Config;
use crate::cost::Cost;
use crate::environment::Environment;
use crate::error::{Error, Result};
use crate::hyper_parameters::HyperParameters;
use crate::measure::Measurements;
use crate::population::Population;
use std::time::{Duration, Instant};

/// Trains a population, waiting for the device between slices of bounded length.
///
/// ```no_run
/// use ddpg_wgpu::{Config, Environment, Gpu, Trainer};
/// let gpu = Gpu::open_blocking(None)?;
/// let config = Config::default();
/// let mut trainer = Trainer::new(&gpu.device, &gpu.queue, &Environment::pendulum_v1(), &config)?;
/// trainer.advance_blocking(config.iterations())?;
/// for evaluation in trainer.evaluate_blocking(100, 1)? {
///     println!("agent {}: {:.1}", evaluation.agent, evaluation.mean_return);
/// }
/// # Ok::<(), ddpg_wgpu::Error>(())
/// ```
#[derive(Debug)]
pub struct Trainer {
    pub(crate) population: Population,
    /// Longest time a submission should take, so that no watchdog fires and a shared screen stays smooth.
    pub slice: Duration,
    /// What the last slices took, of iterations and of updates alone.
    cost: Cost,
    update_cost: Cost,
}

/// The submissions that a slice is cut into, so that the next one is recorded while the device is at the last: the first is
/// this part of the slice, and no later one is larger than [`LARGEST_PART`]. A software driver would run on the processors that
/// record: it gets a slice in one.
const FIRST_PART: u64 = 64;
const LARGEST_PART: u64 = 8;

/// What the next submission takes of a slice of `whole`, of which `done` have been submitted.
fn part(whole: u64, done: u64) -> u64 {
    // recording takes somewhat more than half as long as running: while half of what was submitted is recorded, the device is busy
    (whole.div_ceil(FIRST_PART) + done / 2).min(whole.div_ceil(LARGEST_PART)).min(whole - done)
}

impl Trainer {
    /// A trainer for a population whose agents differ in their seeds only.
    ///
    /// # Errors
    /// As [`Population::new`].
    pub fn new(device: &wgpu::Device, queue: &wgpu::Queue, environment: &Environment, config: &Config) -> Result<Self> {
        Ok(Self::from_population(Population::new(device, queue, environment, config)?))
    }

    /// A trainer for a population with settings of their own an agent.
    ///
    /// # Errors
    /// As [`Population::with_hyper_parameters`].
    pub fn with_hyper_parameters(
        device: &wgpu::Device,
        queue: &wgpu::Queue,
        environment: &Environment,
        config: &Config,
        hyper_parameters: Vec<HyperParameters>,
    ) -> Result<Self> {
        Ok(Self::from_population(Population::with_hyper_parameters(device, queue, environment, config, hyper_parameters)?))
    }

    /// Takes over a population.
    pub fn from_population(population: Population) -> Self {
        Self { population, slice: Duration::from_millis(50), cost: Cost::default(), update_cost: Cost::default() }
    }

    /// The population.
    pub fn population(&self) -> &Population {
        &self.population
    }

    /// Gives the population back.
    pub fn into_population(self) -> Population {
        self.population
    }

    /// Trains for `iterations`, in slices of about [`Trainer::slice`], and waits until they are done.
    ///
    /// # Errors
    /// [`Error::Gpu`](crate::Error::Gpu) where the device fails.
    pub fn advance_blocking(&mut self, iterations: u64) -> Result<()> {
        let mut left = iterations;
        while left > 0 {
            left -= self.advance_slice_blocking(left)?;
        }
        Ok(())
    }

    /// Trains for one slice of about [`Trainer::slice`], of `most` iterations at most; returns how many it took. For host
    /// loops that have something else to do now and then: draw a progress bar, look whether the user wants to stop.
    ///
    /// # Errors
    /// [`Error::Gpu`](crate::Error::Gpu) where the device fails.
    pub fn advance_slice_blocking(&mut self, most: u64) -> Result<u64> {
        let learning = self.population.learns();
        self.cost.phase(learning);
        let fitting = (self.cost.fitting(self.slice) as u64).max(1);
        let now = most.min(fitting).min(self.population.iterations_until_learning());
        let seconds = self.run_blocking(now, Population::record_iterations)?;
        self.cost.observe(now, seconds, learning);
        Ok(now)
    }

    /// Takes updates alone, on what the replay rings hold, for one slice of about [`Trainer::slice`], `most` at the most;
    /// returns how many each agent took. For learning from rings that were filled before, and for benchmarks.
    ///
    /// ```no_run
    /// # let gpu = ddpg_wgpu::Gpu::open_blocking(None)?;
    /// # let mut trainer = ddpg_wgpu::Trainer::new(&gpu.device, &gpu.queue, &ddpg_wgpu::Environment::pendulum_v1(), &Default::default())?;
    /// trainer.advance_blocking(5000)?;
    /// let mut updates = 0;
    /// while updates < 1000 {
    ///     updates += trainer.update_slice_blocking(1000 - updates)?;
    /// }
    /// # Ok::<(), ddpg_wgpu::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Config`] while the rings hold less than a minibatch; [`Error::Gpu`](crate::Error::Gpu) where the device fails.
    pub fn update_slice_blocking(&mut self, most: u64) -> Result<u64> {
        let (held, needed) = (self.population.replay_length(), self.population.config.transitions_needed());
        if held < u64::from(needed) {
            return Err(Error::config(format!(
                "the replay ring holds {held} transitions, but an update needs {needed}: collect more first"
            )));
        }
        self.update_cost.phase(true);
        let now = most.min((self.update_cost.fitting(self.slice) as u64).max(1));
        let seconds = self.run_blocking(now, Population::record_updates)?;
        self.update_cost.observe(now, seconds, true);
        Ok(now)
    }

    /// Records and submits a slice, part by part, waits for it, and returns the seconds it took.
    fn run_blocking(&mut self, whole: u64, record: impl Fn(&mut Population, &mut wgpu::CommandEncoder, u64)) -> Result<f64> {
        let start = Instant::now();
        let in_one = self.population.device.adapter_info().device_type == wgpu::DeviceType::Cpu;
        let mut done = 0;
        while done < whole {
            let now = if in_one { whole } else { part(whole, done) };
            let mut encoder = self.population.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("train") });
            record(&mut self.population, &mut encoder, now);
            self.population.queue.submit([encoder.finish()]);
            done += now;
        }
        wait_blocking(&self.population.device)?;
        Ok(start.elapsed().as_secs_f64())
    }

    /// Reads what was measured since the last call, and starts the averages anew.
    ///
    /// # Errors
    /// [`Error::Gpu`](crate::Error::Gpu) where the device fails.
    pub fn measure_blocking(&mut self) -> Result<Vec<Measurements>> {
        let population = &mut self.population;
        let mut encoder = population.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("measure") });
        let pending = population.record_measurements(&mut encoder);
        population.queue.submit([encoder.finish()]);
        pending.wait_blocking(&population.device)
    }
}

#[cfg(test)]
mod tests {
    use super::part;

    #[test]
    fn a_slice_is_submitted_in_growing_parts() {
        let parts = |whole: u64| {
            let mut parts = Vec::new();
            while parts.iter().sum::<u64>() < whole {
                parts.push(part(whole, parts.iter().sum()));
            }
            parts
        };
        assert_eq!(parts(1), [1]);
        assert_eq!(parts(7), [1; 7]);
        let of_many = parts(6400);
        assert_eq!((of_many[0], of_many.iter().max(), of_many.iter().sum::<u64>()), (100, Some(&800), 6400));
        // what has been submitted lasts while the next part is recorded
        assert!(
            of_many.len() < 20 && (1..of_many.len()).all(|i| of_many[i] <= of_many[0] + of_many[..i].iter().sum::<u64>()),
            "{of_many:?}"
        );
    }
}
