//! Where everything of a population lies and how large it is: all that can be known of it, and refused, before anything is
//! compiled or allocated.

use crate::allocator::{Allocator, MOST_VEC4S};
use crate::buffer::most_bytes;
use crate::compatible;
use crate::config::{Algorithm, Config, Optimizer};
use crate::ddpg::{Networks, Update};
use crate::environment::Environment;
use crate::error::{Error, Result};
use crate::kernels::{Grid, Kernel};
use crate::memory::{AgentState, Sizes};
use crate::operation::{Access, Operation, Step, check_operations};
use crate::pipelines::option;
use crate::plan::{self, Plan};
use crate::population::Options;
use crate::program::{Program, Steps, check_workgroups};
use crate::rollout::Rollout;
use crate::transfer;
use crate::vectors::Medium;

#[derive(Debug)]
pub(crate) struct Programs {
    pub reset: Program,
    pub rollout: Program,
    pub learn: Program,
    pub clear_measurements: Program,
    /// The rollout without its environments.
    pub actor: Program,
}

/// Programs, and where they find things in an agent's memory.
#[derive(Debug)]
pub(crate) struct Layout {
    pub networks: Networks,
    pub update: Update,
    pub rollout: Rollout,
    pub sizes: Sizes,
    pub programs: Programs,
    /// The operations of all programs.
    pub table: Vec<Operation>,
}

/// A part of a population's memory.
#[derive(Debug)]
pub(crate) struct Demand {
    pub what: String,
    pub bytes: u64,
    /// Whether it is made of vec4s, which need not be in a buffer.
    pub is_vectors: bool,
    /// How to need less.
    pub remedy: String,
}

/// All of them that may be large.
#[derive(Debug)]
pub(crate) struct Demands {
    pub parameters: Demand,
    pub moments: Demand,
    pub activations: Demand,
    pub replay: Demand,
    pub environments: Demand,
    pub agent_states: Demand,
}

impl Demands {
    pub fn all(&self) -> [&Demand; 6] {
        [&self.replay, &self.parameters, &self.moments, &self.activations, &self.environments, &self.agent_states]
    }
}

impl Layout {
    /// How `options` have a population executed on `device`, how that deals its work out, and what is laid out so.
    ///
    /// # Errors
    /// As [`plan::choose`] and [`Layout::new`].
    pub fn planned(device: &wgpu::Device, config: &Config, environment: &Environment, options: Options) -> Result<(Plan, Grid, Self)> {
        let plan = plan::choose(device, options.plan, options.tile)?;
        let grid = plan.grid(device, options.tile, options.dealing, config);
        let layout = Self::new(config, environment, &grid, options)?;
        Ok((plan, grid, layout))
    }

    /// # Errors
    /// [`Error::Config`] for settings that cannot work on any device; [`Error::Limit`] for more operations than there can be.
    pub fn new(config: &Config, environment: &Environment, grid: &Grid, options: Options) -> Result<Self> {
        config.validate()?;
        environment.validate()?;
        let networks = Networks::new(config, environment);
        check_addresses("the networks", networks.needed, "use fewer or narrower layers")?;
        let update = match config.algorithm {
            Algorithm::Compatible => compatible::update(config, &networks, grid),
            _ => Update::new(config, &networks, grid),
        };
        let mut activations = Allocator { used: update.length };
        let rollout = Rollout::new(&networks, grid, config.environments, None, &mut activations);
        check_addresses("the activations", activations.used, "use a smaller batch, fewer environments or smaller networks")?;
        let (clear_measurements, actor) = (clear_measurements(), rollout.actor());
        let all = [&rollout.reset, &rollout.steps, &update.steps, &clear_measurements, &actor];
        // before they are levelled, which takes the square of their number
        check_operations(all.iter().map(|steps| steps.0.len()).sum())?;
        let mut table = Vec::new();
        let [reset, rollout_steps, learn, clear_measurements, actor] = all.map(|steps| steps.schedule(&mut table, grid));
        check_operations(table.len())?;
        let sizes = sizes(config, environment, &networks, activations.length(), options);
        let programs = Programs { reset, rollout: rollout_steps, learn, clear_measurements, actor };
        Ok(Self { networks, update, rollout, sizes, programs, table })
    }

    /// What it takes of a device with `limits`, which the remedies name.
    pub fn demands(&self, limits: &wgpu::Limits) -> Demands {
        let sizes = &self.sizes;
        let agents = u64::from(sizes.agents);
        let demand = |what: &str, each: u64, is_vectors, remedy: &str| Demand {
            what: format!("{what} of {agents} agent{}", if agents == 1 { "" } else { "s" }),
            bytes: agents.saturating_mul(each),
            is_vectors,
            remedy: remedy.to_owned(),
        };
        let vectors = |what: &str, vec4s: u32, remedy: &str| demand(what, 16 * u64::from(vec4s), true, remedy);
        let floats = |count: u32, each: u32| (4 * u64::from(each)).saturating_mul(count.into());
        let smaller = "use fewer agents or smaller networks";
        let most = most_bytes(limits) / floats(1, sizes.transition_stride).max(1) / agents.max(1);
        let replay = format!("use a replay_capacity of at most {most}, or fewer agents");
        let ring = format!("a replay ring of {} transitions", sizes.replay_capacity);
        let less = "use fewer agents, a smaller batch or fewer environments";
        Demands {
            parameters: vectors("the parameters", sizes.parameters_stride, smaller),
            moments: vectors("Adam's moments", sizes.moments_stride, smaller),
            activations: vectors("the activations", sizes.activations_stride, less),
            replay: demand(&ring, floats(sizes.replay_capacity, sizes.transition_stride), false, &replay),
            environments: demand(
                "the environments",
                floats(sizes.environments, sizes.environment_stride),
                false,
                "use fewer environments or agents",
            ),
            agent_states: demand("the counters", size_of::<AgentState>() as u64, false, "use fewer agents"),
        }
    }

    /// Refuses limits within which one of its demands cannot be bound.
    ///
    /// # Errors
    /// [`Error::Limit`].
    pub fn check_memory(&self, limits: &wgpu::Limits, medium: Medium) -> Result<()> {
        self.demands(limits).all().into_iter().try_for_each(|demand| {
            let medium = if demand.is_vectors { medium } else { Medium::Buffer };
            medium.check_fits(limits, &demand.what, demand.bytes, &demand.remedy)
        })
    }

    /// Refuses limits within which one of the dispatches of `plan` cannot be made.
    ///
    /// # Errors
    /// [`Error::Limit`].
    pub fn check_dispatches(&self, limits: &wgpu::Limits, environment: &Environment, plan: Plan, grid: &Grid) -> Result<()> {
        let Programs { reset, rollout, learn, clear_measurements, actor } = &self.programs;
        let fewer = "use fewer environments";
        let check = |what, program: &Program, remedy| program.check(what, remedy, limits, grid);
        check_workgroups("the agents", self.sizes.agents, limits, "use fewer agents")?;
        check("the start of all environments", reset, fewer)?;
        check("the clearing of measurements", clear_measurements, fewer)?;
        let narrower = "use narrower layers or fewer environments";
        if environment.is_host() {
            check_workgroups("the actions of all environments", self.sizes.environments.div_ceil(transfer::ROWS), limits, fewer)?;
            check("the actor's pass", actor, narrower)?;
        } else if plan != Plan::Fused {
            check("a step of all environments", rollout, narrower)?;
        }
        match plan {
            Plan::Fused => Ok(()),
            _ => check("an update", learn, "use narrower layers or a smaller batch"),
        }
    }
}

/// Refuses more of an agent's own than the kernels can address.
fn check_addresses(what: &str, vec4s: u64, remedy: &str) -> Result<()> {
    if vec4s <= MOST_VEC4S {
        return Ok(());
    }
    let bytes = u128::from(vec4s) * 16;
    Err(Error::config(format!("{what} of an agent take {bytes} bytes; at most {} can be addressed: {remedy}", 16 * MOST_VEC4S)))
}

fn clear_measurements() -> Steps {
    Steps(vec![Step {
        operation: Operation { kind: Kernel::ClearMeasurements as u32, units: 1, ..Default::default() },
        reads: vec![],
        writes: vec![Access::Agent],
    }])
}

pub(crate) fn environment_stride(environment: &Environment) -> u32 {
    environment.state_size + environment.action_size() + 4
}

/// Floats of a stored transition: observation, action, reward, terminated, next observation.
pub(crate) fn transition_stride(environment: &Environment) -> u32 {
    2 * environment.observation_size + environment.action_size() + 2
}

/// What a population's pipelines are compiled for, bits of [`option`].
pub(crate) fn option_bits(config: &Config, options: Options) -> u32 {
    let bits = [
        (options.record_gradients, option::RECORD_GRADIENTS),
        (config.store_unclipped_actions, option::STORE_UNCLIPPED_ACTIONS),
        (config.truncation_is_terminal, option::TRUNCATION_IS_TERMINAL),
        (config.reset_noise, option::RESET_NOISE),
        (config.optimizer == Optimizer::GradientDescent, option::GRADIENT_DESCENT),
        (!config.algorithm.has_targets(), option::NO_TARGETS),
        (config.relative_actions, option::RELATIVE_ACTIONS),
    ];
    bits.iter().filter(|(on, _)| *on).map(|(_, bit)| bit).sum()
}

pub(crate) fn sizes(config: &Config, environment: &Environment, networks: &Networks, activations: u32, options: Options) -> Sizes {
    let transition = transition_stride(environment);
    Sizes {
        agents: config.agents,
        environments: config.environments,
        parameters_stride: 2 * networks.length,
        target_offset: networks.length,
        moments_stride: networks.length * if options.record_gradients { 3 } else { 2 },
        second_moment_offset: networks.length,
        gradient_offset: 2 * networks.length,
        activations_stride: activations,
        replay_stride: transition.saturating_mul(config.replay_capacity),
        transition_stride: transition,
        replay_capacity: config.replay_capacity,
        environment_stride: environment_stride(environment),
        batch_size: config.batch_size,
        observation_size: environment.observation_size,
        action_size: environment.action_size(),
        time_limit: config.time_limit(environment),
        random_steps: config.random_steps.div_ceil(config.environments),
        normalisation_epsilon: config.batch_norm_epsilon,
        normalisation_decay: config.batch_norm_decay,
    }
}
