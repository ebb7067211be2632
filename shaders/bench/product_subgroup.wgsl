// What arithmetic can do, for software drivers with subgroups of eight, which load texels fastest: the product of left
// [size, size], transposed, and right [size, size]. Eight invocations own 16 rows by 16 vec4 columns, each of them two
// columns; four steps along the inner dimension at a time. Of left's numbers for them each invocation loads two vec4s and
// hands them to the others: ten loads for 512 multiplications and additions.

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
