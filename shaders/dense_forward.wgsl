// A dense layer and what follows it: y = activation(norm(x W + b)).
//
//   input    [rows, inner]     activations     x
//   weights  [inner, columns]  parameters      W, then the bias b [columns]
//   output   [rows, columns]   activations     y
//
// An invocation, or a split of several, owns one register tile. Where batch norm needs the statistics of the minibatch, a workgroup owns whole
// columns (`strip` of them, all rows), so that no second dispatch is needed; otherwise any run of tiles. Rows past those
// that were sampled are multiplied like the others, so that no load waits for their number, and then left out.

const LINEAR: u32 = 0u;
const RECTIFIED: u32 = 1u;
// tanh, then the action's scale and centre (two vectors at `norm`)
const SCALED_TANH: u32 = 2u;

fn activate(z: vec4f, activation: u32, scale: vec4f, centre: vec4f) -> vec4f {
    if activation == RECTIFIED {
        return max(z, vec4f());
    }
    if activation == SCALED_TANH {
        return fma(scale, vec4f(hyperbolic_tangent(z.x), hyperbolic_tangent(z.y), hyperbolic_tangent(z.z), hyperbolic_tangent(z.w)), centre);
    }
    return z;
}

// `normalise`: with the running statistics, which needs no other row.
fn dense_forward(operation: Operation, agent: u32, unit: u32, lane: u32, activation: u32, normalise: bool) {
    let rows = operation_rows(operation, agent);
    let split = split_of(operation);
    let place = tile_place(split, 4u, operation.strip, unit, lane, operation.columns);
    if is_idle(place, operation.rows) {
        return;
    }
    let slice = agent * sizes.activations_stride;
    let weights = agent * sizes.parameters_stride;
    product(slice + operation.input, operation.input_stride, operation.rows, weights + operation.weights, operation.weights_stride, operation.inner, split, place);
    let output = slice + operation.output;
    for (var c = 0u; c < TILE_COLUMNS; c++) {
        let at = place.column + c;
        if at >= operation.columns {
            continue;
        }
        let bias = load_parameter(weights + operation.bias + at);
        var scale = vec4f(1.0);
        var centre = vec4f(0.0);
        if activation == SCALED_TANH {
            scale = load_parameter(weights + operation.norm + at);
            centre = load_parameter(weights + operation.norm + operation.columns + at);
        }
        if normalise {
            scale = running_scale(operation, weights, at);
            centre = running_centre(operation, weights, at, scale);
        }
        for (var r = finished_from(place); r < TILE_ROWS; r += finished_step(split)) {
            if place.row + r < rows {
                var z = finished(r, c) + bias;
                if normalise {
                    z = fma(scale, z, centre);
                }
                store_activation(output + (place.row + r) * operation.output_stride + at, activate(z, activation, scale, centre));
            }
        }
    }
}

// The scaled tanh of what a linear layer left in `input`, to `output`: a row of tiles by one vec4 column a unit, whose rows the
// invocations share. (The loop ends at its end: see layered_in_bands.)
fn activate_tanh(operation: Operation, agent: u32, unit: u32, lane: u32) {
    let rows = operation_rows(operation, agent);
    let slice = agent * sizes.activations_stride;
    let column = unit % operation.columns;
    let first = unit / operation.columns * TILE_ROWS;
    let norm = agent * sizes.parameters_stride + operation.norm + column;
    let scale = load_parameter(norm);
    let centre = load_parameter(norm + operation.columns);
    var row = first + lane;
    loop {
        if row < min(first + TILE_ROWS, rows) {
            let z = load_activation(slice + operation.input + row * operation.input_stride + column);
            store_activation(slice + operation.output + row * operation.output_stride + column, activate(z, SCALED_TANH, scale, centre));
        }
        row += WORKGROUP_SIZE;
        if row >= first + TILE_ROWS {
            break;
        }
    }
}

// x W, then batch norm over the minibatch, then ReLU. The bias is left out: the mean takes it away again.
fn dense_forward_normalised(operation: Operation, agent: u32, unit: u32, lane: u32) {
    let rows = operation_rows(operation, agent);
    let first_column = unit * operation.strip;
    let strip_columns = min(operation.strip, operation.columns - first_column);
    let split = split_of(operation);
    let slice = agent * sizes.activations_stride;
    let weights = agent * sizes.parameters_stride;
    let normalised = slice + operation.normalised;
    for (var round = 0u; round < tile_rounds(split, operation.rows, strip_columns); round++) {
        var place = tile_place(split, 4u, 0u, round, lane, strip_columns);
        place.column += first_column;
        if is_idle(place, operation.rows) {
            break;
        }
        product(slice + operation.input, operation.input_stride, operation.rows, weights + operation.weights, operation.weights_stride, operation.inner, split, place);
        for (var c = 0u; c < TILE_COLUMNS; c++) {
            for (var r = finished_from(place); r < TILE_ROWS; r += finished_step(split)) {
                if place.row + r < rows && place.column + c < first_column + strip_columns {
                    store_activation(normalised + (place.row + r) * operation.normalised_stride + place.column + c, finished(r, c));
                }
            }
        }
    }
    // the strip's products, written by other invocations of this workgroup, are read from here on
    memory_barrier();
    for (var c = 0u; c < strip_columns; c += WORKGROUP_SIZE) {
        normalise_columns(operation, agent, lane, first_column + c, min(WORKGROUP_SIZE, strip_columns - c), true);
    }
}
