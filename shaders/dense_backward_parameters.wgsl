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
    let place = tile_place(split, unit, lane, operation.columns);
    if is_idle(place, operation.inner * 4u) {
        return;
    }
    // of this workgroup's tiles, the first ones' rows come first
    let with_bias = tile_place(split, unit, 0u, operation.columns).row == 0u;
    let slice = agent * sizes.activations_stride;
    let step = adam_step(operation, agent);
    product_transposed_left(slice + operation.input, operation.input_stride, operation.inner, slice + operation.forward, operation.forward_stride, operation.columns, rows, split, with_bias, place);
    var finite = true;
    for (var c = 0u; c < TILE_COLUMNS; c++) {
        let at = place.column + c;
        if at < operation.columns {
            for (var r = finished_from(place); r < TILE_ROWS; r += finished_step(split)) {
                if place.row + r < operation.inner * 4u {
                    finite &= apply_gradient(step, operation.weights + (place.row + r) * operation.weights_stride + at, finished(r, c), true);
                }
            }
            if place.row == 0u && place.part == 0u {
                let gradient = select(tile_sum[c], vec4f(), (operation.flags & CANCELLED_BIAS) != 0u);
                finite &= apply_gradient(step, operation.bias + at, gradient, false);
            }
        }
    }
    end_step(step, finite);
}
