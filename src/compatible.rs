//! The learn program of COPDAC-Q (Silver et al. 2014, equations 19–22): `shaders/compatible.wgsl`.

use crate::allocator::{Allocator, vec4s};
use crate::config::{Config, Statistics};
use crate::ddpg::{Networks, Update, sample};
use crate::kernels::{Grid, Kernel};
use crate::network::Network;
use crate::operation::{Access, Matrix, Operation, Step, flag};
use crate::passes::{Activations, Builder, Gradients, Mode, Pass};
use crate::program::Steps;

/// Lays out the activations of an update and writes its steps. The critic reads no action: its hidden layers are the
/// basis φ(s), its last layer is v. The compatible parameters w lie in the target actor's place.
pub(crate) fn update(config: &Config, networks: &Networks, grid: &Grid) -> Update {
    let rows = config.minibatch_rows();
    let Networks { actor, critic, bounds, length, .. } = networks;
    let (bounds, w) = (*bounds, *length);
    let mut memory = Allocator::default();
    let observation_columns = vec4s(actor.observation_size);
    let action_columns = vec4s(actor.action_size);
    let observation = memory.matrix(rows, observation_columns);
    let next_observation = memory.matrix(rows, observation_columns);
    let action = memory.matrix(rows, action_columns);
    let rewards = memory.matrix(rows, 1);
    // μ(s), ∇μᵀw, and the gradients before the tanh that the steps of θ and w start from
    let policy = memory.matrix(rows, 4 * action_columns);
    let part = |index: u32| policy.window(index * action_columns, action_columns);
    let critic_pass = Activations::new(critic, observation, &mut memory);
    let next_pass = Activations::new(critic, next_observation, &mut memory);
    let actor_pass = Activations::new(actor, observation, &mut memory);
    let derivatives: Vec<Matrix> =
        actor.layers[..actor.layers.len() - 1].iter().map(|layer| memory.matrix(rows, layer.columns())).collect();
    let d_value = Gradients::new(critic, rows, &mut memory);
    let mut actor_gradients = Gradients::new(actor, rows, &mut memory);
    let mut compatible_gradients = Gradients::new(actor, rows, &mut memory);
    let last = actor.layers.len() - 1;
    actor_gradients.layers[last] = part(2);
    compatible_gradients.layers[last] = part(3);
    let update = Update {
        observation,
        next_observation,
        action,
        rewards,
        target_action: part(0),
        target_value: next_pass.output,
        value: critic_pass.output,
        policy_action: part(0),
        policy_value: critic_pass.output,
        action_gradient: part(1),
        length: memory.used,
        steps: Steps::default(),
    };
    if !memory.fits() {
        return update;
    }

    let mode = Mode::Learning { statistics: Statistics::Batch, update_running: false };
    let pass = Pass { parameters: 0, mode, flags: flag::MINIBATCH_ROWS };
    let actor_builder = Builder { network: actor, grid, target_offset: w, verdict: None };
    let critic_builder = Builder { network: critic, grid, target_offset: w, verdict: None };

    let mut steps = Vec::new();
    steps.push(sample(config, grid, observation, next_observation, action, bounds, rewards, None));
    actor_builder.forward(&mut steps, pass, &actor_pass, Some(part(0)));
    derivative_along_w(&mut steps, actor, grid, w, &actor_pass, &derivatives, part(0), part(1));
    critic_builder.forward(&mut steps, pass, &critic_pass, None);
    critic_builder.forward(&mut steps, pass, &next_pass, None);
    let gradient = d_value.layers[critic.layers.len() - 1];
    steps.push(difference(&critic_pass, &next_pass, action, policy, action_columns, rewards, actor.learned_bounds, gradient));
    // θ ← θ + α ∇μ (∇μᵀw) and w ← w + α δ ∇μ (a − μ): two backward passes of the actor; then v ← v + α δ φ
    actor_builder.backward_hidden(&mut steps, pass, &actor_pass, &actor_gradients, 0, true);
    actor_builder.backward_hidden(&mut steps, pass, &actor_pass, &compatible_gradients, 0, true);
    actor_builder.backward_parameters(&mut steps, pass, &actor_pass, &actor_gradients);
    actor_builder.backward_compatible_parameters(&mut steps, pass, &actor_pass, &compatible_gradients);
    critic_builder.backward_output_parameters(&mut steps, pass, &critic_pass, &d_value);

    Update { steps: Steps(steps), ..update }
}

/// ∇μᵀw: the actor's derivative along w, layer by layer, into `output`.
#[expect(clippy::too_many_arguments, reason = "each is a different place in memory")]
fn derivative_along_w(
    steps: &mut Vec<Step>,
    actor: &Network,
    grid: &Grid,
    w: u32,
    activations: &Activations,
    derivatives: &[Matrix],
    action: Matrix,
    output: Matrix,
) {
    for (index, layer) in actor.layers.iter().enumerate() {
        let last = index == derivatives.len();
        let columns = layer.columns();
        let input = activations.below(index).window(0, layer.inner());
        let before = index.checked_sub(1).map(|below| derivatives[below]);
        let forward = if last { action } else { activations.hidden[index].window(0, columns) };
        let output = if last { output } else { derivatives[index] };
        let deal = grid.deal(input.rows, columns, layer.inner());
        let operation = Operation {
            kind: if last { Kernel::TangentTanh } else { Kernel::TangentRectified } as u32,
            flags: flag::MINIBATCH_ROWS,
            rows: input.rows,
            inner: layer.inner(),
            columns,
            weights: layer.weights,
            weights_stride: columns,
            bias: layer.bias,
            norm: actor.learned_bounds,
            ..Default::default()
        }
        .dealt(deal)
        .with_input(input)
        .with_output(output)
        .with_forward(forward)
        .with_extra(before);
        let range = layer.weights..layer.bias + columns;
        let mut reads = vec![
            input.access(),
            forward.access(),
            Access::Parameters(range.clone()),
            Access::Parameters(range.start + w..range.end + w),
            Access::Parameters(actor.learned_bounds..actor.learned_bounds + 2 * vec4s(actor.action_size)),
        ];
        reads.extend(before.map(Matrix::access));
        steps.push(Step { operation, reads, writes: vec![output.access()] });
    }
}

#[expect(clippy::too_many_arguments, reason = "each is a different place in memory")]
fn difference(
    critic: &Activations,
    next: &Activations,
    action: Matrix,
    policy: Matrix,
    action_columns: u32,
    rewards: Matrix,
    bounds: u32,
    d_value: Matrix,
) -> Step {
    Step {
        operation: Operation {
            kind: Kernel::CompatibleDifference as u32,
            units: 1,
            flags: flag::MINIBATCH_ROWS,
            rows: action.rows,
            columns: action_columns,
            norm: bounds,
            statistics: rewards.offset,
            ..Default::default()
        }
        .with_input(critic.output)
        .with_output(d_value)
        .with_forward(next.output)
        .with_normalised(action)
        .with_extra(policy),
        reads: vec![critic.output.access(), next.output.access(), action.access(), policy.access(), rewards.access(), Access::Agent],
        writes: vec![policy.access(), rewards.access(), d_value.access(), Access::Agent],
    }
}
