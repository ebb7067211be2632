//! Actor and critic as stretches of an agent's parameters, and the operations of their passes.

use crate::config::{Algorithm, BatchNorm, Config, Initialization, Statistics};
use crate::environment::Environment;
use crate::kernels::{Grid, Kernel};
use crate::program::{Access, Matrix, Operation, Step, flag};
use crate::random::Philox;
use rand::RngExt;

/// Which of the two networks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Actor = 0,
    Critic = 1,
}

/// Whole vec4s that hold `floats`.
pub(crate) fn vec4s(floats: u32) -> u32 {
    floats.div_ceil(4)
}

/// The most vec4s of an agent's slice of a role buffer, 16 GiB: so that no place in it, nor what a few of them add up to, exceeds
/// the 32 bits that the kernels count with.
pub(crate) const MOST_VEC4S: u64 = 1 << 30;

/// Hands out an agent's slice of a role buffer, vec4 by vec4. What is beyond the largest slice is counted, but has no place of its
/// own: who lays out must ask whether all of it [fits](Allocator::fits) before anything is made of the places.
#[derive(Debug, Clone, Default)]
pub(crate) struct Allocator {
    pub used: u64,
}

impl Allocator {
    pub fn vector(&mut self, vec4s: u32) -> u32 {
        self.take(vec4s.into())
    }

    pub fn matrix(&mut self, rows: u32, columns: u32) -> Matrix {
        Matrix { offset: self.take(u64::from(rows) * u64::from(columns)), stride: columns, rows, columns }
    }

    fn take(&mut self, vec4s: u64) -> u32 {
        let offset = self.length();
        self.used = self.used.saturating_add(vec4s);
        offset
    }

    /// Whether all that was handed out has a place.
    pub fn fits(&self) -> bool {
        self.used <= MOST_VEC4S
    }

    /// The vec4s handed out, or the most that there can be.
    pub fn length(&self) -> u32 {
        self.used.min(MOST_VEC4S) as u32
    }
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
            action_size: actions,
        }
    }

    /// Vec4 columns of the action where it enters the layer after hidden layer `index` (or the observation, -1).
    fn action_columns_after(&self, index: isize) -> u32 {
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

    /// Whether the hidden layers are COPDAC-Q's basis φ(s).
    fn is_fixed_basis(&self, config: &Config) -> bool {
        self.role == Role::Critic && config.algorithm == Algorithm::Compatible
    }

    /// One number of the basis: rectified random directions through the range of the observations.
    fn basis(&self, config: &Config, random: &mut Philox, part: &str, layer: usize, row: usize) -> f32 {
        if part == "bias" {
            return uniform(random, config.basis_biases);
        }
        let scale = if layer == 0 { self.observation_scale.get(row).copied().unwrap_or(1.0) } else { 1.0 };
        config.basis_weights * normal(random) / scale
    }

    /// Draws initial parameters into an agent's slice (floats).
    pub fn initialize(&self, config: &Config, random: &mut Philox, parameters: &mut [f32]) {
        let last = self.layers.len() - 1;
        for tensor in self.tensors() {
            let part = tensor.name.rsplit('.').next().unwrap_or_default().to_owned();
            let layer = self.layers.iter().position(|layer| (layer.weights..=layer.bias).contains(&tensor.offset));
            let count = (tensor.rows * tensor.columns) as usize;
            let values: Vec<f32> = match (part.as_str(), layer) {
                ("scale" | "running_variance", _) => vec![1.0; count],
                ("shift" | "running_mean", _) | (_, None) => vec![0.0; count],
                (_, Some(layer)) if layer < last && self.is_fixed_basis(config) => {
                    (0..count).map(|index| self.basis(config, random, &part, layer, index / tensor.columns as usize)).collect()
                }
                (_, Some(layer)) if layer == last => (0..count).map(|_| uniform(random, config.output_initialization)).collect(),
                (part, Some(layer)) => match config.hidden_initialization {
                    Initialization::FanIn => {
                        let fan_in = self.layers[layer].inputs + self.layers[layer].actions;
                        let bound = 1.0 / (fan_in as f32).sqrt();
                        (0..count).map(|_| uniform(random, bound)).collect()
                    }
                    Initialization::TruncatedNormal(_) if part == "bias" => vec![0.0; count],
                    Initialization::TruncatedNormal(deviation) => (0..count).map(|_| deviation * truncated_normal(random)).collect(),
                },
            };
            tensor.scatter(&values, parameters);
        }
    }
}

/// Uniform in ± `bound`.
fn uniform(random: &mut Philox, bound: f32) -> f32 {
    bound * (2.0 * random.random::<f32>() - 1.0)
}

/// Standard normal (Box & Muller 1958).
fn normal(random: &mut Philox) -> f32 {
    let radius = (-2.0 * (1.0 - random.random::<f64>()).ln()).sqrt();
    (radius * (std::f64::consts::TAU * random.random::<f64>()).cos()) as f32
}

/// Standard normal, redrawn beyond two standard deviations.
fn truncated_normal(random: &mut Philox) -> f32 {
    loop {
        let normal = normal(random);
        if normal.abs() <= 2.0 {
            return normal;
        }
    }
}

/// How a pass normalises, and on how many rows it runs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pass {
    /// Added to every parameter offset: 0 for the online network, the target offset for its target.
    pub parameters: u32,
    pub mode: Mode,
    pub flags: u32,
}

/// What batch norm does in a pass.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Mode {
    /// Acting: an affine map, no other row needed.
    Inference,
    /// Learning, with these statistics; the running ones follow where asked.
    Learning { statistics: Statistics, update_running: bool },
}

/// Where a pass of a network leaves its numbers.
#[derive(Debug, Clone)]
pub(crate) struct Activations {
    /// What the first layer reads: the observation, or its normalised copy; the action beside it where it enters there.
    pub input: Matrix,
    /// Batch norm: what is normalised, and its statistics.
    input_norm: Option<(Matrix, u32)>,
    /// Each hidden layer's output; with room for the action where the next layer takes it.
    pub hidden: Vec<Matrix>,
    /// The same of each hidden layer.
    norms: Vec<Option<(Matrix, u32)>>,
    pub output: Matrix,
}

impl Activations {
    /// Room for `rows` of `network`. `observation` is used as it stands unless it is normalised first.
    pub fn new(network: &Network, observation: Matrix, allocator: &mut Allocator) -> Self {
        let rows = observation.rows;
        let columns = vec4s(network.observation_size);
        let input_norm = network.input_norm.map(|_| (observation.window(0, columns), allocator.vector(2 * columns)));
        let input = match input_norm {
            Some(_) => allocator.matrix(rows, columns + network.action_columns_after(-1)),
            None => observation,
        };
        let last = network.layers.len() - 1;
        let mut hidden = Vec::new();
        let mut norms = Vec::new();
        for (index, layer) in network.layers[..last].iter().enumerate() {
            hidden.push(allocator.matrix(rows, layer.columns() + network.action_columns_after(index as isize)));
            norms.push(layer.norm.map(|_| (allocator.matrix(rows, layer.columns()), allocator.vector(2 * layer.columns()))));
        }
        let output = allocator.matrix(rows, network.layers[last].columns());
        Self { input, input_norm, hidden, norms, output }
    }

    /// What layer `index` reads.
    pub fn below(&self, index: usize) -> Matrix {
        if index == 0 { self.input } else { self.hidden[index - 1] }
    }

    /// The columns where the action enters a critic.
    pub fn action(&self, network: &Network) -> Option<Matrix> {
        let index = network.action_layer()?;
        Some(self.below(index).window(vec4s(network.layers[index].inputs), vec4s(network.action_size)))
    }
}

/// The gradients of a pass: one matrix a layer, before its activation.
#[derive(Debug, Clone)]
pub(crate) struct Gradients {
    pub layers: Vec<Matrix>,
    pub input: Option<Matrix>,
}

impl Gradients {
    pub fn new(network: &Network, rows: u32, allocator: &mut Allocator) -> Self {
        let layers = network.layers.iter().map(|layer| allocator.matrix(rows, layer.columns())).collect();
        let input = network.input_norm.map(|_| allocator.matrix(rows, vec4s(network.observation_size)));
        Self { layers, input }
    }
}

/// Builds the operations of the passes of one network.
pub(crate) struct Builder<'a> {
    pub network: &'a Network,
    pub grid: &'a Grid,
    /// From an online parameter to its target's.
    pub target_offset: u32,
    /// Where bands take the rows: what tells that one of them was not finite, so that no step may be taken.
    pub verdict: Option<Matrix>,
}

impl Builder<'_> {
    /// An Adam step changes the online parameters and blends them into the target's.
    fn trained(&self, range: std::ops::Range<u32>) -> [Access; 2] {
        let blended = range.start + self.target_offset..range.end + self.target_offset;
        [Access::Parameters(range), Access::Parameters(blended)]
    }

    /// Deals out an operation whose workgroups own whole columns.
    fn own_columns(&self, operation: &mut Operation) {
        let deal = self.grid.deal_columns(operation.rows, operation.columns, operation.inner);
        (operation.units, operation.strip, operation.split) = (deal.units, deal.strip, deal.split);
    }

    /// From the observation through every layer; the actor's output goes to `output` instead where one is given.
    pub fn forward(&self, steps: &mut Vec<Step>, pass: Pass, activations: &Activations, output: Option<Matrix>) {
        self.normalise_input(steps, pass, activations);
        for index in 0..self.network.layers.len() {
            self.forward_layer(steps, pass, activations, index, output);
        }
    }

    fn normalise_input(&self, steps: &mut Vec<Step>, pass: Pass, activations: &Activations) {
        let (Some(norm), Some((observation, statistics))) = (self.network.input_norm, activations.input_norm) else { return };
        let columns = vec4s(self.network.observation_size);
        let strip = columns.min(self.grid.workgroup_size);
        let output = activations.input.window(0, columns);
        steps.push(self.normalising(
            pass,
            Operation {
                kind: Kernel::NormaliseInput as u32,
                units: columns.div_ceil(strip),
                strip,
                rows: observation.rows,
                columns,
                output: output.offset,
                output_stride: output.stride,
                normalised: observation.offset,
                normalised_stride: observation.stride,
                norm: norm + pass.parameters,
                statistics,
                ..self.operation(pass)
            },
            vec![observation.access()],
            vec![output.access(), Matrix::vector(statistics, 2 * columns).access()],
        ));
    }

    fn operation(&self, pass: Pass) -> Operation {
        Operation { network: self.network.role as u32, flags: pass.flags, ..Default::default() }
    }

    /// Adds what batch norm reads and writes in `pass` to a step that normalises.
    fn normalising(&self, pass: Pass, mut operation: Operation, mut reads: Vec<Access>, mut writes: Vec<Access>) -> Step {
        let norm = operation.norm..operation.norm + 4 * operation.columns;
        reads.push(Access::Parameters(norm.clone()));
        if matches!(pass.mode, Mode::Inference | Mode::Learning { statistics: Statistics::Running, .. }) {
            operation.flags |= flag::RUNNING_STATISTICS;
        }
        if matches!(pass.mode, Mode::Learning { update_running: true, .. }) {
            operation.flags |= flag::UPDATE_RUNNING;
            // the target network's copy included
            writes.extend(self.trained(norm.start + 2 * operation.columns..norm.end));
            reads.push(Access::Agent);
        }
        Step { operation, reads, writes }
    }

    fn forward_layer(&self, steps: &mut Vec<Step>, pass: Pass, activations: &Activations, index: usize, output: Option<Matrix>) {
        let layer = &self.network.layers[index];
        let last = index + 1 == self.network.layers.len();
        let input = activations.below(index).window(0, layer.inner());
        let columns = layer.columns();
        let output = match (last, output) {
            (true, Some(output)) => output,
            (true, None) => activations.output,
            (false, _) => activations.hidden[index].window(0, columns),
        };
        let weights = layer.weights + pass.parameters;
        let bias = layer.bias + pass.parameters;
        let deal = self.grid.deal(input.rows, columns, layer.inner());
        let mut operation = Operation {
            rows: input.rows,
            inner: layer.inner(),
            columns,
            input: input.offset,
            input_stride: input.stride,
            weights,
            weights_stride: columns,
            bias,
            output: output.offset,
            output_stride: output.stride,
            units: deal.units,
            strip: deal.strip,
            split: deal.split,
            ..self.operation(pass)
        };
        let mut reads = vec![input.access(), Access::Parameters(weights..bias + columns)];
        let mut writes = vec![output.access()];
        let step = match layer.norm {
            Some(norm) => {
                operation.norm = norm + pass.parameters;
                if pass.mode == Mode::Inference {
                    operation.kind = Kernel::ForwardInference as u32;
                } else if let Some((normalised, statistics)) = activations.norms[index] {
                    operation.kind = Kernel::ForwardNormalised as u32;
                    self.own_columns(&mut operation);
                    operation.normalised = normalised.offset;
                    operation.normalised_stride = normalised.stride;
                    operation.statistics = statistics;
                    writes.extend([normalised.access(), Matrix::vector(statistics, 2 * columns).access()]);
                }
                self.normalising(pass, operation, reads, writes)
            }
            None => {
                operation.kind = match (last, self.network.role) {
                    (false, _) => Kernel::ForwardRectified,
                    (true, Role::Critic) => Kernel::ForwardLinear,
                    (true, Role::Actor) => Kernel::ForwardTanh,
                } as u32;
                if last && self.network.role == Role::Actor {
                    operation.norm = self.network.bounds;
                    reads.push(Access::Parameters(self.network.bounds..self.network.bounds + 2 * columns));
                }
                Step { operation, reads, writes }
            }
        };
        steps.push(step);
    }

    /// The statistics flags of a backward pass through normalised layers.
    fn backward_flags(pass: Pass) -> u32 {
        match pass.mode {
            Mode::Learning { statistics: Statistics::Batch, .. } => pass.flags,
            _ => pass.flags | flag::RUNNING_STATISTICS,
        }
    }

    fn cancels_bias(pass: Pass, layer: &Layer) -> bool {
        layer.norm.is_some() && matches!(pass.mode, Mode::Learning { statistics: Statistics::Batch, .. })
    }

    /// From the gradient of the output down to that of hidden layer `down_to`, without touching parameters.
    /// With `train`, scales and shifts take their Adam step on the way.
    pub fn backward_hidden(
        &self,
        steps: &mut Vec<Step>,
        pass: Pass,
        activations: &Activations,
        gradients: &Gradients,
        down_to: usize,
        train: bool,
    ) {
        for index in (down_to..self.network.layers.len() - 1).rev() {
            self.backward_layer(steps, pass, activations, gradients, index, train);
        }
    }

    /// The gradient of hidden layer `index` from that of the layer above.
    fn backward_layer(
        &self,
        steps: &mut Vec<Step>,
        pass: Pass,
        activations: &Activations,
        gradients: &Gradients,
        index: usize,
        train: bool,
    ) {
        let above = &self.network.layers[index + 1];
        let layer = &self.network.layers[index];
        let columns = layer.columns();
        let input = gradients.layers[index + 1];
        let output = gradients.layers[index];
        let forward = activations.hidden[index].window(0, columns);
        let deal = self.grid.deal(input.rows, columns, above.columns());
        let mut operation = Operation {
            kind: Kernel::BackwardRectified as u32,
            rows: input.rows,
            inner: above.columns(),
            columns,
            input: input.offset,
            input_stride: input.stride,
            weights: above.weights + pass.parameters,
            weights_stride: above.columns(),
            output: output.offset,
            output_stride: output.stride,
            forward: forward.offset,
            forward_stride: forward.stride,
            units: deal.units,
            strip: deal.strip,
            split: deal.split,
            flags: Self::backward_flags(pass),
            ..self.operation(pass)
        };
        let mut step = Step {
            operation,
            reads: vec![
                input.access(),
                forward.access(),
                Access::Parameters(operation.weights..operation.weights + 4 * columns * above.columns()),
            ],
            writes: vec![output.access()],
        };
        if let (Some(norm), Some(norms)) = (layer.norm, activations.norms[index]) {
            operation.kind = Kernel::BackwardNormalised as u32;
            self.through_norm(pass, &mut operation, &mut step, norm, norms, train);
        }
        step.operation = operation;
        steps.push(step);
    }

    fn through_norm(
        &self,
        pass: Pass,
        operation: &mut Operation,
        step: &mut Step,
        norm: u32,
        (normalised, statistics): (Matrix, u32),
        train: bool,
    ) {
        self.own_columns(operation);
        operation.norm = norm + pass.parameters;
        operation.normalised = normalised.offset;
        operation.normalised_stride = normalised.stride;
        operation.statistics = statistics;
        let scale_and_shift = operation.norm..operation.norm + 2 * operation.columns;
        step.reads.extend([
            Access::Parameters(scale_and_shift.clone()),
            normalised.access(),
            Matrix::vector(statistics, 2 * operation.columns).access(),
        ]);
        if train {
            operation.flags |= flag::TRAIN_NORM;
            step.reads.extend([Access::Agent, Access::Counters]);
            step.writes.extend(self.trained(scale_and_shift));
        }
    }

    /// The gradients of every layer's parameters and their Adam steps, and of the input norm's.
    pub fn backward_parameters(&self, steps: &mut Vec<Step>, pass: Pass, activations: &Activations, gradients: &Gradients) {
        if let (Some(norm), Some(norms), Some(output)) = (self.network.input_norm, activations.input_norm, gradients.input) {
            let first = &self.network.layers[0];
            let input = gradients.layers[0];
            let columns = vec4s(self.network.observation_size);
            let mut operation = Operation {
                kind: Kernel::BackwardInputNorm as u32,
                rows: input.rows,
                inner: first.columns(),
                columns,
                input: input.offset,
                input_stride: input.stride,
                weights: first.weights + pass.parameters,
                weights_stride: first.columns(),
                output: output.offset,
                output_stride: output.stride,
                flags: Self::backward_flags(pass),
                ..self.operation(pass)
            };
            // the first layer's own norm takes away whatever the shift adds
            if Self::cancels_bias(pass, first) {
                operation.flags |= flag::CANCELLED_BIAS;
            }
            let mut step = Step {
                operation,
                reads: vec![input.access(), Access::Parameters(operation.weights..operation.weights + 4 * columns * first.columns())],
                writes: vec![output.access()],
            };
            self.through_norm(pass, &mut operation, &mut step, norm, norms, true);
            step.operation = operation;
            steps.push(step);
        }
        for index in 0..self.network.layers.len() {
            self.backward_layer_parameters(steps, pass, activations, gradients, index, self.network.role as u32, 0);
        }
    }

    /// The gradient of the output layer's parameters alone, and their step: all other layers are a fixed basis.
    pub fn backward_output_parameters(&self, steps: &mut Vec<Step>, pass: Pass, activations: &Activations, gradients: &Gradients) {
        self.backward_layer_parameters(steps, pass, activations, gradients, self.network.layers.len() - 1, self.network.role as u32, 0);
    }

    /// The steps of COPDAC-Q's w, which has the actor's shape and lies in the target actor's place.
    pub fn backward_compatible_parameters(&self, steps: &mut Vec<Step>, pass: Pass, activations: &Activations, gradients: &Gradients) {
        const COMPATIBLE: u32 = 2;
        for index in 0..self.network.layers.len() {
            self.backward_layer_parameters(steps, pass, activations, gradients, index, COMPATIBLE, self.target_offset);
        }
    }

    /// `network`: whose step size; `parameters`: added to every parameter offset.
    #[expect(clippy::too_many_arguments, reason = "each names another part of the pass")]
    fn backward_layer_parameters(
        &self,
        steps: &mut Vec<Step>,
        pass: Pass,
        activations: &Activations,
        gradients: &Gradients,
        index: usize,
        network: u32,
        parameters: u32,
    ) {
        let layer = &self.network.layers[index];
        let input = activations.below(index).window(0, layer.inner());
        let gradient = gradients.layers[index];
        let deal = self.grid.deal(4 * layer.inner(), layer.columns(), input.rows);
        let cancelled = if Self::cancels_bias(pass, layer) { flag::CANCELLED_BIAS } else { 0 };
        let mut operation = Operation {
            kind: Kernel::BackwardParameters as u32,
            rows: input.rows,
            inner: layer.inner(),
            columns: layer.columns(),
            input: input.offset,
            input_stride: input.stride,
            weights: layer.weights + parameters,
            weights_stride: layer.columns(),
            bias: layer.bias + parameters,
            forward: gradient.offset,
            forward_stride: gradient.stride,
            units: deal.units,
            strip: deal.strip,
            split: deal.split,
            flags: pass.flags | cancelled,
            network,
            ..Default::default()
        };
        let mut reads = vec![input.access(), gradient.access(), Access::Agent, Access::Counters];
        if let Some(verdict) = self.verdict {
            operation.flags |= flag::WITH_VERDICT;
            operation.extra = verdict.offset;
            reads.push(verdict.access());
        }
        steps.push(Step { operation, reads, writes: self.trained(operation.weights..operation.bias + layer.columns()).into() });
    }

    /// The critic's action gradient, carried through the actor's scaled tanh: `d_output` is the gradient of the actor's
    /// output layer before its tanh, `action_gradient` that of the action itself.
    #[expect(clippy::too_many_arguments, reason = "each is a different place in memory")]
    pub fn backward_action(
        &self,
        steps: &mut Vec<Step>,
        pass: Pass,
        activations: &Activations,
        gradients: &Gradients,
        bounds: u32,
        d_output: Matrix,
        action_gradient: Matrix,
    ) {
        let (Some(index), Some(action)) = (self.network.action_layer(), activations.action(self.network)) else { return };
        let layer = &self.network.layers[index];
        let input = gradients.layers[index];
        let weights = layer.weights + pass.parameters + 4 * vec4s(layer.inputs) * layer.columns();
        let columns = vec4s(self.network.action_size);
        let deal = self.grid.deal(input.rows, columns, layer.columns());
        steps.push(Step {
            operation: Operation {
                kind: Kernel::BackwardTanh as u32,
                rows: input.rows,
                inner: layer.columns(),
                columns,
                input: input.offset,
                input_stride: input.stride,
                weights,
                weights_stride: layer.columns(),
                output: d_output.offset,
                output_stride: d_output.stride,
                forward: action.offset,
                forward_stride: action.stride,
                extra: action_gradient.offset,
                extra_stride: action_gradient.stride,
                norm: bounds,
                units: deal.units,
                strip: deal.strip,
                split: deal.split,
                ..self.operation(pass)
            },
            reads: vec![
                input.access(),
                action.access(),
                Access::Parameters(weights..weights + 4 * columns * layer.columns()),
                Access::Parameters(bounds..bounds + 2 * columns),
            ],
            writes: vec![d_output.access(), action_gradient.access()],
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::harness::wide;

    const BOUNDS: [f32; 2] = [0.2, 0.6];

    /// What a network of 17 observations, 6 actions and hidden layers of 400 and 300 starts from: each tensor of its name, rows
    /// and columns.
    fn drawn(role: Role, config: &Config, scales: &[f32]) -> impl Fn(&str) -> Vec<Vec<f64>> + use<> {
        let mut environment = Environment::host("arm", 17, vec![-1.0; 6], vec![3.0; 6]).expect("sizes");
        environment.observation_scale = scales.to_vec();
        let mut allocator = Allocator::default();
        let network = Network::new(role, config, &environment, &mut allocator);
        let mut parameters = vec![0.0; 4 * allocator.length() as usize];
        network.initialize(config, &mut Philox::new(3, 0x100), &mut parameters);
        move |name| {
            let tensors = network.tensors();
            let tensor = tensors.iter().find(|tensor| tensor.name == name).unwrap_or_else(|| panic!("no {name}"));
            wide(&tensor.gather(&parameters)).chunks(tensor.columns as usize).map(<[f64]>::to_vec).collect()
        }
    }

    fn config(change: impl Fn(&mut Config)) -> Config {
        let mut config = Config::preset(crate::Preset::Paper);
        config.output_initialization = BOUNDS[0];
        change(&mut config);
        config
    }

    fn mean(numbers: &[f64], power: i32) -> f64 {
        numbers.iter().map(|x| x.powi(power)).sum::<f64>() / numbers.len() as f64
    }

    /// Uniform in ± `bound`: the ends are reached, the mean is zero, the variance that of the uniform distribution.
    #[track_caller]
    fn assert_uniform(what: &str, rows: Vec<Vec<f64>>, bound: f64) {
        let numbers = rows.concat();
        let n = numbers.len() as f64;
        let (least, largest) = numbers.iter().fold((f64::MAX, f64::MIN), |(least, most), &x| (x.min(least), x.max(most)));
        assert!(largest <= bound * (1.0 + 1e-6) && least >= -bound * (1.0 + 1e-6), "{what}: {least} to {largest}, but ± {bound}");
        if n < 100.0 {
            return;
        }
        // that none of n numbers lies beyond has a probability of exp(-10)
        let reached = bound * (1.0 - 20.0 / n);
        assert!(largest > reached && least < -reached, "{what}: {least} to {largest}, but ± {bound}");
        assert!(mean(&numbers, 1).abs() < 5.0 * bound / (3.0 * n).sqrt(), "{what}: mean {}", mean(&numbers, 1));
        let off = 3.0 * mean(&numbers, 2) / bound.powi(2) - 1.0;
        assert!(off.abs() < 5.0 * (0.8 / n).sqrt(), "{what}: the variance is off by {off}");
    }

    #[test]
    fn layers_start_uniform_within_one_by_the_root_of_all_that_enters() {
        let of = |inputs: u32| 1.0 / f64::from(inputs).sqrt();
        for (role, outputs, entering) in [(Role::Actor, 6, 0), (Role::Critic, 1, 6)] {
            let drawn = drawn(role, &config(|_| {}), &[]);
            let layers =
                [("layer1", 17, 400, of(17)), ("layer2", 400, 300, of(400 + entering)), ("output", 300, outputs, BOUNDS[0].into())];
            for (layer, rows, columns, bound) in layers {
                let weight = drawn(&format!("{layer}.weight"));
                assert_eq!((weight.len(), weight[0].len()), (rows, columns), "{role:?}");
                assert_uniform(&format!("{role:?}, {layer}.weight"), weight, bound);
                assert_uniform(&format!("{role:?}, {layer}.bias"), drawn(&format!("{layer}.bias")), bound);
            }
            if role == Role::Critic {
                assert_uniform("the weights of the action", drawn("layer2.action_weight"), of(406));
            }
            for (part, expected) in [("scale", 1.0), ("running_variance", 1.0), ("shift", 0.0), ("running_mean", 0.0)] {
                let norms = ["input_norm", "norm1"].map(|norm| drawn(&format!("{norm}.{part}")).concat());
                assert!(norms.iter().flatten().all(|&x| x == expected), "{role:?}, {part}");
            }
        }
        // the action beside the observation
        let first = drawn(Role::Critic, &config(|config| config.action_layer = 1), &[]);
        assert_uniform("observation", first("layer1.weight"), of(17 + 6));
        assert_uniform("action", first("layer1.action_weight"), of(17 + 6));
        assert_uniform("above", first("layer2.weight"), of(400));
    }

    #[test]
    fn a_truncated_normal_ends_at_two_deviations() {
        let drawn = drawn(Role::Actor, &config(|config| config.hidden_initialization = Initialization::TruncatedNormal(0.05)), &[]);
        let numbers = drawn("layer2.weight").concat();
        let n = numbers.len() as f64;
        let largest = numbers.iter().fold(0.0_f64, |most, x| most.max(x.abs()));
        assert!(largest <= 0.1 * (1.0 + 1e-6) && largest > 0.099, "{largest}");
        assert!(mean(&numbers, 1).abs() < 5.0 * 0.05 / n.sqrt(), "mean {}", mean(&numbers, 1));
        // 1 - 4 phi(2) / (2 Phi(2) - 1)
        let share = mean(&numbers, 2) / 0.05_f64.powi(2);
        assert!((share - 0.7737).abs() < 0.016, "the variance is {share} of the normal's");
        assert!(drawn("layer1.bias").concat().into_iter().chain(drawn("layer2.bias").concat()).all(|x| x == 0.0));
        assert_uniform("the output layer", drawn("output.weight"), BOUNDS[0].into());
    }

    #[test]
    fn a_basis_looks_as_far_as_the_observations_range() {
        let compatible = config(|config| {
            config.algorithm = Algorithm::Compatible;
            config.batch_norm = BatchNorm::None;
            (config.basis_weights, config.basis_biases) = (3.0, BOUNDS[1]);
        });
        let scales: Vec<f32> = (0..17).map(|row| 4.0_f32.powi(row % 3 - 1)).collect();
        let drawn = drawn(Role::Critic, &compatible, &scales);
        for (row, (numbers, &scale)) in drawn("layer1.weight").iter().zip(&scales).enumerate() {
            let share = mean(numbers, 2) / (3.0 / f64::from(scale)).powi(2);
            // a variance of 400 numbers
            assert!((share - 1.0).abs() < 5.0 * (2.0 / 400.0_f64).sqrt(), "row {row} of scale {scale}: variance {share} of what is due");
        }
        let above = drawn("layer2.weight").concat();
        let (share, n) = (mean(&above, 2) / 9.0, above.len() as f64);
        assert!((share - 1.0).abs() < 5.0 * (2.0 / n).sqrt(), "above the first layer: {share}");
        assert!((mean(&above, 4) / 81.0 - 3.0).abs() < 5.0 * (96.0 / n).sqrt(), "normal");
        for layer in ["layer1", "layer2"] {
            assert_uniform(layer, drawn(&format!("{layer}.bias")), BOUNDS[1].into());
        }
        assert_uniform("the output layer", drawn("output.weight"), BOUNDS[0].into());
    }
}
