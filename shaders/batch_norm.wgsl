// Batch normalisation: Ioffe & Szegedy 2015, Algorithms 1 and 2, with the biased variance throughout.
//
//   xhat = (x - mean) / sqrt(variance + epsilon)        y = scale xhat + shift
//   d_scale = sum dy xhat    d_shift = sum dy
//   dx = scale / sqrt(variance + epsilon) (dy - (d_shift + xhat d_scale) / rows)
//   running <- decay running + (1 - decay) batch
//
// Where statistics of the minibatch are taken, a workgroup owns its columns for all rows. Invocation `lane` owns vec4
// column lane % columns and every chunk-th row from lane / columns; partial sums meet in workgroup memory and are added
// in a fixed order, so that the same inputs give the same bits.
//
// The backward pass finds x where the forward pass did, and xhat from it anew: a store would cost more.
//
// `norm` (parameters): scale, shift, running mean, running variance [columns] each.
// `normalised` (activations): what is normalised, x [rows, columns].
// `statistics` (activations): mean, inverse standard deviation of this pass [columns] each.

// of each column that the workgroup owns; the mean lies behind what add_chunks uses of sh_reduce
const SH_MEAN: u32 = 256u;
var<workgroup> sh_inverse: array<vec4f, 256>;

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

// Adds a value of each lane over the chunks of its column; the result is in the lanes of chunk 0. Barriers on both sides.
fn add_chunks(value: vec4f, lane: u32, columns: u32, chunks: u32) -> vec4f {
    sh_reduce[lane] = value;
    workgroupBarrier();
    for (var left = chunks; left > 1u; left = (left + 1u) / 2u) {
        let half = (left + 1u) / 2u * columns;
        if lane + half < left * columns {
            sh_reduce[lane] += sh_reduce[lane + half];
        }
        workgroupBarrier();
    }
    let sum = sh_reduce[lane];
    workgroupBarrier();
    return sum;
}

// Normalises `columns` vec4 columns from `first`: scale xhat + shift, rectified if asked, goes to `output`.
// columns <= WORKGROUP_SIZE.
fn normalise_columns(operation: Operation, agent: u32, lane: u32, first: u32, columns: u32, rectify: bool) {
    let rows = operation_rows(operation, agent);
    let count = 1.0 / f32(max(rows, 1u));
    let chunks = WORKGROUP_SIZE / columns;
    let column = first + lane % columns;
    let chunk = lane / columns;
    let owns = chunk < chunks;
    let slice = agent * sizes.activations_stride;
    let source = slice + operation.normalised + column;
    let weights = agent * sizes.parameters_stride;
    let norm = weights + operation.norm + column;

    var mean = vec4f();
    var inverse = vec4f();
    if (operation.flags & RUNNING_STATISTICS) != 0u {
        // the products hold no bias, the running mean does
        mean = load_parameter(norm + 2u * operation.columns) - operation_bias(operation, weights, column);
        inverse = inverse_deviation(load_parameter(norm + 3u * operation.columns));
    } else {
        var sum = vec4f();
        if owns {
            for (var r = chunk; r < rows; r += chunks) {
                sum += load_activation(source + r * operation.normalised_stride);
            }
        }
        let total = add_chunks(sum, lane, columns, chunks);
        if lane < columns {
            sh_reduce[SH_MEAN + lane] = total * count;
        }
        workgroupBarrier();
        mean = sh_reduce[SH_MEAN + lane % columns];
        var squares = vec4f();
        if owns {
            for (var r = chunk; r < rows; r += chunks) {
                let deviation = load_activation(source + r * operation.normalised_stride) - mean;
                squares = fma(deviation, deviation, squares);
            }
        }
        let variance = add_chunks(squares, lane, columns, chunks) * count;
        if lane < columns {
            sh_inverse[lane] = inverse_deviation(variance);
            if (operation.flags & UPDATE_RUNNING) != 0u && agent_states[agent].halted == 0u && all_finite(variance) {
                let decay = sizes.normalisation_decay;
                let running_mean = fma(vec4f(decay), load_parameter(norm + 2u * operation.columns), (1.0 - decay) * (mean + operation_bias(operation, weights, column)));
                let running_variance = fma(vec4f(decay), load_parameter(norm + 3u * operation.columns), (1.0 - decay) * variance);
                store_parameter(norm + 2u * operation.columns, running_mean);
                store_parameter(norm + 3u * operation.columns, running_variance);
                // running statistics reach the target network by copy, not by blend
                store_parameter(norm + 2u * operation.columns + sizes.target_offset, running_mean);
                store_parameter(norm + 3u * operation.columns + sizes.target_offset, running_variance);
            }
        }
        workgroupBarrier();
        inverse = sh_inverse[lane % columns];
    }
    if chunk == 0u {
        store_activation(slice + operation.statistics + column, mean);
        store_activation(slice + operation.statistics + operation.columns + column, inverse);
    }
    if owns {
        let scale = load_parameter(norm);
        let shift = load_parameter(norm + operation.columns);
        for (var r = chunk; r < rows; r += chunks) {
            let xhat = (load_activation(source + r * operation.normalised_stride) - mean) * inverse;
            var y = fma(scale, xhat, shift);
            if rectify {
                y = max(y, vec4f());
            }
            store_activation(slice + operation.output + r * operation.output_stride + column, y);
        }
    }
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
    let chunks = WORKGROUP_SIZE / columns;
    let column = first + lane % columns;
    let chunk = lane / columns;
    let owns = chunk < chunks;
    let slice = agent * sizes.activations_stride;
    let norm = agent * sizes.parameters_stride + operation.norm + column;
    let gradient = slice + operation.output + column;
    let source = slice + operation.normalised + column;
    let mean = load_activation(slice + operation.statistics + column);
    let inverse = load_activation(slice + operation.statistics + operation.columns + column);

    var sum = vec4f();
    var product_sum = vec4f();
    if owns {
        for (var r = chunk; r < rows; r += chunks) {
            let dy = load_activation(gradient + r * operation.output_stride);
            let xhat = (load_activation(source + r * operation.normalised_stride) - mean) * inverse;
            sum += dy;
            product_sum = fma(dy, xhat, product_sum);
        }
    }
    let d_shift = add_chunks(sum, lane, columns, chunks);
    let d_scale = add_chunks(product_sum, lane, columns, chunks);
    if lane < columns {
        sh_reduce[SH_MEAN + lane] = d_shift;
        sh_inverse[lane] = d_scale;
    }
    workgroupBarrier();
    if owns {
        let factor = load_parameter(norm) * inverse;
        // running statistics do not depend on the minibatch, so nothing flows back through them
        let count = select(1.0 / f32(max(rows, 1u)), 0.0, (operation.flags & RUNNING_STATISTICS) != 0u);
        let mean_shift = sh_reduce[SH_MEAN + lane % columns] * count;
        let mean_scale = sh_inverse[lane % columns] * count;
        for (var r = chunk; r < rows; r += chunks) {
            let xhat = (load_activation(source + r * operation.normalised_stride) - mean) * inverse;
            let dy = load_activation(gradient + r * operation.output_stride);
            store_activation(gradient + r * operation.output_stride, factor * (dy - mean_shift - xhat * mean_scale));
        }
    }
    // every lane has read the scale: only now may it change
    workgroupBarrier();
    if lane < columns && (operation.flags & TRAIN_NORM) != 0u {
        let step = adam_step(operation, agent);
        var finite = apply_gradient(step, operation.norm + column, d_scale, false);
        let shift_gradient = select(d_shift, vec4f(), (operation.flags & CANCELLED_BIAS) != 0u);
        finite &= apply_gradient(step, operation.norm + operation.columns + column, shift_gradient, false);
        end_step(step, finite);
    }
}
