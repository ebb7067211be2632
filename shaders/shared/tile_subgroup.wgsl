// The register tile for drivers whose subgroups are eight invocations wide (software Vulkan), where memory is in textures:
// eight invocations, a *team*, own 8 rows by 8 vec4 columns of the output, each of them 8 rows by 1 column. A lane loads
// its own columns of the right matrix and one row of the left one, which it broadcasts to the others. The same sums in
// the same order as tile_portable.wgsl.
//
// A team stays together: every branch around a product is taken by all eight or by none. What a lane loads past the edges
// of its matrices goes into sums that nobody asks for. Arrays are only ever indexed by constants within a product, so that
// the compiler keeps them in registers.

const TILE_ROWS: u32 = 8u;
const TILE_COLUMNS: u32 = 1u;
const SPLITS: bool = false;

// Whether there is nothing to do at a place: past the last row.
fn is_idle(at: Place, rows: u32) -> bool {
    return at.row >= rows;
}

alias Rows = array<vec4f, 8>;

// The finished tile.
var<private> tile: Rows;

fn finished(row: u32, column: u32) -> vec4f {
    return tile[row];
}

// The column sums of the right matrix, by product_transposed_left.
var<private> tile_sum: array<vec4f, 1>;

// Four rows of the right matrix.
struct Right {
    y0: vec4f, y1: vec4f, y2: vec4f, y3: vec4f,
}

// t <- t + x0 y0 + x1 y1 + x2 y2 + x3 y3 for one row, whose four numbers are `x`.
fn add_row(x: vec4f, y: Right, row: u32, t: ptr<function, Rows>) {
    (*t)[row] = four_products(x, y.y0, y.y1, y.y2, y.y3, (*t)[row]);
}

// The same for the eight rows that the team's members hold four numbers of each.
fn add_products(mine: vec4f, y: Right, t: ptr<function, Rows>) {
    add_row(subgroupBroadcast(mine, 0u), y, 0u, t);
    add_row(subgroupBroadcast(mine, 1u), y, 1u, t);
    add_row(subgroupBroadcast(mine, 2u), y, 2u, t);
    add_row(subgroupBroadcast(mine, 3u), y, 3u, t);
    add_row(subgroupBroadcast(mine, 4u), y, 4u, t);
    add_row(subgroupBroadcast(mine, 5u), y, 5u, t);
    add_row(subgroupBroadcast(mine, 6u), y, 6u, t);
    add_row(subgroupBroadcast(mine, 7u), y, 7u, t);
}

// A [rows, inner] in `activations` times B [inner, columns] in `parameters`; `inner` in vec4s, B's columns b_stride.
fn product(a: u32, a_stride: u32, rows: u32, b: u32, b_stride: u32, inner: u32, split: u32, at: Place) {
    let left = a + (at.row + at.member) * a_stride;
    let right = b + at.column;
    var t: Rows;
    for (var k = 0u; k < inner; k++) {
        let c = right + 4u * k * b_stride;
        let y = Right(load_parameter(c), load_parameter(c + b_stride), load_parameter(c + 2u * b_stride), load_parameter(c + 3u * b_stride));
        add_products(load_activation(left + k), y, &t);
    }
    tile = t;
}

// A [rows, inner] in `activations` times the transpose of B [columns * 4, inner] in `parameters`.
fn product_transposed_right(a: u32, a_stride: u32, rows: u32, b: u32, b_stride: u32, columns: u32, inner: u32, split: u32, at: Place) {
    let left = a + (at.row + at.member) * a_stride;
    let right = b + 4u * at.column * b_stride;
    var t: Rows;
    for (var k = 0u; k < inner; k++) {
        let w0 = load_parameter(right + k);
        let w1 = load_parameter(right + b_stride + k);
        let w2 = load_parameter(right + 2u * b_stride + k);
        let w3 = load_parameter(right + 3u * b_stride + k);
        let y = Right(
            vec4f(w0.x, w1.x, w2.x, w3.x),
            vec4f(w0.y, w1.y, w2.y, w3.y),
            vec4f(w0.z, w1.z, w2.z, w3.z),
            vec4f(w0.w, w1.w, w2.w, w3.w),
        );
        add_products(load_activation(left + k), y, &t);
    }
    tile = t;
}

// The transpose of A [rows, a_columns] times B [rows, b_columns], both in `activations`; columns in vec4s. Also leaves the
// column sums of B in `tile_sum`. Four rows at a time, of which A's two vec4s that make 8 rows of the output are eight: one
// for each member to load.
fn product_transposed_left(a: u32, a_stride: u32, a_columns: u32, b: u32, b_stride: u32, b_columns: u32, rows: u32, most: u32, split: u32, with_sum: bool, at: Place) {
    let own = at.member / 2u;
    let left = a + at.row / 4u + own * a_stride + at.member % 2u;
    let right = b + at.column;
    var sum = vec4f();
    var t: Rows;
    for (var k = 0u; k < rows; k += 4u) {
        let x = load_within(left + k * a_stride, k + own < rows);
        let y0 = load_activation(right + k * b_stride);
        let y1 = load_within(right + (k + 1u) * b_stride, k + 1u < rows);
        let y2 = load_within(right + (k + 2u) * b_stride, k + 2u < rows);
        let y3 = load_within(right + (k + 3u) * b_stride, k + 3u < rows);
        sum = sum + y0 + y1 + y2 + y3;
        add_outer(subgroupBroadcast(x, 0u), subgroupBroadcast(x, 1u), y0, &t);
        add_outer(subgroupBroadcast(x, 2u), subgroupBroadcast(x, 3u), y1, &t);
        add_outer(subgroupBroadcast(x, 4u), subgroupBroadcast(x, 5u), y2, &t);
        add_outer(subgroupBroadcast(x, 6u), subgroupBroadcast(x, 7u), y3, &t);
    }
    tile_sum[0] = sum;
    tile = t;
}

// What lies past the last row must not count, whatever it is.
fn load_within(address: u32, inside: bool) -> vec4f {
    return select(vec4f(), load_activation(address), inside);
}

// t <- t + x y for eight rows, each of which is one of the numbers of `x0` and `x1`.
fn add_outer(x0: vec4f, x1: vec4f, y: vec4f, t: ptr<function, Rows>) {
    (*t)[0] = fma(vec4f(x0.x), y, (*t)[0]);
    (*t)[1] = fma(vec4f(x0.y), y, (*t)[1]);
    (*t)[2] = fma(vec4f(x0.z), y, (*t)[2]);
    (*t)[3] = fma(vec4f(x0.w), y, (*t)[3]);
    (*t)[4] = fma(vec4f(x1.x), y, (*t)[4]);
    (*t)[5] = fma(vec4f(x1.y), y, (*t)[5]);
    (*t)[6] = fma(vec4f(x1.z), y, (*t)[6]);
    (*t)[7] = fma(vec4f(x1.w), y, (*t)[7]);
}
