// The register tile that runs anywhere, in buffers or in textures: one invocation owns 8 rows by 2 vec4 columns of the
// output and keeps them in sixteen named vec4s, because naga does not unroll loops and only registers are fast everywhere.
// Sixteen vec4 loads feed 64 vec4 multiply-adds. Rows and columns past the edge repeat the last one; whoever stores skips
// them.

const TILE_ROWS: u32 = 8u;
const TILE_COLUMNS: u32 = 2u;
const SPLITS: bool = false;

// Whether there is nothing to do at a place: past the last row.
fn is_idle(at: Place, rows: u32) -> bool {
    return at.row >= rows;
}

// The finished tile, row after row.
var<private> tile: array<vec4f, 16>;
fn finished(row: u32, column: u32) -> vec4f {
    return tile[row * TILE_COLUMNS + column];
}

// The column sums of the right matrix, by product_transposed_left.
var<private> tile_sum: array<vec4f, 2>;

// A [rows, inner] in `activations` times B [inner, columns] in `parameters`; `inner` in vec4s, B's columns b_stride.
fn product(a: u32, a_stride: u32, rows: u32, b: u32, b_stride: u32, inner: u32, split: u32, at: Place) {
    let row = at.row;
    let column = at.column;
    let last = max(rows, 1u) - 1u;
    let r0 = a + min(row, last) * a_stride;
    let r1 = a + min(row + 1u, last) * a_stride;
    let r2 = a + min(row + 2u, last) * a_stride;
    let r3 = a + min(row + 3u, last) * a_stride;
    let r4 = a + min(row + 4u, last) * a_stride;
    let r5 = a + min(row + 5u, last) * a_stride;
    let r6 = a + min(row + 6u, last) * a_stride;
    let r7 = a + min(row + 7u, last) * a_stride;
    let c0 = b + min(column, b_stride - 1u);
    let c1 = b + min(column + 1u, b_stride - 1u);
    var t00 = vec4f(); var t01 = vec4f();
    var t10 = vec4f(); var t11 = vec4f();
    var t20 = vec4f(); var t21 = vec4f();
    var t30 = vec4f(); var t31 = vec4f();
    var t40 = vec4f(); var t41 = vec4f();
    var t50 = vec4f(); var t51 = vec4f();
    var t60 = vec4f(); var t61 = vec4f();
    var t70 = vec4f(); var t71 = vec4f();
    for (var k = 0u; k < inner; k++) {
        let x0 = load_activation(r0 + k);
        let x1 = load_activation(r1 + k);
        let x2 = load_activation(r2 + k);
        let x3 = load_activation(r3 + k);
        let x4 = load_activation(r4 + k);
        let x5 = load_activation(r5 + k);
        let x6 = load_activation(r6 + k);
        let x7 = load_activation(r7 + k);
        let row_of_b = 4u * k * b_stride;
        let y00 = load_parameter(c0 + row_of_b);
        let y01 = load_parameter(c1 + row_of_b);
        let y10 = load_parameter(c0 + row_of_b + b_stride);
        let y11 = load_parameter(c1 + row_of_b + b_stride);
        let y20 = load_parameter(c0 + row_of_b + 2u * b_stride);
        let y21 = load_parameter(c1 + row_of_b + 2u * b_stride);
        let y30 = load_parameter(c0 + row_of_b + 3u * b_stride);
        let y31 = load_parameter(c1 + row_of_b + 3u * b_stride);
        t00 = four_products(x0, y00, y10, y20, y30, t00);
        t01 = four_products(x0, y01, y11, y21, y31, t01);
        t10 = four_products(x1, y00, y10, y20, y30, t10);
        t11 = four_products(x1, y01, y11, y21, y31, t11);
        t20 = four_products(x2, y00, y10, y20, y30, t20);
        t21 = four_products(x2, y01, y11, y21, y31, t21);
        t30 = four_products(x3, y00, y10, y20, y30, t30);
        t31 = four_products(x3, y01, y11, y21, y31, t31);
        t40 = four_products(x4, y00, y10, y20, y30, t40);
        t41 = four_products(x4, y01, y11, y21, y31, t41);
        t50 = four_products(x5, y00, y10, y20, y30, t50);
        t51 = four_products(x5, y01, y11, y21, y31, t51);
        t60 = four_products(x6, y00, y10, y20, y30, t60);
        t61 = four_products(x6, y01, y11, y21, y31, t61);
        t70 = four_products(x7, y00, y10, y20, y30, t70);
        t71 = four_products(x7, y01, y11, y21, y31, t71);
    }
    tile[0] = t00; tile[1] = t01;
    tile[2] = t10; tile[3] = t11;
    tile[4] = t20; tile[5] = t21;
    tile[6] = t30; tile[7] = t31;
    tile[8] = t40; tile[9] = t41;
    tile[10] = t50; tile[11] = t51;
    tile[12] = t60; tile[13] = t61;
    tile[14] = t70; tile[15] = t71;
}

// A [rows, inner] in `activations` times the transpose of B [columns * 4, inner] in `parameters`.
fn product_transposed_right(a: u32, a_stride: u32, rows: u32, b: u32, b_stride: u32, columns: u32, inner: u32, split: u32, at: Place) {
    let row = at.row;
    let column = at.column;
    let last = max(rows, 1u) - 1u;
    let r0 = a + min(row, last) * a_stride;
    let r1 = a + min(row + 1u, last) * a_stride;
    let r2 = a + min(row + 2u, last) * a_stride;
    let r3 = a + min(row + 3u, last) * a_stride;
    let r4 = a + min(row + 4u, last) * a_stride;
    let r5 = a + min(row + 5u, last) * a_stride;
    let r6 = a + min(row + 6u, last) * a_stride;
    let r7 = a + min(row + 7u, last) * a_stride;
    let c0 = b + 4u * min(column, columns - 1u) * b_stride;
    let c1 = b + 4u * min(column + 1u, columns - 1u) * b_stride;
    var t00 = vec4f(); var t01 = vec4f();
    var t10 = vec4f(); var t11 = vec4f();
    var t20 = vec4f(); var t21 = vec4f();
    var t30 = vec4f(); var t31 = vec4f();
    var t40 = vec4f(); var t41 = vec4f();
    var t50 = vec4f(); var t51 = vec4f();
    var t60 = vec4f(); var t61 = vec4f();
    var t70 = vec4f(); var t71 = vec4f();
    for (var k = 0u; k < inner; k++) {
        let x0 = load_activation(r0 + k);
        let x1 = load_activation(r1 + k);
        let x2 = load_activation(r2 + k);
        let x3 = load_activation(r3 + k);
        let x4 = load_activation(r4 + k);
        let x5 = load_activation(r5 + k);
        let x6 = load_activation(r6 + k);
        let x7 = load_activation(r7 + k);
        let w00 = load_parameter(c0 + k);
        let w01 = load_parameter(c0 + b_stride + k);
        let w02 = load_parameter(c0 + 2u * b_stride + k);
        let w03 = load_parameter(c0 + 3u * b_stride + k);
        let w10 = load_parameter(c1 + k);
        let w11 = load_parameter(c1 + b_stride + k);
        let w12 = load_parameter(c1 + 2u * b_stride + k);
        let w13 = load_parameter(c1 + 3u * b_stride + k);
        let y00 = vec4f(w00.x, w01.x, w02.x, w03.x);
        let y10 = vec4f(w00.y, w01.y, w02.y, w03.y);
        let y20 = vec4f(w00.z, w01.z, w02.z, w03.z);
        let y30 = vec4f(w00.w, w01.w, w02.w, w03.w);
        let y01 = vec4f(w10.x, w11.x, w12.x, w13.x);
        let y11 = vec4f(w10.y, w11.y, w12.y, w13.y);
        let y21 = vec4f(w10.z, w11.z, w12.z, w13.z);
        let y31 = vec4f(w10.w, w11.w, w12.w, w13.w);
        t00 = four_products(x0, y00, y10, y20, y30, t00);
        t01 = four_products(x0, y01, y11, y21, y31, t01);
        t10 = four_products(x1, y00, y10, y20, y30, t10);
        t11 = four_products(x1, y01, y11, y21, y31, t11);
        t20 = four_products(x2, y00, y10, y20, y30, t20);
        t21 = four_products(x2, y01, y11, y21, y31, t21);
        t30 = four_products(x3, y00, y10, y20, y30, t30);
        t31 = four_products(x3, y01, y11, y21, y31, t31);
        t40 = four_products(x4, y00, y10, y20, y30, t40);
        t41 = four_products(x4, y01, y11, y21, y31, t41);
        t50 = four_products(x5, y00, y10, y20, y30, t50);
        t51 = four_products(x5, y01, y11, y21, y31, t51);
        t60 = four_products(x6, y00, y10, y20, y30, t60);
        t61 = four_products(x6, y01, y11, y21, y31, t61);
        t70 = four_products(x7, y00, y10, y20, y30, t70);
        t71 = four_products(x7, y01, y11, y21, y31, t71);
    }
    tile[0] = t00; tile[1] = t01;
    tile[2] = t10; tile[3] = t11;
    tile[4] = t20; tile[5] = t21;
    tile[6] = t30; tile[7] = t31;
    tile[8] = t40; tile[9] = t41;
    tile[10] = t50; tile[11] = t51;
    tile[12] = t60; tile[13] = t61;
    tile[14] = t70; tile[15] = t71;
}

// The transpose of A [rows, a_columns] times B [rows, b_columns], both in `activations`; columns in vec4s.
// Also leaves the column sums of B in `tile_sum`, if they are wanted.
fn product_transposed_left(a: u32, a_stride: u32, a_columns: u32, b: u32, b_stride: u32, b_columns: u32, rows: u32, most: u32, split: u32, with_sum: bool, at: Place) {
    let a_column = at.row / 4u;
    let b_column = at.column;
    let a0 = a + min(a_column, a_columns - 1u);
    let a1 = a + min(a_column + 1u, a_columns - 1u);
    let b0 = b + min(b_column, b_columns - 1u);
    let b1 = b + min(b_column + 1u, b_columns - 1u);
    var s0 = vec4f();
    var s1 = vec4f();
    var t00 = vec4f(); var t01 = vec4f();
    var t10 = vec4f(); var t11 = vec4f();
    var t20 = vec4f(); var t21 = vec4f();
    var t30 = vec4f(); var t31 = vec4f();
    var t40 = vec4f(); var t41 = vec4f();
    var t50 = vec4f(); var t51 = vec4f();
    var t60 = vec4f(); var t61 = vec4f();
    var t70 = vec4f(); var t71 = vec4f();
    for (var k = 0u; k < rows; k++) {
        let x0 = load_activation(a0 + k * a_stride);
        let x1 = load_activation(a1 + k * a_stride);
        let y0 = load_activation(b0 + k * b_stride);
        let y1 = load_activation(b1 + k * b_stride);
        s0 += y0;
        s1 += y1;
        t00 = fma(vec4f(x0.x), y0, t00);
        t01 = fma(vec4f(x0.x), y1, t01);
        t10 = fma(vec4f(x0.y), y0, t10);
        t11 = fma(vec4f(x0.y), y1, t11);
        t20 = fma(vec4f(x0.z), y0, t20);
        t21 = fma(vec4f(x0.z), y1, t21);
        t30 = fma(vec4f(x0.w), y0, t30);
        t31 = fma(vec4f(x0.w), y1, t31);
        t40 = fma(vec4f(x1.x), y0, t40);
        t41 = fma(vec4f(x1.x), y1, t41);
        t50 = fma(vec4f(x1.y), y0, t50);
        t51 = fma(vec4f(x1.y), y1, t51);
        t60 = fma(vec4f(x1.z), y0, t60);
        t61 = fma(vec4f(x1.z), y1, t61);
        t70 = fma(vec4f(x1.w), y0, t70);
        t71 = fma(vec4f(x1.w), y1, t71);
    }
    tile_sum[0] = s0; tile_sum[1] = s1;
    tile[0] = t00; tile[1] = t01;
    tile[2] = t10; tile[3] = t11;
    tile[4] = t20; tile[5] = t21;
    tile[6] = t30; tile[7] = t31;
    tile[8] = t40; tile[9] = t41;
    tile[10] = t50; tile[11] = t51;
    tile[12] = t60; tile[13] = t61;
    tile[14] = t70; tile[15] = t71;
}
