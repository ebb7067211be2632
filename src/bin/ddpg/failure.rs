//! Why the program ends, and the exit code that says so.

use std::process::ExitCode;

/// A command line or a file that cannot be followed: exit code 2, as clap's own.
#[derive(Debug)]
pub struct Usage(pub String);

impl std::fmt::Display for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Usage {}

/// Ctrl-C: everything was saved; exit code 130.
#[derive(Debug)]
pub struct Interrupted;

impl std::fmt::Display for Interrupted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        "interrupted".fmt(f)
    }
}

impl std::error::Error for Interrupted {}

/// 2 for what the user asked and cannot be, 130 after Ctrl-C, 1 for everything else.
pub fn exit_code(error: &anyhow::Error) -> ExitCode {
    use ddpg_wgpu::Error::{Adapter, Config, Limit};
    let code = error.chain().find_map(|cause| {
        if cause.is::<Interrupted>() {
            return Some(130);
        }
        match cause.downcast_ref::<ddpg_wgpu::Error>() {
            Some(Config(_) | Limit { .. }) => Some(2),
            // there are adapters, but none of the name that was asked for
            Some(Adapter(message)) if message != ddpg_wgpu::NO_ADAPTER_HELP => Some(2),
            _ => cause.is::<Usage>().then_some(2),
        }
    });
    ExitCode::from(code.unwrap_or(1))
}
