// Forward and backward passes of the resident plan: the arithmetic of dense_forward.wgsl, dense_backward_input.wgsl and
// dense_backward_parameters.wgsl over the layouts of memory.wgsl.

// The layers of one network in the table: hidden ones, then the output's.
struct LayerRun {
    first: u32,
    output: u32,
}

fn layers_of(network: u32) -> LayerRun {
    if network == ACTOR {
        return LayerRun(0u, resident.actor_layers - 1u);
    }
    return LayerRun(resident.actor_layers, resident.actor_layers + resident.critic_layers - 1u);
}

// Activations of a pass before those of `layer`, for `groups` of rows.
fn of_pass(pass_at: u32, layer: ResidentLayer, groups: u32) -> u32 {
    return pass_at + 8u * groups * layer.hidden;
}

// Every hidden layer of a network: y = max(x W + b, 0). `parameters_at`: 0, or the target's offset.
fn forward_hidden(network: u32, parameters_at: u32, observation: u32, action: u32, pass_at: u32, groups: u32) {
    let run = layers_of(network);
    var below = pass_at;
    for (var index = run.first; index < run.output; index++) {
        let layer = resident.layers[index];
        let output = of_pass(pass_at, layer, groups);
        for (var g = 0u; g < groups; g++) {
            for (var c = 0u; c < layer.columns; c += 2u) {
                let b0 = own[parameters_at + layer.bias + c];
                let b1 = own[parameters_at + layer.bias + c + 1u];
                var t = Rows(b0, b1, b0, b1, b0, b1, b0, b1, b0, b1, b0, b1, b0, b1, b0, b1);
                var w = parameters_at + layer.weights + c;
                add_columns(below + 8u * g * layer.below, layer.below, w, layer.columns, &t);
                w += 4u * LANES * layer.below * layer.columns;
                add_rows(observation + g * layer.observation, layer.observation, w, layer.columns, &t);
                w += 4u * layer.observation * layer.columns;
                add_rows(action + g * layer.action, layer.action, w, layer.columns, &t);
                rectify(&t);
                keep_tile(output + 8u * g * layer.columns + c, layer.columns, c + 1u < layer.columns, &t);
            }
        }
        below = output;
    }
}

fn rectify(t: ptr<function, Rows>) {
    (*t)[0] = max((*t)[0], vec4f()); (*t)[1] = max((*t)[1], vec4f());
    (*t)[2] = max((*t)[2], vec4f()); (*t)[3] = max((*t)[3], vec4f());
    (*t)[4] = max((*t)[4], vec4f()); (*t)[5] = max((*t)[5], vec4f());
    (*t)[6] = max((*t)[6], vec4f()); (*t)[7] = max((*t)[7], vec4f());
    (*t)[8] = max((*t)[8], vec4f()); (*t)[9] = max((*t)[9], vec4f());
    (*t)[10] = max((*t)[10], vec4f()); (*t)[11] = max((*t)[11], vec4f());
    (*t)[12] = max((*t)[12], vec4f()); (*t)[13] = max((*t)[13], vec4f());
    (*t)[14] = max((*t)[14], vec4f()); (*t)[15] = max((*t)[15], vec4f());
}

// The gradient before a ReLU whose output is at `forward`.
fn unrectify(t: ptr<function, Rows>, forward: u32, stride: u32) {
    unrectify_row(t, 0u, forward);
    unrectify_row(t, 1u, forward + stride);
    unrectify_row(t, 2u, forward + 2u * stride);
    unrectify_row(t, 3u, forward + 3u * stride);
    unrectify_row(t, 4u, forward + 4u * stride);
    unrectify_row(t, 5u, forward + 5u * stride);
    unrectify_row(t, 6u, forward + 6u * stride);
    unrectify_row(t, 7u, forward + 7u * stride);
}

fn unrectify_row(t: ptr<function, Rows>, row: u32, forward: u32) {
    (*t)[2u * row] = rectified_gradient((*t)[2u * row], own[forward]);
    (*t)[2u * row + 1u] = rectified_gradient((*t)[2u * row + 1u], own[forward + 1u]);
}

// Eight rows by one or two columns.
fn keep_tile(to: u32, stride: u32, both: bool, t: ptr<function, Rows>) {
    own[to] = (*t)[0];
    own[to + stride] = (*t)[2];
    own[to + 2u * stride] = (*t)[4];
    own[to + 3u * stride] = (*t)[6];
    own[to + 4u * stride] = (*t)[8];
    own[to + 5u * stride] = (*t)[10];
    own[to + 6u * stride] = (*t)[12];
    own[to + 7u * stride] = (*t)[14];
    if both {
        own[to + 1u] = (*t)[1];
        own[to + stride + 1u] = (*t)[3];
        own[to + 2u * stride + 1u] = (*t)[5];
        own[to + 3u * stride + 1u] = (*t)[7];
        own[to + 4u * stride + 1u] = (*t)[9];
        own[to + 5u * stride + 1u] = (*t)[11];
        own[to + 6u * stride + 1u] = (*t)[13];
        own[to + 7u * stride + 1u] = (*t)[15];
    }
}

// The output layer, by row: [groups, vec4s of outputs] at `output`.
fn forward_output(network: u32, parameters_at: u32, pass_at: u32, output: u32, groups: u32, lane: u32) {
    let run = layers_of(network);
    let layer = resident.layers[run.output];
    let below = of_pass(pass_at, resident.layers[run.output - 1u], groups);
    for (var g = 0u; g < groups; g++) {
        let x = below + 8u * g * layer.below;
        for (var o = 0u; o < layer.columns; o++) {
            let sum = row_products(x, layer.below, parameters_at + layer.weights + o * layer.below, lane);
            own[output + g * layer.source_columns + o / 4u][o % 4u] = sum + own[parameters_at + layer.bias + o / 4u][o % 4u];
        }
    }
}

// The critic's values into component `component` of `resident.rewards`.
fn keep_values(component: u32) {
    for (var g = 0u; g < resident.batch_groups; g++) {
        own[resident.rewards + g][component] = own[resident.d_value + g].x;
    }
}

// The actor's outputs through tanh, then the scale and centre of each action.
fn bound_actions(agent: u32, output: u32, groups: u32) {
    let bounds = agent * sizes.parameters_stride + resident.bounds;
    for (var v = 0u; v < resident.action_vectors; v++) {
        let scale = parameters[bounds + v];
        let centre = parameters[bounds + resident.action_vectors + v];
        for (var g = 0u; g < groups; g++) {
            let at = output + g * resident.action_vectors + v;
            own[at] = activate(own[at], SCALED_TANH, scale, centre);
        }
    }
}

// From the gradient of the outputs (by row, at `d_output`) down to that of hidden layer `down_to` (from 0), each before
// its activation, into `resident.gradients`.
fn backward_hidden(network: u32, d_output: u32, pass_at: u32, down_to: u32, lane: u32) {
    let run = layers_of(network);
    let groups = resident.batch_groups;
    let above = resident.layers[run.output];
    let last = resident.layers[run.output - 1u];
    // through the output layer: an outer product of each row's gradient and the weights
    let d_last = of_pass(resident.gradients, last, groups);
    let forward_last = of_pass(pass_at, last, groups);
    for (var g = 0u; g < groups; g++) {
        for (var c = 0u; c < last.columns; c += 2u) {
            var t = Rows();
            for (var o = 0u; o < above.columns; o++) {
                let d = own[d_output + g * above.source_columns + o / 4u][o % 4u];
                let at = above.weights + o * above.below + c;
                add_scaled(d, own[at], own[at + 1u], &t);
            }
            let tile_at = 8u * g * last.columns + c;
            unrectify(&t, forward_last + tile_at, last.columns);
            keep_tile(d_last + tile_at, last.columns, c + 1u < last.columns, &t);
        }
    }
    for (var index = run.output - 1u; index > run.first + down_to; index--) {
        let layer = resident.layers[index];
        let below = resident.layers[index - 1u];
        transpose_weights(layer, lane);
        let d = of_pass(resident.gradients, layer, groups);
        let to = of_pass(resident.gradients, below, groups);
        let forward = of_pass(pass_at, below, groups);
        for (var g = 0u; g < groups; g++) {
            for (var c = 0u; c < below.columns; c += 2u) {
                var t = Rows();
                add_columns(d + 8u * g * layer.columns, layer.columns, resident.transposed + c, layer.below, &t);
                let tile_at = 8u * g * below.columns + c;
                unrectify(&t, forward + tile_at, below.columns);
                keep_tile(to + tile_at, below.columns, c + 1u < below.columns, &t);
            }
        }
    }
}

// The gradient of the action, by row, where it enters the critic; then through the actor's tanh.
fn backward_action(agent: u32, lane: u32) {
    let layer = resident.layers[resident.actor_layers + resident.action_layer];
    let groups = resident.batch_groups;
    let d = of_pass(resident.gradients, layer, groups);
    let weights = layer.weights + 4u * (LANES * layer.below + layer.observation) * layer.columns;
    let bounds = agent * sizes.parameters_stride + resident.bounds;
    for (var g = 0u; g < groups; g++) {
        for (var i = 0u; i < sizes.action_size; i++) {
            let sum = row_products(d + 8u * g * layer.columns, layer.columns, weights + i * layer.columns, lane);
            own[resident.action_gradient + g * resident.action_vectors + i / 4u][i % 4u] = sum;
        }
        for (var v = 0u; v < resident.action_vectors; v++) {
            let at = g * resident.action_vectors + v;
            let scale = parameters[bounds + v];
            let centre = parameters[bounds + resident.action_vectors + v];
            own[resident.d_action + at] = scaled_tanh_gradient(own[resident.action_gradient + at], own[resident.policy_action + at], scale, centre);
        }
    }
}

// Adam and the blend of the target, for one vec4 that the lane owns.
fn step_own(step: AdamStep, at: u32, source: u32, gradient: vec4f, decays: bool) {
    if step.record {
        moments[step.gradients + source] = gradient;
    }
    if step.halted {
        return;
    }
    let first = at + resident.first_moment;
    let second = at + resident.second_moment;
    let after = adam_update(step, own[at], own[first], own[second], gradient, decays);
    if !after.finite {
        halt_for_gradient(step);
        return;
    }
    own[first] = after.first;
    own[second] = after.second;
    own[at] = after.parameter;
    let blended = at + resident.target_parameters;
    own[blended] = blend_target(after.parameter, own[blended], step.blend);
}

// One row of a hidden layer's weights, two columns of gradient; nothing where the row or the column is padding.
fn step_row(step: AdamStep, layer: ResidentLayer, row: u32, c: u32, lane: u32, first: vec4f, second: vec4f) {
    let from_row = source_row(layer, row);
    if from_row >= 4u * (layer.source_below + layer.action) {
        return;
    }
    let at = layer.weights + row * layer.columns + c;
    step_columns(step, layer, at, layer.source + from_row * layer.source_columns, c, lane, first, second, true);
}

// Two columns of a row of weights, or of the bias, that begins at `source`.
fn step_columns(step: AdamStep, layer: ResidentLayer, at: u32, source: u32, c: u32, lane: u32, first: vec4f, second: vec4f, decays: bool) {
    let column = lane * layer.columns + c;
    if column < layer.source_columns {
        step_own(step, at, source + column, first, decays);
    }
    if c + 1u < layer.columns && column + 1u < layer.source_columns {
        step_own(step, at + 1u, source + column + 1u, second, decays);
    }
}

// dW = x^T dy and db, and the Adam step with them, for every layer of a network.
fn backward_parameters(agent: u32, network: u32, d_output: u32, pass_at: u32, observation: u32, action: u32, lane: u32) {
    let step = adam_step(agent, network);
    let run = layers_of(network);
    let groups = resident.batch_groups;
    let rows = 8u * groups;
    output_parameters(step, resident.layers[run.output], d_output, of_pass(pass_at, resident.layers[run.output - 1u], groups), rows, lane);
    for (var index = run.first; index < run.output; index++) {
        let layer = resident.layers[index];
        let d = of_pass(resident.gradients, layer, groups);
        for (var c = 0u; c < layer.columns; c += 2u) {
            // four owners' units of one column below: sixteen rows of weights
            for (var b = 0u; b < layer.below; b++) {
                let x = of_pass(pass_at, resident.layers[index - 1u], groups) + b;
                for (var owner = 0u; owner < LANES; owner += 4u) {
                    var t0 = Rows();
                    var t1 = Rows();
                    for (var r = 0u; r < rows; r++) {
                        let mine = own[x + r * layer.below];
                        let y0 = own[d + r * layer.columns + c];
                        let y1 = own[d + r * layer.columns + c + 1u];
                        add_outer(subgroupShuffle(mine, owner), subgroupShuffle(mine, owner + 1u), y0, y1, &t0);
                        add_outer(subgroupShuffle(mine, owner + 2u), subgroupShuffle(mine, owner + 3u), y0, y1, &t1);
                    }
                    // copies, so that the sums above are indexed by constants only and stay in registers
                    var rows0 = t0;
                    var rows1 = t1;
                    for (var i = 0u; i < 8u; i++) {
                        let row = 4u * ((owner + i / 4u) * layer.below + b) + i % 4u;
                        step_row(step, layer, row, c, lane, rows0[2u * i], rows0[2u * i + 1u]);
                        step_row(step, layer, row + 8u * layer.below, c, lane, rows1[2u * i], rows1[2u * i + 1u]);
                    }
                }
            }
            let units = 4u * LANES * layer.below;
            rows_parameters(step, layer, units, c, observation, layer.observation, d, lane);
            rows_parameters(step, layer, units + 4u * layer.observation, c, action, layer.action, d, lane);
            var bias0 = vec4f();
            var bias1 = vec4f();
            for (var r = 0u; r < rows; r++) {
                bias0 += own[d + r * layer.columns + c];
                bias1 += own[d + r * layer.columns + c + 1u];
            }
            step_columns(step, layer, layer.bias + c, layer.source_bias, c, lane, bias0, bias1, false);
        }
    }
}

// Weights from the observation or the action: their rows begin at `first`.
fn rows_parameters(step: AdamStep, layer: ResidentLayer, first: u32, c: u32, x: u32, vectors: u32, d: u32, lane: u32) {
    for (var v = 0u; v < vectors; v++) {
        var t = Rows();
        for (var g = 0u; g < resident.batch_groups; g++) {
            let mine = own[x + g * vectors + v];
            for (var r = 0u; r < 8u; r++) {
                let at = d + (8u * g + r) * layer.columns + c;
                add_outer(subgroupShuffle(mine, r), vec4f(), own[at], own[at + 1u], &t);
            }
        }
        var sums = t;
        for (var i = 0u; i < 4u; i++) {
            step_row(step, layer, first + 4u * v + i, c, lane, sums[2u * i], sums[2u * i + 1u]);
        }
    }
}

fn output_parameters(step: AdamStep, layer: ResidentLayer, d_output: u32, x: u32, rows: u32, lane: u32) {
    for (var o = 0u; o < layer.columns; o++) {
        for (var c = 0u; c < layer.below; c++) {
            var gradient = vec4f();
            for (var r = 0u; r < rows; r++) {
                let mine = own[d_output + r / 8u * layer.source_columns + o / 4u][o % 4u];
                gradient = fma(vec4f(subgroupShuffle(mine, r % 8u)), own[x + r * layer.below + c], gradient);
            }
            step_output(step, layer, o, c, lane, gradient);
        }
    }
    for (var v = 0u; v < layer.source_columns; v++) {
        var sum = vec4f();
        for (var g = 0u; g < rows / 8u; g++) {
            sum += own[d_output + g * layer.source_columns + v];
        }
        // every lane keeps the bias, and steps it alike
        sum += subgroupShuffleXor(sum, 1u);
        sum += subgroupShuffleXor(sum, 2u);
        sum += subgroupShuffleXor(sum, 4u);
        step_own(step, layer.bias + v, layer.source_bias + v, sum, false);
    }
}

fn step_output(step: AdamStep, layer: ResidentLayer, o: u32, c: u32, lane: u32, gradient: vec4f) {
    var unrecorded = step;
    unrecorded.record = false;
    if step.record {
        let unit = 4u * (lane * layer.below + c);
        for (var i = 0u; i < 4u && unit < 4u * layer.source_below; i++) {
            moments[step.gradients + layer.source + (unit + i) * layer.source_columns + o / 4u][o % 4u] = gradient[i];
        }
    }
    step_own(unrecorded, layer.weights + o * layer.below + c, 0u, gradient, true);
}
