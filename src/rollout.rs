//! The rollout program: the actor without learning, then one step of every environment.

use crate::allocator::{Allocator, vec4s};
use crate::ddpg::Networks;
use crate::kernels::{Grid, Kernel};
use crate::operation::{Access, Matrix, Operation, Step, flag};
use crate::passes::{Activations, Builder, Mode, Pass};
use crate::program::Steps;

/// Where a rollout keeps its numbers, and its steps.
#[derive(Debug, Clone)]
pub(crate) struct Rollout {
    pub observation: Matrix,
    pub action: Matrix,
    /// The first observation of every environment.
    pub reset: Steps,
    pub steps: Steps,
}

impl Rollout {
    /// `evaluation` is the seed of the starting states where nothing is explored or stored. There are no steps where `memory`
    /// does not hold the activations.
    pub fn new(networks: &Networks, grid: &Grid, environments: u32, evaluation: Option<u32>, memory: &mut Allocator) -> Self {
        let actor = &networks.actor;
        let observation = memory.matrix(environments, vec4s(actor.observation_size));
        let activations = Activations::new(actor, observation, memory);
        let action = activations.output;
        if !memory.fits() {
            return Self { observation, action, reset: Steps::default(), steps: Steps::default() };
        }
        let pass = Pass { parameters: 0, mode: Mode::Inference, flags: 0 };
        let mut steps = Vec::new();
        Builder { network: actor, grid, target_offset: networks.length, verdict: None }.forward(&mut steps, pass, &activations, None);
        let operation = Operation {
            units: 1,
            flags: if evaluation.is_some() { flag::EVALUATION } else { 0 },
            rows: environments,
            columns: action.columns,
            norm: networks.bounds,
            extra: evaluation.unwrap_or_default(),
            ..Default::default()
        }
        .with_input(action)
        .with_output(observation);
        steps.push(Step {
            operation: Operation { kind: Kernel::StepEnvironments as u32, ..operation },
            reads: vec![action.access(), observation.access(), Access::Agent],
            writes: vec![observation.access(), Access::Agent],
        });
        let reset = Step {
            operation: Operation { kind: Kernel::ResetEnvironments as u32, units: environments.div_ceil(grid.workgroup_size), ..operation },
            reads: vec![],
            writes: vec![observation.access(), Access::Agent],
        };
        Self { observation, action, reset: Steps(vec![reset]), steps: Steps(steps) }
    }

    /// The actor's passes alone, where the environments are the host's.
    pub fn actor(&self) -> Steps {
        let environments = Kernel::StepEnvironments as u32;
        Steps(self.steps.0.iter().filter(|step| step.operation.kind != environments).cloned().collect())
    }
}
