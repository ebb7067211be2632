//! Deterministic evaluation: many episodes at once, without noise, on environments and starting states of its own.

use crate::allocator::Allocator;
use crate::buffer::{check_fits, most_bytes, read_blocking, storage};
use crate::error::{Error, Result};
use crate::fault::guarded;
use crate::layout::environment_stride;
use crate::memory::{AgentState, Memory, RoleBuffers, Sizes};
use crate::pending::Pending;
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
pub(crate) const ACTIVATION_BYTES: u64 = 64 << 20;

/// Steps recorded into one submission.
const STEPS_A_SUBMISSION: u32 = 25;

impl Trainer {
    /// Runs `episodes` episodes of every agent's actor as it stands, batch norm in inference mode, and waits for their
    /// returns. Starting states, and whatever else is random in the environment, are drawn from `seed`: the same for every agent,
    /// and for an episode however many run beside it, and nothing that training has met. Training is left untouched. It ends
    /// with the last episode, to 25 steps.
    ///
    /// # Errors
    /// [`Error::Config`] for no episodes or an environment on the host, [`Error::Limit`] where the device is too small for an
    /// episode of every agent, [`Error::Gpu`] where it fails.
    pub fn evaluate_blocking(&self, episodes: u32, seed: u32) -> Result<Vec<Evaluation>> {
        evaluate(&self.population, episodes, seed, ACTIVATION_BYTES)
    }
}

impl Population {
    /// Records `episodes` episodes of every agent's actor as it stands at that point of `encoder`, as
    /// [`Trainer::evaluate_blocking`] runs them and with the same returns. They arrive after the encoder was submitted, without
    /// anybody waiting. All go into that one submission, to the environment's time limit, however soon they end; it allocates
    /// what they need, and the first time it compiles their pipelines.
    ///
    /// ```no_run
    /// # use ddpg_wgpu::{Config, Environment, Gpu, Population};
    /// # let gpu = Gpu::open_blocking(None)?;
    /// # let mut population = Population::new(&gpu.device, &gpu.queue, &Environment::pendulum_v1(), &Config::default())?;
    /// let mut encoder = gpu.device.create_command_encoder(&Default::default());
    /// let mut pending = population.record_evaluation(&mut encoder, 20, 1)?;
    /// gpu.queue.submit([encoder.finish()]);
    /// // some frames later
    /// if let Some(evaluations) = pending.take() {
    ///     println!("{:.1}", evaluations?[0].mean_return);
    /// }
    /// # Ok::<(), ddpg_wgpu::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Config`] for no episodes or an environment on the host, [`Error::Limit`] for more episodes than fit at once,
    /// [`Error::Gpu`] where the device fails.
    pub fn record_evaluation(&self, encoder: &mut wgpu::CommandEncoder, episodes: u32, seed: u32) -> Result<Pending<Vec<Evaluation>>> {
        let stage = Stage::new(self, episodes, seed, ACTIVATION_BYTES)?;
        if stage.environments < episodes {
            return Err(Error::Limit {
                what: "an evaluation in one recording".into(),
                needed: format!("{episodes} episodes at once"),
                offered: stage.environments.to_string(),
                remedy: "record fewer episodes at a time, each time with another seed".into(),
            });
        }
        stage.record(&stage.reset, encoder, 1);
        stage.record(&stage.step, encoder, stage.limit);
        let (slots, seeds) = (stage.slots(), self.hyper_parameters.iter().map(|hyper| hyper.seed).collect::<Vec<_>>());
        let bytes = 0..4 * (stage.floats() * seeds.len()) as u64;
        Ok(Pending::record(&self.device, encoder, &stage.memory.buffers.environments, bytes, move |bytes| {
            let returns = slots.returns(&bytemuck::pod_collect_to_vec::<u8, f32>(bytes));
            Ok((0..).zip(seeds).zip(returns).map(|((agent, seed), returns)| Evaluation::new(agent, seed, returns)).collect())
        }))
    }
}

fn evaluate(population: &Population, episodes: u32, seed: u32, activation_bytes: u64) -> Result<Vec<Evaluation>> {
    let stage = Stage::new(population, episodes, seed, activation_bytes)?;
    let mut returns = vec![Vec::with_capacity(episodes as usize); population.config.agents as usize];
    for batch in 0..episodes.div_ceil(stage.environments) {
        stage.count_from(batch);
        let mut left = stage.limit;
        let environments = loop {
            let now = left.min(STEPS_A_SUBMISSION);
            let mut encoder = stage.encoder();
            if left == stage.limit {
                stage.record(&stage.reset, &mut encoder, 1);
            }
            stage.record(&stage.step, &mut encoder, now);
            population.queue.submit([encoder.finish()]);
            left -= now;
            let environments = stage.read_blocking()?;
            if left == 0 || stage.slots().have_all_finished(&environments) {
                break environments;
            }
        };
        for (all, of_batch) in returns.iter_mut().zip(stage.slots().returns(&environments)) {
            all.extend(of_batch);
        }
    }
    let evaluations = returns.into_iter().enumerate().map(|(agent, mut returns)| {
        returns.truncate(episodes as usize);
        Evaluation::new(agent as u32, population.hyper_parameters[agent].seed, returns)
    });
    Ok(evaluations.collect())
}

/// The largest number up to `most` that `fits`, as all below it do; 0 where none does.
pub(crate) fn largest(most: u32, fits: impl Fn(u32) -> bool) -> u32 {
    if fits(most) {
        return most;
    }
    let (mut fitting, mut beyond) = (0, most);
    while beyond - fitting > 1 {
        let middle = fitting + (beyond - fitting) / 2;
        *if fits(middle) { &mut fitting } else { &mut beyond } = middle;
    }
    fitting
}

/// Where the returns are among an evaluation's environments.
#[derive(Debug, Clone, Copy)]
struct Slots {
    /// Environments an agent.
    environments: usize,
    /// Floats an environment.
    stride: usize,
    /// Floats before the episode's return.
    tail: usize,
}

impl Slots {
    fn have_all_finished(&self, environments: &[f32]) -> bool {
        environments.chunks(self.stride).all(|environment| environment[self.tail + FINISHED_LENGTH] > 0.0)
    }

    /// Of every agent. An episode that never finished met NaN or infinity: no return at all rather than the best there is.
    fn returns(&self, environments: &[f32]) -> Vec<Vec<f32>> {
        let of = |environment: &[f32]| match environment[self.tail + FINISHED_LENGTH] > 0.0 {
            true => environment[self.tail + FINISHED_RETURN],
            false => f32::NAN,
        };
        environments.chunks(self.environments * self.stride).map(|agent| agent.chunks(self.stride).map(of).collect()).collect()
    }
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
    /// As many environments as have room in `activation_bytes`, at least one and `episodes` at most. Compiles what it needs.
    ///
    /// # Errors
    /// [`Error::Config`] for no episodes, or an environment on the host, which no device can step; [`Error::Limit`] where the
    /// device is too small for a single episode; [`Error::Gpu`] where it fails.
    pub fn new(population: &'a Population, episodes: u32, seed: u32, activation_bytes: u64) -> Result<Self> {
        if episodes == 0 {
            return Err(Error::config("evaluation of 0 episodes; ask for at least 1"));
        }
        if population.environment.is_host() {
            let name = &population.environment.name;
            return Err(Error::config(format!(
                "environment {name} is simulated on the host: evaluate there, with request_actions and no exploration"
            )));
        }
        guarded(&population.device, || Self::build(population, episodes, seed, activation_bytes))
    }

    fn build(population: &'a Population, episodes: u32, seed: u32, activation_bytes: u64) -> Result<Self> {
        let agents = population.config.agents;
        let limit = population.config.time_limit(&population.environment);
        let probe = |environments| {
            let mut activations = Allocator::default();
            let rollout = Rollout::new(&population.networks, &population.pipelines, environments, Some(seed), &mut activations);
            (rollout, activations.length())
        };
        let bytes_an_episode = 16 * u64::from(probe(1).1) * u64::from(agents);
        let (limits, stride) = (population.device.limits(), environment_stride(&population.environment));
        let fewer = "evaluate fewer agents at once";
        let built = |environments: u32| {
            let (rollout, activations) = probe(environments);
            let mut table = Vec::new();
            let programs = [&rollout.reset, &rollout.steps].map(|steps| steps.schedule(&mut table, &population.pipelines));
            let check = |program: &Program| program.check("an evaluation", "use narrower layers", &limits, &population.pipelines);
            programs.iter().try_for_each(check)?;
            let bytes = 16 * u64::from(activations) * u64::from(agents);
            population.pipelines.medium().check_fits(&limits, "evaluation activations", bytes, fewer)?;
            let bytes = 4 * u64::from(stride) * u64::from(environments) * u64::from(agents);
            check_fits("evaluation environments", bytes, most_bytes(&limits), "binding", fewer)?;
            Ok((environments, rollout, activations, table, programs))
        };
        let most = (activation_bytes / bytes_an_episode).clamp(1, u64::from(episodes)) as u32;
        let fewer_fit = |_: Error| built(largest(most, |environments| built(environments).is_ok()).max(1));
        let (environments, rollout, activations, table, [reset, step]) = built(most).or_else(fewer_fit)?;
        [&reset, &step].into_iter().for_each(|program| program.prepare(&population.pipelines));
        let (device, queue) = (&population.device, &population.queue);
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
        let sizes =
            Sizes { environments, activations_stride: activations, replay_capacity: 1, time_limit: limit, ..population.memory.sizes };
        let memory = Memory::new(device, queue, &population.pipelines, sizes, &table, buffers)?;
        let tail = (population.environment.state_size + population.environment.action_size()) as usize;
        let stage = Self { population, memory, rollout, reset, step, environments, limit, stride: stride as usize, tail };
        stage.count_from(0);
        Ok(stage)
    }

    /// Sets the counters that the random numbers of a batch of episodes follow, before what is submitted next: the first of its
    /// episodes, and no steps.
    fn count_from(&self, batch: u32) {
        let state = AgentState { episodes: batch.wrapping_mul(self.environments), ..AgentState::zeroed() };
        let states = vec![state; self.population.config.agents as usize];
        self.population.queue.write_buffer(&self.memory.buffers.agent_states, 0, bytemuck::cast_slice(&states));
    }

    fn slots(&self) -> Slots {
        Slots { environments: self.environments as usize, stride: self.stride, tail: self.tail }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{BatchNorm, Config};
    use crate::environment::Environment;
    use crate::kernels::harness::{all_limits, assert_close, wide};
    use crate::kernels::philox::{purpose, reference_uniform};
    use crate::kernels::world::{marked_by, probe, quiet};
    use crate::philox;
    use crate::population::initial_parameters;

    #[test]
    fn the_statistics_of_returns_are_those_of_a_sample() {
        let of = |returns: &[f32]| Evaluation::new(3, 9, returns.to_vec());
        let three = of(&[1.0, 2.0, 4.0]);
        assert_eq!((three.agent, three.seed, three.min, three.max, &*three.returns), (3, 9, 1.0, 4.0, &[1.0, 2.0, 4.0][..]));
        // squares of 4/3, 1/3 and 5/3: 42/9, of which half is the variance and a sixth that of the mean
        let expected = [7.0 / 3.0, (7.0_f64 / 3.0).sqrt(), (7.0_f64 / 9.0).sqrt()];
        assert_close(&[three.mean_return, three.standard_deviation, three.standard_error], &expected, 1e-12, 0.0, "1, 2, 4");
        let one = of(&[-5.0]);
        assert_eq!((one.mean_return, one.standard_deviation, one.standard_error, one.min, one.max), (-5.0, 0.0, 0.0, -5.0, -5.0));
        assert!(of(&[1.0, f32::NAN]).mean_return.is_nan());
    }

    #[test]
    fn the_largest_that_fits_is_found() {
        for most in 1..70 {
            for limit in 0..80 {
                assert_eq!(largest(most, |number| number <= limit), most.min(limit), "{limit} of {most}");
            }
        }
    }

    #[test]
    fn an_episode_that_has_not_finished_has_no_return() {
        // state and noise, then return and length of the episode, return and length of the finished one
        let environment = |finished_return, finished_length| [8.0, 9.0, 5.0, 6.0, finished_return, finished_length];
        let slots = Slots { environments: 2, stride: 6, tail: 2 };
        let finished = [environment(-1.0, 3.0), environment(0.0, 1.0), environment(7.0, 2.0), environment(2.5, 4.0)].concat();
        assert!(slots.have_all_finished(&finished));
        assert_eq!(slots.returns(&finished), [[-1.0, 0.0], [7.0, 2.5]]);
        for unfinished in 0..4 {
            let mut environments = finished.clone();
            environments[6 * unfinished + 4..][..2].fill(0.0);
            assert!(!slots.have_all_finished(&environments));
            for (episode, found) in slots.returns(&environments).concat().into_iter().enumerate() {
                assert_eq!(found.is_nan(), episode == unfinished, "episode {episode} of {unfinished}: {found}");
            }
        }
    }

    /// [`probe`], but the second step of an episode whose mark began above 0.75 gives no reward that is a number.
    fn fragile() -> Environment {
        let mut environment = probe(2);
        let spoiled =
            "    if state[0] == 1.0 && fract(state[2]) > 0.75 { reward = bitcast<f32>(0x7fc00000u + u32(state[0])); }\n    return Step(";
        environment.source = environment.source.replace("    return Step(", spoiled).into();
        environment.name = "probe-fragile".into();
        environment
    }

    /// The actor in float64, without batch norm, from an agent's parameters.
    fn actor(population: &Population, parameters: &[f32], observation: &[f64]) -> Vec<f64> {
        let network = &population.networks.actor;
        let tensors = network.tensors();
        let tensor = |name: String| {
            let tensor = tensors.iter().find(|tensor| tensor.name == name).unwrap_or_else(|| panic!("no {name}"));
            wide(&tensor.gather(parameters))
        };
        let dense = |x: &[f64], layer: &str| -> Vec<f64> {
            let (weight, bias) = (tensor(format!("{layer}.weight")), tensor(format!("{layer}.bias")));
            let unit = |u: usize| bias[u] + x.iter().enumerate().map(|(i, x)| x * weight[i * bias.len() + u]).sum::<f64>();
            (0..bias.len()).map(unit).collect()
        };
        let hidden: Vec<f64> = dense(observation, "layer1").into_iter().map(|x| x.max(0.0)).collect();
        let environment = &population.environment;
        let bounds = wide(&environment.action_centre()).into_iter().zip(wide(&environment.action_scale()));
        dense(&hidden, "output").into_iter().zip(bounds).map(|(x, (centre, scale))| centre + scale * x.tanh()).collect()
    }

    /// The return of an actor's episode of an evaluation, in float64.
    fn replayed(population: &Population, parameters: &[f32], seed: u32, episode: u32) -> f64 {
        let draw = |i| reference_uniform(philox([0, episode, purpose::EVALUATION, i], [seed, 0])[0]);
        let (life, begun) = (2.0 + (5.0 * draw(0)).floor(), draw(1));
        let (mut sum, mut number) = (0.0, begun as f32);
        for taken in 0..4 {
            let (age, mark) = (f64::from(taken), f64::from(number));
            if age == 1.0 && begun > 0.75 {
                return f64::NAN;
            }
            number = marked_by(number, [taken + 1, episode, purpose::EVALUATION], seed.into());
            sum += age + 1.0 + actor(population, parameters, &[age, life, mark, age * life, 1.0]).iter().sum::<f64>();
            if age + 1.0 >= life {
                break;
            }
        }
        sum
    }

    /// Batches of three, of which the last gives two; agents that have stopped learning; episodes that fail beside others.
    #[test]
    fn every_return_is_that_of_its_replay() {
        let gpu = all_limits();
        let config = Config { actor_hidden: vec![16], output_initialization: 0.5, batch_norm: BatchNorm::None, ..quiet(2, 2, 64) };
        let population = Population::new(&gpu.device, &gpu.queue, &fragile(), &config).unwrap_or_else(|error| panic!("{error}"));
        let one = Stage::new(&population, 8, 1, 0).expect("a stage");
        assert_eq!((one.environments, one.limit), (1, 4), "at least one environment");
        let bytes = 3 * 2 * 16 * u64::from(one.memory.sizes.activations_stride);
        assert_eq!(Stage::new(&population, 8, 1, bytes).expect("a stage").environments, 3);
        let mut of_seeds = Vec::new();
        for seed in [7, 9] {
            let evaluations = evaluate(&population, 8, seed, bytes).expect("evaluated");
            assert_eq!(evaluations.len(), 2);
            for (agent, evaluation) in evaluations.iter().enumerate() {
                let hyper = &population.hyper_parameters[agent];
                assert_eq!((evaluation.agent as usize, evaluation.seed, evaluation.returns.len()), (agent, hyper.seed, 8));
                let parameters = initial_parameters(&config, &population.environment, &population.networks, hyper.seed);
                let mut sound = 0;
                for (episode, found) in (0..).zip(&evaluation.returns) {
                    let expected = replayed(&population, &parameters, seed, episode);
                    let what = format!("seed {seed}, agent {agent}, episode {episode}: {found}, {expected} by the replay");
                    sound += usize::from(!expected.is_nan());
                    assert!(if expected.is_nan() { found.is_nan() } else { (f64::from(*found) - expected).abs() < 1e-4 }, "{what}");
                }
                assert!((3..8).contains(&sound), "{sound} of 8 without a failure");
            }
            assert_ne!(evaluations[0].returns, evaluations[1].returns, "each acts by its own actor");
            of_seeds.push(evaluations[0].returns.clone());
            // an agent that has stopped is evaluated all the same
            let second = size_of::<AgentState>() + std::mem::offset_of!(AgentState, halted);
            population.queue.write_buffer(&population.memory.buffers.agent_states, second as u64, bytemuck::bytes_of(&1_u32));
        }
        let distinct: std::collections::HashSet<u32> = of_seeds.concat().iter().map(|sum| sum.to_bits()).collect();
        assert!(distinct.len() > 8, "{of_seeds:?}");
        gpu.check().unwrap_or_else(|error| panic!("{error}"));
    }
}
