//! What the adapter can do at most: a copy and a matrix product, as plain as they are fast.

use super::Bench;
use super::sample::Spread;
use anyhow::{Context, Result};
use ddpg_wgpu::{Clock, Gpu, Stopwatch, Tile, wgpu};
use serde_json::{Value, json};

/// Memory and arithmetic of the adapter, as measured.
#[derive(Debug, Clone)]
pub struct Ceilings {
    /// Bytes read and written a second, by a copy.
    pub bytes: Spread,
    /// Bytes of the copy's source.
    pub copied: u64,
    /// Multiplications and additions a second, by the faster of the products.
    pub flops: Spread,
    /// Rows and columns of the product, and which it was.
    pub product: (u32, &'static str),
    pub clock: Clock,
}

impl Ceilings {
    pub fn json(&self) -> Value {
        let spread = |spread: Spread| json!({ "median": 1e-9 * spread.median, "min": 1e-9 * spread.min, "max": 1e-9 * spread.max });
        json!({
            "gigabytes_per_second": spread(self.bytes),
            "copied_bytes": self.copied,
            "gigaflops_per_second": spread(self.flops),
            "product_size": self.product.0,
            "product": self.product.1,
            "clock": self.clock,
        })
    }
}

/// Rows of vec4s, in a buffer or, where the training kernels have theirs so, in a texture.
enum Memory {
    Buffer(wgpu::Buffer),
    Texture(wgpu::TextureView),
}

impl Memory {
    /// `rows` of `columns` vec4s, zero.
    fn new(gpu: &Gpu, label: &str, rows: u32, columns: u32, in_texture: bool) -> Self {
        if !in_texture {
            return Self::Buffer(gpu.device.create_buffer(&wgpu::BufferDescriptor {
                label: Some(label),
                size: 16 * u64::from(rows) * u64::from(columns),
                usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::COPY_SRC,
                mapped_at_creation: false,
            }));
        }
        let texture = gpu.device.create_texture(&wgpu::TextureDescriptor {
            label: Some(label),
            size: wgpu::Extent3d { width: columns, height: rows, depth_or_array_layers: 1 },
            mip_level_count: 1,
            sample_count: 1,
            dimension: wgpu::TextureDimension::D2,
            format: wgpu::TextureFormat::Rgba32Float,
            usage: wgpu::TextureUsages::STORAGE_BINDING | wgpu::TextureUsages::COPY_DST | wgpu::TextureUsages::COPY_SRC,
            view_formats: &[],
        });
        Self::Texture(texture.create_view(&wgpu::TextureViewDescriptor::default()))
    }

    fn binding(&self) -> wgpu::BindingResource<'_> {
        match self {
            Memory::Buffer(buffer) => buffer.as_entire_binding(),
            Memory::Texture(view) => wgpu::BindingResource::TextureView(view),
        }
    }
}

/// A kernel over some memory.
struct Kernel {
    pipeline: wgpu::ComputePipeline,
    bind_group: wgpu::BindGroup,
    workgroups: (u32, u32),
}

impl Kernel {
    fn new(gpu: &Gpu, entry_point: &str, source: &str, constants: &[(&str, f64)], memory: &[&Memory], workgroups: (u32, u32)) -> Self {
        let module = gpu.device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: Some(entry_point),
            source: wgpu::ShaderSource::Wgsl(source.into()),
        });
        let pipeline = gpu.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(entry_point),
            layout: None,
            module: &module,
            entry_point: Some(entry_point),
            compilation_options: wgpu::PipelineCompilationOptions { constants, zero_initialize_workgroup_memory: false },
            cache: None,
        });
        let entries: Vec<_> =
            (0..).zip(memory).map(|(binding, memory)| wgpu::BindGroupEntry { binding, resource: memory.binding() }).collect();
        let layout = pipeline.get_bind_group_layout(0);
        let bind_group =
            gpu.device.create_bind_group(&wgpu::BindGroupDescriptor { label: Some(entry_point), layout: &layout, entries: &entries });
        Self { pipeline, bind_group, workgroups }
    }

    fn record(&self, pass: &mut wgpu::ComputePass<'_>, times: u32) {
        pass.set_pipeline(&self.pipeline);
        pass.set_bind_group(0, &self.bind_group, &[]);
        for _ in 0..times {
            pass.dispatch_workgroups(self.workgroups.0, self.workgroups.1, 1);
        }
    }

    /// Seconds a run, in each of `repetitions` passes of about 50 ms.
    fn seconds(&self, stopwatch: &Stopwatch, repetitions: u32) -> Result<Vec<f64>> {
        // the first has the driver's compilation in it
        stopwatch.time_blocking(|pass| self.record(pass, 1))?;
        let once = stopwatch.time_blocking(|pass| self.record(pass, 1))?;
        let times = (0.05 / once.max(1e-6)).clamp(1.0, 10_000.0) as u32;
        stopwatch.time_blocking(|pass| self.record(pass, times))?;
        (0..repetitions).map(|_| Ok(stopwatch.time_blocking(|pass| self.record(pass, times))? / f64::from(times))).collect()
    }
}

/// vec4s a row of what is copied.
const COPIED_COLUMNS: u32 = 1024;

/// Copies `rows` of vec4s.
fn copy(gpu: &Gpu, rows: u32, in_texture: bool) -> (Kernel, [Memory; 2]) {
    let memory = ["source", "destination"].map(|label| Memory::new(gpu, label, rows, COPIED_COLUMNS, in_texture));
    let bound = [&memory[0], &memory[1]];
    let kernel = if in_texture {
        let source = include_str!("../../../../shaders/bench/copy_texture.wgsl");
        Kernel::new(gpu, "copy", source, &[], &bound, (COPIED_COLUMNS / 32, rows))
    } else {
        let workgroups = rows * COPIED_COLUMNS / 256;
        let most = 32_768;
        let workgroups = (workgroups.min(most), workgroups.div_ceil(most));
        Kernel::new(gpu, "copy", include_str!("../../../../shaders/bench/copy.wgsl"), &[], &bound, workgroups)
    };
    (kernel, memory)
}

/// A way to multiply: its name, its shader, and rows and columns of a workgroup.
type Product = (&'static str, &'static str, (u32, u32));

/// The product as what trains best on `gpu` loads it from textures; nothing where that loads from buffers.
fn product_from_textures(gpu: &Gpu) -> Option<Product> {
    const SUBGROUP: &str = concat!(
        include_str!("../../../../shaders/bench/product_shared.wgsl"),
        include_str!("../../../../shaders/bench/product_subgroup.wgsl")
    );
    const TEXTURE: &str = concat!(
        include_str!("../../../../shaders/bench/product_shared.wgsl"),
        include_str!("../../../../shaders/bench/product_texture.wgsl")
    );
    match Tile::best(&gpu.device) {
        Tile::Subgroup => Some((FROM_TEXTURES, SUBGROUP, (16, 64))),
        Tile::Texture => Some((FROM_TEXTURES, TEXTURE, (16, 64))),
        _ => None,
    }
}

/// Those for `gpu`.
fn products(gpu: &Gpu) -> impl Iterator<Item = Product> {
    product_from_textures(gpu).into_iter().chain(FROM_BUFFERS)
}

const FROM_TEXTURES: &str = "from textures";

const FROM_BUFFERS: [Product; 2] = [
    ("through workgroup memory", include_str!("../../../../shaders/bench/product_workgroup.wgsl"), (128, 128)),
    ("through registers", include_str!("../../../../shaders/bench/product_registers.wgsl"), (8, 64)),
];

/// left transposed times right, all `[size, size]`, `size` a multiple of 128.
fn multiply(gpu: &Gpu, product: Product, size: u32) -> (Kernel, [Memory; 3]) {
    let (name, source, (rows, columns)) = product;
    let memory = ["left", "right", "product"].map(|label| Memory::new(gpu, label, size, size / 4, name == FROM_TEXTURES));
    let bound = [&memory[0], &memory[1], &memory[2]];
    let kernel = Kernel::new(gpu, "multiply", source, &[("SIZE", size.into())], &bound, (size / columns, size / rows));
    (kernel, memory)
}

pub fn measure(bench: &Bench) -> Result<Option<Ceilings>> {
    let gpu = &bench.gpu;
    let stopwatch = Stopwatch::new(&gpu.device, &gpu.queue);
    // far more than the caches hold, where the device allows it
    let limits = gpu.device.limits();
    let most = limits.max_storage_buffer_binding_size.min(limits.max_buffer_size);
    let row = 16 * u64::from(COPIED_COLUMNS);
    let rows = (if bench.is_software() { 64 << 20 } else { 1 << 30 }).min(most) / row;
    let seconds = copy(gpu, rows as u32, product_from_textures(gpu).is_some()).0.seconds(&stopwatch, bench.pace.repetitions)?;
    let copied = rows * row;
    let bytes = spread(&seconds, 2.0 * copied as f64)?;

    let size = if bench.is_software() { 256 } else { 4096 };
    let mut best: Option<(Spread, &'static str)> = None;
    for product in products(gpu) {
        let (kernel, _) = multiply(gpu, product, size);
        let flops = spread(&kernel.seconds(&stopwatch, bench.pace.repetitions)?, 2.0 * f64::from(size).powi(3))?;
        if best.is_none_or(|(before, _)| flops.median > before.median) {
            best = Some((flops, product.0));
        }
    }
    gpu.check()?;
    Ok(best.map(|(flops, name)| Ceilings { bytes, copied, flops, product: (size, name), clock: stopwatch.clock() }))
}

/// Of `amount` in each of these times.
fn spread(seconds: &[f64], amount: f64) -> Result<Spread> {
    let rates: Vec<f64> = seconds.iter().map(|seconds| amount / seconds.max(1e-9)).collect();
    Spread::of(&rates).context("no repetition")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open() -> Gpu {
        Gpu::open_blocking(None).unwrap_or_else(|error| panic!("{error}"))
    }

    fn numbers(count: usize, seed: u32) -> Vec<f32> {
        (0..count).map(|i| ddpg_wgpu::philox([i as u32, 0, 0, 0], [seed, 0])[0] as f32 / u32::MAX as f32 - 0.5).collect()
    }

    fn write(gpu: &Gpu, memory: &Memory, floats: &[f32]) {
        let bytes: Vec<u8> = floats.iter().flat_map(|x| x.to_le_bytes()).collect();
        match memory {
            Memory::Buffer(buffer) => gpu.queue.write_buffer(buffer, 0, &bytes),
            Memory::Texture(view) => {
                let texture = view.texture();
                gpu.queue.write_texture(texture.as_image_copy(), &bytes, layout(texture), texture.size());
            }
        }
    }

    fn layout(texture: &wgpu::Texture) -> wgpu::TexelCopyBufferLayout {
        wgpu::TexelCopyBufferLayout { offset: 0, bytes_per_row: Some(16 * texture.width()), rows_per_image: None }
    }

    fn read(gpu: &Gpu, memory: &Memory) -> Vec<f32> {
        let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        let size = match memory {
            Memory::Buffer(buffer) => buffer.size(),
            Memory::Texture(view) => 16 * u64::from(view.texture().width()) * u64::from(view.texture().height()),
        };
        let staging = gpu.device.create_buffer(&wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false });
        let mut encoder = gpu.device.create_command_encoder(&Default::default());
        match memory {
            Memory::Buffer(buffer) => encoder.copy_buffer_to_buffer(buffer, 0, &staging, 0, size),
            Memory::Texture(view) => {
                let texture = view.texture();
                let to = wgpu::TexelCopyBufferInfo { buffer: &staging, layout: layout(texture) };
                encoder.copy_texture_to_buffer(texture.as_image_copy(), to, texture.size());
            }
        }
        gpu.queue.submit([encoder.finish()]);
        staging.slice(..).map_async(wgpu::MapMode::Read, |result| result.expect("readable"));
        gpu.device.poll(wgpu::PollType::wait_indefinitely()).expect("the device works");
        let view = staging.slice(..).get_mapped_range().expect("mapped");
        view.chunks(4).map(|bytes| f32::from_le_bytes(bytes.try_into().expect("four bytes"))).collect()
    }

    fn run(gpu: &Gpu, kernel: &Kernel) {
        let seconds = Stopwatch::new(&gpu.device, &gpu.queue).time_blocking(|pass| kernel.record(pass, 1)).expect("it runs");
        assert!(seconds > 0.0);
        gpu.check().unwrap_or_else(|error| panic!("{error}"));
    }

    #[test]
    fn the_copy_copies_everything() {
        let gpu = open();
        const ROWS: u32 = 3;
        let floats = numbers((4 * ROWS * COPIED_COLUMNS) as usize, 1);
        for in_texture in [false, true].into_iter().filter(|in_texture| !in_texture || product_from_textures(&gpu).is_some()) {
            let (kernel, [source, destination]) = copy(&gpu, ROWS, in_texture);
            write(&gpu, &source, &floats);
            run(&gpu, &kernel);
            assert_eq!(read(&gpu, &destination), floats);
        }
    }

    #[test]
    fn the_products_are_products() {
        let gpu = open();
        const SIZE: usize = 256;
        let (left, right) = (numbers(SIZE * SIZE, 2), numbers(SIZE * SIZE, 3));
        for product in products(&gpu) {
            let (kernel, memory) = multiply(&gpu, product, SIZE as u32);
            write(&gpu, &memory[0], &left);
            write(&gpu, &memory[1], &right);
            run(&gpu, &kernel);
            let result = read(&gpu, &memory[2]);
            for (i, j) in (0..SIZE).flat_map(|i| (0..SIZE).map(move |j| (i, j))) {
                let expected: f64 = (0..SIZE).map(|k| f64::from(left[k * SIZE + i]) * f64::from(right[k * SIZE + j])).sum();
                let off = (f64::from(result[i * SIZE + j]) - expected).abs();
                assert!(off < 1e-4, "{}, row {i}, column {j}: {} for {expected}", product.0, result[i * SIZE + j]);
            }
        }
    }
}
