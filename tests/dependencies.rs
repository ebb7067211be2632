//! What the library brings with it when somebody else's program depends on it.

use std::process::Command;

/// Crates of the command line, of pictures and of logs: none of them may come with the library alone.
const UNWANTED: [&str; 15] = [
    "anyhow",
    "clap",
    "comfy-table",
    "ctrlc",
    "env_logger",
    "indicatif",
    "plotters",
    "png",
    "ratatui",
    "safetensors",
    "serde_json",
    "signal-hook",
    "toml",
    "tracing",
    "tracing-subscriber",
];

#[test]
fn the_library_alone_brings_no_command_line() {
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--manifest-path", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")])
        .args(["--locked", "--no-default-features", "--edges", "normal", "--prefix", "none", "--format", "{p}"])
        .output()
        .expect("cargo runs");
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let text = String::from_utf8(tree.stdout).expect("UTF-8");
    let names: Vec<&str> = text.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert!(names.contains(&"wgpu") && names.contains(&"naga"), "{text}");
    for unwanted in UNWANTED {
        assert!(!names.contains(&unwanted), "{unwanted} comes with the library:\n{text}");
    }
    let direct = Command::new(env!("CARGO"))
        .args(["tree", "--manifest-path", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")])
        .args(["--locked", "--no-default-features", "--edges", "normal", "--prefix", "none", "--format", "{p}", "--depth", "1"])
        .output()
        .expect("cargo runs");
    let mut direct: Vec<String> = String::from_utf8(direct.stdout)
        .expect("UTF-8")
        .lines()
        .skip(1)
        .filter_map(|line| line.split_whitespace().next().map(str::to_owned))
        .collect();
    direct.sort();
    assert_eq!(direct, ["bytemuck", "naga", "pollster", "rand", "thiserror", "wgpu"], "as README.md says");
}
