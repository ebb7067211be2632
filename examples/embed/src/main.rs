//! The scene in a window, or drawn to a texture that nobody sees.
//!
//! ```sh
//! cargo run --release -p embed                                    # a window
//! cargo run --release -p embed -- --offscreen --frames 600 --dump frame.png
//! ```
//!
//! `--budget MS` is the GPU time a frame for training, `--frames N` ends after so many. For the first fifth of `--frames`
//! nothing is trained, so that the frame times printed at the end compare.

use ddpg_wgpu::wgpu;
use ddpg_wgpu::{Error, Result};
use embed::Scene;
use std::sync::Arc;
use std::time::{Duration, Instant};
use winit::application::ApplicationHandler;
use winit::event::WindowEvent;
use winit::event_loop::{ActiveEventLoop, ControlFlow, EventLoop};
use winit::window::{Window, WindowId};

const SIZE: [u32; 2] = [1200, 640];

struct Options {
    offscreen: bool,
    frames: Option<u64>,
    dump: Option<String>,
    budget: Duration,
}

impl Options {
    fn parse() -> Self {
        let mut options = Options { offscreen: false, frames: None, dump: None, budget: Duration::from_millis(6) };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().unwrap_or_else(|| usage());
            match argument.as_str() {
                "--offscreen" => options.offscreen = true,
                "--frames" => options.frames = Some(value().parse().unwrap_or_else(|_| usage())),
                "--budget" => options.budget = Duration::from_secs_f64(value().parse::<f64>().unwrap_or_else(|_| usage()) / 1e3),
                "--dump" => options.dump = Some(value()),
                _ => usage(),
            }
        }
        options
    }
}

fn usage() -> ! {
    eprintln!("usage: embed [--offscreen] [--frames N] [--dump FILE.png] [--budget MILLISECONDS]");
    std::process::exit(2);
}

/// What the application has anyway: a device, a queue, a picture.
struct Screen {
    device: wgpu::Device,
    queue: wgpu::Queue,
    surface: Option<(wgpu::Surface<'static>, wgpu::SurfaceConfiguration)>,
    /// Drawn to without a window, and for a dump.
    texture: wgpu::Texture,
}

impl Screen {
    fn new(window: Option<Arc<Window>>) -> Result<Self> {
        let failed = |error: &dyn std::fmt::Display| Error::Adapter(error.to_string());
        let instance = match &window {
            Some(window) => wgpu::Instance::new(wgpu::InstanceDescriptor::new_with_display_handle(Box::new(window.clone()))),
            None => wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle()),
        };
        let surface = window.clone().map(|window| instance.create_surface(window)).transpose().map_err(|error| failed(&error))?;
        let request = wgpu::RequestAdapterOptions { compatible_surface: surface.as_ref(), ..Default::default() };
        let adapter = pollster::block_on(instance.request_adapter(&request)).map_err(|error| failed(&error))?;
        let descriptor = Scene::device_descriptor(&adapter)?;
        let (device, queue) = pollster::block_on(adapter.request_device(&descriptor)).map_err(|error| failed(&error))?;
        let size = window.map_or(SIZE, |window| window.inner_size().into());
        let surface = surface.map(|surface| {
            let configuration = surface.get_default_config(&adapter, size[0].max(1), size[1].max(1));
            let configuration = configuration.expect("the adapter was chosen for this surface");
            surface.configure(&device, &configuration);
            (surface, configuration)
        });
        let format = surface.as_ref().map_or(wgpu::TextureFormat::Rgba8UnormSrgb, |(_, configuration)| configuration.format);
        let texture = device.create_texture(&wgpu::TextureDescriptor {
            label: Some("picture"),
            size: wgpu::Extent3d { width: SIZE[0], height: SIZE[1], depth_or_array_layers: 1 },
            mip_level_count: 1,
            sample_count: 1,
            dimension: wgpu::TextureDimension::D2,
            format,
            usage: wgpu::TextureUsages::RENDER_ATTACHMENT | wgpu::TextureUsages::COPY_SRC,
            view_formats: &[],
        });
        Ok(Self { device, queue, surface, texture })
    }
}

struct App {
    options: Options,
    screen: Screen,
    scene: Scene,
    frame: u64,
    last: Option<Instant>,
    /// Seconds a frame, without training and with it.
    times: [Vec<f64>; 2],
    /// Seconds of GPU time that frames spent on training, of those that were measured.
    spent: Vec<f64>,
}

impl App {
    fn new(options: Options, window: Option<Arc<Window>>) -> Result<Self> {
        let screen = Screen::new(window)?;
        let scene = Scene::new(&screen.device, &screen.queue, screen.texture.format(), options.budget)?;
        Ok(Self { options, screen, scene, frame: 0, last: None, times: Default::default(), spent: Vec::new() })
    }

    fn trains(&self) -> bool {
        self.options.frames.is_none_or(|frames| self.frame >= frames / 5)
    }

    fn draw(&mut self) -> Result<()> {
        let now = Instant::now();
        // pipelines warm up in the first frames
        if let (Some(last), true) = (self.last.replace(now), self.frame > 5) {
            self.times[usize::from(self.trains())].push((now - last).as_secs_f64());
        }
        let acquired = self.screen.surface.as_ref().and_then(|(surface, configuration)| match surface.get_current_texture() {
            wgpu::CurrentSurfaceTexture::Success(texture) | wgpu::CurrentSurfaceTexture::Suboptimal(texture) => Some(texture),
            _ => {
                surface.configure(&self.screen.device, configuration);
                None
            }
        });
        let target = acquired.as_ref().map_or(&self.screen.texture, |acquired| &acquired.texture);
        let measured = self.scene.pacer.measured();
        self.scene.frame(target, self.trains())?;
        if let (Some(spent), true) = (self.scene.pacer.last(), self.scene.pacer.measured() > measured) {
            self.spent.push(spent.as_secs_f64());
        }
        match acquired {
            Some(acquired) => self.scene.present(acquired),
            // the pace of an application without a display
            None => drop(self.screen.device.poll(wgpu::PollType::wait_indefinitely())),
        }
        self.frame += 1;
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.options.frames.is_some_and(|frames| self.frame >= frames)
    }

    fn finish(&mut self) {
        let milliseconds = |seconds: &mut Vec<f64>, share: f64| {
            seconds.sort_by(f64::total_cmp);
            let index = (share * seconds.len() as f64) as usize;
            seconds.get(index.min(seconds.len().saturating_sub(1))).map_or(f64::NAN, |seconds| 1e3 * seconds)
        };
        for (what, times) in ["without training", "with training"].iter().zip(&mut self.times) {
            let (median, p95) = (milliseconds(times, 0.5), milliseconds(times, 0.95));
            println!("{what:>17}: {} frames, median {median:.2} ms, p95 {p95:.2} ms", times.len());
        }
        let budget = self.options.budget.as_secs_f64();
        let over = self.spent.iter().filter(|&&spent| spent > budget).count();
        let clock = if self.scene.pacer.measures_device_time() { "device" } else { "host" };
        let (median, p95) = (milliseconds(&mut self.spent, 0.5), milliseconds(&mut self.spent, 0.95));
        println!("training a frame ({clock} clock): median {median:.2} ms, p95 {p95:.2} ms of a budget of {} ms", 1e3 * budget);
        println!("{over} of the {} frames that were measured took longer than the budget", self.spent.len());
        let (iterations, updates) = (self.scene.population.iterations(), self.scene.population.updates());
        let a_frame = iterations as f64 / self.times[1].len().max(1) as f64;
        println!("{iterations} iterations ({a_frame:.2} a frame), {updates} updates");
        if let Some(path) = self.options.dump.take()
            && let Err(error) = self.dump(&path)
        {
            eprintln!("{path}: {error}");
            std::process::exit(1);
        }
    }

    /// Draws once more, to the texture, and writes it as PNG.
    fn dump(&mut self, path: &str) -> std::result::Result<(), Box<dyn std::error::Error>> {
        let Screen { device, queue, texture, .. } = &self.screen;
        let bytes_a_row = (4 * SIZE[0]).next_multiple_of(wgpu::COPY_BYTES_PER_ROW_ALIGNMENT);
        let readback = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("dump"),
            size: u64::from(bytes_a_row * SIZE[1]),
            usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        let mut encoder = device.create_command_encoder(&Default::default());
        self.scene.draw(&mut encoder, texture);
        let layout = wgpu::TexelCopyBufferLayout { offset: 0, bytes_per_row: Some(bytes_a_row), rows_per_image: None };
        encoder.copy_texture_to_buffer(texture.as_image_copy(), wgpu::TexelCopyBufferInfo { buffer: &readback, layout }, texture.size());
        queue.submit([encoder.finish()]);
        readback.slice(..).map_async(wgpu::MapMode::Read, |_| {});
        device.poll(wgpu::PollType::wait_indefinitely())?;
        let bytes = readback.slice(..).get_mapped_range()?;
        let mut pixels: Vec<u8> = bytes.chunks(bytes_a_row as usize).flat_map(|row| row[..4 * SIZE[0] as usize].to_vec()).collect();
        if matches!(texture.format(), wgpu::TextureFormat::Bgra8Unorm | wgpu::TextureFormat::Bgra8UnormSrgb) {
            pixels.chunks_mut(4).for_each(|pixel| pixel.swap(0, 2));
        }
        let mut encoder = png::Encoder::new(std::io::BufWriter::new(std::fs::File::create(path)?), SIZE[0], SIZE[1]);
        encoder.set_color(png::ColorType::Rgba);
        encoder.write_header()?.write_image_data(&pixels)?;
        println!("wrote {path}");
        Ok(())
    }
}

/// The window, which exists only once the event loop runs.
struct Windowed {
    options: Option<Options>,
    app: Option<App>,
    window: Option<Arc<Window>>,
    failure: Option<Error>,
}

impl ApplicationHandler for Windowed {
    fn resumed(&mut self, event_loop: &ActiveEventLoop) {
        let Some(options) = self.options.take() else { return };
        let size = winit::dpi::PhysicalSize::new(SIZE[0], SIZE[1]);
        let attributes = Window::default_attributes().with_title("ddpg-wgpu: an agent learns").with_inner_size(size);
        let opened = event_loop.create_window(attributes).map_err(|error| Error::Adapter(error.to_string())).and_then(|window| {
            let window = Arc::new(window);
            Ok((App::new(options, Some(window.clone()))?, window))
        });
        match opened {
            Ok((app, window)) => {
                window.request_redraw();
                (self.app, self.window) = (Some(app), Some(window));
            }
            Err(error) => {
                self.failure = Some(error);
                event_loop.exit();
            }
        }
    }

    fn window_event(&mut self, event_loop: &ActiveEventLoop, _: WindowId, event: WindowEvent) {
        let (Some(app), Some(window)) = (&mut self.app, &self.window) else { return };
        match event {
            WindowEvent::CloseRequested => event_loop.exit(),
            WindowEvent::Resized(size) => {
                if let Some((surface, configuration)) = &mut app.screen.surface {
                    (configuration.width, configuration.height) = (size.width.max(1), size.height.max(1));
                    surface.configure(&app.screen.device, configuration);
                }
            }
            WindowEvent::RedrawRequested => {
                let drawn = app.draw();
                match drawn.is_err() || app.is_done() {
                    true => event_loop.exit(),
                    false => window.request_redraw(),
                }
                self.failure = drawn.err();
            }
            _ => {}
        }
    }
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let options = Options::parse();
    if options.offscreen {
        let mut app = App::new(Options { frames: options.frames.or(Some(600)), ..options }, None)?;
        while !app.is_done() {
            app.draw()?;
        }
        app.finish();
        return Ok(());
    }
    let event_loop = EventLoop::new()?;
    event_loop.set_control_flow(ControlFlow::Poll);
    let mut windowed = Windowed { options: Some(options), app: None, window: None, failure: None };
    event_loop.run_app(&mut windowed)?;
    if let Some(mut app) = windowed.app {
        app.finish();
    }
    windowed.failure.map_or(Ok(()), |error| Err(error.into()))
}
