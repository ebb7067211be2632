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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::harness::{assert_close, rig};
    use crate::kernels::world::{World, quiet};
    use serde::Deserialize;
    use std::path::PathBuf;

    #[derive(Deserialize)]
    struct Golden {
        dynamics: String,
        trajectories: Vec<Trajectory>,
    }

    #[derive(Deserialize)]
    struct Trajectory {
        initial_angle: f64,
        initial_angular_velocity: f64,
        steps: Vec<Recorded>,
    }

    #[derive(Deserialize)]
    struct Recorded {
        torque: f64,
        reward: f64,
        angle: f64,
        angular_velocity: f64,
        observation: [f64; 3],
    }

    /// Every `tests/golden/pendulum-*.json`.
    fn golden() -> Vec<(PathBuf, Golden)> {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
        let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let files: Vec<_> = entries
            .map(|entry| entry.expect("the folder can be listed").path())
            .filter(|path| {
                let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
                name.starts_with("pendulum-") && name.ends_with(".json")
            })
            .collect();
        assert!(!files.is_empty(), "no pendulum-*.json in {}", folder.display());
        let read = |path: PathBuf| {
            let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            let golden = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            (path, golden)
        };
        files.into_iter().map(read).collect()
    }

    /// State before, and what was recorded after, each step of every trajectory.
    fn steps(golden: &Golden) -> Vec<([f64; 2], &Recorded)> {
        let trajectory = |t: &'_ Trajectory| [t.initial_angle, t.initial_angular_velocity];
        let mut all = Vec::new();
        for t in &golden.trajectories {
            let mut state = trajectory(t);
            for step in &t.steps {
                all.push((state, step));
                state = [step.angle, step.angular_velocity];
            }
        }
        assert!(!all.is_empty(), "no steps");
        all
    }

    fn limits_before_moving(golden: &Golden) -> bool {
        match golden.dynamics.as_str() {
            "v1" => true,
            "v0" => false,
            other => panic!("unknown dynamics {other:?}"),
        }
    }

    #[test]
    fn the_reference_steps_as_recorded() {
        for (path, golden) in golden() {
            let before_moving = limits_before_moving(&golden);
            for (i, (state, recorded)) in steps(&golden).into_iter().enumerate() {
                let (reward, next) = reference(state, recorded.torque, before_moving);
                let what = format!("{}, step {i}", path.display());
                let expected = [recorded.reward, recorded.angle, recorded.angular_velocity];
                assert_close(&[reward, next[0], next[1]], &expected, 1e-9, 1e-9, &what);
                // Gymnasium rounds its observations to float32
                let observation = [next[0].cos(), next[0].sin(), next[1]];
                assert_close(&observation, &recorded.observation, 1e-7, 1e-7, &format!("{what}: observation"));
            }
        }
    }

    #[test]
    fn the_training_shader_steps_as_recorded() {
        for (path, golden) in golden() {
            let environment = if limits_before_moving(&golden) { Environment::pendulum_v1() } else { Environment::pendulum_v0() };
            let steps = steps(&golden);
            let count = steps.len() as u32;
            let mut world = World::new(rig(&environment), &environment, &quiet(2, count, count + 7));
            for agent in 0..2 {
                world.put_actor_output(agent, &steps.iter().map(|(_, step)| step.torque as f32).collect::<Vec<_>>());
                let seen = |state: [f64; 2]| [state[0].cos(), state[0].sin(), state[1]].map(|x| x as f32);
                world.put_observations(agent, &steps.iter().flat_map(|(state, _)| seen(*state)).collect::<Vec<_>>());
                for (i, (state, _)) in (0..).zip(&steps) {
                    let [angle, velocity] = state.map(|x| x as f32);
                    // state, noise, return, length, and no finished episode
                    world.environment(agent, i).copy_from_slice(&[angle, velocity, 0.0, 0.0, 0.0, 0.0, 0.0]);
                }
            }
            world.step(1);
            for agent in 0..2 {
                let next = world.observations(agent);
                for (i, (before, recorded)) in (0..).zip(&steps) {
                    let what = format!("{}, agent {agent}, step {i}", path.display());
                    let stored = world.stored(agent, i);
                    let seen = [before[0].cos(), before[0].sin(), before[1]];
                    assert_close(&stored.observation, &seen, 0.0, 1e-6, &format!("{what}: observation before"));
                    let state = world.environment(agent, i)[..2].to_vec();
                    assert_close(&state, &[recorded.angle, recorded.angular_velocity], 0.0, 1e-4, &format!("{what}: state"));
                    assert_close(&[stored.reward], &[recorded.reward], 0.0, 1e-4, &format!("{what}: reward"));
                    assert_close(&stored.next_observation, &recorded.observation, 0.0, 1e-4, &format!("{what}: observation"));
                    assert_eq!(stored.next_observation, next[3 * i as usize..3 * i as usize + 3], "{what}: what the actor sees next");
                    assert_eq!(stored.terminated, 0.0, "{what}");
                    assert_eq!(stored.action, [(recorded.torque as f32).clamp(-2.0, 2.0)], "{what}: action");
                }
            }
        }
    }
}
