//! Deterministic policy gradients in hand-written WGSL.
#[cfg(feature = "checkpoint")]
pub mod checkpoint;
mod config;
mod ddpg;
pub mod environment;
mod error;
mod evaluate;
mod export;
mod fault;
#[cfg(test)]
mod golden;
mod gpu;
pub mod guide;
mod host;
mod hyper_parameters;
mod kernels;
mod measure;
mod memory;
mod network;
mod pacing;
mod pending;
mod policy;
mod population;
mod profile;
mod program;
mod random;
mod requirements;
mod rollout;
mod shader;
mod trainer;
mod transfer;

#[cfg(feature = "checkpoint")]
pub use checkpoint::Snapshot;
pub use config::{BatchNorm, Config, Exploration, Initialization, Preset, Statistics, TargetUpdate};
pub use environment::Environment;
pub use error::{Error, Result};
pub use evaluate::Evaluation;
pub use export::{PolicyWgsl, WeightStorage};
pub use gpu::{Gpu, NO_ADAPTER_HELP, adapters_blocking, describe};
pub use host::Transitions;
pub use hyper_parameters::HyperParameters;
pub use kernels::Tile;
pub use pacing::Pacer;
pub use pending::Pending;
pub use policy::{Inference, Policy, Rows};
pub use population::{Options, Population};
pub use profile::DispatchTime;
pub use random::{Philox, philox};
pub use requirements::{check_device, optional_features, required_features, required_limits};
pub use trainer::{Episode, HaltReason, Halted, Measurements, Trainer};
pub use wgpu;
