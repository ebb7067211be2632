//! Finding an adapter and opening a device of our own, for programs that have none. Applications that own a device skip
//! this module.

use crate::error::{Error, Result};
use crate::kernels::Tile;
use std::sync::{Arc, Mutex};

/// What to install where there is no adapter.
pub const NO_ADAPTER_HELP: &str = "no GPU adapter was found. Install your GPU's Vulkan driver, or a software one: on Debian and Ubuntu \
    `sudo apt-get install -y mesa-vulkan-drivers libvulkan1`, or run `scripts/vulkan-driver` from the project";

/// A device and its queue, opened by this crate.
///
/// ```no_run
/// use ddpg_wgpu::Gpu;
/// // the most powerful adapter, or one by part of its name
/// let gpu = Gpu::open_blocking(Some("llvmpipe")).or_else(|_| Gpu::open_blocking(None))?;
/// println!("{}", gpu.description());
/// # Ok::<(), ddpg_wgpu::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Gpu {
    /// The device.
    pub device: wgpu::Device,
    /// Its queue.
    pub queue: wgpu::Queue,
    /// The adapter it was opened on.
    pub info: wgpu::AdapterInfo,
    failure: Failure,
}

type Failure = Arc<Mutex<Option<String>>>;

impl Gpu {
    /// Opens a device, waiting for it. `choice` is an index into [`adapters_blocking`], or part of an adapter's name (any case);
    /// without one the most powerful adapter is taken.
    ///
    /// All limits of the adapter are asked for, so that a large replay or population fits where the hardware allows it.
    ///
    /// # Errors
    /// [`Error::Adapter`] where nothing matches, listing what there is; [`Error::Device`] where it does not open.
    pub fn open_blocking(choice: Option<&str>) -> Result<Self> {
        pollster::block_on(Self::open(choice, None))
    }

    /// Like [`Gpu::open_blocking`], with the limits given and no optional feature: how the crate's own tests show that
    /// WebGPU's default limits suffice.
    ///
    /// # Errors
    /// As [`Gpu::open_blocking`].
    pub fn open_with_limits_blocking(choice: Option<&str>, limits: wgpu::Limits) -> Result<Self> {
        pollster::block_on(Self::open(choice, Some(limits)))
    }

    async fn open(choice: Option<&str>, limits: Option<wgpu::Limits>) -> Result<Self> {
        let adapter = choose(adapters().await, choice)?;
        let info = adapter.get_info();
        let features = match limits {
            Some(_) => wgpu::Features::empty(),
            None => adapter.features() & (wgpu::Features::TIMESTAMP_QUERY | Tile::ANY_FEATURES),
        };
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("ddpg-wgpu"),
            required_features: features,
            required_limits: limits.unwrap_or_else(|| adapter.limits()),
            ..Default::default()
        };
        let opened = adapter.request_device(&descriptor).await;
        let (device, queue) = opened.map_err(|error| Error::Device { adapter: info.name.clone(), reason: error.to_string() })?;
        let failure = Failure::default();
        device.on_uncaptured_error(Arc::new({
            let failure = failure.clone();
            move |error: wgpu::Error| note(&failure, error.to_string())
        }));
        device.set_device_lost_callback({
            let failure = failure.clone();
            move |reason, message| {
                if reason != wgpu::DeviceLostReason::Destroyed || !message.is_empty() {
                    note(&failure, format!("the device was lost ({reason:?}): {message}"));
                }
            }
        });
        Ok(Self { device, queue, info, failure })
    }

    /// The first error that the device reported outside any call, if there was one.
    ///
    /// # Errors
    /// [`Error::Gpu`] with what the device said.
    pub fn check(&self) -> Result<()> {
        match self.failure.lock().map(|failure| failure.clone()) {
            Ok(Some(message)) => Err(Error::Gpu(message)),
            _ => Ok(()),
        }
    }

    /// Name, kind, backend and driver, for people.
    pub fn description(&self) -> String {
        describe(&self.info)
    }
}

fn note(failure: &Failure, message: String) {
    if let Ok(mut first) = failure.lock() {
        first.get_or_insert(message);
    }
}

/// Name, kind, backend and driver of an adapter, for people.
pub fn describe(info: &wgpu::AdapterInfo) -> String {
    let driver = [info.driver.as_str(), info.driver_info.as_str()].join(" ");
    format!("{} ({:?}, {:?}, {})", info.name, info.device_type, info.backend, driver.trim())
}

/// The adapters of this machine, the most powerful first; each once, through its best backend.
pub async fn adapters() -> Vec<wgpu::Adapter> {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = wgpu::Backends::PRIMARY;
    let instance = wgpu::Instance::new(descriptor);
    let mut adapters = instance.enumerate_adapters(wgpu::Backends::PRIMARY).await;
    adapters.sort_by_key(|adapter| match adapter.get_info().device_type {
        wgpu::DeviceType::DiscreteGpu => 0,
        wgpu::DeviceType::IntegratedGpu => 1,
        wgpu::DeviceType::VirtualGpu => 2,
        wgpu::DeviceType::Other => 3,
        wgpu::DeviceType::Cpu => 4,
    });
    adapters
}

/// The adapters of this machine, the most powerful first, each once and through its best backend; waits for them.
///
/// ```no_run
/// for adapter in ddpg_wgpu::adapters_blocking() {
///     println!("{}", ddpg_wgpu::describe(&adapter.get_info()));
/// }
/// ```
pub fn adapters_blocking() -> Vec<wgpu::Adapter> {
    pollster::block_on(adapters())
}

fn choose(mut adapters: Vec<wgpu::Adapter>, choice: Option<&str>) -> Result<wgpu::Adapter> {
    if adapters.is_empty() {
        return Err(Error::Adapter(NO_ADAPTER_HELP.into()));
    }
    let Some(choice) = choice else { return Ok(adapters.swap_remove(0)) };
    let wanted = choice.to_lowercase();
    let position = match choice.parse::<usize>() {
        Ok(index) => (index < adapters.len()).then_some(index),
        Err(_) => adapters.iter().position(|adapter| adapter.get_info().name.to_lowercase().contains(&wanted)),
    };
    match position {
        Some(index) => Ok(adapters.swap_remove(index)),
        None => {
            let there_are: Vec<_> =
                adapters.iter().enumerate().map(|(i, adapter)| format!("  {i}: {}", describe(&adapter.get_info()))).collect();
            Err(Error::Adapter(format!("no adapter matches {choice:?}; there are:\n{}", there_are.join("\n"))))
        }
    }
}
