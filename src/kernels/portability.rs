//! Every pipeline of every built-in environment, translated for each backend and held against WebGPU's default limits.

use super::{Grid, Kernel, Kinds, Tile};
use crate::environment::Environment;
use crate::shader::{self, capabilities};
use crate::vectors::Medium;
use naga::back::{PipelineConstants, glsl, hlsl, msl, pipeline_constants::process_overrides, spv};
use naga::valid::{ModuleInfo, ValidationFlags, Validator};
use naga::{AddressSpace, Module, ShaderStage};
use std::collections::HashSet;

/// Of the layered plan, of the same where a dispatch mixes kinds, also with bands, of the fused plan, and of bands in place.
const ENTRY_POINTS: [&str; 5] = ["layered", "layered_or_chained", "layered_or_banded", "iterate_fused", "layered_in_bands"];

const STAGE: ShaderStage = ShaderStage::Compute;

/// WebGPU's defaults: storage buffers a stage, bind groups, bytes of workgroup memory, invocations a workgroup.
const STORAGE_BUFFERS: usize = 8;
const BIND_GROUPS: u32 = 4;
const WORKGROUP_MEMORY: u32 = 16 << 10;
const INVOCATIONS: u32 = 256;

/// Hands every pipeline's module, its overrides resolved, to `check`.
fn for_each_pipeline(tile: Tile, check: impl Fn(&str, &str, &Module, &ModuleInfo)) {
    let mut seen = 0;
    for name in Environment::names() {
        let environment = Environment::by_name(&name).unwrap_or_else(|error| panic!("{error}"));
        let source = shader::assemble(&environment, tile).unwrap_or_else(|error| panic!("{error}")).source;
        // a layered pipeline has one kind, its family, or those that share a level; the fused plan's has what its programs need
        let every: Kinds = Kernel::ALL.iter().copied().collect();
        let single = Kernel::ALL.iter().map(|&kernel| Kinds::of(kernel));
        let layered: HashSet<Kinds> = single.flat_map(|kinds| [kinds, kinds.with_families()]).chain([every]).collect();
        let layered = layered.into_iter().map(|kinds| (ENTRY_POINTS[usize::from(tile.mixes_kinds())], kinds, tile.workgroup_size()));
        // what shares a dispatch with bands: all kinds but those in which rows meet, and those of a rollout
        let beside_bands = |kernel: &Kernel| !Kernel::BATCH_NORM.contains(kernel) && !Kinds::of(*kernel).run_the_environment();
        let banded: Kinds = Kernel::ALL.iter().copied().filter(beside_bands).collect();
        let banded = tile.mixes_kinds().then_some((ENTRY_POINTS[2], banded, tile.workgroup_size()));
        let families: HashSet<Kinds> =
            Kernel::ALL.iter().filter(|kernel| kernel.treats_rows_alike()).map(|&k| Kinds::of(k).with_families()).collect();
        let in_place = families.into_iter().filter(|_| tile.team() > 1).map(|kinds| (ENTRY_POINTS[4], kinds, tile.workgroup_size()));
        for (entry, kinds, workgroup_size) in layered.chain(banded).chain(in_place).chain([(ENTRY_POINTS[3], every, INVOCATIONS)]) {
            let mut constants = PipelineConstants::default();
            constants.insert("KINDS".into(), f64::from(kinds.bits()));
            constants.insert("WORKGROUP_SIZE".into(), f64::from(workgroup_size));
            constants.insert("TEAM".into(), f64::from(tile.team()));
            if tile.mixes_kinds() {
                constants.insert("BAND_MEMORY".into(), f64::from(Grid::of(tile, 1).with_bands(WORKGROUP_MEMORY).band_memory));
            }
            let what = format!("{name}, {tile:?}, {entry}, {}", kinds.names());
            let source = shader::of_kinds(&source, kinds);
            let module = naga::front::wgsl::parse_str(&source).unwrap_or_else(|error| panic!("{what}: {}", error.emit_to_string(&source)));
            let info = Validator::new(ValidationFlags::all(), capabilities(tile)).validate(&module);
            let info = info.unwrap_or_else(|error| panic!("{what}: {error}"));
            assert!(module.entry_points.iter().all(|point| ENTRY_POINTS.contains(&point.name.as_str())), "{what}: another entry point");
            let resolved = process_overrides(&module, &info, Some((STAGE, entry)), &constants);
            let (module, info) = resolved.unwrap_or_else(|error| panic!("{what}: {error}"));
            check(&what, entry, &module, &info);
            seen += 1;
        }
    }
    assert!(seen >= Environment::names().len() * Kernel::ALL.len());
}

#[test]
fn every_pipeline_translates_to_spirv_msl_hlsl_and_glsl() {
    for tile in Tile::ALL {
        for_each_pipeline(tile, |what, entry, module, info| translates(tile, what, entry, module, info));
    }
}

#[test]
fn every_drawing_translates_too() {
    let mut seen = 0;
    for name in Environment::names() {
        let environment = Environment::by_name(&name).unwrap_or_else(|error| panic!("{error}"));
        let Some(source) = crate::render::source(&environment) else { continue };
        let module = naga::front::wgsl::parse_str(&source).unwrap_or_else(|error| panic!("{}", error.emit_to_string(&source)));
        let info = Validator::new(ValidationFlags::all(), capabilities(Tile::Portable)).validate(&module).expect("it is valid");
        translates(Tile::Portable, &format!("the drawing of {name}"), "frame", &module, &info);
        seen += 1;
    }
    assert!(seen >= 2);
}

#[test]
fn every_simulation_translates_too() {
    for name in Environment::names() {
        let environment = Environment::by_name(&name).unwrap_or_else(|error| panic!("{error}"));
        let source = shader::assemble_simulation(&environment).unwrap_or_else(|error| panic!("{error}"));
        let module = naga::front::wgsl::parse_str(&source).unwrap_or_else(|error| panic!("{}", error.emit_to_string(&source)));
        let info = Validator::new(ValidationFlags::all(), capabilities(Tile::Portable)).validate(&module).expect("it is valid");
        for (entry, random) in [("simulation_restart", false), ("simulate", false), ("simulate", true)] {
            let constants = [("RANDOM_ACTIONS".to_owned(), f64::from(u8::from(random)))].into_iter().collect();
            let resolved = process_overrides(&module, &info, Some((STAGE, entry)), &constants);
            let (module, info) = resolved.unwrap_or_else(|error| panic!("{name}, {entry}: {error}"));
            translates(Tile::Portable, &format!("{entry} of {name}, random {random}"), entry, &module, &info);
            let bound = module.global_variables.iter().filter(|(_, v)| v.binding.is_some_and(|binding| binding.group == 2));
            let storage = bound.filter(|(_, v)| matches!(v.space, AddressSpace::Storage { .. })).count();
            assert!(storage <= STORAGE_BUFFERS, "{entry} of {name}: {storage} storage buffers");
        }
    }
}

#[test]
fn what_the_bench_runs_translates_too() {
    let shaders = [
        (Tile::Portable, "copy", include_str!("../../shaders/bench/copy.wgsl")),
        (Tile::Portable, "multiply", include_str!("../../shaders/bench/product_workgroup.wgsl")),
        (Tile::Portable, "multiply", include_str!("../../shaders/bench/product_registers.wgsl")),
        (Tile::Texture, "copy", include_str!("../../shaders/bench/copy_texture.wgsl")),
        (
            Tile::Texture,
            "multiply",
            concat!(include_str!("../../shaders/bench/product_shared.wgsl"), include_str!("../../shaders/bench/product_texture.wgsl")),
        ),
        (
            Tile::Subgroup,
            "multiply",
            concat!(include_str!("../../shaders/bench/product_shared.wgsl"), include_str!("../../shaders/bench/product_subgroup.wgsl")),
        ),
    ];
    for (tile, entry, source) in shaders {
        let module = naga::front::wgsl::parse_str(source).unwrap_or_else(|error| panic!("{}", error.emit_to_string(source)));
        let info = Validator::new(ValidationFlags::all(), capabilities(tile)).validate(&module).expect("it is valid");
        let constants = module.overrides.iter().map(|_| ("SIZE".to_owned(), 512.0)).collect();
        let resolved = process_overrides(&module, &info, Some((STAGE, entry)), &constants);
        let (module, info) = resolved.unwrap_or_else(|error| panic!("{source}: {error}"));
        translates(tile, source.lines().next().unwrap_or_default(), entry, &module, &info);
    }
}

fn translates(tile: Tile, what: &str, entry: &str, module: &Module, info: &ModuleInfo) {
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

#[test]
fn every_pipeline_keeps_within_webgpus_default_limits() {
    for tile in Tile::ALL {
        for_each_pipeline(tile, |what, entry, module, info| {
            let (index, point) = module.entry_points.iter().enumerate().find(|(_, point)| point.name == entry).expect("it is there");
            let uses = info.get_entry_point(index);
            let mut layouter = naga::proc::Layouter::default();
            layouter.update(module.to_ctx()).unwrap_or_else(|error| panic!("{what}: {error}"));
            let (mut memory, mut storage) = (0, 0);
            for (handle, variable) in module.global_variables.iter() {
                if let Some(binding) = variable.binding {
                    assert!(binding.group < BIND_GROUPS, "{what}: {:?} in group {}", variable.name, binding.group);
                    // the layout counts, whether this pipeline uses the buffer or not
                    storage += usize::from(matches!(variable.space, AddressSpace::Storage { .. }));
                }
                if variable.space == AddressSpace::WorkGroup && !uses[handle].is_empty() {
                    memory += layouter[variable.ty].size.next_multiple_of(16);
                }
            }
            assert!(storage <= STORAGE_BUFFERS, "{what}: {storage} storage buffers");
            assert!(memory <= WORKGROUP_MEMORY, "{what}: {memory} bytes of workgroup memory");
            let invocations = point.workgroup_size.iter().product::<u32>();
            assert!((1..=INVOCATIONS).contains(&invocations), "{what}: {invocations} invocations");
        });
    }
}
