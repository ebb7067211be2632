// Adam: Kingma & Ba 2015, Algorithm 1, epsilon added after the bias-corrected root; then the blend of the target
// parameters, theta' <- tau theta + (1 - tau) theta' (Lillicrap et al. 2016, Algorithm 1), in the same visit.
//
//   m <- beta1 m + (1 - beta1) g          v <- beta2 v + (1 - beta2) g^2
//   theta <- theta - lr (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + epsilon)
//
// The target network is not read again in the update that changes it, so blending here equals blending at its end.
// Called by whichever invocation has just finished a vec4 of gradient; it owns that vec4 of parameters and moments.

// What one agent's step with one of its networks needs, read once.
struct AdamStep {
    agent: u32,
    network: u32,
    halted: bool,
    record: bool,
    // gradient descent: theta <- theta - lr g, without moments
    plain: bool,
    blends: bool,
    // vec4 addresses of the agent's moments, of its recorded gradients, and of its online parameters
    moments: u32,
    gradients: u32,
    parameters: u32,
    beta1: f32,
    beta2: f32,
    one_minus_beta1: f32,
    one_minus_beta2: f32,
    epsilon: f32,
    weight_decay: f32,
    // lr / (1 - beta1^t), or lr alone
    step_size: f32,
    counters: Counters,
}

// Whether a row of the minibatch was not finite: `extra` of an operation WITH_VERDICT.
fn is_refused(operation: Operation, agent: u32) -> bool {
    return (operation.flags & WITH_VERDICT) != 0u && load_activation(agent * sizes.activations_stride + operation.extra).x != 0.0;
}

// What an update's steps have in common: t, Adam's bias corrections, and the share of the online parameters that is blended
// into the targets.
struct Counters {
    update: u32,
    bias_correction1: f32,
    bias_correction2: f32,
    blend: f32,
}

// After t <- t + 1: 1 - beta^t by its recurrence, which loses no digits.
fn next_counters(agent: u32) -> Counters {
    let h = hyper_parameters_of(agent);
    let update = agent_states[agent].updates + 1u;
    var blend = h.tau;
    if h.hard_update_every != 0u {
        blend = select(0.0, 1.0, update % h.hard_update_every == 0u);
    }
    return Counters(
        update,
        fma(h.adam_beta1, agent_states[agent].bias_correction1, h.adam_one_minus_beta1),
        fma(h.adam_beta2, agent_states[agent].bias_correction2, h.adam_one_minus_beta2),
        blend,
    );
}

fn counters_of(operation: Operation, agent: u32) -> Counters {
    if (operation.flags & WITH_VERDICT) != 0u {
        return next_counters(agent);
    }
    let state = &agent_states[agent];
    return Counters((*state).updates, (*state).bias_correction1, (*state).bias_correction2, (*state).blend);
}

fn adam_step(operation: Operation, agent: u32) -> AdamStep {
    let network = operation.network;
    let is_actor = network == ACTOR;
    var step: AdamStep;
    step.agent = agent;
    step.network = network;
    step.halted = !learns(agent) || is_refused(operation, agent);
    step.record = (OPTIONS & RECORD_GRADIENTS) != 0u && network != COMPATIBLE;
    step.plain = (OPTIONS & GRADIENT_DESCENT) != 0u || network == COMPATIBLE;
    step.blends = (OPTIONS & NO_TARGETS) == 0u;
    step.moments = agent * sizes.moments_stride;
    step.gradients = step.moments + sizes.gradient_offset;
    step.parameters = agent * sizes.parameters_stride;
    let h = hyper_parameters_of(agent);
    step.beta1 = h.adam_beta1;
    step.beta2 = h.adam_beta2;
    step.one_minus_beta1 = h.adam_one_minus_beta1;
    step.one_minus_beta2 = h.adam_one_minus_beta2;
    step.epsilon = h.adam_epsilon;
    step.counters = counters_of(operation, agent);
    if is_actor {
        step.weight_decay = h.actor_weight_decay;
        step.step_size = h.actor_learning_rate;
    } else if network == CRITIC {
        step.weight_decay = h.critic_weight_decay;
        step.step_size = h.critic_learning_rate;
    } else {
        step.step_size = h.compatible_learning_rate;
    }
    if !step.plain {
        step.step_size /= step.counters.bias_correction1;
    }
    return step;
}

// What a step of one vec4 reads.
struct AdamOperands {
    parameter: vec4f,
    moment1: vec4f,
    moment2: vec4f,
    // of the target network
    follower: vec4f,
}

// All at once, before anything is stored: behind a store, a load might have to wait for it. `index`: the vec4 within the
// agent's online parameters.
fn adam_operands(step: AdamStep, index: u32) -> AdamOperands {
    var operands: AdamOperands;
    operands.parameter = load_parameter(step.parameters + index);
    if !step.plain {
        operands.moment1 = load_moment(step.moments + index);
        operands.moment2 = load_moment(step.moments + index + sizes.second_moment_offset);
    }
    if step.blends {
        operands.follower = load_parameter(step.parameters + index + sizes.target_offset);
    }
    return operands;
}

// `decays`: add weight decay (L2 on weight matrices only). False where the step is not finite, and not taken: `end_step` has to know.
fn apply_gradient(step: AdamStep, index: u32, operands: AdamOperands, gradient: vec4f, decays: bool) -> bool {
    if step.record {
        store_moment(step.gradients + index, gradient);
    }
    if step.halted {
        return true;
    }
    let first = step.moments + index;
    let second = first + sizes.second_moment_offset;
    let online = step.parameters + index;
    var g = gradient;
    if decays {
        g = fma(vec4f(step.weight_decay), operands.parameter, g);
    }
    var m = vec4f();
    var v = vec4f();
    var change = g;
    if !step.plain {
        m = fma(vec4f(step.beta1), operands.moment1, step.one_minus_beta1 * g);
        v = fma(vec4f(step.beta2), operands.moment2, step.one_minus_beta2 * g * g);
        change = m / (sqrt(v / step.counters.bias_correction2) + step.epsilon);
    }
    let stepped = operands.parameter - step.step_size * change;
    if !all_finite(stepped) || !all_finite(v) {
        return false;
    }
    if !step.plain {
        store_moment(first, m);
        store_moment(second, v);
    }
    store_parameter(online, stepped);
    if step.blends {
        store_parameter(online + sizes.target_offset, blend_target(stepped, operands.follower, step.counters.blend));
    }
    return true;
}

// `finite`: whether all that an invocation stepped was.
fn end_step(step: AdamStep, finite: bool) {
    if !finite {
        halt(step.agent, select(HALTED_CRITIC_GRADIENT, HALTED_ACTOR_GRADIENT, step.network == ACTOR), step.counters.update);
    }
}
