//! A point mass finds its way between obstacles by range sensors: `shaders/environment/navigator.wgsl`.
//!
//! A square of ±1 m with four round obstacles (radius 0.2 m, one a quadrant, elsewhere in each episode), and a goal. Two
//! actions: accelerations of ±1 m/s², against a linear drag of 1/s; dt = 0.1 s. Contact is rigid, inelastic and smooth.
//!
//! State: position, velocity, goal, the obstacles' centres (14 floats). Observation (28 floats): distances (m, at most 1)
//! along 24 rays 15° apart from +x counterclockwise; velocity (m/s); goal less position (m). The episode terminates within
//! 0.15 m of the goal and is truncated after 200 steps (20 s). The reward is the metres that the step came closer to the
//! goal − 0.05, and + 10 where it terminates; standing still returns −10, and going straight about 10 + the distance − 1.

use super::Environment;

impl Environment {
    /// Point-mass navigator; see [`navigator`](crate::environment::navigator).
    pub fn navigator_v0() -> Self {
        Environment {
            name: "Navigator-v0".into(),
            source: include_str!("../../shaders/environment/navigator.wgsl").into(),
            state_size: 14,
            observation_size: 28,
            action_low: vec![-1.0; 2],
            action_high: vec![1.0; 2],
            time_limit: 200,
            observation_scale: Vec::new(),
        }
    }
}

const RADIUS: f64 = 0.2;

fn obstacles(state: &[f64; 14]) -> impl Iterator<Item = [f64; 2]> + '_ {
    state[6..].chunks(2).map(|centre| [centre[0], centre[1]])
}

/// One step in float64: the fourteen floats of state and two accelerations to the next state, the reward and whether it
/// terminates.
pub fn reference(state: [f64; 14], action: [f64; 2]) -> ([f64; 14], f64, bool) {
    const DT: f64 = 0.1;
    let mut next = state;
    for axis in 0..2 {
        next[2 + axis] += (action[axis].clamp(-1.0, 1.0) - state[2 + axis]) * DT;
        next[axis] += next[2 + axis] * DT;
    }
    for [x, y] in obstacles(&state) {
        let away = [next[0] - x, next[1] - y];
        let distance = away[0].hypot(away[1]);
        if distance < RADIUS {
            let normal = [away[0] / distance, away[1] / distance];
            let into = (next[2] * normal[0] + next[3] * normal[1]).min(0.0);
            for axis in 0..2 {
                next[axis] += (RADIUS - distance) * normal[axis];
                next[2 + axis] -= into * normal[axis];
            }
        }
    }
    for axis in 0..2 {
        if next[axis].abs() > 1.0 {
            next[axis] = next[axis].clamp(-1.0, 1.0);
            next[2 + axis] = 0.0;
        }
    }
    let to_goal = |state: &[f64; 14]| (state[4] - state[0]).hypot(state[5] - state[1]);
    let terminated = to_goal(&next) < 0.15;
    let reached = if terminated { 10.0 } else { 0.0 };
    (next, to_goal(&state) - to_goal(&next) - 0.05 + reached, terminated)
}

/// What a network sees of a state, in float64.
pub fn reference_observation(state: [f64; 14]) -> [f64; 28] {
    std::array::from_fn(|i| match i {
        0..24 => range(&state, (15.0 * i as f64).to_radians()),
        24..26 => state[i - 22],
        _ => state[i - 22] - state[i - 26],
    })
}

/// The distance along one ray, by the quadratic equation of ray and circle.
fn range(state: &[f64; 14], bearing: f64) -> f64 {
    let along = [bearing.cos(), bearing.sin()];
    let mut nearest: f64 = 1.0;
    for axis in 0..2 {
        if along[axis].abs() > 1e-6 {
            nearest = nearest.min((along[axis].signum() - state[axis]) / along[axis]);
        }
    }
    for [x, y] in obstacles(state) {
        let to_centre = [x - state[0], y - state[1]];
        let half_b = to_centre[0] * along[0] + to_centre[1] * along[1];
        let discriminant = half_b * half_b - (to_centre[0].powi(2) + to_centre[1].powi(2) - RADIUS * RADIUS);
        if half_b > 0.0 && discriminant > 0.0 {
            nearest = nearest.min((half_b - discriminant.sqrt()).max(0.0));
        }
    }
    nearest
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Expected, Taken, Trial, assert_distinct, assert_step, assert_uniform, between};
    use super::*;

    /// Whether some ray grazes an obstacle so closely that float32 may see it where float64 does not, or the reverse; or
    /// the point lies on a threshold of the physics.
    fn undecided(taken: &Taken, next: &[f64; 14]) -> bool {
        let grazes = (0..24).any(|ray| {
            let (sine, cosine) = (15.0 * f64::from(ray)).to_radians().sin_cos();
            obstacles(next).any(|[x, y]| {
                let across = (x - next[0]) * sine - (y - next[1]) * cosine;
                let ahead = (x - next[0]) * cosine + (y - next[1]) * sine;
                (across.abs() - RADIUS).abs() < 1e-4 || (ahead.abs() < 1e-5 && across.abs() < RADIUS)
            })
        });
        let at_goal = ((next[4] - next[0]).hypot(next[5] - next[1]) - 0.15).abs() < 1e-5;
        let on_wall = (0..2).any(|axis| (f64::from(taken.state[axis]) + 0.1 * next[2 + axis]).abs() == 1.0);
        grazes || at_goal || on_wall
    }

    fn expected(taken: &Taken) -> Expected {
        let state: [f64; 14] = std::array::from_fn(|i| taken.state[i].into());
        let (next, reward, terminated) = reference(state, [taken.action[0].into(), taken.action[1].into()]);
        let observation = reference_observation(next).into();
        Expected { state: next.into(), reward, terminated, observation, undecided: undecided(taken, &next) }
    }

    fn compare(taken: &[Taken]) {
        let expected: Vec<_> = taken.iter().map(expected).collect();
        let decided = expected.iter().filter(|expected| !expected.undecided).count();
        assert!(decided * 10 > taken.len() * 7, "only {decided} of {} steps can be compared", taken.len());
        taken.iter().zip(&expected).for_each(|(taken, expected)| assert_step(taken, expected));
    }

    #[test]
    fn steps_equal_the_reference_and_resets_are_free() {
        let mut trial = Trial::new(&Environment::navigator_v0(), 512);
        let first = trial.states();
        assert_distinct(&first);
        for coordinate in 6..14 {
            assert_uniform("an obstacle's coordinate", first.iter().map(|state| f64::from(state[coordinate]).abs()), 0.3, 0.7);
        }
        for state in &first {
            let state: [f64; 14] = std::array::from_fn(|i| state[i].into());
            assert_eq!(state[2..4], [0.0, 0.0], "it starts at rest");
            for [x, y] in obstacles(&state) {
                assert!((state[0] - x).hypot(state[1] - y) > 0.3 && (state[4] - x).hypot(state[5] - y) > 0.3, "{state:?}");
            }
            assert!([0, 1, 4, 5].iter().all(|&i| state[i].abs() <= 0.9), "{state:?}");
        }
        // not uniform over the square, because of the obstacles, but even about its middle
        for coordinate in [0, 1, 4, 5] {
            let mean = first.iter().map(|state| f64::from(state[coordinate])).sum::<f64>() / 512.0;
            let right = first.iter().filter(|state| state[coordinate] > 0.0).count();
            assert!(mean.abs() < 0.1 && (200..312).contains(&right), "coordinate {coordinate}: mean {mean}, {right} of 512 above 0");
        }
        for _ in 0..100 {
            compare(&trial.step());
        }
    }

    #[test]
    fn contacts_and_goals_equal_the_reference() {
        let mut trial = Trial::new(&Environment::navigator_v0(), 512);
        let starts = trial.states();
        trial.set_states(|i| {
            let mut state = starts[i].clone();
            let velocity = [between(i, 0, -1.0, 1.0), between(i, 1, -1.0, 1.0)];
            state[2..4].copy_from_slice(&velocity);
            match i % 3 {
                // just outside the first obstacle
                0 => {
                    let bearing = between(i, 2, 0.0, std::f64::consts::TAU);
                    let distance = between(i, 3, 0.201, 0.25);
                    state[0] = state[6] + distance * bearing.cos();
                    state[1] = state[7] + distance * bearing.sin();
                }
                // beside a wall
                1 => {
                    state[0] = between(i, 2, -1.0, 1.0);
                    state[1] = between(i, 3, 0.93, 1.0);
                }
                // beside the goal
                _ => {
                    state[0] = state[4] + between(i, 2, -0.3, 0.3);
                    state[1] = state[5] + between(i, 3, -0.3, 0.3);
                }
            }
            state
        });
        let taken = trial.step();
        compare(&taken);
        let count = |which: &dyn Fn(&Taken) -> bool| taken.iter().filter(|taken| which(taken)).count();
        let touching = |taken: &Taken| {
            let away = (taken.next_state[0] - taken.state[6]).hypot(taken.next_state[1] - taken.state[7]);
            (away - 0.2).abs() < 1e-5
        };
        assert!(count(&touching) > 30);
        assert!(count(&|taken| !taken.ended && taken.next_state[1] == 1.0 && taken.next_state[3] == 0.0) > 30);
        assert!(count(&|taken| taken.terminated && taken.ended && taken.reward > 9.0) > 10);
    }
}
