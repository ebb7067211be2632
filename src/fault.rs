//! What the device reports beside a call's result, turned into that result: nothing of ours may end in a handler's panic.

use crate::error::{Error, Result};

/// Runs `build` and turns what the device reports meanwhile (out of memory, a validation error, one of the driver's own)
/// into an error. In a browser such reports arrive later: there they go to the application's own handler.
///
/// # Errors
/// What `build` returns, or [`Error::Gpu`] with the first report.
pub(crate) fn guarded<T>(device: &wgpu::Device, build: impl FnOnce() -> Result<T>) -> Result<T> {
    let result = match reported(device, build) {
        (Ok(_), Some(report)) => Err(Error::Gpu(said(&report))),
        (built, _) => built,
    };
    or_lost(device, result)
}

/// The same of every call where the device was lost: what fails then is whatever comes first, by a name that says nothing.
pub(crate) fn or_lost<T>(device: &wgpu::Device, result: Result<T>) -> Result<T> {
    match result {
        Err(Error::Gpu(_)) if is_lost(device) => Err(lost()),
        result => result,
    }
}

pub(crate) fn lost() -> Error {
    Error::Gpu("the device was lost or destroyed".into())
}

/// Only the application's own callback is told of it; but such a device makes buffers that cannot be mapped.
fn is_lost(device: &wgpu::Device) -> bool {
    let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
    let descriptor = wgpu::BufferDescriptor { label: Some("pulse"), size: 4, usage, mapped_at_creation: false };
    let (pulse, report) = reported(device, || device.create_buffer(&descriptor));
    report.is_none() && reported(device, || pulse.slice(..).map_async(wgpu::MapMode::Read, |_| {})).1.is_some()
}

/// What `build` returns, and what the device first reports meanwhile.
fn reported<T>(device: &wgpu::Device, build: impl FnOnce() -> T) -> (T, Option<wgpu::Error>) {
    if cfg!(target_family = "wasm") {
        return (build(), None);
    }
    let filters = [wgpu::ErrorFilter::OutOfMemory, wgpu::ErrorFilter::Internal, wgpu::ErrorFilter::Validation];
    let mut scopes = filters.map(|filter| Some(device.push_error_scope(filter)));
    let built = build();
    let mut report = None;
    for scope in scopes.iter_mut().rev().filter_map(Option::take) {
        report = ready(scope.pop()).flatten().or(report);
    }
    (built, report)
}

fn said(report: &wgpu::Error) -> String {
    match report {
        wgpu::Error::OutOfMemory { .. } => "it is out of memory".into(),
        report => report.to_string(),
    }
}

/// The output of a future that does not have to wait, which is so for error scopes outside a browser.
fn ready<F: Future>(future: F) -> Option<F::Output> {
    match std::pin::pin!(future).poll(&mut std::task::Context::from_waker(std::task::Waker::noop())) {
        std::task::Poll::Ready(output) => Some(output),
        std::task::Poll::Pending => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Config, Environment, Gpu, Renderer, Simulation, Trainer};

    #[test]
    fn what_the_device_reports_is_an_error_value() {
        let gpu = Gpu::open_blocking(None).expect("an adapter");
        let size = gpu.device.limits().max_buffer_size.saturating_add(4);
        let built = guarded(&gpu.device, || {
            let usage = wgpu::BufferUsages::STORAGE;
            Ok(gpu.device.create_buffer(&wgpu::BufferDescriptor { label: Some("absurd"), size, usage, mapped_at_creation: false }))
        });
        let message = built.expect_err("no device has so much").to_string();
        assert!(message.contains("absurd"), "{message}");
        gpu.check().expect("nothing reached the device's handler");
    }

    /// A device of an application's own, without a handler for what it reports: an error that nobody takes is a panic there.
    #[test]
    fn a_destroyed_device_is_an_error_value_wherever_one_waits() {
        let instance = wgpu::Instance::default();
        let adapter = pollster::block_on(instance.request_adapter(&Default::default())).expect("an adapter");
        let (device, queue) = pollster::block_on(adapter.request_device(&Default::default())).expect("a device");
        let pendulum = Environment::pendulum_v1();
        let config = Config { environments: 2, batch_size: 4, learning_starts: 4, ..Config::default() };
        let mut trainer = Trainer::new(&device, &queue, &pendulum, &config).expect("a trainer");
        let mut simulation = Simulation::new(&device, &queue, &pendulum, 3, 1).expect("a simulation");
        let renderer = Renderer::new(&device, &queue, &pendulum, 8, 8).expect("it is drawn");
        trainer.advance_blocking(3).expect("it trains");
        simulation.advance_blocking(3).expect("it steps");
        let trajectories = trainer.trajectories_blocking(1, 1).expect("recorded");
        device.destroy();
        for (what, result) in [
            ("advance", trainer.advance_blocking(3)),
            ("advance a slice", trainer.advance_slice_blocking(3).map(drop)),
            ("update", trainer.update_slice_blocking(3).map(drop)),
            ("measure", trainer.measure_blocking().map(drop)),
            ("evaluate", trainer.evaluate_blocking(2, 1).map(drop)),
            #[cfg(feature = "checkpoint")]
            ("save", trainer.snapshot_blocking(crate::checkpoint::Contents::Training).map(drop)),
            ("record", trainer.trajectories_blocking(2, 1).map(drop)),
            ("time all", trainer.population().time_dispatches_blocking(1).map(drop)),
            ("time", trainer.population().time_dispatch_blocking(0, 1).map(drop)),
            ("build", Trainer::new(&device, &queue, &pendulum, &config).map(drop)),
            ("tune", crate::Tuned::all_blocking(&device, &queue, &pendulum, &config, Default::default()).map(drop)),
            ("build a simulation", Simulation::new(&device, &queue, &pendulum, 3, 1).map(drop)),
            ("simulate", simulation.advance_blocking(7)),
            ("simulate a slice", simulation.advance_slice_blocking(7).map(drop)),
            ("states", simulation.states_blocking().map(drop)),
            ("rewards", simulation.reward_sums_blocking().map(drop)),
            ("standings", simulation.standings_blocking().map(drop)),
            ("draw", renderer.frames_blocking(&trajectories[0]).map(drop)),
        ] {
            let message = result.expect_err(what).to_string();
            assert_eq!(message, "the GPU stopped working: the device was lost or destroyed", "{what}");
        }
    }
}
