//! What the tests of the environments share: single steps through the rollout program that trains, from chosen states
//! or from those that resets and random actions lead to, beside a float64 reference.

use crate::buffer::{read_blocking, wait_blocking};
use crate::layout::environment_stride;
use crate::population::Population;
use crate::{Config, Environment, Gpu};

/// One step of one environment, as the device took it.
#[derive(Debug)]
pub(crate) struct Taken {
    pub state: Vec<f32>,
    pub action: Vec<f32>,
    pub reward: f32,
    pub terminated: bool,
    /// What the replay ring holds: the last observation of the episode where it ended here.
    pub next_observation: Vec<f32>,
    /// What the environment goes on with: where the episode ended, the first state of the next one.
    pub next_state: Vec<f32>,
    /// Whether the episode ended here.
    pub ended: bool,
}

/// Many environments of one agent that acts at random.
pub(crate) struct Trial {
    gpu: Gpu,
    population: Population,
    environments: usize,
}

impl Trial {
    pub fn new(environment: &Environment, environments: u32) -> Self {
        let gpu = Gpu::open_blocking(None).unwrap_or_else(|error| panic!("{error}"));
        let config = Config {
            environments,
            replay_capacity: environments,
            batch_size: 1,
            learning_starts: environments,
            random_steps: u32::MAX,
            actor_hidden: vec![4],
            critic_hidden: vec![4],
            ..Config::default()
        };
        let population = Population::new(&gpu.device, &gpu.queue, environment, &config).unwrap_or_else(|error| panic!("{error}"));
        Self { gpu, population, environments: environments as usize }
    }

    /// An environment's floats: state, noise, return, length, return and length of the last finished episode.
    fn slots(&self) -> Vec<Vec<f32>> {
        let stride = environment_stride(self.population.environment()) as usize;
        let buffer = &self.population.memory.buffers.environments;
        let bytes = (4 * stride * self.environments) as u64;
        let floats: Vec<f32> = read_blocking(&self.gpu.device, &self.gpu.queue, buffer, 0..bytes).expect("a readable buffer");
        floats.chunks(stride).map(<[f32]>::to_vec).collect()
    }

    /// The state of every environment.
    pub fn states(&self) -> Vec<Vec<f32>> {
        let size = self.population.environment().state_size as usize;
        self.slots().into_iter().map(|slot| slot[..size].to_vec()).collect()
    }

    /// Puts every environment into a state of its own.
    pub fn set_states(&self, state: impl Fn(usize) -> Vec<f32>) {
        let stride = 4 * u64::from(environment_stride(self.population.environment()));
        for index in 0..self.environments {
            let floats = state(index);
            assert_eq!(floats.len(), self.population.environment().state_size as usize);
            let buffer = &self.population.memory.buffers.environments;
            self.gpu.queue.write_buffer(buffer, index as u64 * stride, bytemuck::cast_slice(&floats));
        }
    }

    /// One step of every environment, with actions uniform within their bounds.
    pub fn step(&mut self) -> Vec<Taken> {
        let before = self.slots();
        let mut encoder = self.gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        {
            // the rollout alone: nothing is learned here
            let mut pass = self.population.begin(&mut encoder);
            let [(rollout, _), _] = self.population.named_programs();
            rollout.record(&mut pass, &self.population.pipelines, &self.population.memory.table, 1);
        }
        self.gpu.queue.submit([encoder.finish()]);
        wait_blocking(&self.gpu.device).expect("the device works");
        self.gpu.check().unwrap_or_else(|error| panic!("{error}"));
        let after = self.slots();
        let environment = self.population.environment();
        let (states, observations, actions) =
            (environment.state_size as usize, environment.observation_size as usize, environment.action_size() as usize);
        let stride = self.population.memory.sizes.transition_stride as usize;
        let bytes = (4 * stride * self.environments) as u64;
        let buffer = &self.population.memory.buffers.replay;
        // the ring holds one transition an environment, in their order
        let ring: Vec<f32> = read_blocking(&self.gpu.device, &self.gpu.queue, buffer, 0..bytes).expect("a readable buffer");
        let taken = ring.chunks(stride).zip(before.iter().zip(&after)).map(|(transition, (before, after))| {
            let (action, rest) = transition[observations..].split_at(actions);
            Taken {
                state: before[..states].to_vec(),
                action: action.to_vec(),
                reward: rest[0],
                terminated: rest[1] != 0.0,
                next_observation: rest[2..].to_vec(),
                next_state: after[..states].to_vec(),
                ended: after[states + actions + 1] == 0.0,
            }
        });
        taken.collect()
    }
}

/// What a reference says of a step.
pub(crate) struct Expected {
    pub state: Vec<f64>,
    pub reward: f64,
    pub terminated: bool,
    pub observation: Vec<f64>,
    /// Whether float32 may fall on the other side of a threshold than float64.
    pub undecided: bool,
}

/// Compares a step with its reference to within 1e-4 absolute and relative; NaN never passes.
#[track_caller]
pub(crate) fn assert_step(taken: &Taken, expected: &Expected) {
    if expected.undecided {
        return;
    }
    let close = |actual: f32, expected: f64| (f64::from(actual) - expected).abs() <= 1e-4 + 1e-4 * expected.abs();
    let all = |actual: &[f32], expected: &[f64]| actual.len() == expected.len() && actual.iter().zip(expected).all(|(&a, &e)| close(a, e));
    assert!(close(taken.reward, expected.reward), "reward {}, expected {}, in {taken:?}", taken.reward, expected.reward);
    assert_eq!(taken.terminated, expected.terminated, "terminated, in {taken:?}");
    assert!(all(&taken.next_observation, &expected.observation), "next observation, expected {:?}, in {taken:?}", expected.observation);
    if !taken.ended {
        assert!(all(&taken.next_state, &expected.state), "next state, expected {:?}, in {taken:?}", expected.state);
    }
}

/// The samples lie in `low..=high` and are uniform there: Kolmogorov's statistic below its 0.1 % point.
#[track_caller]
pub(crate) fn assert_uniform(what: &str, samples: impl IntoIterator<Item = f64>, low: f64, high: f64) {
    let mut samples: Vec<f64> = samples.into_iter().collect();
    samples.sort_by(f64::total_cmp);
    let count = samples.len() as f64;
    let slack = 1e-6 * (high - low);
    let mut worst: f64 = 0.0;
    for (rank, sample) in samples.iter().enumerate() {
        assert!((low - slack..=high + slack).contains(sample), "{what}: {sample} is not in {low}..{high}");
        let share = (sample - low) / (high - low);
        worst = worst.max((share - rank as f64 / count).abs()).max((share - (rank as f64 + 1.0) / count).abs());
    }
    assert!(worst * count.sqrt() < 1.95, "{what}: not uniform over {low}..{high}, Kolmogorov's statistic is {}", worst * count.sqrt());
}

/// A repeatable draw in [0, 1) for test states.
pub(crate) fn unit(index: usize, draw: u32) -> f64 {
    f64::from(crate::philox([index as u32, draw, 77, 0], [5, 0])[0]) / 2f64.powi(32)
}

/// `unit` stretched to a range.
pub(crate) fn between(index: usize, draw: u32, low: f64, high: f64) -> f32 {
    (low + (high - low) * unit(index, draw)) as f32
}

/// Two environments' states differ, so that no two share a stream.
#[track_caller]
pub(crate) fn assert_distinct(states: &[Vec<f32>]) {
    for (i, state) in states.iter().enumerate() {
        assert!(!states[..i].contains(state), "environment {i} starts as an earlier one does: {state:?}");
    }
}
