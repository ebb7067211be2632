// What kernels load or store by whole vec4s, in buffers: the other half of bindings.wgsl where GPUs train.

@group(0) @binding(2) var<storage, read> hyper_parameters: array<HyperParameters>;
@group(0) @binding(3) var<storage, read_write> parameters: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> moments: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> activations: array<vec4f>;

fn hyper_parameters_of(agent: u32) -> HyperParameters {
    return hyper_parameters[agent];
}

fn load_parameter(address: u32) -> vec4f {
    return parameters[address];
}

fn store_parameter(address: u32, value: vec4f) {
    parameters[address] = value;
}

fn load_moment(address: u32) -> vec4f {
    return moments[address];
}

fn store_moment(address: u32, value: vec4f) {
    moments[address] = value;
}

fn load_activation(address: u32) -> vec4f {
    return activations[address];
}

fn store_activation(address: u32, value: vec4f) {
    activations[address] = value;
}

// What was stored before is seen by the whole workgroup behind it.
fn memory_barrier() {
    storageBarrier();
    workgroupBarrier();
}
