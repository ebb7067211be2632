//! TensorBoard's event files: TFRecord framing around `Event` messages, of which only the fields used here are declared.

use anyhow::{Context, Result};
use prost::Message;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

#[derive(Clone, PartialEq, Message)]
struct Event {
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(oneof = "What", tags = "3, 5, 7")]
    what: Option<What>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum What {
    #[prost(string, tag = "3")]
    FileVersion(String),
    #[prost(message, tag = "5")]
    Summary(Summary),
    #[prost(message, tag = "7")]
    SessionLog(SessionLog),
}

#[derive(Clone, PartialEq, Message)]
struct SessionLog {
    #[prost(int32, tag = "1")]
    status: i32,
}

/// `SessionLog.status`: what readers of later steps had is void.
const SESSION_START: i32 = 1;

#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<Value>,
}

#[derive(Clone, PartialEq, Message)]
struct Value {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(oneof = "Kind", tags = "2, 5, 8")]
    kind: Option<Kind>,
    #[prost(message, optional, tag = "9")]
    metadata: Option<Metadata>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Kind {
    #[prost(float, tag = "2")]
    Simple(f32),
    #[prost(message, tag = "5")]
    Histogram(Histogram),
    #[prost(message, tag = "8")]
    Tensor(Tensor),
}

#[derive(Clone, PartialEq, Message)]
struct Metadata {
    #[prost(message, optional, tag = "1")]
    plugin: Option<Plugin>,
}

#[derive(Clone, PartialEq, Message)]
struct Plugin {
    #[prost(string, tag = "1")]
    name: String,
}

#[derive(Clone, PartialEq, Message)]
struct Histogram {
    #[prost(double, tag = "1")]
    min: f64,
    #[prost(double, tag = "2")]
    max: f64,
    #[prost(double, tag = "3")]
    count: f64,
    #[prost(double, tag = "4")]
    sum: f64,
    #[prost(double, tag = "5")]
    sum_of_squares: f64,
    /// Upper edge of each bucket.
    #[prost(double, repeated, tag = "6")]
    limits: Vec<f64>,
    #[prost(double, repeated, tag = "7")]
    buckets: Vec<f64>,
}

#[derive(Clone, PartialEq, Message)]
struct Tensor {
    #[prost(int32, tag = "1")]
    data_type: i32,
    #[prost(message, optional, tag = "2")]
    shape: Option<Shape>,
    #[prost(bytes = "vec", repeated, tag = "8")]
    strings: Vec<Vec<u8>>,
}

/// `Tensor.data_type` of strings.
const STRING: i32 = 7;

#[derive(Clone, PartialEq, Message)]
struct Shape {
    #[prost(message, repeated, tag = "2")]
    dimensions: Vec<Dimension>,
}

#[derive(Clone, PartialEq, Message)]
struct Dimension {
    #[prost(int64, tag = "1")]
    size: i64,
}

/// Buckets of a histogram, from its least to its largest number.
const BUCKETS: usize = 30;

impl Histogram {
    /// Of finite numbers; none where there is no number.
    fn of(numbers: &[f32]) -> Option<Self> {
        let numbers: Vec<f64> = numbers.iter().filter(|number| number.is_finite()).map(|&number| f64::from(number)).collect();
        let min = numbers.iter().copied().reduce(f64::min)?;
        let max = numbers.iter().copied().reduce(f64::max)?;
        // where all numbers are equal, still wide enough that the edges differ
        let width = ((max - min) / BUCKETS as f64).max(1e-12).max(1e-9 * max.abs().max(min.abs()));
        let mut buckets = vec![0.0; BUCKETS];
        for number in &numbers {
            buckets[(((number - min) / width) as usize).min(BUCKETS - 1)] += 1.0;
        }
        let mut limits: Vec<f64> = (1..=BUCKETS).map(|edge| min + width * edge as f64).collect();
        // rounding must not leave the largest number outside
        limits[BUCKETS - 1] = limits[BUCKETS - 1].max(max);
        let sum_of_squares = numbers.iter().map(|number| number * number).sum();
        Some(Self { min, max, count: numbers.len() as f64, sum: numbers.iter().sum(), sum_of_squares, limits, buckets })
    }
}

const PREFIX: &str = "events.out.tfevents.";

/// Whether TensorBoard would read a file of this name.
pub fn is_event_file(name: &str) -> bool {
    name.starts_with(PREFIX)
}

/// One event file. It is opened for each flush only: a population may have more agents than a process may have files open.
#[derive(Debug)]
pub struct EventFile {
    path: PathBuf,
    pending: Vec<u8>,
}

impl EventFile {
    /// A new file in `directory`, under the name that TensorBoard looks for. Events of an earlier file from `void_from` on
    /// are void, where given.
    pub fn create(directory: &Path, void_from: Option<u64>) -> Result<Self> {
        fs::create_dir_all(directory).with_context(|| format!("cannot write to the summary directory {}", directory.display()))?;
        let name = format!("{PREFIX}{}.{}.{}.0", now() as u64, host_name(), std::process::id());
        let mut file = Self { path: directory.join(name), pending: Vec::new() };
        file.push(0, What::FileVersion("brain.Event:2".to_owned()));
        if let Some(step) = void_from {
            file.push(step, What::SessionLog(SessionLog { status: SESSION_START }));
        }
        file.flush()?;
        Ok(file)
    }

    pub fn scalar(&mut self, tag: &str, step: u64, number: f32) {
        self.value(tag, step, "scalars", Kind::Simple(number));
    }

    /// Nothing where `numbers` holds no finite one.
    pub fn histogram(&mut self, tag: &str, step: u64, numbers: &[f32]) {
        if let Some(histogram) = Histogram::of(numbers) {
            self.value(tag, step, "histograms", Kind::Histogram(histogram));
        }
    }

    /// Markdown.
    pub fn text(&mut self, tag: &str, step: u64, text: &str) {
        let shape = Some(Shape { dimensions: vec![Dimension { size: 1 }] });
        self.value(tag, step, "text", Kind::Tensor(Tensor { data_type: STRING, shape, strings: vec![text.into()] }));
    }

    /// Writes what is pending.
    pub fn flush(&mut self) -> Result<()> {
        let append = OpenOptions::new().create(true).append(true).open(&self.path);
        append.and_then(|mut file| file.write_all(&self.pending)).with_context(|| self.path.display().to_string())?;
        self.pending.clear();
        Ok(())
    }

    fn value(&mut self, tag: &str, step: u64, plugin: &str, kind: Kind) {
        let metadata = Some(Metadata { plugin: Some(Plugin { name: plugin.to_owned() }) });
        self.push(step, What::Summary(Summary { value: vec![Value { tag: tag.to_owned(), kind: Some(kind), metadata }] }));
    }

    /// A TFRecord: the length of the payload and its checksum, then the payload and its own.
    fn push(&mut self, step: u64, what: What) {
        let payload = Event { wall_time: now(), step: step as i64, what: Some(what) }.encode_to_vec();
        let length = (payload.len() as u64).to_le_bytes();
        self.pending.extend(length);
        self.pending.extend(masked_checksum(&length).to_le_bytes());
        self.pending.extend(&payload);
        self.pending.extend(masked_checksum(&payload).to_le_bytes());
    }
}

/// TFRecord's checksum: CRC-32C, rotated and moved, so that a checksum of data that holds checksums is still a good one.
fn masked_checksum(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// Seconds since 1970.
pub fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

fn host_name() -> String {
    let file = fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let name = file.or_else(|| std::env::var("HOSTNAME").ok()).or_else(|| std::env::var("COMPUTERNAME").ok()).unwrap_or_default();
    let name: String = name.trim().chars().filter(|c| c.is_alphanumeric() || "-_".contains(*c)).collect();
    if name.is_empty() { "localhost".to_owned() } else { name }
}
