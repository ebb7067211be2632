// What arithmetic can do, for software drivers that load texels fastest and broadcast slowly: the product of left
// [size, size], transposed, and right [size, size]. An invocation owns 16 rows by 2 vec4 columns; four steps along the inner
// dimension at a time, for which it loads sixteen vec4s of left and eight of right: 24 loads for 512 multiplications and
// additions.

@group(0) @binding(0) var left: texture_storage_2d<rgba32float, read>;
@group(0) @binding(1) var right: texture_storage_2d<rgba32float, read>;
@group(0) @binding(2) var product: texture_storage_2d<rgba32float, write>;

override SIZE: u32;

// Four rows by two columns.
alias Rows = array<vec4f, 8>;

// Two columns of right.
struct Pair {
    u: vec4f, v: vec4f,
}

fn load_pair(row: u32, column: u32) -> Pair {
    return Pair(textureLoad(right, vec2u(column, row)), textureLoad(right, vec2u(column + 1u, row)));
}

fn add_outer(p: vec4f, y: Pair, t: ptr<function, Rows>) {
    (*t)[0] = fma(vec4f(p.x), y.u, (*t)[0]);
    (*t)[1] = fma(vec4f(p.x), y.v, (*t)[1]);
    (*t)[2] = fma(vec4f(p.y), y.u, (*t)[2]);
    (*t)[3] = fma(vec4f(p.y), y.v, (*t)[3]);
    (*t)[4] = fma(vec4f(p.z), y.u, (*t)[4]);
    (*t)[5] = fma(vec4f(p.z), y.v, (*t)[5]);
    (*t)[6] = fma(vec4f(p.w), y.u, (*t)[6]);
    (*t)[7] = fma(vec4f(p.w), y.v, (*t)[7]);
}

fn store(row: u32, column: u32, t: ptr<function, Rows>) {
    for (var i = 0u; i < 8u; i++) {
        textureStore(product, vec2u(column + i % 2u, row + i / 2u), (*t)[i]);
    }
}

// Four rows of the product, from 4 `r` on, in steps k to k + 3.
fn add_rows(r: u32, k: u32, y0: Pair, y1: Pair, y2: Pair, y3: Pair, t: ptr<function, Rows>) {
    add_outer(textureLoad(left, vec2u(r, k)), y0, t);
    add_outer(textureLoad(left, vec2u(r, k + 1u)), y1, t);
    add_outer(textureLoad(left, vec2u(r, k + 2u)), y2, t);
    add_outer(textureLoad(left, vec2u(r, k + 3u)), y3, t);
}

@compute @workgroup_size(8)
fn multiply(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    let column = 2u * (group.x * 8u + lane);
    let row = 4u * group.y;
    var t0 = Rows();
    var t1 = Rows();
    var t2 = Rows();
    var t3 = Rows();
    for (var k = 0u; k < SIZE; k += 4u) {
        let y0 = load_pair(k, column);
        let y1 = load_pair(k + 1u, column);
        let y2 = load_pair(k + 2u, column);
        let y3 = load_pair(k + 3u, column);
        add_rows(row, k, y0, y1, y2, y3, &t0);
        add_rows(row + 1u, k, y0, y1, y2, y3, &t1);
        add_rows(row + 2u, k, y0, y1, y2, y3, &t2);
        add_rows(row + 3u, k, y0, y1, y2, y3, &t3);
    }
    store(4u * row, column, &t0);
    store(4u * row + 4u, column, &t1);
    store(4u * row + 8u, column, &t2);
    store(4u * row + 12u, column, &t3);
}
