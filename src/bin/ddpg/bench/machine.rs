//! What was measured on, and what.

use ddpg_wgpu::{Gpu, wgpu};
use serde_json::{Value, json};
use std::process::Command;

/// The adapter, its driver, and the program.
#[derive(Debug, Clone)]
pub struct Machine {
    info: wgpu::AdapterInfo,
    description: String,
    commit: String,
    cores: usize,
}

impl Machine {
    pub fn of(gpu: &Gpu) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self { info: gpu.info.clone(), description: gpu.description(), commit: commit(), cores }
    }

    pub fn json(&self) -> Value {
        json!({
            "adapter": self.info.name,
            "device_type": format!("{:?}", self.info.device_type),
            "backend": format!("{:?}", self.info.backend),
            "driver": self.info.driver,
            "driver_info": self.info.driver_info,
            "cpu_cores": self.cores,
            "operating_system": std::env::consts::OS,
            "architecture": std::env::consts::ARCH,
            "version": env!("CARGO_PKG_VERSION"),
            "commit": self.commit,
        })
    }
}

impl std::fmt::Display for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "adapter: {}", self.description)?;
        write!(f, "ddpg-wgpu {}, commit {}; {} CPU cores", env!("CARGO_PKG_VERSION"), self.commit, self.cores)
    }
}

/// The commit that was built: told when it was, or that of the repository the program lies in.
fn commit() -> String {
    if let Some(commit) = option_env!("DDPG_COMMIT") {
        return commit.to_owned();
    }
    let directory = std::env::current_exe().ok().and_then(|program| program.parent().map(std::path::Path::to_owned));
    let asked = directory.and_then(|directory| {
        // no tag matches: the commit's own name, and whether anything was changed since
        Command::new("git").arg("-C").arg(directory).args(["describe", "--always", "--dirty", "--exclude", "*"]).output().ok()
    });
    let told = asked.filter(|output| output.status.success()).map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    told.filter(|commit| !commit.is_empty()).unwrap_or_else(|| "unknown".into())
}
