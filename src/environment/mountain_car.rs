//! Mountain car with a continuous force: `shaders/environment/mountain_car.wgsl`.
//!
//! Gymnasium's `MountainCarContinuous-v0`, exactly; the task is Moore's (1990). The state is the observation: position
//! (−1.2 to 0.6) and velocity (±0.07 a step). The action is a force in ±1. The episode terminates at position 0.45 and
//! is truncated after 999 steps. The reward is 100 at the goal, less 0.1 force² at every step: standing still returns 0,
//! and a solution should return above 90.

use super::Environment;

impl Environment {
    /// Gymnasium's `MountainCarContinuous-v0`; see [`mountain_car`](crate::environment::mountain_car).
    pub fn mountain_car_continuous_v0() -> Self {
        Environment {
            name: "MountainCarContinuous-v0".into(),
            source: include_str!("../../shaders/environment/mountain_car.wgsl").into(),
            state_size: 2,
            observation_size: 2,
            action_low: vec![-1.0],
            action_high: vec![1.0],
            time_limit: 999,
            observation_scale: Vec::new(),
        }
    }
}

/// One step in float64: (position, velocity) and force to the next state, the reward and whether it terminates.
pub fn reference(state: [f64; 2], force: f64) -> ([f64; 2], f64, bool) {
    let [position, velocity] = state;
    let force = force.clamp(-1.0, 1.0);
    let mut next_velocity = (velocity + 0.0015 * force - 0.0025 * (3.0 * position).cos()).clamp(-0.07, 0.07);
    let next_position = (position + next_velocity).clamp(-1.2, 0.6);
    if next_position == -1.2 {
        next_velocity = next_velocity.max(0.0);
    }
    let terminated = next_position >= 0.45 && next_velocity >= 0.0;
    let goal = if terminated { 100.0 } else { 0.0 };
    ([next_position, next_velocity], goal - 0.1 * force * force, terminated)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Expected, Taken, Trial, assert_distinct, assert_step, assert_uniform, between};
    use super::*;

    fn expected(taken: &Taken) -> Expected {
        let (state, reward, terminated) = reference([taken.state[0].into(), taken.state[1].into()], taken.action[0].into());
        // either side of the goal line, or of standing on it
        let near_goal = (state[0] - 0.45).abs() < 1e-6 || (state[0] > 0.449 && state[1].abs() < 1e-7);
        Expected { state: state.into(), reward, terminated, observation: state.into(), undecided: near_goal }
    }

    #[test]
    fn steps_equal_the_reference_and_resets_are_gymnasiums() {
        let mut trial = Trial::new(&Environment::mountain_car_continuous_v0(), 512);
        let first = trial.states();
        assert_distinct(&first);
        assert_uniform("position", first.iter().map(|state| state[0].into()), -0.6, -0.4);
        assert!(first.iter().all(|state| state[1] == 0.0), "it starts at rest");
        for _ in 0..100 {
            trial.step().iter().for_each(|taken| assert_step(taken, &expected(taken)));
        }
        // the whole range, both ends included
        trial.set_states(|i| vec![between(i, 0, -1.3, 0.65).clamp(-1.2, 0.6), between(i, 1, -0.08, 0.08).clamp(-0.07, 0.07)]);
        let taken = trial.step();
        taken.iter().for_each(|taken| assert_step(taken, &expected(taken)));
        let count = |which: fn(&Taken) -> bool| taken.iter().filter(|taken| which(taken)).count();
        assert!(count(|taken| taken.terminated && taken.ended && taken.reward > 99.0) > 10);
        assert!(count(|taken| taken.next_state == [-1.2, 0.0]) > 10, "the left end stops the car");
    }

    /// Steps that Gymnasium 1.4.0 takes (it keeps its state in float32).
    #[test]
    fn the_reference_is_gymnasiums() {
        let steps = [
            ([-0.5, 0.0], -0.731, [-0.5012733, -0.001273343], -0.0534361, false),
            ([-1.19, -0.06], 0.695, [-1.2, 0.0], -0.0483025, false),
            ([0.44, 0.05], 0.528, [0.4901716, 0.05017156], 99.9721216, true),
            ([-0.1, 0.03], -0.49, [-0.07312334, 0.02687666], -0.02401, false),
            ([0.45, -0.004], -0.009, [0.445439, -0.004561017], -8.1e-06, false),
            ([0.595, 0.07], -0.101, [0.6, 0.07], 99.9989799, true),
            ([-1.2, -0.07], 0.303, [-1.2, 0.0], -0.0091809, false),
        ];
        for (state, force, next, reward, terminated) in steps {
            let (own, own_reward, own_terminated) = reference(state, force);
            assert!((own[0] - next[0]).abs() < 1e-7 && (own[1] - next[1]).abs() < 1e-7, "from {state:?}: {own:?}, not {next:?}");
            assert!((own_reward - reward).abs() < 1e-7, "from {state:?}: reward {own_reward}, not {reward}");
            assert_eq!(own_terminated, terminated, "from {state:?}");
        }
    }
}
