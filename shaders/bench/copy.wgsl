// What the memory can do: copies [length] vec4s. Each invocation copies four, neighbours side by side, so that loads and
// stores of a subgroup are whole cache lines.

@group(0) @binding(0) var<storage, read> source: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> destination: array<vec4f>;

@compute @workgroup_size(64)
fn copy(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
    let first = (group.y * groups.x + group.x) * 256u + lane;
    let length = arrayLength(&source);
    if first + 192u < length {
        let a = source[first];
        let b = source[first + 64u];
        let c = source[first + 128u];
        let d = source[first + 192u];
        destination[first] = a;
        destination[first + 64u] = b;
        destination[first + 128u] = c;
        destination[first + 192u] = d;
    }
}
