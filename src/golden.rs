//! Three successive updates against float64 automatic differentiation (`tests/golden/ddpg-update*.json`), every stage,
//! through the programs that train.

use crate::buffer::{Source, read_blocking};
use crate::kernels::harness::{all_limits, default_limits};
use crate::memory::AgentState;
use crate::network::Network;
use crate::operation::Matrix;
use crate::population::{Options, Population};
use crate::vectors::Vectors;
use crate::{BatchNorm, Config, Environment, Gpu, HyperParameters, Plan, Statistics, Tile};
use serde::Deserialize;
use std::collections::BTreeMap;

const AGENTS: u32 = 2;

#[derive(Deserialize)]
struct File {
    common: Common,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Common {
    gamma: f32,
    tau: f32,
    actor_learning_rate: f32,
    critic_learning_rate: f32,
    adam_beta1: f64,
    adam_beta2: f64,
    batch_norm_epsilon: f32,
    batch_norm_decay: f32,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    observation_dim: u32,
    hidden: Vec<u32>,
    batch: u32,
    batch_norm: String,
    target_statistics: Option<String>,
    action_bound: Vec<f32>,
    weight_decay: f32,
    adam_epsilon: f32,
    initial: BTreeMap<String, Tensors>,
    updates: Vec<Recorded>,
}

type Tensors = BTreeMap<String, Array>;

#[derive(Deserialize)]
struct Array {
    shape: Vec<usize>,
    data: Vec<f64>,
}

#[derive(Deserialize)]
struct Recorded {
    batch: Tensors,
    target_action: Array,
    target_value: Array,
    td_target: Array,
    value: Array,
    critic_loss: f64,
    critic_gradient: Tensors,
    critic_after: Tensors,
    policy_action: Array,
    policy_value: Array,
    action_gradient: Array,
    actor_gradient: Tensors,
    actor_after: Tensors,
    target_actor_after: Tensors,
    target_critic_after: Tensors,
}

fn files() -> Vec<(String, File)> {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden");
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).expect("tests/golden is part of the project") {
        let path = entry.expect("a directory entry").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with("ddpg-update") && name.ends_with(".json") {
            let text = std::fs::read_to_string(&path).expect("a readable file");
            found.push((name.clone(), serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"))));
        }
    }
    assert!(!found.is_empty(), "no ddpg-update*.json in {directory}");
    found
}

/// An environment of the case's sizes that no kernel steps: the minibatches come from the file.
fn environment(case: &Case) -> Environment {
    let low = case.action_bound.iter().map(|bound| -bound).collect();
    Environment::host("golden", case.observation_dim, low, case.action_bound.clone()).expect("sizes of the file")
}

fn config(common: &Common, case: &Case) -> Config {
    let mut config = Config::default();
    config.agents = AGENTS;
    config.environments = 1;
    config.actor_hidden = case.hidden.clone();
    config.critic_hidden = case.hidden.clone();
    config.action_layer = 2;
    config.relative_actions = false;
    config.gamma = common.gamma;
    config.tau = common.tau;
    config.actor_learning_rate = common.actor_learning_rate;
    config.critic_learning_rate = common.critic_learning_rate;
    config.adam_beta1 = common.adam_beta1;
    config.adam_beta2 = common.adam_beta2;
    config.adam_epsilon = case.adam_epsilon;
    config.batch_norm_epsilon = common.batch_norm_epsilon;
    config.batch_norm_decay = common.batch_norm_decay;
    config.actor_weight_decay = 0.0;
    config.critic_weight_decay = case.weight_decay;
    config.batch_norm = match case.batch_norm.as_str() {
        "none" => BatchNorm::None,
        "hidden" => BatchNorm::Hidden,
        "input-and-hidden" => BatchNorm::InputAndHidden,
        other => panic!("{}: batch_norm {other:?} is not known", case.name),
    };
    config.target_statistics = match case.target_statistics.as_deref() {
        None | Some("batch") => Statistics::Batch,
        Some("running") => Statistics::Running,
        Some(other) => panic!("{}: target_statistics {other:?} is not known", case.name),
    };
    // a ring that holds one transition fewer than a batch gives each of them once, in order
    config.partial_batches = true;
    config.batch_size = case.batch + 1;
    config.replay_capacity = case.batch + 1;
    config.learning_starts = case.batch;
    config
}

/// Runs the updates of one case and compares every stage of every agent with the file.
struct Replayed<'a> {
    population: Population,
    case: &'a Case,
    label: String,
}

impl<'a> Replayed<'a> {
    fn new(gpu: &Gpu, common: &Common, case: &'a Case, options: Options) -> Self {
        let config = config(common, case);
        let hyper_parameters = HyperParameters::of_population(&config);
        let options = Options { record_gradients: true, ..options };
        let population = Population::with_options(&gpu.device, &gpu.queue, &environment(case), &config, hyper_parameters, options)
            .unwrap_or_else(|error| panic!("{}: {error}", case.name));
        let mut replayed = Self { population, case, label: format!("{} with {options:?}", case.name) };
        replayed.write_initial();
        replayed
    }

    fn networks(&self) -> [(&'static str, &Network, usize); 4] {
        let networks = &self.population.networks;
        let target = 4 * networks.length as usize;
        [
            ("actor", &networks.actor, 0),
            ("critic", &networks.critic, 0),
            ("target_actor", &networks.actor, target),
            ("target_critic", &networks.critic, target),
        ]
    }

    fn write_initial(&mut self) {
        let bytes = 32 * u64::from(self.population.networks.length);
        let mut parameters: Vec<f32> = self.read(&self.population.memory.buffers.parameters, 0, bytes);
        for (name, network, half) in self.networks() {
            let given = &self.case.initial[name];
            let tensors = network.tensors();
            assert_eq!(tensors.len(), given.len(), "{}: {name} has other tensors than the file", self.label);
            for tensor in tensors {
                let array = &given[&tensor.name];
                assert_eq!(tensor.shape(), array.shape, "{}: {name}.{}", self.label, tensor.name);
                let values: Vec<f32> = array.data.iter().map(|&x| x as f32).collect();
                tensor.scatter(&values, &mut parameters[half..]);
            }
        }
        for agent in 0..AGENTS as usize {
            self.population.write_parameters(agent, &parameters);
        }
        let state = AgentState { replay_length: self.case.batch, ..bytemuck::Zeroable::zeroed() };
        self.population.queue.write_buffer(
            &self.population.memory.buffers.agent_states,
            0,
            bytemuck::cast_slice(&[state; AGENTS as usize]),
        );
        let held = u64::from(self.case.batch);
        self.population.continue_from(held, 0, held);
    }

    fn update(&mut self, recorded: &Recorded) {
        let rows = self.case.batch as usize;
        let row = |name: &str, r: usize| {
            let array = &recorded.batch[name];
            let width = array.data.len() / rows;
            array.data[r * width..(r + 1) * width].iter().map(|&x| x as f32).collect::<Vec<_>>()
        };
        let transitions: Vec<f32> = (0..rows)
            .flat_map(|r| ["observation", "action", "reward", "terminated", "next_observation"].map(|name| row(name, r)).concat())
            .collect();
        let stride = 4 * u64::from(self.population.memory.sizes.replay_stride);
        for agent in 0..u64::from(AGENTS) {
            self.population.queue.write_buffer(&self.population.memory.buffers.replay, agent * stride, bytemuck::cast_slice(&transitions));
        }
        let mut encoder = self.population.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        self.population.record_clear_measurements(&mut encoder);
        self.population.record_updates(&mut encoder, 1);
        self.population.queue.submit([encoder.finish()]);
    }

    fn read<T: bytemuck::Pod>(&self, source: &impl Source, start: u64, bytes: u64) -> Vec<T> {
        read_blocking(&self.population.device, &self.population.queue, source, start..start + bytes).expect("a readable buffer")
    }

    fn compare(&self, number: usize, recorded: &Recorded) {
        let population = &self.population;
        let buffers = &population.memory.buffers;
        let sizes = population.memory.sizes;
        let rows = self.case.batch as usize;
        let states: Vec<AgentState> = self.read(&buffers.agent_states, 0, size_of::<AgentState>() as u64 * u64::from(AGENTS));
        for agent in 0..AGENTS {
            let label = |stage: &str| format!("{}, update {}, agent {agent}: {stage}", self.label, number + 1);
            let slice =
                |held: &Vectors, stride: u32| self.read::<f32>(held, u64::from(agent) * 16 * u64::from(stride), 16 * u64::from(stride));
            let activations = slice(&buffers.activations, sizes.activations_stride);
            let moments = slice(&buffers.moments, sizes.moments_stride);
            let parameters = slice(&buffers.parameters, sizes.parameters_stride);
            let matrix = |matrix: Matrix, component: usize, width: usize| {
                (0..rows)
                    .flat_map(|r| {
                        let at = 4 * (matrix.offset as usize + r * matrix.stride as usize) + component;
                        activations[at..at + width].to_vec()
                    })
                    .collect::<Vec<f32>>()
            };
            let actions = self.case.action_bound.len();
            let update = &population.update;
            assert_close(&label("target_action"), &matrix(update.target_action, 0, actions), &recorded.target_action.data);
            assert_close(&label("target_value"), &matrix(update.target_value, 0, 1), &recorded.target_value.data);
            assert_close(&label("td_target"), &matrix(update.rewards, 2, 1), &recorded.td_target.data);
            assert_close(&label("value"), &matrix(update.value, 0, 1), &recorded.value.data);
            assert_close(&label("critic_loss"), &[states[agent as usize].critic_loss], &[recorded.critic_loss]);
            assert_close(&label("policy_action"), &matrix(update.policy_action, 0, actions), &recorded.policy_action.data);
            assert_close(&label("policy_value"), &matrix(update.policy_value, 0, 1), &recorded.policy_value.data);
            let ascending: Vec<f32> = matrix(update.action_gradient, 0, actions).iter().map(|d| -d * rows as f32).collect();
            assert_close(&label("action_gradient"), &ascending, &recorded.action_gradient.data);
            let gradients = &moments[4 * sizes.gradient_offset as usize..];
            let compare = |stage: &str, network: &Network, actual: &[f32], expected: &Tensors| {
                for (name, array) in expected {
                    let tensor = network.tensors().into_iter().find(|tensor| tensor.name == *name);
                    let tensor = tensor.unwrap_or_else(|| panic!("{}: no tensor {name}", label(stage)));
                    assert_close(&label(&format!("{stage} {name}")), &tensor.gather(actual), &array.data);
                }
            };
            let after = [&recorded.actor_after, &recorded.critic_after, &recorded.target_actor_after, &recorded.target_critic_after];
            compare("critic_gradient", &population.networks.critic, gradients, &recorded.critic_gradient);
            compare("actor_gradient", &population.networks.actor, gradients, &recorded.actor_gradient);
            for ((name, network, half), expected) in self.networks().into_iter().zip(after) {
                assert_eq!(network.tensors().len(), expected.len(), "{}", label(name));
                compare(&format!("{name}_after"), network, &parameters[half..], expected);
            }
        }
    }
}

/// Relative 1e-4, absolute 1e-5; NaN never passes.
fn assert_close(what: &str, actual: &[f32], expected: &[f64]) {
    assert_eq!(actual.len(), expected.len(), "{what}: lengths differ");
    for (index, (&actual, &expected)) in actual.iter().zip(expected).enumerate() {
        let actual = f64::from(actual);
        assert!(
            actual.is_finite() && (actual - expected).abs() <= 1e-5 + 1e-4 * expected.abs(),
            "{what}[{index}]: {actual}, expected {expected}"
        );
    }
}

fn replay_every_file(gpu: &Gpu, tile: Option<Tile>, plan: Plan) {
    replay_files(gpu, tile, plan, &[]);
}

/// The cases of some names; of none: all.
fn replay_files(gpu: &Gpu, tile: Option<Tile>, plan: Plan, names: &[&str]) {
    let mut options = Options::default();
    (options.tile, options.plan) = (tile, Some(plan));
    let mut replayed_cases = 0;
    for (name, file) in files() {
        assert!(!file.cases.is_empty(), "{name} holds no case");
        for case in file.cases.iter().filter(|case| names.is_empty() || names.contains(&case.name.as_str())) {
            replayed_cases += 1;
            let mut replayed = Replayed::new(gpu, &file.common, case, options);
            assert_eq!(replayed.population.plan(), plan);
            assert!(!case.updates.is_empty(), "{name}: {} holds no update", case.name);
            for (number, recorded) in case.updates.iter().enumerate() {
                replayed.update(recorded);
                replayed.compare(number, recorded);
            }
            gpu.check().unwrap_or_else(|error| panic!("{}: {error}", case.name));
        }
    }
    assert!(replayed_cases >= names.len().max(1), "{replayed_cases} cases for {plan}");
}

#[test]
fn updates_equal_automatic_differentiation_within_default_limits() {
    replay_every_file(default_limits(), Some(Tile::Portable), Plan::Layered);
}

#[test]
fn updates_equal_automatic_differentiation_on_the_best_tile() {
    replay_every_file(all_limits(), None, Plan::Layered);
}

#[test]
fn updates_in_bands_equal_automatic_differentiation() {
    replay_every_file(default_limits(), Some(Tile::Small), Plan::Layered);
}

#[test]
fn specialised_updates_equal_automatic_differentiation() {
    // one in bands and one layer by layer: each is compiled anew
    replay_files(default_limits(), None, Plan::Specialised, &["plain", "batch-norm-input"]);
}

#[test]
fn fused_updates_equal_automatic_differentiation_within_default_limits() {
    replay_every_file(default_limits(), None, Plan::Fused);
}
