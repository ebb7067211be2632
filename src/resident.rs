//! The resident plan: where an agent's numbers lie in the private memory of the eight invocations that hold it
//! (`shaders/resident/memory.wgsl`), and whether they fit.

use crate::config::{Algorithm, BatchNorm, Config, Minibatch, Optimizer};
use crate::ddpg::{Networks, Update};
use crate::environment::Environment;
use crate::network::{Allocator, Network, vec4s};
use bytemuck::{Pod, Zeroable};

/// Invocations of a subgroup that share an agent.
const LANES: u32 = 8;
/// Bytes of private memory that the eight may hold together: a driver keeps them on a thread's stack, which a system may
/// limit to two megabytes.
const MOST_BYTES: u64 = 1 << 20;
/// Loop iterations of an invocation that a dispatch keeps below: the software driver that this plan is for ends every loop
/// of a dispatch after 65,535 iterations of all of them together.
const MOST_LOOPS: u32 = 60_000;
/// Layers of both networks that the table has room for.
pub(crate) const MOST_LAYERS: usize = 16;

/// Twin of `struct ResidentLayer` in `shaders/resident/memory.wgsl`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Pod, Zeroable)]
pub(crate) struct ResidentLayer {
    pub below: u32,
    pub columns: u32,
    pub observation: u32,
    pub action: u32,
    pub weights: u32,
    pub bias: u32,
    pub source: u32,
    pub source_bias: u32,
    pub source_columns: u32,
    pub source_below: u32,
    pub hidden: u32,
    pub reserved: u32,
}

/// Twin of `struct ResidentTable` in `shaders/resident/memory.wgsl`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Pod, Zeroable)]
pub(crate) struct ResidentTable {
    pub actor_layers: u32,
    pub critic_layers: u32,
    pub batch_groups: u32,
    pub environment_groups: u32,
    pub observation_vectors: u32,
    pub action_vectors: u32,
    pub target_parameters: u32,
    pub first_moment: u32,
    pub second_moment: u32,
    pub observation: u32,
    pub next_observation: u32,
    pub action: u32,
    pub target_action: u32,
    pub policy_action: u32,
    pub action_gradient: u32,
    pub rewards: u32,
    pub d_value: u32,
    pub d_action: u32,
    pub actor_pass: u32,
    pub critic_pass: u32,
    pub gradients: u32,
    pub transposed: u32,
    pub bounds: u32,
    pub action_layer: u32,
    pub record_target_action: u32,
    pub record_policy_action: u32,
    pub record_rewards: u32,
    pub record_target_value: u32,
    pub record_value: u32,
    pub record_policy_value: u32,
    pub record_action_gradient: u32,
    pub record_action_stride: u32,
    pub record_policy_action_stride: u32,
    pub reserved0: u32,
    pub reserved1: u32,
    pub reserved2: u32,
    pub layers: [ResidentLayer; MOST_LAYERS],
}

/// An agent laid out over eight invocations.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Resident {
    pub table: ResidentTable,
    /// vec4s an invocation.
    pub vectors: u32,
}

/// Whole vec4s that each of the lanes needs for `units`.
fn lane_columns(units: u32) -> u32 {
    units.div_ceil(4 * LANES)
}

impl Resident {
    /// Lays an agent out.
    ///
    /// # Errors
    /// Why this plan cannot run it, in words that follow "the resident plan".
    pub fn new(config: &Config, environment: &Environment, networks: &Networks, update: &Update) -> Result<Self, String> {
        let supported = [
            (config.algorithm == Algorithm::Ddpg, "runs DDPG only"),
            (config.optimizer == Optimizer::Adam, "steps with Adam only"),
            (config.minibatch == Minibatch::Replay, "learns from the replay ring only"),
            (config.batch_norm == BatchNorm::None, "has no batch normalisation"),
            (!environment.is_host(), "needs an environment in WGSL"),
        ];
        if let Some((_, reason)) = supported.iter().find(|(holds, _)| !holds) {
            return Err((*reason).into());
        }
        let layers = networks.actor.layers.len() + networks.critic.layers.len();
        if layers > MOST_LAYERS {
            return Err(format!("has room for {MOST_LAYERS} layers, not {layers}"));
        }
        let laid_out = Self::lay_out(config, networks, update);
        let bytes = u64::from(laid_out.vectors) * 16 * u64::from(LANES);
        if bytes > MOST_BYTES {
            return Err(format!("needs {bytes} bytes of private memory for such networks, more than {MOST_BYTES}"));
        }
        if laid_out.longest(config.updates_per_iteration) == 0 {
            let loops = laid_out.moving() + laid_out.loops(config.updates_per_iteration);
            return Err(format!("takes {loops} loop iterations for such networks, more than the {MOST_LOOPS} that a dispatch may take"));
        }
        Ok(laid_out)
    }

    fn lay_out(config: &Config, networks: &Networks, update: &Update) -> Self {
        let observation = vec4s(networks.actor.observation_size);
        let action = vec4s(networks.actor.action_size);
        let batch_groups = config.batch_size.div_ceil(8);
        let environment_groups = config.environments.div_ceil(8);
        let groups = batch_groups.max(environment_groups);
        let mut memory = Allocator::default();
        let mut table = ResidentTable {
            actor_layers: networks.actor.layers.len() as u32,
            critic_layers: networks.critic.layers.len() as u32,
            batch_groups,
            environment_groups,
            observation_vectors: observation,
            action_vectors: action,
            bounds: networks.bounds,
            action_layer: networks.critic.action_layer().unwrap_or(0) as u32,
            record_target_action: update.target_action.offset,
            record_policy_action: update.policy_action.offset,
            record_rewards: update.rewards.offset,
            record_target_value: update.target_value.offset,
            record_value: update.value.offset,
            record_policy_value: update.policy_value.offset,
            record_action_gradient: update.action_gradient.offset,
            record_action_stride: update.target_action.stride,
            record_policy_action_stride: update.policy_action.stride,
            ..Default::default()
        };
        let mut hidden = [0; 2];
        let mut transposed = 0;
        let mut index = 0;
        for (network, hidden) in [&networks.actor, &networks.critic].into_iter().zip(&mut hidden) {
            for number in 0..network.layers.len() {
                table.layers[index] = layer(network, number, observation, hidden, &mut memory);
                let laid = table.layers[index];
                if number + 1 < network.layers.len() {
                    transposed = transposed.max(4 * LANES * laid.columns * laid.below);
                }
                index += 1;
            }
        }
        // online parameters, target parameters and both moments
        let region = memory.used;
        memory.used *= 4;
        (table.target_parameters, table.first_moment, table.second_moment) = (region, 2 * region, 3 * region);
        table.observation = memory.vector(groups * observation);
        table.next_observation = memory.vector(groups * observation);
        for place in
            [&mut table.action, &mut table.target_action, &mut table.policy_action, &mut table.action_gradient, &mut table.d_action]
        {
            *place = memory.vector(groups * action);
        }
        table.rewards = memory.vector(groups);
        table.d_value = memory.vector(groups);
        let [actor, critic] = hidden;
        table.actor_pass = memory.vector(8 * groups * actor);
        table.critic_pass = memory.vector(8 * groups * critic);
        table.gradients = memory.vector(8 * groups * actor.max(critic));
        table.transposed = memory.vector(transposed);
        // a second column past the last one is read, though never used
        Self { table, vectors: memory.used + 8 }
    }

    /// Iterations of training, of `updates` each, that a dispatch has room for; 0 where not even one.
    pub fn longest(&self, updates: u32) -> u32 {
        MOST_LOOPS.saturating_sub(self.moving()) / self.loops(updates)
    }

    /// The layers of the actor and of the critic.
    fn networks(&self) -> [&[ResidentLayer]; 2] {
        let (actor, rest) = self.table.layers.split_at(self.table.actor_layers as usize);
        [actor, &rest[..self.table.critic_layers as usize]]
    }

    /// An upper bound of the loop iterations that moving an agent in and out takes an invocation.
    fn moving(&self) -> u32 {
        let output = |layer: &ResidentLayer| layer.columns * (1 + 5 * layer.below) + layer.source_columns;
        let hidden = |layer: &ResidentLayer| {
            let rows = 4 * (LANES * layer.below + layer.observation + layer.action);
            rows * (1 + layer.columns) + layer.columns
        };
        // one of the two, whichever the layer is
        let layers = self.networks().into_iter().flatten();
        2 * layers.map(|layer| 1 + output(layer).max(hidden(layer))).sum::<u32>()
    }

    /// An upper bound of the loop iterations that one of training takes an invocation.
    fn loops(&self, updates: u32) -> u32 {
        let table = &self.table;
        let forward = |layers: &[ResidentLayer], groups: u32| -> u32 {
            let tile = |layer: &ResidentLayer| 2 + layer.below * (LANES + 1) + layer.observation + layer.action;
            layers.iter().map(|layer| groups * (1 + layer.columns.div_ceil(2) * tile(layer)) + groups).sum()
        };
        let parameters = |layers: &[ResidentLayer], groups: u32| -> u32 {
            let outer =
                |layer: &ResidentLayer| layer.below * (3 + 2 * (8 * groups + 9)) + (layer.observation + layer.action) * (9 * groups + 6);
            layers.iter().map(|layer| layer.columns.max(1) * (2 + outer(layer) + 8 * groups + 4 * layer.below)).sum()
        };
        let [actor, critic] = self.networks();
        let row = 8 * (table.observation_vectors + table.action_vectors) + 8;
        let groups = table.batch_groups;
        let update = 2 * forward(actor, groups) + 3 * forward(critic, groups)
            // the backward passes are no longer than forward ones, and transpose the weights
            + forward(actor, groups) + 2 * forward(critic, groups) + parameters(actor, groups) + 2 * parameters(critic, groups)
            + groups * 4 * row;
        forward(actor, table.environment_groups) + table.environment_groups * 16 * row + updates * (update + 8)
    }

    /// The constants that the plan's WGSL is specialised with.
    pub fn declarations(&self) -> String {
        format!("const RESIDENT_VECTORS: u32 = {}u;\nconst RESIDENT_LAYERS: u32 = {MOST_LAYERS}u;\n", self.vectors)
    }
}

/// One layer's places; `hidden` counts the lane's vec4s of a row of the network's activations so far.
fn layer(network: &Network, number: usize, observation: u32, hidden: &mut u32, memory: &mut Allocator) -> ResidentLayer {
    let layer = &network.layers[number];
    let below = if number == 0 { 0 } else { lane_columns(layer.inputs) };
    let mut laid = ResidentLayer {
        below,
        source: layer.weights,
        source_bias: layer.bias,
        source_columns: layer.columns(),
        source_below: vec4s(layer.inputs),
        hidden: *hidden,
        ..Default::default()
    };
    if number + 1 == network.layers.len() {
        laid.columns = layer.units;
        laid.weights = memory.vector(layer.units * below);
        laid.bias = memory.vector(layer.columns());
    } else {
        laid.columns = lane_columns(layer.units);
        laid.observation = if number == 0 { observation } else { 0 };
        laid.action = vec4s(layer.actions);
        laid.weights = memory.vector(4 * (LANES * below + laid.observation + laid.action) * laid.columns);
        laid.bias = memory.vector(laid.columns);
        *hidden += laid.columns;
    }
    laid
}
