// What arithmetic can do, for drivers whose loads are dear and whose workgroup memory is memory like any other: the product
// of left [size, size], transposed, and right [size, size], straight from storage. An invocation owns 8 rows by 2 vec4
// columns in registers: four loads for 64 multiplications and additions.

@group(0) @binding(0) var<storage, read> left: array<vec4f>;
@group(0) @binding(1) var<storage, read> right: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> product: array<vec4f>;

override SIZE: u32;

@compute @workgroup_size(8)
fn multiply(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    let width = SIZE / 4u;
    let column = 2u * (group.x * 8u + lane);
    let row = group.y * 8u;
    var r0a = vec4f();
    var r0b = vec4f();
    var r1a = vec4f();
    var r1b = vec4f();
    var r2a = vec4f();
    var r2b = vec4f();
    var r3a = vec4f();
    var r3b = vec4f();
    var r4a = vec4f();
    var r4b = vec4f();
    var r5a = vec4f();
    var r5b = vec4f();
    var r6a = vec4f();
    var r6b = vec4f();
    var r7a = vec4f();
    var r7b = vec4f();
    for (var k = 0u; k < SIZE; k++) {
        let p = left[k * width + row / 4u];
        let q = left[k * width + row / 4u + 1u];
        let u = right[k * width + column];
        let v = right[k * width + column + 1u];
        r0a = fma(vec4f(p.x), u, r0a);
        r0b = fma(vec4f(p.x), v, r0b);
        r1a = fma(vec4f(p.y), u, r1a);
        r1b = fma(vec4f(p.y), v, r1b);
        r2a = fma(vec4f(p.z), u, r2a);
        r2b = fma(vec4f(p.z), v, r2b);
        r3a = fma(vec4f(p.w), u, r3a);
        r3b = fma(vec4f(p.w), v, r3b);
        r4a = fma(vec4f(q.x), u, r4a);
        r4b = fma(vec4f(q.x), v, r4b);
        r5a = fma(vec4f(q.y), u, r5a);
        r5b = fma(vec4f(q.y), v, r5b);
        r6a = fma(vec4f(q.z), u, r6a);
        r6b = fma(vec4f(q.z), v, r6b);
        r7a = fma(vec4f(q.w), u, r7a);
        r7b = fma(vec4f(q.w), v, r7b);
    }
    let at = row * width + column;
    product[at + 0u * width] = r0a;
    product[at + 0u * width + 1u] = r0b;
    product[at + 1u * width] = r1a;
    product[at + 1u * width + 1u] = r1b;
    product[at + 2u * width] = r2a;
    product[at + 2u * width + 1u] = r2b;
    product[at + 3u * width] = r3a;
    product[at + 3u * width + 1u] = r3b;
    product[at + 4u * width] = r4a;
    product[at + 4u * width + 1u] = r4b;
    product[at + 5u * width] = r5a;
    product[at + 5u * width + 1u] = r5b;
    product[at + 6u * width] = r6a;
    product[at + 6u * width + 1u] = r6b;
    product[at + 7u * width] = r7a;
    product[at + 7u * width + 1u] = r7b;
}
