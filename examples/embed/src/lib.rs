//! An application with a device and a world of its own, in which an agent learns within a budget of GPU time a frame: 64
//! pendulums driven by the policy as it is, and the curve of its episodes' returns. The program `embed` shows it in a
//! window, `index.html` in a browser.

#[cfg(target_family = "wasm")]
mod browser;
mod scene;
mod world;

pub use scene::Scene;
