//! The kernels: what kinds there are, how their work is tiled and dealt out, and what each computes.
//!
//! Each shader of `shaders/` has a room here with its float64 `reference`, the executable specification that its tests
//! hold the shader to.

pub mod adam;
pub mod batch_norm;
pub mod dense_backward_input;
pub mod dense_backward_parameters;
pub mod dense_forward;
#[cfg(test)]
mod devices;
pub mod exploration;
#[cfg(test)]
mod fixture;
mod grid;
#[cfg(test)]
pub(crate) mod harness;
mod kinds;
#[cfg(test)]
mod layout;
pub mod loss;
pub mod math;
pub mod philox;
#[cfg(test)]
mod portability;
pub mod replay;
pub mod rollout;
pub mod soft_update;
mod tile;
#[cfg(test)]
pub(crate) mod world;

pub use grid::Dealing;
pub(crate) use grid::{Deal, Grid};
pub(crate) use kinds::{Kernel, Kinds};
pub use tile::Tile;
