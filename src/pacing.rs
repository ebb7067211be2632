//! How much training fits into a given time, learned from what earlier training took.

use crate::cost::Cost;
use crate::fault::guarded;
use crate::pending::Pending;
use crate::population::Population;
use std::sync::{Arc, Weak};
use std::time::Duration;
#[cfg(not(target_family = "wasm"))]
use std::time::Instant;
#[cfg(target_family = "wasm")]
use web_time::Instant;

/// How much a frame trains.
#[derive(Debug, Default)]
struct Allowance {
    cost: Cost,
    /// The part of an iteration longer than the budget that earlier frames have saved up.
    saved: f64,
}

impl Allowance {
    /// Iterations of the next frame, `most` at the most.
    fn take(&mut self, budget: Duration, most: u64) -> u64 {
        let fitting = self.cost.surely_fitting(budget) as u64;
        if fitting > 0 {
            return fitting.min(most);
        }
        // where only the newest measurement says that none fits, this is a whole one: the next frame finds out. So it is where
        // there is one only: a driver that compiles when it first runs has made it dear
        let dear = self.cost.dear().filter(|_| self.cost.measurements() > 1);
        self.saved += dear.map_or(1.0, |dear| (budget.as_secs_f64() / dear).min(1.0));
        let iterations = u64::from(self.saved >= 1.0).min(most);
        // never save up more than one iteration: a pause must not be followed by a burst
        self.saved = (self.saved - iterations as f64).min(1.0);
        iterations
    }
}

/// Records as much training a frame as fits into a budget of GPU time, by measurement, and never waits.
///
/// Several populations may share a pacer, whether they learn already or not: it knows the cost of each, and each has the
/// whole budget for itself.
///
/// With the feature `TIMESTAMP_QUERY` it measures what the device spends in its own pass. Without it, it takes the time
/// from one completed submission to the next, which counts the application's own work and its idle time too: it then
/// trains less than the budget allows, never more.
///
/// The budget is a bound, not an average: a frame gets as many iterations as fit by the second dearest of the last 64
/// measurements (four times their median at most), or by the newest where that is dearer still. How much of the budget is
/// left over thus depends on how evenly the device works, and on how many iterations fit: where one and a half do, one is
/// recorded.
///
/// An iteration cannot be split. Where one alone takes longer than the budget, one is recorded every so many frames, such
/// that the average keeps to it.
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
    device: wgpu::Device,
    /// Of each population.
    allowances: Vec<(Weak<()>, Allowance)>,
    clock: Clock,
    in_flight: Vec<InFlight>,
    last: Option<Duration>,
    measured: u64,
}

#[derive(Debug, Clone)]
struct Frame {
    population: Weak<()>,
    iterations: u64,
    learning: bool,
}

impl Frame {
    /// Whether its iterations are those of `other`.
    fn is_like(&self, other: &Frame) -> bool {
        self.population.ptr_eq(&other.population) && self.learning == other.learning
    }
}

/// A frame that the device has not delivered.
#[derive(Debug)]
struct InFlight {
    frame: Frame,
    recorded: Instant,
    /// Its seconds by the device's clock, if that is measured.
    pending: Pending<f64>,
}

/// A frame that was submitted and is done.
#[derive(Debug)]
struct Done {
    frame: Frame,
    recorded: Instant,
    at: Instant,
    seconds: f64,
}

#[derive(Debug)]
enum Clock {
    Device(Timestamps),
    /// When the last frame was done.
    Host(Option<Instant>),
}

/// Two timestamps a frame around its training pass.
#[derive(Debug)]
struct Timestamps {
    queries: wgpu::QuerySet,
    resolved: wgpu::Buffer,
    /// Nanoseconds a tick.
    period: f32,
    /// Frames recorded so far; each takes the next pair of queries, and has read it before another frame does.
    frames: u32,
}

/// Frames of a population whose time may be on its way.
const IN_FLIGHT: u32 = 8;

impl Pacer {
    /// A pacer of `budget` GPU time a frame, for training on `device`.
    pub fn new(device: &wgpu::Device, queue: &wgpu::Queue, budget: Duration) -> Self {
        let has_timestamps = device.features().contains(wgpu::Features::TIMESTAMP_QUERY);
        // a device without room for them can still be paced by the host's clock
        let timestamps = || guarded(device, || Ok(Timestamps::new(device, queue.get_timestamp_period()))).ok();
        let clock = has_timestamps.then(timestamps).flatten().map_or(Clock::Host(None), Clock::Device);
        Self { budget, device: device.clone(), allowances: Vec::new(), clock, in_flight: Vec::new(), last: None, measured: 0 }
    }

    /// Records iterations of `population` into `encoder`, `most` at the most, and returns how many: none while eight of its
    /// frames are still under way on a busy device, while the time for an iteration longer than the budget is saved up, or
    /// where the environment is on the host ([`Environment::host`](crate::Environment::host)) and the replay rings do not
    /// hold enough to learn from.
    pub fn record(&mut self, population: &mut Population, encoder: &mut wgpu::CommandEncoder, most: u64) -> u64 {
        self.collect();
        let learning = population.learns();
        if population.environment().is_host() && !learning {
            return 0;
        }
        let identity = Arc::downgrade(&population.identity);
        let is_behind = self.in_flight.iter().filter(|of| of.frame.population.ptr_eq(&identity)).count() >= IN_FLIGHT as usize;
        // a frame of one kind: one that begins to learn half-way would be measured as neither
        let most = if is_behind { 0 } else { most.min(population.iterations_until_learning()) };
        let budget = self.budget;
        let allowance = self.allowance(&identity);
        allowance.cost.phase(learning);
        let iterations = allowance.take(budget, most);
        if iterations == 0 {
            return 0;
        }
        let recorded = Instant::now();
        let pending = match &mut self.clock {
            Clock::Device(timestamps) => timestamps.record(&self.device, population, encoder, iterations),
            Clock::Host(_) => {
                population.record_timed(encoder, iterations, None);
                Pending::record_parts(&self.device, encoder, [], |[]| Ok(0.0))
            }
        };
        self.in_flight.push(InFlight { frame: Frame { population: identity, iterations, learning }, recorded, pending });
        iterations
    }

    /// What the last measured frame spent on training; `None` before the first has come back.
    pub fn last(&self) -> Option<Duration> {
        self.last
    }

    /// How many frames have been measured: whenever it grows, [`Pacer::last`] is another frame's.
    pub fn measured(&self) -> u64 {
        self.measured
    }

    /// Whether the device's own timestamps are measured.
    pub fn measures_device_time(&self) -> bool {
        matches!(self.clock, Clock::Device(_))
    }

    /// Of the population that `identity` is of; those that are gone are forgotten.
    fn allowance(&mut self, identity: &Weak<()>) -> &mut Allowance {
        self.allowances.retain(|(of, _)| of.strong_count() > 0);
        let place = self.allowances.iter().position(|(of, _)| of.ptr_eq(identity)).unwrap_or(self.allowances.len());
        if place == self.allowances.len() {
            self.allowances.push((identity.clone(), Allowance::default()));
        }
        &mut self.allowances[place].1
    }

    fn collect(&mut self) {
        let mut done = Vec::new();
        self.in_flight.retain_mut(|InFlight { frame, recorded, pending }| {
            let Some(result) = pending.take() else { return true };
            // a frame that was never submitted, or that the device refused, measures nothing
            if let (Ok(seconds), Some(at)) = (result, pending.arrived()) {
                done.push(Done { frame: frame.clone(), recorded: *recorded, at, seconds });
            }
            false
        });
        if let Clock::Host(last) = &mut self.clock {
            share_out(last, &mut done);
        }
        for Done { frame, seconds, .. } in done {
            if let Some((_, allowance)) = self.allowances.iter_mut().find(|(of, _)| of.ptr_eq(&frame.population)) {
                allowance.cost.observe(frame.iterations, seconds, frame.learning);
            }
            self.measured += 1;
            self.last = Some(Duration::from_secs_f64(seconds.max(0.0)));
        }
    }
}

/// Gives frames that were found `done` together their seconds by the host's clock: the time since `last`, by iterations. Who
/// of several populations took how much of it cannot be told: it counts in full for each, so that they train less than the
/// budget allows, never more.
fn share_out(last: &mut Option<Instant>, done: &mut [Done]) {
    let recorded = done.iter().map(|frame| frame.recorded).min();
    let at = done.iter().map(|frame| frame.at).max();
    let (Some(recorded), Some(at)) = (recorded, at) else { return };
    let seconds = at.saturating_duration_since(last.map_or(recorded, |last| last.max(recorded))).as_secs_f64();
    let shares = |of: &Done| {
        let alike: u64 = done.iter().filter(|other| other.frame.is_like(&of.frame)).map(|other| other.frame.iterations).sum();
        seconds * of.frame.iterations as f64 / alike as f64
    };
    let shares: Vec<f64> = done.iter().map(shares).collect();
    done.iter_mut().zip(shares).for_each(|(frame, share)| frame.seconds = share);
    *last = Some(last.map_or(at, |last| last.max(at)));
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
        Self { queries, resolved, period: nanoseconds, frames: 0 }
    }

    fn record(
        &mut self,
        device: &wgpu::Device,
        population: &mut Population,
        encoder: &mut wgpu::CommandEncoder,
        iterations: u64,
    ) -> Pending<f64> {
        let slot = self.frames % IN_FLIGHT;
        self.frames = self.frames.wrapping_add(1);
        let first = 2 * slot;
        let writes = wgpu::ComputePassTimestampWrites {
            query_set: &self.queries,
            beginning_of_pass_write_index: Some(first),
            end_of_pass_write_index: Some(first + 1),
        };
        population.record_timed(encoder, iterations, Some(writes));
        let offset = u64::from(slot) * wgpu::QUERY_RESOLVE_BUFFER_ALIGNMENT;
        encoder.resolve_query_set(&self.queries, first..first + 2, &self.resolved, offset);
        let period = self.period;
        Pending::record(device, encoder, &self.resolved, offset..offset + 16, move |bytes| {
            let ticks: Vec<u64> = bytemuck::pod_collect_to_vec(bytes);
            Ok(seconds(ticks[0], ticks[1], period))
        })
    }
}

/// Seconds from one timestamp to another, in ticks of `period` nanoseconds; none where the device set its clock back between.
fn seconds(first: u64, last: u64, period: f32) -> f64 {
    last.saturating_sub(first) as f64 * f64::from(period) * 1e-9
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUDGET: Duration = Duration::from_millis(4);

    /// Frames of a device that takes `seconds(frame, iterations)`; what each spent.
    fn frames(count: usize, mut seconds: impl FnMut(usize, f64) -> f64) -> Vec<f64> {
        let mut allowance = Allowance::default();
        allowance.cost.phase(true);
        (0..count)
            .map(|frame| {
                let iterations = allowance.take(BUDGET, u64::MAX);
                let spent = if iterations == 0 { 0.0 } else { seconds(frame, iterations as f64) };
                allowance.cost.observe(iterations, spent, true);
                spent
            })
            .collect()
    }

    /// Uniform in [0, 1): a device's whims, the same in every run.
    fn whims() -> impl FnMut() -> f64 {
        let mut state = 1u64;
        move || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 40) as f64 / (1u64 << 24) as f64
        }
    }

    fn over(spent: &[f64]) -> f64 {
        let over = spent.iter().filter(|&&spent| spent > BUDGET.as_secs_f64()).count();
        over as f64 / spent.len() as f64
    }

    /// The share of the budget that is used, over all frames.
    fn used(spent: &[f64]) -> f64 {
        spent.iter().sum::<f64>() / spent.len() as f64 / BUDGET.as_secs_f64()
    }

    #[test]
    fn the_budget_is_used_and_kept() {
        let spent = frames(40, |_, iterations| 0.3e-3 * iterations);
        assert_eq!(over(&spent), 0.0, "{spent:?}");
        assert!(used(&spent[10..]) > 0.95, "{spent:?}");
    }

    #[test]
    fn what_does_not_fit_is_not_carried_over() {
        // one and a half iterations fit: a mean of the budget would take two in every other frame
        let spent = frames(100, |_, iterations| 2.7e-3 * iterations);
        assert!(spent.iter().all(|&spent| spent == 2.7e-3), "{spent:?}");
    }

    #[test]
    fn a_noisy_device_keeps_the_budget() {
        // iterations small, middling and large against the budget
        for seconds in [0.03e-3, 0.4e-3, 1.5e-3] {
            let mut whim = whims();
            // each frame is slower by up to half, and one in eight by as much again
            let slower = |whim: &mut dyn FnMut() -> f64| 1.0 + 0.5 * whim() + if whim() < 0.125 { 0.5 } else { 0.0 };
            let spent = frames(3000, |_, iterations| seconds * iterations * slower(&mut whim));
            assert!(over(&spent[100..]) <= 0.05, "{seconds}: {}", over(&spent[100..]));
        }
    }

    #[test]
    fn a_somewhat_noisy_device_still_uses_the_budget() {
        let mut whim = whims();
        let spent = frames(3000, |_, iterations| 0.1e-3 * iterations * (1.0 + 0.4 * whim()));
        assert!(over(&spent[100..]) <= 0.05, "{}", over(&spent[100..]));
        assert!(used(&spent[100..]) >= 0.7, "{}", used(&spent[100..]));
    }

    #[test]
    fn interruptions_that_no_frame_could_keep_do_not_end_training() {
        let mut whim = whims();
        let mut interruption = move || if whim() < 0.1 { 8e-3 } else { 0.0 };
        let (mut trained, mut frames_trained) = (0.0, 0);
        frames(3000, |_, iterations| {
            trained += iterations;
            frames_trained += 1;
            0.1e-3 * iterations + interruption()
        });
        // 40 iterations fit into an uninterrupted frame
        assert!(trained / 3000.0 >= 8.0, "{trained} in {frames_trained} frames");
    }

    #[test]
    fn an_outlier_costs_a_frame() {
        let spent = frames(200, |frame, iterations| 0.3e-3 * iterations * if frame == 100 { 200.0 } else { 1.0 });
        assert!(spent[100] > 0.5, "the outlier itself");
        assert_eq!(over(&spent[101..]), 0.0, "{:?}", &spent[101..]);
        assert!(used(&spent[102..]) > 0.95, "{:?}", &spent[101..]);
    }

    /// As with a software driver, which compiles when it first runs.
    #[test]
    fn a_dear_beginning_costs_a_frame() {
        let spent = frames(100, |frame, iterations| if frame == 0 { 1.0 } else { 0.3e-3 * iterations });
        assert!(spent[0] > 0.5 && spent[1] > 0.0, "the next frame finds out: {:?}", &spent[..3]);
        assert_eq!(over(&spent[1..]), 0.0, "{spent:?}");
        assert!(used(&spent[70..]) > 0.95, "{:?}", &spent[70..]);
    }

    #[test]
    fn an_iteration_longer_than_the_budget_is_spread_over_frames() {
        let spent = frames(1000, |_, iterations| 10e-3 * iterations);
        assert!((0.98..=1.02).contains(&used(&spent[10..])), "{}", used(&spent[10..]));
        assert!(spent.iter().all(|&spent| spent <= 10e-3), "one at a time");
    }

    #[test]
    fn no_frame_gets_more_than_was_asked_for() {
        let mut allowance = Allowance::default();
        allowance.cost.observe(10, 1e-3, false);
        assert_eq!([7, 100, 0].map(|most| allowance.take(BUDGET, most)), [7, 20, 0]);
    }

    #[test]
    fn a_pause_is_not_followed_by_a_burst() {
        let mut allowance = Allowance::default();
        (0..2).for_each(|_| allowance.cost.observe(1, 10e-3, false));
        assert!((0..100).all(|_| allowance.take(BUDGET, 0) == 0));
        let after: u64 = (0..5).map(|_| allowance.take(BUDGET, u64::MAX)).sum();
        assert_eq!(after, 3, "the one that was saved up, and two that five frames earn");
    }

    #[test]
    fn a_device_that_slows_down_is_believed_at_once() {
        let spent = frames(40, |frame, iterations| iterations * if frame < 20 { 0.1e-3 } else { 1e-3 });
        assert!(spent[20] > 30e-3, "the first slow frame cannot be known");
        assert_eq!(over(&spent[21..]), 0.0, "{spent:?}");
        assert!(used(&spent[21..]) > 0.95, "{spent:?}");
    }

    #[test]
    fn a_device_that_recovers_is_believed_by_and_by() {
        let spent = frames(200, |frame, iterations| iterations * if frame < 50 { 1e-3 } else { 0.1e-3 });
        assert!(used(&spent[50..90]) < 0.2, "one good frame is no promise");
        assert!(used(&spent[120..]) > 0.9, "{spent:?}");
    }

    #[test]
    fn frames_that_are_done_together_share_their_time() {
        let start = Instant::now();
        let after = |milliseconds| start + Duration::from_millis(milliseconds);
        let populations = [Arc::new(()), Arc::new(())];
        let done = |population: usize, iterations, recorded, at| Done {
            frame: Frame { population: Arc::downgrade(&populations[population]), iterations, learning: true },
            recorded: after(recorded),
            at: after(at),
            seconds: 0.0,
        };
        let mut last = None;
        let mut shared = |mut done: Vec<Done>| {
            share_out(&mut last, &mut done);
            done.iter().map(|done| (1e3 * done.seconds).round() as u64).collect::<Vec<_>>()
        };
        assert!(shared(vec![]).is_empty());
        assert_eq!(shared(vec![done(0, 7, 10, 18)]), [8], "from when it was recorded");
        assert_eq!(shared(vec![done(0, 7, 12, 23)]), [5], "from when the one before was done");
        // both found in one look
        assert_eq!(shared(vec![done(0, 1, 20, 35), done(0, 3, 30, 35)]), [3, 9]);
        assert_eq!(shared(vec![done(0, 1, 40, 50), done(1, 4, 40, 50)]), [10, 10], "each may have been all of it");
    }

    #[test]
    fn ticks_are_seconds_by_their_period() {
        assert!((seconds(1 << 60, (1 << 60) + 4_000_000, 2.5) - 0.01).abs() < 1e-12);
        assert!((seconds(5, 12_005, 83.25) - 999e-6).abs() < 1e-9);
        assert_eq!(seconds(10, 9, 1.0), 0.0, "no time rather than six hundred years");
    }

    #[test]
    fn what_a_device_waits_between_frames_is_not_counted() {
        let start = Instant::now();
        let population = Arc::new(());
        let mut last = None;
        // recorded, done
        for (recorded, at, spent) in [(100, 107, 7), (500, 504, 4), (502, 510, 6), (505, 509, 0), (900, 905, 5)] {
            let [recorded, at] = [recorded, at].map(|milliseconds| start + Duration::from_millis(milliseconds));
            let frame = Frame { population: Arc::downgrade(&population), iterations: 1, learning: true };
            let mut done = [Done { frame, recorded, at, seconds: 0.0 }];
            share_out(&mut last, &mut done);
            assert!((done[0].seconds - 1e-3 * f64::from(spent)).abs() < 1e-9, "{} instead of {spent} ms", 1e3 * done[0].seconds);
        }
    }
}
