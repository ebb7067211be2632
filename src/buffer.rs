//! Buffers: created, filled, and read back by the host.

use crate::error::{Error, Result};
use crate::fault::{guarded, lost};
use crate::pending::Pending;
use bytemuck::Pod;
use std::ops::Range;

/// The most bytes that one binding of a buffer of floats holds on a device with `limits`.
pub(crate) fn most_bytes(limits: &wgpu::Limits) -> u64 {
    most_bytes_of(limits, 4)
}

/// The same where a number of the kernels', which have 32 bits, counts `element` bytes. Buffers are made of 16 bytes.
pub(crate) fn most_bytes_of(limits: &wgpu::Limits, element: u64) -> u64 {
    let counted = (u64::from(u32::MAX) * element) / 16 * 16;
    limits.max_storage_buffer_binding_size.min(limits.max_buffer_size).min(counted)
}

/// Refuses `bytes` of `what` that are more than the `most` in one `container`.
///
/// # Errors
/// [`Error::Limit`] with `remedy`.
pub(crate) fn check_fits(what: &str, bytes: u64, most: u64, container: &str, remedy: &str) -> Result<()> {
    if bytes <= most {
        return Ok(());
    }
    let mebibytes = |bytes: u64| format!("{bytes} bytes ({:.1} MiB)", bytes as f64 / f64::from(1 << 20));
    Err(Error::Limit {
        what: what.into(),
        needed: mebibytes(bytes),
        offered: format!("{} in one {container}", mebibytes(most)),
        remedy: remedy.into(),
    })
}

/// Creates a zeroed storage buffer, refusing what one binding of this device cannot hold.
pub(crate) fn storage(device: &wgpu::Device, what: &str, bytes: u64, remedy: &str) -> Result<wgpu::Buffer> {
    check_fits(what, bytes, most_bytes(&device.limits()), "binding", remedy)?;
    Ok(zeroed(device, what, bytes))
}

/// Creates a zeroed storage buffer that is known to fit.
pub(crate) fn zeroed(device: &wgpu::Device, what: &str, bytes: u64) -> wgpu::Buffer {
    device.create_buffer(&wgpu::BufferDescriptor {
        label: Some(what),
        size: bytes.max(16).next_multiple_of(16),
        usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::COPY_SRC,
        mapped_at_creation: false,
    })
}

/// A buffer filled with `data`.
pub(crate) fn filled<T: Pod>(
    device: &wgpu::Device,
    queue: &wgpu::Queue,
    label: &str,
    usage: wgpu::BufferUsages,
    data: &[T],
) -> wgpu::Buffer {
    let bytes = bytemuck::cast_slice(data);
    let buffer = device.create_buffer(&wgpu::BufferDescriptor {
        label: Some(label),
        size: bytes.len() as u64,
        usage: usage | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    });
    queue.write_buffer(&buffer, 0, bytes);
    buffer
}

/// A buffer that the host reads.
pub(crate) fn staging(device: &wgpu::Device, label: &str, size: u64) -> wgpu::Buffer {
    let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
    device.create_buffer(&wgpu::BufferDescriptor { label: Some(label), size, usage, mapped_at_creation: false })
}

/// What can be copied to a buffer.
pub(crate) trait Source {
    /// Records a copy of `range` to `to`, from its byte `at` on.
    fn record_copy(&self, encoder: &mut wgpu::CommandEncoder, range: Range<u64>, to: &wgpu::Buffer, at: u64);
}

impl Source for wgpu::Buffer {
    fn record_copy(&self, encoder: &mut wgpu::CommandEncoder, range: Range<u64>, to: &wgpu::Buffer, at: u64) {
        encoder.copy_buffer_to_buffer(self, range.start, to, at, range.end - range.start);
    }
}

/// Copies `range` (bytes) of `source` to the host, waiting for the device.
///
/// # Errors
/// [`Error::Gpu`] where the device is lost, has no room for the copy or refuses it.
pub(crate) fn read_blocking<T: Pod>(device: &wgpu::Device, queue: &wgpu::Queue, source: &impl Source, range: Range<u64>) -> Result<Vec<T>> {
    let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("readback") });
    let pending = Pending::record(device, &mut encoder, source, range, |bytes| Ok(bytemuck::pod_collect_to_vec(bytes)));
    queue.submit([encoder.finish()]);
    pending.wait_blocking(device)
}

/// Waits until the device has done all it was given.
///
/// # Errors
/// [`Error::Gpu`] where it does not.
pub(crate) fn wait_blocking(device: &wgpu::Device) -> Result<()> {
    // a destroyed or lost device polls as if nothing were wrong, but it maps no buffer
    let pulse = guarded(device, || Ok(staging(device, "pulse", 4)))?;
    let (sender, receiver) = std::sync::mpsc::channel();
    guarded(device, || {
        pulse.slice(..).map_async(wgpu::MapMode::Read, move |result| {
            let _ = sender.send(result);
        });
        Ok(())
    })?;
    device.poll(wgpu::PollType::wait_indefinitely()).map_err(|error| Error::Gpu(error.to_string()))?;
    // another thread that polls the same device may be about to call back; a lost device never does
    match receiver.recv_timeout(std::time::Duration::from_secs(10)) {
        Ok(Ok(())) => Ok(()),
        _ => Err(lost()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_binding_has_more_elements_than_32_bits_count() {
        let endless = wgpu::Limits { max_storage_buffer_binding_size: u64::MAX, max_buffer_size: u64::MAX, ..Default::default() };
        for element in [4, 16] {
            let most = most_bytes_of(&endless, element);
            assert!(most / element <= u32::MAX.into() && most.is_multiple_of(16) && most > (element - 1) << 32, "{element}: {most}");
        }
        assert_eq!(most_bytes(&wgpu::Limits::default()), 128 << 20);
    }
}
