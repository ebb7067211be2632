//! Every pipeline of every built-in environment, translated for each backend, held against WebGPU's default limits, and
//! compiled by a browser.

mod barriers;
mod browser;
mod dx12;
mod pipelines;

use crate::kernels::{Kernel, Tile};
use crate::vectors::Medium;
use naga::back::{glsl, hlsl, msl, spv};
use naga::{AddressSpace, Module};
use pipelines::{
    INVOCATIONS, Pipeline, STAGE, WORKGROUP_MEMORY, environments, of_bench, of_drawing, of_programs, of_simulation,
    of_specialised_programs, of_transfer,
};

/// WebGPU's defaults: storage buffers a stage, bind groups.
const STORAGE_BUFFERS: usize = 8;
const BIND_GROUPS: u32 = 4;

fn every_program() -> impl Iterator<Item = Pipeline> {
    let of_tiles = Tile::ALL.into_iter().flat_map(|tile| environments().flat_map(move |environment| of_programs(&environment, tile)));
    of_tiles.chain(environments().flat_map(|environment| of_specialised_programs(&environment)))
}

#[test]
fn every_pipeline_translates_to_spirv_msl_hlsl_and_glsl() {
    let mut seen = 0;
    for pipeline in every_program() {
        translates(&pipeline);
        seen += 1;
    }
    assert!(seen >= Tile::ALL.len() * environments().count() * Kernel::ALL.len(), "{seen}");
}

fn what_is_no_program() -> impl Iterator<Item = Pipeline> {
    let drawings = environments().filter_map(|environment| of_drawing(&environment));
    let simulations = environments().flat_map(|environment| of_simulation(&environment));
    let transfers = [Medium::Buffer, Medium::Texture].into_iter().flat_map(of_transfer);
    drawings.chain(simulations).chain(transfers).chain(of_bench())
}

#[test]
fn what_is_no_program_translates_too() {
    assert!(environments().filter_map(|environment| of_drawing(&environment)).count() >= 2);
    what_is_no_program().for_each(|pipeline| translates(&pipeline));
}

fn translates(pipeline: &Pipeline) {
    let Pipeline { what, entry, tile, .. } = pipeline;
    let (entry, tile) = (*entry, *tile);
    let (module, info) = &pipeline.resolved();
    let options = spv::PipelineOptions { shader_stage: STAGE, entry_point: entry.into() };
    // the version that wgpu asks for where subgroups are used
    let target = spv::Options { lang_version: if tile == Tile::Subgroup { (1, 3) } else { (1, 0) }, ..Default::default() };
    let words = spv::write_vec(module, info, &target, Some(&options)).unwrap_or_else(|error| panic!("{what}: SPIR-V: {error}"));
    assert!(words.len() > 100, "{what}: SPIR-V of {} words", words.len());

    let target = msl::Options { lang_version: if tile == Tile::Subgroup { (2, 1) } else { (2, 0) }, ..Default::default() };
    let text = msl::write_string(module, info, &target, &msl::PipelineOptions::default());
    let (text, _) = text.unwrap_or_else(|error| panic!("{what}: MSL: {error}"));
    assert!(text.contains("kernel void"), "{what}: MSL without a kernel");

    let model = if tile == Tile::Subgroup { hlsl::ShaderModel::V6_0 } else { hlsl::ShaderModel::V5_1 };
    let target = hlsl::Options { shader_model: model, ..Default::default() };
    let mut text = String::new();
    let options = hlsl::PipelineOptions::default();
    let written = hlsl::Writer::new(&mut text, &target, &options).write(module, info, None);
    written.unwrap_or_else(|error| panic!("{what}: HLSL: {error}"));
    assert!(text.contains("numthreads"), "{what}: HLSL without a kernel");

    let embedded = tile.medium() == Medium::Buffer;
    for version in [glsl::Version::new_gles(310), glsl::Version::Desktop(430)] {
        if matches!(version, glsl::Version::Embedded { .. }) && !embedded {
            continue;
        }
        let target = glsl::Options { version, ..Default::default() };
        let options = glsl::PipelineOptions { shader_stage: STAGE, entry_point: entry.into(), multiview: None };
        let mut text = String::new();
        let writer = glsl::Writer::new(&mut text, module, info, &target, &options, Default::default());
        let written = writer.and_then(|mut writer| writer.write());
        written.unwrap_or_else(|error| panic!("{what}: GLSL {version}: {error}"));
        assert!(text.contains("void main()"), "{what}: GLSL without a kernel");
    }
}

/// Storage buffers of a pipeline's layout, whether the pipeline uses them or not.
fn storage_buffers(module: &Module, is_in_layout: impl Fn(u32) -> bool) -> usize {
    let bound = module.global_variables.iter().filter(|(_, variable)| variable.binding.is_some_and(|at| is_in_layout(at.group)));
    bound.filter(|(_, variable)| matches!(variable.space, AddressSpace::Storage { .. })).count()
}

#[test]
fn every_pipeline_keeps_within_webgpus_default_limits() {
    for pipeline in every_program() {
        let Pipeline { what, entry, .. } = &pipeline;
        let (module, info) = pipeline.resolved();
        let (index, point) = module.entry_points.iter().enumerate().find(|(_, point)| point.name == *entry).expect("it is there");
        let uses = info.get_entry_point(index);
        let mut layouter = naga::proc::Layouter::default();
        layouter.update(module.to_ctx()).unwrap_or_else(|error| panic!("{what}: {error}"));
        let mut memory = 0;
        for (handle, variable) in module.global_variables.iter() {
            if let Some(binding) = variable.binding {
                assert!(binding.group < BIND_GROUPS, "{what}: {:?} in group {}", variable.name, binding.group);
            }
            if variable.space == AddressSpace::WorkGroup && !uses[handle].is_empty() {
                memory += layouter[variable.ty].size.next_multiple_of(16);
            }
        }
        let storage = storage_buffers(&module, |_| true);
        assert!(storage <= STORAGE_BUFFERS, "{what}: {storage} storage buffers");
        assert!(memory <= WORKGROUP_MEMORY, "{what}: {memory} bytes of workgroup memory");
        let invocations = point.workgroup_size.iter().product::<u32>();
        assert!((1..=INVOCATIONS).contains(&invocations), "{what}: {invocations} invocations");
    }
}

#[test]
fn simulations_bind_no_more_storage_buffers_than_webgpu_promises() {
    for pipeline in environments().flat_map(|environment| of_simulation(&environment)) {
        // groups 0 and 1, of the shared declarations, are not in its layout
        let storage = storage_buffers(&pipeline.resolved().0, |group| group == 2);
        assert!((1..=STORAGE_BUFFERS).contains(&storage), "{}: {storage} storage buffers", pipeline.what);
    }
}
