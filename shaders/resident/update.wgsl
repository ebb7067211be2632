// One agent's iterations in the resident plan: Lillicrap et al. 2016, Algorithm 1, in the order of the paper. Workgroup
// (x, y, z) is agent z; its eight invocations are one subgroup.

// The observations that the environments are at, by row.
fn load_observations(operation: Operation, agent: u32, lane: u32) {
    let observations = agent * sizes.activations_stride + operation.output;
    for (var g = 0u; g < resident.environment_groups; g++) {
        let row = 8u * g + lane;
        for (var v = 0u; v < resident.observation_vectors; v++) {
            var observation = vec4f();
            if row < operation.rows {
                observation = activations[observations + row * operation.output_stride + v];
            }
            own[resident.observation + g * resident.observation_vectors + v] = observation;
        }
    }
}

// mu(s), where step_environments() reads it.
fn store_actions(operation: Operation, agent: u32, lane: u32) {
    let to = agent * sizes.activations_stride + operation.input;
    for (var g = 0u; g < resident.environment_groups; g++) {
        let row = 8u * g + lane;
        for (var v = 0u; v < resident.action_vectors; v++) {
            if row < operation.rows {
                activations[to + row * operation.input_stride + v] = own[resident.policy_action + g * resident.action_vectors + v];
            }
        }
    }
}

fn step_own_environments(operation: Operation, agent: u32, lane: u32) {
    store_actions(operation, agent, lane);
    storageBarrier();
    workgroupBarrier();
    step_environments(operation, agent, lane);
    storageBarrier();
    workgroupBarrier();
}

// `count` numbers of a transition, as the vec4s of a row; zeros behind the last, and in rows past the minibatch.
fn load_row(from_address: u32, count: u32, at: u32, inside: bool) {
    for (var v = 0u; 4u * v < count; v++) {
        var numbers = vec4f();
        for (var i = 0u; inside && i < min(4u, count - 4u * v); i++) {
            numbers[i] = replay[from_address + 4u * v + i];
        }
        own[at + v] = numbers;
    }
}

// A minibatch, by row, as replay.wgsl samples it. Rows past its end are zero.
fn sample_own(agent: u32, lane: u32) -> u32 {
    let length = agent_states[agent].replay_length;
    let rows = min(length, sizes.batch_size);
    if lane == 0u {
        agent_states[agent].rows = rows;
    }
    let o = sizes.observation_size;
    let a = sizes.action_size;
    for (var g = 0u; g < resident.batch_groups; g++) {
        let row = 8u * g + lane;
        let inside = row < rows;
        let from_address = transition_address(agent, minibatch_slot(agent, row, length, sizes.batch_size));
        load_row(from_address, o, resident.observation + g * resident.observation_vectors, inside);
        load_row(from_address + o, a, resident.action + g * resident.action_vectors, inside);
        load_row(from_address + o + a, 2u, resident.rewards + g, inside);
        load_row(from_address + o + a + 2u, o, resident.next_observation + g * resident.observation_vectors, inside);
    }
    return rows;
}

// y, the TD error and its gradient, as loss.wgsl has them. `rewards`: reward, terminated, Q'(s', mu'(s')), Q(s, a).
fn difference_own(agent: u32, rows: u32, lane: u32) {
    let count = 1.0 / f32(max(rows, 1u));
    let gamma = hyper_parameters[agent].gamma;
    var sums = vec4f(0.0, 0.0, 0.0, LOWEST);
    for (var g = 0u; g < resident.batch_groups; g++) {
        let row = own[resident.rewards + g];
        var d_value = 0.0;
        if 8u * g + lane < rows {
            let td_target = bootstrap(row.x, row.y, gamma, row.z);
            let td_error = td_target - row.w;
            d_value = -2.0 * td_error * count;
            sums = add_critic_sums(sums, td_error, row.w);
            record_row(agent, resident.record_rewards, 1u, 8u * g + lane, vec4f(row.x, row.y, td_target, td_error));
            record_row(agent, resident.record_target_value, 1u, 8u * g + lane, vec4f(row.z, 0.0, 0.0, 0.0));
            record_row(agent, resident.record_value, 1u, 8u * g + lane, vec4f(row.w, 0.0, 0.0, 0.0));
        }
        own[resident.d_value + g] = vec4f(d_value, 0.0, 0.0, 0.0);
    }
    measure_critic(agent, reduce_lanes(sums), count, lane);
    storageBarrier();
    workgroupBarrier();
}

// J and its gradient. `rewards`.w: Q(s, mu(s)).
fn objective_own(agent: u32, rows: u32, lane: u32) {
    let count = 1.0 / f32(max(rows, 1u));
    let bounds = agent * sizes.parameters_stride + resident.bounds;
    var sums = vec4f();
    for (var g = 0u; g < resident.batch_groups; g++) {
        let inside = 8u * g + lane < rows;
        let value = own[resident.rewards + g].w;
        var saturated = 0.0;
        for (var v = 0u; v < resident.action_vectors; v++) {
            saturated += saturated_actions(own[resident.policy_action + g * resident.action_vectors + v], parameters[bounds + v], parameters[bounds + resident.action_vectors + v]);
        }
        if inside {
            sums += vec4f(value, saturated, 0.0, 0.0);
            record_row(agent, resident.record_policy_value, 1u, 8u * g + lane, vec4f(value, 0.0, 0.0, 0.0));
        }
        own[resident.d_value + g] = vec4f(select(0.0, -count, inside), 0.0, 0.0, 0.0);
    }
    measure_actor(agent, reduce_lanes(sums), count, lane);
}

// For whoever wants to see every stage of an update: the same places that the layered plan leaves them in.
fn record_row(agent: u32, at: u32, stride: u32, row: u32, value: vec4f) {
    if (sizes.flags & RECORD_GRADIENTS) != 0u {
        activations[agent * sizes.activations_stride + at + row * stride] = value;
    }
}

fn record_actions(agent: u32, from_address: u32, at: u32, stride: u32, rows: u32, lane: u32) {
    for (var g = 0u; g < resident.batch_groups; g++) {
        for (var v = 0u; v < resident.action_vectors && 8u * g + lane < rows; v++) {
            record_row(agent, at + v, stride, 8u * g + lane, own[from_address + g * resident.action_vectors + v]);
        }
    }
}

// The forward passes of an iteration, in the order of the algorithm. One loop over them, rather than a call each, because
// every call is compiled anew.
//
//   ROLL_OUT        mu(s), then a step of every environment
//   TARGET_ACTOR    sample (s, a, r, s'); mu'(s')
//   TARGET_CRITIC   Q'(s', mu'(s'))
//   CRITIC_PASS     Q(s, a); y = r + gamma (1 - terminated) Q'; update the critic by minimising the mean of (y - Q)^2
//   ACTOR_PASS      mu(s)
//   POLICY_CRITIC   Q(s, mu(s)) through the critic as it is now; update the actor along grad_a Q grad mu
const ROLL_OUT: u32 = 0u;
const TARGET_ACTOR: u32 = 1u;
const TARGET_CRITIC: u32 = 2u;
const CRITIC_PASS: u32 = 3u;
const ACTOR_PASS: u32 = 4u;
const POLICY_CRITIC: u32 = 5u;

fn forward(agent: u32, stage: u32, lane: u32) {
    let is_target = stage == TARGET_ACTOR || stage == TARGET_CRITIC;
    let parameters_at = select(0u, resident.target_parameters, is_target);
    let observation = select(resident.observation, resident.next_observation, is_target);
    let groups = select(resident.batch_groups, resident.environment_groups, stage == ROLL_OUT);
    let is_critic = stage == TARGET_CRITIC || stage == CRITIC_PASS || stage == POLICY_CRITIC;
    var action = select(resident.policy_action, resident.target_action, is_target);
    action = select(action, resident.action, stage == CRITIC_PASS);
    let network = select(ACTOR, CRITIC, is_critic);
    let pass_at = select(resident.actor_pass, resident.critic_pass, is_critic);
    forward_hidden(network, parameters_at, observation, action, pass_at, groups);
    forward_output(network, parameters_at, pass_at, select(action, resident.d_value, is_critic), groups, lane);
    if is_critic {
        keep_values(select(3u, 2u, is_target));
    } else {
        bound_actions(agent, action, groups);
    }
}

// Both networks' backward passes: the critic's parameters learn in CRITIC_PASS, the actor's in POLICY_CRITIC.
fn backward(agent: u32, stage: u32, network: u32, lane: u32) {
    let is_critic = network == CRITIC;
    let d_output = select(resident.d_action, resident.d_value, is_critic);
    let pass_at = select(resident.actor_pass, resident.critic_pass, is_critic);
    let leaves = is_critic && stage == POLICY_CRITIC;
    backward_hidden(network, d_output, pass_at, select(0u, resident.action_layer, leaves), lane);
    if !leaves {
        backward_parameters(agent, network, d_output, pass_at, resident.observation, resident.action, lane);
    }
}

fn run_stage(agent: u32, stage: u32, rows: u32, lane: u32) {
    forward(agent, stage, lane);
    if stage == CRITIC_PASS {
        difference_own(agent, rows, lane);
    }
    if stage == POLICY_CRITIC {
        objective_own(agent, rows, lane);
    }
    if stage == CRITIC_PASS || stage == POLICY_CRITIC {
        // the critic first, then, in the policy's step, the actor
        for (var network = CRITIC; ; network = ACTOR) {
            if network == ACTOR {
                backward_action(agent, lane);
            }
            backward(agent, stage, network, lane);
            if network == ACTOR || stage == CRITIC_PASS {
                break;
            }
        }
    }
}

fn record_stages(agent: u32, rows: u32, lane: u32) {
    record_actions(agent, resident.target_action, resident.record_target_action, resident.record_action_stride, rows, lane);
    record_actions(agent, resident.policy_action, resident.record_policy_action, resident.record_policy_action_stride, rows, lane);
    record_actions(agent, resident.action_gradient, resident.record_action_gradient, resident.action_vectors, rows, lane);
}

@compute @workgroup_size(8)
fn iterate_resident(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) lane: u32) {
    let agent = workgroup.z;
    move_agent(agent, lane, false);
    var rows = 0u;
    for (var iteration = 0u; iteration < dispatch.iterations; iteration++) {
        for (var step = 0u; step < dispatch.simulates + 5u * dispatch.updates; step++) {
            var stage = ROLL_OUT;
            if step >= dispatch.simulates {
                stage = TARGET_ACTOR + (step - dispatch.simulates) % 5u;
            }
            if stage == ROLL_OUT {
                load_observations(operations[dispatch.first], agent, lane);
            }
            if stage == TARGET_ACTOR {
                rows = sample_own(agent, lane);
            }
            run_stage(agent, stage, rows, lane);
            if stage == ROLL_OUT {
                step_own_environments(operations[dispatch.first], agent, lane);
            }
            if stage == POLICY_CRITIC {
                record_stages(agent, rows, lane);
            }
        }
    }
    move_agent(agent, lane, true);
}
