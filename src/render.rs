//! Pictures of episodes, drawn by a compute shader: `shaders/render/frame.wgsl` and a file an environment beside it.

use crate::buffer::{filled, read_blocking, storage};
use crate::environment::Environment;
use crate::error::{Error, Result};
use crate::fault::guarded;
use crate::trajectory::Trajectory;

/// Bytes of pixels drawn at once.
const PIXEL_BYTES: u64 = 32 << 20;

/// The environments that can be drawn, each with its WGSL.
const DRAWINGS: [(&str, &str); 2] =
    [("Pendulum-v0", include_str!("../shaders/render/pendulum.wgsl")), ("Pendulum-v1", include_str!("../shaders/render/pendulum.wgsl"))];

/// The WGSL that draws an environment, where there is any.
fn drawing(environment: &Environment) -> Option<&'static str> {
    DRAWINGS.iter().find(|(name, _)| *name == environment.name).map(|(_, drawing)| *drawing)
}

/// The module that draws an environment, where there is one.
pub(crate) fn source(environment: &Environment) -> Option<String> {
    drawing(environment).map(|drawing| format!("{}\n{drawing}", include_str!("../shaders/render/frame.wgsl")))
}

/// Draws the episodes of one environment.
///
/// ```no_run
/// # let gpu = ddpg_wgpu::Gpu::open_blocking(None)?;
/// # let mut trainer = ddpg_wgpu::Trainer::new(&gpu.device, &gpu.queue, &ddpg_wgpu::Environment::pendulum_v1(), &Default::default())?;
/// # use ddpg_wgpu::{Environment, Renderer};
/// let renderer = Renderer::new(&gpu.device, &gpu.queue, &Environment::pendulum_v1(), 200, 200)?;
/// let episode = &trainer.trajectories_blocking(1, 1)?[0];
/// for rgba in renderer.frames_blocking(episode)? {
///     assert_eq!(rgba.len(), 4 * 200 * 200);
/// }
/// # Ok::<(), ddpg_wgpu::Error>(())
/// ```
#[derive(Debug)]
pub struct Renderer {
    device: wgpu::Device,
    queue: wgpu::Queue,
    pipeline: wgpu::ComputePipeline,
    sizes: [u32; 2],
    width: u32,
    height: u32,
}

impl Renderer {
    /// A renderer of frames of `width` by `height` pixels.
    ///
    /// # Errors
    /// [`Error::Config`] where the environment has no drawing, or for a frame without a pixel or beyond 4096 either way.
    pub fn new(device: &wgpu::Device, queue: &wgpu::Queue, environment: &Environment, width: u32, height: u32) -> Result<Self> {
        let source = source(environment).ok_or_else(|| {
            let can = DRAWINGS.map(|(name, _)| name).join(" and ");
            Error::config(format!("{} cannot be drawn; {can} can", environment.name))
        })?;
        for (what, pixels) in [("width", width), ("height", height)] {
            if !(1..=4096).contains(&pixels) {
                return Err(Error::config(format!("a frame's {what} is {pixels} pixels; it must lie in 1 to 4096")));
            }
        }
        let module = device
            .create_shader_module(wgpu::ShaderModuleDescriptor { label: Some("render"), source: wgpu::ShaderSource::Wgsl(source.into()) });
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some("render"),
            layout: None,
            module: &module,
            entry_point: Some("frame"),
            compilation_options: Default::default(),
            cache: None,
        });
        let sizes = [environment.state_size, environment.action_size()];
        Ok(Self { device: device.clone(), queue: queue.clone(), pipeline, sizes, width, height })
    }

    /// Width and height of a frame, pixels.
    pub fn size(&self) -> (u32, u32) {
        (self.width, self.height)
    }

    /// A frame for each step of `trajectory`, each `height` rows of `width` RGBA pixels; waits for the device.
    ///
    /// # Errors
    /// [`Error::Config`] for a trajectory of another environment, [`Error::Limit`] where one frame does not fit a buffer,
    /// [`Error::Gpu`] where the device fails.
    pub fn frames_blocking(&self, trajectory: &Trajectory) -> Result<Vec<Vec<u8>>> {
        let [state_size, action_size] = self.sizes.map(|size| size as usize);
        let (steps, found) = (trajectory.length(), [trajectory.states.len(), trajectory.actions.len()]);
        if found != [steps * state_size, steps * action_size] {
            return Err(Error::config(format!(
                "a trajectory of {steps} steps with {} floats of states and {} of actions; what is drawn here has {state_size} and \
                 {action_size} a step",
                found[0], found[1]
            )));
        }
        let states = trajectory.states.chunks(state_size);
        let moments: Vec<f32> = states.zip(trajectory.actions.chunks(action_size)).flat_map(|(s, a)| s.iter().chain(a)).copied().collect();
        let frame_bytes = 4 * u64::from(self.width) * u64::from(self.height);
        let at_once = (PIXEL_BYTES / frame_bytes).max(1) as usize;
        let mut frames = Vec::with_capacity(trajectory.length());
        for moments in moments.chunks(at_once * (state_size + action_size)) {
            let drawn = guarded(&self.device, || self.drawn(moments, frame_bytes))?;
            frames.extend(drawn.chunks(frame_bytes as usize).map(<[u8]>::to_vec));
        }
        Ok(frames)
    }

    /// The pixels of some moments, frame after frame.
    fn drawn(&self, moments: &[f32], frame_bytes: u64) -> Result<Vec<u8>> {
        let count = moments.len() / self.sizes.iter().sum::<u32>() as usize;
        let canvas = [self.width, self.height, count as u32, self.sizes[0], self.sizes[1], 0, 0, 0];
        let canvas = filled(&self.device, &self.queue, "canvas", wgpu::BufferUsages::UNIFORM, &canvas);
        let moments = filled(&self.device, &self.queue, "moments", wgpu::BufferUsages::STORAGE, moments);
        let bytes = frame_bytes * count as u64;
        let pixels = storage(&self.device, "the pixels of a frame", bytes, "draw smaller frames")?;
        let entries = [&canvas, &moments, &pixels];
        let entries: Vec<_> =
            (0..).zip(entries).map(|(binding, buffer)| wgpu::BindGroupEntry { binding, resource: buffer.as_entire_binding() }).collect();
        let bind_group = self.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some("render"),
            layout: &self.pipeline.get_bind_group_layout(0),
            entries: &entries,
        });
        let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("render") });
        {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor { label: Some("render"), timestamp_writes: None });
            pass.set_pipeline(&self.pipeline);
            pass.set_bind_group(0, &bind_group, &[]);
            pass.dispatch_workgroups(self.width.div_ceil(8), self.height.div_ceil(8), count as u32);
        }
        self.queue.submit([encoder.finish()]);
        read_blocking(&self.device, &self.queue, &pixels, 0..bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Config, Gpu, Trainer};

    fn pixel(frame: &[u8], width: u32, x: u32, y: u32) -> [u8; 4] {
        let at = 4 * (y * width + x) as usize;
        frame[at..at + 4].try_into().expect("four bytes")
    }

    #[test]
    fn the_rod_stands_where_the_angle_says_and_the_arrow_turns_as_the_torque() {
        let gpu = Gpu::open_with_limits_blocking(None, wgpu::Limits::default()).unwrap_or_else(|error| panic!("{error}"));
        let renderer = Renderer::new(&gpu.device, &gpu.queue, &Environment::pendulum_v1(), 101, 101).expect("it is drawn");
        // upright, a quarter turn counter-clockwise, hanging; torque none, full either way
        let quarter = std::f32::consts::FRAC_PI_2;
        let states = vec![0.0, 0.0, quarter, 0.0, 2.0 * quarter, 0.0];
        let trajectory = Trajectory { agent: 0, states, actions: vec![0.0, 2.0, -2.0], returns: vec![0.0; 3] };
        let frames = renderer.frames_blocking(&trajectory).expect("drawn");
        let (rod, white, blue) = ([204, 77, 77, 255], [255; 4], [38, 89, 191, 255]);
        // 25 pixels, half a unit, from the centre: up, left, down, right
        let places = [(50, 25), (25, 50), (50, 75), (75, 50)];
        let seen: Vec<Vec<_>> = frames.iter().map(|frame| places.map(|(x, y)| pixel(frame, 101, x, y)).to_vec()).collect();
        for (frame, expected) in seen.iter().zip([0, 1, 2]) {
            for (place, colour) in frame.iter().enumerate() {
                assert_eq!(*colour, if place == expected { rod } else { white }, "place {place} of frame {expected}");
            }
        }
        // 15 pixels, the arrow's radius: halfway to its end, left of the joint for a positive torque
        assert_eq!([35, 65].map(|x| pixel(&frames[1], 101, x, 49)), [blue, white]);
        assert_eq!([35, 65].map(|x| pixel(&frames[2], 101, x, 49)), [white, blue]);
        // every pixel is opaque, and no frame has more colours than a GIF holds
        for frame in &frames {
            let colours: std::collections::HashSet<_> = frame.chunks(4).collect();
            assert!(colours.len() <= 256 && colours.iter().all(|colour| colour[3] == 255), "{} colours", colours.len());
        }
        let reason = Environment::new("Elsewhere", "", 1, 1, vec![-1.0], vec![1.0], 1)
            .and_then(|environment| Renderer::new(&gpu.device, &gpu.queue, &environment, 8, 8).map(|_| ()));
        assert!(reason.is_err_and(|error| error.to_string().contains("Elsewhere")));
    }

    #[test]
    fn a_recording_is_the_episode_that_evaluation_sees() {
        let gpu = Gpu::open_blocking(None).unwrap_or_else(|error| panic!("{error}"));
        let mut config = Config::default();
        (config.agents, config.actor_hidden, config.critic_hidden) = (2, vec![9, 5], vec![8]);
        let trainer = Trainer::new(&gpu.device, &gpu.queue, &Environment::pendulum_v0(), &config).expect("a trainer");
        let evaluations = trainer.evaluate_blocking(3, 7).expect("evaluated");
        let trajectories = trainer.trajectories_blocking(3, 7).expect("recorded");
        assert_eq!(trajectories.len(), 6);
        for (index, trajectory) in trajectories.iter().enumerate() {
            assert_eq!((trajectory.agent as usize, trajectory.length()), (index / 3, 200));
            let mut total = 0.0;
            for step in 0..200 {
                let state = [trajectory.states[2 * step], trajectory.states[2 * step + 1]].map(f64::from);
                assert!((f64::from(trajectory.returns[step]) - total).abs() < 0.01, "return before step {step}");
                let (reward, next) = crate::environment::pendulum::reference(state, trajectory.actions[step].into(), false);
                total += reward;
                if let Some(then) = trajectory.states.get(2 * step + 2..2 * step + 4) {
                    let off = (f64::from(then[0]) - next[0]).abs().max((f64::from(then[1]) - next[1]).abs());
                    assert!(off < 1e-4, "step {step}: {then:?} recorded, {next:?} by the reference");
                }
            }
            let evaluated = f64::from(evaluations[index / 3].returns[index % 3]);
            assert!((evaluated - total).abs() < 0.05, "{total} recorded, {evaluated} evaluated");
        }
    }
}
