// The register tile for drivers whose subgroups are eight invocations wide (software Vulkan): eight invocations, a
// *team*, own 32 rows by 8 vec4 columns of the output, each of them 32 rows by 1 column, in 32 vec4s. Such a driver
// loads memory lane by lane, up to thirty cycles a float, so all that counts is that no number is loaded twice: a lane
// loads its own columns of the right matrix and four rows of the left one, which it broadcasts to the others. The same
// sums in the same order as tile_portable.wgsl.
//
// A team stays together: every branch around a product is taken by all eight or by none, and lanes whose columns lie
// past the edge load nothing but still hand out their rows. Arrays are only ever indexed by constants within a product,
// so that the compiler keeps them in registers.

const TILE_ROWS: u32 = 32u;
const TILE_COLUMNS: u32 = 1u;
const TEAM: u32 = 8u;
const SPLITS: bool = false;

// The finished tile, eight rows each: the time that Mesa takes to compile grows with the square of the
// places that touch an array.
var<private> tile0: Rows;
var<private> tile1: Rows;
var<private> tile2: Rows;
var<private> tile3: Rows;

fn finished(row: u32, column: u32) -> vec4f {
    let at = row % 8u;
    switch row / 8u {
        case 0u: { return tile0[at]; }
        case 1u: { return tile1[at]; }
        case 2u: { return tile2[at]; }
        default: { return tile3[at]; }
    }
}

// The column sums of the right matrix, by product_transposed_left.
var<private> tile_sum: array<vec4f, 1>;

// Eight rows of sums.
alias Rows = array<vec4f, 8>;

// Four rows of the right matrix.
struct Right {
    y0: vec4f, y1: vec4f, y2: vec4f, y3: vec4f,
}

// t <- t + x0 y0 + x1 y1 + x2 y2 + x3 y3 for one row, whose four numbers are `x`.
fn add_row(x: vec4f, y: Right, row: u32, t: ptr<function, Rows>) {
    (*t)[row] = fma(vec4f(x.x), y.y0, fma(vec4f(x.y), y.y1, fma(vec4f(x.z), y.y2, fma(vec4f(x.w), y.y3, (*t)[row]))));
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

// t <- t + x y for eight rows, each of which is one of the numbers of two members.
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

fn load_left(inside: bool, address: u32) -> vec4f {
    var value = vec4f();
    if inside {
        value = activations[address];
    }
    return value;
}

// A [rows, inner] in `activations` times B [inner, columns] in `parameters`; `inner` in vec4s, B's columns b_stride.
fn product(a: u32, a_stride: u32, rows: u32, b: u32, b_stride: u32, inner: u32, split: u32, at: Place) {
    let first = at.row + at.member;
    let column = at.column;
    let address = a + first * a_stride;
    let c0 = b + column;
    var t0: Rows; var t1: Rows; var t2: Rows; var t3: Rows;
    for (var k = 0u; k < inner; k++) {
        let own0 = load_left(first < rows, address + k);
        let own1 = load_left(first + 8u < rows, address + 8u * a_stride + k);
        let own2 = load_left(first + 16u < rows, address + 16u * a_stride + k);
        let own3 = load_left(first + 24u < rows, address + 24u * a_stride + k);
        let c = c0 + 4u * k * b_stride;
        var y: Right;
        if column < b_stride {
            y.y0 = parameters[c];
            y.y1 = parameters[c + b_stride];
            y.y2 = parameters[c + 2u * b_stride];
            y.y3 = parameters[c + 3u * b_stride];
        }
        add_products(own0, y, &t0);
        add_products(own1, y, &t1);
        add_products(own2, y, &t2);
        add_products(own3, y, &t3);
    }
    tile0 = t0;
    tile1 = t1;
    tile2 = t2;
    tile3 = t3;
}

// A [rows, inner] in `activations` times the transpose of B [columns * 4, inner] in `parameters`.
fn product_transposed_right(a: u32, a_stride: u32, rows: u32, b: u32, b_stride: u32, columns: u32, inner: u32, split: u32, at: Place) {
    let first = at.row + at.member;
    let column = at.column;
    let address = a + first * a_stride;
    let c0 = b + 4u * column * b_stride;
    var t0: Rows; var t1: Rows; var t2: Rows; var t3: Rows;
    for (var k = 0u; k < inner; k++) {
        let own0 = load_left(first < rows, address + k);
        let own1 = load_left(first + 8u < rows, address + 8u * a_stride + k);
        let own2 = load_left(first + 16u < rows, address + 16u * a_stride + k);
        let own3 = load_left(first + 24u < rows, address + 24u * a_stride + k);
        var y: Right;
        if column < columns {
            let w0 = parameters[c0 + k];
            let w1 = parameters[c0 + b_stride + k];
            let w2 = parameters[c0 + 2u * b_stride + k];
            let w3 = parameters[c0 + 3u * b_stride + k];
            y.y0 = vec4f(w0.x, w1.x, w2.x, w3.x);
            y.y1 = vec4f(w0.y, w1.y, w2.y, w3.y);
            y.y2 = vec4f(w0.z, w1.z, w2.z, w3.z);
            y.y3 = vec4f(w0.w, w1.w, w2.w, w3.w);
        }
        add_products(own0, y, &t0);
        add_products(own1, y, &t1);
        add_products(own2, y, &t2);
        add_products(own3, y, &t3);
    }
    tile0 = t0;
    tile1 = t1;
    tile2 = t2;
    tile3 = t3;
}

// The transpose of A [rows, a_columns] times B [rows, b_columns], both in `activations`; columns in vec4s.
// Also leaves the column sums of B in `tile_sum`, if they are wanted. Each member loads one of the eight vec4s of A that make 32 rows.
fn product_transposed_left(a: u32, a_stride: u32, a_columns: u32, b: u32, b_stride: u32, b_columns: u32, rows: u32, split: u32, with_sum: bool, at: Place) {
    let mine = at.row / 4u + at.member;
    let b_column = at.column;
    var sum = vec4f();
    var t0: Rows; var t1: Rows; var t2: Rows; var t3: Rows;
    for (var k = 0u; k < rows; k++) {
        let held = load_left(mine < a_columns, a + mine + k * a_stride);
        let y = load_left(b_column < b_columns, b + b_column + k * b_stride);
        sum += y;
        add_outer(subgroupBroadcast(held, 0u), subgroupBroadcast(held, 1u), y, &t0);
        add_outer(subgroupBroadcast(held, 2u), subgroupBroadcast(held, 3u), y, &t1);
        add_outer(subgroupBroadcast(held, 4u), subgroupBroadcast(held, 5u), y, &t2);
        add_outer(subgroupBroadcast(held, 6u), subgroupBroadcast(held, 7u), y, &t3);
    }
    tile_sum[0] = sum;
    tile0 = t0;
    tile1 = t1;
    tile2 = t2;
    tile3 = t3;
}
