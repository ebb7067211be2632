// The critic's target, error and gradient, and the policy's objective. One workgroup an agent.
//
//   y = r + gamma (1 - terminated) Q'(s', mu'(s'))          Lillicrap et al. 2016, Algorithm 1
//   L = mean (y - Q(s, a))^2            dL/dQ = -2 (y - Q) / rows
//   J = mean Q(s, mu(s)), ascended:     d(-J)/dQ = -1 / rows
//
// Values are [rows, 1]: the x of one vec4 a row. `statistics`: one vec4 a row: reward, terminated, y, y - Q.

// Adds x, y and z over the workgroup and takes the maximum of w, in a fixed order: in two steps of about the same length, as
// add_chunks. All invocations get the result.
fn reduce_workgroup(value: vec4f, lane: u32) -> vec4f {
    let groups = group_count(WORKGROUP_SIZE);
    sh_reduce[lane] = value;
    workgroupBarrier();
    if lane < groups {
        var sum = value;
        for (var other = lane + groups; other < WORKGROUP_SIZE; other += groups) {
            sum = add_and_maximum(sum, sh_reduce[other]);
        }
        sh_reduce[WORKGROUP_SIZE + lane] = sum;
    }
    workgroupBarrier();
    var result = sh_reduce[WORKGROUP_SIZE];
    for (var group = 1u; group < groups; group++) {
        result = add_and_maximum(result, sh_reduce[WORKGROUP_SIZE + group]);
    }
    workgroupBarrier();
    return result;
}

fn add_and_maximum(a: vec4f, b: vec4f) -> vec4f {
    return vec4f(a.xyz + b.xyz, max(a.w, b.w));
}

const LOWEST: f32 = -3.4028234e38;

// `input`: Q(s, a); `forward`: Q'(s', mu'(s')); `output`: dL/dQ. Then this update has begun: the counters advance.
fn temporal_difference(operation: Operation, agent: u32, lane: u32) {
    let rows = operation_rows(operation, agent);
    let slice = agent * sizes.activations_stride;
    let gamma = hyper_parameters_of(agent).gamma;
    let count = 1.0 / f32(max(rows, 1u));
    var sums = vec4f(0.0, 0.0, 0.0, LOWEST);
    for (var r = lane; r < rows; r += WORKGROUP_SIZE) {
        let at = slice + operation.statistics + r;
        let value = load_activation(slice + operation.input + r * operation.input_stride).x;
        let next_value = load_activation(slice + operation.forward + r * operation.forward_stride).x;
        let difference = temporal_difference_of(load_activation(at), value, next_value, gamma);
        store_activation(at, difference);
        store_activation(slice + operation.output + r * operation.output_stride, value_gradient(operation, difference.w, count));
        sums = add_difference(sums, difference.w, value);
    }
    measure_critic(agent, reduce_workgroup(sums, lane), count, lane);
}

// Reward, terminated, y and y - Q of a row whose reward and terminated come first in `rewards`.
fn temporal_difference_of(rewards: vec4f, value: f32, next_value: f32, gamma: f32) -> vec4f {
    let td_target = rewards.x + select(gamma * next_value, 0.0, rewards.y != 0.0);
    return vec4f(rewards.xy, td_target, td_target - value);
}

fn value_gradient(operation: Operation, td_error: f32, count: f32) -> vec4f {
    let factor = select(2.0, 1.0, (operation.flags & DELTA_RULE) != 0u);
    return vec4f(-factor * td_error * count, 0.0, 0.0, 0.0);
}

fn add_difference(sums: vec4f, td_error: f32, value: f32) -> vec4f {
    return vec4f(sums.xyz + vec3f(td_error * td_error, value, abs(td_error)), max(sums.w, value));
}

// `totals`: sums of squared TD errors, values and absolute TD errors, and the largest value. Unless they are not finite,
// the update begins here.
fn measure_critic(agent: u32, totals: vec4f, count: f32, lane: u32) {
    if lane == 0u && learns(agent) {
        if !is_finite(totals.x) || !is_finite(totals.y) {
            halt(agent, HALTED_LOSS, agent_states[agent].updates + 1u);
        } else {
            begin_update(agent);
            add_critic_loss(agent, totals, count);
        }
    }
}

fn add_critic_loss(agent: u32, totals: vec4f, count: f32) {
    agent_states[agent].measured_updates += 1u;
    agent_states[agent].critic_loss += totals.x * count;
    agent_states[agent].value += totals.y * count;
    agent_states[agent].absolute_td_error += totals.z * count;
    agent_states[agent].value_maximum = max(agent_states[agent].value_maximum, totals.w);
    agent_states[agent].episode_maximum_value += totals.w;
}

// The same where bands took the rows (shaders/bands.wgsl): the sums are taken beside the critic's gradients, which heed the
// verdict at `extra` themselves, and the update begins, for the counters, behind them.
fn critic_loss(operation: Operation, agent: u32, lane: u32) {
    let rows = operation_rows(operation, agent);
    let slice = agent * sizes.activations_stride;
    var sums = vec4f(0.0, 0.0, 0.0, LOWEST);
    for (var r = lane; r < rows; r += WORKGROUP_SIZE) {
        let td_error = load_activation(slice + operation.statistics + r).w;
        sums = add_difference(sums, td_error, load_activation(slice + operation.input + r * operation.input_stride).x);
    }
    let totals = reduce_workgroup(sums, lane);
    if lane == 0u && learns(agent) {
        if is_refused(operation, agent) || !is_finite(totals.x) || !is_finite(totals.y) {
            halt(agent, HALTED_LOSS, agent_states[agent].updates + 1u);
        } else {
            add_critic_loss(agent, totals, 1.0 / f32(max(rows, 1u)));
        }
    }
}

fn begin_if_learning(operation: Operation, agent: u32, lane: u32) {
    if lane == 0u {
        // nothing is wrong with the next minibatch so far
        store_activation(agent * sizes.activations_stride + operation.extra, vec4f());
        if learns(agent) {
            begin_update(agent);
        }
    }
}

// t <- t + 1, and all that goes with it.
fn begin_update(agent: u32) {
    let next = next_counters(agent);
    agent_states[agent].updates = next.update;
    agent_states[agent].bias_correction1 = next.bias_correction1;
    agent_states[agent].bias_correction2 = next.bias_correction2;
    agent_states[agent].blend = next.blend;
}

// `input`: Q(s, mu(s)), or NOWHERE, where the sums are taken elsewhere (actor_loss); `forward`: mu(s), scale and centre at
// `norm`; `output`: d(-J)/dQ.
fn policy_objective(operation: Operation, agent: u32, lane: u32) {
    let rows = operation_rows(operation, agent);
    let slice = agent * sizes.activations_stride;
    let count = 1.0 / f32(max(rows, 1u));
    for (var r = lane; r < rows; r += WORKGROUP_SIZE) {
        store_activation(slice + operation.output + r * operation.output_stride, vec4f(-count, 0.0, 0.0, 0.0));
    }
    if operation.input != NOWHERE {
        actor_loss(operation, agent, lane);
    }
}

// The policy's objective alone, and how many actions are at a bound. Where bands took the rows, the actor's steps run beside
// it: an agent that they halt may count in this update or not.
fn actor_loss(operation: Operation, agent: u32, lane: u32) {
    let rows = operation_rows(operation, agent);
    let slice = agent * sizes.activations_stride;
    let bounds = agent * sizes.parameters_stride + operation.norm;
    let count = 1.0 / f32(max(rows, 1u));
    var sums = vec4f();
    for (var r = lane; r < rows; r += WORKGROUP_SIZE) {
        let value = load_activation(slice + operation.input + r * operation.input_stride).x;
        var saturated = 0.0;
        for (var c = 0u; c < operation.columns; c++) {
            let action = load_activation(slice + operation.forward + r * operation.forward_stride + c);
            let scale = load_parameter(bounds + c);
            let reach = abs(action - load_parameter(bounds + operation.columns + c));
            saturated += dot(select(vec4f(), vec4f(1.0), reach > 0.99 * scale), vec4f(1.0));
        }
        sums += vec4f(value, saturated, 0.0, 0.0);
    }
    let totals = reduce_workgroup(sums, lane);
    if lane == 0u && learns(agent) {
        agent_states[agent].actor_loss -= totals.x * count;
        agent_states[agent].saturated += totals.y * count / f32(sizes.action_size);
    }
}
