//! The environment contract: what a task must say of itself so that the shaders can simulate it.
//!
//! An [`Environment`] is a piece of WGSL and its sizes. The WGSL defines three functions over types that this crate
//! declares from the sizes:
//!
//! ```wgsl
//! // declared for you
//! alias State = array<f32, STATE_SIZE>;
//! alias Observation = array<f32, OBSERVATION_SIZE>;
//! alias Action = array<f32, ACTION_SIZE>;
//! struct Step { state: State, reward: f32, terminated: bool }
//!
//! // yours
//! fn environment_reset(random: ptr<function, Random>) -> State { ... }
//! fn environment_step(state: State, action: Action, random: ptr<function, Random>) -> Step { ... }
//! fn environment_observe(state: State) -> Observation { ... }
//! ```
//!
//! `random_uniform(random)` gives a number in [0, 1), `random_normal(random)` a standard normal; `sine_cosine(x)`,
//! `wrap_angle(x)` and `hyperbolic_tangent(x)` are accurate on every device. Actions arrive clipped to their bounds.
//! `terminated` is for true ends only: the time limit is counted for you, and truncates without ending the bootstrap.

mod host;
mod pendulum;

use crate::error::{Error, Result};
use std::borrow::Cow;

/// A task to learn, simulated on the GPU.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Environment {
    /// A name for people and for run directories.
    pub name: Cow<'static, str>,
    /// The WGSL of `environment_reset`, `environment_step` and `environment_observe`, and whatever they need.
    pub source: Cow<'static, str>,
    /// Floats of physics state.
    pub state_size: u32,
    /// Floats a network sees.
    pub observation_size: u32,
    /// Lowest value of each action.
    pub action_low: Vec<f32>,
    /// Highest value of each action.
    pub action_high: Vec<f32>,
    /// Steps after which an episode is truncated.
    pub time_limit: u32,
}

impl Environment {
    /// An environment of your own. See the [module documentation](self) for what `source` must define.
    ///
    /// # Errors
    /// [`Error::Config`] for sizes that cannot be; the WGSL itself is checked when an agent is built.
    pub fn new(
        name: impl Into<Cow<'static, str>>,
        source: impl Into<Cow<'static, str>>,
        state_size: u32,
        observation_size: u32,
        action_low: Vec<f32>,
        action_high: Vec<f32>,
        time_limit: u32,
    ) -> Result<Self> {
        let environment =
            Self { name: name.into(), source: source.into(), state_size, observation_size, action_low, action_high, time_limit };
        environment.validate()?;
        Ok(environment)
    }

    /// A built-in environment by name: `Pendulum-v1` or `Pendulum-v0`.
    ///
    /// # Errors
    /// [`Error::Config`] listing the names there are.
    pub fn by_name(name: &str) -> Result<Self> {
        Self::built_in()
            .into_iter()
            .find(|environment| environment.name == name)
            .ok_or_else(|| Error::config(format!("there is no environment named {name:?}; choose from {}", Self::names().join(", "))))
    }

    /// The names that [`Environment::by_name`] knows.
    pub fn names() -> Vec<String> {
        Self::built_in().into_iter().map(|environment| environment.name.into_owned()).collect()
    }

    fn built_in() -> Vec<Self> {
        vec![Self::pendulum_v1(), Self::pendulum_v0()]
    }

    /// Actions a step takes.
    pub fn action_size(&self) -> u32 {
        self.action_low.len() as u32
    }

    /// Half the range of each action.
    pub fn action_scale(&self) -> Vec<f32> {
        self.action_low.iter().zip(&self.action_high).map(|(low, high)| 0.5 * (high - low)).collect()
    }

    /// The middle of each action's range.
    pub fn action_centre(&self) -> Vec<f32> {
        self.action_low.iter().zip(&self.action_high).map(|(low, high)| 0.5 * (high + low)).collect()
    }

    pub(crate) fn validate(&self) -> Result<()> {
        let name = &self.name;
        for (what, value) in [("state_size", self.state_size), ("observation_size", self.observation_size), ("time_limit", self.time_limit)]
        {
            if value == 0 {
                return Err(Error::config(format!("environment {name}: {what} is 0; it must be at least 1")));
            }
        }
        if self.action_low.is_empty() || self.action_low.len() != self.action_high.len() {
            return Err(Error::config(format!(
                "environment {name}: {} lowest and {} highest actions; there must be at least one, and as many of each",
                self.action_low.len(),
                self.action_high.len()
            )));
        }
        for (i, (low, high)) in self.action_low.iter().zip(&self.action_high).enumerate() {
            if !(low.is_finite() && high.is_finite() && low < high) {
                return Err(Error::config(format!(
                    "environment {name}: action {i} ranges from {low} to {high}; the bounds must be finite and increasing"
                )));
            }
        }
        Ok(())
    }

    /// The declarations that the environment's functions are written over.
    pub(crate) fn declarations(&self) -> String {
        format!(
            "const STATE_SIZE: u32 = {}u;\nconst OBSERVATION_SIZE: u32 = {}u;\nconst ACTION_SIZE: u32 = {}u;\n\
             alias State = array<f32, {0}>;\nalias Observation = array<f32, {1}>;\nalias Action = array<f32, {2}>;\n\
             struct Step {{ state: State, reward: f32, terminated: bool }}\n",
            self.state_size,
            self.observation_size,
            self.action_size()
        )
    }
}
