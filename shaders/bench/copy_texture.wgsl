// What the memory can do where vec4s are in textures: copies one texture to another of the same size, a multiple of 32
// texels wide. Each invocation copies four texels.

@group(0) @binding(0) var source: texture_storage_2d<rgba32float, read>;
@group(0) @binding(1) var destination: texture_storage_2d<rgba32float, write>;

@compute @workgroup_size(8)
fn copy(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    for (var i = 0u; i < 4u; i++) {
        let at = vec2u(group.x * 32u + i * 8u + lane, group.y);
        textureStore(destination, at, textureLoad(source, at));
    }
}
