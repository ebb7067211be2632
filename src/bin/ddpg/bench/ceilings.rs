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

/// A kernel over some buffers.
struct Kernel {
    pipeline: wgpu::ComputePipeline,
    bind_group: wgpu::BindGroup,
    workgroups: (u32, u32),
}

impl Kernel {
    fn new(
        gpu: &Gpu,
        entry_point: &str,
        source: &str,
        constants: &[(&str, f64)],
        buffers: &[&wgpu::Buffer],
        workgroups: (u32, u32),
    ) -> Self {
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
            (0..).zip(buffers).map(|(binding, buffer)| wgpu::BindGroupEntry { binding, resource: buffer.as_entire_binding() }).collect();
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

fn buffer(gpu: &Gpu, label: &str, bytes: u64) -> wgpu::Buffer {
    let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::COPY_SRC;
    gpu.device.create_buffer(&wgpu::BufferDescriptor { label: Some(label), size: bytes, usage, mapped_at_creation: false })
}

/// Copies a buffer of `bytes`, a multiple of 4096, to another.
fn copy(gpu: &Gpu, source: &wgpu::Buffer, destination: &wgpu::Buffer) -> Kernel {
    let workgroups = (source.size() / 4096) as u32;
    let most = 32_768;
    let workgroups = (workgroups.min(most), workgroups.div_ceil(most));
    Kernel::new(gpu, "copy", include_str!("../../../../shaders/bench/copy.wgsl"), &[], &[source, destination], workgroups)
}

/// A way to multiply: its name, its shader, and rows and columns of a workgroup.
type Product = (&'static str, &'static str, (u32, u32));

/// Those that `gpu` can run.
fn products(gpu: &Gpu) -> impl Iterator<Item = Product> {
    let subgroups = Tile::Subgroup.runs_on(&gpu.device);
    PRODUCTS.into_iter().filter(move |(name, ..)| subgroups || *name != BY_BROADCAST)
}

const BY_BROADCAST: &str = "by subgroup broadcasts";

const PRODUCTS: [Product; 3] = [
    (BY_BROADCAST, include_str!("../../../../shaders/bench/product_subgroup.wgsl"), (32, 64)),
    ("through workgroup memory", include_str!("../../../../shaders/bench/product_workgroup.wgsl"), (128, 128)),
    ("through registers", include_str!("../../../../shaders/bench/product_registers.wgsl"), (8, 64)),
];

/// left transposed times right, all `[size, size]`, `size` a multiple of 128.
fn multiply(gpu: &Gpu, product: Product, size: u32, matrices: [&wgpu::Buffer; 3]) -> Kernel {
    let (_, source, (rows, columns)) = product;
    Kernel::new(gpu, "multiply", source, &[("SIZE", size.into())], &matrices, (size / columns, size / rows))
}

pub fn measure(bench: &Bench) -> Result<Option<Ceilings>> {
    let gpu = &bench.gpu;
    let stopwatch = Stopwatch::new(&gpu.device, &gpu.queue);
    // far more than the caches hold, where the device allows it
    let limits = gpu.device.limits();
    let most = limits.max_storage_buffer_binding_size.min(limits.max_buffer_size);
    let copied = (if bench.is_software() { 64 << 20 } else { 1 << 30 }).min(most / 4096 * 4096);
    let (source, destination) = (buffer(gpu, "source", copied), buffer(gpu, "destination", copied));
    let seconds = copy(gpu, &source, &destination).seconds(&stopwatch, bench.pace.repetitions)?;
    let bytes = spread(&seconds, 2.0 * copied as f64)?;
    drop((source, destination));

    let size = if bench.is_software() { 256 } else { 4096 };
    let matrices = ["left", "right", "product"].map(|label| buffer(gpu, label, 4 * u64::from(size) * u64::from(size)));
    let mut best: Option<(Spread, &'static str)> = None;
    for product in products(gpu) {
        let kernel = multiply(gpu, product, size, [&matrices[0], &matrices[1], &matrices[2]]);
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

    fn write(gpu: &Gpu, buffer: &wgpu::Buffer, floats: &[f32]) {
        gpu.queue.write_buffer(buffer, 0, &floats.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<_>>());
    }

    fn read(gpu: &Gpu, buffer: &wgpu::Buffer) -> Vec<f32> {
        let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        let staging =
            gpu.device.create_buffer(&wgpu::BufferDescriptor { label: None, size: buffer.size(), usage, mapped_at_creation: false });
        let mut encoder = gpu.device.create_command_encoder(&Default::default());
        encoder.copy_buffer_to_buffer(buffer, 0, &staging, 0, buffer.size());
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
        let floats = numbers(3 * 1024, 1);
        let (source, destination) = (buffer(&gpu, "source", 4 * 3 * 1024), buffer(&gpu, "destination", 4 * 3 * 1024));
        write(&gpu, &source, &floats);
        run(&gpu, &copy(&gpu, &source, &destination));
        assert_eq!(read(&gpu, &destination), floats);
    }

    #[test]
    fn the_products_are_products() {
        let gpu = open();
        const SIZE: usize = 256;
        let (left, right) = (numbers(SIZE * SIZE, 2), numbers(SIZE * SIZE, 3));
        let [l, r] = [&left, &right].map(|floats| {
            let matrix = buffer(&gpu, "matrix", 4 * (SIZE * SIZE) as u64);
            write(&gpu, &matrix, floats);
            matrix
        });
        for product in products(&gpu) {
            let result = buffer(&gpu, "product", 4 * (SIZE * SIZE) as u64);
            run(&gpu, &multiply(&gpu, product, SIZE as u32, [&l, &r, &result]));
            let result = read(&gpu, &result);
            for (i, j) in (0..SIZE).flat_map(|i| (0..SIZE).map(move |j| (i, j))) {
                let expected: f64 = (0..SIZE).map(|k| f64::from(left[k * SIZE + i]) * f64::from(right[k * SIZE + j])).sum();
                let off = (f64::from(result[i * SIZE + j]) - expected).abs();
                assert!(off < 1e-4, "{}, row {i}, column {j}: {} for {expected}", product.0, result[i * SIZE + j]);
            }
        }
    }
}
