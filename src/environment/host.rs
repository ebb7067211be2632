//! An environment that the host simulates: sizes and bounds only.

use super::Environment;
use crate::error::Result;
use std::borrow::Cow;

/// Stands where an environment's WGSL would; never executed.
const SOURCE: &str = "// simulated on the host
fn environment_reset(random: ptr<function, Random>) -> State { return State(); }
fn environment_step(state: State, action: Action, random: ptr<function, Random>) -> Step { return Step(state, 0.0, false); }
fn environment_observe(state: State) -> Observation { return Observation(); }
";

/// The host counts steps itself; this is the most that an environment can declare.
const TIME_LIMIT: u32 = 1 << 24;

impl Environment {
    /// A task that is simulated on the host, by a physics engine say: its observations and the bounds of its actions are
    /// all there is to declare. See [`Population::request_actions`](crate::Population::request_actions) and
    /// [`Population::push_transitions`](crate::Population::push_transitions).
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) for sizes and bounds that cannot be.
    pub fn host(name: impl Into<Cow<'static, str>>, observation_size: u32, action_low: Vec<f32>, action_high: Vec<f32>) -> Result<Self> {
        Self::new(name, SOURCE, 1, observation_size, action_low, action_high, TIME_LIMIT)
    }

    /// Whether the host simulates it.
    pub fn is_host(&self) -> bool {
        self.source == SOURCE
    }
}
