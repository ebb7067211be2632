//! Pendulum: `shaders/environment/pendulum.wgsl`, in both versions.

use super::Environment;

impl Environment {
    /// Gymnasium's `Pendulum-v1`: the speed limit applies before the angle moves.
    pub fn pendulum_v1() -> Self {
        pendulum("Pendulum-v1", true)
    }

    /// Gym's `Pendulum-v0`: the speed limit applies after the angle has moved.
    pub fn pendulum_v0() -> Self {
        pendulum("Pendulum-v0", false)
    }
}

fn pendulum(name: &'static str, limit_before_moving: bool) -> Environment {
    let physics = include_str!("../../shaders/environment/pendulum.wgsl");
    Environment {
        name: name.into(),
        source: format!("{physics}\nconst LIMIT_BEFORE_MOVING: bool = {limit_before_moving};\n").into(),
        state_size: 2,
        observation_size: 3,
        action_low: vec![-2.0],
        action_high: vec![2.0],
        time_limit: 200,
        observation_scale: vec![1.0, 1.0, 8.0],
    }
}

/// One step in float64, the reference of the shader: (angle, angular velocity) and torque to the reward and next state.
pub fn reference(state: [f64; 2], torque: f64, limit_before_moving: bool) -> (f64, [f64; 2]) {
    use std::f64::consts::PI;
    let [angle, velocity] = state;
    let torque = torque.clamp(-2.0, 2.0);
    let wrapped = (angle + PI).rem_euclid(2.0 * PI) - PI;
    let reward = -(wrapped.powi(2) + 0.1 * velocity.powi(2) + 0.001 * torque.powi(2));
    let next = velocity + (15.0 * angle.sin() + 3.0 * torque) * 0.05;
    let limited = next.clamp(-8.0, 8.0);
    let moving = if limit_before_moving { limited } else { next };
    (reward, [angle + moving * 0.05, limited])
}
