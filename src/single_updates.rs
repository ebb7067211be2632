//! Single updates of the algorithms of Silver et al. 2014 against float64, through the programs that train. The reference
//! knows no backward pass: every gradient is a central difference of the equations themselves.

use crate::buffer::{Source, read_blocking};
use crate::kernels::harness::{assert_close, default_limits, differences, wide};
use crate::memory::AgentState;
use crate::network::Network;
use crate::operation::Matrix;
use crate::population::{Options, Population};
use crate::{Algorithm, Config, Environment, Exploration, HyperParameters, Minibatch, Preset, Tile};
use rand::RngExt;

const AGENTS: u32 = 2;
const ENVIRONMENTS: u32 = 5;
const OBSERVATION: usize = 3;
const ACTION: usize = 2;
const LOW: [f32; ACTION] = [-2.0, -0.5];
const HIGH: [f32; ACTION] = [2.0, 1.0];

#[derive(Clone)]
struct Transition {
    observation: Vec<f64>,
    action: Vec<f64>,
    reward: f64,
    terminated: f64,
    next_observation: Vec<f64>,
}

/// Never stepped: the transitions are written into the ring.
fn environment() -> Environment {
    let source = "fn environment_reset(random: ptr<function, Random>) -> State { return State(0.0); }
        fn environment_step(state: State, action: Action, random: ptr<function, Random>) -> Step { return Step(state, 0.0, false); }
        fn environment_observe(state: State) -> Observation { return Observation(state[0], 0.0, 0.0); }";
    Environment::new("single update", source, 1, OBSERVATION as u32, LOW.to_vec(), HIGH.to_vec(), 200).expect("sizes that can be")
}

fn config(algorithm: Algorithm, minibatch: Minibatch) -> Config {
    let mut config = Config::preset(Preset::OnPolicy);
    config.agents = AGENTS;
    config.environments = ENVIRONMENTS;
    config.algorithm = algorithm;
    config.minibatch = minibatch;
    config.actor_hidden = vec![5, 7];
    config.critic_hidden = vec![6, 9];
    config.action_layer = 2;
    // two steps of every environment, and one slot that was never written: the ring wraps within a step
    config.replay_capacity = 2 * ENVIRONMENTS + 1;
    config.batch_size = 2 * ENVIRONMENTS + 1;
    config.partial_batches = true;
    config.learning_starts = 1;
    config.gamma = 0.9;
    config.actor_learning_rate = 0.05;
    config.critic_learning_rate = 0.03;
    config.compatible_learning_rate = 0.07;
    config.output_initialization = 0.4;
    config.basis_weights = 0.8;
    config.basis_biases = 0.5;
    config.exploration = Exploration::None;
    if algorithm == Algorithm::Compatible {
        // of θ alone: w does not decay
        config.actor_weight_decay = 0.3;
    }
    config
}

/// The output of a network in float64; `parameters` in the order of its tensors.
fn output(network: &Network, parameters: &[f64], observation: &[f64], action: &[f64]) -> Vec<f64> {
    let mut rest = parameters;
    let mut take = |count: usize| {
        let (taken, left) = rest.split_at(count);
        rest = left;
        taken
    };
    let mut x = observation.to_vec();
    for (index, layer) in network.layers.iter().enumerate() {
        let units = layer.units as usize;
        let mut z = vec![0.0; units];
        let mut add = |x: &[f64], weights: &[f64]| {
            for (x, row) in x.iter().zip(weights.chunks(units)) {
                z.iter_mut().zip(row).for_each(|(z, w)| *z += x * w);
            }
        };
        add(&x, take(x.len() * units));
        if layer.actions > 0 {
            add(action, take(action.len() * units));
        }
        add(&[1.0], take(units));
        x = if index + 1 < network.layers.len() { z.iter().map(|z| z.max(0.0)).collect() } else { z };
    }
    x
}

fn policy(actor: &Network, parameters: &[f64], observation: &[f64]) -> Vec<f64> {
    let z = output(actor, parameters, observation, &[]);
    (0..ACTION).map(|i| f64::from(HIGH[i] + LOW[i]) / 2.0 + f64::from(HIGH[i] - LOW[i]) / 2.0 * z[i].tanh()).collect()
}

struct Trial {
    population: Population,
    before: Vec<Vec<f32>>,
    rows: Vec<Transition>,
    next_actions: Vec<Option<Vec<f64>>>,
}

impl Trial {
    /// Runs one update on transitions that are written into the ring of every agent.
    fn new(algorithm: Algorithm, minibatch: Minibatch, tile: Tile) -> Self {
        let gpu = default_limits();
        let config = config(algorithm, minibatch);
        let hyper_parameters = HyperParameters::of_population(&config);
        let mut options = Options::default();
        options.tile = Some(tile);
        let population =
            Population::with_options(&gpu.device, &gpu.queue, &environment(), &config, hyper_parameters, options).expect("a population");
        let mut trial = Self { population, before: Vec::new(), rows: Vec::new(), next_actions: Vec::new() };
        trial.write(algorithm, minibatch);
        let population = &mut trial.population;
        population.continue_from(2, 0, 2 * u64::from(ENVIRONMENTS));
        let mut encoder = population.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        population.record_updates(&mut encoder, 1);
        population.queue.submit([encoder.finish()]);
        gpu.check().expect("a device that works");
        trial
    }

    fn write(&mut self, algorithm: Algorithm, minibatch: Minibatch) {
        let mut random = crate::Philox::new(7, 0x200);
        let mut number = |low: f64, high: f64| f64::from((low + (high - low) * random.random::<f64>()) as f32);
        let mut draw = |count: usize| (0..count).map(|_| number(-1.5, 1.5)).collect::<Vec<f64>>();
        let e = ENVIRONMENTS as usize;
        let mut first: Vec<Transition> = Vec::new();
        let mut second: Vec<Transition> = Vec::new();
        for i in 0..e {
            let next = draw(OBSERVATION);
            let terminated = if i == 2 { 1.0 } else { 0.0 };
            // environment 3 was cut off by its time limit, environment 2 ended: both begin anew
            let mut follows = if i == 2 { draw(OBSERVATION) } else { next.clone() };
            if i == 3 {
                // by a number that no other tells
                follows[OBSERVATION - 1] += 1.0;
            }
            first.push(Transition {
                observation: draw(OBSERVATION),
                action: draw(ACTION),
                reward: draw(1)[0],
                terminated,
                next_observation: next,
            });
            let terminated = if i == 1 { 1.0 } else { 0.0 };
            second.push(Transition {
                observation: follows,
                action: draw(ACTION),
                reward: draw(1)[0],
                terminated,
                next_observation: draw(OBSERVATION),
            });
        }
        (self.rows, self.next_actions) = match (minibatch, algorithm) {
            // fewer than a batch: all of them, in the order of their slots, of which the first step's last is slot 0
            (Minibatch::Replay, _) => {
                let ring: Vec<Transition> = first.iter().chain(&second).cloned().collect();
                (ring.clone(), vec![None; ring.len()])
            }
            (Minibatch::Latest, Algorithm::OnPolicy) => {
                let followed = (0..e).map(|i| (i != 2 && i != 3).then(|| second[i].action.clone())).collect();
                (first.clone(), followed)
            }
            (Minibatch::Latest, _) => (second.clone(), vec![None; e]),
        };
        let capacity = self.population.config.replay_capacity as usize;
        // where the latest steps are looked up, the ring has wrapped; a partial batch takes slots from the start
        let offset = if minibatch == Minibatch::Latest { capacity - 3 } else { 0 };
        let stride = self.population.memory.sizes.transition_stride as usize;
        let mut ring = vec![f32::NAN; capacity * stride];
        for (at, t) in first.iter().chain(&second).enumerate() {
            let floats = [&t.observation[..], &t.action, &[t.reward, t.terminated], &t.next_observation].concat();
            let slot = (offset + at) % capacity;
            ring[slot * stride..(slot + 1) * stride].iter_mut().zip(&floats).for_each(|(to, &x)| *to = x as f32);
        }
        let population = &self.population;
        let count = 2 * ENVIRONMENTS;
        let state =
            AgentState { replay_length: count, replay_head: (offset as u32 + count) % capacity as u32, ..bytemuck::Zeroable::zeroed() };
        let buffers = &population.memory.buffers;
        let states = [state; AGENTS as usize];
        population.queue.write_buffer(&buffers.agent_states, 0, bytemuck::cast_slice(&states));
        for agent in 0..AGENTS as usize {
            let stride = 4 * u64::from(population.memory.sizes.replay_stride);
            population.queue.write_buffer(&buffers.replay, agent as u64 * stride, bytemuck::cast_slice(&ring));
            let mut parameters = self.parameters(agent);
            if algorithm == Algorithm::Compatible {
                // w, in the target actor's place
                let half = 4 * population.networks.length as usize;
                for tensor in population.networks.actor.tensors() {
                    let values: Vec<f32> = draw((tensor.rows * tensor.columns) as usize).iter().map(|&x| 0.4 * x as f32).collect();
                    tensor.scatter(&values, &mut parameters[half..]);
                }
            }
            population.write_parameters(agent, &parameters);
            self.before.push(parameters);
        }
    }

    fn parameters(&self, agent: usize) -> Vec<f32> {
        let bytes = 16 * u64::from(self.population.memory.sizes.parameters_stride);
        self.read(&self.population.memory.buffers.parameters, agent as u64 * bytes, bytes)
    }

    fn read(&self, source: &impl Source, start: u64, bytes: u64) -> Vec<f32> {
        read_blocking(&self.population.device, &self.population.queue, source, start..start + bytes).expect("a readable buffer")
    }

    fn state(&self, agent: usize) -> AgentState {
        let bytes = size_of::<AgentState>() as u64;
        let states = &self.population.memory.buffers.agent_states;
        let state =
            read_blocking(&self.population.device, &self.population.queue, states, agent as u64 * bytes..(agent as u64 + 1) * bytes);
        state.expect("a readable buffer")[0]
    }

    /// What an update left in `matrix`, `width` floats from `component` of every row.
    fn stage(&self, agent: usize, matrix: Matrix, component: usize, width: usize) -> Vec<f32> {
        let bytes = 16 * u64::from(self.population.memory.sizes.activations_stride);
        let activations = self.read(&self.population.memory.buffers.activations, agent as u64 * bytes, bytes);
        let row = |r: usize| 4 * (matrix.offset as usize + r * matrix.stride as usize) + component;
        (0..self.rows.len()).flat_map(|r| activations[row(r)..row(r) + width].to_vec()).collect()
    }

    fn flat(network: &Network, parameters: &[f32]) -> Vec<f64> {
        network.tensors().iter().flat_map(|tensor| wide(&tensor.gather(parameters))).collect()
    }

    fn mean(&self, f: impl Fn(usize, &Transition) -> f64) -> f64 {
        self.rows.iter().enumerate().map(|(r, t)| f(r, t)).sum::<f64>() / self.rows.len() as f64
    }
}

fn ascend(parameters: &[f64], gradient: &[f64], rate: f32) -> Vec<f64> {
    parameters.iter().zip(gradient).map(|(p, g)| p + f64::from(rate) * g).collect()
}

/// Layer by layer, and in bands.
const TILES: [Tile; 2] = [Tile::Portable, Tile::Small];

fn actor_critic(algorithm: Algorithm, minibatch: Minibatch) {
    TILES.iter().for_each(|&tile| actor_critic_on(tile, algorithm, minibatch));
}

fn actor_critic_on(tile: Tile, algorithm: Algorithm, minibatch: Minibatch) {
    let trial = Trial::new(algorithm, minibatch, tile);
    let config = &trial.population.config;
    let (actor, critic) = (&trial.population.networks.actor, &trial.population.networks.critic);
    let gamma = f64::from(config.gamma);
    for agent in 0..AGENTS as usize {
        let label = |stage: &str| format!("{algorithm:?} from {minibatch:?}, {tile:?}, agent {agent}: {stage}");
        let theta = Trial::flat(actor, &trial.before[agent]);
        let w = Trial::flat(critic, &trial.before[agent]);
        let next_action =
            |r: usize, t: &Transition| trial.next_actions[r].clone().unwrap_or_else(|| policy(actor, &theta, &t.next_observation));
        let target = |r: usize, t: &Transition| {
            t.reward + gamma * (1.0 - t.terminated) * output(critic, &w, &t.next_observation, &next_action(r, t))[0]
        };
        let targets: Vec<f64> = trial.rows.iter().enumerate().map(|(r, t)| target(r, t)).collect();
        let values: Vec<f64> = trial.rows.iter().map(|t| output(critic, &w, &t.observation, &t.action)[0]).collect();
        let update = &trial.population.update;
        assert_close(&trial.stage(agent, update.rewards, 2, 1), &targets, 1e-5, 1e-5, &label("td_target"));
        assert_close(&trial.stage(agent, update.value, 0, 1), &values, 1e-5, 1e-5, &label("value"));
        // w ← w + α δ ∇Q(s, a), the target held fixed
        let descent = |w: &[f64]| trial.mean(|r, t| -0.5 * (targets[r] - output(critic, w, &t.observation, &t.action)[0]).powi(2));
        let w = ascend(&w, &differences(descent, &w), config.critic_learning_rate);
        // θ ← θ + α ∇μ(s) ∇Q(s, μ(s)), with the critic as it is now
        let objective = |theta: &[f64]| trial.mean(|_, t| output(critic, &w, &t.observation, &policy(actor, theta, &t.observation))[0]);
        // the means that are measured are over the rows that there were
        let state = trial.state(agent);
        let squares = targets.iter().zip(&values).map(|(target, value)| (target - value).powi(2)).sum::<f64>();
        let count = values.len() as f64;
        let means = [squares / count, values.iter().sum::<f64>() / count, -objective(&theta)];
        let measured = [state.critic_loss, state.value, state.actor_loss];
        assert_eq!(state.measured_updates, 1, "{}", label("updates"));
        assert_close(&measured, &means, 1e-5, 1e-5, &label("critic loss, value, actor loss"));
        let theta = ascend(&theta, &differences(objective, &theta), config.actor_learning_rate);
        let after = trial.parameters(agent);
        assert_close(&Trial::flat(critic, &after), &w, 1e-5, 1e-5, &label("critic"));
        assert_close(&Trial::flat(actor, &after), &theta, 1e-5, 1e-5, &label("actor"));
    }
}

#[test]
fn on_policy_actor_critic_follows_the_action_that_was_taken() {
    actor_critic(Algorithm::OnPolicy, Minibatch::Latest);
}

#[test]
fn off_policy_actor_critic_from_the_latest_step() {
    actor_critic(Algorithm::OffPolicy, Minibatch::Latest);
}

#[test]
fn off_policy_actor_critic_from_the_replay_ring() {
    actor_critic(Algorithm::OffPolicy, Minibatch::Replay);
}

fn compatible(minibatch: Minibatch) {
    TILES.iter().for_each(|&tile| compatible_on(tile, minibatch));
}

fn compatible_on(tile: Tile, minibatch: Minibatch) {
    let trial = Trial::new(Algorithm::Compatible, minibatch, tile);
    let config = &trial.population.config;
    let networks = &trial.population.networks;
    let (actor, critic) = (&networks.actor, &networks.critic);
    let half = 4 * networks.length as usize;
    for agent in 0..AGENTS as usize {
        let label = |stage: &str| format!("COPDAC-Q from {minibatch:?}, {tile:?}, agent {agent}: {stage}");
        let theta = Trial::flat(actor, &trial.before[agent]);
        let w = Trial::flat(actor, &trial.before[agent][half..]);
        let v = Trial::flat(critic, &trial.before[agent]);
        let mu = |theta: &[f64], t: &Transition| policy(actor, theta, &t.observation);
        // ∇μᵀw, one number an action
        let along = |t: &Transition| {
            let moved = |by: f64| mu(&theta.iter().zip(&w).map(|(p, w)| p + by * w).collect::<Vec<_>>(), t);
            moved(1e-6).iter().zip(moved(-1e-6)).map(|(a, b)| (a - b) / 2e-6).collect::<Vec<_>>()
        };
        let difference = |t: &Transition| t.action.iter().zip(mu(&theta, t)).map(|(a, m)| a - m).collect::<Vec<_>>();
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let advantage = |t: &Transition| dot(&difference(t), &along(t));
        let state_value = |v: &[f64], observation: &[f64]| output(critic, v, observation, &[])[0];
        let target = |t: &Transition| t.reward + f64::from(config.gamma) * (1.0 - t.terminated) * state_value(&v, &t.next_observation);
        let error = |t: &Transition| target(t) - advantage(t) - state_value(&v, &t.observation);
        let update = &trial.population.update;
        let stage = |f: &dyn Fn(&Transition) -> Vec<f64>| trial.rows.iter().flat_map(f).collect::<Vec<f64>>();
        assert_close(&trial.stage(agent, update.action_gradient, 0, ACTION), &stage(&along), 1e-4, 1e-5, &label("∇μᵀw"));
        assert_close(&trial.stage(agent, update.rewards, 3, 1), &stage(&|t| vec![error(t)]), 1e-4, 1e-5, &label("td_error"));
        let mut theta_gradient = differences(|x| trial.mean(|_, t| dot(&mu(x, t), &along(t))), &theta);
        let decays = actor.tensors().into_iter().flat_map(|tensor| {
            let decay = if tensor.is_vector { 0.0 } else { f64::from(config.actor_weight_decay) };
            vec![decay; (tensor.rows * tensor.columns) as usize]
        });
        theta_gradient.iter_mut().zip(decays).zip(&theta).for_each(|((g, decay), p)| *g -= decay * p);
        let new_theta = ascend(&theta, &theta_gradient, config.actor_learning_rate);
        let w_gradient = differences(|x| trial.mean(|_, t| error(t) * dot(&mu(x, t), &difference(t))), &theta);
        let new_w = ascend(&w, &w_gradient, config.compatible_learning_rate);
        let errors: Vec<f64> = trial.rows.iter().map(error).collect();
        let mut v_gradient = differences(|x| trial.mean(|r, t| errors[r] * state_value(x, &t.observation)), &v);
        // the basis is fixed: only the output layer learns
        let output_parameters = critic.layers.last().map_or(0, |layer| (layer.inputs + 1) * layer.units) as usize;
        let fixed = v.len() - output_parameters;
        v_gradient[..fixed].fill(0.0);
        let new_v = ascend(&v, &v_gradient, config.critic_learning_rate);
        let after = trial.parameters(agent);
        assert_close(&Trial::flat(actor, &after), &new_theta, 1e-5, 1e-5, &label("θ"));
        assert_close(&Trial::flat(actor, &after[half..]), &new_w, 1e-5, 1e-5, &label("w"));
        assert_close(&Trial::flat(critic, &after), &new_v, 1e-5, 1e-5, &label("v"));
    }
}

#[test]
fn copdac_q_from_the_latest_step() {
    compatible(Minibatch::Latest);
}

#[test]
fn copdac_q_from_the_replay_ring() {
    compatible(Minibatch::Replay);
}
