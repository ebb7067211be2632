//! How much training fits into a given time, learned from what earlier training took.

use crate::pending::Pending;
use crate::population::Population;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Seconds an iteration takes, as measured so far.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cost {
    seconds: Option<f64>,
    /// Most iterations that a measurement covered: the estimate is trusted up to twice as many.
    largest: f64,
    learning: bool,
}

impl Cost {
    /// What rollouts alone take says nothing about learning: the estimate starts anew when learning starts.
    pub fn phase(&mut self, learning: bool) {
        if learning != self.learning {
            *self = Cost { learning, ..Cost::default() };
        }
    }

    pub fn observe(&mut self, iterations: u64, seconds: f64, learning: bool) {
        if learning != self.learning || iterations == 0 {
            return;
        }
        let measured = seconds.max(1e-7) / iterations as f64;
        // dearer than thought: believe it at once; cheaper: by and by, since one good frame is no promise
        self.seconds = Some(match self.seconds {
            Some(known) if measured < known => 0.5 * (known + measured),
            _ => measured,
        });
        self.largest = self.largest.max(iterations as f64);
    }

    /// Iterations (with a fraction) that fit into `budget`.
    pub fn fitting(&self, budget: Duration) -> f64 {
        match self.seconds {
            Some(seconds) => (budget.as_secs_f64() / seconds).min(2.0 * self.largest),
            None => 1.0,
        }
    }
}

/// Records as much training a frame as fits into a budget of GPU time, by measurement, and never waits.
///
/// With the feature `TIMESTAMP_QUERY` it measures what the device spends in its own pass. Without it, it takes the time
/// from one completed submission to the next, which counts the application's own work and its idle time too: it then
/// trains less than the budget allows, never more. In a browser without the feature there is nothing to measure with, and
/// every frame gets one iteration.
///
/// An iteration cannot be split. Where one takes longer than the budget, one is recorded every so many frames, such that
/// the average keeps to it.
///
/// ```no_run
/// # use ddpg_wgpu::{Config, Environment, Gpu, Pacer, Population};
/// # let gpu = Gpu::open_blocking(None)?;
/// # let mut population = Population::new(&gpu.device, &gpu.queue, &Environment::pendulum_v1(), &Config::default())?;
/// let mut pacer = Pacer::new(&gpu.device, &gpu.queue, std::time::Duration::from_millis(4));
/// // each frame:
/// let mut encoder = gpu.device.create_command_encoder(&Default::default());
/// pacer.record(&mut population, &mut encoder, u64::MAX);
/// // … the application's own passes …
/// gpu.queue.submit([encoder.finish()]);
/// # Ok::<(), ddpg_wgpu::Error>(())
/// ```
#[derive(Debug)]
pub struct Pacer {
    /// GPU time a frame.
    pub budget: Duration,
    cost: Cost,
    /// The part of an iteration that earlier frames have saved up.
    saved: f64,
    clock: Clock,
    last: Option<Duration>,
}

#[derive(Debug, Clone, Copy)]
struct Frame {
    iterations: u64,
    learning: bool,
}

#[derive(Debug)]
enum Clock {
    Device(Timestamps),
    Host(Arc<Mutex<HostClock>>),
}

/// Two timestamps a frame around its training pass.
#[derive(Debug)]
struct Timestamps {
    device: wgpu::Device,
    queries: wgpu::QuerySet,
    resolved: wgpu::Buffer,
    /// Seconds a tick.
    period: f64,
    /// Frames recorded so far; each takes the next pair of queries.
    frames: u32,
    in_flight: VecDeque<(Frame, Pending<f64>)>,
}

/// Frames whose time may be on its way.
const IN_FLIGHT: u32 = 8;

/// When the last submission was done, and what has been measured since it was last asked for.
#[derive(Debug, Default)]
struct HostClock {
    done: f64,
    in_flight: u32,
    measured: Vec<(Frame, f64)>,
}

/// Seconds since the program first asked; a browser has no such clock without help.
pub(crate) fn seconds_now() -> Option<f64> {
    #[cfg(target_family = "wasm")]
    return None;
    #[cfg(not(target_family = "wasm"))]
    {
        static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
        Some(START.get_or_init(std::time::Instant::now).elapsed().as_secs_f64())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pacer {
    /// A pacer of `budget` GPU time a frame, for training on `device`.
    pub fn new(device: &wgpu::Device, queue: &wgpu::Queue, budget: Duration) -> Self {
        let clock = if device.features().contains(wgpu::Features::TIMESTAMP_QUERY) {
            Clock::Device(Timestamps::new(device, queue.get_timestamp_period()))
        } else {
            Clock::Host(Arc::default())
        };
        Self { budget, cost: Cost::default(), saved: 0.0, clock, last: None }
    }

    /// Records iterations of `population` into `encoder`, `most` at the most, and returns how many: none while eight
    /// frames are still under way on a busy device, or while the budget for a whole iteration is saved up.
    pub fn record(&mut self, population: &mut Population, encoder: &mut wgpu::CommandEncoder, most: u64) -> u64 {
        self.collect();
        let learning = population.learns();
        self.cost.phase(learning);
        let fitting = self.cost.fitting(self.budget) + self.saved;
        // a frame of one kind: one that begins to learn half-way would be measured as neither
        let iterations = most.min(fitting as u64).min(population.iterations_until_learning());
        if iterations == 0 || self.is_behind() {
            self.saved = fitting.min(1.0);
            return 0;
        }
        // never save up more than one iteration: a pause must not be followed by a burst
        self.saved = (fitting - iterations as f64).min(1.0 - f64::EPSILON);
        let frame = Frame { iterations, learning };
        match &mut self.clock {
            Clock::Device(timestamps) => timestamps.record(population, encoder, frame),
            Clock::Host(clock) => {
                population.record_timed(encoder, iterations, None);
                if let Some(recorded) = seconds_now() {
                    lock(clock).in_flight += 1;
                    let done = Done { clock: clock.clone(), frame, recorded };
                    encoder.on_submitted_work_done(move || done.measure());
                }
            }
        }
        iterations
    }

    /// What the last measured frame spent on training; `None` before the first has come back.
    pub fn last(&self) -> Option<Duration> {
        self.last
    }

    /// Whether the device's own timestamps are measured.
    pub fn measures_device_time(&self) -> bool {
        matches!(self.clock, Clock::Device(_))
    }

    fn is_behind(&self) -> bool {
        match &self.clock {
            Clock::Device(timestamps) => timestamps.in_flight.len() >= IN_FLIGHT as usize,
            Clock::Host(clock) => lock(clock).in_flight >= IN_FLIGHT,
        }
    }

    fn collect(&mut self) {
        let measured = match &mut self.clock {
            Clock::Device(timestamps) => timestamps.collect(),
            Clock::Host(clock) => std::mem::take(&mut lock(clock).measured),
        };
        for (frame, seconds) in measured {
            self.cost.observe(frame.iterations, seconds, frame.learning);
            self.last = Some(Duration::from_secs_f64(seconds.max(0.0)));
        }
    }
}

/// A frame's completion by the host's clock; dropped unmeasured where its encoder was never submitted.
struct Done {
    clock: Arc<Mutex<HostClock>>,
    frame: Frame,
    recorded: f64,
}

impl Done {
    fn measure(self) {
        if let Some(now) = seconds_now() {
            let mut clock = lock(&self.clock);
            let seconds = now - clock.done.max(self.recorded);
            clock.done = now;
            clock.measured.push((self.frame, seconds));
        }
    }
}

impl Drop for Done {
    fn drop(&mut self) {
        lock(&self.clock).in_flight -= 1;
    }
}

impl Timestamps {
    fn new(device: &wgpu::Device, nanoseconds: f32) -> Self {
        let queries = device.create_query_set(&wgpu::QuerySetDescriptor {
            label: Some("pacer"),
            ty: wgpu::QueryType::Timestamp,
            count: 2 * IN_FLIGHT,
        });
        let resolved = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("pacer"),
            size: u64::from(IN_FLIGHT) * wgpu::QUERY_RESOLVE_BUFFER_ALIGNMENT,
            usage: wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC,
            mapped_at_creation: false,
        });
        Self { device: device.clone(), queries, resolved, period: f64::from(nanoseconds) * 1e-9, frames: 0, in_flight: VecDeque::new() }
    }

    fn record(&mut self, population: &mut Population, encoder: &mut wgpu::CommandEncoder, frame: Frame) {
        let slot = self.frames % IN_FLIGHT;
        self.frames = self.frames.wrapping_add(1);
        let first = 2 * slot;
        let writes = wgpu::ComputePassTimestampWrites {
            query_set: &self.queries,
            beginning_of_pass_write_index: Some(first),
            end_of_pass_write_index: Some(first + 1),
        };
        population.record_timed(encoder, frame.iterations, Some(writes));
        let offset = u64::from(slot) * wgpu::QUERY_RESOLVE_BUFFER_ALIGNMENT;
        encoder.resolve_query_set(&self.queries, first..first + 2, &self.resolved, offset);
        let period = self.period;
        let pending = Pending::record(&self.device, encoder, &self.resolved, offset..offset + 16, move |bytes| {
            let ticks: Vec<u64> = bytemuck::pod_collect_to_vec(bytes);
            Ok(ticks[1].saturating_sub(ticks[0]) as f64 * period)
        });
        self.in_flight.push_back((frame, pending));
    }

    fn collect(&mut self) -> Vec<(Frame, f64)> {
        let mut measured = Vec::new();
        while let Some((frame, pending)) = self.in_flight.front_mut() {
            let Some(result) = pending.take() else { break };
            // a frame that was never submitted measures nothing
            measured.extend(result.ok().map(|seconds| (*frame, seconds)));
            self.in_flight.pop_front();
        }
        measured
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Frames of a device on which an iteration takes `seconds(frame)`; what each frame spent.
    fn frames(budget: Duration, count: usize, seconds: impl Fn(usize) -> f64) -> Vec<f64> {
        let mut cost = Cost::default();
        let mut saved = 0.0;
        (0..count)
            .map(|frame| {
                cost.phase(true);
                let fitting = cost.fitting(budget) + saved;
                let iterations = fitting as u64;
                saved = (fitting - iterations as f64).min(1.0 - f64::EPSILON);
                cost.observe(iterations, iterations as f64 * seconds(frame), true);
                iterations as f64 * seconds(frame)
            })
            .collect()
    }

    #[test]
    fn the_budget_is_used_and_kept() {
        let spent = frames(Duration::from_millis(4), 40, |_| 0.3e-3);
        assert!(spent.iter().all(|&spent| spent <= 4.3e-3), "{spent:?}");
        let mean = spent[20..].iter().sum::<f64>() / 20.0;
        assert!((3.7e-3..=4.1e-3).contains(&mean), "{mean}");
    }

    #[test]
    fn an_iteration_longer_than_the_budget_is_spread_over_frames() {
        let spent = frames(Duration::from_millis(4), 100, |_| 10e-3);
        let mean = spent[10..].iter().sum::<f64>() / 90.0;
        assert!((3.5e-3..=4.5e-3).contains(&mean), "{mean}");
        assert!(spent.iter().all(|&spent| spent <= 10e-3));
    }

    #[test]
    fn a_device_that_slows_down_is_believed_at_once() {
        let spent = frames(Duration::from_millis(4), 40, |frame| if frame < 20 { 0.1e-3 } else { 1e-3 });
        assert!(spent[20] > 30e-3, "the first slow frame cannot be known");
        assert!(spent[21..].iter().all(|&spent| spent <= 5e-3), "{spent:?}");
    }

    #[test]
    fn the_start_of_learning_begins_anew() {
        let mut cost = Cost::default();
        cost.observe(100, 1e-3, false);
        assert!(cost.fitting(Duration::from_millis(4)) > 50.0);
        cost.phase(true);
        assert_eq!(cost.fitting(Duration::from_millis(4)), 1.0);
    }
}
