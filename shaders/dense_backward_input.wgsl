// The gradient of a dense layer's input, carried on through what produced that input: dx = dy W^T, then the derivative
// of the ReLU, of the scaled tanh, or of ReLU and batch norm.
//
//   input    [rows, inner]     activations     dy
//   weights  [columns*4, inner] parameters     W, rows of the layer's input
//   output   [rows, columns]   activations     the gradient before the activation (and norm) below
//   forward  [rows, columns]   activations     what the forward pass left there: y of the ReLU, or the actions
//
// The register tile and the ownership of columns are those of dense_forward.wgsl.

fn rectified_gradient(gradient: vec4f, rectified: vec4f) -> vec4f {
    return select(vec4f(), gradient, rectified > vec4f());
}

// a = centre + scale tanh(z): da/dz = scale (1 - tanh^2). A padded action has scale 0 and gradient 0.
fn scaled_tanh_gradient(gradient: vec4f, action: vec4f, scale: vec4f, centre: vec4f) -> vec4f {
    let tangent = select(vec4f(), (action - centre) / scale, scale > vec4f());
    return gradient * scale * (vec4f(1.0) - tangent * tangent);
}

// `through`: RECTIFIED, SCALED_TANH (also writes dx itself, the action gradient, to `extra`), or LINEAR.
fn dense_backward_input(operation: Operation, agent: u32, unit: u32, lane: u32, through: u32) {
    let rows = operation_rows(operation, agent);
    let split = split_of(operation);
    let place = tile_place(split, split, operation.strip, unit, lane, operation.columns);
    if !is_idle(place, operation.rows) {
        backward_tile(operation, agent, rows, operation.columns, split, place, through);
    }
}

// `end`: the column after the last that this workgroup owns.
fn backward_tile(operation: Operation, agent: u32, rows: u32, end: u32, split: u32, place: Place, through: u32) {
    let slice = agent * sizes.activations_stride;
    let weights = agent * sizes.parameters_stride;
    product_transposed_right(slice + operation.input, operation.input_stride, operation.rows, weights + operation.weights, operation.weights_stride, operation.columns, operation.inner, split, place);
    for (var c = 0u; c < TILE_COLUMNS; c++) {
        let at = place.column + c;
        var scale = vec4f();
        var centre = vec4f();
        if through == SCALED_TANH && at < end {
            scale = load_parameter(weights + operation.norm + at);
            centre = load_parameter(weights + operation.norm + operation.columns + at);
        }
        for (var r = finished_from(place); r < TILE_ROWS; r += finished_step(split)) {
            if place.row + r < rows && at < end {
                var gradient = finished(r, c);
                if through != LINEAR {
                    let forward = load_activation(slice + operation.forward + (place.row + r) * operation.forward_stride + at);
                    if through == SCALED_TANH {
                        store_activation(slice + operation.extra + (place.row + r) * operation.extra_stride + at, gradient);
                        gradient = scaled_tanh_gradient(gradient, forward, scale, centre);
                    } else {
                        gradient = rectified_gradient(gradient, forward);
                    }
                }
                store_activation(slice + operation.output + (place.row + r) * operation.output_stride + at, gradient);
            }
        }
    }
}

// dy W^T, then backward through ReLU (`through` RECTIFIED) or nothing, and batch norm.
fn dense_backward_input_normalised(operation: Operation, agent: u32, unit: u32, lane: u32, through: u32) {
    let rows = operation_rows(operation, agent);
    let first_column = unit * operation.strip;
    let strip_columns = min(operation.strip, operation.columns - first_column);
    let split = split_of(operation);
    for (var round = 0u; round < tile_rounds(split, operation.rows, strip_columns); round++) {
        var place = tile_place(split, split, 0u, round, lane, strip_columns);
        place.column += first_column;
        if !is_idle(place, operation.rows) {
            backward_tile(operation, agent, rows, first_column + strip_columns, split, place, through);
        }
    }
    // dy of the strip, written by other invocations of this workgroup, is summed from here on
    memory_barrier();
    for (var c = 0u; c < strip_columns; c += WORKGROUP_SIZE) {
        normalise_columns_backward(operation, agent, lane, first_column + c, min(WORKGROUP_SIZE, strip_columns - c));
    }
}
