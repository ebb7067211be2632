// A dense layer and what follows it: y = activation(norm(x W + b)).
//
//   input    [rows, inner]     activations     x
//   weights  [inner, columns]  parameters      W, then the bias b [columns]
//   output   [rows, columns]   activations     y
//
// An invocation owns one register tile. Where batch norm needs the statistics of the minibatch, a workgroup owns whole
// columns (`strip` tiles wide, all rows), so that no second dispatch is needed; otherwise any run of tiles.

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
    let row_tiles = (operation.rows + TILE_ROWS - 1u) / TILE_ROWS;
    let column_tiles = (operation.columns + TILE_COLUMNS - 1u) / TILE_COLUMNS;
    let index = unit * WORKGROUP_SIZE + lane;
    if index >= row_tiles * column_tiles {
        return;
    }
    let row = (index % row_tiles) * TILE_ROWS;
    let column = (index / row_tiles) * TILE_COLUMNS;
    let slice = agent * sizes.activations_stride;
    let weights = agent * sizes.parameters_stride;
    product(slice + operation.input, operation.input_stride, row, rows, weights + operation.weights, operation.weights_stride, column, operation.inner);
    let output = slice + operation.output;
    for (var c = 0u; c < TILE_COLUMNS; c++) {
        let at = min(column + c, operation.columns - 1u);
        let bias = parameters[weights + operation.bias + at];
        var scale = vec4f(1.0);
        var centre = vec4f(0.0);
        if activation == SCALED_TANH {
            scale = parameters[weights + operation.norm + at];
            centre = parameters[weights + operation.norm + operation.columns + at];
        }
        if normalise {
            scale = running_scale(operation, weights, at);
            centre = running_centre(operation, weights, at, scale);
        }
        for (var r = 0u; r < TILE_ROWS; r++) {
            if row + r < rows && column + c < operation.columns {
                var z = tile[r * TILE_COLUMNS + c] + bias;
                if normalise {
                    z = fma(scale, z, centre);
                }
                activations[output + (row + r) * operation.output_stride + at] = activate(z, activation, scale, centre);
            }
        }
    }
}

// x W, then batch norm over the minibatch, then ReLU. The bias is left out: the mean takes it away again.
fn dense_forward_normalised(operation: Operation, agent: u32, unit: u32, lane: u32) {
    let rows = operation_rows(operation, agent);
    let row_tiles = (operation.rows + TILE_ROWS - 1u) / TILE_ROWS;
    let first_column = unit * operation.strip * TILE_COLUMNS;
    let strip_columns = min(operation.strip * TILE_COLUMNS, operation.columns - first_column);
    let tiles = row_tiles * operation.strip;
    let slice = agent * sizes.activations_stride;
    let weights = agent * sizes.parameters_stride;
    let normalised = slice + operation.normalised;
    for (var index = lane; index < tiles; index += WORKGROUP_SIZE) {
        let row = (index % row_tiles) * TILE_ROWS;
        let column = first_column + (index / row_tiles) * TILE_COLUMNS;
        product(slice + operation.input, operation.input_stride, row, rows, weights + operation.weights, operation.weights_stride, column, operation.inner);
        for (var c = 0u; c < TILE_COLUMNS; c++) {
            for (var r = 0u; r < TILE_ROWS; r++) {
                if row + r < rows && column + c < operation.columns {
                    activations[normalised + (row + r) * operation.normalised_stride + column + c] = tile[r * TILE_COLUMNS + c];
                }
            }
        }
    }
    // the strip's products, written by other invocations of this workgroup, are read from here on
    storageBarrier();
    workgroupBarrier();
    normalise_columns(operation, agent, lane, first_column, strip_columns, normalised, operation.normalised_stride, true);
}
