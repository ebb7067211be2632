// What kernels address by whole vec4s, in textures: the other half of bindings.wgsl on software drivers. A vec4 is a texel,
// row after row. Such a driver takes a buffer apart number by number, with a check and a branch each; a texel it loads
// whole (benches/RESULTS.md).

@group(0) @binding(3) var parameters: texture_storage_2d<rgba32float, read_write>;
@group(0) @binding(4) var moments: texture_storage_2d<rgba32float, read_write>;
@group(0) @binding(5) var activations: texture_storage_2d<rgba32float, read_write>;

// Texels a row, as a power of two: `ROW` of src/vectors.rs.
const TEXTURE_ROW: u32 = 12u;

fn texel(address: u32) -> vec2u {
    return vec2u(address & ((1u << TEXTURE_ROW) - 1u), address >> TEXTURE_ROW);
}

fn load_parameter(address: u32) -> vec4f {
    return textureLoad(parameters, texel(address));
}

fn store_parameter(address: u32, value: vec4f) {
    textureStore(parameters, texel(address), value);
}

fn load_moment(address: u32) -> vec4f {
    return textureLoad(moments, texel(address));
}

fn store_moment(address: u32, value: vec4f) {
    textureStore(moments, texel(address), value);
}

fn load_activation(address: u32) -> vec4f {
    return textureLoad(activations, texel(address));
}

fn store_activation(address: u32, value: vec4f) {
    textureStore(activations, texel(address), value);
}

// What was stored before is seen by the whole workgroup behind it.
fn memory_barrier() {
    storageBarrier();
    textureBarrier();
    workgroupBarrier();
}
