//! The environment contract: what a task must say of itself so that the shaders can simulate it; and the environments
//! that come with the crate.
//!
//! | name | actions | observations | ends |
//! |---|---|---|---|
//! | `Pendulum-v1`, `Pendulum-v0` | 1 | 3 | never; truncated after 200 steps |
//! | `MountainCarContinuous-v0`: [`mountain_car`] | 1 | 2 | at the goal; truncated after 999 |
//! | `CartPoleSwingUp-v0`: [`cart_pole`] | 1 | 5 | never; truncated after 500 |
//! | `Reacher-v0`: [`reacher`] | 2 | 10 | never; truncated after 100 |
//! | `Navigator-v0`: [`navigator`] | 2 | 28 | at the goal; truncated after 200 |
//!
//! # An environment of your own
//!
//! An [`Environment`] is a piece of WGSL, its sizes, the bounds of its actions and a time limit. The WGSL defines three
//! functions; this is a whole one, to copy and change (a cart on a rail, to be brought to the middle):
//!
//! ```
//! use ddpg_wgpu::Environment;
//!
//! const RAIL: &str = "
//! // The first state of an episode. State is array<f32, 2> here: position (m), velocity (m/s).
//! fn environment_reset(random: ptr<function, Random>) -> State {
//!     return State(2.0 * random_uniform(random) - 1.0, 0.0);
//! }
//!
//! // One step: the next state, the reward, and whether the task has ended for good. Action is array<f32, 1>: a force
//! // (N), within the bounds.
//! fn environment_step(state: State, action: Action, random: ptr<function, Random>) -> Step {
//!     let velocity = state[1] + 0.05 * action[0];
//!     let position = state[0] + 0.05 * velocity;
//!     let reward = -position * position - 0.1 * velocity * velocity;
//!     return Step(State(position, velocity), reward, abs(position) > 2.0);
//! }
//!
//! // What the networks see of a state. Observation is array<f32, 2> here.
//! fn environment_observe(state: State) -> Observation {
//!     return Observation(state[0], state[1]);
//! }
//! ";
//!
//! // name, WGSL, floats of State, floats of Observation, lowest and highest actions, time limit (steps)
//! let rail = Environment::new("Rail", RAIL, 2, 2, vec![-1.0], vec![1.0], 100)?;
//! rail.check()?;
//! # Ok::<(), ddpg_wgpu::Error>(())
//! ```
//!
//! Training it takes the same lines as any other:
//!
//! ```no_run
//! # let rail = ddpg_wgpu::Environment::pendulum_v1();
//! use ddpg_wgpu::{Config, Gpu, Trainer};
//! let gpu = Gpu::open_blocking(None)?;
//! let mut trainer = Trainer::new(&gpu.device, &gpu.queue, &rail, &Config::default())?;
//! trainer.advance_blocking(1000)?;
//! println!("{:.1}", trainer.evaluate_blocking(100, 1)?[0].mean_return);
//! # Ok::<(), ddpg_wgpu::Error>(())
//! ```
//!
//! `examples/custom_environment` is a whole program.
//!
//! # What is declared for you
//!
//! ```wgsl
//! const STATE_SIZE: u32 = ...; const OBSERVATION_SIZE: u32 = ...; const ACTION_SIZE: u32 = ...;
//! alias State = array<f32, STATE_SIZE>;
//! alias Observation = array<f32, OBSERVATION_SIZE>;
//! alias Action = array<f32, ACTION_SIZE>;
//! struct Step { state: State, reward: f32, terminated: bool }
//!
//! fn random_uniform(random: ptr<function, Random>) -> f32   // in [0, 1); another number at each call
//! fn random_normal(random: ptr<function, Random>) -> f32    // mean 0, variance 1
//! fn sine_cosine(x: f32) -> vec2f                           // (sin x, cos x), to 1e-7 on every device
//! fn wrap_angle(x: f32) -> f32                              // x in [-pi, pi)
//! fn hyperbolic_tangent(x: f32) -> f32                      // never overflows
//! fn is_finite(x: f32) -> bool
//! ```
//!
//! # The rules
//!
//! - **State** is all that lasts from step to step; **Observation** is what the networks see. Keep observations within a
//!   few units, and angles as cosine and sine.
//! - **Actions** arrive clipped to their bounds, in your units.
//! - **`terminated`** is for true ends only, those after which nothing more can be earned: it cuts the bootstrap. The time
//!   limit is counted for you and truncates without cutting it. The episode's last observation is kept for learning.
//! - **Randomness** comes from `random` alone, so that the same seed gives the same episode.
//! - **NaN or infinity** in a reward or an observation stops that agent with
//!   [`HaltReason::Environment`](crate::HaltReason::Environment), its parameters as they were; the others go on.
//! - **Indices** that are constant and exceed an array are refused; one that is computed is clamped into the array.
//! - Functions, constants, structs and aliases of your own are welcome, under names that neither the crate nor WGSL
//!   itself uses: a prefix helps. Bindings, workgroup memory, barriers, directives and entry points are refused.
//! - **Variables** of a function and private ones take at most 64 KiB together, and so does any one value.
//! - **Nesting**: 127 brackets at most lie in each other, and 1000 operators, brackets among them, such as those of a long
//!   sum; there are 1000 declarations at most. What reads WGSL would run out of stack.
//!
//! [`Environment::check`] tells all of it apart from a device, in your own lines and columns.

pub mod cart_pole;
mod host;
pub mod mountain_car;
pub mod navigator;
pub mod pendulum;
pub mod reacher;
#[cfg(test)]
pub(crate) mod testing;

use crate::error::{Error, Result};
use std::borrow::Cow;

/// An invocation holds them as it does a state and an observation, and every critic takes them beside the latter.
const MOST_ACTIONS: usize = 256;

/// A task to learn, simulated on the GPU.
///
/// ```
/// use ddpg_wgpu::Environment;
/// let pendulum = Environment::by_name("Pendulum-v1")?;
/// assert_eq!((pendulum.observation_size, pendulum.action_size(), pendulum.time_limit), (3, 1, 200));
/// assert!(Environment::by_name("Pendulum-v7").is_err_and(|error| error.to_string().contains("Pendulum-v1")));
/// # Ok::<(), ddpg_wgpu::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Environment {
    /// A name for people and for run directories.
    pub name: Cow<'static, str>,
    /// The WGSL of `environment_reset`, `environment_step` and `environment_observe`, and whatever they need.
    pub source: Cow<'static, str>,
    /// Floats of physics state, 1 to 4096.
    pub state_size: u32,
    /// Floats a network sees, 1 to 4096.
    pub observation_size: u32,
    /// Lowest value of each action, of which there are 1 to 256.
    pub action_low: Vec<f32>,
    /// Highest value of each action.
    pub action_high: Vec<f32>,
    /// Steps after which an episode is truncated, 1 to 16,777,216: a float counts them.
    pub time_limit: u32,
    /// The usual magnitude of each observation, above [`f32::MIN_POSITIVE`]; 1 where it is left empty. COPDAC-Q's fixed basis is
    /// spread over it.
    pub observation_scale: Vec<f32>,
}

impl Environment {
    /// An environment of your own. See the [module documentation](self) for what `source` must define.
    ///
    /// # Errors
    /// [`Error::Config`] for sizes and bounds that cannot be. The WGSL itself is checked by [`Environment::check`], and
    /// when a population is built.
    pub fn new(
        name: impl Into<Cow<'static, str>>,
        source: impl Into<Cow<'static, str>>,
        state_size: u32,
        observation_size: u32,
        action_low: Vec<f32>,
        action_high: Vec<f32>,
        time_limit: u32,
    ) -> Result<Self> {
        let environment = Self {
            name: name.into(),
            source: source.into(),
            state_size,
            observation_size,
            action_low,
            action_high,
            time_limit,
            observation_scale: Vec::new(),
        };
        environment.validate()?;
        Ok(environment)
    }

    /// A built-in environment by name: `Pendulum-v1`, `Pendulum-v0`, `MountainCarContinuous-v0`, `CartPoleSwingUp-v0`,
    /// `Reacher-v0` or `Navigator-v0`.
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
        vec![
            Self::pendulum_v1(),
            Self::pendulum_v0(),
            Self::mountain_car_continuous_v0(),
            Self::cart_pole_swing_up_v0(),
            Self::reacher_v0(),
            Self::navigator_v0(),
        ]
    }

    /// Actions a step takes.
    pub fn action_size(&self) -> u32 {
        self.action_low.len() as u32
    }

    /// Half the range of each action; less by a rounding where `centre ± scale` would else leave the bounds.
    pub fn action_scale(&self) -> Vec<f32> {
        let reach = |((&low, &high), centre): ((&f32, &f32), f32)| {
            let exact = (f64::from(high) - f64::from(centre)).min(f64::from(centre) - f64::from(low));
            let nearest = exact as f32;
            // what is exactly within the bounds is so when it is rounded, because they are numbers that rounding can give
            let scale = if f64::from(nearest) > exact { nearest.next_down() } else { nearest };
            // bounds with nothing between them
            if scale > 0.0 { scale } else { 0.5 * (high - low) }
        };
        self.action_low.iter().zip(&self.action_high).zip(self.action_centre()).map(reach).collect()
    }

    /// The middle of each action's range.
    pub fn action_centre(&self) -> Vec<f32> {
        self.action_low.iter().zip(&self.action_high).map(|(low, high)| 0.5 * (high + low)).collect()
    }

    pub(crate) fn validate(&self) -> Result<()> {
        let name = &self.name;
        // an invocation holds both arrays in its registers or its stack; 2^24 + 1 is the first integer that no f32 holds
        let most = [
            ("state_size", self.state_size, 4096),
            ("observation_size", self.observation_size, 4096),
            ("time_limit", self.time_limit, 1 << 24),
        ];
        for (what, value, most) in most {
            if value == 0 || value > most {
                return Err(Error::config(format!("environment {name}: {what} is {value}; it must lie in 1 to {most}")));
            }
        }
        if self.action_low.is_empty() || self.action_low.len() != self.action_high.len() {
            return Err(Error::config(format!(
                "environment {name}: {} lowest and {} highest actions; there must be at least one, and as many of each",
                self.action_low.len(),
                self.action_high.len()
            )));
        }
        if self.action_low.len() > MOST_ACTIONS {
            let given = self.action_low.len();
            return Err(Error::config(format!("environment {name}: it takes {given} actions; there must be 1 to {MOST_ACTIONS}")));
        }
        for (i, (low, high)) in self.action_low.iter().zip(&self.action_high).enumerate() {
            if !(low.is_finite() && high.is_finite() && low < high && (high - low).is_finite()) {
                return Err(Error::config(format!(
                    "environment {name}: action {i} ranges from {low} to {high}; the bounds and their difference must be finite, and the \
                     first below the second"
                )));
            }
        }
        let scales = &self.observation_scale;
        if !scales.is_empty() && scales.len() != self.observation_size as usize {
            return Err(Error::config(format!(
                "environment {name}: observation_scale holds {} numbers for {} observations; it must hold one for each, or none",
                scales.len(),
                self.observation_size
            )));
        }
        // what divides by it stays finite
        if let Some((i, scale)) = scales.iter().enumerate().find(|(_, scale)| !(scale.is_finite() && **scale > f32::MIN_POSITIVE)) {
            return Err(Error::config(format!(
                "environment {name}: observation_scale[{i}] is {scale:?}; it must be finite and above {:e}",
                f32::MIN_POSITIVE
            )));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_action_leaves_its_bounds_by_rounding() {
        let mut bounds: Vec<(f32, f32)> = (-30..30)
            .flat_map(|low| (low + 1..=30).map(move |high| (low, high)))
            .map(|(low, high)| (low as f32 / 10.0, high as f32 / 10.0))
            .collect();
        bounds.extend([(-1e4, 0.01), (1e6, 1e6 + 0.3), (0.0, f32::MIN_POSITIVE), (-1.0, 1e30), (1.0, 1.0 + 2.0 * f32::EPSILON)]);
        for bounds in bounds.chunks(MOST_ACTIONS) {
            let (low, high): (Vec<_>, Vec<_>) = bounds.iter().copied().unzip();
            let environment = Environment::host("bounds", 1, low.clone(), high.clone()).expect("bounds");
            let reached = environment.action_centre().into_iter().zip(environment.action_scale());
            for ((centre, scale), (low, high)) in reached.zip(low.into_iter().zip(high)) {
                let (least, most) = (centre - scale, centre + scale);
                assert!(scale > 0.0 && least >= low && most <= high, "{low} to {high}: {least} to {most}");
                // nearly all of the range is reached: as near as numbers of that size lie
                let spacing = f32::EPSILON * low.abs().max(high.abs());
                assert!(least - low <= 2.0 * spacing && high - most <= 2.0 * spacing, "{low} to {high}: {least} to {most}");
            }
        }
        assert_eq!(Environment::pendulum_v1().action_scale(), [2.0]);
    }
}
