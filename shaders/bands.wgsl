// Bands: rows of the minibatch do not meet before a gradient is summed over them, so that one workgroup can take a few of
// them, a band, through many layers of several networks, with nothing but workgroup memory in between. The operations of
// such a chain are those of the layered plan; here they find the rows of their matrices at `local_input`, `local_forward`
// and `local_output`, and leave their outputs in the agent's activations too, for the dispatches that follow.
//
// A workgroup's rows are `band` from workgroup * band. Rows past those that were sampled are worked on like the others and
// kept from memory.

override BAND_MEMORY: u32 = 256u;
var<workgroup> sh_band: array<vec4f, BAND_MEMORY>;

// Whether operations are constants of the module (src/specialised.rs).
override SPECIALISED: bool = false;

// What a chain works on.
struct Band {
    agent: u32,
    // first row
    first: u32,
    // rows that were sampled
    rows: u32,
    gamma: f32,
}

// i / divisor, for i below 2^20, where an integer division would take a GPU longer than the rest of a tile's bookkeeping, unless
// the divisor is known before.
fn quotient(i: u32, divisor: u32) -> u32 {
    if SPECIALISED {
        return i / divisor;
    }
    return u32((f32(i) + 0.5) / f32(divisor));
}

// A vec4 of a matrix, to workgroup memory where operations of the band read it, and to memory. Whole vec4s only: a shader
// may write one number of a vector by writing all four.
fn store(band: Band, row: u32, column: u32, local: u32, output: u32, stride: u32, value: vec4f) {
    if local != NOWHERE {
        sh_band[local + row * stride + column] = value;
    }
    if band.first + row < band.rows {
        activations[band.agent * sizes.activations_stride + output + (band.first + row) * stride + column] = value;
    }
}

// The same for an operation's output.
fn keep(operation: Operation, band: Band, row: u32, column: u32, value: vec4f) {
    store(band, row, column, operation.local_output, operation.output, operation.output_stride, value);
}

// `columns` that earlier dispatches left at `input`, to `local_output`.
fn load_band(operation: Operation, band: Band, lane: u32) {
    let input = band.agent * sizes.activations_stride + operation.input;
    for (var i = lane; i < operation.band * operation.columns; i += operation.strip) {
        let row = quotient(i, operation.columns);
        let column = i - row * operation.columns;
        var value = vec4f();
        if band.first + row < operation.rows {
            value = activations[input + (band.first + row) * operation.input_stride + column];
        }
        sh_band[operation.local_output + row * operation.output_stride + column] = value;
    }
}

// An invocation's share of a product: a *slot*, which is four rows of a column of the output, and one of `split` parts of the
// inner dimension. Slots are counted column after column, then four rows after four rows.
struct Share {
    column: u32,
    // the first of the four rows
    row: u32,
    // the part's first vec4 of the inner dimension, and from one to the next
    begin: u32,
    step: u32,
    // past the last slot or part: nothing to add up
    is_idle: bool,
}

fn slots(operation: Operation) -> u32 {
    return operation.columns * operation.band;
}

fn share_of(operation: Operation, slot: u32, part: u32) -> Share {
    let columns = 4u * operation.columns;
    let tile = quotient(slot, columns);
    return Share(slot - tile * columns, 4u * tile, part, operation.split, slot >= slots(operation) || part >= operation.split);
}

// x W: neighbours have neighbouring columns. Only what fits into one round is split.
fn share(operation: Operation, round: u32, lane: u32) -> Share {
    let part = select(quotient(lane, slots(operation)), 0u, operation.split == 1u);
    return share_of(operation, round * operation.strip + lane - part * slots(operation), part);
}

// dy W^T: neighbours have neighbouring parts, since each column is a row of W.
fn share_transposed(operation: Operation, round: u32, lane: u32) -> Share {
    let slot = (round * operation.strip + lane) >> firstTrailingBit(operation.split);
    return share_of(operation, slot, lane & (operation.split - 1u));
}

// What an invocation finishes of a round: a row of four slots side by side, which is a vec4 of the output.
struct Item {
    is_idle: bool,
    row: u32,
    column: u32,
    // which of the four rows of its slots, and where in sh_reduce the first part of the first slot offers its sums
    component: u32,
    first: u32,
}

// `apart`: from the sums of one slot to those of the next.
fn item_of(operation: Operation, round: u32, lane: u32, apart: u32) -> Item {
    let begin = (round * operation.strip) >> firstTrailingBit(operation.split);
    let group = lane / 4u;
    let slot = begin + 4u * group;
    let tile = quotient(slot, 4u * operation.columns);
    let is_idle = slot >= slots(operation) || lane >= operation.strip >> firstTrailingBit(operation.split);
    let component = lane % 4u;
    return Item(is_idle, 4u * tile + component, slot / 4u - tile * operation.columns, component, 4u * group * apart);
}

// The item's vec4: of each of the four slots the sums of all parts, in their order. `parts_apart`: from part to part.
fn finished_item(operation: Operation, item: Item, base: u32, apart: u32, parts_apart: u32) -> vec4f {
    var sum = vec4f();
    let c = item.component;
    for (var part = 0u; part < operation.split; part++) {
        let at = base + item.first + part * parts_apart;
        sum += vec4f(sh_reduce[at][c], sh_reduce[at + apart][c], sh_reduce[at + 2u * apart][c], sh_reduce[at + 3u * apart][c]);
    }
    return sum;
}

fn add_four(x: vec4f, w: vec4f, sum: f32) -> f32 {
    return fma(x.x, w.x, fma(x.y, w.y, fma(x.z, w.z, fma(x.w, w.w, sum))));
}

// Four rows of the band, from `row` on, at vec4 k of the inner dimension, times four weights of a column.
fn add_rows(row: u32, stride: u32, k: u32, w: vec4f, sums: vec4f) -> vec4f {
    let at = row + k;
    return vec4f(
        add_four(sh_band[at], w, sums.x),
        add_four(sh_band[at + stride], w, sums.y),
        add_four(sh_band[at + 2u * stride], w, sums.z),
        add_four(sh_band[at + 3u * stride], w, sums.w),
    );
}

// Whether every part's steps are fours, so that none lies past the end.
fn is_whole(operation: Operation) -> bool {
    return operation.inner % (4u * operation.split) == 0u;
}

fn within(operation: Operation, k: u32) -> u32 {
    return select(min(k, operation.inner - 1u), k, is_whole(operation));
}

// Four weights of a column of the output along vec4 k of the inner dimension: of W [inner, columns] one number of each of
// four rows, of its transpose a vec4 of W [columns * 4, inner]. Zeros past the end.
fn weights_of_column(operation: Operation, weights: u32, column: u32, k: u32, is_transposed: bool) -> vec4f {
    let stride = operation.weights_stride;
    let inside = within(operation, k);
    var w: vec4f;
    if is_transposed {
        w = parameters[weights + operation.weights + column * stride + inside];
    } else {
        let first = weights + operation.weights + column / 4u + 4u * inside * stride;
        let c = column % 4u;
        w = vec4f(parameters[first][c], parameters[first + stride][c], parameters[first + 2u * stride][c], parameters[first + 3u * stride][c]);
    }
    return select(vec4f(), w, is_whole(operation) || k < operation.inner);
}

// The band's rows times W or its transpose: four rows of one column. Four steps at a time, so that their loads wait
// together; steps past the end repeat the last one with weights of zero.
fn band_product(operation: Operation, weights: u32, at: Share, is_transposed: bool) -> vec4f {
    let row = operation.local_input + at.row * operation.input_stride;
    var sums = vec4f();
    if at.is_idle {
        return sums;
    }
    let fours = (operation.inner + 4u * at.step - 1u) >> (2u + firstTrailingBit(at.step));
    for (var four = 0u; four < fours; four++) {
        let k = at.begin + 4u * four * at.step;
        let k1 = k + at.step;
        let k2 = k + 2u * at.step;
        let k3 = k + 3u * at.step;
        let w0 = weights_of_column(operation, weights, at.column, k, is_transposed);
        let w1 = weights_of_column(operation, weights, at.column, k1, is_transposed);
        let w2 = weights_of_column(operation, weights, at.column, k2, is_transposed);
        let w3 = weights_of_column(operation, weights, at.column, k3, is_transposed);
        sums = add_rows(row, operation.input_stride, within(operation, k), w0, sums);
        sums = add_rows(row, operation.input_stride, within(operation, k1), w1, sums);
        sums = add_rows(row, operation.input_stride, within(operation, k2), w2, sums);
        sums = add_rows(row, operation.input_stride, within(operation, k3), w3, sums);
    }
    return sums;
}

// What a round leaves to be finished once the sums of its shares have met in sh_reduce.
struct Begun {
    sums: vec4f,
    item: Item,
    // what the product does not need is asked for before it, so that nothing waits for it after
    bias: vec4f,
    scale: vec4f,
    centre: vec4f,
}

fn begin_forward(operation: Operation, band: Band, round: u32, lane: u32, is_actor: bool) -> Begun {
    let weights = band.agent * sizes.parameters_stride;
    var begun: Begun;
    begun.item = item_of(operation, round, lane, 1u);
    if !begun.item.is_idle {
        begun.bias = parameters[weights + operation.bias + begun.item.column];
        if is_actor {
            begun.scale = parameters[weights + operation.norm + begun.item.column];
            begun.centre = parameters[weights + operation.norm + operation.columns + begun.item.column];
        }
    }
    begun.sums = band_product(operation, weights, share(operation, round, lane), false);
    return begun;
}

// y = activation(x W + b), as dense_forward.
fn finish_forward(operation: Operation, band: Band, begun: Begun, base: u32, activation: u32) {
    if !begun.item.is_idle {
        let z = finished_item(operation, begun.item, base, 1u, slots(operation)) + begun.bias;
        keep(operation, band, begun.item.row, begun.item.column, activate(z, activation, begun.scale, begun.centre));
    }
}

fn begin_backward(operation: Operation, band: Band, round: u32, lane: u32, is_action: bool) -> Begun {
    let weights = band.agent * sizes.parameters_stride;
    var begun: Begun;
    begun.item = item_of(operation, round, lane, operation.split);
    if is_action && !begun.item.is_idle {
        begun.scale = parameters[weights + operation.norm + begun.item.column];
        begun.centre = parameters[weights + operation.norm + operation.columns + begun.item.column];
    }
    begun.sums = band_product(operation, weights, share_transposed(operation, round, lane), true);
    return begun;
}

// dx = dy W^T and the derivative of what produced x, as dense_backward_input.
fn finish_backward(operation: Operation, band: Band, begun: Begun, base: u32, through: u32) {
    let item = begun.item;
    if item.is_idle {
        return;
    }
    var gradient = finished_item(operation, item, base, operation.split, 1u);
    let forward = sh_band[operation.local_forward + item.row * operation.forward_stride + item.column];
    if through == SCALED_TANH {
        store(band, item.row, item.column, NOWHERE, operation.extra, operation.extra_stride, gradient);
        gradient = scaled_tanh_gradient(gradient, forward, begun.scale, begun.centre);
    } else {
        gradient = rectified_gradient(gradient, forward);
    }
    keep(operation, band, item.row, item.column, gradient);
}

// As sample_minibatch, without the places that are NOWHERE. One invocation a vec4 of a row's matrices, in the order
// observation, next observation, action, rewards.
fn sample_band(operation: Operation, band: Band, lane: u32) {
    let o = sizes.observation_size;
    let a = sizes.action_size;
    let next = operation.columns;
    let action = next + operation.columns;
    let rewards = action + operation.weights_stride;
    let places = select(rewards + 1u, next, operation.forward == NOWHERE);
    for (var i = lane; i < operation.band * places; i += operation.strip) {
        let row = quotient(i, places);
        let place = i - row * places;
        if band.first + row < band.rows {
            let slot = sampled_slot(operation, band.agent, band.first + row, agent_states[band.agent].replay_length);
            let address = transition_address(band.agent, slot);
            if place < next {
                store(band, row, place, operation.local_output, operation.output, operation.output_stride, replayed(address + 4u * place, o - 4u * place));
            } else if place < action {
                let column = place - next;
                let value = replayed(address + o + a + 2u + 4u * column, o - 4u * column);
                store(band, row, column, operation.local_forward, operation.forward, operation.forward_stride, value);
            } else if place < rewards {
                let column = place - action;
                let value = learned_action(operation, band.agent, address + o, 4u * column);
                store(band, row, column, operation.local_input, operation.normalised, operation.normalised_stride, value);
            } else {
                store(band, row, 0u, operation.weights, operation.statistics, 1u, replayed(address + o + a, 2u));
            }
        }
    }
}

// As temporal_difference, but for the sums over the rows (critic_loss). A row that is not finite leaves its mark at `extra`,
// before which no parameter changes.
fn temporal_difference_band(operation: Operation, band: Band, lane: u32) {
    let slice = band.agent * sizes.activations_stride;
    for (var row = lane; row < operation.band && band.first + row < band.rows; row += operation.strip) {
        let value = sh_band[operation.local_input + row * operation.input_stride].x;
        let next_value = sh_band[operation.local_forward + row * operation.forward_stride].x;
        let difference = temporal_difference_of(sh_band[operation.weights + row], value, next_value, band.gamma);
        activations[slice + operation.statistics + band.first + row] = difference;
        // nor may their sums overflow, which are taken beside the steps
        let rows = f32(band.rows);
        if !is_finite(difference.w * difference.w * rows) || !is_finite(value * rows) {
            activations[slice + operation.extra] = vec4f(1.0);
        }
        keep(operation, band, row, 0u, value_gradient(operation, difference.w, 1.0 / f32(band.rows)));
    }
}

// As policy_objective, but for the sums over the rows (actor_loss).
fn policy_objective_band(operation: Operation, band: Band, lane: u32) {
    for (var row = lane; row < operation.band; row += operation.strip) {
        keep(operation, band, row, 0u, vec4f(-1.0 / f32(max(band.rows, 1u)), 0.0, 0.0, 0.0));
    }
}

// As `execute`, for an operation of a chain: a statement a kind, or the kinds that share its code. What is a product begins
// here, the rest is done.
fn begin_band(operation: Operation, band: Band, round: u32, lane: u32, begun: ptr<function, Begun>) {
    if is(operation, LOAD_BAND) { load_band(operation, band, lane); }
    if is(operation, SAMPLE_BAND) { sample_band(operation, band, lane); }
    if is_either(operation, FORWARD_LINEAR, FORWARD_TANH) || is(operation, FORWARD_RECTIFIED) {
        *begun = begin_forward(operation, band, round, lane, is(operation, FORWARD_TANH));
    }
    if is_either(operation, BACKWARD_RECTIFIED, BACKWARD_TANH) {
        *begun = begin_backward(operation, band, round, lane, is(operation, BACKWARD_TANH));
    }
    if is(operation, TEMPORAL_DIFFERENCE_BAND) { temporal_difference_band(operation, band, lane); }
    if is(operation, POLICY_OBJECTIVE_BAND) { policy_objective_band(operation, band, lane); }
}

fn finish_band(operation: Operation, band: Band, begun: Begun, base: u32) {
    if is_either(operation, FORWARD_LINEAR, FORWARD_TANH) || is(operation, FORWARD_RECTIFIED) {
        var activation = select(RECTIFIED, LINEAR, is(operation, FORWARD_LINEAR));
        activation = select(activation, SCALED_TANH, is(operation, FORWARD_TANH));
        finish_forward(operation, band, begun, base, activation);
    }
    if is_either(operation, BACKWARD_RECTIFIED, BACKWARD_TANH) {
        finish_backward(operation, band, begun, base, select(RECTIFIED, SCALED_TANH, is(operation, BACKWARD_TANH)));
    }
}

// A dispatch some of whose operations, counted by y, are the first of a chain, of which x counts the bands; the others of
// the chains lie behind all the first ones.
@compute @workgroup_size(WORKGROUP_SIZE)
fn layered_or_banded(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) lane: u32) {
    let agent = workgroup.z;
    let head = operations[dispatch.first + workgroup.y];
    if head.band == 0u {
        if workgroup.x < head.units {
            execute(head, agent, workgroup.x, lane);
        }
        return;
    }
    let first_row = workgroup.x * head.band;
    if first_row >= head.rows {
        return;
    }
    let band = Band(agent, first_row, min(agent_states[agent].replay_length, head.rows), hyper_parameters_of(agent).gamma);
    var first = dispatch.first + workgroup.y;
    var next = head.rest;
    let end = head.rest + head.chain - 1u;
    loop {
        // the first operation of a level has what is the same for all of them
        let rounds = operations[first].units;
        let operations_of_level = operations[first].level;
        let meets = (operations[first].flags & MEETS) != 0u;
        let own = lane >> firstTrailingBit(operations[first].strip);
        let base = own * operations[first].strip;
        // the first of a chain lies apart
        let operation = operations[select(next + min(own, operations_of_level - 1u) - 1u, first, own == 0u)];
        for (var round = 0u; round < rounds; round++) {
            var begun: Begun;
            if own < operations_of_level {
                begin_band(operation, band, round, lane - base, &begun);
            }
            if meets {
                sh_reduce[lane] = begun.sums;
                workgroupBarrier();
            }
            if own < operations_of_level {
                finish_band(operation, band, begun, base);
            }
            workgroupBarrier();
        }
        next += operations_of_level - 1u;
        if next >= end {
            break;
        }
        first = next;
        next += 1u;
    }
}
