//! The WGSL's structs, constants and bindings against their twins in Rust.

use super::{Kernel, Tile};
use crate::dispatch_table::DispatchEntry;
use crate::environment::Environment;
use crate::hyper_parameters::RawHyperParameters;
use crate::memory::{AgentState, EPISODE_LOG, Sizes};
use crate::network::Role;
use crate::operation::{MOST_OPERATIONS, NOWHERE, Operation, flag};
use crate::pipelines::{memory_binding_types, option};
use crate::shader;
use crate::simulation;
use crate::vectors::{Content, Medium};
use naga::{AddressSpace, Expression, ImageClass, ImageDimension, Literal, Module, StorageAccess, StorageFormat, TypeInner};
use std::mem::offset_of;

fn module(tile: Tile) -> Module {
    let source = shader::assemble(&Environment::pendulum_v1(), tile).unwrap_or_else(|error| panic!("{error}")).source;
    naga::front::wgsl::parse_str(&source).unwrap_or_else(|error| panic!("{}", error.emit_to_string(&source)))
}

/// Name, offset and size of each member, and the size of the whole.
type Members = (Vec<(String, u32, u32)>, u32);

fn wgsl_struct(module: &Module, name: &str) -> Members {
    let mut layouter = naga::proc::Layouter::default();
    layouter.update(module.to_ctx()).expect("the module is valid");
    let (_, found) = module.types.iter().find(|(_, ty)| ty.name.as_deref() == Some(name)).expect("the struct is there");
    let TypeInner::Struct { members, span } = &found.inner else { panic!("{name} is no struct") };
    let member = |m: &naga::StructMember| (m.name.clone().unwrap_or_default(), m.offset, layouter[m.ty].size);
    (members.iter().map(member).collect(), *span)
}

fn size_of_field<T, F>(_: impl Fn(&T) -> &F) -> u32 {
    size_of::<F>() as u32
}

macro_rules! rust_struct {
    ($ty:ty: $($member:ident),+ $(,)?) => {
        (
            vec![$((stringify!($member).to_owned(), offset_of!($ty, $member) as u32, size_of_field(|s: &$ty| &s.$member))),+],
            size_of::<$ty>() as u32,
        )
    };
}

#[test]
fn structs_have_the_same_members_at_the_same_offsets() {
    for tile in Tile::ALL {
        let module = module(tile);
        let operation: Members = rust_struct!(Operation: kind, network, units, strip, split, flags, rows, inner, columns, input, input_stride,
            weights, weights_stride, bias, output, output_stride, forward, forward_stride, normalised, normalised_stride, norm,
            statistics, extra, extra_stride, ends_level, chain, rest, band, local_input,
            local_forward, local_output, level);
        assert_eq!(wgsl_struct(&module, "Operation"), operation);
        let sizes: Members = rust_struct!(Sizes: agents, environments, parameters_stride, target_offset, moments_stride,
            second_moment_offset, gradient_offset, activations_stride, replay_stride, transition_stride, replay_capacity,
            environment_stride, batch_size, observation_size, action_size, time_limit, random_steps, normalisation_epsilon,
            normalisation_decay);
        assert_eq!(wgsl_struct(&module, "Sizes"), sizes);
        let hyper_parameters: Members = rust_struct!(RawHyperParameters: seed_low, seed_high, gamma, tau, actor_learning_rate,
            critic_learning_rate, actor_weight_decay, critic_weight_decay, adam_beta1, adam_beta2, adam_one_minus_beta1,
            adam_one_minus_beta2, adam_epsilon, hard_update_every, noise_kind, noise_sigma, ou_theta, ou_dt, noise_is_relative,
            compatible_learning_rate, ou_start, noise_schedule, noise_final, noise_span);
        assert_eq!(wgsl_struct(&module, "HyperParameters"), hyper_parameters);
        let state: Members = rust_struct!(AgentState: steps, updates, replay_head, replay_length, reported, bias_correction1,
            bias_correction2, blend, halted, halted_at, episodes, episode_began, measured_updates, critic_loss, actor_loss, value,
            value_maximum, absolute_td_error, saturated, episode_maximum_value, log, log_steps, log_updates);
        assert_eq!(wgsl_struct(&module, "AgentState"), state);
        let dispatch: Members =
            rust_struct!(DispatchEntry: first, operations, learn_first, learn_operations, iterations, simulates, updates, reserved);
        assert_eq!(wgsl_struct(&module, "Dispatch"), dispatch);
    }
}

#[test]
fn a_simulations_structs_are_those_of_its_shader() {
    let source = shader::assemble_simulation(&Environment::pendulum_v1()).unwrap_or_else(|error| panic!("{error}"));
    let module = naga::front::wgsl::parse_str(&source).unwrap_or_else(|error| panic!("{}", error.emit_to_string(&source)));
    let uniform: Members = rust_struct!(simulation::Uniform: seed_low, seed_high, environments, time_limit);
    assert_eq!(wgsl_struct(&module, "Simulation"), uniform);
    let counters: Members = rust_struct!(simulation::Counters: steps, length, episode_return, episodes);
    assert_eq!(wgsl_struct(&module, "SimulationCounters"), counters);
}

#[test]
fn bindings_have_the_layouts_order_and_types() {
    for tile in Tile::ALL {
        let module = module(tile);
        let types = memory_binding_types(tile.medium());
        let buffer = |ty| wgpu::BindingType::Buffer { ty, has_dynamic_offset: false, min_binding_size: None };
        let names =
            ["sizes", "operations", "hyper_parameters", "parameters", "moments", "activations", "replay", "environments", "agent_states"];
        let mut bound = 0;
        for (_, variable) in module.global_variables.iter() {
            let Some(binding) = variable.binding else { continue };
            let name = variable.name.as_deref().unwrap_or_default();
            let ty = match (variable.space, &module.types[variable.ty].inner) {
                (AddressSpace::Uniform, _) => buffer(wgpu::BufferBindingType::Uniform),
                (AddressSpace::Storage { access }, _) => {
                    buffer(wgpu::BufferBindingType::Storage { read_only: !access.contains(StorageAccess::STORE) })
                }
                (
                    AddressSpace::Handle,
                    &TypeInner::Image { dim: ImageDimension::D2, arrayed: false, class: ImageClass::Storage { format, access } },
                ) => {
                    let content = match (format, access.contains(StorageAccess::STORE)) {
                        (StorageFormat::Rgba32Float, true) => Content::Floats,
                        (StorageFormat::Rgba32Uint, false) => Content::Words,
                        other => panic!("{name} is a texture of {other:?}"),
                    };
                    assert!(access.contains(StorageAccess::LOAD), "{name}");
                    Medium::Texture.binding_type(content)
                }
                (other, _) => panic!("{name} is bound in {other:?}"),
            };
            match binding.group {
                0 => {
                    assert_eq!(name, names[binding.binding as usize]);
                    assert_eq!(ty, types[binding.binding as usize], "{name}, {tile:?}");
                }
                1 => assert_eq!((name, binding.binding, ty), ("dispatch", 0, buffer(wgpu::BufferBindingType::Uniform))),
                group => panic!("{name} is in group {group}"),
            }
            bound += 1;
        }
        assert_eq!((bound, types.len()), (10, 9), "{tile:?}");
    }
}

fn constant(module: &Module, name: &str) -> u32 {
    let (_, found) = module.constants.iter().find(|(_, c)| c.name.as_deref() == Some(name)).unwrap_or_else(|| panic!("no constant {name}"));
    match module.global_expressions[found.init] {
        Expression::Literal(Literal::U32(value)) => value,
        ref other => panic!("{name} is {other:?}"),
    }
}

#[test]
fn constants_have_the_same_values() {
    for tile in Tile::ALL {
        let module = module(tile);
        for &kernel in Kernel::ALL {
            assert_eq!(constant(&module, kernel.name()), kernel as u32, "{kernel:?}");
            assert_eq!(Kernel::from_kind(kernel as u32), kernel);
        }
        let (rows, columns, team) = tile.shape();
        let expected = [
            ("MINIBATCH_ROWS", flag::MINIBATCH_ROWS),
            ("UPDATE_RUNNING", flag::UPDATE_RUNNING),
            ("CANCELLED_BIAS", flag::CANCELLED_BIAS),
            ("TRAIN_NORM", flag::TRAIN_NORM),
            ("EVALUATION", flag::EVALUATION),
            ("RUNNING_STATISTICS", flag::RUNNING_STATISTICS),
            ("WITH_VERDICT", flag::WITH_VERDICT),
            ("MEETS", flag::MEETS),
            ("RECORD_GRADIENTS", option::RECORD_GRADIENTS),
            ("STORE_UNCLIPPED_ACTIONS", option::STORE_UNCLIPPED_ACTIONS),
            ("TRUNCATION_IS_TERMINAL", option::TRUNCATION_IS_TERMINAL),
            ("RESET_NOISE", option::RESET_NOISE),
            ("GRADIENT_DESCENT", option::GRADIENT_DESCENT),
            ("NO_TARGETS", option::NO_TARGETS),
            ("RELATIVE_ACTIONS", option::RELATIVE_ACTIONS),
            ("EPISODE_LOG", EPISODE_LOG as u32),
            ("MOST_OPERATIONS", MOST_OPERATIONS as u32),
            ("NOWHERE", NOWHERE),
            ("ACTOR", Role::Actor as u32),
            ("CRITIC", Role::Critic as u32),
            ("TILE_ROWS", rows),
            ("TILE_COLUMNS", columns),
            // as in HyperParameters::raw
            ("NOISE_NONE", 0),
            ("NOISE_GAUSSIAN", 1),
            ("NOISE_ORNSTEIN_UHLENBECK", 2),
            // as in the trainer
            ("HALTED_LOSS", 1),
            ("HALTED_CRITIC_GRADIENT", 2),
            ("HALTED_ACTOR_GRADIENT", 3),
            ("HALTED_ENVIRONMENT", 4),
            // as in the evaluation, which reads FINISHED_RETURN
            ("EPISODE_RETURN", 0),
            ("EPISODE_LENGTH", 1),
            ("FINISHED_RETURN", 2),
            ("FINISHED_LENGTH", 3),
        ];
        for (name, value) in expected {
            assert_eq!(constant(&module, name), value, "{name}, {tile:?}");
        }
        if tile.medium() == Medium::Texture {
            assert_eq!(u64::from(constant(&module, "TEXTURE_ROW")), u64::from(crate::vectors::ROW.ilog2()), "{tile:?}");
        }
        assert!(tile.workgroup_size() <= 256 && tile.workgroup_size().is_power_of_two(), "the reduction halves it");
        assert_eq!(tile.workgroup_size() % team, 0, "{tile:?}: teams are whole");
    }
}
