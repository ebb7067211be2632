//! Numbers on their way from the device to the host, without anybody waiting.

use crate::buffer::{Source, staging};
use crate::error::{Error, Result};
use std::ops::Range;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

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
    /// Of each part; none where it is empty.
    buffers: Vec<Option<wgpu::Buffer>>,
    decode: Option<Decode<T>>,
}

#[derive(Default)]
struct State {
    /// Parts that have not arrived.
    missing: usize,
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
            Ok(()) => state.missing -= 1,
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

    /// The same of several sources at once, as they are at one point of `encoder`; a range may be empty.
    pub(crate) fn record_parts<const N: usize>(
        device: &wgpu::Device,
        encoder: &mut wgpu::CommandEncoder,
        parts: [(&dyn Source, Range<u64>); N],
        decode: impl FnOnce([&[u8]; N]) -> Result<T> + Send + Sync + 'static,
    ) -> Self {
        let shared = Arc::<Mutex<State>>::default();
        let record = |(source, range): (&dyn Source, Range<u64>)| {
            let size = range.end - range.start;
            if size == 0 {
                return None;
            }
            let buffer = staging(device, "readback", size);
            source.record_copy(encoder, range, &buffer, 0);
            lock(&shared).missing += 1;
            let mut completion = Completion { state: shared.clone(), is_called: false };
            encoder.map_buffer_on_submit(&buffer, wgpu::MapMode::Read, .., move |mapped| {
                completion.complete(mapped.map_err(|error| failed(size, &error)));
            });
            Some(buffer)
        };
        let buffers = parts.into_iter().map(record).collect();
        let decode = move |parts: &[&[u8]]| decode(std::array::from_fn(|part| parts[part]));
        Self { shared, buffers, decode: Some(Box::new(decode)) }
    }

    /// Whether [`Pending::take`] has something to give.
    pub fn is_ready(&self) -> bool {
        lock(&self.shared).is_ready()
    }

    /// The result, once it has arrived; `None` until then, and after it was taken.
    ///
    /// # Errors
    /// (Inside.) [`Error::Gpu`] where the device was lost, or the encoder was dropped before it was submitted.
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

    fn decoded(&self, decode: Decode<T>) -> Result<T> {
        let view = |buffer: &Option<wgpu::Buffer>| {
            let Some(buffer) = buffer else { return Ok(None) };
            buffer.slice(..).get_mapped_range().map(Some).map_err(|error| Error::Gpu(failed(buffer.size(), &error)))
        };
        let views: Vec<_> = self.buffers.iter().map(view).collect::<Result<_>>()?;
        let parts: Vec<&[u8]> = views.iter().map(|view| view.as_deref().unwrap_or_default()).collect();
        let result = decode(&parts);
        drop(views);
        self.buffers.iter().flatten().for_each(wgpu::Buffer::unmap);
        result
    }

    /// Waits for the result, driving `device`: for programs that have nothing else to do.
    ///
    /// # Errors
    /// [`Error::Gpu`] where the device fails, or where it was taken already.
    pub fn wait_blocking(mut self, device: &wgpu::Device) -> Result<T> {
        crate::buffer::wait_blocking(device)?;
        self.take().unwrap_or_else(|| Err(Error::Gpu("its encoder was not submitted, or its result was taken already".into())))
    }
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
