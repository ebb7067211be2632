//! A population of agents on a device: its memory, its programs, and the recording of both. Never waits for the device.

use crate::buffer::storage;
use crate::config::{Algorithm, Config};
use crate::ddpg::{Networks, Update};
use crate::environment::Environment;
use crate::error::{Error, Result};
use crate::fault::guarded;
use crate::host::HostMemory;
use crate::hyper_parameters::HyperParameters;
use crate::kernels::{Dealing, Tile};
use crate::layout::{Demand, Demands, Layout, Programs, option_bits};
use crate::memory::{AgentState, Memory, RoleBuffers};
use crate::operation::Operation;
use crate::pipelines::Pipelines;
use crate::plan::{Iteration, Iterator, Plan};
use crate::program::Program;
use crate::random::Philox;
use crate::rollout::Rollout;
use crate::vectors::{Content, Vectors};
use bytemuck::Zeroable;
use std::sync::Arc;

/// Agents that learn side by side in the same dispatches, each with its own parameters, replay ring, environments, seed
/// and hyper-parameters. One agent is a population of one.
///
/// Everything here records or submits and returns; nothing waits. See [`Trainer`](crate::Trainer) for a host loop.
///
/// ```no_run
/// use ddpg_wgpu::{Config, Environment, Population};
/// # let gpu = ddpg_wgpu::Gpu::open_blocking(None)?;
/// let (device, queue) = (&gpu.device, &gpu.queue);
/// let mut population = Population::new(device, queue, &Environment::pendulum_v1(), &Config::default())?;
/// let mut encoder = device.create_command_encoder(&Default::default());
/// population.record_iterations(&mut encoder, 10);
/// let pending = population.record_measurements(&mut encoder);
/// queue.submit([encoder.finish()]);
/// println!("{:?}", pending.wait_blocking(device)?[0].critic_loss);
/// # Ok::<(), ddpg_wgpu::Error>(())
/// ```
#[derive(Debug)]
pub struct Population {
    /// Tells it from all others for as long as it lives.
    pub(crate) identity: Arc<()>,
    pub(crate) device: wgpu::Device,
    pub(crate) queue: wgpu::Queue,
    pub(crate) config: Config,
    pub(crate) environment: Environment,
    pub(crate) hyper_parameters: Vec<HyperParameters>,
    pub(crate) pipelines: Arc<Pipelines>,
    pub(crate) networks: Networks,
    #[cfg_attr(not(test), expect(dead_code, reason = "the tests compare every stage of an update"))]
    pub(crate) update: Update,
    pub(crate) rollout: Rollout,
    pub(crate) memory: Memory,
    programs: Programs,
    plan: Plan,
    /// Runs whole iterations, where the plan does.
    iterator: Option<Iterator>,
    operations: Vec<Operation>,
    iterations: u64,
    updates: u64,
    /// Transitions pushed from the host, an agent.
    pub(crate) pushed: u64,
    /// Environment steps at which the replay rings were last empty.
    emptied_at: u64,
    pub(crate) host: HostMemory,
}

/// How a population runs, as opposed to what it learns: nothing here changes the algorithm.
///
/// ```
/// use ddpg_wgpu::{Options, Plan, Tile};
/// let mut options = Options::default();
/// options.plan = Some(Plan::Fused);
/// options.tile = Some(Tile::Portable);
/// ```
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct Options {
    /// Keep the gradient of every parameter beside its moments.
    pub record_gradients: bool,
    /// How the products are tiled; the device's best where not given.
    pub tile: Option<Tile>,
    /// How iterations are executed; what serves the device and the networks best where not given.
    pub plan: Option<Plan>,
    /// How finely the tile `small` deals out its work; as was best on the GPU it was measured on where not given.
    pub dealing: Option<Dealing>,
}

impl Population {
    /// A population whose agents differ in their seeds only.
    ///
    /// # Errors
    /// [`Error::Config`] for settings that cannot work, [`Error::Limit`] where the device is too small for them,
    /// [`Error::Shader`] for an environment whose WGSL does not hold.
    pub fn new(device: &wgpu::Device, queue: &wgpu::Queue, environment: &Environment, config: &Config) -> Result<Self> {
        Self::with_hyper_parameters(device, queue, environment, config, HyperParameters::of_population(config))
    }

    /// A population with one entry of `hyper_parameters` an agent; they override the same settings of `config`.
    ///
    /// # Errors
    /// As [`Population::new`], and [`Error::Config`] where their number is not `config.agents`.
    pub fn with_hyper_parameters(
        device: &wgpu::Device,
        queue: &wgpu::Queue,
        environment: &Environment,
        config: &Config,
        hyper_parameters: Vec<HyperParameters>,
    ) -> Result<Self> {
        Self::with_options(device, queue, environment, config, hyper_parameters, Options::default())
    }

    /// As [`Population::with_hyper_parameters`], with choices that are otherwise made from the device.
    ///
    /// # Errors
    /// As [`Population::with_hyper_parameters`], and [`Error::Limit`] where the device cannot run the tile asked for.
    pub fn with_options(
        device: &wgpu::Device,
        queue: &wgpu::Queue,
        environment: &Environment,
        config: &Config,
        hyper_parameters: Vec<HyperParameters>,
        options: Options,
    ) -> Result<Self> {
        guarded(device, || Self::build(device, queue, environment, config, hyper_parameters, options))
    }

    fn build(
        device: &wgpu::Device,
        queue: &wgpu::Queue,
        environment: &Environment,
        config: &Config,
        hyper_parameters: Vec<HyperParameters>,
        options: Options,
    ) -> Result<Self> {
        config.validate()?;
        if hyper_parameters.len() != config.agents as usize {
            return Err(Error::config(format!(
                "{} hyper-parameter sets for {} agents; there must be one an agent",
                hyper_parameters.len(),
                config.agents
            )));
        }
        for (agent, settings) in hyper_parameters.iter().enumerate() {
            settings.validate().map_err(|error| match error {
                Error::Config(message) => Error::config(format!("agent {agent}: {message}")),
                other => other,
            })?;
        }
        if let Some(tile) = options.tile {
            tile.check(device)?;
        }
        let (plan, grid, layout) = Layout::planned(device, config, environment, options)?;
        let limits = device.limits();
        layout.check_memory(&limits, grid.medium())?;
        layout.check_dispatches(&limits, environment, plan, &grid)?;
        let demands = layout.demands(&limits);
        let Layout { networks, update, rollout, sizes, mut programs, table } = layout;
        let pipelines = Arc::new(Pipelines::new(device, environment, grid, option_bits(config, options))?);
        // in every plan, environments on the host need the actor alone
        for program in [&programs.reset, &programs.clear_measurements, &programs.actor] {
            program.prepare(&pipelines);
        }
        match plan {
            Plan::Layered => [&programs.rollout, &programs.learn].into_iter().for_each(|program| program.prepare(&pipelines)),
            Plan::Specialised => Program::specialise([&mut programs.rollout, &mut programs.learn], &pipelines, &table, &sizes)?,
            Plan::Fused => {}
        }
        let iterator = (plan == Plan::Fused).then(|| {
            let kinds = iterations(config, environment);
            Iterator::new(device, queue, &pipelines, &programs.rollout, &programs.learn, kinds)
        });
        let buffers = allocate(device, queue, &pipelines, &demands, &hyper_parameters)?;
        let memory = Memory::new(device, queue, &pipelines, sizes, &table, buffers)?;
        let mut population = Self {
            identity: Arc::default(),
            device: device.clone(),
            queue: queue.clone(),
            config: config.clone(),
            environment: environment.clone(),
            hyper_parameters,
            pipelines,
            networks,
            update,
            rollout,
            memory,
            programs,
            plan,
            iterator,
            operations: table,
            iterations: 0,
            updates: 0,
            pushed: 0,
            emptied_at: 0,
            host: HostMemory::default(),
        };
        population.restart();
        Ok(population)
    }

    /// Draws initial parameters from each agent's seed, empties the replay rings and resets every environment.
    pub fn restart(&mut self) {
        for (agent, hyper) in self.hyper_parameters.iter().enumerate() {
            self.write_parameters(agent, &initial_parameters(&self.config, &self.environment, &self.networks, hyper.seed));
        }
        let state = AgentState { value_maximum: f32::MIN, ..AgentState::zeroed() };
        let states = vec![state; self.config.agents as usize];
        self.queue.write_buffer(&self.memory.buffers.agent_states, 0, bytemuck::cast_slice(&states));
        let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("restart") });
        self.memory.buffers.moments.clear(&self.queue, &mut encoder);
        {
            let mut pass = self.begin(&mut encoder);
            self.record(&self.programs.reset, &mut pass);
        }
        self.queue.submit([encoder.finish()]);
        self.continue_from(0, 0, 0);
    }

    /// Sets the host's counters to those of the device: steps of each environment, updates, transitions in the rings.
    pub(crate) fn continue_from(&mut self, steps: u64, updates: u64, held: u64) {
        let taken = steps * u64::from(self.config.environments);
        // the device does not count what the host pushes: as much as its environments' steps, or at least what is held
        (self.iterations, self.pushed) = if self.environment.is_host() { (0, taken.max(held)) } else { (steps, 0) };
        self.updates = updates;
        self.emptied_at = self.environment_steps().saturating_sub(held);
    }

    /// What no network has of an agent's parameters, online and target: the action bounds; zero elsewhere.
    #[cfg(feature = "checkpoint")]
    pub(crate) fn parameters_of_no_network(&self) -> Vec<f32> {
        let length = 4 * self.networks.length as usize;
        let mut parameters = vec![0.0; 2 * length];
        let (online, targets) = parameters.split_at_mut(length);
        self.networks.write_bounds(&self.environment, online);
        if self.config.algorithm != Algorithm::Compatible {
            targets.copy_from_slice(online);
        }
        parameters
    }

    /// The online half, then the target half, of one agent's parameters (floats, padded).
    pub(crate) fn write_parameters(&self, agent: usize, parameters: &[f32]) {
        let stride = 16 * u64::from(self.memory.sizes.parameters_stride);
        self.memory.buffers.parameters.write(&self.queue, agent as u64 * stride, parameters);
    }

    /// A compute pass over this population's memory.
    pub(crate) fn begin<'a>(&self, encoder: &'a mut wgpu::CommandEncoder) -> wgpu::ComputePass<'a> {
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor { label: Some("ddpg-wgpu"), timestamp_writes: None });
        pass.set_bind_group(0, &self.memory.bind_group, &[]);
        pass
    }

    fn record(&self, program: &Program, pass: &mut wgpu::ComputePass<'_>) {
        program.record(pass, &self.pipelines, &self.memory.table, self.config.agents);
    }

    /// Records the actor's forward pass over the observations of every environment.
    pub(crate) fn record_actor(&self, pass: &mut wgpu::ComputePass<'_>) {
        self.record(&self.programs.actor, pass);
    }

    pub(crate) fn named_programs(&self) -> [(&Program, &'static str); 2] {
        [(&self.programs.rollout, "rollout"), (&self.programs.learn, "learn")]
    }

    /// The operation table that all programs index.
    pub(crate) fn operations(&self) -> &[Operation] {
        &self.operations
    }

    /// Records `iterations` into one compute pass of `encoder`: each steps every environment once, then takes
    /// `updates_per_iteration` updates as soon as the replay ring holds enough.
    ///
    /// A population without a GPU environment ([`Environment::host`]) only takes the updates.
    pub fn record_iterations(&mut self, encoder: &mut wgpu::CommandEncoder, iterations: u64) {
        self.record_timed(encoder, iterations, None);
    }

    pub(crate) fn record_timed(
        &mut self,
        encoder: &mut wgpu::CommandEncoder,
        iterations: u64,
        timestamp_writes: Option<wgpu::ComputePassTimestampWrites<'_>>,
    ) {
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor { label: Some("ddpg-wgpu"), timestamp_writes });
        self.record_iterations_into(&mut pass, iterations);
    }

    /// As [`Population::record_iterations`], into a compute pass of the caller's. It sets the pass's pipeline and its bind
    /// groups 0 and 1, which the caller has to set anew afterwards.
    pub fn record_iterations_into(&mut self, pass: &mut wgpu::ComputePass<'_>, iterations: u64) {
        pass.set_bind_group(0, &self.memory.bind_group, &[]);
        let simulates = !self.environment.is_host();
        let mut left = iterations;
        while left > 0 {
            let now = left.min(self.iterations_alike());
            if simulates {
                self.iterations += now;
            }
            let updates = if self.learns() { self.config.updates_per_iteration } else { 0 };
            self.record_alike(pass, Iteration { simulates, updates }, now);
            self.updates += now * u64::from(updates);
            left -= now;
        }
    }

    /// How many iterations from here all learn, or all do not.
    fn iterations_alike(&self) -> u64 {
        match self.iterations_until_learning() {
            // the last one before learning starts already learns
            1 | u64::MAX => u64::MAX,
            more => more - 1,
        }
    }

    fn record_alike(&self, pass: &mut wgpu::ComputePass<'_>, iteration: Iteration, count: u64) {
        if iteration == (Iteration { simulates: false, updates: 0 }) {
            return;
        }
        if let Some(iterator) = &self.iterator {
            return iterator.record(pass, iteration, count, self.config.agents);
        }
        for _ in 0..count {
            if iteration.simulates {
                self.record(&self.programs.rollout, pass);
            }
            for _ in 0..iteration.updates {
                self.record(&self.programs.learn, pass);
            }
        }
    }

    /// Records `updates` updates alone, on what the replay rings hold: none while they hold less than a minibatch.
    pub fn record_updates(&mut self, encoder: &mut wgpu::CommandEncoder, updates: u64) {
        if self.replay_length() < u64::from(self.config.transitions_needed()) {
            return;
        }
        let mut pass = self.begin(encoder);
        self.record_alike(&mut pass, Iteration { simulates: false, updates: 1 }, updates);
        self.updates += updates;
    }

    /// Records the emptying of every agent's replay ring; what was learned, the environments and all counters stay.
    /// Learning waits until the rings hold enough again.
    pub fn record_clear_replay(&mut self, encoder: &mut wgpu::CommandEncoder) {
        // head and length lie side by side
        let first = std::mem::offset_of!(AgentState, replay_head) as u64;
        let end = (std::mem::offset_of!(AgentState, replay_length) + size_of::<u32>()) as u64;
        for agent in 0..u64::from(self.config.agents) {
            let offset = agent * size_of::<AgentState>() as u64 + first;
            encoder.clear_buffer(&self.memory.buffers.agent_states, offset, Some(end - first));
        }
        self.emptied_at = self.environment_steps();
    }

    /// Records the clearing of the measurement sums, for after they were copied.
    pub(crate) fn record_clear_measurements(&self, encoder: &mut wgpu::CommandEncoder) {
        let mut pass = self.begin(encoder);
        self.record(&self.programs.clear_measurements, &mut pass);
    }

    /// Whether the replay rings hold enough to learn from.
    pub fn learns(&self) -> bool {
        self.replay_length() >= u64::from(self.config.learning_starts.max(self.config.transitions_needed()))
    }

    /// Transitions that each agent's replay ring holds once all that was recorded has run; a halted agent's may hold fewer.
    pub fn replay_length(&self) -> u64 {
        (self.environment_steps() - self.emptied_at).min(u64::from(self.config.replay_capacity))
    }

    /// Iterations that only collect experience before the next one that learns; as many as there are where that is now.
    pub(crate) fn iterations_until_learning(&self) -> u64 {
        if self.learns() || self.environment.is_host() {
            return u64::MAX;
        }
        let needed = u64::from(self.config.learning_starts.max(self.config.transitions_needed()));
        let held = self.environment_steps() - self.emptied_at;
        (needed.saturating_sub(held).div_ceil(u64::from(self.config.environments))).max(1)
    }

    /// Steps an agent has taken, over all its environments.
    pub fn environment_steps(&self) -> u64 {
        self.iterations * u64::from(self.config.environments) + self.pushed
    }

    /// Iterations recorded so far.
    pub fn iterations(&self) -> u64 {
        self.iterations
    }

    /// Updates recorded so far, an agent.
    pub fn updates(&self) -> u64 {
        self.updates
    }

    /// Dispatches that one rollout and one update take in the layered plan; the fused one runs many of both in one.
    pub fn dispatches(&self) -> (usize, usize) {
        (self.programs.rollout.dispatches.len(), self.programs.learn.dispatches.len())
    }

    /// How its iterations are executed.
    pub fn plan(&self) -> Plan {
        self.plan
    }

    /// How its products are tiled.
    pub fn tile(&self) -> Tile {
        self.pipelines.tile
    }

    /// The settings.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The environment.
    pub fn environment(&self) -> &Environment {
        &self.environment
    }

    /// Each agent's own settings.
    pub fn hyper_parameters(&self) -> &[HyperParameters] {
        &self.hyper_parameters
    }
}

/// What an agent of `seed` starts from: its online parameters, then its targets (floats).
pub(crate) fn initial_parameters(config: &Config, environment: &Environment, networks: &Networks, seed: u64) -> Vec<f32> {
    // purposes 0x100 and up: far from those of shaders/shared/philox.wgsl
    const INITIAL: u32 = 0x100;
    const INITIAL_TARGET: u32 = 0x101;
    let length = 4 * networks.length as usize;
    let draw = |purpose| {
        let mut parameters = vec![0.0; length];
        let mut random = Philox::new(seed, purpose);
        networks.actor.initialize(config, &mut random, &mut parameters);
        networks.critic.initialize(config, &mut random, &mut parameters);
        networks.write_bounds(environment, &mut parameters);
        parameters
    };
    let mut online = draw(INITIAL);
    let blend = config.initial_blend;
    let targets = if config.algorithm == Algorithm::Compatible {
        // COPDAC-Q's w starts at zero: the advantage of no action is known
        vec![0.0; length]
    } else if blend >= 1.0 {
        online.clone()
    } else {
        online.iter().zip(draw(INITIAL_TARGET)).map(|(online, own)| blend * online + (1.0 - blend) * own).collect()
    };
    online.extend(targets);
    online
}

/// The operations of a population that `options` describe: the same for all ways to deal out work that come to the same.
///
/// # Errors
/// As [`Layout::planned`].
pub(crate) fn operations_of(device: &wgpu::Device, environment: &Environment, config: &Config, options: Options) -> Result<Vec<Operation>> {
    let (_, _, layout) = Layout::planned(device, config, environment, options)?;
    Ok(layout.table)
}

/// The kinds of iteration that a population may be asked for.
fn iterations(config: &Config, environment: &Environment) -> Vec<Iteration> {
    let simulates = !environment.is_host();
    let updates = [0, config.updates_per_iteration].map(|updates| Iteration { simulates, updates });
    updates.into_iter().chain([Iteration { simulates: false, updates: 1 }]).collect()
}

fn allocate(
    device: &wgpu::Device,
    queue: &wgpu::Queue,
    pipelines: &Pipelines,
    demands: &Demands,
    hyper_parameters: &[HyperParameters],
) -> Result<RoleBuffers> {
    let raw: Vec<_> = hyper_parameters.iter().map(HyperParameters::raw).collect();
    let buffer = |demand: &Demand| storage(device, &demand.what, demand.bytes, &demand.remedy);
    let vectors = |demand: &Demand| Vectors::new(device, pipelines.medium(), &demand.what, demand.bytes, &demand.remedy);
    Ok(RoleBuffers {
        replay: buffer(&demands.replay)?,
        parameters: vectors(&demands.parameters)?,
        moments: vectors(&demands.moments)?,
        activations: vectors(&demands.activations)?,
        environments: buffer(&demands.environments)?,
        agent_states: buffer(&demands.agent_states)?,
        hyper_parameters: Vectors::filled(
            device,
            queue,
            (pipelines.medium(), Content::Words),
            "the hyper-parameters",
            &raw,
            "use fewer agents",
        )?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_start_as_a_blend_of_the_online_parameters_and_draws_of_their_own() {
        let environment = Environment::host("arm", 17, vec![-1.0; 6], vec![3.0; 6]).expect("sizes");
        let halves = |blend: f32, algorithm: Algorithm, seed: u64| {
            let config = Config { initial_blend: blend, algorithm, ..Config::default() };
            let networks = Networks::new(&config, &environment);
            let mut online = initial_parameters(&config, &environment, &networks, seed);
            assert_eq!(online.len(), 8 * networks.length as usize);
            let targets = online.split_off(online.len() / 2);
            (networks, online, targets)
        };
        let (networks, online, targets) = halves(1.0, Algorithm::Ddpg, 5);
        assert_eq!(online, targets);
        let (_, same, own) = halves(0.0, Algorithm::Ddpg, 5);
        assert_eq!(online, same);
        let (_, same, blended) = halves(0.25, Algorithm::Ddpg, 5);
        assert_eq!(online, same);
        for ((blended, online), own) in blended.iter().zip(&online).zip(&own) {
            let expected = 0.25 * f64::from(*online) + 0.75 * f64::from(*own);
            assert!((f64::from(*blended) - expected).abs() < 1e-7, "{online} online and {own} of its own give {blended}");
        }
        // draws of their own are others, and those of another agent too
        let (_, another, _) = halves(1.0, Algorithm::Ddpg, 6);
        for network in [&networks.actor, &networks.critic] {
            for tensor in network.tensors().iter().filter(|tensor| tensor.name.ends_with("weight")) {
                let [first, others @ ..] = [&online, &own, &another].map(|parameters| tensor.gather(parameters));
                for other in others {
                    let product = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
                    let correlation = product(&first, &other) / (product(&first, &first) * product(&other, &other)).sqrt();
                    assert!(correlation.abs() < 5.0 / (first.len() as f64).sqrt(), "{}: correlation {correlation}", tensor.name);
                }
            }
        }
        let (_, _, compatible) = halves(0.25, Algorithm::Compatible, 5);
        assert!(compatible.iter().all(|&number| number == 0.0), "the advantage of no action is known");
    }
}
