//! Deterministic policy gradients, trained entirely in hand-written WGSL compute shaders on [wgpu].
//!
//! DDPG (Lillicrap et al. 2016) and the algorithms of Silver et al. 2014: the layers, batch normalisation, the critic's TD
//! error and its backward pass, the action gradient chained into the actor, Adam, the τ-blend of the target networks, the
//! exploration noise, the replay ring and the environment itself run on the GPU. The host records dispatches and reads a
//! few numbers now and then.
//!
//! ```text
//!  environment ──> transition ──> replay ring ──> minibatch ──> TD target ──> critic step ──> actor step ──> τ-blend
//!       ^                                                                                         │
//!       └─────────────────────── actor + exploration noise <──────────────────────────────────────┘
//! ```
//!
//! # Who it is for
//!
//! - **Those who train on the GPU they have.** [`Trainer`] is a blocking host loop; the program `ddpg` is one around it.
//! - **Those who measure a GPU with a real workload.** A [`Population`] of thousands of agents trains in the same
//!   dispatches; [`Population::time_dispatches_blocking`] times each of them.
//! - **Those who put an agent inside their own wgpu program.** Everything is built from the caller's `wgpu::Device` and
//!   `wgpu::Queue`, and records into the caller's encoder. Nothing waits for the device, but for what says so in its name.
//!
//! # A first agent
//!
//! ```no_run
//! use ddpg_wgpu::{Config, Environment, Gpu, Trainer};
//!
//! let gpu = Gpu::open_blocking(None)?;
//! let config = Config::default();
//! let mut trainer = Trainer::new(&gpu.device, &gpu.queue, &Environment::pendulum_v1(), &config)?;
//! trainer.advance_blocking(config.iterations())?;
//! for evaluation in trainer.evaluate_blocking(1000, 1)? {
//!     println!("seed {}: {:.1} ± {:.1}", evaluation.seed, evaluation.mean_return, evaluation.standard_error);
//! }
//! # Ok::<(), ddpg_wgpu::Error>(())
//! ```
//!
//! # Where things are
//!
//! - [`Config`] holds every number, [`Preset`] names sets of them, [`HyperParameters`] are what may differ from agent to
//!   agent.
//! - [`Environment`] is a task: WGSL and its sizes. [`environment`] says how to bring your own.
//! - [`Population`] records; [`Trainer`] loops, evaluates and measures.
//! - [`Simulation`] steps environments alone, with nobody learning.
//! - [`kernels`] holds the float64 reference of every kernel.
//!
//! # Features
//!
//! `cli` (default): the program and what it needs. `checkpoint`: [`Snapshot`], agents as safetensors files. `serde`:
//! configurations as data. The library needs none of them.

// in a browser wgpu's objects stay on their thread, and what holds them with them
#![cfg_attr(target_family = "wasm", allow(clippy::arc_with_non_send_sync))]

mod allocator;
mod bands;
mod buffer;
#[cfg(feature = "checkpoint")]
pub mod checkpoint;
mod compatible;
mod config;
mod contract;
mod cost;
mod ddpg;
mod dispatch_table;
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
mod initialization;
pub mod kernels;
mod layout;
mod measure;
mod memory;
mod network;
mod operation;
mod pacing;
mod passes;
mod pending;
mod pipelines;
mod plan;
mod policy;
mod population;
mod presets;
mod profile;
mod program;
mod random;
mod render;
mod requirements;
mod rollout;
mod shader;
mod simulation;
#[cfg(test)]
mod single_updates;
mod specialised;
mod stopwatch;
mod trainer;
mod trajectory;
mod transfer;
mod tune;
mod vectors;

#[cfg(feature = "checkpoint")]
pub use checkpoint::Snapshot;
pub use config::{
    Algorithm, BatchNorm, Config, Exploration, Initialization, Minibatch, NoiseSchedule, Optimizer, Statistics, TargetUpdate,
};
pub use environment::Environment;
pub use error::{Error, Result};
pub use evaluate::Evaluation;
pub use export::{PolicyWgsl, WeightStorage};
pub use gpu::{Gpu, NO_ADAPTER_HELP, adapters_blocking, describe};
pub use host::Transitions;
pub use hyper_parameters::HyperParameters;
pub use kernels::{Dealing, Tile};
pub use measure::{Episode, HaltReason, Halted, Measurements};
pub use pacing::Pacer;
pub use pending::Pending;
pub use plan::Plan;
pub use policy::{Inference, Policy, Rows};
pub use population::{Options, Population};
pub use presets::Preset;
pub use profile::DispatchTime;
pub use random::{Philox, philox};
pub use render::Renderer;
pub use requirements::{check_device, optional_features, required_features, required_limits};
pub use simulation::{Simulation, Standing};
pub use stopwatch::{Clock, Stopwatch};
pub use trainer::Trainer;
pub use trajectory::Trajectory;
pub use tune::Tuned;
pub use wgpu;
