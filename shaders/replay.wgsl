// The replay ring: Lillicrap et al. 2016, Algorithm 1, "store transition" and "sample a random minibatch".
//
// A ring an agent in `replay`; a transition is observation, action, reward, terminated, next observation. First in,
// first out when full. `terminated` is never set by a time limit, unless the configuration asks for it.

fn transition_address(agent: u32, slot: u32) -> u32 {
    return agent * sizes.replay_stride + slot * sizes.transition_stride;
}

// The slot that the lane-th transition of this step goes to.
fn push_slot(agent: u32, lane: u32) -> u32 {
    return (agent_states[agent].replay_head + lane) % sizes.replay_capacity;
}

// After `count` transitions were written.
fn advance_ring(agent: u32, count: u32) {
    agent_states[agent].replay_head = (agent_states[agent].replay_head + count) % sizes.replay_capacity;
    agent_states[agent].replay_length = min(agent_states[agent].replay_length + count, sizes.replay_capacity);
}

// Where the transition of environment `lane` went `steps_ago` steps ago; 1 is the last one.
fn recent_slot(agent: u32, lane: u32, steps_ago: u32) -> u32 {
    return (agent_states[agent].replay_head + sizes.replay_capacity - steps_ago * sizes.environments + lane) % sizes.replay_capacity;
}

// Sarsa's next action: where the step before the last and the last belong to one episode, the action that was really
// taken replaces mu(s') in `output` [rows, action]. Where an episode was cut between them, mu(s') stays.
fn take_followed_actions(operation: Operation, agent: u32, unit: u32, lane: u32) {
    let row = unit * WORKGROUP_SIZE + lane;
    if row >= operation.rows {
        return;
    }
    let before = transition_address(agent, recent_slot(agent, row, 2u));
    let followed = transition_address(agent, recent_slot(agent, row, 1u));
    let o = sizes.observation_size;
    let a = sizes.action_size;
    var same = true;
    for (var i = 0u; i < o; i++) {
        same = same && replay[before + o + a + 2u + i] == replay[followed + i];
    }
    if same {
        let action = agent * sizes.activations_stride + operation.output + row * operation.output_stride;
        copy_action(operation, agent, followed + o, action);
    }
}

// `count` floats of the ring to the row of a matrix, whose padding stays zero.
fn copy_row(source: u32, count: u32, row: u32) {
    for (var first = 0u; first < count; first += 4u) {
        store_activation(row + first / 4u, replayed(source + first, count - first));
    }
}

// The first `count` of four floats of the ring, then zeros; what lies behind them may be the end of the ring.
fn replayed(address: u32, count: u32) -> vec4f {
    let last = address + count - 1u;
    let four = vec4f(replay[address], replay[min(address + 1u, last)], replay[min(address + 2u, last)], replay[min(address + 3u, last)]);
    return first_of_four(four, count);
}

// The action at `source`, from its `first` dimension on, as networks learn with it: in its own units, or in half ranges from
// its centre, two vectors at `norm`.
fn learned_action(operation: Operation, agent: u32, source: u32, first: u32) -> vec4f {
    let count = sizes.action_size - first;
    let action = replayed(source + first, count);
    if (OPTIONS & RELATIVE_ACTIONS) == 0u {
        return action;
    }
    let bounds = agent * sizes.parameters_stride + operation.norm + first / 4u;
    let half_range = load_parameter(bounds);
    let centre = load_parameter(bounds + (sizes.action_size + 3u) / 4u);
    return first_of_four((action - centre) / half_range, count);
}

fn copy_action(operation: Operation, agent: u32, source: u32, row: u32) {
    for (var first = 0u; first < sizes.action_size; first += 4u) {
        store_activation(row + first / 4u, learned_action(operation, agent, source, first));
    }
}

// The slot that a row of the minibatch comes from, of the `length` that are filled.
fn sampled_slot(operation: Operation, agent: u32, row: u32, length: u32) -> u32 {
    if (operation.flags & LATEST_STEP) != 0u {
        return recent_slot(agent, row, select(1u, 2u, (operation.flags & PREVIOUS_STEP) != 0u));
    }
    let bits = philox(vec4u(agent_states[agent].updates, row, PURPOSE_SAMPLE, 0u), agent_key(agent));
    return select(index_from_bits(bits.x, length), row, length < operation.rows);
}

// One invocation a row of the minibatch, uniformly with replacement. With fewer transitions than a batch it takes each
// one once; the host does not ask for that unless the configuration does.
//   output   [rows, observation]  and again at `extra` where the critic reads its own copy in the policy step
//   forward  [rows, observation]  the next observation
//   normalised [rows, action]     as networks learn with it, by the bounds at `norm`
//   statistics [rows]             reward, terminated
fn sample_minibatch(operation: Operation, agent: u32, unit: u32, lane: u32) {
    let row = unit * WORKGROUP_SIZE + lane;
    let length = agent_states[agent].replay_length;
    let rows = min(length, operation.rows);
    if row >= rows {
        return;
    }
    let from_address = transition_address(agent, sampled_slot(operation, agent, row, length));
    let slice = agent * sizes.activations_stride;
    let observation = slice + operation.output + row * operation.output_stride;
    let next_observation = slice + operation.forward + row * operation.forward_stride;
    let action = slice + operation.normalised + row * operation.normalised_stride;
    let o = sizes.observation_size;
    let a = sizes.action_size;
    copy_row(from_address, o, observation);
    if operation.extra != NOWHERE {
        copy_row(from_address, o, slice + operation.extra + row * operation.extra_stride);
    }
    copy_row(from_address + o + a + 2u, o, next_observation);
    copy_action(operation, agent, from_address + o, action);
    store_activation(slice + operation.statistics + row, vec4f(replay[from_address + o + a], replay[from_address + o + a + 1u], 0.0, 0.0));
}
