//! Numbers on their way from the device to the host, without anybody waiting.

use crate::buffer::{Source, staging};
use crate::error::{Error, Result};
use std::ops::Range;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// From the bytes that arrive to what they mean.
type Decode<T> = Box<dyn FnOnce(&[u8]) -> Result<T> + Send + Sync>;

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
    buffer: wgpu::Buffer,
    decode: Option<Decode<T>>,
}

#[derive(Default)]
struct State {
    outcome: Option<Result<(), String>>,
    waker: Option<Waker>,
}

/// What the device calls back with: whichever way it goes, even if it forgets the call, an outcome is left.
struct Completion(Arc<Mutex<State>>);

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Completion {
    fn complete(&self, outcome: Result<(), String>) {
        let mut state = lock(&self.0);
        state.outcome.get_or_insert(outcome);
        let waker = state.waker.take();
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
        let size = range.end - range.start;
        let buffer = staging(device, "readback", size);
        source.record_copy(encoder, range, &buffer, 0);
        let shared = Arc::<Mutex<State>>::default();
        let completion = Completion(shared.clone());
        encoder.map_buffer_on_submit(&buffer, wgpu::MapMode::Read, .., move |mapped| {
            completion.complete(mapped.map_err(|error| format!("reading back {size} bytes failed: {error}")));
        });
        Self { shared, buffer, decode: Some(Box::new(decode)) }
    }

    /// Whether [`Pending::take`] has something to give.
    pub fn is_ready(&self) -> bool {
        lock(&self.shared).outcome.is_some()
    }

    /// The result, once it has arrived; `None` until then, and after it was taken.
    ///
    /// # Errors
    /// (Inside.) [`Error::Gpu`] where the device was lost, or the encoder was dropped before it was submitted.
    pub fn take(&mut self) -> Option<Result<T>> {
        let outcome = lock(&self.shared).outcome.clone()?;
        let decode = self.decode.take()?;
        Some(match outcome {
            Ok(()) => self.decoded(decode),
            Err(reason) => Err(Error::Gpu(reason)),
        })
    }

    fn decoded(&self, decode: impl FnOnce(&[u8]) -> Result<T>) -> Result<T> {
        let result = match self.buffer.slice(..).get_mapped_range() {
            Ok(view) => decode(&view),
            Err(error) => Err(Error::Gpu(format!("reading back {} bytes failed: {error}", self.buffer.size()))),
        };
        self.buffer.unmap();
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
