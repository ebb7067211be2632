//! The scene on a page's canvas; the page calls `frame` whenever the browser is about to draw (`index.html`).

use crate::Scene;
use ddpg_wgpu::wgpu;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use wasm_bindgen::prelude::*;
use web_sys::HtmlCanvasElement;

type Failure = Arc<Mutex<Option<String>>>;

#[wasm_bindgen]
pub struct Page {
    device: wgpu::Device,
    surface: wgpu::Surface<'static>,
    configuration: wgpu::SurfaceConfiguration,
    scene: Scene,
    /// What the device reported, of which a browser tells later.
    failure: Failure,
}

#[wasm_bindgen]
impl Page {
    /// `budget`: milliseconds of GPU time a frame for training.
    pub async fn open(canvas: HtmlCanvasElement, budget: f64) -> Result<Page, JsError> {
        console_error_panic_hook::set_once();
        let (width, height) = (canvas.width(), canvas.height());
        let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
        let surface = instance.create_surface(wgpu::SurfaceTarget::Canvas(canvas))?;
        let request = wgpu::RequestAdapterOptions { compatible_surface: Some(&surface), ..Default::default() };
        let adapter = instance.request_adapter(&request).await?;
        let (device, queue) = adapter.request_device(&Scene::device_descriptor(&adapter)?).await?;
        let failure = Failure::default();
        device.on_uncaptured_error(Arc::new({
            let failure = failure.clone();
            move |error: wgpu::Error| note(&failure, error.to_string())
        }));
        device.set_device_lost_callback({
            let failure = failure.clone();
            move |reason, message| note(&failure, format!("the device was lost ({reason:?}): {message}"))
        });
        let configuration = surface.get_default_config(&adapter, width, height);
        let configuration = configuration.ok_or_else(|| JsError::new("the adapter cannot draw on this canvas"))?;
        surface.configure(&device, &configuration);
        let scene = Scene::new(&device, &queue, configuration.format, milliseconds(budget))?;
        Ok(Page { device, surface, configuration, scene, failure })
    }

    /// Trains, lets the policy act, draws.
    pub fn frame(&mut self) -> Result<(), JsError> {
        if let Some(message) = self.failure.lock().ok().and_then(|mut failure| failure.take()) {
            return Err(JsError::new(&message));
        }
        match self.surface.get_current_texture() {
            wgpu::CurrentSurfaceTexture::Success(acquired) | wgpu::CurrentSurfaceTexture::Suboptimal(acquired) => {
                self.scene.frame(&acquired.texture, true)?;
                self.scene.present(acquired);
            }
            _ => self.surface.configure(&self.device, &self.configuration),
        }
        Ok(())
    }

    /// Milliseconds of GPU time a frame for training, from now on.
    pub fn set_budget(&mut self, budget: f64) {
        self.scene.pacer.budget = milliseconds(budget);
    }

    /// A promise of the agent as it is now: the bytes of a safetensors file, with which `ddpg eval` works, or another page.
    pub fn save(&self) -> Result<js_sys::Promise, JsError> {
        let pending = self.scene.save()?;
        let bytes = async { pending.await.and_then(|snapshot| snapshot.to_bytes()) };
        Ok(wasm_bindgen_futures::future_to_promise(async {
            bytes.await.map(|bytes| js_sys::Uint8Array::from(&bytes[..]).into()).map_err(|error| JsError::from(error).into())
        }))
    }

    /// Environment steps taken so far.
    #[wasm_bindgen(getter)]
    pub fn steps(&self) -> f64 {
        self.scene.population.environment_steps() as f64
    }

    #[wasm_bindgen(getter)]
    pub fn updates(&self) -> f64 {
        self.scene.population.updates() as f64
    }

    /// Mean return of the episodes that ended last, once there are any.
    #[wasm_bindgen(getter)]
    pub fn mean_return(&self) -> Option<f64> {
        self.scene.mean_return().map(f64::from)
    }
}

fn milliseconds(budget: f64) -> Duration {
    Duration::try_from_secs_f64(budget / 1e3).unwrap_or_default()
}

fn note(failure: &Failure, message: String) {
    if let Ok(mut first) = failure.lock() {
        first.get_or_insert(message);
    }
}
