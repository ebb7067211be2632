//! What a dispatch is told by a uniform: which operations it executes, and how often. One buffer holds the entries of many
//! dispatches, each of which binds its own by a dynamic offset.

use crate::buffer::filled;
use bytemuck::{Pod, Zeroable};
use std::num::NonZeroU64;

/// Twin of `struct Dispatch` in `shaders/shared/bindings.wgsl`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Pod, Zeroable)]
#[allow(missing_docs)]
pub(crate) struct DispatchEntry {
    pub first: u32,
    pub operations: u32,
    pub learn_first: u32,
    pub learn_operations: u32,
    pub iterations: u32,
    pub simulates: u32,
    pub updates: u32,
    pub reserved: u32,
}

/// Bytes between two entries of a table of dispatches on `device`.
pub(crate) fn dispatch_stride(device: &wgpu::Device) -> u32 {
    device.limits().min_uniform_buffer_offset_alignment.max(size_of::<DispatchEntry>() as u32)
}

/// A uniform buffer of entries, one of which a dispatch binds by its dynamic offset.
pub(crate) fn dispatch_table(device: &wgpu::Device, queue: &wgpu::Queue, entries: &[DispatchEntry]) -> (wgpu::Buffer, u32) {
    let stride = dispatch_stride(device);
    let mut bytes = vec![0u8; stride as usize * entries.len()];
    for (place, entry) in bytes.chunks_mut(stride as usize).zip(entries) {
        place[..size_of::<DispatchEntry>()].copy_from_slice(bytemuck::bytes_of(entry));
    }
    (filled(device, queue, "dispatches", wgpu::BufferUsages::UNIFORM, &bytes), stride)
}

/// The binding of such a buffer.
pub(crate) fn entry_binding(buffer: &wgpu::Buffer) -> wgpu::BindGroupEntry<'_> {
    let size = NonZeroU64::new(size_of::<DispatchEntry>() as u64);
    wgpu::BindGroupEntry { binding: 0, resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding { buffer, offset: 0, size }) }
}
