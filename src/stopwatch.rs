//! How long a compute pass takes: by the device's own clock where it has one.

use crate::buffer::{read_blocking, wait_blocking};
use crate::error::Result;
use std::time::Instant;

/// Whose clock a time was read from.
///
/// ```
/// use ddpg_wgpu::Clock;
/// assert_eq!(Clock::Device.to_string(), "the device's timestamps");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum Clock {
    /// The device's: timestamps at the beginning and the end of the pass.
    Device,
    /// The host's: from submission until the device is done, the way there and back included.
    Host,
}

impl std::fmt::Display for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Clock::Device => "the device's timestamps",
            Clock::Host => "the host's clock",
        }
        .fmt(f)
    }
}

/// Times compute passes, waiting for each: for benchmarks.
///
/// ```no_run
/// # use ddpg_wgpu::{Gpu, Stopwatch};
/// # let gpu = Gpu::open_blocking(None)?;
/// let stopwatch = Stopwatch::new(&gpu.device, &gpu.queue);
/// let seconds = stopwatch.time_blocking(|pass| {
///     // set a pipeline and bind groups, dispatch
/// })?;
/// println!("{seconds} s by {}", stopwatch.clock());
/// # Ok::<(), ddpg_wgpu::Error>(())
/// ```
#[derive(Debug)]
pub struct Stopwatch {
    device: wgpu::Device,
    queue: wgpu::Queue,
    timestamps: Option<Timestamps>,
}

#[derive(Debug)]
struct Timestamps {
    queries: wgpu::QuerySet,
    resolved: wgpu::Buffer,
    /// Seconds a tick.
    period: f64,
}

impl Stopwatch {
    /// A stopwatch for passes on `device`: by its own clock where it was opened with `TIMESTAMP_QUERY`.
    pub fn new(device: &wgpu::Device, queue: &wgpu::Queue) -> Self {
        let timestamps = device.features().contains(wgpu::Features::TIMESTAMP_QUERY).then(|| Timestamps {
            queries: device.create_query_set(&wgpu::QuerySetDescriptor {
                label: Some("stopwatch"),
                ty: wgpu::QueryType::Timestamp,
                count: 2,
            }),
            resolved: device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("stopwatch"),
                size: 16,
                usage: wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC,
                mapped_at_creation: false,
            }),
            period: 1e-9 * f64::from(queue.get_timestamp_period()),
        });
        Self { device: device.clone(), queue: queue.clone(), timestamps }
    }

    /// Whose clock it reads.
    pub fn clock(&self) -> Clock {
        if self.timestamps.is_some() { Clock::Device } else { Clock::Host }
    }

    /// Seconds that the device takes for a pass that `record` fills.
    ///
    /// # Errors
    /// [`Error::Gpu`](crate::Error::Gpu) where the device fails.
    pub fn time_blocking(&self, record: impl FnOnce(&mut wgpu::ComputePass<'_>)) -> Result<f64> {
        let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("stopwatch") });
        let timestamp_writes = self.timestamps.as_ref().map(|timestamps| wgpu::ComputePassTimestampWrites {
            query_set: &timestamps.queries,
            beginning_of_pass_write_index: Some(0),
            end_of_pass_write_index: Some(1),
        });
        record(&mut encoder.begin_compute_pass(&wgpu::ComputePassDescriptor { label: Some("stopwatch"), timestamp_writes }));
        let Some(timestamps) = &self.timestamps else {
            let start = Instant::now();
            self.queue.submit([encoder.finish()]);
            wait_blocking(&self.device)?;
            return Ok(start.elapsed().as_secs_f64());
        };
        encoder.resolve_query_set(&timestamps.queries, 0..2, &timestamps.resolved, 0);
        self.queue.submit([encoder.finish()]);
        let ticks: Vec<u64> = read_blocking(&self.device, &self.queue, &timestamps.resolved, 0..16)?;
        Ok(ticks[1].saturating_sub(ticks[0]) as f64 * timestamps.period)
    }
}
