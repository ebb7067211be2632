//! Swing a pole up by pushing the cart it is hinged on: `shaders/environment/cart_pole.wgsl`.
//!
//! The equations of Barto, Sutton & Anderson (1983, appendix) without friction, with a continuous force of ±10 N: a cart of
//! 1 kg, a uniform pole of 0.1 kg and 1 m, g = 9.8 m/s², semi-implicit Euler with dt = 0.02 s. The pole hangs at first;
//! the track ends at ±2.4 m, where the cart stops dead and the pole swings on.
//!
//! State: position (m), velocity (m/s), angle (rad, 0 upright), angular velocity (rad/s), each starting uniform in ±0.1
//! around hanging at rest. Observation: position, velocity, cos and sin of the angle, angular velocity. The reward, from 0
//! to 1, is (1 + cos angle) / 2 · (1 − (position / 2.4)² / 2) after the step. It never terminates and is truncated after
//! 500 steps (10 s), so that an episode returns at most 500; balancing from the start would, hanging still returns 0.

use super::Environment;

impl Environment {
    /// Cart-pole swing-up with a continuous force; see [`cart_pole`](crate::environment::cart_pole).
    pub fn cart_pole_swing_up_v0() -> Self {
        Environment {
            name: "CartPoleSwingUp-v0".into(),
            source: include_str!("../../shaders/environment/cart_pole.wgsl").into(),
            state_size: 4,
            observation_size: 5,
            action_low: vec![-10.0],
            action_high: vec![10.0],
            time_limit: 500,
            observation_scale: Vec::new(),
        }
    }
}

/// One step in float64: (position, velocity, angle, angular velocity) and force to the next state and the reward.
pub fn reference(state: [f64; 4], force: f64) -> ([f64; 4], f64) {
    const DT: f64 = 0.02;
    let [position, velocity, angle, angular_velocity] = state;
    let [acceleration, angular_acceleration] = accelerations(state, force.clamp(-10.0, 10.0));
    let mut next_velocity = velocity + acceleration * DT;
    let next_angular_velocity = angular_velocity + angular_acceleration * DT;
    let free = position + next_velocity * DT;
    let next_position = free.clamp(-2.4, 2.4);
    if free.abs() > 2.4 {
        next_velocity = 0.0;
    }
    let next_angle = angle + next_angular_velocity * DT;
    let reward = 0.5 * (1.0 + next_angle.cos()) * (1.0 - 0.5 * (next_position / 2.4).powi(2));
    ([next_position, next_velocity, next_angle, next_angular_velocity], reward)
}

/// The cart's acceleration (m/s²) and the pole's angular acceleration (rad/s²).
pub fn accelerations(state: [f64; 4], force: f64) -> [f64; 2] {
    const GRAVITY: f64 = 9.8;
    const POLE: f64 = 0.1;
    const TOTAL: f64 = 1.1;
    const HALF_LENGTH: f64 = 0.5;
    let [_, _, angle, angular_velocity] = state;
    let (sine, cosine) = angle.sin_cos();
    let pull = (force + POLE * HALF_LENGTH * angular_velocity.powi(2) * sine) / TOTAL;
    let angular = (GRAVITY * sine - cosine * pull) / (HALF_LENGTH * (4.0 / 3.0 - POLE * cosine.powi(2) / TOTAL));
    [pull - POLE * HALF_LENGTH * angular * cosine / TOTAL, angular]
}

/// What a network sees of a state, in float64.
pub fn reference_observation(state: [f64; 4]) -> [f64; 5] {
    let [position, velocity, angle, angular_velocity] = state;
    [position, velocity, angle.cos(), angle.sin(), angular_velocity]
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Expected, Taken, Trial, assert_distinct, assert_step, assert_uniform, between};
    use super::*;
    use std::f64::consts::PI;

    fn expected(taken: &Taken) -> Expected {
        let (state, reward) = reference(std::array::from_fn(|i| taken.state[i].into()), taken.action[0].into());
        let undecided = (state[0].abs() - 2.4).abs() < 1e-5 && state[1] != 0.0;
        Expected { state: state.into(), reward, terminated: false, observation: reference_observation(state).into(), undecided }
    }

    #[test]
    fn steps_equal_the_reference_and_resets_hang() {
        let mut trial = Trial::new(&Environment::cart_pole_swing_up_v0(), 512);
        let first = trial.states();
        assert_distinct(&first);
        for (i, (what, centre)) in [("position", 0.0), ("velocity", 0.0), ("angle", PI), ("angular velocity", 0.0)].into_iter().enumerate()
        {
            assert_uniform(what, first.iter().map(|state| f64::from(state[i]) - centre), -0.1, 0.1);
        }
        for _ in 0..100 {
            trial.step().iter().for_each(|taken| assert_step(taken, &expected(taken)));
        }
        trial.set_states(|i| {
            vec![between(i, 0, -2.4, 2.4), between(i, 1, -8.0, 8.0), between(i, 2, -30.0, 30.0), between(i, 3, -15.0, 15.0)]
        });
        let taken = trial.step();
        taken.iter().for_each(|taken| assert_step(taken, &expected(taken)));
        let stopped = taken.iter().filter(|taken| taken.next_state[0].abs() == 2.4 && taken.next_state[1] == 0.0).count();
        assert!(stopped > 5, "the track's ends stopped {stopped} carts");
        assert!(taken.iter().all(|taken| (0.0..=1.0).contains(&taken.reward)));
    }

    /// Without a force nothing changes the energy or the horizontal momentum: a check of the equations themselves.
    #[test]
    fn the_reference_conserves_energy_and_momentum() {
        let energy = |[_, v, angle, w]: [f64; 4]| {
            // cart, then the uniform rod: its middle moves with the cart and swings at 0.5 m
            let (sine, cosine) = angle.sin_cos();
            let middle = [v + 0.5 * w * cosine, -0.5 * w * sine];
            let rod = 0.5 * 0.1 * (middle[0].powi(2) + middle[1].powi(2)) + 0.5 * (0.1 / 12.0) * w * w;
            0.5 * v * v + rod + 0.1 * 9.8 * 0.5 * cosine
        };
        let momentum = |[_, v, angle, w]: [f64; 4]| 1.1 * v + 0.1 * 0.5 * w * angle.cos();
        for i in 0..50 {
            let state = [0.0, between(i, 0, -3.0, 3.0).into(), between(i, 1, -4.0, 4.0).into(), between(i, 2, -9.0, 9.0).into()];
            let [a, alpha] = accelerations(state, 0.0);
            let h = 1e-6;
            let later = [0.0, state[1] + a * h, state[2] + state[3] * h, state[3] + alpha * h];
            assert!(((energy(later) - energy(state)) / h).abs() < 1e-3, "{state:?}");
            assert!(((momentum(later) - momentum(state)) / h).abs() < 1e-3, "{state:?}");
        }
    }
}
