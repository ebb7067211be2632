// The entry points. An operation's kind picks the code that executes it; `KINDS`, a bit a kind, tells the compiler which
// kinds this pipeline is for, so that it keeps only theirs.

override KINDS: u32 = 0xffffffffu;

const SAMPLE: u32 = 0u;
const NORMALISE_INPUT: u32 = 1u;
const FORWARD_LINEAR: u32 = 2u;
const FORWARD_RECTIFIED: u32 = 3u;
const FORWARD_TANH: u32 = 4u;
const FORWARD_NORMALISED: u32 = 5u;
const FORWARD_INFERENCE: u32 = 6u;
const TEMPORAL_DIFFERENCE: u32 = 7u;
const POLICY_OBJECTIVE: u32 = 8u;
const BACKWARD_RECTIFIED: u32 = 9u;
const BACKWARD_TANH: u32 = 10u;
const BACKWARD_NORMALISED: u32 = 11u;
const BACKWARD_INPUT_NORM: u32 = 12u;
const BACKWARD_PARAMETERS: u32 = 13u;
const SOFT_UPDATE: u32 = 14u;
const RESET_ENVIRONMENTS: u32 = 15u;
const STEP_ENVIRONMENTS: u32 = 16u;
const CLEAR_MEASUREMENTS: u32 = 17u;
const FOLLOWED_ACTION: u32 = 18u;
const TANGENT_RECTIFIED: u32 = 19u;
const TANGENT_TANH: u32 = 20u;
const COMPATIBLE_DIFFERENCE: u32 = 21u;
const BEGIN_UPDATE: u32 = 22u;
const CRITIC_LOSS: u32 = 23u;
const ACTOR_LOSS: u32 = 24u;
const LOAD_BAND: u32 = 25u;
const TEMPORAL_DIFFERENCE_BAND: u32 = 26u;
const POLICY_OBJECTIVE_BAND: u32 = 27u;
const SAMPLE_BAND: u32 = 28u;
const ACTIVATE_TANH: u32 = 29u;
const SAMPLE_ROWS: u32 = 30u;

// Known without a look at the operation where the pipeline has no such kind, or no other.
fn is(operation: Operation, kind: u32) -> bool {
    return (KINDS & (1u << kind)) != 0u && (operation.kind == kind || KINDS == 1u << kind);
}

fn is_either(operation: Operation, one: u32, other: u32) -> bool {
    return is(operation, one) || is(operation, other);
}

// A statement a kind, or the kinds that share its code: a pipeline's module has only those of its own (src/shader.rs).
fn execute(operation: Operation, agent: u32, unit: u32, lane: u32) {
    if is(operation, SAMPLE) { sample_minibatch(operation, agent, unit, lane); }
    if is(operation, NORMALISE_INPUT) { batch_norm_input(operation, agent, unit, lane); }
    if is_either(operation, FORWARD_LINEAR, FORWARD_TANH) || is_either(operation, FORWARD_RECTIFIED, FORWARD_INFERENCE) {
        var activation = select(RECTIFIED, LINEAR, is(operation, FORWARD_LINEAR));
        activation = select(activation, SCALED_TANH, is(operation, FORWARD_TANH));
        dense_forward(operation, agent, unit, lane, activation, is(operation, FORWARD_INFERENCE));
    }
    if is(operation, ACTIVATE_TANH) { activate_tanh(operation, agent, unit, lane); }
    if is(operation, FORWARD_NORMALISED) { dense_forward_normalised(operation, agent, unit, lane); }
    if is(operation, TEMPORAL_DIFFERENCE) { temporal_difference(operation, agent, lane); }
    if is(operation, POLICY_OBJECTIVE) { policy_objective(operation, agent, lane); }
    if is_either(operation, BACKWARD_RECTIFIED, BACKWARD_TANH) {
        dense_backward_input(operation, agent, unit, lane, select(RECTIFIED, SCALED_TANH, is(operation, BACKWARD_TANH)));
    }
    if is_either(operation, BACKWARD_NORMALISED, BACKWARD_INPUT_NORM) {
        dense_backward_input_normalised(operation, agent, unit, lane, select(RECTIFIED, LINEAR, is(operation, BACKWARD_INPUT_NORM)));
    }
    if is(operation, BACKWARD_PARAMETERS) { dense_backward_parameters(operation, agent, unit, lane); }
    if is(operation, SOFT_UPDATE) { soft_update(operation, agent, unit, lane); }
    if is(operation, RESET_ENVIRONMENTS) { reset_environments(operation, agent, unit, lane); }
    if is(operation, STEP_ENVIRONMENTS) { step_environments(operation, agent, lane); }
    if is(operation, CLEAR_MEASUREMENTS) { clear_measurements(agent, lane); }
    if is(operation, FOLLOWED_ACTION) { take_followed_actions(operation, agent, unit, lane); }
    if is_either(operation, TANGENT_RECTIFIED, TANGENT_TANH) {
        tangent_forward(operation, agent, unit, lane, select(RECTIFIED, SCALED_TANH, is(operation, TANGENT_TANH)));
    }
    if is(operation, COMPATIBLE_DIFFERENCE) { compatible_difference(operation, agent, lane); }
    if is(operation, BEGIN_UPDATE) { begin_if_learning(operation, agent, lane); }
    if is(operation, CRITIC_LOSS) { critic_loss(operation, agent, lane); }
    if is(operation, ACTOR_LOSS) { actor_loss(operation, agent, lane); }
}

// After the host has copied the measurements: start their sums anew.
fn clear_measurements(agent: u32, lane: u32) {
    if lane == 0u {
        agent_states[agent].measured_updates = 0u;
        agent_states[agent].critic_loss = 0.0;
        agent_states[agent].actor_loss = 0.0;
        agent_states[agent].value = 0.0;
        agent_states[agent].value_maximum = LOWEST;
        agent_states[agent].absolute_td_error = 0.0;
        agent_states[agent].saturated = 0.0;
        agent_states[agent].reported = agent_states[agent].episodes;
    }
}

// The layered plan: a dispatch a level of the program; x counts the operations of the level that share this pipeline. A
// software driver gives each core a run of workgroups, by x, then y: the units of every operation are spread over all y.
@compute @workgroup_size(WORKGROUP_SIZE)
fn layered(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) lane: u32) {
    let operation = operations[dispatch.first + workgroup.x];
    let unit = (workgroup.y * operation.units + grid.y - 1u) / grid.y;
    let next = ((workgroup.y + 1u) * operation.units + grid.y - 1u) / grid.y;
    if unit < next {
        execute(operation, workgroup.z, unit, lane);
    }
}

// A band's rows of the minibatch, by the team that takes it through the first layers.
fn sample_rows(operation: Operation, agent: u32, band: u32, lane: u32) {
    let units = max(TILE_ROWS / WORKGROUP_SIZE, 1u);
    var unit = 0u;
    loop {
        sample_minibatch(operation, agent, band * units + unit, lane);
        unit++;
        if unit >= units {
            break;
        }
    }
}

// What a band may begin with, once and ahead of the operations that it goes through: all of their code runs for each of them.
fn begin_bands(operation: Operation, agent: u32, band: u32, lane: u32) {
    if is(operation, SAMPLE_ROWS) { sample_rows(operation, agent, band, lane); }
}

// The same for a run of operations that treat every row alike: a team takes a band of rows, a row of tiles in each, y, through
// all of them. What it reads of another level is its own. (The loops end at their ends: such a driver goes through a
// loop's body once more, to no effect, where they end at the start.)
@compute @workgroup_size(WORKGROUP_SIZE)
fn layered_in_bands(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) lane: u32) {
    let end = dispatch.first + operations[dispatch.first].chain;
    var index = dispatch.first;
    let head = operations[index];
    begin_bands(head, workgroup.z, workgroup.y, lane);
    if is(head, SAMPLE_ROWS) {
        memory_barrier();
        index++;
        if index == end {
            return;
        }
    }
    loop {
        let operation = operations[index];
        let tiles = operation.units / grid.y;
        var tile_of_band = 0u;
        loop {
            execute(operation, workgroup.z, workgroup.y * tiles + tile_of_band, lane);
            tile_of_band++;
            if tile_of_band >= tiles {
                break;
            }
        }
        if operation.ends_level != 0u {
            memory_barrier();
        }
        index++;
        if index >= end {
            break;
        }
    }
}

// The same, y counting the operations, where a dispatch may also be a chain of small levels, one workgroup an agent: both in
// one pipeline, since a GPU takes its time to change pipelines.
@compute @workgroup_size(WORKGROUP_SIZE)
fn layered_or_chained(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) lane: u32) {
    let chain = operations[dispatch.first].chain;
    let first = dispatch.first + workgroup.y;
    for (var index = first; index < first + max(chain, 1u); index++) {
        let operation = operations[index];
        let last = select(min(workgroup.x + 1u, operation.units), operation.units, chain != 0u);
        for (var unit = workgroup.x; unit < last; unit++) {
            execute(operation, workgroup.z, unit, lane);
        }
        if chain != 0u && operation.ends_level != 0u {
            memory_barrier();
        }
    }
}
