//! Environments of several agents on the device, for the tests of rollouts, exploration and replay.

use super::harness::{Contents, Place, Rig};
use crate::allocator::Allocator;
use crate::config::Config;
use crate::ddpg::{Networks, Update};
use crate::environment::Environment;
use crate::kernels::Kernel;
use crate::kernels::philox::{purpose, reference_uniform};
use crate::layout;
use crate::operation::Step;
use crate::philox;
use crate::population::Options;
use crate::rollout::Rollout;

/// One transition of a ring, as it lies there.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Stored {
    pub observation: Vec<f32>,
    pub action: Vec<f32>,
    pub reward: f32,
    pub terminated: f32,
    pub next_observation: Vec<f32>,
}

/// A population's memory laid out as in training, with the actor's output put there by the test.
#[derive(Debug)]
pub(crate) struct World {
    pub rig: Rig,
    pub environment: Environment,
    pub config: Config,
    pub update: Update,
    pub rollout: Rollout,
    pub contents: Contents,
}

impl World {
    /// Nothing has been reset yet; every actor's output is zero.
    pub fn new(rig: Rig, environment: &Environment, config: &Config) -> Self {
        let networks = Networks::new(config, environment);
        let update = Update::new(config, &networks, &rig.pipelines);
        let mut memory = Allocator { used: update.length };
        let rollout = Rollout::new(&networks, &rig.pipelines, config.environments, None, &mut memory);
        let sizes = layout::sizes(config, environment, &networks, memory.length(), Options::default());
        let mut contents = Contents::of_sizes(sizes, config);
        contents.options = layout::option_bits(config, Options::default());
        contents.activations.fill(0.0);
        for agent in 0..config.agents {
            networks.write_bounds(environment, contents.parameters_of(agent));
        }
        Self { rig, environment: environment.clone(), config: config.clone(), update, rollout, contents }
    }

    fn of_kind(steps: &[Step], kernel: Kernel) -> Vec<Step> {
        let found: Vec<_> = steps.iter().filter(|step| step.operation.kind == kernel as u32).cloned().collect();
        assert_eq!(found.len(), 1, "{kernel:?}");
        found
    }

    /// Begins every environment's first episode.
    pub fn reset(&mut self) {
        let steps = Self::of_kind(&self.rollout.reset.0, Kernel::ResetEnvironments);
        self.contents.run(&self.rig, &steps);
    }

    /// Steps every environment `times` times, without the actor in between.
    pub fn step(&mut self, times: usize) {
        let steps = Self::of_kind(&self.rollout.steps.0, Kernel::StepEnvironments);
        self.contents.repeat(&self.rig, &steps, times);
    }

    /// Draws a minibatch for every agent.
    pub fn sample(&mut self) {
        let takes_bands = self.rig.pipelines.bands_in_place(self.update.observation.rows) > 0;
        let steps = Self::of_kind(&self.update.steps.0, if takes_bands { Kernel::SampleRows } else { Kernel::Sample });
        self.contents.run(&self.rig, &steps);
    }

    /// What the actor would have said, `[environments, action]`.
    pub fn put_actor_output(&mut self, agent: u32, values: &[f32]) {
        let matrix = self.rollout.action;
        let place = Place::new(matrix.offset, matrix.stride, self.environment.action_size());
        place.put(self.contents.activations_of(agent), values);
    }

    /// What the networks see, `[environments, observation]`.
    pub fn put_observations(&mut self, agent: u32, values: &[f32]) {
        let matrix = self.rollout.observation;
        let place = Place::new(matrix.offset, matrix.stride, self.environment.observation_size);
        place.put(self.contents.activations_of(agent), values);
    }

    /// What the networks see next, `[environments, observation]`.
    pub fn observations(&mut self, agent: u32) -> Vec<f32> {
        let matrix = self.rollout.observation;
        let place = Place::new(matrix.offset, matrix.stride, self.environment.observation_size);
        place.take(self.contents.activations_of(agent), self.config.environments)
    }

    /// One environment's floats: state, noise, then its episode.
    pub fn environment(&mut self, agent: u32, index: u32) -> &mut [f32] {
        let stride = self.contents.sizes.environment_stride as usize;
        let first = (agent * self.config.environments + index) as usize * stride;
        &mut self.contents.environments[first..first + stride]
    }

    /// The floats of a slot of an agent's ring.
    pub fn slot(&mut self, agent: u32, slot: u32) -> &mut [f32] {
        let sizes = self.contents.sizes;
        let first = (agent * sizes.replay_stride + slot * sizes.transition_stride) as usize;
        &mut self.contents.replay[first..first + sizes.transition_stride as usize]
    }

    /// A slot of an agent's ring.
    pub fn stored(&mut self, agent: u32, slot: u32) -> Stored {
        let (o, a) = (self.environment.observation_size as usize, self.environment.action_size() as usize);
        let floats = self.slot(agent, slot);
        Stored {
            observation: floats[..o].to_vec(),
            action: floats[o..o + a].to_vec(),
            reward: floats[o + a],
            terminated: floats[o + a + 1],
            next_observation: floats[o + a + 2..].to_vec(),
        }
    }
}

/// An environment made for tests: every episode lives 2 to 6 steps, as its reset draws, unless the time limit of 4 comes
/// first. State: age, life, a mark of the episode, to which every step adds a whole number below 8. Reward: age plus the sum of the
/// actions, so that everything is known.
pub(crate) fn probe(actions: u32) -> Environment {
    let source = "
fn environment_reset(random: ptr<function, Random>) -> State {
    let life = 2.0 + floor(5.0 * random_uniform(random));
    return State(0.0, life, random_uniform(random));
}
fn environment_step(state: State, action: Action, random: ptr<function, Random>) -> Step {
    var reward = state[0] + 1.0;
    for (var i = 0u; i < ACTION_SIZE; i++) { reward += action[i]; }
    return Step(State(state[0] + 1.0, state[1], state[2] + floor(8.0 * random_uniform(random))), reward, state[0] + 1.0 >= state[1]);
}
fn environment_observe(state: State) -> Observation {
    return Observation(state[0], state[1], state[2], state[0] * state[1], 1.0);
}
";
    let bounds = [(-1.0, 1.0), (0.0, 3.0), (-5.0, -1.0), (-0.5, 0.75), (2.0, 2.25)];
    let (low, high) = bounds.into_iter().take(actions as usize).unzip();
    Environment::new(format!("probe-{actions}"), source, 3, 5, low, high, 4).unwrap_or_else(|error| panic!("{error}"))
}

/// The probe's mark after a step that begins with `mark`.
pub(crate) fn marked(mark: f32, seed: u64, step: u32, lane: u32) -> f32 {
    marked_by(mark, [step, lane, purpose::ENVIRONMENT], seed)
}

/// The same by the first draw of another counter.
pub(crate) fn marked_by(mark: f32, [step, lane, purpose]: [u32; 3], seed: u64) -> f32 {
    let words = philox([step, lane, purpose, 0], [seed as u32, (seed >> 32) as u32]);
    mark + (8.0 * reference_uniform(words[0])).floor() as f32
}

/// A small configuration; noise off, nothing random.
pub(crate) fn quiet(agents: u32, environments: u32, replay_capacity: u32) -> Config {
    Config {
        agents,
        environments,
        replay_capacity,
        seed: 0x1234_5678_9abc,
        actor_hidden: vec![4],
        critic_hidden: vec![4],
        action_layer: 1,
        batch_size: 4,
        learning_starts: 1,
        random_steps: 0,
        exploration: crate::config::Exploration::None,
        ..Config::default()
    }
}
