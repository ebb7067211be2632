// The register tile for GPUs, where many small pieces of work hide each other's waiting: one invocation owns 4 rows by 1
// vec4 column of the output. A layer of 64 units and a minibatch of 64 are work for 256 invocations; where that leaves the
// device idle, 2, 4, ... invocations split the inner dimension of each tile between them and add up what they have in
// workgroup memory. Eight vec4 loads, which the invocations of a subgroup mostly share, feed 16 vec4 multiply-adds. Rows
// and columns past the edge repeat the last one; whoever stores skips them.

const TILE_ROWS: u32 = 4u;
const TILE_COLUMNS: u32 = 1u;
const SPLITS: bool = true;

// Nobody leaves early, past the last row either: all meet at barriers.
fn is_idle(at: Place, rows: u32) -> bool {
    return false;
}

// The finished rows, those of other invocations of the split left out; named, since an index would move them to memory.
var<private> tile0: vec4f;
var<private> tile1: vec4f;
var<private> tile2: vec4f;
var<private> tile3: vec4f;
fn finished(row: u32, column: u32) -> vec4f {
    return select(select(tile3, tile2, row == 2u), select(tile1, tile0, row == 0u), row < 2u);
}

// The column sums of the right matrix, by product_transposed_left, for part 0 of the split.
var<private> tile_sum: array<vec4f, 1>;

// The vec4s of a slot that its parts have offered from `first` on, in the order of the parts: a power of two.
fn add_parts(first: u32, split: u32, slot: u32) -> vec4f {
    let slots = WORKGROUP_SIZE / split;
    let begin = first + slot;
    var sum = sh_reduce[begin] + sh_reduce[begin + slots];
    for (var part = 2u; part < split; part += 2u) {
        sum += sh_reduce[begin + part * slots] + sh_reduce[begin + (part + 1u) * slots];
    }
    return sum;
}

// Row r of a tile is finished by part r, or by part r modulo 2 where only two split it.
fn finish(t0: vec4f, t1: vec4f, t2: vec4f, t3: vec4f, split: u32, at: Place) {
    tile0 = t0;
    tile1 = t1;
    tile2 = t2;
    tile3 = t3;
    if split == 1u {
        return;
    }
    let lane = at.part * (WORKGROUP_SIZE / split) + at.slot;
    let pair = at.part % 2u * WORKGROUP_SIZE;
    sh_reduce[lane] = t0;
    sh_reduce[WORKGROUP_SIZE + lane] = t1;
    workgroupBarrier();
    if at.part < 2u {
        tile0 = add_parts(pair, split, at.slot);
        tile1 = tile0;
    }
    workgroupBarrier();
    sh_reduce[lane] = t2;
    sh_reduce[WORKGROUP_SIZE + lane] = t3;
    workgroupBarrier();
    if at.part / 2u == select(1u, 0u, split == 2u) {
        tile2 = add_parts(pair, split, at.slot);
        tile3 = tile2;
    }
    workgroupBarrier();
}

// Where four rows of a matrix begin; the last row stands for those past it.
struct FourRows {
    r0: u32,
    r1: u32,
    r2: u32,
    r3: u32,
}

fn four_rows(a: u32, a_stride: u32, rows: u32, row: u32) -> FourRows {
    let last = max(rows, 1u) - 1u;
    return FourRows(
        a + min(row, last) * a_stride,
        a + min(row + 1u, last) * a_stride,
        a + min(row + 2u, last) * a_stride,
        a + min(row + 3u, last) * a_stride,
    );
}

// A [rows, inner] in `activations` times B [inner, columns] in `parameters`; `inner` in vec4s, B's columns b_stride.
fn product(a: u32, a_stride: u32, rows: u32, b: u32, b_stride: u32, inner: u32, split: u32, at: Place) {
    let row = four_rows(a, a_stride, rows, at.row);
    let first = b + min(at.column, b_stride - 1u);
    var t0 = vec4f();
    var t1 = vec4f();
    var t2 = vec4f();
    var t3 = vec4f();
    for (var k = at.part; k < inner; k += 2u * split) {
        let c = first + 4u * k * b_stride;
        let y0 = parameters[c];
        let y1 = parameters[c + b_stride];
        let y2 = parameters[c + 2u * b_stride];
        let y3 = parameters[c + 3u * b_stride];
        let x0 = activations[row.r0 + k];
        let x1 = activations[row.r1 + k];
        let x2 = activations[row.r2 + k];
        let x3 = activations[row.r3 + k];
        let l = k + split;
        if l < inner {
            let d = first + 4u * l * b_stride;
            let z0 = parameters[d];
            let z1 = parameters[d + b_stride];
            let z2 = parameters[d + 2u * b_stride];
            let z3 = parameters[d + 3u * b_stride];
            t0 = four_products(activations[row.r0 + l], z0, z1, z2, z3, t0);
            t1 = four_products(activations[row.r1 + l], z0, z1, z2, z3, t1);
            t2 = four_products(activations[row.r2 + l], z0, z1, z2, z3, t2);
            t3 = four_products(activations[row.r3 + l], z0, z1, z2, z3, t3);
        }
        t0 = four_products(x0, y0, y1, y2, y3, t0);
        t1 = four_products(x1, y0, y1, y2, y3, t1);
        t2 = four_products(x2, y0, y1, y2, y3, t2);
        t3 = four_products(x3, y0, y1, y2, y3, t3);
    }
    finish(t0, t1, t2, t3, split, at);
}

// Of the right matrix a workgroup can hold in sh_reduce 4 * columns rows, this many vec4s of each at a time; 0: too few.
const STAGES: bool = true;
fn staged(columns: u32, split: u32) -> u32 {
    if !STAGES || split > 1u || columns > 64u {
        return 0u;
    }
    return select(select(2u, 4u, columns <= 32u), 8u, columns <= 16u);
}

// As product_transposed_right, all of whose columns are the workgroup's: what it multiplies with comes from workgroup memory.
// In `parameters` neighbours would find their columns, rows of B, in a cache line each.
fn product_staged(a: u32, a_stride: u32, rows: u32, b: u32, b_stride: u32, columns: u32, inner: u32, lane: u32, at: Place) {
    let chunk = staged(columns, 1u);
    let row = four_rows(a, a_stride, rows, at.row);
    let column = min(at.column, columns - 1u);
    // rows of B four apart are kept at places apart, so that neighbours do not wait for each other
    let turn = column & (chunk - 1u);
    let from_b = 4u * column * chunk;
    var t0 = vec4f();
    var t1 = vec4f();
    var t2 = vec4f();
    var t3 = vec4f();
    for (var first = 0u; first < inner; first += chunk) {
        for (var i = lane; i < 4u * columns * chunk; i += WORKGROUP_SIZE) {
            let weights = i / chunk;
            let k = i & (chunk - 1u);
            let place = weights * chunk + (k ^ ((weights / 4u) & (chunk - 1u)));
            sh_reduce[place] = parameters[b + weights * b_stride + min(first + k, inner - 1u)];
        }
        workgroupBarrier();
        let end = min(chunk, inner - first);
        for (var k = 0u; k < end; k++) {
            let w = from_b + (k ^ turn);
            let w0 = sh_reduce[w];
            let w1 = sh_reduce[w + chunk];
            let w2 = sh_reduce[w + 2u * chunk];
            let w3 = sh_reduce[w + 3u * chunk];
            let y0 = vec4f(w0.x, w1.x, w2.x, w3.x);
            let y1 = vec4f(w0.y, w1.y, w2.y, w3.y);
            let y2 = vec4f(w0.z, w1.z, w2.z, w3.z);
            let y3 = vec4f(w0.w, w1.w, w2.w, w3.w);
            t0 = four_products(activations[row.r0 + first + k], y0, y1, y2, y3, t0);
            t1 = four_products(activations[row.r1 + first + k], y0, y1, y2, y3, t1);
            t2 = four_products(activations[row.r2 + first + k], y0, y1, y2, y3, t2);
            t3 = four_products(activations[row.r3 + first + k], y0, y1, y2, y3, t3);
        }
        workgroupBarrier();
    }
    finish(t0, t1, t2, t3, 1u, at);
}

// A [rows, inner] in `activations` times the transpose of B [columns * 4, inner] in `parameters`.
fn product_transposed_right(a: u32, a_stride: u32, rows: u32, b: u32, b_stride: u32, columns: u32, inner: u32, split: u32, at: Place) {
    if staged(columns, split) != 0u {
        product_staged(a, a_stride, rows, b, b_stride, columns, inner, at.slot, at);
        return;
    }
    let row = four_rows(a, a_stride, rows, at.row);
    let c = b + 4u * min(at.column, columns - 1u) * b_stride;
    var t0 = vec4f();
    var t1 = vec4f();
    var t2 = vec4f();
    var t3 = vec4f();
    for (var k = at.part; k < inner; k += 2u * split) {
        let w0 = parameters[c + k];
        let w1 = parameters[c + b_stride + k];
        let w2 = parameters[c + 2u * b_stride + k];
        let w3 = parameters[c + 3u * b_stride + k];
        let x0 = activations[row.r0 + k];
        let x1 = activations[row.r1 + k];
        let x2 = activations[row.r2 + k];
        let x3 = activations[row.r3 + k];
        let l = k + split;
        if l < inner {
            let v0 = parameters[c + l];
            let v1 = parameters[c + b_stride + l];
            let v2 = parameters[c + 2u * b_stride + l];
            let v3 = parameters[c + 3u * b_stride + l];
            let z0 = vec4f(v0.x, v1.x, v2.x, v3.x);
            let z1 = vec4f(v0.y, v1.y, v2.y, v3.y);
            let z2 = vec4f(v0.z, v1.z, v2.z, v3.z);
            let z3 = vec4f(v0.w, v1.w, v2.w, v3.w);
            t0 = four_products(activations[row.r0 + l], z0, z1, z2, z3, t0);
            t1 = four_products(activations[row.r1 + l], z0, z1, z2, z3, t1);
            t2 = four_products(activations[row.r2 + l], z0, z1, z2, z3, t2);
            t3 = four_products(activations[row.r3 + l], z0, z1, z2, z3, t3);
        }
        let y0 = vec4f(w0.x, w1.x, w2.x, w3.x);
        let y1 = vec4f(w0.y, w1.y, w2.y, w3.y);
        let y2 = vec4f(w0.z, w1.z, w2.z, w3.z);
        let y3 = vec4f(w0.w, w1.w, w2.w, w3.w);
        t0 = four_products(x0, y0, y1, y2, y3, t0);
        t1 = four_products(x1, y0, y1, y2, y3, t1);
        t2 = four_products(x2, y0, y1, y2, y3, t2);
        t3 = four_products(x3, y0, y1, y2, y3, t3);
    }
    finish(t0, t1, t2, t3, split, at);
}

// The transpose of A [rows, a_columns] times B [rows, b_columns], both in `activations`; columns in vec4s.
// Also leaves the column sums of B in `tile_sum`, if they are wanted. All of `most` rows are loaded, so that no load waits for
// the number of those that count, `rows`.
fn product_transposed_left(a: u32, a_stride: u32, a_columns: u32, b: u32, b_stride: u32, b_columns: u32, rows: u32, most: u32, split: u32, with_sum: bool, at: Place) {
    let from_a = a + min(at.row / 4u, a_columns - 1u);
    let from_b = b + min(at.column, b_columns - 1u);
    var sum = vec4f();
    var t0 = vec4f();
    var t1 = vec4f();
    var t2 = vec4f();
    var t3 = vec4f();
    for (var step = 0u; step < (most + split - 1u) / split; step++) {
        let row = at.part + step * split;
        let k = min(row, most - 1u);
        let x = select(vec4f(), activations[from_a + k * a_stride], row < rows);
        let y = select(vec4f(), activations[from_b + k * b_stride], row < rows);
        sum += y;
        t0 = fma(vec4f(x.x), y, t0);
        t1 = fma(vec4f(x.y), y, t1);
        t2 = fma(vec4f(x.z), y, t2);
        t3 = fma(vec4f(x.w), y, t3);
    }
    finish(t0, t1, t2, t3, split, at);
    tile_sum[0] = sum;
    if split > 1u && with_sum {
        sh_reduce[at.part * (WORKGROUP_SIZE / split) + at.slot] = sum;
        workgroupBarrier();
        tile_sum[0] = add_parts(0u, split, at.slot);
        workgroupBarrier();
    }
}
