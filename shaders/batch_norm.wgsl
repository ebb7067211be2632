// Batch normalisation: Ioffe & Szegedy 2015, Algorithms 1 and 2, with the biased variance throughout.
//
//   xhat = (x - mean) / sqrt(variance + epsilon)        y = scale xhat + shift
//   d_scale = sum dy xhat    d_shift = sum dy
//   dx = scale / sqrt(variance + epsilon) (dy - (d_shift + xhat d_scale) / rows)
//   running <- decay running + (1 - decay) batch
//
// Where statistics of the minibatch are taken, a workgroup owns its columns for all rows. Invocation `lane` owns vec4
// column lane % columns and every chunks-th row from lane / columns; partial sums meet in workgroup memory and are added
// in a fixed order, so that the same inputs give the same bits.
//
// The backward pass finds x where the forward pass did, and xhat from it anew: a store would cost more.
//
// `norm` (parameters): scale, shift, running mean, running variance [columns] each.
// `normalised` (activations): what is normalised, x [rows, columns].
// `statistics` (activations): mean, inverse standard deviation of this pass [columns] each.

fn inverse_deviation(variance: vec4f) -> vec4f {
    return vec4f(1.0) / sqrt(variance + sizes.normalisation_epsilon);
}

// Inference: scale and centre of the affine map that the running statistics amount to.
fn running_scale(operation: Operation, weights: u32, column: u32) -> vec4f {
    let norm = weights + operation.norm + column;
    return load_parameter(norm) * inverse_deviation(load_parameter(norm + 3u * operation.columns));
}

fn running_centre(operation: Operation, weights: u32, column: u32, scale: vec4f) -> vec4f {
    let norm = weights + operation.norm + column;
    return load_parameter(norm + operation.columns) - scale * load_parameter(norm + 2u * operation.columns);
}

// Adds a value of each lane over the chunks of its column, in two steps of about the same length: each takes a barrier. All
// lanes of the column get the sum.
fn add_chunks(value: vec4f, lane: u32, columns: u32, chunks: u32) -> vec4f {
    let groups = group_count(chunks);
    let step = groups * columns;
    sh_reduce[lane] = value;
    workgroupBarrier();
    if lane < step {
        var sum = sh_reduce[lane];
        for (var other = lane + step; other < chunks * columns; other += step) {
            sum += sh_reduce[other];
        }
        sh_reduce[WORKGROUP_SIZE + lane] = sum;
    }
    workgroupBarrier();
    let own = WORKGROUP_SIZE + lane % columns;
    var total = sh_reduce[own];
    for (var group = 1u; group < groups; group++) {
        total += sh_reduce[own + group * columns];
    }
    return total;
}

// Normalises `columns` vec4 columns from `first`: scale xhat + shift, rectified if asked, goes to `output`.
// columns <= WORKGROUP_SIZE.
fn normalise_columns(operation: Operation, agent: u32, lane: u32, first: u32, columns: u32, rectify: bool) {
    let rows = operation_rows(operation, agent);
    let count = 1.0 / f32(max(rows, 1u));
    let chunks = min(WORKGROUP_SIZE / columns, operation.rows);
    let column = first + lane % columns;
    let chunk = lane / columns;
    // the first row that a lane has stays with it; the others, of more rows than lanes, are loaded as often as needed
    let owns = chunk < min(chunks, rows);
    let slice = agent * sizes.activations_stride;
    let source = slice + operation.normalised + column;
    let x = load_activation(source + min(chunk, operation.rows - 1u) * operation.normalised_stride);
    let weights = agent * sizes.parameters_stride;
    let norm = weights + operation.norm + column;
    let scale = load_parameter(norm);
    let shift = load_parameter(norm + operation.columns);

    let runs = (operation.flags & RUNNING_STATISTICS) != 0u;
    let follows = (operation.flags & UPDATE_RUNNING) != 0u;
    var mean = vec4f();
    var inverse = vec4f();
    if runs {
        // the products hold no bias, the running mean does
        mean = load_parameter(norm + 2u * operation.columns) - operation_bias(operation, weights, column);
        inverse = inverse_deviation(load_parameter(norm + 3u * operation.columns));
    }
    if !runs || follows {
        var sum = vec4f();
        if owns {
            sum = x;
            for (var r = chunk + chunks; r < rows; r += chunks) {
                sum += load_activation(source + r * operation.normalised_stride);
            }
        }
        let batch_mean = add_chunks(sum, lane, columns, chunks) * count;
        var squares = vec4f();
        if owns {
            squares = (x - batch_mean) * (x - batch_mean);
            for (var r = chunk + chunks; r < rows; r += chunks) {
                let deviation = load_activation(source + r * operation.normalised_stride) - batch_mean;
                squares = fma(deviation, deviation, squares);
            }
        }
        let variance = add_chunks(squares, lane, columns, chunks) * count;
        if !runs {
            mean = batch_mean;
            inverse = inverse_deviation(variance);
        }
        // every lane has read the running statistics before the sums met: now they may follow
        if chunk == 0u && follows {
            follow_statistics(operation, agent, column, batch_mean, variance);
        }
    }
    if chunk == 0u {
        store_activation(slice + operation.statistics + column, mean);
        store_activation(slice + operation.statistics + operation.columns + column, inverse);
    }
    if owns {
        let output = slice + operation.output + column;
        store_activation(output + chunk * operation.output_stride, normalised(x, mean, inverse, scale, shift, rectify));
        for (var r = chunk + chunks; r < rows; r += chunks) {
            let other = load_activation(source + r * operation.normalised_stride);
            store_activation(output + r * operation.output_stride, normalised(other, mean, inverse, scale, shift, rectify));
        }
    }
    // what comes next may write where the sums were read
    workgroupBarrier();
}

fn normalised(x: vec4f, mean: vec4f, inverse: vec4f, scale: vec4f, shift: vec4f, rectify: bool) -> vec4f {
    let y = fma(scale, (x - mean) * inverse, shift);
    return select(y, max(y, vec4f()), rectify);
}

// The running statistics of a column, online and, by copy, of the target network.
fn follow_statistics(operation: Operation, agent: u32, column: u32, mean: vec4f, variance: vec4f) {
    if !learns(agent) || !all_finite(variance) {
        return;
    }
    let weights = agent * sizes.parameters_stride;
    let running = weights + operation.norm + 2u * operation.columns + column;
    let decay = sizes.normalisation_decay;
    let running_mean = fma(vec4f(decay), load_parameter(running), (1.0 - decay) * (mean + operation_bias(operation, weights, column)));
    let running_variance = fma(vec4f(decay), load_parameter(running + operation.columns), (1.0 - decay) * variance);
    store_parameter(running, running_mean);
    store_parameter(running + operation.columns, running_variance);
    store_parameter(running + sizes.target_offset, running_mean);
    store_parameter(running + operation.columns + sizes.target_offset, running_variance);
}

// The bias of the layer before, which the statistics of x W do not hold but the running mean does. The state input has none.
fn operation_bias(operation: Operation, weights: u32, column: u32) -> vec4f {
    if operation.inner == 0u {
        return vec4f();
    }
    return load_parameter(weights + operation.bias + column);
}

// The state input: one workgroup, WORKGROUP_SIZE vec4 columns at most.
fn batch_norm_input(operation: Operation, agent: u32, unit: u32, lane: u32) {
    let first = unit * operation.strip;
    let columns = min(operation.strip, operation.columns - first);
    normalise_columns(operation, agent, lane, first, columns, false);
}

// Backward through the normalisation of `columns` vec4 columns: turns dy, in `output`, into dx in place, and takes the
// Adam step of scale and shift where the pass trains them. columns <= WORKGROUP_SIZE.
fn normalise_columns_backward(operation: Operation, agent: u32, lane: u32, first: u32, columns: u32) {
    let rows = operation_rows(operation, agent);
    let chunks = min(WORKGROUP_SIZE / columns, operation.rows);
    let column = first + lane % columns;
    let chunk = lane / columns;
    let owns = chunk < min(chunks, rows);
    let slice = agent * sizes.activations_stride;
    let gradient = slice + operation.output + column;
    let source = slice + operation.normalised + column;
    let own = min(chunk, operation.rows - 1u);
    let dy = load_activation(gradient + own * operation.output_stride);
    let x = load_activation(source + own * operation.normalised_stride);
    let mean = load_activation(slice + operation.statistics + column);
    let inverse = load_activation(slice + operation.statistics + operation.columns + column);
    let factor = load_parameter(agent * sizes.parameters_stride + operation.norm + column) * inverse;
    let trains = chunk == 0u && (operation.flags & TRAIN_NORM) != 0u;
    var step: AdamStep;
    var scale_operands: AdamOperands;
    var shift_operands: AdamOperands;
    let scale = operation.norm + column;
    let shift = scale + operation.columns;
    if trains {
        step = adam_step(operation, agent);
        scale_operands = adam_operands(step, scale);
        shift_operands = adam_operands(step, shift);
    }

    let xhat = (x - mean) * inverse;
    var sum = vec4f();
    var product_sum = vec4f();
    if owns {
        sum = dy;
        product_sum = dy * xhat;
        for (var r = chunk + chunks; r < rows; r += chunks) {
            let other = load_activation(gradient + r * operation.output_stride);
            sum += other;
            product_sum = fma(other, (load_activation(source + r * operation.normalised_stride) - mean) * inverse, product_sum);
        }
    }
    let d_shift = add_chunks(sum, lane, columns, chunks);
    let d_scale = add_chunks(product_sum, lane, columns, chunks);
    if owns {
        // running statistics do not depend on the minibatch, so nothing flows back through them
        let count = select(1.0 / f32(max(rows, 1u)), 0.0, (operation.flags & RUNNING_STATISTICS) != 0u);
        store_activation(gradient + chunk * operation.output_stride, factor * (dy - d_shift * count - xhat * (d_scale * count)));
        for (var r = chunk + chunks; r < rows; r += chunks) {
            let other = load_activation(gradient + r * operation.output_stride);
            let other_xhat = (load_activation(source + r * operation.normalised_stride) - mean) * inverse;
            store_activation(gradient + r * operation.output_stride, factor * (other - d_shift * count - other_xhat * (d_scale * count)));
        }
    }
    if trains {
        // every lane has read the scale before the sums met: now it may change
        var finite = apply_gradient(step, scale, scale_operands, d_scale, false);
        let shift_gradient = select(d_shift, vec4f(), (operation.flags & CANCELLED_BIAS) != 0u);
        finite &= apply_gradient(step, shift, shift_operands, shift_gradient, false);
        end_step(step, finite);
    }
    // what comes next may write where the sums were read
    workgroupBarrier();
}
