//! Numbers on their way from the device to the host, without anybody waiting.

use crate::buffer::{Source, staging};
use crate::error::{Error, Result};
use crate::fault::{guarded, or_lost};
use std::ops::Range;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
#[cfg(not(target_family = "wasm"))]
use std::time::Instant;
#[cfg(target_family = "wasm")]
use web_time::Instant;

/// From the bytes that arrive, of each part, to what they mean.
type Decode<T> = Box<dyn FnOnce(&[&[u8]]) -> Result<T> + Send + Sync>;

/// A result that the device still works on. Ask with [`Pending::take`] now and then, or await it.
///
/// It completes while the application submits, polls its device or, in a browser, returns to the event loop: this crate
/// does none of that by itself.
///
/// ```no_run
/// # let gpu = ddpg_wgpu::Gpu::open_blocking(None)?;
/// # let mut population = ddpg_wgpu::Population::new(&gpu.device, &gpu.queue, &ddpg_wgpu::Environment::pendulum_v1(), &Default::default())?;
/// let mut encoder = gpu.device.create_command_encoder(&Default::default());
/// let mut pending = population.record_measurements(&mut encoder);
/// gpu.queue.submit([encoder.finish()]);
/// // frames later
/// if let Some(measured) = pending.take() {
///     println!("{:?}", measured?[0].critic_loss);
/// }
/// # Ok::<(), ddpg_wgpu::Error>(())
/// ```
#[must_use = "the result arrives here"]
pub struct Pending<T> {
    shared: Arc<Mutex<State>>,
    /// Of each part, none where it is empty; then of the mark.
    buffers: Vec<Option<wgpu::Buffer>>,
    decode: Option<Decode<T>>,
}

/// Copied to the host with the parts. Buffers of a submission that the device refused are mapped as those of any other, but
/// they hold zeros.
const MARK: [u8; 4] = *b"done";

/// How long [`Pending::wait_blocking`] sleeps between two looks, at the most.
const LONGEST_PAUSE: Duration = Duration::from_micros(100);

/// How long another thread that polls the device may take to call back.
const LONGEST_CALLBACK: Duration = Duration::from_secs(10);

#[derive(Default)]
struct State {
    /// Parts that have not arrived.
    missing: usize,
    /// When the last part did.
    arrived: Option<Instant>,
    failure: Option<String>,
    waker: Option<Waker>,
}

impl State {
    fn is_ready(&self) -> bool {
        self.missing == 0 || self.failure.is_some()
    }
}

/// What the device calls back with for a part: whichever way it goes, even if it forgets the call, an outcome is left.
struct Completion {
    state: Arc<Mutex<State>>,
    is_called: bool,
}

fn failed(bytes: u64, error: &dyn std::fmt::Display) -> String {
    format!("reading back {bytes} bytes failed: {error}")
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Completion {
    fn complete(&mut self, outcome: Result<(), String>) {
        if std::mem::replace(&mut self.is_called, true) {
            return;
        }
        let mut state = lock(&self.state);
        match outcome {
            Ok(()) => {
                state.missing -= 1;
                state.arrived = Some(Instant::now());
            }
            Err(reason) => drop(state.failure.get_or_insert(reason)),
        }
        let waker = if state.is_ready() { state.waker.take() } else { None };
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Drop for Completion {
    fn drop(&mut self) {
        self.complete(Err("its encoder was dropped before it was submitted, or the device was lost".into()));
    }
}

impl<T> Pending<T> {
    /// Records the copy of `range` (bytes) of `source` into `encoder`; what was read is decoded when it is asked for.
    pub(crate) fn record(
        device: &wgpu::Device,
        encoder: &mut wgpu::CommandEncoder,
        source: &impl Source,
        range: Range<u64>,
        decode: impl FnOnce(&[u8]) -> Result<T> + Send + Sync + 'static,
    ) -> Self {
        Self::record_parts(device, encoder, [(source, range)], move |[bytes]| decode(bytes))
    }

    /// The same of several sources at once, as they are at one point of `encoder`; a range may be empty. Where the device has
    /// no room for what is read, nothing is recorded and the result is an error.
    pub(crate) fn record_parts<const N: usize>(
        device: &wgpu::Device,
        encoder: &mut wgpu::CommandEncoder,
        parts: [(&dyn Source, Range<u64>); N],
        decode: impl FnOnce([&[u8]; N]) -> Result<T> + Send + Sync + 'static,
    ) -> Self {
        let decode = move |parts: &[&[u8]]| decode(std::array::from_fn(|part| parts[part]));
        let mut pending = Self { shared: Arc::default(), buffers: Vec::new(), decode: Some(Box::new(decode)) };
        let sizes = parts.each_ref().map(|(_, range)| range.end - range.start);
        let created = guarded(device, || {
            let part = |size: u64| (size > 0).then(|| staging(device, "readback", size));
            Ok((mark(device)?, sizes.iter().map(|&size| part(size)).collect::<Vec<_>>(), staging(device, "arrival", MARK.len() as u64)))
        });
        let (mark, buffers, arrival) = match created {
            Ok(created) => created,
            Err(error) => {
                let error = if let Error::Gpu(reason) = error { reason } else { error.to_string() };
                lock(&pending.shared).failure = Some(failed(sizes.iter().sum(), &error));
                return pending;
            }
        };
        for ((source, range), buffer) in parts.into_iter().zip(&buffers) {
            if let Some(buffer) = buffer {
                source.record_copy(encoder, range, buffer, 0);
            }
        }
        // a buffer of its own, so that a part may be as large as a buffer can be
        mark.record_copy(encoder, 0..MARK.len() as u64, &arrival, 0);
        pending.buffers = buffers.into_iter().chain([Some(arrival)]).collect();
        for buffer in pending.buffers.iter().flatten() {
            lock(&pending.shared).missing += 1;
            let mut completion = Completion { state: pending.shared.clone(), is_called: false };
            let size = buffer.size();
            encoder.map_buffer_on_submit(buffer, wgpu::MapMode::Read, .., move |mapped| {
                completion.complete(mapped.map_err(|error| failed(size, &error)));
            });
        }
        pending
    }

    /// Whether [`Pending::take`] has something to give.
    pub fn is_ready(&self) -> bool {
        self.decode.is_some() && lock(&self.shared).is_ready()
    }

    /// When the device delivered it.
    pub(crate) fn arrived(&self) -> Option<Instant> {
        let state = lock(&self.shared);
        state.arrived.filter(|_| state.is_ready())
    }

    /// The result, once it has arrived; `None` until then, and after it was taken.
    ///
    /// # Errors
    /// (Inside.) [`Error::Gpu`] where the device was lost, refused the submission or had no room for the result, or the
    /// encoder was dropped before it was submitted.
    pub fn take(&mut self) -> Option<Result<T>> {
        let failure = {
            let state = lock(&self.shared);
            if !state.is_ready() {
                return None;
            }
            state.failure.clone()
        };
        let decode = self.decode.take()?;
        Some(match failure {
            None => self.decoded(decode),
            Some(reason) => Err(Error::Gpu(reason)),
        })
    }

    /// The buffers are given back with it.
    fn decoded(&mut self, decode: Decode<T>) -> Result<T> {
        let buffers = std::mem::take(&mut self.buffers);
        let view = |buffer: &Option<wgpu::Buffer>| {
            let Some(buffer) = buffer else { return Ok(None) };
            buffer.slice(..).get_mapped_range().map(Some).map_err(|error| Error::Gpu(failed(buffer.size(), &error)))
        };
        let views: Vec<_> = buffers.iter().map(view).collect::<Result<_>>()?;
        let parts: Vec<&[u8]> = views.iter().map(|view| view.as_deref().unwrap_or_default()).collect();
        let result = match parts.split_last() {
            Some((mark, parts)) if **mark == MARK => decode(parts),
            _ => Err(Error::Gpu("its submission was refused by the device, whose error handler was told why".into())),
        };
        drop(views);
        buffers.iter().flatten().for_each(wgpu::Buffer::unmap);
        result
    }

    /// Waits for the result, driving `device`: for programs that have nothing else to do. What was submitted after it need
    /// not be done.
    ///
    /// # Errors
    /// As [`Pending::take`] gives, and [`Error::Gpu`] where its encoder was not submitted, or where it was taken already.
    pub fn wait_blocking(self, device: &wgpu::Device) -> Result<T> {
        or_lost(device, self.waited(device))
    }

    fn waited(mut self, device: &wgpu::Device) -> Result<T> {
        let start = Instant::now();
        let mut idle_since = None;
        loop {
            let status = device.poll(wgpu::PollType::Poll).map_err(|error| Error::Gpu(error.to_string()))?;
            if let Some(result) = self.take() {
                return result;
            }
            if self.decode.is_none() {
                return Err(Error::Gpu("its result was taken already".into()));
            }
            if status.is_queue_empty() {
                // what a device has done is mapped in the same poll that finds its queue empty, or it never will be: a lost
                // device maps no buffer. Another thread that polls may be about to call back
                let is_late = idle_since.get_or_insert_with(Instant::now).elapsed() > LONGEST_CALLBACK;
                if is_late || !self.is_mapped() {
                    return Err(Error::Gpu("its encoder was not submitted, or the device was lost".into()));
                }
            }
            // at first as short as can be, and never long against what was waited already
            match (start.elapsed() / 8).min(LONGEST_PAUSE) {
                pause if pause < LONGEST_PAUSE / 4 => std::thread::yield_now(),
                pause => std::thread::sleep(pause),
            }
        }
    }

    /// Whether the host could read a part, even if nobody has said so yet.
    fn is_mapped(&self) -> bool {
        self.buffers.iter().flatten().any(|buffer| buffer.slice(..).get_mapped_range().is_ok())
    }
}

/// A buffer that holds [`MARK`].
fn mark(device: &wgpu::Device) -> Result<wgpu::Buffer> {
    let buffer = device.create_buffer(&wgpu::BufferDescriptor {
        label: Some("mark"),
        size: MARK.len() as u64,
        // mappable: such a buffer is written in place, without a submission
        usage: wgpu::BufferUsages::MAP_WRITE | wgpu::BufferUsages::COPY_SRC,
        mapped_at_creation: true,
    });
    buffer.slice(..).get_mapped_range_mut().map_err(|error| Error::Gpu(error.to_string()))?.copy_from_slice(&MARK);
    buffer.unmap();
    Ok(buffer)
}

impl<T> Future for Pending<T> {
    type Output = Result<T>;

    /// # Panics
    /// When polled again after it was ready.
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        lock(&this.shared).waker = Some(context.waker().clone());
        match this.take() {
            Some(result) => Poll::Ready(result),
            None if this.decode.is_none() => panic!("a Pending was polled after its result was taken"),
            None => Poll::Pending,
        }
    }
}

impl<T> std::fmt::Debug for Pending<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pending").field("ready", &self.is_ready()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Gpu;
    use crate::buffer::filled;

    fn numbers(gpu: &Gpu) -> wgpu::Buffer {
        filled(&gpu.device, &gpu.queue, "numbers", wgpu::BufferUsages::COPY_SRC, &[1u32, 2, 3])
    }

    #[test]
    fn what_no_buffer_holds_fails_alone() {
        let gpu = Gpu::open_blocking(None).expect("an adapter");
        let (source, mut encoder) = (numbers(&gpu), gpu.device.create_command_encoder(&Default::default()));
        let most = gpu.device.limits().max_buffer_size;
        let decode = |bytes: &[u8]| Ok(bytes.to_vec());
        let mut absurd = Pending::record(&gpu.device, &mut encoder, &source, 0..most.saturating_add(4), decode);
        let small = Pending::record(&gpu.device, &mut encoder, &source, 4..8, decode);
        assert!(absurd.is_ready());
        let message = absurd.take().expect("it failed at once").expect_err("no device has so much").to_string();
        assert!(message.contains(&most.to_string()), "{message}");
        gpu.queue.submit([encoder.finish()]);
        assert_eq!(small.wait_blocking(&gpu.device).expect("the rest of the encoder holds"), 2u32.to_le_bytes());
        gpu.check().expect("nothing reached the device's handler");
    }

    #[test]
    fn of_parts_some_may_be_empty() {
        let gpu = Gpu::open_blocking(None).expect("an adapter");
        let (source, mut encoder) = (numbers(&gpu), gpu.device.create_command_encoder(&Default::default()));
        let parts: [(&dyn Source, Range<u64>); 3] = [(&source, 8..12), (&source, 4..4), (&source, 0..8)];
        let pending = Pending::record_parts(&gpu.device, &mut encoder, parts, |parts| Ok(parts.map(<[u8]>::len)));
        let nothing = Pending::record_parts(&gpu.device, &mut encoder, [], |[]| Ok(()));
        gpu.queue.submit([encoder.finish()]);
        assert_eq!(pending.wait_blocking(&gpu.device).expect("it arrives"), [4, 0, 8]);
        nothing.wait_blocking(&gpu.device).expect("it arrives, too");
    }
}
