// What arithmetic can do, for software drivers that load texels fastest and broadcast slowly: the product of left
// [size, size], transposed, and right [size, size]. An invocation owns 16 rows by 2 vec4 columns; four steps along the inner
// dimension at a time, for which it loads sixteen vec4s of left and eight of right: 24 loads for 512 multiplications and
// additions.

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
