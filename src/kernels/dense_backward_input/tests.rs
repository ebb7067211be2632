use super::*;
use crate::Environment;
use crate::kernels::dense_forward::{self, Activation, reference_activation};
use crate::kernels::fixture::{AGENTS, Fixture, Shape, forward, input, output, shapes};
use crate::kernels::harness::{Numbers, Place, assert_close, differences, learning, rigs, sum_tolerance, wide};
use crate::kernels::{Kernel, batch_norm};
use crate::network::Role;
use crate::operation::flag;

/// Rectified activations: half of them exactly zero.
fn rectified(numbers: &mut Numbers, count: u32) -> Vec<f32> {
    numbers.uniform(count, -1.0, 1.0).into_iter().map(|x| x.max(0.0)).collect()
}

#[test]
fn through_a_rectified_layer_at_every_size() {
    for rig in rigs(&Environment::pendulum_v1()) {
        for (rows, above, columns) in shapes() {
            let shape = Shape::dense(Role::Critic, rows, 3, &[(columns, 0, false), (above, 0, false)]);
            let mut fixture = Fixture::new(&shape);
            let mut steps = Vec::new();
            fixture.builder(&rig.pipelines).backward_hidden(&mut steps, learning(0), &fixture.activations, &fixture.gradients, 0, false);
            let operation = steps[0].operation;
            assert_eq!((steps.len(), operation.kind), (1, Kernel::BackwardRectified as u32));
            let drawn: Vec<_> = (0..AGENTS)
                .map(|agent| {
                    let y = rectified(&mut fixture.numbers, rows * columns);
                    forward(&operation, columns).put(fixture.contents.activations_of(agent), &y);
                    (wide(&y), fixture.draw(agent, input(&operation, above), rows, -1.0, 1.0))
                })
                .collect();
            fixture.contents.run(&rig, &steps);
            for (agent, (y, dy)) in (0..AGENTS).zip(&drawn) {
                let d_input = reference(dy, &fixture.tensor(agent, 0, "output.weight"), above as usize);
                let actual = output(&operation, columns).take(fixture.contents.activations_of(agent), rows);
                let what = format!("{}, agent {agent}, [{rows}, {above}] to {columns}", rig.name);
                assert_close(&actual, &reference_rectified(&d_input, y), 1e-5, sum_tolerance(above), &what);
            }
        }
    }
}

#[test]
fn the_action_gradient_and_on_through_the_scaled_tanh() {
    for rig in rigs(&Environment::pendulum_v1()) {
        for (rows, above, actions, sampled) in
            [(1, 1, 1, 1), (3, 4, 2, 2), (8, 63, 3, 8), (31, 65, 5, 30), (64, 257, 1, 64), (65, 64, 2, 65), (64, 5, 5, 1)]
        {
            let shape = Shape::dense(Role::Critic, rows, 7, &[(9, 0, false), (above, actions, false), (1, 0, false)]);
            let mut fixture = Fixture::new(&shape);
            let mut steps = Vec::new();
            fixture.builder(&rig.pipelines).backward_action(
                &mut steps,
                learning(flag::MINIBATCH_ROWS),
                &fixture.activations,
                &fixture.gradients,
                fixture.network.bounds,
                fixture.actor_gradient,
                fixture.action_gradient,
            );
            let operation = steps[0].operation;
            assert_eq!((steps.len(), operation.kind), (1, Kernel::BackwardTanh as u32));
            let drawn: Vec<_> = (0..AGENTS)
                .map(|agent| {
                    fixture.contents.states[agent as usize].replay_length = sampled;
                    let z = wide(&fixture.numbers.uniform(sampled * actions, -2.0, 2.0));
                    let (scale, centre) = fixture.bounds(agent);
                    let action = reference_activation(&z, Activation::ScaledTanh { scale: &scale, centre: &centre });
                    let action: Vec<f32> = action.into_iter().map(|a| a as f32).collect();
                    forward(&operation, actions).put(fixture.contents.activations_of(agent), &action);
                    (wide(&action), fixture.draw(agent, input(&operation, above), sampled, -1.0, 1.0))
                })
                .collect();
            fixture.contents.run(&rig, &steps);
            for (agent, (action, dy)) in (0..AGENTS).zip(&drawn) {
                let what = format!("{}, agent {agent}, [{rows}, {above}] to {actions} actions", rig.name);
                let action_gradient = reference(dy, &fixture.tensor(agent, 0, "layer2.action_weight"), above as usize);
                let (scale, centre) = fixture.bounds(agent);
                let expected = reference_scaled_tanh(&action_gradient, action, &scale, &centre);
                let raw = Place::new(operation.extra, operation.extra_stride, actions);
                let place = output(&operation, actions);
                let activations = fixture.contents.activations_of(agent);
                assert_close(&raw.take(activations, sampled), &action_gradient, 1e-5, sum_tolerance(above), &what);
                // scale reaches 2, and 1 - tanh^2 is rounded at 1
                assert_close(&place.take(activations, sampled), &expected, 1e-5, 3.0 * sum_tolerance(above), &what);
                assert!(raw.untouched(activations, sampled..rows) && place.untouched(activations, sampled..rows), "{what}: rows");
            }
        }
    }
}

#[test]
fn the_references_agree_with_central_differences() {
    let mut numbers = Numbers::new(1);
    let (rows, inputs, columns) = (3, 4, 2);
    let x = wide(&numbers.uniform(rows * inputs, -1.0, 1.0));
    let w = wide(&numbers.uniform(inputs * columns, -1.0, 1.0));
    let b = wide(&numbers.uniform(columns, -1.0, 1.0));
    let weights_of_loss = wide(&numbers.uniform(rows * columns, -1.0, 1.0));
    let (scale, centre) = ([0.7, 2.0], [0.1, -0.4]);
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    // dense
    let numeric = differences(|x| dot(&dense_forward::reference(x, &w, &b), &weights_of_loss), &x);
    assert_close(&reference(&weights_of_loss, &w, columns as usize), &numeric, 1e-7, 1e-8, "dense");
    // dense, then scaled tanh
    let tanh = Activation::ScaledTanh { scale: &scale, centre: &centre };
    let z = dense_forward::reference(&x, &w, &b);
    let numeric = differences(|z| dot(&reference_activation(z, tanh), &weights_of_loss), &z);
    let analytic = reference_scaled_tanh(&weights_of_loss, &reference_activation(&z, tanh), &scale, &centre);
    assert_close(&analytic, &numeric, 1e-7, 1e-8, "scaled tanh");
    // ReLU, away from its corner
    let numeric = differences(|z| dot(&reference_activation(z, Activation::Rectified), &weights_of_loss), &z);
    let analytic = reference_rectified(&weights_of_loss, &reference_activation(&z, Activation::Rectified));
    assert_close(&analytic, &numeric, 1e-7, 1e-8, "rectified");
    // and the whole chain: dense, batch norm, ReLU
    let (norm_scale, norm_shift) = ([1.3, 0.6], [0.2, -0.1]);
    let chain = |x: &[f64]| {
        let z = dense_forward::reference(x, &w, &b);
        let normalised = batch_norm::reference(&z, &batch_norm::reference_statistics(&z, 2), &norm_scale, &norm_shift, 1e-5);
        (reference_activation(&normalised.output, Activation::Rectified), normalised)
    };
    let numeric = differences(|x| dot(&chain(x).0, &weights_of_loss), &x);
    let (y, normalised) = chain(&x);
    let dy = reference_rectified(&weights_of_loss, &y);
    let dz = batch_norm::reference_backward(&dy, &normalised, &norm_scale, true).d_input;
    assert_close(&reference(&dz, &w, 2), &numeric, 1e-6, 1e-7, "dense, batch norm, ReLU");
}
