// What arithmetic can do, for software drivers with subgroups of eight, which load texels fastest: the product of left
// [size, size], transposed, and right [size, size]. Eight invocations own 16 rows by 16 vec4 columns, each of them two
// columns; four steps along the inner dimension at a time. Of left's numbers for them each invocation loads two vec4s and
// hands them to the others: ten loads for 512 multiplications and additions.

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

@compute @workgroup_size(8)
fn multiply(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    let column = 2u * (group.x * 8u + lane);
    let row = group.y * 16u;
    let own = vec2u(row / 4u + lane % 4u, lane / 4u);
    var t0 = Rows();
    var t1 = Rows();
    var t2 = Rows();
    var t3 = Rows();
    for (var k = 0u; k < SIZE; k += 4u) {
        let a = textureLoad(left, own + vec2u(0u, k));
        let b = textureLoad(left, own + vec2u(0u, k + 2u));
        let y0 = load_pair(k, column);
        let y1 = load_pair(k + 1u, column);
        let y2 = load_pair(k + 2u, column);
        let y3 = load_pair(k + 3u, column);
        add_outer(subgroupBroadcast(a, 0u), y0, &t0);
        add_outer(subgroupBroadcast(a, 4u), y1, &t0);
        add_outer(subgroupBroadcast(b, 0u), y2, &t0);
        add_outer(subgroupBroadcast(b, 4u), y3, &t0);
        add_outer(subgroupBroadcast(a, 1u), y0, &t1);
        add_outer(subgroupBroadcast(a, 5u), y1, &t1);
        add_outer(subgroupBroadcast(b, 1u), y2, &t1);
        add_outer(subgroupBroadcast(b, 5u), y3, &t1);
        add_outer(subgroupBroadcast(a, 2u), y0, &t2);
        add_outer(subgroupBroadcast(a, 6u), y1, &t2);
        add_outer(subgroupBroadcast(b, 2u), y2, &t2);
        add_outer(subgroupBroadcast(b, 6u), y3, &t2);
        add_outer(subgroupBroadcast(a, 3u), y0, &t3);
        add_outer(subgroupBroadcast(a, 7u), y1, &t3);
        add_outer(subgroupBroadcast(b, 3u), y2, &t3);
        add_outer(subgroupBroadcast(b, 7u), y3, &t3);
    }
    store(row, column, &t0);
    store(row + 4u, column, &t1);
    store(row + 8u, column, &t2);
    store(row + 12u, column, &t3);
}
