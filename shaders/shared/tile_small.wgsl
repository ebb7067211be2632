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

// A [rows, inner] in `activations` times B [inner, columns] in `parameters`; `inner` in vec4s, B's columns b_stride.
fn product(a: u32, a_stride: u32, rows: u32, b: u32, b_stride: u32, inner: u32, split: u32, at: Place) {
    let last = max(rows, 1u) - 1u;
    let r0 = a + min(at.row, last) * a_stride;
    let r1 = a + min(at.row + 1u, last) * a_stride;
    let r2 = a + min(at.row + 2u, last) * a_stride;
    let r3 = a + min(at.row + 3u, last) * a_stride;
    let first = b + min(at.column, b_stride - 1u);
    var t0 = vec4f();
    var t1 = vec4f();
    var t2 = vec4f();
    var t3 = vec4f();
    for (var k = at.part; k < inner; k += split) {
        let c = first + 4u * k * b_stride;
        let y0 = parameters[c];
        let y1 = parameters[c + b_stride];
        let y2 = parameters[c + 2u * b_stride];
        let y3 = parameters[c + 3u * b_stride];
        t0 = four_products(activations[r0 + k], y0, y1, y2, y3, t0);
        t1 = four_products(activations[r1 + k], y0, y1, y2, y3, t1);
        t2 = four_products(activations[r2 + k], y0, y1, y2, y3, t2);
        t3 = four_products(activations[r3 + k], y0, y1, y2, y3, t3);
    }
    finish(t0, t1, t2, t3, split, at);
}

// A [rows, inner] in `activations` times the transpose of B [columns * 4, inner] in `parameters`.
fn product_transposed_right(a: u32, a_stride: u32, rows: u32, b: u32, b_stride: u32, columns: u32, inner: u32, split: u32, at: Place) {
    let last = max(rows, 1u) - 1u;
    let r0 = a + min(at.row, last) * a_stride;
    let r1 = a + min(at.row + 1u, last) * a_stride;
    let r2 = a + min(at.row + 2u, last) * a_stride;
    let r3 = a + min(at.row + 3u, last) * a_stride;
    let c = b + 4u * min(at.column, columns - 1u) * b_stride;
    var t0 = vec4f();
    var t1 = vec4f();
    var t2 = vec4f();
    var t3 = vec4f();
    for (var k = at.part; k < inner; k += split) {
        let w0 = parameters[c + k];
        let w1 = parameters[c + b_stride + k];
        let w2 = parameters[c + 2u * b_stride + k];
        let w3 = parameters[c + 3u * b_stride + k];
        let y0 = vec4f(w0.x, w1.x, w2.x, w3.x);
        let y1 = vec4f(w0.y, w1.y, w2.y, w3.y);
        let y2 = vec4f(w0.z, w1.z, w2.z, w3.z);
        let y3 = vec4f(w0.w, w1.w, w2.w, w3.w);
        t0 = four_products(activations[r0 + k], y0, y1, y2, y3, t0);
        t1 = four_products(activations[r1 + k], y0, y1, y2, y3, t1);
        t2 = four_products(activations[r2 + k], y0, y1, y2, y3, t2);
        t3 = four_products(activations[r3 + k], y0, y1, y2, y3, t3);
    }
    finish(t0, t1, t2, t3, split, at);
}

// The transpose of A [rows, a_columns] times B [rows, b_columns], both in `activations`; columns in vec4s.
// Also leaves the column sums of B in `tile_sum`, if they are wanted.
fn product_transposed_left(a: u32, a_stride: u32, a_columns: u32, b: u32, b_stride: u32, b_columns: u32, rows: u32, split: u32, with_sum: bool, at: Place) {
    let from_a = a + min(at.row / 4u, a_columns - 1u);
    let from_b = b + min(at.column, b_columns - 1u);
    var sum = vec4f();
    var t0 = vec4f();
    var t1 = vec4f();
    var t2 = vec4f();
    var t3 = vec4f();
    for (var k = at.part; k < rows; k += split) {
        let x = activations[from_a + k * a_stride];
        let y = activations[from_b + k * b_stride];
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
