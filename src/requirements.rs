//! What a configuration asks of a device, for applications that open their own.

use crate::config::Config;
use crate::environment::Environment;
use crate::error::{Error, Result};
use crate::kernels::{Grid, Tile};
use crate::layout::Layout;
use crate::operation::{MOST_OPERATIONS, Operation};
use crate::population::Options;

/// The features without which nothing works: none.
///
/// ```
/// use ddpg_wgpu::{required_features, wgpu};
/// assert_eq!(required_features(), wgpu::Features::empty());
/// ```
pub fn required_features() -> wgpu::Features {
    wgpu::Features::empty()
}

/// Features that are used where a device has them: subgroups and textures that kernels both read and write (several times
/// the speed on software drivers), and timestamps (a [`Pacer`](crate::Pacer) then measures the device's own time). Ask for
/// those of them that the adapter offers.
///
/// ```
/// use ddpg_wgpu::{optional_features, wgpu};
/// assert!(optional_features().contains(wgpu::Features::TIMESTAMP_QUERY));
/// ```
pub fn optional_features() -> wgpu::Features {
    Tile::ANY_FEATURES | wgpu::Features::TIMESTAMP_QUERY
}

/// The limits that a population of `config` in `environment` needs: WebGPU's defaults, raised only where a buffer is
/// larger than they allow. Pass them to `request_device`.
///
/// ```
/// use ddpg_wgpu::{Config, Environment, required_limits, wgpu};
/// let mut config = Config::default();
/// assert_eq!(required_limits(&config, &Environment::pendulum_v1())?, wgpu::Limits::default());
/// config.agents = 100;
/// let limits = required_limits(&config, &Environment::pendulum_v1())?;
/// // the replay rings: 100 agents, 100,000 transitions, 9 floats, 4 bytes
/// assert_eq!(limits.max_storage_buffer_binding_size, 360_000_000);
/// # Ok::<(), ddpg_wgpu::Error>(())
/// ```
///
/// # Errors
/// [`Error::Config`] for settings that cannot work on any device, [`Error::Limit`] for more hidden layers than a program holds.
pub fn required_limits(config: &Config, environment: &Environment) -> Result<wgpu::Limits> {
    let mut limits = wgpu::Limits::default();
    // the tile decides how the work is dealt out, not how much room it takes
    let layout = Layout::new(config, environment, &Grid::of(Tile::Portable, 1), Options::default())?;
    let largest = layout.demands(&limits).all().into_iter().map(|demand| demand.bytes).max().unwrap_or_default();
    limits.max_storage_buffer_binding_size = limits.max_storage_buffer_binding_size.max(largest);
    limits.max_buffer_size = limits.max_buffer_size.max(largest);
    Ok(limits)
}

/// Whether `device` offers what a population of `config` in `environment` needs.
///
/// ```no_run
/// # let gpu = ddpg_wgpu::Gpu::open_blocking(None)?;
/// use ddpg_wgpu::{Config, Environment, check_device};
/// check_device(&gpu.device, &Config::default(), &Environment::pendulum_v1())?;
/// # Ok::<(), ddpg_wgpu::Error>(())
/// ```
///
/// # Errors
/// [`Error::Limit`] naming the first thing that is missing, with what is needed and what is there; [`Error::Config`] for
/// settings that cannot work on any device.
pub fn check_device(device: &wgpu::Device, config: &Config, environment: &Environment) -> Result<()> {
    let offered = device.limits();
    let defaults = wgpu::Limits::default();
    let uniform = offered.max_uniform_buffer_binding_size.try_into().unwrap_or(u32::MAX);
    let counts = [
        ("storage buffers a shader stage", 7, offered.max_storage_buffers_per_shader_stage),
        ("uniform buffers a shader stage", 3, offered.max_uniform_buffers_per_shader_stage),
        ("bind groups", 2, offered.max_bind_groups),
        ("invocations a workgroup", defaults.max_compute_invocations_per_workgroup, offered.max_compute_invocations_per_workgroup),
        ("bytes in a uniform binding", (MOST_OPERATIONS * size_of::<Operation>()) as u32, uniform),
        ("bytes of workgroup memory", defaults.max_compute_workgroup_storage_size, offered.max_compute_workgroup_storage_size),
        ("workgroups a dimension", defaults.max_compute_workgroups_per_dimension, offered.max_compute_workgroups_per_dimension),
    ];
    for (what, needed, offered) in counts {
        if offered < needed {
            return Err(limit("the kernels", format!("{needed} {what}"), format!("{offered}"), REQUEST));
        }
    }
    let (plan, grid, layout) = Layout::planned(device, config, environment, Options::default())?;
    layout.check_memory(&offered, grid.medium()).map_err(|error| match error {
        Error::Limit { what, needed, offered, remedy } => limit(&what, needed, offered, &format!("{remedy}, or {REQUEST}")),
        other => other,
    })?;
    layout.check_dispatches(&offered, environment, plan, &grid)
}

const REQUEST: &str = "request the device with the limits that ddpg_wgpu::required_limits gives";

fn limit(what: &str, needed: String, offered: String, remedy: &str) -> Error {
    Error::Limit { what: what.into(), needed, offered, remedy: remedy.into() }
}
