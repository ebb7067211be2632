//! The passes of a network, forward and backward, as operations.

use crate::allocator::{Allocator, vec4s};
use crate::config::Statistics;
use crate::kernels::{Grid, Kernel};
use crate::network::{Layer, Network, Role};
use crate::operation::{Access, Matrix, Operation, Step, flag};

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

    /// An operation that meets batch norm on its way: its workgroups own whole columns.
    fn at_norm(&self, operation: Operation, norm: u32, (normalised, statistics): (Matrix, u32)) -> Operation {
        let deal = self.grid.deal_columns(operation.rows, operation.columns, operation.inner);
        Operation { norm, statistics, ..operation }.dealt(deal).with_normalised(normalised)
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
        let operation = Operation {
            kind: Kernel::NormaliseInput as u32,
            units: columns.div_ceil(strip),
            strip,
            rows: observation.rows,
            columns,
            norm: norm + pass.parameters,
            statistics,
            ..self.operation(pass)
        }
        .with_output(output)
        .with_normalised(observation);
        let writes = vec![output.access(), Matrix::vector(statistics, 2 * columns).access()];
        steps.push(self.normalising(pass, operation, vec![observation.access()], writes));
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
        let mut operation =
            Operation { rows: input.rows, inner: layer.inner(), columns, weights, weights_stride: columns, bias, ..self.operation(pass) }
                .dealt(deal)
                .with_input(input)
                .with_output(output);
        let mut reads = vec![input.access(), Access::Parameters(weights..bias + columns)];
        let mut writes = vec![output.access()];
        if let Some(norm) = layer.norm {
            let norm = norm + pass.parameters;
            if pass.mode == Mode::Inference {
                (operation.kind, operation.norm) = (Kernel::ForwardInference as u32, norm);
            } else if let Some((normalised, statistics)) = activations.norms[index] {
                operation.kind = Kernel::ForwardNormalised as u32;
                operation = self.at_norm(operation, norm, (normalised, statistics));
                writes.extend([normalised.access(), Matrix::vector(statistics, 2 * columns).access()]);
            }
            return steps.push(self.normalising(pass, operation, reads, writes));
        }
        let acts = last && self.network.role == Role::Actor;
        let tanh = if acts { self.tanh_in_place(pass, output) } else { None };
        operation.kind = match (last, acts && tanh.is_none()) {
            (false, _) => Kernel::ForwardRectified,
            (true, false) => Kernel::ForwardLinear,
            (true, true) => Kernel::ForwardTanh,
        } as u32;
        if operation.kind == Kernel::ForwardTanh as u32 {
            operation.norm = self.bounds(pass);
            reads.push(self.bounds_access(pass));
        }
        steps.push(Step { operation, reads, writes });
        steps.extend(tanh);
    }

    /// Where half range and centre of every action stand, as the pass counts actions.
    fn bounds(&self, pass: Pass) -> u32 {
        match pass.mode {
            Mode::Inference => self.network.bounds,
            Mode::Learning { .. } => self.network.learned_bounds,
        }
    }

    fn bounds_access(&self, pass: Pass) -> Access {
        let bounds = self.bounds(pass);
        Access::Parameters(bounds..bounds + 2 * vec4s(self.network.action_size))
    }

    /// The scaled tanh of what a linear layer left in `output`, by itself, where it joins the layers before.
    fn tanh_in_place(&self, pass: Pass, output: Matrix) -> Option<Step> {
        let bands = self.grid.bands_in_place(output.rows);
        if bands == 0 || !self.grid.joins_tanh {
            return None;
        }
        let columns = vec4s(self.network.action_size);
        let operation = Operation {
            kind: Kernel::ActivateTanh as u32,
            units: bands * columns,
            rows: output.rows,
            columns,
            norm: self.bounds(pass),
            ..self.operation(pass)
        };
        Some(Step {
            operation: operation.with_input(output).with_output(output),
            reads: vec![output.access(), self.bounds_access(pass)],
            writes: vec![output.access()],
        })
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
        let forward = activations.hidden[index].window(0, columns);
        let mut step = self.through_weights(pass, Kernel::BackwardRectified, above, input, gradients.layers[index]);
        step.operation = step.operation.dealt(self.grid.deal(input.rows, columns, above.columns())).with_forward(forward);
        step.reads.push(forward.access());
        if let (Some(norm), Some(norms)) = (layer.norm, activations.norms[index]) {
            step.operation.kind = Kernel::BackwardNormalised as u32;
            self.through_norm(pass, &mut step, norm, norms, train);
        }
        steps.push(step);
    }

    /// The gradient of a layer's output, `input`, back through its weights to all columns of `output`.
    fn through_weights(&self, pass: Pass, kernel: Kernel, layer: &Layer, input: Matrix, output: Matrix) -> Step {
        let weights = layer.weights + pass.parameters;
        let operation = Operation {
            kind: kernel as u32,
            rows: input.rows,
            inner: layer.columns(),
            columns: output.columns,
            weights,
            weights_stride: layer.columns(),
            flags: Self::backward_flags(pass),
            ..self.operation(pass)
        };
        Step {
            operation: operation.with_input(input).with_output(output),
            reads: vec![input.access(), Access::Parameters(weights..weights + 4 * output.columns * layer.columns())],
            writes: vec![output.access()],
        }
    }

    /// Takes a gradient on through batch norm; with `train`, its scale and shift take their Adam step.
    fn through_norm(&self, pass: Pass, step: &mut Step, norm: u32, (normalised, statistics): (Matrix, u32), train: bool) {
        let norm = norm + pass.parameters;
        step.operation = self.at_norm(step.operation, norm, (normalised, statistics));
        let columns = step.operation.columns;
        let scale_and_shift = norm..norm + 2 * columns;
        step.reads.extend([
            Access::Parameters(scale_and_shift.clone()),
            normalised.access(),
            Matrix::vector(statistics, 2 * columns).access(),
        ]);
        if train {
            step.operation.flags |= flag::TRAIN_NORM;
            step.reads.extend([Access::Agent, Access::Counters]);
            step.writes.extend(self.trained(scale_and_shift));
        }
    }

    /// The gradients of every layer's parameters and their Adam steps, and of the input norm's.
    pub fn backward_parameters(&self, steps: &mut Vec<Step>, pass: Pass, activations: &Activations, gradients: &Gradients) {
        if let (Some(norm), Some(norms), Some(output)) = (self.network.input_norm, activations.input_norm, gradients.input) {
            let first = &self.network.layers[0];
            let input = gradients.layers[0];
            let mut step = self.through_weights(pass, Kernel::BackwardInputNorm, first, input, output);
            // the first layer's own norm takes away whatever the shift adds
            if Self::cancels_bias(pass, first) {
                step.operation.flags |= flag::CANCELLED_BIAS;
            }
            self.through_norm(pass, &mut step, norm, norms, true);
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
            weights: layer.weights + parameters,
            weights_stride: layer.columns(),
            bias: layer.bias + parameters,
            flags: pass.flags | cancelled,
            network,
            ..Default::default()
        }
        .dealt(deal)
        .with_input(input)
        .with_forward(gradient);
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
                weights,
                weights_stride: layer.columns(),
                norm: bounds,
                ..self.operation(pass)
            }
            .dealt(deal)
            .with_input(input)
            .with_output(d_output)
            .with_forward(action)
            .with_extra(action_gradient),
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
