// Between an agent's memory and buffers of others: an application's, or those that the host fills and reads.
//
//   gather_rows      outside_in [rows, columns]        -> activations [rows, columns]       observations, before a pass
//   scatter_rows     activations [rows, columns]       -> outside_out [rows, columns]       actions, after a pass
//   explore_rows     activations, agent_states         -> outside_out [rows, columns]       actions with noise
//   push_rows        outside_in [rows, transition]     -> replay                            transitions of a host environment
//   advance_agents   agent_states                                                           after push_rows, or explore_rows
//   end_episode      agent_states, environments                                             of one environment of one agent
//
// Workgroup (x, y, z): 64 rows from 64 x, agent z. Outside, a row has `stride` floats, of which `columns` count, and an
// agent has `agent_stride`; inside, rows are padded to vec4s as everywhere. Nothing else of either row is touched, but
// that padding inside stays zero.

struct Transfer {
    rows: u32,
    // floats of a row
    columns: u32,
    // floats from the start of the buffer to the first row, from row to row, and from agent to agent
    offset: u32,
    stride: u32,
    agent_stride: u32,
    // vec4s from the start of an agent's activations to the first row, from row to row, and from agent to agent
    inside: u32,
    inside_stride: u32,
    inside_agent_stride: u32,
    // vec4s from the start of an agent's parameters to the action bounds
    bounds: u32,
    // 1: the step counter goes on, by a step of every environment
    counts_step: u32,
    // of an episode that has ended
    episode_return: f32,
    episode_length: f32,
    // end_episode: whose
    agent: u32,
    environment: u32,
    reserved0: u32,
    reserved1: u32,
}

@group(0) @binding(9) var<uniform> transfer: Transfer;
@group(0) @binding(10) var<storage, read> outside_in: array<f32>;
@group(0) @binding(11) var<storage, read_write> outside_out: array<f32>;

const TRANSFER_ROWS: u32 = 64u;

@compute @workgroup_size(64)
fn gather_rows(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) lane: u32) {
    let row = workgroup.x * TRANSFER_ROWS + lane;
    if row >= transfer.rows {
        return;
    }
    let source = transfer.offset + workgroup.z * transfer.agent_stride + row * transfer.stride;
    let to = workgroup.z * transfer.inside_agent_stride + transfer.inside + row * transfer.inside_stride;
    for (var column = 0u; column < transfer.columns; column += 4u) {
        let at = source + column;
        let four = vec4f(outside_in[at], outside_in[at + 1u], outside_in[at + 2u], outside_in[at + 3u]);
        store_activation(to + column / 4u, first_of_four(four, transfer.columns - column));
    }
}

@compute @workgroup_size(64)
fn scatter_rows(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) lane: u32) {
    let row = workgroup.x * TRANSFER_ROWS + lane;
    if row >= transfer.rows {
        return;
    }
    let source = workgroup.z * transfer.inside_agent_stride + transfer.inside + row * transfer.inside_stride;
    let to = transfer.offset + workgroup.z * transfer.agent_stride + row * transfer.stride;
    for (var i = 0u; i < transfer.columns; i++) {
        outside_out[to + i] = load_activation(source + i / 4u)[i % 4u];
    }
}

// As in rollout.wgsl: uniformly random for the first steps, then the policy's action and noise, within the bounds.
// A row is an environment; its noise lies in `environments` after one float of state.
@compute @workgroup_size(64)
fn explore_rows(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) lane: u32) {
    let row = workgroup.x * TRANSFER_ROWS + lane;
    if row >= transfer.rows {
        return;
    }
    let agent = workgroup.z;
    let source = agent * transfer.inside_agent_stride + transfer.inside + row * transfer.inside_stride;
    let to = transfer.offset + agent * transfer.agent_stride + row * transfer.stride;
    let bounds = agent * sizes.parameters_stride + transfer.bounds;
    let noise_address = (agent * sizes.environments + row) * sizes.environment_stride + 1u;
    let key = agent_key(agent);
    let step = agent_states[agent].steps;
    for (var i = 0u; i < transfer.columns; i++) {
        let scale = load_parameter(bounds + i / 4u)[i % 4u];
        let centre = load_parameter(bounds + (transfer.columns + 3u) / 4u + i / 4u)[i % 4u];
        var wanted = load_activation(source + i / 4u)[i % 4u];
        if step < sizes.random_steps {
            let bits = philox(vec4u(step, row, PURPOSE_RANDOM_ACTION, i), key);
            wanted = fma(scale, 2.0 * uniform_from_bits(bits.x) - 1.0, centre);
        } else {
            let bits = philox(vec4u(step, row, PURPOSE_NOISE, i), key);
            let noise = next_noise(agent, environments[noise_address + i], normal_pair_from_bits(bits.xy).x);
            environments[noise_address + i] = noise;
            wanted += noise_in_action_units(agent, noise, scale, step);
        }
        outside_out[to + i] = clamp(wanted, centre - scale, centre + scale);
    }
}

// A transition that holds NaN or infinity stops its agent, as one from a GPU environment does; the ring is left as it was.
@compute @workgroup_size(64)
fn push_rows(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) lane: u32) {
    let row = workgroup.x * TRANSFER_ROWS + lane;
    let agent = workgroup.z;
    if row >= transfer.rows {
        return;
    }
    let source = agent * transfer.agent_stride + row * transfer.stride;
    var finite = true;
    for (var i = 0u; i < transfer.columns; i++) {
        finite = finite && is_finite(outside_in[source + i]);
    }
    if !finite {
        halt(agent, HALTED_ENVIRONMENT, agent_states[agent].updates);
        return;
    }
    let to = transition_address(agent, push_slot(agent, row));
    for (var i = 0u; i < transfer.columns; i++) {
        replay[to + i] = outside_in[source + i];
    }
}

@compute @workgroup_size(1)
fn advance_agents(@builtin(workgroup_id) workgroup: vec3u) {
    let agent = workgroup.z;
    if agent_states[agent].halted == 0u {
        advance_ring(agent, transfer.rows);
    }
    agent_states[agent].steps += transfer.counts_step;
}

// Logs the episode as rollout.wgsl does, and starts the environment's noise anew where the configuration asks for it.
@compute @workgroup_size(1)
fn end_episode() {
    let agent = transfer.agent;
    let updates = agent_states[agent].updates;
    let taken = updates - agent_states[agent].episode_began;
    let maximum_value = select(0.0, agent_states[agent].episode_maximum_value / f32(max(taken, 1u)), taken > 0u);
    let episode = agent_states[agent].episodes;
    agent_states[agent].log[episode % EPISODE_LOG] = vec4f(transfer.episode_return, transfer.episode_length, maximum_value, 0.0);
    agent_states[agent].log_steps[episode % EPISODE_LOG] = agent_states[agent].steps;
    agent_states[agent].log_updates[episode % EPISODE_LOG] = updates;
    agent_states[agent].episodes = episode + 1u;
    agent_states[agent].episode_maximum_value = 0.0;
    agent_states[agent].episode_began = updates;
    if (OPTIONS & RESET_NOISE) != 0u {
        let noise_address = (agent * sizes.environments + transfer.environment) * sizes.environment_stride + 1u;
        for (var i = 0u; i < sizes.action_size; i++) {
            environments[noise_address + i] = first_noise(agent);
        }
    }
}
