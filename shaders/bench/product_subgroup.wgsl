// What arithmetic can do, for software drivers with subgroups of eight, which load memory lane by lane: the product of left
// [size, size], transposed, and right [size, size]. Eight invocations own 32 rows by 16 vec4 columns, each of them two
// columns; each loads four rows of the left matrix and hands them to the others: three loads for 256 multiplications and
// additions.

@group(0) @binding(0) var<storage, read> left: array<vec4f>;
@group(0) @binding(1) var<storage, read> right: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> product: array<vec4f>;

override SIZE: u32;

// Four rows by two columns.
alias Rows = array<vec4f, 8>;

fn add_outer(p: vec4f, u: vec4f, v: vec4f, t: ptr<function, Rows>) {
    (*t)[0] = fma(vec4f(p.x), u, (*t)[0]);
    (*t)[1] = fma(vec4f(p.x), v, (*t)[1]);
    (*t)[2] = fma(vec4f(p.y), u, (*t)[2]);
    (*t)[3] = fma(vec4f(p.y), v, (*t)[3]);
    (*t)[4] = fma(vec4f(p.z), u, (*t)[4]);
    (*t)[5] = fma(vec4f(p.z), v, (*t)[5]);
    (*t)[6] = fma(vec4f(p.w), u, (*t)[6]);
    (*t)[7] = fma(vec4f(p.w), v, (*t)[7]);
}

fn store(at: u32, width: u32, t: ptr<function, Rows>) {
    product[at + 0u * width] = (*t)[0];
    product[at + 0u * width + 1u] = (*t)[1];
    product[at + 1u * width] = (*t)[2];
    product[at + 1u * width + 1u] = (*t)[3];
    product[at + 2u * width] = (*t)[4];
    product[at + 2u * width + 1u] = (*t)[5];
    product[at + 3u * width] = (*t)[6];
    product[at + 3u * width + 1u] = (*t)[7];
}

@compute @workgroup_size(8)
fn multiply(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    let width = SIZE / 4u;
    let column = 2u * (group.x * 8u + lane);
    let row = group.y * 32u;
    var t0 = Rows();
    var t1 = Rows();
    var t2 = Rows();
    var t3 = Rows();
    var t4 = Rows();
    var t5 = Rows();
    var t6 = Rows();
    var t7 = Rows();
    for (var k = 0u; k < SIZE; k++) {
        let own = left[k * width + row / 4u + lane];
        let u = right[k * width + column];
        let v = right[k * width + column + 1u];
        add_outer(subgroupBroadcast(own, 0u), u, v, &t0);
        add_outer(subgroupBroadcast(own, 1u), u, v, &t1);
        add_outer(subgroupBroadcast(own, 2u), u, v, &t2);
        add_outer(subgroupBroadcast(own, 3u), u, v, &t3);
        add_outer(subgroupBroadcast(own, 4u), u, v, &t4);
        add_outer(subgroupBroadcast(own, 5u), u, v, &t5);
        add_outer(subgroupBroadcast(own, 6u), u, v, &t6);
        add_outer(subgroupBroadcast(own, 7u), u, v, &t7);
    }
    let at = row * width + column;
    store(at + 0u * width, width, &t0);
    store(at + 4u * width, width, &t1);
    store(at + 8u * width, width, &t2);
    store(at + 12u * width, width, &t3);
    store(at + 16u * width, width, &t4);
    store(at + 20u * width, width, &t5);
    store(at + 24u * width, width, &t6);
    store(at + 28u * width, width, &t7);
}
