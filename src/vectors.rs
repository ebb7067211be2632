//! Memory that kernels address by whole vec4s: a buffer or, for drivers that load a texel faster than four numbers, a
//! texture with a vec4 a texel, row after row.

use crate::buffer::{Source, check_fits, filled, most_bytes_of, zeroed};
use crate::error::Result;
use bytemuck::Pod;
use std::ops::Range;

/// Texels a row of a texture: two to the power of `TEXTURE_ROW` in `shaders/shared/memory_texture.wgsl`.
pub(crate) const ROW: u64 = 1 << 12;

/// Bytes of a vec4.
const VEC4: u64 = 16;

/// What holds the vec4s.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Medium {
    Buffer,
    Texture,
}

impl Medium {
    /// The binding through which kernels read and write floats, or only read words.
    pub fn binding_type(self, content: Content) -> wgpu::BindingType {
        let read_only = content == Content::Words;
        match self {
            Medium::Buffer => wgpu::BindingType::Buffer {
                ty: wgpu::BufferBindingType::Storage { read_only },
                has_dynamic_offset: false,
                min_binding_size: None,
            },
            Medium::Texture => wgpu::BindingType::StorageTexture {
                access: if read_only { wgpu::StorageTextureAccess::ReadOnly } else { wgpu::StorageTextureAccess::ReadWrite },
                format: content.format(),
                view_dimension: wgpu::TextureViewDimension::D2,
            },
        }
    }

    /// The most bytes that one binding holds on a device with `limits`.
    pub fn most_bytes(self, limits: &wgpu::Limits) -> u64 {
        match self {
            Medium::Buffer => most_bytes_of(limits, VEC4),
            Medium::Texture => VEC4 * ROW * u64::from(limits.max_texture_dimension_2d),
        }
    }

    /// Refuses `bytes` of `what` that are more than one binding holds.
    ///
    /// # Errors
    /// [`Error::Limit`](crate::Error::Limit) with `remedy`.
    pub fn check_fits(self, limits: &wgpu::Limits, what: &str, bytes: u64, remedy: &str) -> Result<()> {
        let container = if self == Medium::Buffer { "binding" } else { "texture" };
        check_fits(what, bytes, self.most_bytes(limits), container, remedy)
    }
}

/// What the vec4s are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    /// 32-bit floats, which kernels read and write.
    Floats,
    /// 32 bits of any type, which kernels only read.
    Words,
}

impl Content {
    fn format(self) -> wgpu::TextureFormat {
        match self {
            Content::Floats => wgpu::TextureFormat::Rgba32Float,
            Content::Words => wgpu::TextureFormat::Rgba32Uint,
        }
    }
}

/// vec4s on a device. Ranges and places are in bytes, of whole vec4s.
#[derive(Debug, Clone)]
pub(crate) enum Vectors {
    Buffer(wgpu::Buffer),
    Texture { texture: wgpu::Texture, view: wgpu::TextureView },
}

impl Source for Vectors {
    fn record_copy(&self, encoder: &mut wgpu::CommandEncoder, range: Range<u64>, to: &wgpu::Buffer, at: u64) {
        match self {
            Vectors::Buffer(buffer) => buffer.record_copy(encoder, range, to, at),
            Vectors::Texture { texture, .. } => {
                for Rectangle { origin, size, first } in rectangles(range) {
                    let to = wgpu::TexelCopyBufferInfo { buffer: to, layout: layout(at + first) };
                    encoder.copy_texture_to_buffer(place(texture, origin), to, size);
                }
            }
        }
    }
}

impl Vectors {
    /// `bytes` of floats, all zero, refusing what one binding of this device cannot hold.
    ///
    /// # Errors
    /// [`Error::Limit`](crate::Error::Limit) with `remedy`.
    pub fn new(device: &wgpu::Device, medium: Medium, what: &str, bytes: u64, remedy: &str) -> Result<Self> {
        medium.check_fits(&device.limits(), what, bytes, remedy)?;
        match medium {
            Medium::Buffer => Ok(Self::Buffer(zeroed(device, what, bytes))),
            Medium::Texture => Self::texture(device, Content::Floats, what, bytes, remedy),
        }
    }

    fn texture(device: &wgpu::Device, content: Content, what: &str, bytes: u64, remedy: &str) -> Result<Self> {
        Medium::Texture.check_fits(&device.limits(), what, bytes, remedy)?;
        let texture = device.create_texture(&wgpu::TextureDescriptor {
            label: Some(what),
            // refused above where the number of rows would not fit
            size: wgpu::Extent3d { width: ROW as u32, height: bytes.div_ceil(VEC4 * ROW).max(1) as u32, depth_or_array_layers: 1 },
            mip_level_count: 1,
            sample_count: 1,
            dimension: wgpu::TextureDimension::D2,
            format: content.format(),
            usage: wgpu::TextureUsages::STORAGE_BINDING | wgpu::TextureUsages::COPY_DST | wgpu::TextureUsages::COPY_SRC,
            view_formats: &[],
        });
        let view = texture.create_view(&wgpu::TextureViewDescriptor::default());
        Ok(Self::Texture { texture, view })
    }

    /// Holding `data`.
    ///
    /// # Errors
    /// As [`Vectors::new`].
    pub fn filled<T: Pod>(
        device: &wgpu::Device,
        queue: &wgpu::Queue,
        (medium, content): (Medium, Content),
        what: &str,
        data: &[T],
        remedy: &str,
    ) -> Result<Self> {
        medium.check_fits(&device.limits(), what, size_of_val(data) as u64, remedy)?;
        if medium == Medium::Buffer {
            let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC;
            return Ok(Self::Buffer(filled(device, queue, what, usage, data)));
        }
        let vectors = Self::texture(device, content, what, size_of_val(data) as u64, remedy)?;
        vectors.write(queue, 0, data);
        Ok(vectors)
    }

    pub fn binding(&self) -> wgpu::BindingResource<'_> {
        match self {
            Vectors::Buffer(buffer) => buffer.as_entire_binding(),
            Vectors::Texture { view, .. } => wgpu::BindingResource::TextureView(view),
        }
    }

    /// Writes `data` from byte `start` on, before what is submitted next.
    pub fn write<T: Pod>(&self, queue: &wgpu::Queue, start: u64, data: &[T]) {
        let bytes: &[u8] = bytemuck::cast_slice(data);
        match self {
            Vectors::Buffer(buffer) => queue.write_buffer(buffer, start, bytes),
            Vectors::Texture { texture, .. } => {
                for Rectangle { origin, size, first } in rectangles(start..start + bytes.len() as u64) {
                    queue.write_texture(place(texture, origin), bytes, layout(first), size);
                }
            }
        }
    }

    /// Sets all to zero, in or before what is recorded into `encoder`.
    pub fn clear(&self, queue: &wgpu::Queue, encoder: &mut wgpu::CommandEncoder) {
        match self {
            Vectors::Buffer(buffer) => encoder.clear_buffer(buffer, 0, None),
            Vectors::Texture { texture, .. } => {
                let row = vec![0.0f32; 4 * ROW as usize];
                (0..u64::from(texture.height())).for_each(|y| self.write(queue, y * VEC4 * ROW, &row));
            }
        }
    }
}

/// Texels of a texture, and the bytes of its range before them.
#[derive(Debug, PartialEq)]
struct Rectangle {
    origin: wgpu::Origin3d,
    size: wgpu::Extent3d,
    first: u64,
}

/// The rectangles that make up `range`: the rest of a row, whole rows, the start of a row.
fn rectangles(range: Range<u64>) -> Vec<Rectangle> {
    debug_assert!(range.start.is_multiple_of(VEC4) && range.end.is_multiple_of(VEC4), "{range:?}");
    let (start, end) = (range.start / VEC4, range.end / VEC4);
    let mut rectangles = Vec::new();
    let mut at = start;
    while at < end {
        let (x, y) = (at % ROW, at / ROW);
        let (width, height) = if x == 0 && end - at >= ROW { (ROW, (end - at) / ROW) } else { ((ROW - x).min(end - at), 1) };
        rectangles.push(Rectangle {
            origin: wgpu::Origin3d { x: x as u32, y: y as u32, z: 0 },
            size: wgpu::Extent3d { width: width as u32, height: height as u32, depth_or_array_layers: 1 },
            first: VEC4 * (at - start),
        });
        at += width * height;
    }
    rectangles
}

fn place(texture: &wgpu::Texture, origin: wgpu::Origin3d) -> wgpu::TexelCopyTextureInfo<'_> {
    wgpu::TexelCopyTextureInfo { texture, mip_level: 0, origin, aspect: wgpu::TextureAspect::All }
}

/// Of a rectangle's bytes, where they are in line.
fn layout(offset: u64) -> wgpu::TexelCopyBufferLayout {
    wgpu::TexelCopyBufferLayout { offset, bytes_per_row: Some((VEC4 * ROW) as u32), rows_per_image: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::read_blocking;
    use crate::error::Error;
    use crate::kernels::harness::{all_limits, default_limits};

    #[test]
    fn a_range_is_at_most_three_rectangles() {
        let of = |first: u64, last: u64| {
            let rectangles = rectangles(VEC4 * first..VEC4 * last);
            rectangles.iter().map(|r| (r.origin.x, r.origin.y, r.size.width, r.size.height, r.first / VEC4)).collect::<Vec<_>>()
        };
        assert_eq!(of(5, 5), []);
        assert_eq!(of(5, 7), [(5, 0, 2, 1, 0)]);
        assert_eq!(of(0, ROW), [(0, 0, 4096, 1, 0)]);
        assert_eq!(of(ROW - 1, ROW + 1), [(4095, 0, 1, 1, 0), (0, 1, 1, 1, 1)]);
        assert_eq!(of(2 * ROW - 3, 5 * ROW + 2), [(4093, 1, 3, 1, 0), (0, 2, 4096, 3, 3), (0, 5, 2, 1, 3 + 3 * ROW)]);
    }

    #[test]
    fn what_is_written_is_read_back_and_cleared() {
        let trials = [(default_limits(), Medium::Buffer), (all_limits(), Medium::Texture)];
        // a texture that is only copied needs no feature; one that kernels write is tested with them
        for (gpu, medium) in trials.into_iter().filter(|(gpu, medium)| *medium == Medium::Buffer || can_be_bound(&gpu.device)) {
            let (device, queue) = (&gpu.device, &gpu.queue);
            let length = 3 * ROW + 100;
            let vectors = Vectors::new(device, medium, "test", VEC4 * length, "").expect("it is small");
            let (first, count) = (ROW - 7, ROW + 50);
            let data: Vec<f32> = (0..4 * count).map(|i| i as f32 + 0.5).collect();
            vectors.write(queue, VEC4 * first, &data);
            let all: Vec<f32> = read_blocking(device, queue, &vectors, 0..VEC4 * length).expect("it can be read");
            let held = 4 * first as usize..4 * (first + count) as usize;
            assert_eq!(all[held.clone()], data, "{medium:?}");
            let outside = all[..held.start].iter().chain(&all[held.end..]);
            assert!(outside.into_iter().all(|&x| x == 0.0), "{medium:?}: written outside the range");
            let part: Vec<f32> = read_blocking(device, queue, &vectors, VEC4 * (first + 3)..VEC4 * (first + 20)).expect("it can be read");
            assert_eq!(part, data[12..80], "{medium:?}");
            let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
            vectors.clear(queue, &mut encoder);
            queue.submit([encoder.finish()]);
            let all: Vec<f32> = read_blocking(device, queue, &vectors, 0..VEC4 * length).expect("it can be read");
            assert!(all.iter().all(|&x| x == 0.0), "{medium:?}");
            gpu.check().unwrap_or_else(|error| panic!("{medium:?}: {error}"));
        }
    }

    fn can_be_bound(device: &wgpu::Device) -> bool {
        device.features().contains(wgpu::Features::TEXTURE_ADAPTER_SPECIFIC_FORMAT_FEATURES)
    }

    #[test]
    fn what_no_texture_holds_is_refused() {
        let device = &all_limits().device;
        let most = Medium::Texture.most_bytes(&device.limits());
        let refused = Vectors::new(device, Medium::Texture, "everything", most + 1, "use less");
        assert!(matches!(&refused, Err(Error::Limit { what, remedy, .. }) if what == "everything" && remedy == "use less"), "{refused:?}");
    }
}
