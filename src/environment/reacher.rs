//! An arm of two links reaches for random goals: `shaders/environment/reacher.wgsl`.
//!
//! Two uniform rods of 0.5 m and 1 kg in a horizontal plane, with the equations of Murray, Li & Sastry (1994, section
//! 4.2.3) and viscous damping of 0.2 N·m·s/rad in both joints. Two actions: torques of ±1 N·m at shoulder and elbow. A
//! step is 0.05 s, in four of semi-implicit Euler.
//!
//! State: both angles (rad), both velocities (rad/s), goal (m). Observation: cos and sin of the shoulder, of the elbow,
//! both velocities, the goal, and the fingertip less the goal. It starts in any posture at rest, with a goal uniform over
//! the ring from 0.2 to 0.95 m around the shoulder. The reward is −distance (m) after the step − 0.01 |torque|². It never
//! terminates and is truncated after 100 steps (5 s).

use super::Environment;

impl Environment {
    /// Two-link reacher; see [`reacher`](crate::environment::reacher).
    pub fn reacher_v0() -> Self {
        Environment {
            name: "Reacher-v0".into(),
            source: include_str!("../../shaders/environment/reacher.wgsl").into(),
            state_size: 6,
            observation_size: 10,
            action_low: vec![-1.0; 2],
            action_high: vec![1.0; 2],
            time_limit: 100,
            observation_scale: Vec::new(),
        }
    }
}

const LINK: f64 = 0.5;
const A: f64 = 5.0 / 12.0;
const B: f64 = 1.0 / 8.0;
const D: f64 = 1.0 / 12.0;

/// Angular accelerations (rad/s²) of shoulder and elbow under `net` torques (N·m), damping not included.
pub fn accelerations(angle: [f64; 2], velocity: [f64; 2], net: [f64; 2]) -> [f64; 2] {
    let (sine, cosine) = angle[1].sin_cos();
    let (m11, m12) = (A + 2.0 * B * cosine, D + B * cosine);
    let left = [net[0] + B * sine * (2.0 * velocity[0] * velocity[1] + velocity[1].powi(2)), net[1] - B * sine * velocity[0].powi(2)];
    let determinant = m11 * D - m12 * m12;
    [(D * left[0] - m12 * left[1]) / determinant, (m11 * left[1] - m12 * left[0]) / determinant]
}

/// One step in float64: the six floats of state and two torques to the next state and the reward.
pub fn reference(state: [f64; 6], torque: [f64; 2]) -> ([f64; 6], f64) {
    let torque = torque.map(|torque| torque.clamp(-1.0, 1.0));
    let mut angle = [state[0], state[1]];
    let mut velocity = [state[2], state[3]];
    for _ in 0..4 {
        let net = [torque[0] - 0.2 * velocity[0], torque[1] - 0.2 * velocity[1]];
        let acceleration = accelerations(angle, velocity, net);
        for joint in 0..2 {
            velocity[joint] += 0.0125 * acceleration[joint];
            angle[joint] += 0.0125 * velocity[joint];
        }
    }
    let [x, y] = fingertip(angle);
    let distance = (x - state[4]).hypot(y - state[5]);
    let next = [angle[0], angle[1], velocity[0], velocity[1], state[4], state[5]];
    (next, -distance - 0.01 * (torque[0].powi(2) + torque[1].powi(2)))
}

/// Where the fingertip is (m from the shoulder).
pub fn fingertip(angle: [f64; 2]) -> [f64; 2] {
    let (upper, lower) = (angle[0], angle[0] + angle[1]);
    [LINK * (upper.cos() + lower.cos()), LINK * (upper.sin() + lower.sin())]
}

/// What a network sees of a state, in float64.
pub fn reference_observation(state: [f64; 6]) -> [f64; 10] {
    let [shoulder, elbow, v0, v1, goal_x, goal_y] = state;
    let [x, y] = fingertip([shoulder, elbow]);
    [shoulder.cos(), shoulder.sin(), elbow.cos(), elbow.sin(), v0, v1, goal_x, goal_y, x - goal_x, y - goal_y]
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Expected, Taken, Trial, assert_distinct, assert_step, assert_uniform, between};
    use super::*;
    use std::f64::consts::PI;

    fn expected(taken: &Taken) -> Expected {
        let (state, reward) = reference(std::array::from_fn(|i| taken.state[i].into()), [taken.action[0].into(), taken.action[1].into()]);
        Expected { state: state.into(), reward, terminated: false, observation: reference_observation(state).into(), undecided: false }
    }

    #[test]
    fn steps_equal_the_reference_and_resets_are_uniform() {
        let mut trial = Trial::new(&Environment::reacher_v0(), 512);
        let first = trial.states();
        assert_distinct(&first);
        assert_uniform("shoulder", first.iter().map(|state| state[0].into()), -PI, PI);
        assert_uniform("elbow", first.iter().map(|state| state[1].into()), -PI, PI);
        assert!(first.iter().all(|state| state[2..4] == [0.0, 0.0]), "it starts at rest");
        let goal = |state: &Vec<f32>| [f64::from(state[4]), f64::from(state[5])];
        assert_uniform("goal's squared radius", first.iter().map(goal).map(|[x, y]| x * x + y * y), 0.04, 0.9025);
        assert_uniform("goal's bearing", first.iter().map(goal).map(|[x, y]| y.atan2(x)), -PI, PI);
        for _ in 0..120 {
            trial.step().iter().for_each(|taken| assert_step(taken, &expected(taken)));
        }
        trial.set_states(|i| {
            let wide = [10.0, 10.0, 6.0, 6.0, 0.9, 0.9];
            (0..6).map(|j| between(i, j as u32, -wide[j], wide[j])).collect()
        });
        trial.step().iter().for_each(|taken| assert_step(taken, &expected(taken)));
    }

    /// Without torque the kinetic energy stays, whatever the posture: a check of mass matrix and Coriolis terms together.
    #[test]
    fn the_reference_conserves_energy() {
        let energy = |angle: [f64; 2], v: [f64; 2]| {
            // from the motion of the two rods themselves, not from the matrix
            let rod = |middle: [f64; 2], turning: f64| 0.5 * (middle[0].powi(2) + middle[1].powi(2)) + 0.5 / 48.0 * turning.powi(2);
            let (upper, lower) = (angle[0], angle[0] + angle[1]);
            let elbow = [-LINK * upper.sin() * v[0], LINK * upper.cos() * v[0]];
            let turning = v[0] + v[1];
            let second = [elbow[0] - 0.25 * lower.sin() * turning, elbow[1] + 0.25 * lower.cos() * turning];
            rod([0.5 * elbow[0], 0.5 * elbow[1]], v[0]) + rod(second, turning)
        };
        for i in 0..50 {
            let draw = |j, range: f64| f64::from(between(i, j, -range, range));
            let (angle, v) = ([draw(0, 4.0), draw(1, 4.0)], [draw(2, 6.0), draw(3, 6.0)]);
            let a = accelerations(angle, v, [0.0; 2]);
            let h = 1e-6;
            let later = energy([angle[0] + h * v[0], angle[1] + h * v[1]], [v[0] + h * a[0], v[1] + h * a[1]]);
            assert!(((later - energy(angle, v)) / h).abs() < 1e-3, "{angle:?} {v:?}");
            // and a torque adds its power
            let a = accelerations(angle, v, [0.7, -0.4]);
            let later = energy([angle[0] + h * v[0], angle[1] + h * v[1]], [v[0] + h * a[0], v[1] + h * a[1]]);
            assert!(((later - energy(angle, v)) / h - (0.7 * v[0] - 0.4 * v[1])).abs() < 1e-3, "{angle:?} {v:?}");
        }
    }
}
