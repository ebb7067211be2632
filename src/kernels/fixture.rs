//! Networks of any shape with random parameters, for the tests of the layers' kernels.

use super::Grid;
use super::harness::{Contents, Numbers, Place, wide};
use crate::allocator::{Allocator, vec4s};
use crate::network::{Layer, Network, Role};
use crate::operation::{Matrix, Operation};
use crate::passes::{Activations, Builder, Gradients};

/// A layer to build: units, action dimensions that enter beside its inputs, whether it is normalised.
pub(crate) type LayerShape = (u32, u32, bool);

/// What a test's network looks like, and on how many rows it runs.
#[derive(Debug, Clone)]
pub(crate) struct Shape {
    pub role: Role,
    pub inputs: u32,
    pub action_size: u32,
    pub input_norm: bool,
    pub layers: Vec<LayerShape>,
    pub rows: u32,
}

impl Shape {
    /// Dense layers only, the last of which is the output.
    pub fn dense(role: Role, rows: u32, inputs: u32, layers: &[LayerShape]) -> Self {
        let action_size = match role {
            Role::Actor => layers[layers.len() - 1].0,
            Role::Critic => layers.iter().map(|layer| layer.1).max().unwrap_or(0).max(1),
        };
        Self { role, inputs, action_size, input_norm: false, layers: layers.to_vec(), rows }
    }
}

/// Agents with different parameters, online and target, and empty activations.
#[derive(Debug)]
pub(crate) struct Fixture {
    pub network: Network,
    pub contents: Contents,
    pub activations: Activations,
    pub gradients: Gradients,
    /// Room for the action gradient and for the gradient of an actor's output.
    pub action_gradient: Matrix,
    pub actor_gradient: Matrix,
    pub numbers: Numbers,
    rows: u32,
}

/// Agents of every fixture: more than two, so that a stride error shows more than once.
pub(crate) const AGENTS: u32 = 3;

impl Fixture {
    pub fn new(shape: &Shape) -> Self {
        let mut memory = Allocator { used: 1 };
        let input_norm = shape.input_norm.then(|| memory.vector(4 * vec4s(shape.inputs)));
        let mut inputs = shape.inputs;
        let mut layers = Vec::new();
        for &(units, actions, norm) in &shape.layers {
            memory.vector(1);
            let columns = vec4s(units);
            layers.push(Layer {
                inputs,
                actions,
                units,
                weights: memory.vector((vec4s(inputs) + vec4s(actions)) * 4 * columns),
                bias: memory.vector(columns),
                norm: norm.then(|| memory.vector(4 * columns)),
            });
            inputs = units;
        }
        let bounds = memory.vector(2 * vec4s(shape.action_size));
        let network = Network {
            role: shape.role,
            observation_size: shape.inputs,
            observation_scale: Vec::new(),
            input_norm,
            layers,
            bounds,
            learned_bounds: bounds,
            action_size: shape.action_size,
        };

        let mut room = Allocator { used: 2 };
        let beside_observation = network.layers[0].actions;
        let with_room = room.matrix(shape.rows, vec4s(shape.inputs) + if shape.input_norm { 0 } else { vec4s(beside_observation) });
        room.vector(1);
        let activations = Activations::new(&network, with_room, &mut room);
        room.vector(1);
        let gradients = Gradients::new(&network, shape.rows, &mut room);
        room.vector(1);
        let action_gradient = room.matrix(shape.rows, vec4s(shape.action_size));
        room.vector(1);
        let actor_gradient = room.matrix(shape.rows, vec4s(shape.action_size));

        let contents = Contents::new(AGENTS, memory.length(), room.length());
        let numbers = Numbers::new(u64::from(shape.rows) << 32 | u64::from(shape.inputs) << 16 | u64::from(shape.layers[0].0));
        let mut fixture = Self { network, contents, activations, gradients, action_gradient, actor_gradient, numbers, rows: shape.rows };
        fixture.draw_parameters();
        fixture
    }

    fn draw_parameters(&mut self) {
        let bounds = Place::vector(self.network.bounds, self.network.action_size);
        let centre = Place { offset: bounds.offset + vec4s(bounds.columns), ..bounds };
        for agent in 0..AGENTS {
            self.contents.states[agent as usize].replay_length = self.rows;
            for half in [0, self.contents.sizes.target_offset] {
                for tensor in self.network.tensors() {
                    let positive = tensor.name.ends_with("scale") || tensor.name.ends_with("running_variance");
                    let (low, high) = if positive { (0.5, 1.5) } else { (-1.0, 1.0) };
                    let values = self.numbers.uniform(tensor.rows * tensor.columns, low, high);
                    let place = Place { offset: tensor.offset + half, stride: vec4s(tensor.columns), columns: tensor.columns };
                    // rows that pad the inputs to whole vec4s are zero too
                    let padded = tensor.rows.next_multiple_of(4) * vec4s(tensor.columns);
                    if !tensor.is_vector {
                        let first = 4 * place.offset as usize;
                        self.contents.parameters_of(agent)[first..first + 4 * padded as usize].fill(0.0);
                    }
                    place.put(self.contents.parameters_of(agent), &values);
                }
            }
            let scales = self.numbers.uniform(bounds.columns, 0.5, 2.0);
            let centres = self.numbers.uniform(bounds.columns, -0.5, 0.5);
            bounds.put(self.contents.parameters_of(agent), &scales);
            centre.put(self.contents.parameters_of(agent), &centres);
        }
    }

    pub fn builder<'a>(&'a self, grid: &'a Grid) -> Builder<'a> {
        Builder { network: &self.network, grid, target_offset: self.contents.sizes.target_offset, verdict: None }
    }

    /// Half range and centre of each action.
    pub fn bounds(&mut self, agent: u32) -> (Vec<f64>, Vec<f64>) {
        let scale = Place::vector(self.network.bounds, self.network.action_size);
        let centre = Place { offset: scale.offset + vec4s(scale.columns), ..scale };
        let parameters = self.contents.parameters_of(agent);
        (wide(&scale.take(parameters, 1)), wide(&centre.take(parameters, 1)))
    }

    /// A tensor of one agent by name; `half`: 0 for the online network, else the target offset.
    pub fn tensor(&mut self, agent: u32, half: u32, name: &str) -> Vec<f64> {
        let place = self.place(name);
        let tensor = self.network.tensors().into_iter().find(|tensor| tensor.name == name);
        let rows = tensor.map_or(0, |tensor| tensor.rows);
        wide(&Place { offset: place.offset + half, ..place }.take(self.contents.parameters_of(agent), rows))
    }

    /// Where a tensor lies among the online parameters.
    pub fn place(&self, name: &str) -> Place {
        let tensor = self.network.tensors().into_iter().find(|tensor| tensor.name == name);
        let tensor = tensor.unwrap_or_else(|| panic!("there is no tensor {name}"));
        Place { offset: tensor.offset, stride: vec4s(tensor.columns), columns: tensor.columns }
    }

    /// Draws what `place` holds for one agent into its activations.
    pub fn draw(&mut self, agent: u32, place: Place, rows: u32, low: f32, high: f32) -> Vec<f64> {
        let values = self.numbers.uniform(rows * place.columns, low, high);
        place.put(self.contents.activations_of(agent), &values);
        wide(&values)
    }
}

/// Where an operation reads its input, of `columns` floats.
pub(crate) fn input(operation: &Operation, columns: u32) -> Place {
    Place::new(operation.input, operation.input_stride, columns)
}

/// Where an operation writes its output.
pub(crate) fn output(operation: &Operation, columns: u32) -> Place {
    Place::new(operation.output, operation.output_stride, columns)
}

/// Where an operation finds what the forward pass left.
pub(crate) fn forward(operation: &Operation, columns: u32) -> Place {
    Place::new(operation.forward, operation.forward_stride, columns)
}

/// Where an operation keeps normalised inputs.
pub(crate) fn normalised(operation: &Operation, columns: u32) -> Place {
    Place::new(operation.normalised, operation.normalised_stride, columns)
}

/// Rows, input width and output width to test the layers' kernels at: every pair of widths, each with two heights, so that
/// every height meets every width on either side.
pub(crate) fn shapes() -> impl Iterator<Item = (u32, u32, u32)> {
    use super::harness::{ROWS, WIDTHS};
    (0..WIDTHS.len())
        .flat_map(|i| (0..WIDTHS.len()).map(move |j| (i, j)))
        .flat_map(|(i, j)| [i + j, i + j + 3 + i / 6].map(|row| (ROWS[row % ROWS.len()], WIDTHS[i], WIDTHS[j])))
}

#[test]
fn shapes_meet_every_height_on_either_side() {
    use super::harness::{ROWS, WIDTHS};
    for (rows, width) in ROWS.into_iter().flat_map(|rows| WIDTHS.map(|width| (rows, width))) {
        assert!(shapes().any(|(r, inputs, _)| (r, inputs) == (rows, width)), "{rows} rows, {width} inputs");
        assert!(shapes().any(|(r, _, columns)| (r, columns) == (rows, width)), "{rows} rows, {width} columns");
    }
}
