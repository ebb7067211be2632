//! Environments alone, nobody learning: `shaders/simulate.wgsl`.

use crate::buffer::{filled, read_blocking, storage, wait_blocking};
use crate::config::all_finite;
use crate::contract;
use crate::cost::Cost;
use crate::environment::Environment;
use crate::error::{Error, Result};
use crate::fault::guarded;
use crate::shader;
use bytemuck::{Pod, Zeroable};
use std::time::{Duration, Instant};

/// Invocations a workgroup, as in the shader.
const WORKGROUP: u32 = 64;

/// Longest time a submission of [`Simulation::advance_blocking`] should take.
const SLICE: Duration = Duration::from_millis(50);

/// Twin of `struct Simulation`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
pub(crate) struct Uniform {
    pub seed_low: u32,
    pub seed_high: u32,
    pub environments: u32,
    pub time_limit: u32,
}

/// Twin of `struct SimulationCounters`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
pub(crate) struct Counters {
    pub steps: u32,
    pub length: u32,
    pub episode_return: f32,
    pub episodes: u32,
}

/// Where one environment stands.
///
/// ```no_run
/// # let gpu = ddpg_wgpu::Gpu::open_blocking(None)?;
/// # let mut simulation = ddpg_wgpu::Simulation::new(&gpu.device, &gpu.queue, &ddpg_wgpu::Environment::pendulum_v1(), 100, 1)?;
/// simulation.advance_blocking(1050)?;
/// let standing = simulation.standings_blocking()?[0];
/// assert_eq!((standing.episodes, standing.length), (5, 50));
/// # Ok::<(), ddpg_wgpu::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Standing {
    /// Steps of the episode under way.
    pub length: u32,
    /// Sum of its rewards so far.
    pub episode_return: f32,
    /// Episodes that have ended before it.
    pub episodes: u32,
}

/// Many environments stepped on the device, many steps a dispatch: for measuring an environment or a GPU, for checking
/// a new environment against a reference, and for any program that wants its physics on the GPU.
///
/// Actions are uniformly random at every step, or [held](Simulation::hold_actions). An episode that ends starts anew in
/// the same step. The random streams are those of an agent with the same seed, so that a simulation with random actions
/// meets the episodes that the agent meets while its own actions are random.
///
/// ```
/// # fn main() -> ddpg_wgpu::Result<()> {
/// use ddpg_wgpu::{Environment, Gpu, Simulation};
/// let gpu = Gpu::open_blocking(None)?;
/// let mut simulation = Simulation::new(&gpu.device, &gpu.queue, &Environment::pendulum_v1(), 100, 1)?;
/// simulation.hold_actions(&[0.0; 100])?;
/// simulation.advance_blocking(250)?;
/// // angle and angular velocity of each; Pendulum's episodes have 200 steps
/// assert_eq!(simulation.states_blocking()?.len(), 200);
/// assert_eq!(simulation.standings_blocking()?[0].length, 50);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Simulation {
    device: wgpu::Device,
    queue: wgpu::Queue,
    environments: u32,
    sizes: [usize; 2],
    module: wgpu::ShaderModule,
    layout: wgpu::BindGroupLayout,
    pipeline_layout: wgpu::PipelineLayout,
    restart: wgpu::ComputePipeline,
    random: Option<wgpu::ComputePipeline>,
    held: Option<wgpu::ComputePipeline>,
    holding: bool,
    buffers: Buffers,
    /// The last number of steps that was recorded, and the bindings that say so.
    recorded: Recording,
    cost: Cost,
}

/// Steps in dispatches: the first, then some full ones, then the rest.
#[derive(Debug)]
struct Recording {
    steps: u32,
    first: wgpu::BindGroup,
    full: Option<(u32, wgpu::BindGroup)>,
    rest: Option<wgpu::BindGroup>,
}

#[derive(Debug)]
struct Buffers {
    uniform: wgpu::Buffer,
    bounds: wgpu::Buffer,
    actions: wgpu::Buffer,
    states: wgpu::Buffer,
    counters: wgpu::Buffer,
    reward_sums: wgpu::Buffer,
}

impl Simulation {
    /// `environments` environments, each in the first state that `seed` draws for it, with random actions.
    ///
    /// # Errors
    /// [`Error::Config`] for no environments, or an environment on the host; [`Error::Shader`] for an environment whose
    /// WGSL does not hold; [`Error::Limit`] where the states of all do not fit one buffer.
    pub fn new(device: &wgpu::Device, queue: &wgpu::Queue, environment: &Environment, environments: u32, seed: u64) -> Result<Self> {
        environment.validate()?;
        if environments == 0 {
            return Err(Error::config("a simulation of 0 environments; ask for at least 1"));
        }
        if environment.is_host() {
            return Err(Error::config(format!("environment {} is simulated on the host: there is no WGSL to run", environment.name)));
        }
        contract::check(environment)?;
        let source = shader::assemble_simulation(environment)?;
        guarded(device, || Self::build(device, queue, environment, environments, seed, source))
    }

    fn build(
        device: &wgpu::Device,
        queue: &wgpu::Queue,
        environment: &Environment,
        environments: u32,
        seed: u64,
        source: String,
    ) -> Result<Self> {
        let sizes = [environment.state_size, environment.action_size()];
        let each = |what: &str, bytes: u64| {
            let what = format!("{what} of {environments} environments");
            storage(device, &what, bytes * u64::from(environments), "simulate fewer environments")
        };
        let uniform = Uniform { seed_low: seed as u32, seed_high: (seed >> 32) as u32, environments, time_limit: environment.time_limit };
        let bounds: Vec<[f32; 2]> = environment.action_scale().into_iter().zip(environment.action_centre()).map(Into::into).collect();
        let buffers = Buffers {
            uniform: filled(device, queue, "simulation", wgpu::BufferUsages::UNIFORM, &[uniform]),
            bounds: filled(device, queue, "action bounds", wgpu::BufferUsages::STORAGE, &bounds),
            actions: each("the actions", 4 * u64::from(sizes[1]))?,
            states: each("the states", 4 * u64::from(sizes[0]))?,
            counters: each("the counters", size_of::<Counters>() as u64)?,
            reward_sums: each("the sums of rewards", 4)?,
        };
        let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: Some("simulate"),
            source: wgpu::ShaderSource::Wgsl(source.into()),
        });
        let (uniform, read, write) = {
            let storage = |read_only| wgpu::BufferBindingType::Storage { read_only };
            (wgpu::BufferBindingType::Uniform, storage(true), storage(false))
        };
        let entries: Vec<_> = (0..)
            .zip([uniform, uniform, read, read, write, write, write])
            .map(|(binding, ty)| wgpu::BindGroupLayoutEntry {
                binding,
                visibility: wgpu::ShaderStages::COMPUTE,
                ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset: false, min_binding_size: None },
                count: None,
            })
            .collect();
        let layout = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: Some("simulation"), entries: &entries });
        let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some("simulation"),
            // the shared declarations name groups 0 and 1, which no simulation uses
            bind_group_layouts: &[None, None, Some(&layout)],
            immediate_size: 0,
        });
        let restart = pipeline(device, &pipeline_layout, &module, "simulation_restart", false);
        let recorded = Recording::new(device, queue, &layout, &buffers, 0);
        let mut simulation = Self {
            device: device.clone(),
            queue: queue.clone(),
            environments,
            sizes: sizes.map(|size| size as usize),
            module,
            layout,
            pipeline_layout,
            restart,
            random: None,
            held: None,
            holding: false,
            buffers,
            recorded,
            cost: Cost::default(),
        };
        simulation.prepare();
        simulation.restart();
        Ok(simulation)
    }

    /// Compiles the pipeline of the kind of actions at hand, where that was not done before.
    fn prepare(&mut self) {
        let slot = if self.holding { &mut self.held } else { &mut self.random };
        slot.get_or_insert_with(|| pipeline(&self.device, &self.pipeline_layout, &self.module, "simulate", !self.holding));
    }

    /// Puts every environment back into its first state. Submits to the queue and returns.
    pub fn restart(&mut self) {
        let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("simulation restart") });
        self.dispatch(&mut encoder, &self.restart, [&self.recorded.first]);
        self.queue.submit([encoder.finish()]);
    }

    /// Every environment takes its own action at every step from now on: `actions` is `[environments, action]`, in the
    /// environment's units, and clipped to its bounds on the device.
    ///
    /// # Errors
    /// [`Error::Config`] for another number of floats, or one that is not finite.
    pub fn hold_actions(&mut self, actions: &[f32]) -> Result<()> {
        let expected = self.environments as usize * self.sizes[1];
        if actions.len() != expected {
            return Err(Error::config(format!(
                "{} floats of actions, but {expected} are needed: {} environments, {} actions each",
                actions.len(),
                self.environments,
                self.sizes[1]
            )));
        }
        all_finite("action", actions)?;
        self.queue.write_buffer(&self.buffers.actions, 0, bytemuck::cast_slice(actions));
        self.act(true);
        Ok(())
    }

    /// Every environment takes a new action at every step from now on, uniform within the bounds: as a new simulation.
    pub fn act_randomly(&mut self) {
        self.act(false);
    }

    fn act(&mut self, holding: bool) {
        if holding != self.holding {
            self.holding = holding;
            self.cost = Cost::default();
            self.prepare();
        }
    }

    /// Records `steps` steps of every environment, a dispatch for each 512 of them. A device counts 2³² steps of each; then
    /// the random streams begin anew.
    ///
    /// A submission cannot be interrupted: keep it to tens of milliseconds where a screen or a watchdog waits.
    pub fn record(&mut self, encoder: &mut wgpu::CommandEncoder, steps: u32) {
        if self.recorded.steps != steps {
            let new = || Ok(Recording::new(&self.device, &self.queue, &self.layout, &self.buffers, steps));
            // a lost device takes nothing; whoever waits for it is told
            let Ok(recorded) = guarded(&self.device, new) else { return };
            self.recorded = recorded;
        }
        let pipeline = if self.holding { &self.held } else { &self.random };
        if let Some(pipeline) = pipeline {
            self.dispatch(encoder, pipeline, self.recorded.dispatches());
        }
    }

    fn dispatch<'a>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        pipeline: &wgpu::ComputePipeline,
        dispatches: impl IntoIterator<Item = &'a wgpu::BindGroup>,
    ) {
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor { label: Some("simulate"), timestamp_writes: None });
        pass.set_pipeline(pipeline);
        let groups = self.environments.div_ceil(WORKGROUP);
        let most = self.device.limits().max_compute_workgroups_per_dimension.max(1);
        for bindings in dispatches {
            pass.set_bind_group(2, bindings, &[]);
            pass.dispatch_workgroups(groups.min(most), groups.div_ceil(most), 1);
        }
    }

    /// Steps every environment `steps` times, in submissions of about 50 ms, and waits until they are done.
    ///
    /// # Errors
    /// [`Error::Gpu`] where the device fails.
    pub fn advance_blocking(&mut self, steps: u64) -> Result<()> {
        let mut left = steps;
        while left > 0 {
            left -= u64::from(self.advance_slice_blocking(u32::try_from(left).unwrap_or(u32::MAX))?);
        }
        Ok(())
    }

    /// Steps every environment for about 50 ms, `most` times at the most, waits, and returns how many times it was: once at
    /// least, unless `most` is 0.
    ///
    /// # Errors
    /// [`Error::Gpu`] where the device fails.
    pub fn advance_slice_blocking(&mut self, most: u32) -> Result<u32> {
        if most == 0 {
            return Ok(0);
        }
        let now = (self.cost.fitting(SLICE).min(f64::from(u32::MAX)) as u32).clamp(1, most);
        let start = Instant::now();
        let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("simulate") });
        self.record(&mut encoder, now);
        self.queue.submit([encoder.finish()]);
        wait_blocking(&self.device)?;
        self.cost.observe(now.into(), start.elapsed().as_secs_f64(), false);
        Ok(now)
    }

    /// How many environments there are.
    pub fn environments(&self) -> u32 {
        self.environments
    }

    /// The states, on the device: `[environments, state]` floats.
    pub fn states(&self) -> &wgpu::Buffer {
        &self.buffers.states
    }

    /// Each environment's sum of rewards over the steps of the last recording, on the device: `[environments]` floats.
    pub fn reward_sums(&self) -> &wgpu::Buffer {
        &self.buffers.reward_sums
    }

    /// The states, `[environments, state]`; waits for the device.
    ///
    /// # Errors
    /// [`Error::Gpu`] where the device fails.
    pub fn states_blocking(&self) -> Result<Vec<f32>> {
        self.read_blocking(&self.buffers.states, 4 * self.sizes[0])
    }

    /// Each environment's sum of rewards over the steps of the last recording, episodes that ended within it included;
    /// waits for the device.
    ///
    /// # Errors
    /// [`Error::Gpu`] where the device fails.
    pub fn reward_sums_blocking(&self) -> Result<Vec<f32>> {
        self.read_blocking(&self.buffers.reward_sums, 4)
    }

    /// Where each environment stands in its episode; waits for the device.
    ///
    /// # Errors
    /// [`Error::Gpu`] where the device fails.
    pub fn standings_blocking(&self) -> Result<Vec<Standing>> {
        let counters: Vec<Counters> = self.read_blocking(&self.buffers.counters, size_of::<Counters>())?;
        let standing = |c: &Counters| Standing { length: c.length, episode_return: c.episode_return, episodes: c.episodes };
        Ok(counters.iter().map(standing).collect())
    }

    /// The first `bytes` of every environment.
    fn read_blocking<T: Pod>(&self, buffer: &wgpu::Buffer, bytes: usize) -> Result<Vec<T>> {
        read_blocking(&self.device, &self.queue, buffer, 0..(bytes * self.environments as usize) as u64)
    }
}

fn pipeline(
    device: &wgpu::Device,
    layout: &wgpu::PipelineLayout,
    module: &wgpu::ShaderModule,
    entry_point: &str,
    random_actions: bool,
) -> wgpu::ComputePipeline {
    device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: Some(entry_point),
        layout: Some(layout),
        module,
        entry_point: Some(entry_point),
        compilation_options: wgpu::PipelineCompilationOptions {
            constants: &[("RANDOM_ACTIONS", random_actions.into())],
            ..Default::default()
        },
        cache: None,
    })
}

/// Most steps of a dispatch. Mesa's software driver silently ends the loops of one that have taken 65,535 iterations, those
/// of an environment's own loops included.
const LONGEST: u32 = 512;

impl Recording {
    fn new(device: &wgpu::Device, queue: &wgpu::Queue, layout: &wgpu::BindGroupLayout, buffers: &Buffers, steps: u32) -> Self {
        let bound = |steps, continues| bind(device, queue, layout, buffers, steps, continues);
        let first = steps.min(LONGEST);
        let (full, rest) = ((steps - first) / LONGEST, (steps - first) % LONGEST);
        Self {
            steps,
            first: bound(first, false),
            full: (full > 0).then(|| (full, bound(LONGEST, true))),
            rest: (rest > 0).then(|| bound(rest, true)),
        }
    }

    fn dispatches(&self) -> impl Iterator<Item = &wgpu::BindGroup> {
        let full = self.full.iter().flat_map(|(count, bindings)| std::iter::repeat_n(bindings, *count as usize));
        std::iter::once(&self.first).chain(full).chain(&self.rest)
    }
}

/// The bindings of a dispatch of `steps` steps, which begins a recording or continues one.
fn bind(
    device: &wgpu::Device,
    queue: &wgpu::Queue,
    layout: &wgpu::BindGroupLayout,
    buffers: &Buffers,
    steps: u32,
    continues: bool,
) -> wgpu::BindGroup {
    // a buffer of its own: earlier recordings may still wait to be submitted
    let steps = filled(device, queue, "steps", wgpu::BufferUsages::UNIFORM, &[steps, continues.into(), 0, 0]);
    let bound = [&buffers.uniform, &steps, &buffers.bounds, &buffers.actions, &buffers.states, &buffers.counters, &buffers.reward_sums];
    let entries: Vec<_> =
        (0..).zip(bound).map(|(binding, buffer)| wgpu::BindGroupEntry { binding, resource: buffer.as_entire_binding() }).collect();
    device.create_bind_group(&wgpu::BindGroupDescriptor { label: Some("simulation"), layout, entries: &entries })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::pendulum;
    use crate::environment::testing::{Trial, unit};
    use crate::kernels::harness::{all_limits, assert_close, default_limits};

    fn simulation(environment: &Environment, environments: u32, seed: u64) -> Simulation {
        let gpu = default_limits();
        Simulation::new(&gpu.device, &gpu.queue, environment, environments, seed).unwrap_or_else(|error| panic!("{error}"))
    }

    fn take(simulation: &mut Simulation, steps: u32) {
        let mut encoder = simulation.device.create_command_encoder(&Default::default());
        simulation.record(&mut encoder, steps);
        simulation.queue.submit([encoder.finish()]);
    }

    /// The draws of a stream as float64, by the reference of the generator.
    fn draws(step: u32, e: u32, purpose: u32, seed: u64) -> impl FnMut() -> f64 {
        let mut draw = 0;
        move || {
            let bits = crate::philox([step, e, purpose, draw], [seed as u32, (seed >> 32) as u32]);
            draw += 1;
            f64::from(bits[0] >> 8) / f64::from(1 << 24)
        }
    }

    /// `PURPOSE_RESET` and `PURPOSE_ENVIRONMENT` in `shaders/shared/philox.wgsl`.
    const RESET: u32 = 0;
    const STEP: u32 = 5;

    fn first_pendulum(step: u32, e: u32, seed: u64) -> [f64; 2] {
        let mut draw = draws(step, e, RESET, seed);
        [std::f64::consts::PI * (2.0 * draw() - 1.0), 2.0 * draw() - 1.0]
    }

    #[test]
    fn pendulums_step_and_start_anew_as_the_reference_says() {
        const SEED: u64 = 0x1_0000_0007;
        for (environments, v1) in [(1, true), (65, false), (257, true)] {
            let environment = if v1 { Environment::pendulum_v1() } else { Environment::pendulum_v0() };
            let mut simulation = simulation(&environment, environments, SEED);
            // beyond the bounds as well
            let torques: Vec<f32> = (0..environments as usize).map(|e| (6.0 * unit(e, 1) - 3.0) as f32).collect();
            simulation.hold_actions(&torques).expect("one an environment");
            let mut before = simulation.states_blocking().expect("readable");
            for (e, state) in (0..).zip(before.chunks(2)) {
                assert_close(state, &first_pendulum(0, e, SEED), 0.0, 1e-6, &format!("first state of {e}"));
            }
            let mut returns = vec![0.0; environments as usize];
            let mut recent = vec![0.0; environments as usize];
            for step in 1..=430 {
                take(&mut simulation, 1);
                let after = simulation.states_blocking().expect("readable");
                let rewards = simulation.reward_sums_blocking().expect("readable");
                let standings = simulation.standings_blocking().expect("readable");
                for e in 0..environments as usize {
                    let what = format!("environment {e} of {environments}, step {step}");
                    let state = [before[2 * e], before[2 * e + 1]].map(f64::from);
                    let (reward, mut next) = pendulum::reference(state, torques[e].into(), v1);
                    returns[e] += reward;
                    if step > 400 {
                        recent[e] += reward;
                    }
                    if step % 200 == 0 {
                        next = first_pendulum(step, e as u32, SEED);
                        returns[e] = 0.0;
                    }
                    assert_close(&after[2 * e..2 * e + 2], &next, 1e-6, 2e-5, &what);
                    assert_close(&[rewards[e]], &[reward], 1e-5, 1e-4, &what);
                    assert_close(&[standings[e].episode_return], &[returns[e]], 1e-5, 1e-3, &what);
                    assert_eq!((standings[e].length, standings[e].episodes), (step % 200, step / 200), "{what}");
                }
                before = after;
            }
            // many steps a dispatch are the same steps
            simulation.restart();
            for steps in [7, 392, 1, 0, 30] {
                take(&mut simulation, steps);
            }
            assert_eq!(simulation.states_blocking().expect("readable"), before);
            assert_close(&simulation.reward_sums_blocking().expect("readable"), &recent, 1e-5, 1e-3, "the last 30 steps");
        }
    }

    #[test]
    fn random_actions_are_those_of_a_training_agent() {
        let same = |simulation: &Simulation, trial: &Trial, what: &str| {
            let states = simulation.states_blocking().expect("readable");
            let expected: Vec<f64> = trial.states().into_iter().flatten().map(f64::from).collect();
            assert_close(&states, &expected, 1e-4, 1e-4, what);
        };
        for name in Environment::names() {
            let environment = Environment::by_name(&name).expect("it is listed");
            let mut trial = Trial::new(&environment, 65);
            let mut simulation = simulation(&environment, 65, crate::Config::default().seed);
            same(&simulation, &trial, &format!("{name}, start"));
            for step in 1..=5 {
                trial.step();
                take(&mut simulation, 1);
                same(&simulation, &trial, &format!("{name}, step {step}"));
            }
        }
        // small differences have grown by the end of an episode, but the next one starts from the same state
        let reacher = Environment::reacher_v0();
        let mut trial = Trial::new(&reacher, 65);
        let mut simulation = simulation(&reacher, 65, crate::Config::default().seed);
        for _ in 0..reacher.time_limit {
            trial.step();
        }
        take(&mut simulation, reacher.time_limit);
        same(&simulation, &trial, "Reacher-v0, second episode");
    }

    #[test]
    fn no_step_of_a_long_recording_is_lost() {
        const STEPS: u32 = 70_001;
        let mut simulation = simulation(&Environment::pendulum_v1(), 1, 9);
        take(&mut simulation, STEPS);
        let standing = simulation.standings_blocking().expect("readable")[0];
        assert_eq!((standing.episodes, standing.length), (STEPS / 200, STEPS % 200));
        let long = simulation.reward_sums_blocking().expect("readable");
        // the same in recordings of one dispatch each
        simulation.restart();
        let mut sum = 0.0;
        for steps in std::iter::repeat_n(500, 140).chain([1]) {
            take(&mut simulation, steps);
            sum += f64::from(simulation.reward_sums_blocking().expect("readable")[0]);
        }
        assert_close(&long, &[sum], 1e-5, 0.0, "the rewards of all steps");
    }

    #[test]
    fn episodes_end_where_the_environment_says() {
        // an episode of 1 to 6 steps, drawn at its start, and a reward drawn at each step
        const DICE: &str = "
        fn environment_reset(random: ptr<function, Random>) -> State {
            return State(0.0, 1.0 + floor(6.0 * random_uniform(random)));
        }
        fn environment_step(state: State, action: Action, random: ptr<function, Random>) -> Step {
            let taken = state[0] + 1.0;
            return Step(State(taken, state[1]), random_uniform(random), taken >= state[1]);
        }
        fn environment_observe(state: State) -> Observation { return Observation(state[0]); }";
        let dice = Environment::new("Dice", DICE, 2, 1, vec![-1.0], vec![1.0], 5).expect("an environment");
        let mut simulation = simulation(&dice, 257, 3);
        take(&mut simulation, 101);
        let (states, sums) = (simulation.states_blocking().expect("readable"), simulation.reward_sums_blocking().expect("readable"));
        let standings = simulation.standings_blocking().expect("readable");
        for e in 0..257 {
            let sides = |step| 1.0 + (6.0 * draws(step, e, RESET, 3)()).floor();
            let (mut taken, mut length, mut episodes, mut sum) = (0, sides(0), 0, 0.0);
            for step in 0..101 {
                sum += draws(step, e, STEP, 3)();
                taken += 1;
                // six are cut off at the time limit of five
                if f64::from(taken) >= length || taken == 5 {
                    (taken, length, episodes) = (0, sides(step + 1), episodes + 1);
                }
            }
            let at = e as usize;
            assert_eq!(states[2 * at..2 * at + 2], [taken as f32, length as f32], "environment {e}");
            assert_eq!((standings[at].length, standings[at].episodes), (taken, episodes), "environment {e}");
            assert_close(&[sums[at]], &[sum], 1e-5, 1e-5, &format!("environment {e}"));
        }
    }

    #[test]
    fn what_cannot_be_simulated_is_refused() {
        let gpu = all_limits();
        let new = |environment: &Environment, environments| {
            Simulation::new(&gpu.device, &gpu.queue, environment, environments, 1).map(drop).map_err(|error| error.to_string())
        };
        let refuses = |result: Result<(), String>, says: &str| {
            let message = result.expect_err(says);
            assert!(message.contains(says), "{message}");
        };
        let pendulum = Environment::pendulum_v1();
        refuses(new(&pendulum, 0), "0 environments");
        let host = Environment::host("Robot", 3, vec![-1.0], vec![1.0]).expect("an environment");
        refuses(new(&host, 4), "Robot is simulated on the host");
        let broken = Environment::new("Broken", "fn nothing() {}", 1, 1, vec![-1.0], vec![1.0], 1).expect("its sizes hold");
        refuses(new(&broken, 4), "Broken lacks");
        if gpu.device.limits().max_storage_buffer_binding_size < 1 << 34 {
            refuses(new(&pendulum, u32::MAX), "simulate fewer environments");
        }
        let mut simulation = simulation(&pendulum, 3, 1);
        refuses(simulation.hold_actions(&[0.0; 2]).map_err(|error| error.to_string()), "3 are needed");
        assert_eq!(simulation.environments(), 3);
        // no step at all is none
        assert_eq!(simulation.advance_slice_blocking(0).expect("nothing to do"), 0);
        assert_eq!(simulation.standings_blocking().expect("readable")[0].length, 0);
    }
}
