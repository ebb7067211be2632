// What arithmetic can do, for GPUs: the product of left [size, size], transposed, and right [size, size]. A workgroup of 16
// by 16 owns 128 rows by 128 columns and passes over the reduction 8 at a time: both slabs [8, 128] go through workgroup
// memory (8 KiB), where each number is read by sixteen invocations. An invocation owns 8 rows by 2 vec4 columns; the
// halves of both lie 64 apart, so that neighbours read neighbouring vec4s and no bank is asked twice.

@group(0) @binding(0) var<storage, read> left: array<vec4f>;
@group(0) @binding(1) var<storage, read> right: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> product: array<vec4f>;

override SIZE: u32;

var<workgroup> sh_left: array<vec4f, 256>;
var<workgroup> sh_right: array<vec4f, 256>;

@compute @workgroup_size(256)
fn multiply(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    let width = SIZE / 4u;
    let x = lane % 16u;
    let y = lane / 16u;
    // the vec4 of a slab that this invocation fetches
    let fetch = (lane / 32u) * width + lane % 32u;
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
    for (var k = 0u; k < SIZE; k += 8u) {
        // everybody has done with the slabs before
        workgroupBarrier();
        sh_left[lane] = left[k * width + group.y * 32u + fetch];
        sh_right[lane] = right[k * width + group.x * 32u + fetch];
        workgroupBarrier();
        for (var i = 0u; i < 256u; i += 32u) {
            let p = sh_left[i + y];
            let q = sh_left[i + 16u + y];
            let u = sh_right[i + x];
            let v = sh_right[i + 16u + x];
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
    }
    let at = (group.y * 128u + 4u * y) * width + group.x * 32u + x;
    product[at + 0u * width] = r0a;
    product[at + 0u * width + 16u] = r0b;
    product[at + 1u * width] = r1a;
    product[at + 1u * width + 16u] = r1b;
    product[at + 2u * width] = r2a;
    product[at + 2u * width + 16u] = r2b;
    product[at + 3u * width] = r3a;
    product[at + 3u * width + 16u] = r3b;
    product[at + 64u * width] = r4a;
    product[at + 64u * width + 16u] = r4b;
    product[at + 65u * width] = r5a;
    product[at + 65u * width + 16u] = r5b;
    product[at + 66u * width] = r6a;
    product[at + 66u * width + 16u] = r6b;
    product[at + 67u * width] = r7a;
    product[at + 67u * width + 16u] = r7b;
}
