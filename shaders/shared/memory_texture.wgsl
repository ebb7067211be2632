// What kernels load or store by whole vec4s, in textures: the other half of bindings.wgsl on software drivers. A vec4 is a
// texel, row after row. Such a driver takes a buffer apart number by number, with a check and a branch each; a texel it
// loads whole (benches/RESULTS.md).

@group(0) @binding(2) var hyper_parameters: texture_storage_2d<rgba32uint, read>;
@group(0) @binding(3) var parameters: texture_storage_2d<rgba32float, read_write>;
@group(0) @binding(4) var moments: texture_storage_2d<rgba32float, read_write>;
@group(0) @binding(5) var activations: texture_storage_2d<rgba32float, read_write>;

// Texels a row, as a power of two: `ROW` of src/vectors.rs.
const TEXTURE_ROW: u32 = 12u;

fn texel(address: u32) -> vec2u {
    return vec2u(address & ((1u << TEXTURE_ROW) - 1u), address >> TEXTURE_ROW);
}

// The 24 words of an agent, in the order of their declaration.
fn hyper_parameters_of(agent: u32) -> HyperParameters {
    let t0 = textureLoad(hyper_parameters, texel(6u * agent));
    let t1 = textureLoad(hyper_parameters, texel(6u * agent + 1u));
    let t2 = textureLoad(hyper_parameters, texel(6u * agent + 2u));
    let t3 = textureLoad(hyper_parameters, texel(6u * agent + 3u));
    let t4 = textureLoad(hyper_parameters, texel(6u * agent + 4u));
    let t5 = textureLoad(hyper_parameters, texel(6u * agent + 5u));
    return HyperParameters(
        t0.x, t0.y, bitcast<f32>(t0.z), bitcast<f32>(t0.w),
        bitcast<f32>(t1.x), bitcast<f32>(t1.y), bitcast<f32>(t1.z), bitcast<f32>(t1.w),
        bitcast<f32>(t2.x), bitcast<f32>(t2.y), bitcast<f32>(t2.z), bitcast<f32>(t2.w),
        bitcast<f32>(t3.x), t3.y, t3.z, bitcast<f32>(t3.w),
        bitcast<f32>(t4.x), bitcast<f32>(t4.y), t4.z, bitcast<f32>(t4.w),
        bitcast<f32>(t5.x), t5.y, bitcast<f32>(t5.z), bitcast<f32>(t5.w),
    );
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
