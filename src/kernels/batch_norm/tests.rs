use super::*;
use crate::Environment;
use crate::config;
use crate::kernels::Kernel;
use crate::kernels::dense_backward_input::{self, reference_rectified};
use crate::kernels::dense_forward::{self, Activation, reference_activation};
use crate::kernels::fixture::{AGENTS, Fixture, Shape, forward, input, normalised, output, shapes};
use crate::kernels::harness::{Numbers, Place, Rig, assert_close, differences, learning, rigs, sum_tolerance, wide};
use crate::network::Role;
use crate::operation::{Operation, Step, flag};
use crate::passes::{Mode, Pass};
use crate::pipelines::option;

/// As in the fixture's sizes, rounded as the shader sees it.
const EPSILON: f64 = 1e-5_f32 as f64;

/// As [`assert_close`], with an absolute tolerance a column: normalising multiplies rounding by 1 / deviation.
#[track_caller]
fn assert_columns_close(actual: &[f32], expected: &[f64], rtol: f64, atol: &[f64], what: &str) {
    assert_eq!(actual.len(), expected.len(), "{what}: lengths");
    let columns = atol.len();
    for (i, (&a, &e)) in actual.iter().zip(expected).enumerate() {
        assert_close(&[a], &[e], rtol, atol[i % columns], &format!("{what}: row {}, column {}", i / columns, i % columns));
    }
}

fn running_statistics() -> Mode {
    Mode::Learning { statistics: config::Statistics::Running, update_running: false }
}

fn following(statistics: config::Statistics, flags: u32) -> Pass {
    Pass { parameters: 0, mode: Mode::Learning { statistics, update_running: true }, flags }
}

/// Where an operation keeps the mean and the inverse standard deviation of its pass, whole vec4s.
fn statistics(operation: &Operation) -> [Place; 2] {
    let mean = Place::vector(operation.statistics, 4 * operation.columns);
    [mean, Place { offset: mean.offset + operation.columns, ..mean }]
}

fn step_of(fixture: &Fixture, rig: &Rig, pass: Pass, kernel: Kernel) -> Step {
    let mut steps = Vec::new();
    fixture.builder(&rig.pipelines).forward(&mut steps, pass, &fixture.activations, None);
    steps.swap_remove(steps.iter().position(|step| step.operation.kind == kernel as u32).expect("the pass normalises"))
}

/// Runs the step that normalises (the hidden layer, or the state input) and compares everything that it leaves.
fn compare_forward(rig: &Rig, shape: &Shape, pass: Pass, sampled: u32) {
    let mut fixture = Fixture::new(shape);
    let kernel = if shape.input_norm { Kernel::NormaliseInput } else { Kernel::ForwardNormalised };
    let step = step_of(&fixture, rig, pass, kernel);
    let operation = step.operation;
    let (columns, name) = if shape.input_norm { (shape.inputs, "input_norm") } else { (shape.layers[0].0, "norm1") };
    let target = fixture.contents.sizes.target_offset;
    for state in &mut fixture.contents.states {
        state.replay_length = sampled;
    }
    let drawn: Vec<_> = (0..AGENTS)
        .map(|agent| {
            let place = if shape.input_norm { normalised(&operation, columns) } else { input(&operation, shape.inputs) };
            let x = fixture.draw(agent, place, sampled, -1.0, 1.0);
            let parts = ["scale", "shift", "running_mean", "running_variance"];
            (x, parts.map(|part| fixture.tensor(agent, pass.parameters, &format!("{name}.{part}"))))
        })
        .collect();
    fixture.contents.run(rig, &[step]);
    for (agent, (x, [scale, shift, running_mean, running_variance])) in (0..AGENTS).zip(&drawn) {
        let what = format!("{}, agent {agent}, {sampled} of {} rows, {} to {columns}", rig.name, shape.rows, shape.inputs);
        let (z, bias, magnitude) = if shape.input_norm {
            (x.clone(), vec![0.0; columns as usize], vec![1.0; columns as usize])
        } else {
            let weights = fixture.tensor(agent, pass.parameters, "layer1.weight");
            let bias = fixture.tensor(agent, pass.parameters, "layer1.bias");
            let absolute = |values: &[f64]| values.iter().map(|x| x.abs()).collect::<Vec<_>>();
            let sums = dense_forward::reference(&absolute(x), &absolute(&weights), &absolute(&bias));
            let most = (0..columns as usize).map(|c| sums.iter().skip(c).step_by(columns as usize).copied().fold(0.0, f64::max));
            (dense_forward::reference(x, &weights, &bias), bias, most.collect::<Vec<_>>())
        };
        let of_the_minibatch = reference_statistics(&z, columns as usize);
        let running = matches!(pass.mode, Mode::Learning { statistics: config::Statistics::Running, .. });
        let used =
            if running { Statistics { mean: running_mean.clone(), variance: running_variance.clone() } } else { of_the_minibatch.clone() };
        let expected = reference(&z, &used, scale, shift, EPSILON);
        // float32 rounds x W in proportion to its terms' size, and 1 / deviation multiplies that; one row is its own mean
        let rounding: Vec<f64> = magnitude
            .iter()
            .zip(&expected.inverse_deviation)
            .map(|(size, inverse)| 1e-6 + 4e-7 * size * if sampled == 1 && !running { 1.0 } else { *inverse })
            .collect();
        let activations = fixture.contents.activations_of(agent);
        // the backward pass finds x W there, without the bias
        let kept = normalised(&operation, columns).take(activations, sampled);
        let product: Vec<_> = z.iter().enumerate().map(|(i, z)| z - bias[i % columns as usize]).collect();
        let unscaled: Vec<f64> = magnitude.iter().map(|size| 4e-7 * size).collect();
        assert_columns_close(&kept, &product, 1e-6, &unscaled, &format!("{what}: what is normalised"));
        let mut y = expected.output.clone();
        if !shape.input_norm {
            y = reference_activation(&y, Activation::Rectified);
        }
        let twice: Vec<f64> = rounding.iter().map(|atol| 2.0 * atol).collect();
        assert_columns_close(&output(&operation, columns).take(activations, sampled), &y, 1e-5, &twice, &format!("{what}: output"));
        assert!(output(&operation, columns).untouched(activations, sampled..shape.rows), "{what}: rows past the minibatch");
        // the statistics of x W leave the bias out
        let mean: Vec<_> = used.mean.iter().zip(&bias).map(|(mean, bias)| mean - bias).collect();
        let [mean_at, inverse_at] = statistics(&operation);
        let own = |place: Place, activations: &[f32]| place.take(activations, 1)[..columns as usize].to_vec();
        assert_close(&own(mean_at, activations), &mean, 1e-5, sum_tolerance(shape.inputs), &format!("{what}: mean"));
        let inverse = own(inverse_at, activations);
        for (c, (actual, expected)) in inverse.iter().zip(&expected.inverse_deviation).enumerate() {
            assert_close(&[*actual], &[*expected], 1e-5 + 3.0 * rounding[c], 0.0, &format!("{what}: inverse deviation of column {c}"));
        }
        let follows = matches!(pass.mode, Mode::Learning { update_running: true, .. });
        let decay = f64::from(fixture.contents.sizes.normalisation_decay);
        let expected_running =
            |running: &[f64], batch: &[f64]| if follows { reference_running(running, batch, decay) } else { running.to_vec() };
        let mean = expected_running(running_mean, &of_the_minibatch.mean);
        let variance = expected_running(running_variance, &of_the_minibatch.variance);
        for half in if follows { vec![0, target] } else { vec![pass.parameters] } {
            let running_mean = fixture.tensor(agent, half, &format!("{name}.running_mean"));
            assert_close(&running_mean, &mean, 1e-5, sum_tolerance(shape.inputs), &format!("{what}: running mean, half {half}"));
            let running_variance = fixture.tensor(agent, half, &format!("{name}.running_variance"));
            let most = magnitude.iter().copied().fold(1.0, f64::max);
            assert_close(&running_variance, &variance, 1e-5, 1e-6 * most, &format!("{what}: running variance, half {half}"));
        }
    }
}

fn hidden(rows: u32, inputs: u32, columns: u32) -> Shape {
    Shape::dense(Role::Actor, rows, inputs, &[(columns, 0, true), (1, 0, false)])
}

fn on_the_input(rows: u32, inputs: u32, following: LayerNorm) -> Shape {
    let layers = [(6, 0, following == LayerNorm::Yes), (1, 0, false)];
    Shape { input_norm: true, ..Shape::dense(Role::Critic, rows, inputs, &layers) }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum LayerNorm {
    Yes,
    No,
}

#[test]
fn hidden_layers_learn_with_the_minibatch_and_the_running_statistics_follow() {
    for rig in rigs(&Environment::pendulum_v1()) {
        for (rows, inputs, columns) in shapes() {
            compare_forward(&rig, &hidden(rows, inputs, columns), following(config::Statistics::Batch, 0), rows);
        }
    }
}

#[test]
fn hidden_layers_of_partial_minibatches_targets_and_running_statistics() {
    for rig in rigs(&Environment::pendulum_v1()) {
        for (rows, sampled, inputs, columns) in [(64, 63, 5, 65), (64, 1, 3, 4), (65, 33, 64, 257), (8, 2, 4, 1), (31, 31, 63, 63)] {
            let shape = hidden(rows, inputs, columns);
            let target = Fixture::new(&shape).contents.sizes.target_offset;
            for statistics in [config::Statistics::Batch, config::Statistics::Running] {
                compare_forward(&rig, &shape, following(statistics, flag::MINIBATCH_ROWS), sampled);
            }
            compare_forward(&rig, &shape, Pass { parameters: target, ..learning(flag::MINIBATCH_ROWS) }, sampled);
            compare_forward(&rig, &shape, Pass { mode: running_statistics(), ..learning(flag::MINIBATCH_ROWS) }, sampled);
            let running = Pass { parameters: target, mode: running_statistics(), flags: flag::MINIBATCH_ROWS };
            compare_forward(&rig, &shape, running, sampled);
        }
    }
}

#[test]
fn the_state_input_is_normalised_too() {
    for rig in rigs(&Environment::pendulum_v1()) {
        for (rows, sampled, inputs) in [(1, 1, 1), (3, 3, 3), (8, 5, 4), (31, 31, 5), (64, 64, 63), (65, 64, 65), (64, 33, 257)] {
            let shape = on_the_input(rows, inputs, LayerNorm::No);
            let target = Fixture::new(&shape).contents.sizes.target_offset;
            for pass in [
                following(config::Statistics::Batch, flag::MINIBATCH_ROWS),
                following(config::Statistics::Running, flag::MINIBATCH_ROWS),
                learning(flag::MINIBATCH_ROWS),
                Pass { parameters: target, ..learning(flag::MINIBATCH_ROWS) },
                Pass { mode: running_statistics(), ..learning(flag::MINIBATCH_ROWS) },
            ] {
                compare_forward(&rig, &shape, pass, sampled);
            }
        }
    }
}

/// Of the agents the first learns, the second was stopped, and the third has numbers in
/// its first column whose squares are not finite.
#[test]
fn running_statistics_follow_what_is_finite_of_agents_that_learn() {
    for rig in rigs(&Environment::pendulum_v1()) {
        let mut fixture = Fixture::new(&on_the_input(4, 5, LayerNorm::Yes));
        let step = step_of(&fixture, &rig, following(config::Statistics::Batch, flag::MINIBATCH_ROWS), Kernel::NormaliseInput);
        let place = normalised(&step.operation, 5);
        let halves = [0, fixture.contents.sizes.target_offset];
        let tensors = |fixture: &mut Fixture, agent| {
            let of = |name: &str, fixture: &mut Fixture| halves.map(|half| fixture.tensor(agent, half, name));
            [of("input_norm.running_mean", fixture), of("input_norm.running_variance", fixture)].concat()
        };
        let before: Vec<_> = (0..AGENTS)
            .map(|agent| {
                fixture.draw(agent, place, 4, -1.0, 1.0);
                tensors(&mut fixture, agent)
            })
            .collect();
        fixture.contents.states[1].halted = 1;
        Place { columns: 1, ..place }.put(fixture.contents.activations_of(2), &[1e25, -1e25, 2e25, 0.0]);
        fixture.contents.run(&rig, &[step]);
        for (agent, before) in (0..AGENTS).zip(&before) {
            for (before, after) in before.iter().zip(tensors(&mut fixture, agent)) {
                let changed: Vec<bool> = before.iter().zip(&after).map(|(before, after)| before != after).collect();
                // a vec4 follows as one
                let expected = [[true; 5], [false; 5], [false, false, false, false, true]][agent as usize];
                assert_eq!(changed, expected, "{}, agent {agent}: {before:?}, then {after:?}", rig.name);
            }
        }
    }
}

#[test]
fn acting_normalises_the_state_with_the_running_statistics() {
    for rig in rigs(&Environment::pendulum_v1()) {
        let shape = on_the_input(5, 3, LayerNorm::No);
        let mut fixture = Fixture::new(&shape);
        let pass = Pass { parameters: 0, mode: Mode::Inference, flags: 0 };
        let step = step_of(&fixture, &rig, pass, Kernel::NormaliseInput);
        let operation = step.operation;
        let x: Vec<_> = (0..AGENTS).map(|agent| fixture.draw(agent, normalised(&operation, 3), 5, -1.0, 1.0)).collect();
        fixture.contents.run(&rig, &[step]);
        for agent in 0..AGENTS {
            let mut of = |part: &str| fixture.tensor(agent, 0, &format!("input_norm.{part}"));
            let statistics = Statistics { mean: of("running_mean"), variance: of("running_variance") };
            let expected = reference(&x[agent as usize], &statistics, &of("scale"), &of("shift"), EPSILON);
            let actual = output(&operation, 3).take(fixture.contents.activations_of(agent), 5);
            assert_close(&actual, &expected.output, 1e-5, 1e-6, &format!("{}, agent {agent}", rig.name));
        }
    }
}

/// Runs the step that goes back through a norm (the hidden layer's with its ReLU, or the state input's) with statistics
/// and activations of a forward pass of random numbers, and compares the gradients of input, scale and shift.
fn compare_backward(rig: &Rig, shape: &Shape, pass: Pass, sampled: u32, train: bool) {
    let mut fixture = Fixture::new(shape);
    fixture.contents.options = option::RECORD_GRADIENTS;
    fixture.contents.moments.fill(0.0);
    for state in &mut fixture.contents.states {
        (state.replay_length, state.updates, state.bias_correction1, state.bias_correction2) = (sampled, 1, 0.1, 0.001);
    }
    let mut steps = Vec::new();
    let builder = fixture.builder(&rig.pipelines);
    if shape.input_norm {
        builder.backward_parameters(&mut steps, pass, &fixture.activations, &fixture.gradients);
        steps.truncate(1);
    } else {
        builder.backward_hidden(&mut steps, pass, &fixture.activations, &fixture.gradients, 0, train);
    }
    let operation = steps[0].operation;
    let kernel = if shape.input_norm { Kernel::BackwardInputNorm } else { Kernel::BackwardNormalised };
    assert_eq!(operation.kind, kernel as u32);
    let of_the_minibatch = pass.mode == learning(0).mode;
    let (columns, above, name, weights) = if shape.input_norm {
        (shape.inputs, shape.layers[0].0, "input_norm", "layer1.weight")
    } else {
        (shape.layers[0].0, shape.layers[1].0, "norm1", "output.weight")
    };
    let drawn: Vec<_> = (0..AGENTS)
        .map(|agent| {
            let x = wide(&fixture.numbers.uniform(sampled * columns, -1.0, 1.0));
            let used = reference_statistics(&x, columns as usize);
            let scale = fixture.tensor(agent, 0, &format!("{name}.scale"));
            let shift = fixture.tensor(agent, 0, &format!("{name}.shift"));
            let weights = fixture.tensor(agent, 0, weights);
            let rounded = |values: &[f64]| values.iter().map(|&x| x as f32).collect::<Vec<_>>();
            let mut pass = reference(&x, &used, &scale, &shift, EPSILON);
            let activations = fixture.contents.activations_of(agent);
            let [mean_at, inverse_at] = statistics(&operation);
            let (mean, inverse) = (rounded(&used.mean), rounded(&pass.inverse_deviation));
            Place { columns, ..mean_at }.put(activations, &mean);
            Place { columns, ..inverse_at }.put(activations, &inverse);
            normalised(&operation, columns).put(activations, &rounded(&x));
            let (mean, inverse) = (wide(&mean), wide(&inverse));
            let column = |i: usize| i % columns as usize;
            pass.normalised = x.iter().enumerate().map(|(i, x)| (x - mean[column(i)]) * inverse[column(i)]).collect();
            let y = rounded(&reference_activation(&pass.output, Activation::Rectified));
            if !shape.input_norm {
                forward(&operation, columns).put(activations, &y);
            }
            let dy = fixture.draw(agent, input(&operation, above), sampled, -1.0, 1.0);
            (pass, wide(&y), scale, weights, dy)
        })
        .collect();
    fixture.contents.run(rig, &steps[..1]);
    for (agent, (pass, y, scale, weights, dy)) in (0..AGENTS).zip(&drawn) {
        let what = format!("{}, agent {agent}, {sampled} of {} rows, {above} to {columns}", rig.name, shape.rows);
        let mut gradient = dense_backward_input::reference(dy, weights, above as usize);
        if !shape.input_norm {
            gradient = reference_rectified(&gradient, y);
        }
        let expected = reference_backward(&gradient, pass, scale, of_the_minibatch);
        let place = output(&operation, columns);
        let actual = place.take(fixture.contents.activations_of(agent), sampled);
        let atol: Vec<f64> = pass.inverse_deviation.iter().map(|inverse| 3.0 * sum_tolerance(above) * inverse.max(1.0)).collect();
        assert_columns_close(&actual, &expected.d_input, 1e-5, &atol, &format!("{what}: d_input"));
        assert!(place.untouched(fixture.contents.activations_of(agent), sampled..shape.rows), "{what}: rows past the minibatch");
        let recorded = |fixture: &mut Fixture, part: &str| {
            let place = fixture.place(&format!("{name}.{part}"));
            let offset = place.offset + fixture.contents.sizes.gradient_offset;
            Place { offset, ..place }.take(fixture.contents.moments_of(agent), 1)
        };
        if !train {
            assert!(fixture.contents.moments.iter().all(|&x| x == 0.0), "{what}: a pass that does not train took an Adam step");
            continue;
        }
        let cancelled = operation.flags & flag::CANCELLED_BIAS != 0;
        let d_shift = if cancelled { vec![0.0; columns as usize] } else { expected.d_shift.clone() };
        let atol = 2.0 * sum_tolerance(above * sampled);
        assert_close(&recorded(&mut fixture, "scale"), &expected.d_scale, 1e-5, atol, &format!("{what}: d_scale"));
        assert_close(&recorded(&mut fixture, "shift"), &d_shift, 1e-5, atol, &format!("{what}: d_shift"));
        if expected.d_scale.iter().any(|&d| d != 0.0) {
            assert_ne!(&fixture.tensor(agent, 0, &format!("{name}.scale")), scale, "{what}: the scale took no step");
        }
    }
}

#[test]
fn backwards_through_hidden_layers_at_every_size() {
    for rig in rigs(&Environment::pendulum_v1()) {
        for (rows, above, columns) in shapes() {
            let shape = Shape::dense(Role::Actor, rows, 3, &[(columns, 0, true), (above, 0, false)]);
            compare_backward(&rig, &shape, learning(0), rows, true);
        }
    }
}

#[test]
fn backwards_with_partial_minibatches_running_statistics_and_without_training() {
    for rig in rigs(&Environment::pendulum_v1()) {
        for (rows, sampled, above, columns) in [(64, 63, 5, 65), (64, 1, 3, 4), (65, 33, 64, 257), (8, 2, 4, 1), (31, 31, 63, 63)] {
            let shape = Shape::dense(Role::Critic, rows, 3, &[(columns, 0, true), (above, 0, false)]);
            for mode in [learning(0).mode, running_statistics()] {
                for train in [true, false] {
                    let pass = Pass { parameters: 0, mode, flags: flag::MINIBATCH_ROWS };
                    compare_backward(&rig, &shape, pass, sampled, train);
                }
            }
        }
    }
}

#[test]
fn backwards_through_the_state_input() {
    for rig in rigs(&Environment::pendulum_v1()) {
        for (rows, sampled, inputs) in [(1, 1, 1), (3, 3, 3), (8, 5, 4), (31, 31, 5), (64, 64, 63), (65, 64, 65), (64, 33, 257)] {
            for following in [LayerNorm::Yes, LayerNorm::No] {
                for mode in [learning(0).mode, running_statistics()] {
                    let pass = Pass { parameters: 0, mode, flags: flag::MINIBATCH_ROWS };
                    compare_backward(&rig, &on_the_input(rows, inputs, following), pass, sampled, true);
                }
            }
        }
    }
}

#[test]
fn the_state_inputs_shift_is_cancelled_only_where_the_minibatch_normalises_after_it() {
    let rig = &rigs(&Environment::pendulum_v1())[0];
    let flags = |following, mode| {
        let fixture = Fixture::new(&on_the_input(3, 3, following));
        let mut steps = Vec::new();
        let pass = Pass { parameters: 0, mode, flags: 0 };
        fixture.builder(&rig.pipelines).backward_parameters(&mut steps, pass, &fixture.activations, &fixture.gradients);
        steps[0].operation.flags & flag::CANCELLED_BIAS != 0
    };
    assert!(flags(LayerNorm::Yes, learning(0).mode));
    assert!(!flags(LayerNorm::No, learning(0).mode));
    assert!(!flags(LayerNorm::Yes, running_statistics()));
}

#[test]
fn the_reference_agrees_with_central_differences() {
    let mut numbers = Numbers::new(3);
    let mut draw = |count, low| wide(&numbers.uniform(count, low, 1.0));
    let (rows, columns) = (5, 3);
    let (x, scale, shift, loss) = (draw(rows * columns, -1.0), draw(columns, 0.3), draw(columns, -1.0), draw(rows * columns, -1.0));
    let dot = |normalised: Normalised| normalised.output.iter().zip(&loss).map(|(y, l)| y * l).sum::<f64>();
    let batch = reference_statistics(&x, columns as usize);
    let constant = Statistics { mean: draw(columns, -1.0), variance: draw(columns, 0.2) };
    for of_the_minibatch in [true, false] {
        let statistics = |x: &[f64]| if of_the_minibatch { reference_statistics(x, columns as usize) } else { constant.clone() };
        let pass = reference(&x, &statistics(&x), &scale, &shift, 1e-3);
        let gradients = reference_backward(&loss, &pass, &scale, of_the_minibatch);
        let numeric = differences(|x| dot(reference(x, &statistics(x), &scale, &shift, 1e-3)), &x);
        assert_close(&gradients.d_input, &numeric, 1e-7, 1e-8, "input");
        let numeric = differences(|scale| dot(reference(&x, &statistics(&x), scale, &shift, 1e-3)), &scale);
        assert_close(&gradients.d_scale, &numeric, 1e-7, 1e-8, "scale");
        let numeric = differences(|shift| dot(reference(&x, &statistics(&x), &scale, shift, 1e-3)), &shift);
        assert_close(&gradients.d_shift, &numeric, 1e-7, 1e-8, "shift");
    }
    // and the forward pass does what it is for
    let pass = reference(&x, &batch, &[1.0; 3], &[0.0; 3], 0.0);
    let after = reference_statistics(&pass.output, 3);
    assert_close(&after.mean, &[0.0; 3], 0.0, 1e-12, "mean");
    assert_close(&after.variance, &[1.0; 3], 1e-12, 0.0, "variance");
}
