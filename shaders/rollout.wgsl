// One step of every environment of an agent: explore, act, step, store, reset. One workgroup an agent.
//
// Same-step autoreset: when an episode ends, the stored next observation is the last one of that episode, and the
// observation to act on next is the first one of the new episode.
//
//   input   [environments, action]       activations   mu(s)
//   output  [environments, observation]  activations   s, replaced by the next one to act on
//   norm    [2, action]                  parameters    half range and centre of each action
//
// An environment's floats: state [STATE_SIZE], noise [ACTION_SIZE], then the four below.

const EPISODE_RETURN: u32 = 0u;
const EPISODE_LENGTH: u32 = 1u;
const FINISHED_RETURN: u32 = 2u;
const FINISHED_LENGTH: u32 = 3u;

var<workgroup> sh_finished: atomic<u32>;

fn environment_address(agent: u32, lane: u32) -> u32 {
    return (agent * sizes.environments + lane) * sizes.environment_stride;
}

fn load_state(address: u32) -> State {
    var state: State;
    for (var i = 0u; i < STATE_SIZE; i++) {
        state[i] = environments[address + i];
    }
    return state;
}

fn store_state(address: u32, state: State) {
    for (var i = 0u; i < STATE_SIZE; i++) {
        environments[address + i] = state[i];
    }
}

// Writes the observation for the networks; false where it holds NaN or infinity.
fn store_observation(operation: Operation, agent: u32, lane: u32, observation: Observation) -> bool {
    let at = agent * sizes.activations_stride + operation.output + lane * operation.output_stride;
    var finite = true;
    for (var first = 0u; first < OBSERVATION_SIZE; first += 4u) {
        let last = OBSERVATION_SIZE - 1u;
        let four = vec4u(first, min(first + 1u, last), min(first + 2u, last), min(first + 3u, last));
        let numbers = vec4f(observation[four.x], observation[four.y], observation[four.z], observation[four.w]);
        let value = first_of_four(numbers, OBSERVATION_SIZE - first);
        store_activation(at + first / 4u, value);
        finite = finite && all_finite(value);
    }
    return finite;
}

// The random numbers of an environment. Those of an evaluation are neither an agent's nor what it was trained on: `extra` is their
// seed, and they count an episode's own steps and the episodes of all, so that agents are compared on the same ones, and an
// episode is the same however many run beside it.
fn environment_random(operation: Operation, agent: u32, lane: u32, step: u32, purpose: u32) -> Random {
    if (operation.flags & EVALUATION) != 0u {
        return Random(vec4u(step, agent_states[agent].episodes + lane, PURPOSE_EVALUATION, 0u), vec2u(operation.extra, 0u));
    }
    return Random(vec4u(step, lane, purpose, 0u), agent_key(agent));
}

fn begin_episode(operation: Operation, agent: u32, lane: u32, step: u32) -> State {
    var random = environment_random(operation, agent, lane, step, PURPOSE_RESET);
    return environment_reset(&random);
}

// The first observation of every environment. One invocation an environment.
fn reset_environments(operation: Operation, agent: u32, unit: u32, lane: u32) {
    let e = unit * WORKGROUP_SIZE + lane;
    if e >= operation.rows {
        return;
    }
    let address = environment_address(agent, e);
    let state = begin_episode(operation, agent, e, agent_states[agent].steps);
    store_state(address, state);
    for (var i = STATE_SIZE; i < sizes.environment_stride; i++) {
        environments[address + i] = 0.0;
    }
    for (var i = 0u; i < ACTION_SIZE; i++) {
        environments[address + STATE_SIZE + i] = first_noise(agent);
    }
    if !store_observation(operation, agent, e, environment_observe(state)) {
        halt(agent, HALTED_ENVIRONMENT, agent_states[agent].updates);
    }
}

fn step_environments(operation: Operation, agent: u32, lane: u32) {
    if lane == 0u {
        atomicStore(&sh_finished, 0u);
    }
    workgroupBarrier();
    if agent_states[agent].halted == 0u || (operation.flags & EVALUATION) != 0u {
        for (var e = lane; e < operation.rows; e += WORKGROUP_SIZE) {
            step_environment(operation, agent, e);
        }
    }
    memory_barrier();
    if lane == 0u {
        if (operation.flags & EVALUATION) == 0u && agent_states[agent].halted == 0u {
            if atomicLoad(&sh_finished) != 0u {
                log_episodes(operation, agent);
            }
            advance_ring(agent, operation.rows);
        }
        agent_states[agent].steps += 1u;
    }
}

fn step_environment(operation: Operation, agent: u32, e: u32) {
    let evaluating = (operation.flags & EVALUATION) != 0u;
    let address = environment_address(agent, e);
    let noise_address = address + STATE_SIZE;
    let tail = noise_address + ACTION_SIZE;
    if evaluating && environments[tail + FINISHED_LENGTH] > 0.0 {
        return;
    }
    let step = agent_states[agent].steps;
    let slice = agent * sizes.activations_stride;
    let bounds = agent * sizes.parameters_stride + operation.norm;
    let slot = transition_address(agent, push_slot(agent, e));
    let state = load_state(address);

    var action: Action;
    for (var i = 0u; i < ACTION_SIZE; i++) {
        let mu = load_activation(slice + operation.input + e * operation.input_stride + i / 4u)[i % 4u];
        let scale = load_parameter(bounds + i / 4u)[i % 4u];
        let centre = load_parameter(bounds + operation.columns + i / 4u)[i % 4u];
        var wanted = mu;
        if !evaluating {
            if step < sizes.random_steps {
                let bits = philox(vec4u(step, e, PURPOSE_RANDOM_ACTION, i), agent_key(agent));
                wanted = fma(scale, 2.0 * uniform_from_bits(bits.x) - 1.0, centre);
            } else {
                let bits = philox(vec4u(step, e, PURPOSE_NOISE, i), agent_key(agent));
                let noise = next_noise(agent, environments[noise_address + i], normal_pair_from_bits(bits.xy).x);
                environments[noise_address + i] = noise;
                wanted = mu + noise_in_action_units(agent, noise, scale, step);
            }
        }
        action[i] = clamp(wanted, centre - scale, centre + scale);
        if !evaluating {
            replay[slot + OBSERVATION_SIZE + i] = select(action[i], wanted, (OPTIONS & STORE_UNCLIPPED_ACTIONS) != 0u);
        }
    }

    // the beginning of an evaluation's episode has step 0
    let draw = select(step, step + 1u, evaluating);
    var random = environment_random(operation, agent, e, draw, PURPOSE_ENVIRONMENT);
    let result = environment_step(state, action, &random);
    let episode_return = environments[tail + EPISODE_RETURN] + result.reward;
    let length = environments[tail + EPISODE_LENGTH] + 1.0;
    let truncated = u32(length) >= sizes.time_limit;
    let next_observation = environment_observe(result.state);

    var finite = is_finite(result.reward);
    for (var i = 0u; i < OBSERVATION_SIZE; i++) {
        finite = finite && is_finite(next_observation[i]);
    }
    if !finite {
        // this transition must not reach the ring: the agent stops here with what it has learned
        halt(agent, HALTED_ENVIRONMENT, agent_states[agent].updates);
        return;
    }
    if !evaluating {
        let observation = slice + operation.output + e * operation.output_stride;
        for (var i = 0u; i < OBSERVATION_SIZE; i++) {
            replay[slot + i] = load_activation(observation + i / 4u)[i % 4u];
            replay[slot + OBSERVATION_SIZE + ACTION_SIZE + 2u + i] = next_observation[i];
        }
        replay[slot + OBSERVATION_SIZE + ACTION_SIZE] = result.reward;
        let terminal = result.terminated || (truncated && (OPTIONS & TRUNCATION_IS_TERMINAL) != 0u);
        replay[slot + OBSERVATION_SIZE + ACTION_SIZE + 1u] = select(0.0, 1.0, terminal);
    }

    environments[tail + EPISODE_RETURN] = episode_return;
    environments[tail + EPISODE_LENGTH] = length;
    if result.terminated || truncated {
        environments[tail + FINISHED_RETURN] = episode_return;
        environments[tail + FINISHED_LENGTH] = length;
        if evaluating {
            return;
        }
        atomicAdd(&sh_finished, 1u);
        environments[tail + EPISODE_RETURN] = 0.0;
        environments[tail + EPISODE_LENGTH] = 0.0;
        if (OPTIONS & RESET_NOISE) != 0u {
            for (var i = 0u; i < ACTION_SIZE; i++) {
                environments[noise_address + i] = first_noise(agent);
            }
        }
        let first = begin_episode(operation, agent, e, step + 1u);
        store_state(address, first);
        if !store_observation(operation, agent, e, environment_observe(first)) {
            halt(agent, HALTED_ENVIRONMENT, agent_states[agent].updates);
        }
    } else {
        store_state(address, result.state);
        store_observation(operation, agent, e, next_observation);
    }
}

// In the order of the environments, by one invocation, so that the log is the same in every run. Episodes that end in
// the same step share the mean of the largest values: it is over the updates since an earlier step ended one.
fn log_episodes(operation: Operation, agent: u32) {
    let updates = agent_states[agent].updates;
    let taken = updates - agent_states[agent].episode_began;
    let maximum_value = select(0.0, agent_states[agent].episode_maximum_value / f32(max(taken, 1u)), taken > 0u);
    for (var e = 0u; e < operation.rows; e++) {
        let tail = environment_address(agent, e) + STATE_SIZE + ACTION_SIZE;
        let length = environments[tail + FINISHED_LENGTH];
        if length > 0.0 {
            let episode = agent_states[agent].episodes;
            agent_states[agent].log[episode % EPISODE_LOG] = vec4f(environments[tail + FINISHED_RETURN], length, maximum_value, 0.0);
            agent_states[agent].log_steps[episode % EPISODE_LOG] = agent_states[agent].steps + 1u;
            agent_states[agent].log_updates[episode % EPISODE_LOG] = updates;
            agent_states[agent].episodes = episode + 1u;
            environments[tail + FINISHED_LENGTH] = 0.0;
        }
    }
    agent_states[agent].episode_maximum_value = 0.0;
    agent_states[agent].episode_began = updates;
}
