//! The gradient of a dense layer's parameters: `shaders/dense_backward_parameters.wgsl`.

/// Gradients of a dense layer's parameters.
#[derive(Debug, Clone, PartialEq)]
pub struct Gradients {
    /// `[inputs, columns]`.
    pub d_weights: Vec<f64>,
    /// `[columns]`.
    pub d_bias: Vec<f64>,
}

/// dW = xᵀ dy and db = Σ dy over the rows, in float64: `input` `[rows, inputs]`, `d_output` `[rows, columns]`.
pub fn reference(input: &[f64], d_output: &[f64], rows: usize) -> Gradients {
    let (inputs, columns) = (input.len() / rows, d_output.len() / rows);
    let mut d_weights = vec![0.0; inputs * columns];
    let mut d_bias = vec![0.0; columns];
    for (x, dy) in input.chunks_exact(inputs).zip(d_output.chunks_exact(columns)) {
        for (x, row) in x.iter().zip(d_weights.chunks_exact_mut(columns)) {
            row.iter_mut().zip(dy).for_each(|(d, dy)| *d += x * dy);
        }
        d_bias.iter_mut().zip(dy).for_each(|(d, dy)| *d += dy);
    }
    Gradients { d_weights, d_bias }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Environment;
    use crate::allocator::vec4s;
    use crate::kernels::fixture::{AGENTS, Fixture, Shape, forward, input, shapes};
    use crate::kernels::harness::{Numbers, Place, assert_close, differences, learning, rigs, sum_tolerance, wide};
    use crate::kernels::{Kernel, dense_backward_input, dense_forward};
    use crate::network::Role;
    use crate::operation::flag;
    use crate::pipelines::option;

    /// A fixture that records gradients and has taken one update, so that Adam's corrections are 1 - beta.
    fn recording(shape: &Shape) -> Fixture {
        let mut fixture = Fixture::new(shape);
        fixture.contents.options = option::RECORD_GRADIENTS;
        fixture.contents.moments.fill(0.0);
        for state in &mut fixture.contents.states {
            (state.updates, state.bias_correction1, state.bias_correction2, state.blend) = (1, 0.1, 0.001, 0.5);
        }
        fixture
    }

    fn recorded(fixture: &mut Fixture, agent: u32, place: Place, rows: u32) -> Vec<f32> {
        let offset = place.offset + fixture.contents.sizes.gradient_offset;
        Place { offset, ..place }.take(fixture.contents.moments_of(agent), rows)
    }

    #[test]
    fn weights_and_bias_at_every_size() {
        for rig in rigs(&Environment::pendulum_v1()) {
            for (rows, inputs, columns) in shapes() {
                let mut fixture = recording(&Shape::dense(Role::Critic, rows, inputs, &[(columns, 0, false)]));
                let mut steps = Vec::new();
                fixture.builder(&rig.pipelines).backward_parameters(&mut steps, learning(0), &fixture.activations, &fixture.gradients);
                let operation = steps[0].operation;
                assert_eq!((steps.len(), operation.kind), (1, Kernel::BackwardParameters as u32));
                let drawn: Vec<_> = (0..AGENTS)
                    .map(|agent| {
                        let x = fixture.draw(agent, input(&operation, inputs), rows, -1.0, 1.0);
                        (x, fixture.draw(agent, forward(&operation, columns), rows, -1.0, 1.0))
                    })
                    .collect();
                fixture.contents.run(&rig, &steps);
                for (agent, (x, dy)) in (0..AGENTS).zip(&drawn) {
                    let what = format!("{}, agent {agent}, {rows} rows, {inputs} x {columns}", rig.name);
                    let expected = reference(x, dy, rows as usize);
                    let (weights, bias) = (fixture.place("output.weight"), fixture.place("output.bias"));
                    let d_weights = recorded(&mut fixture, agent, weights, inputs);
                    assert_close(&d_weights, &expected.d_weights, 1e-5, sum_tolerance(rows), &format!("{what}: weights"));
                    let d_bias = recorded(&mut fixture, agent, bias, 1);
                    assert_close(&d_bias, &expected.d_bias, 1e-5, sum_tolerance(rows), &format!("{what}: bias"));
                    // the rows that pad the inputs are never anything but zero
                    let padding = Place { offset: weights.offset + inputs * vec4s(columns), ..weights };
                    let pad = inputs.next_multiple_of(4) - inputs;
                    assert!(padding.take(fixture.contents.parameters_of(agent), pad).iter().all(|&w| w == 0.0), "{what}: padding");
                }
            }
        }
    }

    #[test]
    fn a_partial_minibatch_a_cancelled_bias_and_action_weights() {
        for rig in rigs(&Environment::pendulum_v1()) {
            for (rows, sampled, inputs, actions, columns) in [(64, 1, 3, 1, 5), (64, 37, 5, 3, 64), (65, 64, 64, 5, 33), (8, 8, 1, 2, 1)] {
                let shape = Shape::dense(Role::Critic, rows, inputs, &[(columns, actions, true), (1, 0, false)]);
                let mut fixture = recording(&shape);
                let mut steps = Vec::new();
                let pass = learning(flag::MINIBATCH_ROWS);
                fixture.builder(&rig.pipelines).backward_parameters(&mut steps, pass, &fixture.activations, &fixture.gradients);
                let step = steps.swap_remove(0);
                let operation = step.operation;
                assert_ne!(operation.flags & flag::CANCELLED_BIAS, 0, "a norm follows");
                let beside = Place { offset: operation.input + vec4s(inputs), ..input(&operation, actions) };
                let drawn: Vec<_> = (0..AGENTS)
                    .map(|agent| {
                        fixture.contents.states[agent as usize].replay_length = sampled;
                        let x = fixture.draw(agent, input(&operation, inputs), sampled, -1.0, 1.0);
                        let a = fixture.draw(agent, beside, sampled, -1.0, 1.0);
                        (x, a, fixture.draw(agent, forward(&operation, columns), sampled, -1.0, 1.0))
                    })
                    .collect();
                fixture.contents.run(&rig, &[step]);
                for (agent, (x, a, dy)) in (0..AGENTS).zip(&drawn) {
                    let what = format!("{}, agent {agent}, {sampled} of {rows} rows", rig.name);
                    for (name, x, inputs) in [("layer1.weight", x, inputs), ("layer1.action_weight", a, actions)] {
                        let expected = reference(x, dy, sampled as usize).d_weights;
                        let place = fixture.place(name);
                        let actual = recorded(&mut fixture, agent, place, inputs);
                        assert_close(&actual, &expected, 1e-5, sum_tolerance(sampled), &format!("{what}: {name}"));
                    }
                    let bias = fixture.place("layer1.bias");
                    assert!(recorded(&mut fixture, agent, bias, 1).iter().all(|&d| d == 0.0), "{what}: cancelled bias");
                }
            }
        }
    }

    #[test]
    fn input_and_parameter_gradients_of_one_program_agree_with_the_references() {
        // the third backward, both together: the gradient flows down with the weights as they are before their step
        for rig in rigs(&Environment::pendulum_v1()) {
            for (rows, inputs, hidden, columns) in [(31, 5, 65, 3), (64, 63, 4, 64), (3, 1, 1, 1)] {
                let mut fixture = recording(&Shape::dense(Role::Critic, rows, inputs, &[(hidden, 0, false), (columns, 0, false)]));
                let weights: Vec<_> = (0..AGENTS).map(|agent| fixture.tensor(agent, 0, "output.weight")).collect();
                let mut steps = Vec::new();
                let builder = fixture.builder(&rig.pipelines);
                builder.backward_hidden(&mut steps, learning(0), &fixture.activations, &fixture.gradients, 0, false);
                builder.backward_parameters(&mut steps, learning(0), &fixture.activations, &fixture.gradients);
                let (down, first, last) = (steps[0].operation, steps[1].operation, steps[2].operation);
                let drawn: Vec<_> = (0..AGENTS)
                    .map(|agent| {
                        let x = fixture.draw(agent, input(&first, inputs), rows, -1.0, 1.0);
                        let y = fixture.draw(agent, input(&last, hidden), rows, -1.0, 1.0);
                        (x, y, fixture.draw(agent, input(&down, columns), rows, -1.0, 1.0))
                    })
                    .collect();
                fixture.contents.run(&rig, &steps);
                for (agent, (x, y, dy)) in (0..AGENTS).zip(&drawn) {
                    let what = format!("{}, agent {agent}, {inputs}-{hidden}-{columns}", rig.name);
                    let dx = dense_backward_input::reference(dy, &weights[agent as usize], columns as usize);
                    let dz = dense_backward_input::reference_rectified(&dx, y);
                    let expected =
                        [("layer1", reference(x, &dz, rows as usize), inputs), ("output", reference(y, dy, rows as usize), hidden)];
                    for (name, expected, inputs) in expected {
                        let (w, b) = (fixture.place(&format!("{name}.weight")), fixture.place(&format!("{name}.bias")));
                        let atol = sum_tolerance(rows * columns);
                        let what = format!("{what}: {name}");
                        assert_close(&recorded(&mut fixture, agent, w, inputs), &expected.d_weights, 1e-5, atol, &what);
                        assert_close(&recorded(&mut fixture, agent, b, 1), &expected.d_bias, 1e-5, atol, &what);
                    }
                }
            }
        }
    }

    #[test]
    fn the_reference_agrees_with_central_differences() {
        let mut numbers = Numbers::new(2);
        let mut draw = |count| wide(&numbers.uniform(count, -1.0, 1.0));
        let (x, w, b, loss) = (draw(3 * 4), draw(4 * 2), draw(2), draw(3 * 2));
        let dot = |y: Vec<f64>| y.iter().zip(&loss).map(|(y, l)| y * l).sum::<f64>();
        let gradients = reference(&x, &loss, 3);
        let numeric = differences(|w| dot(dense_forward::reference(&x, w, &b)), &w);
        assert_close(&gradients.d_weights, &numeric, 1e-7, 1e-8, "weights");
        let numeric = differences(|b| dot(dense_forward::reference(&x, &w, b)), &b);
        assert_close(&gradients.d_bias, &numeric, 1e-7, 1e-8, "bias");
    }
}
