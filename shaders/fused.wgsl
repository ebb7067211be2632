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
            memory_barrier();
        }
    }
}

// A pass is a rollout or an update. `run` stands here once: drivers inline it, with every kernel of the pipeline in it.
@compute @workgroup_size(WORKGROUP_SIZE)
fn iterate_fused(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) lane: u32) {
    let simulates = min(dispatch.simulates, 1u);
    for (var iteration = 0u; iteration < dispatch.iterations; iteration++) {
        for (var pass_index = 0u; pass_index < simulates + dispatch.updates; pass_index++) {
            let learns = pass_index >= simulates;
            let first = select(dispatch.first, dispatch.learn_first, learns);
            let count = select(dispatch.operations, dispatch.learn_operations, learns);
            run(first, count, workgroup.z, lane);
        }
    }
}
