//! What the device reports beside a call's result, turned into that result: nothing of ours may end in a handler's panic.

use crate::error::{Error, Result};

/// Runs `build` and turns what the device reports meanwhile (out of memory, a validation error, one of the driver's own)
/// into an error. In a browser such reports arrive later: there they go to the application's own handler.
///
/// # Errors
/// What `build` returns, or [`Error::Gpu`] with the first report.
pub(crate) fn guarded<T>(device: &wgpu::Device, build: impl FnOnce() -> Result<T>) -> Result<T> {
    if cfg!(target_family = "wasm") {
        return build();
    }
    let filters = [wgpu::ErrorFilter::OutOfMemory, wgpu::ErrorFilter::Internal, wgpu::ErrorFilter::Validation];
    let mut scopes = filters.map(|filter| Some(device.push_error_scope(filter)));
    let built = build();
    let mut report = None;
    for scope in scopes.iter_mut().rev().filter_map(Option::take) {
        report = ready(scope.pop()).flatten().or(report);
    }
    match (built, report) {
        (Ok(_), Some(report)) => Err(Error::Gpu(said(&report))),
        (built, _) => built,
    }
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
    use crate::{Config, Environment, Gpu, Trainer};

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

    #[test]
    fn a_destroyed_device_is_an_error_value_wherever_one_waits() {
        let gpu = Gpu::open_blocking(None).expect("an adapter");
        let config = Config { environments: 2, ..Config::default() };
        let mut trainer = Trainer::new(&gpu.device, &gpu.queue, &Environment::pendulum_v1(), &config).expect("a trainer");
        trainer.advance_blocking(3).expect("it trains");
        gpu.device.destroy();
        for (what, result) in [
            ("advance", trainer.advance_blocking(3)),
            ("measure", trainer.measure_blocking().map(drop)),
            ("evaluate", trainer.evaluate_blocking(2, 1).map(drop)),
            ("build", Trainer::new(&gpu.device, &gpu.queue, &Environment::pendulum_v1(), &config).map(drop)),
        ] {
            assert!(matches!(result, Err(Error::Gpu(_))), "{what}: {result:?}");
        }
    }
}
