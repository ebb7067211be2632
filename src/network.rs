//! Actor and critic as stretches of an agent's parameters.

use crate::allocator::{Allocator, vec4s};
use crate::config::{Algorithm, BatchNorm, Config};
use crate::environment::Environment;

/// Which of the two networks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Actor = 0,
    Critic = 1,
}

/// One dense layer's place in the parameters.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Layer {
    /// Units of the layer before (or the observation), and its columns in vec4s.
    pub inputs: u32,
    /// Action dimensions that enter here beside them.
    pub actions: u32,
    pub units: u32,
    pub weights: u32,
    pub bias: u32,
    /// Scale, shift, running mean, running variance.
    pub norm: Option<u32>,
}

impl Layer {
    pub fn columns(&self) -> u32 {
        vec4s(self.units)
    }

    /// Length of the reduction, vec4s: inputs, then actions.
    pub fn inner(&self) -> u32 {
        vec4s(self.inputs) + vec4s(self.actions)
    }
}

/// A named tensor within an agent's parameters.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Tensor {
    pub name: String,
    /// vec4 offset of its first row.
    pub offset: u32,
    pub rows: u32,
    pub columns: u32,
    /// A vector has shape `[columns]`, a matrix `[rows, columns]`.
    pub is_vector: bool,
}

impl Tensor {
    #[cfg(any(test, feature = "checkpoint"))]
    pub fn shape(&self) -> Vec<usize> {
        if self.is_vector { vec![self.columns as usize] } else { vec![self.rows as usize, self.columns as usize] }
    }

    /// The tensor's numbers out of an agent's parameters (floats), without padding.
    #[cfg(any(test, feature = "checkpoint"))]
    pub fn gather(&self, parameters: &[f32]) -> Vec<f32> {
        (0..self.rows).flat_map(|row| &parameters[self.row(row)]).copied().collect()
    }

    /// Puts `values`, row-major and without padding, into an agent's parameters.
    pub fn scatter(&self, values: &[f32], parameters: &mut [f32]) {
        for (row, chunk) in values.chunks(self.columns as usize).enumerate() {
            parameters[self.row(row as u32)].copy_from_slice(chunk);
        }
    }

    fn row(&self, row: u32) -> std::ops::Range<usize> {
        let start = 4 * (self.offset + row * vec4s(self.columns)) as usize;
        start..start + self.columns as usize
    }
}

/// A network's layers within an agent's parameters.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Network {
    pub role: Role,
    pub observation_size: u32,
    pub observation_scale: Vec<f32>,
    pub input_norm: Option<u32>,
    /// Hidden layers, then the output layer.
    pub layers: Vec<Layer>,
    /// The actor's action bounds: half range, then centre.
    pub bounds: u32,
    /// The same of the actions that it learns with: 1 and 0 where those are relative.
    pub learned_bounds: u32,
    /// Actions the network reads (critic) or writes (actor).
    pub action_size: u32,
}

impl Network {
    /// Lays out a network; `action_layer` counts from 0 and is `None` for an actor.
    pub fn new(role: Role, config: &Config, environment: &Environment, allocator: &mut Allocator) -> Self {
        let observation_size = environment.observation_size;
        let actions = environment.action_size();
        let (hidden, outputs, action_layer) = match role {
            Role::Actor => (&config.actor_hidden, actions, usize::MAX),
            // COPDAC-Q's basis is one of the observation alone
            Role::Critic if config.algorithm == Algorithm::Compatible => (&config.critic_hidden, 1, usize::MAX),
            Role::Critic => (&config.critic_hidden, 1, config.action_layer as usize - 1),
        };
        let input_norm = (config.batch_norm == BatchNorm::InputAndHidden).then(|| allocator.vector(4 * vec4s(observation_size)));
        let mut inputs = observation_size;
        let mut layers = Vec::new();
        for (index, &units) in hidden.iter().chain([&outputs]).enumerate() {
            let entering = if index == action_layer { actions } else { 0 };
            let columns = vec4s(units);
            // nothing is normalised from where the action has entered
            let normalised = config.batch_norm != BatchNorm::None && index < hidden.len() && index < action_layer;
            layers.push(Layer {
                inputs,
                actions: entering,
                units,
                weights: allocator.matrix(4 * (vec4s(inputs) + vec4s(entering)), columns).offset,
                bias: allocator.vector(columns),
                norm: normalised.then(|| allocator.vector(4 * columns)),
            });
            inputs = units;
        }
        Self {
            role,
            observation_size,
            observation_scale: environment.observation_scale.clone(),
            input_norm,
            layers,
            bounds: 0,
            learned_bounds: 0,
            action_size: actions,
        }
    }

    /// Vec4 columns of the action where it enters the layer after hidden layer `index` (or the observation, -1).
    pub fn action_columns_after(&self, index: isize) -> u32 {
        self.layers.get((index + 1) as usize).map_or(0, |layer| vec4s(layer.actions))
    }

    /// The layer that the action enters, from 0.
    pub fn action_layer(&self) -> Option<usize> {
        self.layers.iter().position(|layer| layer.actions > 0)
    }

    /// All tensors by name: trainable ones, and running statistics.
    pub fn tensors(&self) -> Vec<Tensor> {
        let vector = |name: String, offset, columns| Tensor { name, offset, rows: 1, columns, is_vector: true };
        let norm = |name: &str, offset: u32, columns: u32| {
            ["scale", "shift", "running_mean", "running_variance"]
                .iter()
                .enumerate()
                .map(|(i, part)| vector(format!("{name}.{part}"), offset + i as u32 * vec4s(columns), columns))
                .collect::<Vec<_>>()
        };
        let mut tensors = Vec::new();
        if let Some(offset) = self.input_norm {
            tensors.extend(norm("input_norm", offset, self.observation_size));
        }
        let last = self.layers.len() - 1;
        for (index, layer) in self.layers.iter().enumerate() {
            let name = if index == last { "output".to_owned() } else { format!("layer{}", index + 1) };
            let matrix =
                |part: &str, offset, rows| Tensor { name: format!("{name}.{part}"), offset, rows, columns: layer.units, is_vector: false };
            tensors.push(matrix("weight", layer.weights, layer.inputs));
            if layer.actions > 0 {
                let below = 4 * vec4s(layer.inputs) * layer.columns();
                tensors.push(matrix("action_weight", layer.weights + below, layer.actions));
            }
            tensors.push(vector(format!("{name}.bias"), layer.bias, layer.units));
            if let Some(offset) = layer.norm {
                tensors.extend(norm(&format!("norm{}", index + 1), offset, layer.units));
            }
        }
        tensors
    }
}
