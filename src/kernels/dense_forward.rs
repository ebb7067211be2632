//! A dense layer and what follows it: `shaders/dense_forward.wgsl`.

/// What a layer applies to `x W + b`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Activation<'a> {
    /// Nothing: the critic's output.
    Linear,
    /// max(0, z): hidden layers.
    Rectified,
    /// centre + scale tanh(z), per action dimension: the actor's output (Lillicrap et al. 2016, section 7).
    ScaledTanh {
        /// Half range of each action, `[columns]`.
        scale: &'a [f64],
        /// Middle of each action's range, `[columns]`.
        centre: &'a [f64],
    },
}

/// z = x W + b in float64, row-major and without padding: `input` `[rows, inputs]`, `weights` `[inputs, columns]`, `bias`
/// `[columns]`, the result `[rows, columns]`.
pub fn reference(input: &[f64], weights: &[f64], bias: &[f64]) -> Vec<f64> {
    let columns = bias.len();
    let inputs = weights.len() / columns;
    let mut output = Vec::with_capacity(input.len() / inputs * columns);
    for x in input.chunks_exact(inputs) {
        let first = output.len();
        output.extend_from_slice(bias);
        for (x, row) in x.iter().zip(weights.chunks_exact(columns)) {
            for (z, w) in output[first..].iter_mut().zip(row) {
                *z += x * w;
            }
        }
    }
    output
}

/// The activation of every element of `z`, `[rows, columns]`.
pub fn reference_activation(z: &[f64], activation: Activation<'_>) -> Vec<f64> {
    match activation {
        Activation::Linear => z.to_vec(),
        Activation::Rectified => z.iter().map(|z| z.max(0.0)).collect(),
        Activation::ScaledTanh { scale, centre } => {
            let columns = scale.len();
            z.iter().enumerate().map(|(i, z)| centre[i % columns] + scale[i % columns] * z.tanh()).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Environment;
    use crate::kernels::Kernel;
    use crate::kernels::fixture::{AGENTS, Fixture, Shape, input, output, shapes};
    use crate::kernels::harness::{Place, Rig, assert_close, learning, rigs, sum_tolerance};
    use crate::network::Role;
    use crate::operation::{Operation, Step, flag};
    use crate::passes::{Mode, Pass};

    fn rows_of(layers: usize, index: usize) -> String {
        if index + 1 == layers { "output".into() } else { format!("layer{}", index + 1) }
    }

    /// The steps of layer 0 as the builder writes them: one, or a linear layer and its tanh.
    fn first_layer(fixture: &Fixture, rig: &Rig, pass: Pass) -> Vec<Step> {
        let mut steps = Vec::new();
        fixture.builder(&rig.pipelines).forward(&mut steps, pass, &fixture.activations, None);
        let tanh = steps.get(1).is_some_and(|step| step.operation.kind == Kernel::ActivateTanh as u32);
        steps.truncate(1 + usize::from(tanh));
        steps
    }

    /// Draws an input of `rows` rows for every agent, runs layer 0, and hands each agent's x W + b and output to `check`.
    fn compare(
        rig: &Rig,
        shape: &Shape,
        pass: Pass,
        kernel: Kernel,
        sampled: u32,
        mut check: impl FnMut(&mut Fixture, u32, &Operation, Vec<f64>, Vec<f32>),
    ) {
        let mut fixture = Fixture::new(shape);
        let steps = first_layer(&fixture, rig, pass);
        let operation = steps[0].operation;
        let kinds: Vec<_> = steps.iter().map(|step| Kernel::from_kind(step.operation.kind)).collect();
        let in_two = kernel == Kernel::ForwardTanh && rig.pipelines.bands_in_place(shape.rows) > 0;
        assert_eq!(kinds, if in_two { vec![Kernel::ForwardLinear, Kernel::ActivateTanh] } else { vec![kernel] });
        let columns = shape.layers[0].0;
        let inputs: Vec<_> = (0..AGENTS).map(|agent| fixture.draw(agent, input(&operation, shape.inputs), shape.rows, -1.0, 1.0)).collect();
        for state in &mut fixture.contents.states {
            state.replay_length = sampled;
        }
        fixture.contents.run(rig, &steps);
        let rows = if pass.flags & flag::MINIBATCH_ROWS != 0 { sampled } else { shape.rows };
        let name = rows_of(shape.layers.len(), 0);
        for agent in 0..AGENTS {
            let weights = fixture.tensor(agent, pass.parameters, &format!("{name}.weight"));
            let bias = fixture.tensor(agent, pass.parameters, &format!("{name}.bias"));
            let z = reference(&inputs[agent as usize][..(rows * shape.inputs) as usize], &weights, &bias);
            let place = output(&operation, columns);
            let actual = place.take(fixture.contents.activations_of(agent), rows);
            assert!(place.untouched(fixture.contents.activations_of(agent), rows..shape.rows), "{}: rows past the minibatch", rig.name);
            check(&mut fixture, agent, &operation, z, actual);
        }
    }

    #[test]
    fn linear_layers_match_the_reference_at_every_size() {
        for rig in rigs(&Environment::pendulum_v1()) {
            for (rows, inputs, columns) in shapes() {
                let shape = Shape::dense(Role::Critic, rows, inputs, &[(columns, 0, false)]);
                compare(&rig, &shape, learning(0), Kernel::ForwardLinear, 0, |_, agent, _, z, actual| {
                    let what = format!("{}, agent {agent}, [{rows}, {inputs}] x [{inputs}, {columns}]", rig.name);
                    assert_close(&actual, &z, 1e-5, sum_tolerance(inputs), &what);
                });
            }
        }
    }

    #[test]
    fn rectified_layers_match_the_reference_at_every_size() {
        for rig in rigs(&Environment::pendulum_v1()) {
            for (rows, inputs, columns) in shapes() {
                let shape = Shape::dense(Role::Critic, rows, inputs, &[(columns, 0, false), (1, 0, false)]);
                compare(&rig, &shape, learning(0), Kernel::ForwardRectified, 0, |_, agent, _, z, actual| {
                    let what = format!("{}, agent {agent}, [{rows}, {inputs}] x [{inputs}, {columns}]", rig.name);
                    let expected = reference_activation(&z, Activation::Rectified);
                    assert_close(&actual, &expected, 1e-5, sum_tolerance(inputs), &what);
                });
            }
        }
    }

    #[test]
    fn scaled_tanh_matches_the_reference_with_bounds_of_each_action() {
        for rig in rigs(&Environment::pendulum_v1()) {
            for (rows, inputs, columns) in shapes().filter(|(_, _, columns)| *columns <= 5).chain([(65, 65, 2)]) {
                let shape = Shape::dense(Role::Actor, rows, inputs, &[(columns, 0, false)]);
                compare(&rig, &shape, learning(0), Kernel::ForwardTanh, 0, |fixture, agent, _, z, actual| {
                    let what = format!("{}, agent {agent}, [{rows}, {inputs}] x [{inputs}, {columns}]", rig.name);
                    let (scale, centre) = fixture.bounds(agent);
                    let expected = reference_activation(&z, Activation::ScaledTanh { scale: &scale, centre: &centre });
                    assert_close(&actual, &expected, 1e-5, sum_tolerance(inputs), &what);
                });
            }
        }
    }

    #[test]
    fn inference_normalises_with_the_running_statistics() {
        for rig in rigs(&Environment::pendulum_v1()) {
            for (rows, inputs, columns) in shapes().filter(|(rows, inputs, _)| *rows != 64 && *inputs != 63) {
                let shape = Shape::dense(Role::Actor, rows, inputs, &[(columns, 0, true), (1, 0, false)]);
                let pass = Pass { parameters: 0, mode: Mode::Inference, flags: 0 };
                compare(&rig, &shape, pass, Kernel::ForwardInference, 0, |fixture, agent, _, z, actual| {
                    let what = format!("{}, agent {agent}, [{rows}, {inputs}] x [{inputs}, {columns}]", rig.name);
                    let mut of = |part: &str| fixture.tensor(agent, 0, &format!("norm1.{part}"));
                    let statistics = crate::kernels::batch_norm::Statistics { mean: of("running_mean"), variance: of("running_variance") };
                    let normalised =
                        crate::kernels::batch_norm::reference(&z, &statistics, &of("scale"), &of("shift"), f64::from(1e-5_f32));
                    let expected = reference_activation(&normalised.output, Activation::Rectified);
                    // scale / deviation reaches 2.1
                    assert_close(&actual, &expected, 1e-5, 3.0 * sum_tolerance(inputs), &what);
                });
            }
        }
    }

    #[test]
    fn only_sampled_rows_are_written_and_targets_use_their_own_parameters() {
        for rig in rigs(&Environment::pendulum_v1()) {
            for (rows, sampled) in [(64, 1), (64, 33), (65, 64), (8, 7), (3, 2)] {
                let shape = Shape::dense(Role::Critic, rows, 9, &[(13, 0, false), (1, 0, false)]);
                let target = Fixture::new(&shape).contents.sizes.target_offset;
                for parameters in [0, target] {
                    let pass = Pass { parameters, ..learning(flag::MINIBATCH_ROWS) };
                    compare(&rig, &shape, pass, Kernel::ForwardRectified, sampled, |_, agent, _, z, actual| {
                        let what = format!("{}, agent {agent}, {sampled} of {rows} rows", rig.name);
                        assert_close(&actual, &reference_activation(&z, Activation::Rectified), 1e-5, sum_tolerance(9), &what);
                    });
                }
            }
        }
    }

    #[test]
    fn an_action_enters_beside_the_inputs() {
        for rig in rigs(&Environment::pendulum_v1()) {
            for (inputs, actions, columns, rows) in [(1, 1, 1, 1), (3, 1, 5, 8), (5, 2, 63, 31), (64, 3, 9, 65), (7, 5, 64, 3)] {
                let shape = Shape::dense(Role::Critic, rows, inputs, &[(columns, actions, false), (1, 0, false)]);
                let mut fixture = Fixture::new(&shape);
                let steps = first_layer(&fixture, &rig, learning(0));
                let operation = steps[0].operation;
                let beside = Place { offset: operation.input + inputs.div_ceil(4), ..input(&operation, actions) };
                let drawn: Vec<_> = (0..AGENTS)
                    .map(|agent| {
                        let observation = fixture.draw(agent, input(&operation, inputs), rows, -1.0, 1.0);
                        (observation, fixture.draw(agent, beside, rows, -2.0, 2.0))
                    })
                    .collect();
                fixture.contents.run(&rig, &steps);
                for (agent, (observation, action)) in (0..AGENTS).zip(&drawn) {
                    let bias = fixture.tensor(agent, 0, "layer1.bias");
                    let mut z = reference(observation, &fixture.tensor(agent, 0, "layer1.weight"), &bias);
                    let zero = vec![0.0; columns as usize];
                    let through_action = reference(action, &fixture.tensor(agent, 0, "layer1.action_weight"), &zero);
                    z.iter_mut().zip(through_action).for_each(|(z, more)| *z += more);
                    let actual = output(&operation, columns).take(fixture.contents.activations_of(agent), rows);
                    let what = format!("{}, agent {agent}, {inputs} inputs and {actions} actions to {columns}", rig.name);
                    assert_close(&actual, &reference_activation(&z, Activation::Rectified), 1e-5, sum_tolerance(inputs + actions), &what);
                }
            }
        }
    }
}
