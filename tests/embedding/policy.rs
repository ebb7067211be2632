//! Policies on the caller's buffers and as WGSL.

use super::{assert_close, buffer, cases, gpu, noise, read, reference, trained};
use ddpg_wgpu::checkpoint::Contents;
use ddpg_wgpu::wgpu::{self, BufferUsages};
use ddpg_wgpu::*;

/// Strides, offsets and counts that divide nothing; what lies between the rows stays.
#[test]
fn a_policy_reads_and_writes_the_callers_buffers() {
    let gpu = gpu();
    for case in cases() {
        let trainer = trained(&gpu, &case);
        let snapshots = trainer.snapshot_blocking(Contents::Parameters).expect("snapshots");
        let (inputs, outputs) = (case.observation_size as usize, case.low.len());
        let loaded = Policy::from_snapshot(&gpu.device, &gpu.queue, &snapshots[1]).expect("a policy");
        let live = |agent| trainer.population().policy(agent).expect("an agent");
        for (agent, count, kind, policy) in [(0, 1, "live", live(0)), (1, 67, "live", live(1)), (1, 67, "loaded", loaded)] {
            let snapshot = &snapshots[agent as usize];
            let (offset, stride) = (3, inputs + outputs + 2);
            let world = noise(offset + count * stride, 5);
            let observation = |row: usize| &world[offset + row * stride..][..inputs];
            let expected: Vec<_> = (0..count).flat_map(|row| reference(snapshot, 1e-5, observation(row))).collect();
            let what = format!("{}, {kind}, agent {agent}, {count} rows", case.name);
            // observations and actions in one buffer
            let buffer = buffer(&gpu, &world);
            let rows = |offset: usize| Rows { buffer: &buffer, offset: offset as u32, stride: stride as u32 };
            let inference = policy.bind(rows(offset), rows(offset + inputs), count as u32).expect("they fit");
            let mut encoder = gpu.device.create_command_encoder(&Default::default());
            inference.record(&mut encoder);
            gpu.queue.submit([encoder.finish()]);
            gpu.check().expect("no error");
            let after = read(&gpu, &buffer);
            let found: Vec<_> = (0..count).flat_map(|row| after[offset + row * stride + inputs..][..outputs].to_vec()).collect();
            assert_close(&what, &found, &expected, 1e-5);
            for (i, (before, after)) in world.iter().zip(&after).enumerate() {
                let is_action = i >= offset && ((i - offset) % stride) >= inputs && (i - offset) % stride < inputs + outputs;
                assert!(is_action || before == after, "{what}: float {i} was overwritten");
            }
        }
    }
}

#[test]
fn many_rows_go_in_rounds() {
    let gpu = gpu();
    let case = &cases()[4];
    let trainer = trained(&gpu, case);
    let snapshot = &trainer.snapshot_blocking(Contents::Parameters).expect("snapshots")[0];
    let count = 20_001;
    let observations = noise(3 * count, 8);
    let (from, to) = (buffer(&gpu, &observations), buffer(&gpu, &vec![0.0; count]));
    let policy = trainer.population().policy(0).expect("an agent");
    let rows = |buffer, stride| Rows { buffer, offset: 0, stride };
    let inference = policy.bind(rows(&from, 3), rows(&to, 1), count as u32).expect("they fit");
    let mut encoder = gpu.device.create_command_encoder(&Default::default());
    inference.record_into(&mut encoder.begin_compute_pass(&Default::default()));
    gpu.queue.submit([encoder.finish()]);
    let found = read(&gpu, &to);
    for row in [0, 1, 9_999, 10_000, 12_345, 19_999, 20_000] {
        assert_close("rounds", &found[row..=row], &reference(snapshot, 1e-5, &observations[3 * row..][..3]), 1e-5);
    }
    gpu.check().expect("no error");
}

#[test]
fn exported_wgsl_gives_the_same_actions() {
    let gpu = gpu();
    for case in cases() {
        let trainer = trained(&gpu, &case);
        let snapshots = trainer.snapshot_blocking(Contents::Parameters).expect("snapshots");
        let mut storages = vec![WeightStorage::Buffer { group: 0, binding: 2 }];
        let constants = snapshots[1].policy_wgsl(WeightStorage::Constants);
        match case.name {
            "paper" => assert!(constants.expect_err("too large").to_string().contains("8192"), "both numbers"),
            _ => storages.push(WeightStorage::Constants),
        }
        for storage in storages {
            let what = format!("{}, {storage:?}", case.name);
            let exported = snapshots[1].policy_wgsl(storage).expect("it exports");
            // the same from the device, without waiting
            let mut encoder = gpu.device.create_command_encoder(&Default::default());
            let pending = trainer.population().record_policy_wgsl(&mut encoder, 1, storage).expect("an agent");
            gpu.queue.submit([encoder.finish()]);
            assert_eq!(pending.wait_blocking(&gpu.device).expect("it arrives"), exported, "{what}");

            let count = 67;
            let observations = noise(case.observation_size as usize * count, 6);
            let expected: Vec<_> =
                observations.chunks(case.observation_size as usize).flat_map(|row| reference(&snapshots[1], 1e-5, row)).collect();
            let found = run_exported(&gpu, &exported, storage, case.observation_size as usize, case.low.len(), &observations);
            assert_close(&what, &found, &expected, 1e-5);
            gpu.check().expect("no error");
        }
    }
}

/// The exported policy in a shader of a stranger's.
fn run_exported(gpu: &Gpu, exported: &PolicyWgsl, storage: WeightStorage, inputs: usize, outputs: usize, observations: &[f32]) -> Vec<f32> {
    let source = format!(
        "{}
        @group(0) @binding(0) var<storage, read> observations: array<f32>;
        @group(0) @binding(1) var<storage, read_write> actions: array<f32>;
        @compute @workgroup_size(32) fn main(@builtin(global_invocation_id) id: vec3u) {{
            if id.x >= arrayLength(&actions) / {outputs}u {{ return; }}
            var observation: array<f32, {inputs}>;
            for (var i = 0u; i < {inputs}u; i++) {{ observation[i] = observations[id.x * {inputs}u + i]; }}
            let action = policy(observation);
            for (var i = 0u; i < {outputs}u; i++) {{ actions[id.x * {outputs}u + i] = action[i]; }}
        }}",
        exported.source
    );
    let module =
        gpu.device.create_shader_module(wgpu::ShaderModuleDescriptor { label: None, source: wgpu::ShaderSource::Wgsl(source.into()) });
    let pipeline = gpu.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: None,
        layout: None,
        module: &module,
        entry_point: None,
        compilation_options: Default::default(),
        cache: None,
    });
    let rows = observations.len() / inputs;
    let (from, to, weights) = (buffer(gpu, observations), buffer(gpu, &vec![0.0; rows * outputs]), buffer(gpu, &exported.weights));
    let mut entries = vec![
        wgpu::BindGroupEntry { binding: 0, resource: from.as_entire_binding() },
        wgpu::BindGroupEntry { binding: 1, resource: to.as_entire_binding() },
    ];
    if storage != WeightStorage::Constants {
        entries.push(wgpu::BindGroupEntry { binding: 2, resource: weights.as_entire_binding() });
    }
    let layout = pipeline.get_bind_group_layout(0);
    let bind_group = gpu.device.create_bind_group(&wgpu::BindGroupDescriptor { label: None, layout: &layout, entries: &entries });
    let mut encoder = gpu.device.create_command_encoder(&Default::default());
    {
        let mut pass = encoder.begin_compute_pass(&Default::default());
        pass.set_pipeline(&pipeline);
        pass.set_bind_group(0, &bind_group, &[]);
        pass.dispatch_workgroups(rows.div_ceil(32) as u32, 1, 1);
    }
    gpu.queue.submit([encoder.finish()]);
    read(gpu, &to)
}

#[test]
fn wrong_rows_are_refused_with_both_numbers() {
    let gpu = gpu();
    let trainer = trained(&gpu, &cases()[0]);
    let policy = trainer.population().policy(0).expect("an agent");
    let small = buffer(&gpu, &[0.0; 10]);
    let rows = |offset, stride| Rows { buffer: &small, offset, stride };
    let message = policy.bind(rows(2, 3), rows(0, 1), 3).expect_err("too small").to_string();
    assert!(message.contains("need 11 floats") && message.contains("holds 10"), "{message}");
    let message = policy.bind(rows(0, 3), rows(0, 0), 3).expect_err("overwrites").to_string();
    assert!(message.contains("overwrite"), "{message}");
    assert!(policy.bind(rows(0, 3), rows(0, 1), 0).is_err());
    assert!(trainer.population().policy(2).expect_err("two agents").to_string().contains("no agent 2 in a population of 2"));
    let usage = BufferUsages::COPY_DST;
    let other = gpu.device.create_buffer(&wgpu::BufferDescriptor { label: None, size: 40, usage, mapped_at_creation: false });
    let message = policy.bind(Rows { buffer: &other, offset: 0, stride: 3 }, rows(0, 1), 3).expect_err("no STORAGE").to_string();
    assert!(message.contains("STORAGE"), "{message}");
    gpu.check().expect("nothing reached the device");
}
