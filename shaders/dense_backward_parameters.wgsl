// The gradient of a dense layer's parameters, and the Adam step with it: dW = x^T dy, db = sum of dy over the rows.
//
//   input    [rows, inner]       activations   x
//   forward  [rows, columns]     activations   dy
//   weights  [inner*4, columns]  parameters    W, and the bias b [columns]
//
// An invocation owns one register tile of W; the tiles of the first rows also own the bias.

fn dense_backward_parameters(operation: Operation, agent: u32, unit: u32, lane: u32) {
    let rows = operation_rows(operation, agent);
    let split = split_of(operation);
    let place = tile_place(split, 1u, operation.strip, unit, lane, operation.columns);
    if is_idle(place, operation.inner * 4u) {
        return;
    }
    // of this workgroup's tiles, the first ones' rows come first
    let with_bias = tile_place(split, 1u, operation.strip, unit, 0u, operation.columns).row == 0u;
    let slice = agent * sizes.activations_stride;
    let step = adam_step(operation, agent);
    // where an invocation finishes one row, or the bias, what its step needs is asked for before the product
    let is_one = SPLITS && split >= TILE_ROWS;
    let bias_part = select(0u, TILE_ROWS, SPLITS && split > TILE_ROWS);
    let own_row = min(place.row + min(place.part, TILE_ROWS - 1u), 4u * operation.inner - 1u);
    let own_column = min(place.column, operation.columns - 1u);
    var own: AdamOperands;
    if is_one && place.part < TILE_ROWS {
        own = adam_operands(step, operation.weights + own_row * operation.weights_stride + own_column);
    }
    if bias_part > 0u && place.part == bias_part && place.row == 0u {
        own = adam_operands(step, operation.bias + own_column);
    }
    product_transposed_left(slice + operation.input, operation.input_stride, operation.inner, slice + operation.forward, operation.forward_stride, operation.columns, rows, operation.rows, split, with_bias, place);
    var finite = true;
    for (var c = 0u; c < TILE_COLUMNS; c++) {
        let at = place.column + c;
        if at < operation.columns {
            for (var r = finished_from(place); r < TILE_ROWS; r += finished_step(split)) {
                if place.row + r < operation.inner * 4u {
                    let index = operation.weights + (place.row + r) * operation.weights_stride + at;
                    if !is_one {
                        own = adam_operands(step, index);
                    }
                    finite &= apply_gradient(step, index, own, finished(r, c), true);
                }
            }
            if place.row == 0u && place.part == bias_part {
                let gradient = select(tile_sum[c], vec4f(), (operation.flags & CANCELLED_BIAS) != 0u);
                if bias_part == 0u {
                    own = adam_operands(step, operation.bias + at);
                }
                finite &= apply_gradient(step, operation.bias + at, own, gradient, false);
            }
        }
    }
    end_step(step, finite);
}
