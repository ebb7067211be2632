// COPDAC-Q: Silver et al. 2014, section 4.3. The critic is linear in features compatible with the policy,
//
//   Q(s, a) = (a - mu(s)) . grad_theta mu(s)^T w + v . phi(s)                                            eq. 18, 19
//   delta = r + gamma Q(s', mu(s')) - Q(s, a), where Q(s', mu(s')) = v . phi(s')
//   theta <- theta + alpha_theta grad mu(s) (grad mu(s)^T w)                                              eq. 20
//   w <- w + alpha_w delta grad mu(s) (a - mu(s))                                                         eq. 21
//   v <- v + alpha_v delta phi(s)                                                                         eq. 22
//
// grad mu^T w is the derivative of the actor along w, carried forward through its layers beside the actor itself;
// grad mu u, for any u, is the actor's ordinary backward pass. w has the shape of the actor's parameters and lies in the
// target actor's place. Every sum over a minibatch is divided by its rows.

// One layer's derivative along w: dz = x dW + db + dx W, then through the ReLU, or the tanh and its scale.
//
//   input    [rows, inner]    activations   x
//   extra    [rows, inner]    activations   dx; NOWHERE at the first layer, whose input does not move
//   weights  [inner*4, columns] parameters  W and b; dW and db lie `target_offset` further on
//   forward  [rows, columns]  activations   what the layer put out
//   output   [rows, columns]  activations   its derivative
fn tangent_forward(operation: Operation, agent: u32, unit: u32, lane: u32, through: u32) {
    let rows = operation_rows(operation, agent);
    let split = split_of(operation);
    let place = tile_place(split, 4u, operation.strip, unit, lane, operation.columns);
    if is_idle(place, operation.rows) {
        return;
    }
    let slice = agent * sizes.activations_stride;
    let weights = agent * sizes.parameters_stride + operation.weights;
    let bias = agent * sizes.parameters_stride + operation.bias + sizes.target_offset;
    let bounds = agent * sizes.parameters_stride + operation.norm;
    product(slice + operation.input, operation.input_stride, operation.rows, weights + sizes.target_offset, operation.weights_stride, operation.inner, split, place);
    var along: array<vec4f, TILE_ROWS * TILE_COLUMNS>;
    for (var i = 0u; i < TILE_ROWS * TILE_COLUMNS; i++) {
        along[i] = finished(i / TILE_COLUMNS, i % TILE_COLUMNS);
    }
    if operation.extra != NOWHERE {
        product(slice + operation.extra, operation.extra_stride, operation.rows, weights, operation.weights_stride, operation.inner, split, place);
        for (var i = 0u; i < TILE_ROWS * TILE_COLUMNS; i++) {
            along[i] += finished(i / TILE_COLUMNS, i % TILE_COLUMNS);
        }
    }
    for (var c = 0u; c < TILE_COLUMNS; c++) {
        let at = place.column + c;
        if at >= operation.columns {
            continue;
        }
        for (var r = finished_from(place); r < TILE_ROWS; r += finished_step(split)) {
            if place.row + r < rows {
                let dz = along[r * TILE_COLUMNS + c] + load_parameter(bias + at);
                let value = load_activation(slice + operation.forward + (place.row + r) * operation.forward_stride + at);
                var derivative = rectified_gradient(dz, value);
                if through == SCALED_TANH {
                    derivative = scaled_tanh_gradient(dz, value, load_parameter(bounds + at), load_parameter(bounds + operation.columns + at));
                }
                store_activation(slice + operation.output + (place.row + r) * operation.output_stride + at, derivative);
            }
        }
    }
}

// The TD error and what the three steps start from. One workgroup an agent.
//
//   input       [rows, 1]         v . phi(s)
//   forward     [rows, 1]         v . phi(s')
//   normalised  [rows, action]    a
//   extra       [rows, 4 action]  mu(s) | grad mu^T w | gradient before the tanh of theta's step | of w's step
//   statistics  [rows]            reward, terminated, then also the target and the error
//   output      [rows, 1]         gradient of v's step
fn compatible_difference(operation: Operation, agent: u32, lane: u32) {
    let rows = operation_rows(operation, agent);
    let slice = agent * sizes.activations_stride;
    let bounds = agent * sizes.parameters_stride + operation.norm;
    let gamma = hyper_parameters_of(agent).gamma;
    let count = 1.0 / f32(max(rows, 1u));
    let columns = operation.columns;
    var sums = vec4f(0.0, 0.0, 0.0, LOWEST);
    for (var r = lane; r < rows; r += WORKGROUP_SIZE) {
        let at = slice + operation.statistics + r;
        let action = slice + operation.normalised + r * operation.normalised_stride;
        let policy = slice + operation.extra + r * operation.extra_stride;
        var advantage = 0.0;
        for (var c = 0u; c < columns; c++) {
            advantage += dot(load_activation(action + c) - load_activation(policy + c), load_activation(policy + columns + c));
        }
        let value = advantage + load_activation(slice + operation.input + r * operation.input_stride).x;
        let next_value = load_activation(slice + operation.forward + r * operation.forward_stride).x;
        let reward = load_activation(at).x;
        let terminated = load_activation(at).y;
        let td_target = reward + select(gamma * next_value, 0.0, terminated != 0.0);
        let td_error = td_target - value;
        store_activation(at, vec4f(reward, terminated, td_target, td_error));
        store_activation(slice + operation.output + r * operation.output_stride, vec4f(-td_error * count, 0.0, 0.0, 0.0));
        for (var c = 0u; c < columns; c++) {
            let mu = load_activation(policy + c);
            let scale = load_parameter(bounds + c);
            let centre = load_parameter(bounds + columns + c);
            let ascent = load_activation(policy + columns + c);
            store_activation(policy + 2u * columns + c, scaled_tanh_gradient(-count * ascent, mu, scale, centre));
            store_activation(policy + 3u * columns + c, scaled_tanh_gradient(-count * td_error * (load_activation(action + c) - mu), mu, scale, centre));
        }
        sums = vec4f(sums.xyz + vec3f(td_error * td_error, value, abs(td_error)), max(sums.w, value));
    }
    measure_critic(agent, reduce_workgroup(sums, lane), count, lane);
}
