//! One step of every environment: `shaders/rollout.wgsl`.

/// What becomes of an episode after a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ending {
    /// A new episode begins: the next observation to act on is its first; the stored one is the last of this one.
    pub ends: bool,
    /// What the replay stores: whether the bootstrap is cut.
    pub terminated: bool,
}

/// The end of an episode at its `length`-th step: `terminated` by the task, or truncated by `time_limit`. Only termination
/// cuts the bootstrap, unless the configuration stores the time limit as terminal.
pub fn reference(terminated: bool, length: u32, time_limit: u32, truncation_is_terminal: bool) -> Ending {
    let truncated = length >= time_limit;
    Ending { ends: terminated || truncated, terminated: terminated || truncated && truncation_is_terminal }
}

#[cfg(test)]
mod tests;
