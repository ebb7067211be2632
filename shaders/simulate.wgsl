// Environments alone: many steps of every environment in one dispatch, nobody learning. One invocation an environment.
//
//   states       [environments, state]   the physics, kept in registers from the first step to the last
//   actions      [environments, action]  held for all the steps, unless RANDOM_ACTIONS
//   counters     [environments]          steps taken so far, and the length and return of the episode under way
//   reward_sums  [environments]          of the steps of this recording, over all its dispatches
//
// The loop of an episode's steps touches no memory: on software drivers a load costs as much as the arithmetic of a
// step, and on a GPU a million environments would be bound by the bus. Resets stand behind that loop rather than in it,
// since drivers that run eight invocations in lockstep execute both sides of every `if`.
//
// Random streams are those of `rollout.wgsl` for an agent with the same seed: the same episodes, if its actions are random.

struct Simulation {
    seed_low: u32,
    seed_high: u32,
    environments: u32,
    time_limit: u32,
}

struct SimulationDispatch {
    steps: u32,
    // whether an earlier dispatch of the same recording has left sums of rewards
    continues: u32,
}

struct SimulationCounters {
    steps: u32,
    length: u32,
    episode_return: f32,
    // episodes that have ended
    episodes: u32,
}

@group(2) @binding(0) var<uniform> simulation: Simulation;
@group(2) @binding(1) var<uniform> simulation_dispatch: SimulationDispatch;
@group(2) @binding(2) var<storage, read> simulation_bounds: array<vec2f>;
@group(2) @binding(3) var<storage, read> simulation_actions: array<f32>;
@group(2) @binding(4) var<storage, read_write> simulation_states: array<f32>;
@group(2) @binding(5) var<storage, read_write> simulation_counters: array<SimulationCounters>;
@group(2) @binding(6) var<storage, read_write> simulation_reward_sums: array<f32>;

override RANDOM_ACTIONS: bool = false;

const SIMULATION_WORKGROUP: u32 = 64u;

fn simulation_random(step: u32, e: u32, purpose: u32) -> Random {
    return Random(vec4u(step, e, purpose, 0u), vec2u(simulation.seed_low, simulation.seed_high));
}

fn simulation_environment(group: vec3u, groups: vec3u, lane: u32) -> u32 {
    return (group.y * groups.x + group.x) * SIMULATION_WORKGROUP + lane;
}

fn simulation_store(e: u32, state: State) {
    for (var i = 0u; i < STATE_SIZE; i++) {
        simulation_states[e * STATE_SIZE + i] = state[i];
    }
}

fn simulation_random_action(step: u32, e: u32) -> Action {
    var action: Action;
    for (var i = 0u; i < ACTION_SIZE; i++) {
        let bits = philox(vec4u(step, e, PURPOSE_RANDOM_ACTION, i), vec2u(simulation.seed_low, simulation.seed_high));
        // half range and centre
        let bounds = simulation_bounds[i];
        let wanted = fma(bounds.x, 2.0 * uniform_from_bits(bits.x) - 1.0, bounds.y);
        action[i] = clamp(wanted, bounds.y - bounds.x, bounds.y + bounds.x);
    }
    return action;
}

// The first state of every environment.
@compute @workgroup_size(64)
fn simulation_restart(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let e = simulation_environment(group, groups, lane);
    if e >= simulation.environments {
        return;
    }
    var random = simulation_random(0u, e, PURPOSE_RESET);
    simulation_store(e, environment_reset(&random));
    simulation_counters[e] = SimulationCounters(0u, 0u, 0.0, 0u);
    simulation_reward_sums[e] = 0.0;
}

@compute @workgroup_size(64)
fn simulate(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let e = simulation_environment(group, groups, lane);
    if e >= simulation.environments {
        return;
    }
    var state: State;
    for (var i = 0u; i < STATE_SIZE; i++) {
        state[i] = simulation_states[e * STATE_SIZE + i];
    }
    var action: Action;
    if !RANDOM_ACTIONS {
        for (var i = 0u; i < ACTION_SIZE; i++) {
            let bounds = simulation_bounds[i];
            action[i] = clamp(simulation_actions[e * ACTION_SIZE + i], bounds.y - bounds.x, bounds.y + bounds.x);
        }
    }
    let counters = simulation_counters[e];
    var length = counters.length;
    var episode_return = counters.episode_return;
    var episodes = counters.episodes;
    var step = counters.steps;
    let end = step + simulation_dispatch.steps;
    var reward_sum = 0.0;
    if simulation_dispatch.continues != 0u {
        reward_sum = simulation_reward_sums[e];
    }
    while step != end {
        // to the end of this dispatch or of the episode, whichever comes first
        let first = step;
        let last = step + min(end - step, simulation.time_limit - length);
        var stretch_sum = 0.0;
        var terminated = false;
        while step != last && !terminated {
            if RANDOM_ACTIONS {
                action = simulation_random_action(step, e);
            }
            var random = simulation_random(step, e, PURPOSE_ENVIRONMENT);
            let result = environment_step(state, action, &random);
            state = result.state;
            stretch_sum += result.reward;
            terminated = result.terminated;
            step += 1u;
        }
        // a stretch at a time: sums of many more terms lose digits
        reward_sum += stretch_sum;
        episode_return += stretch_sum;
        length += step - first;
        if terminated || length == simulation.time_limit {
            var random = simulation_random(step, e, PURPOSE_RESET);
            state = environment_reset(&random);
            length = 0u;
            episode_return = 0.0;
            episodes += 1u;
        }
    }
    simulation_store(e, state);
    simulation_counters[e] = SimulationCounters(step, length, episode_return, episodes);
    simulation_reward_sums[e] = reward_sum;
}
