// The target networks' parameters: theta' <- blend theta + (1 - blend) theta' (Lillicrap et al. 2016, Algorithm 1).
// blend = 1 is a hard copy, 0 leaves the target alone. During training the blend happens where Adam has just stepped
// (adam.wgsl); the operation here sweeps a whole range at once: the copy before training, or one asked for by the host.

fn blend_target(online: vec4f, target_parameter: vec4f, blend: f32) -> vec4f {
    // exact at both ends, which mix() is not on every device
    if blend >= 1.0 {
        return online;
    }
    return fma(vec4f(blend), online - target_parameter, target_parameter);
}

// One invocation a vec4. `columns`: vec4s of the range, from `weights` in the online parameters; `extra`: the blend's bits.
fn soft_update(operation: Operation, agent: u32, unit: u32, lane: u32) {
    let index = unit * WORKGROUP_SIZE + lane;
    if index >= operation.columns {
        return;
    }
    let online = agent * sizes.parameters_stride + operation.weights + index;
    let blended = online + sizes.target_offset;
    store_parameter(blended, blend_target(load_parameter(online), load_parameter(blended), bitcast<f32>(operation.extra)));
}
