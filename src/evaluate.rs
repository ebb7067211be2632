//! Deterministic evaluation: many episodes at once, without noise, on environments and starting states of its own.

use crate::buffer::{read_blocking, storage, wait_blocking};
use crate::error::{Error, Result};
use crate::layout::environment_stride;
use crate::memory::{AgentState, Memory, RoleBuffers, Sizes};
use crate::network::Allocator;
use crate::population::Population;
use crate::program::Program;
use crate::rollout::Rollout;
use crate::trainer::Trainer;
use crate::vectors::Vectors;
use bytemuck::Zeroable;

/// The returns of one agent's evaluation episodes.
///
/// ```no_run
/// # let gpu = ddpg_wgpu::Gpu::open_blocking(None)?;
/// # let mut trainer = ddpg_wgpu::Trainer::new(&gpu.device, &gpu.queue, &ddpg_wgpu::Environment::pendulum_v1(), &Default::default())?;
/// for evaluation in trainer.evaluate_blocking(1000, 1)? {
///     println!("agent {}: {:.1} ± {:.1}", evaluation.agent, evaluation.mean_return, evaluation.standard_error);
/// }
/// # Ok::<(), ddpg_wgpu::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Evaluation {
    /// The agent's number.
    pub agent: u32,
    /// Its training seed.
    pub seed: u64,
    /// Mean of the returns.
    pub mean_return: f64,
    /// Their standard deviation (n − 1).
    pub standard_deviation: f64,
    /// Standard deviation of the mean.
    pub standard_error: f64,
    /// Lowest return.
    pub min: f64,
    /// Highest return.
    pub max: f64,
    /// Every return.
    pub returns: Vec<f32>,
}

impl Evaluation {
    fn new(agent: u32, seed: u64, returns: Vec<f32>) -> Self {
        let count = returns.len() as f64;
        let mean_return = returns.iter().map(|&r| f64::from(r)).sum::<f64>() / count;
        let squares = returns.iter().map(|&r| (f64::from(r) - mean_return).powi(2)).sum::<f64>();
        let standard_deviation = if returns.len() > 1 { (squares / (count - 1.0)).sqrt() } else { 0.0 };
        Self {
            agent,
            seed,
            mean_return,
            standard_deviation,
            standard_error: standard_deviation / count.sqrt(),
            min: returns.iter().copied().fold(f32::INFINITY, f32::min).into(),
            max: returns.iter().copied().fold(f32::NEG_INFINITY, f32::max).into(),
            returns,
        }
    }
}

/// Bytes of activations an evaluation may take: as many episodes run at once as fit.
const ACTIVATION_BYTES: u64 = 64 << 20;

/// Steps recorded into one submission.
const STEPS_A_SUBMISSION: u32 = 25;

impl Trainer {
    /// Runs `episodes` episodes of every agent's actor as it stands, batch norm in inference mode, from starting states
    /// drawn from `seed`, the same for every agent, and waits for their returns. Training is left untouched.
    ///
    /// # Errors
    /// [`Error::Config`] for no episodes, [`Error::Gpu`] where the device fails.
    pub fn evaluate_blocking(&self, episodes: u32, seed: u32) -> Result<Vec<Evaluation>> {
        evaluate(&self.population, episodes, seed)
    }
}

fn evaluate(population: &Population, episodes: u32, seed: u32) -> Result<Vec<Evaluation>> {
    if episodes == 0 {
        return Err(Error::config("evaluation of 0 episodes; ask for at least 1"));
    }
    if population.environment.is_host() {
        let name = &population.environment.name;
        return Err(Error::config(format!(
            "environment {name} is simulated on the host: evaluate there, with request_actions and no exploration"
        )));
    }
    let stage = Stage::new(population, episodes, seed)?;
    let mut returns = vec![Vec::with_capacity(episodes as usize); population.config.agents as usize];
    for _ in 0..episodes.div_ceil(stage.environments) {
        let mut left = stage.limit;
        while left > 0 {
            let now = left.min(STEPS_A_SUBMISSION);
            let mut encoder = stage.encoder();
            if left == stage.limit {
                stage.record(&stage.reset, &mut encoder, 1);
            }
            stage.record(&stage.step, &mut encoder, now);
            population.queue.submit([encoder.finish()]);
            wait_blocking(&population.device)?;
            left -= now;
        }
        for (agent, environments) in stage.read_blocking()?.chunks(stage.floats()).enumerate() {
            // an episode that never finished met NaN or infinity: no return at all rather than the best there is
            returns[agent].extend(environments.chunks(stage.stride).map(|environment| {
                let finished = environment[stage.tail + FINISHED_LENGTH] > 0.0;
                if finished { environment[stage.tail + FINISHED_RETURN] } else { f32::NAN }
            }));
        }
    }
    let evaluations = returns.into_iter().enumerate().map(|(agent, mut returns)| {
        returns.truncate(episodes as usize);
        Evaluation::new(agent as u32, population.hyper_parameters[agent].seed, returns)
    });
    Ok(evaluations.collect())
}

/// What follows an environment's state and noise, as in `shaders/rollout.wgsl`.
pub(crate) const EPISODE_RETURN: usize = 0;
const FINISHED_RETURN: usize = 2;
pub(crate) const FINISHED_LENGTH: usize = 3;

/// Environments of an evaluation's own, in which the actors of a population act as they stand.
pub(crate) struct Stage<'a> {
    population: &'a Population,
    pub memory: Memory,
    pub rollout: Rollout,
    pub reset: Program,
    pub step: Program,
    /// Environments an agent.
    pub environments: u32,
    /// Steps an episode takes at most.
    pub limit: u32,
    /// Floats an environment.
    pub stride: usize,
    /// Floats before the episode's return.
    pub tail: usize,
}

impl<'a> Stage<'a> {
    /// As many environments as fit, `episodes` at most.
    pub fn new(population: &'a Population, episodes: u32, seed: u32) -> Result<Self> {
        let agents = population.config.agents;
        let limit = population.config.time_limit(&population.environment);
        let probe = |environments| {
            let mut activations = Allocator::default();
            let rollout = Rollout::new(&population.networks, &population.pipelines, environments, Some(seed), &mut activations);
            (rollout, activations.length())
        };
        let bytes_an_episode = 16 * u64::from(probe(1).1) * u64::from(agents);
        let environments = (ACTIVATION_BYTES / bytes_an_episode).clamp(1, u64::from(episodes)) as u32;
        let (rollout, activations) = probe(environments);
        let mut table = Vec::new();
        let reset = rollout.reset.schedule(&mut table, &population.pipelines);
        let step = rollout.steps.schedule(&mut table, &population.pipelines);
        let (device, queue) = (&population.device, &population.queue);
        let stride = environment_stride(&population.environment);
        let fewer = "evaluate fewer agents at once";
        let each = |floats: u64, what| storage(device, what, 4 * floats * u64::from(agents), fewer);
        let vectors =
            |vec4s: u32, what| Vectors::new(device, population.pipelines.medium(), what, 16 * u64::from(vec4s) * u64::from(agents), fewer);
        let buffers = RoleBuffers {
            parameters: population.memory.buffers.parameters.clone(),
            hyper_parameters: population.memory.buffers.hyper_parameters.clone(),
            moments: vectors(1, "evaluation moments")?,
            activations: vectors(activations, "evaluation activations")?,
            replay: each(4, "evaluation replay")?,
            environments: each(u64::from(stride) * u64::from(environments), "evaluation environments")?,
            agent_states: each(size_of::<AgentState>() as u64 / 4, "evaluation counters")?,
        };
        queue.write_buffer(&buffers.agent_states, 0, bytemuck::cast_slice(&vec![AgentState::zeroed(); agents as usize]));
        let sizes =
            Sizes { environments, activations_stride: activations, replay_capacity: 1, time_limit: limit, ..population.memory.sizes };
        let memory = Memory::new(device, queue, &population.pipelines, sizes, &table, buffers)?;
        let tail = (population.environment.state_size + population.environment.action_size()) as usize;
        Ok(Self { population, memory, rollout, reset, step, environments, limit, stride: stride as usize, tail })
    }

    pub fn encoder(&self) -> wgpu::CommandEncoder {
        self.population.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("evaluate") })
    }

    /// Records a pass of `times` runs of `program`.
    pub fn record(&self, program: &Program, encoder: &mut wgpu::CommandEncoder, times: u32) {
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor { label: Some("evaluate"), timestamp_writes: None });
        pass.set_bind_group(0, &self.memory.bind_group, &[]);
        for _ in 0..times {
            program.record(&mut pass, &self.population.pipelines, &self.memory.table, self.population.config.agents);
        }
    }

    /// Floats of an agent's environments.
    pub fn floats(&self) -> usize {
        self.stride * self.environments as usize
    }

    /// Every agent's environments as they stand.
    fn read_blocking(&self) -> Result<Vec<f32>> {
        let bytes = 4 * self.floats() as u64 * u64::from(self.population.config.agents);
        read_blocking(&self.population.device, &self.population.queue, &self.memory.buffers.environments, 0..bytes)
    }
}
