// The fused plan: one workgroup is one agent and runs whole iterations, rollout and updates, in one dispatch. It executes
// the operations of the layered plan in the order of its schedule; where that plan begins another dispatch, a barrier
// makes what was written visible to the workgroup, which nothing else reads.

// The operations `first` ... of one program, by all invocations of the workgroup.
fn run(first: u32, count: u32, agent: u32, lane: u32) {
    for (var index = first; index < first + count; index++) {
        let operation = operations[index];
        for (var unit = 0u; unit < operation.units; unit++) {
            execute(operation, agent, unit, lane);
        }
        if operation.ends_level != 0u {
            storageBarrier();
            workgroupBarrier();
        }
    }
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn iterate_fused(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) lane: u32) {
    for (var iteration = 0u; iteration < dispatch.iterations; iteration++) {
        if dispatch.simulates != 0u {
            run(dispatch.first, dispatch.operations, workgroup.z, lane);
        }
        for (var update = 0u; update < dispatch.updates; update++) {
            run(dispatch.learn_first, dispatch.learn_operations, workgroup.z, lane);
        }
    }
}
