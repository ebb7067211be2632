//! `ddpg devices`: what there is to train on.

use crate::output::say;
use ddpg_wgpu::{Environment, Error, NO_ADAPTER_HELP, adapters_blocking, wgpu};

/// Bytes for people.
fn bytes(count: u64) -> String {
    match count {
        0..1_048_576 => format!("{} KiB", count >> 10),
        1_048_576..10_737_418_240 => format!("{} MiB", count >> 20),
        _ => format!("{} GiB", count >> 30),
    }
}

/// The largest replay ring that one binding holds, in transitions.
fn ring(limits: &wgpu::Limits, environment: &Environment) -> u64 {
    let floats = 2 * u64::from(environment.observation_size) + u64::from(environment.action_size()) + 2;
    limits.max_storage_buffer_binding_size.min(limits.max_buffer_size) / (4 * floats)
}

const ROWS: [&str; 11] = [
    "index",
    "name",
    "type",
    "backend",
    "driver",
    "largest storage binding",
    "pendulum replay in one",
    "workgroup memory",
    "invocations a workgroup",
    "subgroup",
    "timestamp query",
];

fn column(index: usize, adapter: &wgpu::Adapter, pendulum: &Environment) -> [String; ROWS.len()] {
    let (info, limits, features) = (adapter.get_info(), adapter.limits(), adapter.features());
    let subgroup = match (features.contains(wgpu::Features::SUBGROUP), info.subgroup_min_size, info.subgroup_max_size) {
        (false, _, _) => "no".to_owned(),
        (true, least, most) if least == most => least.to_string(),
        (true, least, most) => format!("{least} to {most}"),
    };
    [
        index.to_string(),
        info.name,
        format!("{:?}", info.device_type),
        format!("{:?}", info.backend),
        format!("{} {}", info.driver, info.driver_info).trim().to_owned(),
        bytes(limits.max_storage_buffer_binding_size.min(limits.max_buffer_size)),
        format!("{} transitions", ring(&limits, pendulum)),
        bytes(limits.max_compute_workgroup_storage_size.into()),
        limits.max_compute_invocations_per_workgroup.to_string(),
        subgroup,
        if features.contains(wgpu::Features::TIMESTAMP_QUERY) { "yes" } else { "no" }.to_owned(),
    ]
}

pub fn run() -> anyhow::Result<()> {
    let adapters = adapters_blocking();
    if adapters.is_empty() {
        return Err(Error::Adapter(NO_ADAPTER_HELP.into()).into());
    }
    // a column an adapter: a row would be wider than most terminals
    let pendulum = Environment::pendulum_v1();
    let columns: Vec<_> = adapters.iter().enumerate().map(|(index, adapter)| column(index, adapter, &pendulum)).collect();
    let mut table = crate::report::table();
    for (row, label) in ROWS.into_iter().enumerate() {
        let cells = std::iter::once(label.to_owned()).chain(columns.iter().map(|column| column[row].clone()));
        if row == 0 {
            table.set_header(cells)
        } else {
            table.add_row(cells)
        };
    }
    say!("{table}");
    say!("Choose one with --adapter INDEX or --adapter NAME (any part of its name); the first is the default.");
    Ok(())
}
