//! The learn program: one DDPG update (Lillicrap et al. 2016, Algorithm 1), written in the order of the paper.

use crate::allocator::{Allocator, vec4s};
use crate::config::{Algorithm, Config, Minibatch};
use crate::kernels::{Grid, Kernel};
use crate::network::Network;
use crate::operation::{Access, Matrix, NOWHERE, Operation, Step, flag};
use crate::passes::{Activations, Builder, Gradients, Mode, Pass};
use crate::program::Steps;

/// Both networks' places in an agent's parameters: the online networks and the bounds, then the same for the targets.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Networks {
    pub actor: Network,
    pub critic: Network,
    /// Half range, then centre, of each action.
    pub bounds: u32,
    /// vec4s of the online half; also the distance to the target half.
    pub length: u32,
    /// The same where it is more than an agent can have, which nothing else here can tell.
    pub needed: u64,
}

impl Networks {
    pub fn new(config: &Config, environment: &crate::Environment) -> Self {
        use crate::network::Role;
        let mut allocator = Allocator::default();
        let mut actor = Network::new(Role::Actor, config, environment, &mut allocator);
        let critic = Network::new(Role::Critic, config, environment, &mut allocator);
        let mut vectors = || allocator.vector(2 * vec4s(environment.action_size()));
        let bounds = vectors();
        actor.bounds = bounds;
        actor.learned_bounds = if config.relative_actions { vectors() } else { bounds };
        Self { actor, critic, bounds, length: allocator.length(), needed: allocator.used }
    }

    /// Puts the action bounds into an agent's parameters (floats).
    pub fn write_bounds(&self, environment: &crate::Environment, parameters: &mut [f32]) {
        let actions = environment.action_size();
        let mut write = |bounds: u32, half_range: &[f32], centre: &[f32]| {
            for (vector, numbers) in [(bounds, half_range), (bounds + vec4s(actions), centre)] {
                parameters[4 * vector as usize..][..numbers.len()].copy_from_slice(numbers);
            }
        };
        let all = |number: f32| vec![number; actions as usize];
        // in the same place where networks learn with actions in their own units
        write(self.actor.learned_bounds, &all(1.0), &all(0.0));
        write(self.bounds, &environment.action_scale(), &environment.action_centre());
    }
}

/// Every intermediate of an update that a test or a metric may want to see.
#[derive(Debug, Clone)]
#[cfg_attr(not(test), expect(dead_code, reason = "the tests compare every stage of an update"))]
pub(crate) struct Update {
    pub observation: Matrix,
    pub next_observation: Matrix,
    /// The actions of the minibatch, in place beside the critic's activations.
    pub action: Matrix,
    /// Reward, terminated, TD target, TD error: one vec4 a row.
    pub rewards: Matrix,
    pub target_action: Matrix,
    pub target_value: Matrix,
    pub value: Matrix,
    pub policy_action: Matrix,
    pub policy_value: Matrix,
    /// dJ/da, still divided by the rows and negated.
    pub action_gradient: Matrix,
    /// vec4s of activations an agent.
    pub length: u64,
    /// None where the activations are more than an agent can have.
    pub steps: Steps,
}

impl Update {
    /// Lays out the activations of an update and writes its steps.
    pub fn new(config: &Config, networks: &Networks, grid: &Grid) -> Self {
        let rows = config.minibatch_rows();
        let Networks { actor, critic, bounds, length: target_offset, .. } = networks;
        let (bounds, target_offset) = (*bounds, *target_offset);
        let mut memory = Allocator::default();
        let observation_columns = vec4s(actor.observation_size);
        let action_columns = vec4s(actor.action_size);
        // where the action enters at the first layer, and nothing normalises before it, the critic reads it beside the
        // observation; the policy step then needs an observation of its own
        let enters_first = critic.action_layer() == Some(0) && critic.input_norm.is_none();
        let observation_stride = observation_columns + if enters_first { action_columns } else { 0 };
        let with_room = memory.matrix(rows, observation_stride);
        let next_with_room = memory.matrix(rows, observation_stride);
        // bands sample it a second time, so that the actor's pass does not wait for the critic's
        let bands = grid.bands(rows);
        let policy_with_room = match memory.matrix(rows, observation_stride) {
            own if enters_first || bands => own,
            _ => with_room,
        };
        let observation = with_room.window(0, observation_columns);
        let next_observation = next_with_room.window(0, observation_columns);
        let policy_observation = policy_with_room.window(0, observation_columns);
        let rewards = memory.matrix(rows, 1);
        // not zero where a row of the minibatch was not finite
        let verdict = memory.matrix(1, 1);
        let action_gradient = memory.matrix(rows, action_columns);

        let target_actor = Activations::new(actor, next_observation, &mut memory);
        let target_critic = Activations::new(critic, next_with_room, &mut memory);
        let critic_pass = Activations::new(critic, with_room, &mut memory);
        let actor_pass = Activations::new(actor, policy_observation, &mut memory);
        let policy_pass = Activations::new(critic, policy_with_room, &mut memory);
        let critic_gradients = Gradients::new(critic, rows, &mut memory);
        let policy_gradients = Gradients::new(critic, rows, &mut memory);
        let actor_gradients = Gradients::new(actor, rows, &mut memory);

        let place = |activations: &Activations| activations.action(critic).unwrap_or(activations.output);
        let action = place(&critic_pass);
        let target_action = place(&target_critic);
        let policy_action = place(&policy_pass);
        let output = |activations: &Activations| activations.output;
        let update = Self {
            observation,
            next_observation,
            action,
            rewards,
            target_action,
            target_value: output(&target_critic),
            value: output(&critic_pass),
            policy_action,
            policy_value: output(&policy_pass),
            action_gradient,
            length: memory.used,
            steps: Steps::default(),
        };
        if !memory.fits() {
            return update;
        }

        let online = |update_running| Pass {
            parameters: 0,
            mode: Mode::Learning { statistics: config.online_statistics, update_running },
            flags: flag::MINIBATCH_ROWS,
        };
        let follow = online(config.update_running_statistics);
        let leave = online(false);
        // the algorithms of 2014 bootstrap from the networks as they are
        let target = Pass {
            parameters: if config.algorithm.has_targets() { target_offset } else { 0 },
            mode: Mode::Learning { statistics: config.target_statistics, update_running: false },
            ..leave
        };
        let actor_builder = Builder { network: actor, grid, target_offset, verdict: None };
        let critic_builder = Builder { network: critic, grid, target_offset, verdict: bands.then_some(verdict) };
        let last = |gradients: &Gradients| gradients.layers[gradients.layers.len() - 1];

        let mut steps = Vec::new();
        // sample a minibatch of transitions (s, a, r, s')
        let policy_observation_beside = enters_first.then_some(policy_observation);
        let sample = sample(config, grid, observation, next_observation, action, bounds, rewards, policy_observation_beside);
        if bands {
            steps.extend(sample_of_bands(sample, action_columns, policy_observation));
        } else {
            steps.push(sample);
        }
        // y = r + gamma (1 - terminated) Q'(s', mu'(s'))
        actor_builder.forward(&mut steps, target, &target_actor, Some(target_action));
        if config.algorithm == Algorithm::OnPolicy {
            // Sarsa: Q(s', a') with the action that was taken
            steps.push(followed_action(grid, target_action, bounds));
        }
        critic_builder.forward(&mut steps, target, &target_critic, None);
        // update the critic by minimising the mean of (y - Q(s, a))^2
        critic_builder.forward(&mut steps, follow, &critic_pass, None);
        let (value, target_value) = (update.value, update.target_value);
        let difference = temporal_difference(config, value, target_value, rewards, last(&critic_gradients));
        if bands {
            steps.push(temporal_difference_of_bands(difference, rewards, verdict));
            steps.push(critic_loss(value, rewards, verdict));
        } else {
            steps.push(difference);
        }
        critic_builder.backward_hidden(&mut steps, leave, &critic_pass, &critic_gradients, 0, true);
        critic_builder.backward_parameters(&mut steps, leave, &critic_pass, &critic_gradients);
        if bands {
            steps.push(begin_update(verdict));
        }
        // update the actor along grad_a Q(s, mu(s)) grad mu(s), through the critic as it is now
        actor_builder.forward(&mut steps, follow, &actor_pass, Some(policy_action));
        critic_builder.forward(&mut steps, leave, &policy_pass, None);
        let objective = policy_objective(update.policy_value, policy_action, actor.learned_bounds, last(&policy_gradients));
        if bands {
            steps.push(policy_objective_of_bands(&objective, policy_action));
            steps.push(actor_loss(objective));
        } else if grid.tile.mixes_kinds() {
            // the way back does not wait for the sums, which go beside it
            steps.push(policy_objective_alone(&objective));
            steps.push(actor_loss(objective));
        } else {
            steps.push(objective);
        }
        let action_layer = critic.action_layer().unwrap_or(0);
        critic_builder.backward_hidden(&mut steps, leave, &policy_pass, &policy_gradients, action_layer, false);
        let d_output = last(&actor_gradients);
        critic_builder.backward_action(&mut steps, leave, &policy_pass, &policy_gradients, actor.learned_bounds, d_output, action_gradient);
        actor_builder.backward_hidden(&mut steps, leave, &actor_pass, &actor_gradients, 0, true);
        // each Adam step has blended its parameters into the target networks
        actor_builder.backward_parameters(&mut steps, leave, &actor_pass, &actor_gradients);

        Self { steps: Steps(steps), ..update }
    }
}

/// `bounds`: of the actions in the ring.
#[expect(clippy::too_many_arguments, reason = "each is a different place in memory")]
pub(crate) fn sample(
    config: &Config,
    grid: &Grid,
    observation: Matrix,
    next_observation: Matrix,
    action: Matrix,
    bounds: u32,
    rewards: Matrix,
    policy_observation: Option<Matrix>,
) -> Step {
    let mut writes = vec![observation.access(), next_observation.access(), action.access(), rewards.access()];
    writes.extend(policy_observation.map(Matrix::access));
    let latest = match (config.minibatch, config.algorithm) {
        (Minibatch::Replay, _) => 0,
        (Minibatch::Latest, Algorithm::OnPolicy) => flag::LATEST_STEP | flag::PREVIOUS_STEP,
        (Minibatch::Latest, _) => flag::LATEST_STEP,
    };
    // teams that take bands of rows through the first layers sample theirs themselves
    let (kind, units) = match grid.bands_in_place(observation.rows) {
        0 => (Kernel::Sample, observation.rows.div_ceil(grid.workgroup_size)),
        bands => (Kernel::SampleRows, bands),
    };
    Step {
        operation: Operation {
            kind: kind as u32,
            flags: flag::MINIBATCH_ROWS | latest,
            units,
            rows: observation.rows,
            norm: bounds,
            statistics: rewards.offset,
            ..Default::default()
        }
        .with_output(observation)
        .with_forward(next_observation)
        .with_normalised(action)
        .with_extra(policy_observation),
        reads: vec![Access::Agent],
        writes,
    }
}

fn temporal_difference(config: &Config, value: Matrix, target_value: Matrix, rewards: Matrix, d_value: Matrix) -> Step {
    Step {
        operation: Operation {
            kind: Kernel::TemporalDifference as u32,
            units: 1,
            flags: flag::MINIBATCH_ROWS | if config.algorithm.has_targets() { 0 } else { flag::DELTA_RULE },
            rows: value.rows,
            statistics: rewards.offset,
            ..Default::default()
        }
        .with_input(value)
        .with_output(d_value)
        .with_forward(target_value),
        reads: vec![value.access(), target_value.access(), rewards.access(), Access::Agent],
        writes: vec![rewards.access(), d_value.access(), Access::Agent],
    }
}

/// The transitions, and the observations once more for the policy's step: two samples of the same rows.
fn sample_of_bands(whole: Step, action_columns: u32, policy_observation: Matrix) -> [Step; 2] {
    let mut transitions = whole;
    transitions.operation.kind = Kernel::SampleBand as u32;
    (transitions.operation.columns, transitions.operation.weights_stride) = (policy_observation.columns, action_columns);
    transitions.reads.push(Access::Counters);
    transitions.writes.retain(|access| *access != policy_observation.access());
    let mut observations = transitions.clone();
    observations.operation.output = policy_observation.offset;
    observations.operation.output_stride = policy_observation.stride;
    observations.operation.forward = NOWHERE;
    observations.writes = vec![policy_observation.access()];
    [transitions, observations]
}

/// The counters' part of a temporal difference, once the critic's parameters have changed.
fn begin_update(verdict: Matrix) -> Step {
    Step {
        operation: Operation { kind: Kernel::BeginUpdate as u32, units: 1, extra: verdict.offset, ..Default::default() },
        reads: vec![Access::Agent, Access::Measurements],
        writes: vec![Access::Counters, verdict.access()],
    }
}

/// The rows' part.
fn temporal_difference_of_bands(whole: Step, rewards: Matrix, verdict: Matrix) -> Step {
    let mut step = whole;
    step.operation.kind = Kernel::TemporalDifferenceBand as u32;
    step.operation.extra = verdict.offset;
    step.reads.retain(|access| *access != Access::Agent);
    step.writes.retain(|access| *access != Access::Agent);
    step.reads.push(rewards.access());
    step.writes.push(verdict.access());
    step
}

/// The sums over the rows.
fn critic_loss(value: Matrix, rewards: Matrix, verdict: Matrix) -> Step {
    Step {
        operation: Operation {
            kind: Kernel::CriticLoss as u32,
            units: 1,
            flags: flag::MINIBATCH_ROWS | flag::WITH_VERDICT,
            rows: value.rows,
            statistics: rewards.offset,
            extra: verdict.offset,
            ..Default::default()
        }
        .with_input(value),
        reads: vec![value.access(), rewards.access(), verdict.access()],
        writes: vec![Access::Measurements],
    }
}

fn followed_action(grid: &Grid, action: Matrix, bounds: u32) -> Step {
    Step {
        operation: Operation {
            kind: Kernel::FollowedAction as u32,
            units: action.rows.div_ceil(grid.workgroup_size),
            rows: action.rows,
            norm: bounds,
            ..Default::default()
        }
        .with_output(action),
        reads: vec![Access::Agent],
        writes: vec![action.access()],
    }
}

fn policy_objective(value: Matrix, action: Matrix, bounds: u32, d_value: Matrix) -> Step {
    Step {
        operation: Operation {
            kind: Kernel::PolicyObjective as u32,
            units: 1,
            flags: flag::MINIBATCH_ROWS,
            rows: value.rows,
            columns: action.columns,
            norm: bounds,
            ..Default::default()
        }
        .with_input(value)
        .with_output(d_value)
        .with_forward(action),
        reads: vec![value.access(), action.access(), Access::Agent],
        writes: vec![d_value.access(), Access::Agent],
    }
}

/// The gradient alone.
fn policy_objective_alone(whole: &Step) -> Step {
    let mut step = whole.clone();
    step.operation.input = NOWHERE;
    step.reads = vec![Access::Agent];
    step.writes.retain(|access| *access != Access::Agent);
    step
}

/// The gradient, the same for every row. It needs nothing; naming the action keeps it beside the actor's pass.
fn policy_objective_of_bands(whole: &Step, action: Matrix) -> Step {
    let mut step = whole.clone();
    step.operation.kind = Kernel::PolicyObjectiveBand as u32;
    step.reads.retain(|access| *access == action.access());
    step.writes.retain(|access| *access != Access::Agent);
    step
}

/// The sums over the rows.
fn actor_loss(whole: Step) -> Step {
    let mut step = whole;
    step.operation.kind = Kernel::ActorLoss as u32;
    step.reads.retain(|access| *access != Access::Agent);
    step.writes = vec![Access::Measurements];
    step
}
