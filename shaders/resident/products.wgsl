// The products of the resident plan, over tiles of eight rows by two columns in sixteen vec4s (`Rows`), whose inner steps
// are those of shared/tile_subgroup.wgsl. A second column past the last one is computed from whatever lies there and
// never stored.

// Four rows of weights by two columns, `stride` vec4s a row.
fn own_rows(at: u32, stride: u32) -> Right {
    var w: Right;
    w.y00 = own[at];
    w.y01 = own[at + 1u];
    w.y10 = own[at + stride];
    w.y11 = own[at + stride + 1u];
    w.y20 = own[at + 2u * stride];
    w.y21 = own[at + 2u * stride + 1u];
    w.y30 = own[at + 3u * stride];
    w.y31 = own[at + 3u * stride + 1u];
    return w;
}

// t <- t + x W for eight rows of a matrix that is laid out by column, `below` vec4s a lane, from `x`.
fn add_columns(x: u32, below: u32, w: u32, stride: u32, t: ptr<function, Rows>) {
    for (var c = 0u; c < below; c++) {
        let x0 = own[x + c];
        let x1 = own[x + below + c];
        let x2 = own[x + 2u * below + c];
        let x3 = own[x + 3u * below + c];
        let x4 = own[x + 4u * below + c];
        let x5 = own[x + 5u * below + c];
        let x6 = own[x + 6u * below + c];
        let x7 = own[x + 7u * below + c];
        for (var owner = 0u; owner < LANES; owner++) {
            let y = own_rows(w + 4u * (owner * below + c) * stride, stride);
            add_row(subgroupShuffle(x0, owner), y, 0u, t);
            add_row(subgroupShuffle(x1, owner), y, 1u, t);
            add_row(subgroupShuffle(x2, owner), y, 2u, t);
            add_row(subgroupShuffle(x3, owner), y, 3u, t);
            add_row(subgroupShuffle(x4, owner), y, 4u, t);
            add_row(subgroupShuffle(x5, owner), y, 5u, t);
            add_row(subgroupShuffle(x6, owner), y, 6u, t);
            add_row(subgroupShuffle(x7, owner), y, 7u, t);
        }
    }
}

// The same for eight rows of a matrix that is laid out by row, `vectors` vec4s each.
fn add_rows(x: u32, vectors: u32, w: u32, stride: u32, t: ptr<function, Rows>) {
    for (var v = 0u; v < vectors; v++) {
        add_products(own[x + v], own_rows(w + 4u * v * stride, stride), t);
    }
}

// t <- t + d y for eight rows, lane l holding the l-th row's d.
fn add_scaled(d: f32, y0: vec4f, y1: vec4f, t: ptr<function, Rows>) {
    add_scaled_row(subgroupBroadcast(d, 0u), y0, y1, 0u, t);
    add_scaled_row(subgroupBroadcast(d, 1u), y0, y1, 1u, t);
    add_scaled_row(subgroupBroadcast(d, 2u), y0, y1, 2u, t);
    add_scaled_row(subgroupBroadcast(d, 3u), y0, y1, 3u, t);
    add_scaled_row(subgroupBroadcast(d, 4u), y0, y1, 4u, t);
    add_scaled_row(subgroupBroadcast(d, 5u), y0, y1, 5u, t);
    add_scaled_row(subgroupBroadcast(d, 6u), y0, y1, 6u, t);
    add_scaled_row(subgroupBroadcast(d, 7u), y0, y1, 7u, t);
}

fn add_scaled_row(d: f32, y0: vec4f, y1: vec4f, row: u32, t: ptr<function, Rows>) {
    (*t)[2u * row] = fma(vec4f(d), y0, (*t)[2u * row]);
    (*t)[2u * row + 1u] = fma(vec4f(d), y1, (*t)[2u * row + 1u]);
}

// Sums of eight numbers over the lanes; lane l gets that of the l-th. A tree that exchanges halves.
fn sum_to_lanes(first: vec4f, second: vec4f, lane: u32) -> f32 {
    let one = (lane & 1u) != 0u;
    let even = vec4f(first.xz, second.xz);
    let odd = vec4f(first.yw, second.yw);
    let pairs = select(even, odd, one) + subgroupShuffleXor(select(odd, even, one), 1u);
    let two = (lane & 2u) != 0u;
    let fours = select(pairs.xz, pairs.yw, two) + subgroupShuffleXor(select(pairs.yw, pairs.xz, two), 2u);
    let four = (lane & 4u) != 0u;
    return select(fours.x, fours.y, four) + subgroupShuffleXor(select(fours.y, fours.x, four), 4u);
}

// The products of eight rows (by column, `columns` vec4s a lane, from `x`) with one vector at `w`; lane l gets row l's.
fn row_products(x: u32, columns: u32, w: u32, lane: u32) -> f32 {
    var first = vec4f();
    var second = vec4f();
    for (var c = 0u; c < columns; c++) {
        let y = own[w + c];
        first += vec4f(dot(own[x + c], y), dot(own[x + columns + c], y), dot(own[x + 2u * columns + c], y), dot(own[x + 3u * columns + c], y));
        second += vec4f(dot(own[x + 4u * columns + c], y), dot(own[x + 5u * columns + c], y), dot(own[x + 6u * columns + c], y), dot(own[x + 7u * columns + c], y));
    }
    return sum_to_lanes(first, second, lane);
}

// Sums x, y and z over the lanes and takes the maximum of w, in a fixed tree; every lane gets the result.
fn reduce_lanes(value: vec4f) -> vec4f {
    var v = value;
    for (var distance = 1u; distance < LANES; distance *= 2u) {
        let other = subgroupShuffleXor(v, distance);
        v = vec4f(v.xyz + other.xyz, max(v.w, other.w));
    }
    return v;
}

// Exchanges halves of two vectors between lanes that differ in bit `bit`: the step of an 8 x 8 transpose.
fn exchange(a: ptr<function, vec4f>, b: ptr<function, vec4f>, lane: u32, bit: u32) {
    let high = (lane & bit) != 0u;
    let given = select(*b, *a, high);
    let taken = subgroupShuffleXor(given, bit);
    *a = select(*a, taken, high);
    *b = select(taken, *b, high);
}

// The weights of a hidden layer's units below, transposed, into `resident.transposed`: [units, below].
fn transpose_weights(layer: ResidentLayer, lane: u32) {
    let stride = layer.columns;
    for (var c = 0u; c < layer.columns; c++) {
        for (var b = 0u; b < layer.below; b++) {
            for (var i = 0u; i < 4u; i++) {
                // row 4 (owner below + b) + i of each owner
                let at = layer.weights + (4u * b + i) * stride + c;
                let next = 4u * layer.below * stride;
                var v0 = own[at];
                var v1 = own[at + next];
                var v2 = own[at + 2u * next];
                var v3 = own[at + 3u * next];
                var v4 = own[at + 4u * next];
                var v5 = own[at + 5u * next];
                var v6 = own[at + 6u * next];
                var v7 = own[at + 7u * next];
                exchange(&v0, &v1, lane, 1u); exchange(&v2, &v3, lane, 1u); exchange(&v4, &v5, lane, 1u); exchange(&v6, &v7, lane, 1u);
                exchange(&v0, &v2, lane, 2u); exchange(&v1, &v3, lane, 2u); exchange(&v4, &v6, lane, 2u); exchange(&v5, &v7, lane, 2u);
                exchange(&v0, &v4, lane, 4u); exchange(&v1, &v5, lane, 4u); exchange(&v2, &v6, lane, 4u); exchange(&v3, &v7, lane, 4u);
                let to = resident.transposed + 4u * c * layer.below + b;
                let further = 4u * layer.columns * layer.below;
                keep_transposed(to, layer.below, i, v0);
                keep_transposed(to + further, layer.below, i, v1);
                keep_transposed(to + 2u * further, layer.below, i, v2);
                keep_transposed(to + 3u * further, layer.below, i, v3);
                keep_transposed(to + 4u * further, layer.below, i, v4);
                keep_transposed(to + 5u * further, layer.below, i, v5);
                keep_transposed(to + 6u * further, layer.below, i, v6);
                keep_transposed(to + 7u * further, layer.below, i, v7);
            }
        }
    }
}

// Component `i` of four rows, `stride` vec4s apart.
fn keep_transposed(to: u32, stride: u32, i: u32, v: vec4f) {
    own[to][i] = v.x;
    own[to + stride][i] = v.y;
    own[to + 2u * stride][i] = v.z;
    own[to + 3u * stride][i] = v.w;
}
