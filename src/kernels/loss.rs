//! The critic's target, error and gradient, and the policy's objective: `shaders/loss.wgsl`.
//!
//! Lillicrap et al. 2016, Algorithm 1. Every slice is one number a row of the minibatch.

/// The critic's part of an update.
#[derive(Debug, Clone, PartialEq)]
pub struct TemporalDifference {
    /// y = r + γ (1 − terminated) Q′(s′, μ′(s′)).
    pub td_target: Vec<f64>,
    /// y − Q(s, a).
    pub td_error: Vec<f64>,
    /// Mean of the squared errors.
    pub loss: f64,
    /// dL/dQ = −2 (y − Q) / rows.
    pub d_value: Vec<f64>,
}

/// TD target, error, mean squared error and its gradient in float64.
pub fn reference_temporal_difference(
    reward: &[f64],
    terminated: &[bool],
    value: &[f64],
    next_value: &[f64],
    gamma: f64,
) -> TemporalDifference {
    let rows = value.len() as f64;
    let bootstrap = terminated.iter().zip(next_value).map(|(terminated, next)| if *terminated { 0.0 } else { gamma * next });
    let td_target: Vec<_> = reward.iter().zip(bootstrap).map(|(reward, next)| reward + next).collect();
    let td_error: Vec<_> = td_target.iter().zip(value).map(|(target, value)| target - value).collect();
    let loss = td_error.iter().map(|error| error * error).sum::<f64>() / rows;
    let d_value = td_error.iter().map(|error| -2.0 * error / rows).collect();
    TemporalDifference { td_target, td_error, loss, d_value }
}

/// The policy's loss −J = −mean Q(s, μ(s)), and its gradient −1 / rows for each value.
pub fn reference_policy_objective(value: &[f64]) -> (f64, Vec<f64>) {
    let rows = value.len() as f64;
    (-value.iter().sum::<f64>() / rows, vec![-1.0 / rows; value.len()])
}

/// Actions that lie beyond 99 % of half their range from its centre, as a share of all. `action` `[rows, actions]`.
pub fn reference_saturated(action: &[f64], scale: &[f64], centre: &[f64]) -> f64 {
    let beyond = |(i, a): &(usize, &f64)| (**a - centre[i % centre.len()]).abs() > 0.99 * scale[i % scale.len()];
    action.iter().enumerate().filter(beyond).count() as f64 / action.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Environment;
    use crate::allocator::{Allocator, vec4s};
    use crate::config::TargetUpdate;
    use crate::kernels::Kernel;
    use crate::kernels::harness::{Contents, Numbers, Place, ROWS, Rig, assert_close, differences, rigs, step, wide};
    use crate::memory::AgentState;
    use crate::operation::{Access, Matrix, Operation, Step, flag};

    const AGENTS: u32 = 3;

    /// Values, next values, rewards and gradients of `rows` rows, apart from each other.
    struct Layout {
        value: Matrix,
        next_value: Matrix,
        rewards: Matrix,
        d_value: Matrix,
        action: Matrix,
        contents: Contents,
    }

    impl Layout {
        fn new(rows: u32, sampled: u32, actions: u32) -> Self {
            let mut room = Allocator { used: 1 };
            let mut matrix = |columns, gap| {
                room.vector(gap);
                room.matrix(rows, columns)
            };
            // one more column than a value takes: its stride is not one
            let value = matrix(2, 1).window(0, 1);
            let next_value = matrix(3, 2).window(1, 1);
            let rewards = matrix(1, 1);
            let d_value = matrix(2, 3).window(1, 1);
            let action = matrix(vec4s(actions) + 1, 1).window(0, vec4s(actions));
            let mut contents = Contents::new(AGENTS, 2 * vec4s(actions) + 2, room.length());
            contents.sizes.action_size = actions;
            for (agent, state) in contents.states.iter_mut().enumerate() {
                state.replay_length = sampled;
                state.updates = 7 * agent as u32;
                contents.hyper_parameters[agent].gamma = [0.99, 0.5, 0.0][agent];
            }
            Self { value, next_value, rewards, d_value, action, contents }
        }

        fn temporal_difference(&self) -> Step {
            let operation = Operation {
                kind: Kernel::TemporalDifference as u32,
                units: 1,
                flags: flag::MINIBATCH_ROWS,
                rows: self.value.rows,
                input: self.value.offset,
                input_stride: self.value.stride,
                forward: self.next_value.offset,
                forward_stride: self.next_value.stride,
                statistics: self.rewards.offset,
                output: self.d_value.offset,
                output_stride: self.d_value.stride,
                ..Default::default()
            };
            step(operation, vec![Access::Agent], vec![self.rewards.access(), self.d_value.access(), Access::Agent])
        }

        fn policy_objective(&self, bounds: u32) -> Step {
            let operation = Operation {
                kind: Kernel::PolicyObjective as u32,
                units: 1,
                flags: flag::MINIBATCH_ROWS,
                rows: self.value.rows,
                columns: self.action.columns,
                input: self.value.offset,
                input_stride: self.value.stride,
                forward: self.action.offset,
                forward_stride: self.action.stride,
                norm: bounds,
                output: self.d_value.offset,
                output_stride: self.d_value.stride,
                ..Default::default()
            };
            step(operation, vec![Access::Agent], vec![self.d_value.access(), Access::Agent])
        }

        fn put(&mut self, agent: u32, matrix: Matrix, values: &[f32]) {
            Place::new(matrix.offset, matrix.stride, 1).put(self.contents.activations_of(agent), values);
        }

        fn take(&mut self, agent: u32, matrix: Matrix, rows: u32) -> Vec<f32> {
            let place = Place::new(matrix.offset, matrix.stride, 1);
            assert!(place.untouched(self.contents.activations_of(agent), rows..matrix.rows), "rows past the minibatch");
            place.take(self.contents.activations_of(agent), rows)
        }
    }

    /// Reward, terminated of every row into the rewards' vec4s.
    fn put_rewards(layout: &mut Layout, agent: u32, reward: &[f32], terminated: &[bool]) {
        let rows: Vec<f32> =
            reward.iter().zip(terminated).flat_map(|(&reward, &end)| [reward, f32::from(u8::from(end)), 0.0, 0.0]).collect();
        Place::new(layout.rewards.offset, layout.rewards.stride, 4).put(layout.contents.activations_of(agent), &rows);
    }

    #[test]
    fn temporal_differences_of_whole_and_partial_minibatches() {
        for rig in rigs(&Environment::pendulum_v1()) {
            for (rows, sampled) in ROWS.map(|rows| (rows, rows)).into_iter().chain([(64, 1), (64, 33), (65, 64), (257, 257), (257, 200)]) {
                temporal_differences(&rig, rows, sampled);
            }
        }
    }

    fn temporal_differences(rig: &Rig, rows: u32, sampled: u32) {
        let mut numbers = Numbers::new(u64::from(rows * 1000 + sampled));
        let mut layout = Layout::new(rows, sampled, 1);
        let drawn: Vec<_> = (0..AGENTS)
            .map(|agent| {
                let mut draw = || numbers.uniform(sampled, -10.0, 10.0);
                let (reward, value, next) = (draw(), draw(), draw());
                // the first row of agent 1 ends, every third of the others
                let terminated: Vec<bool> = (0..sampled).map(|row| row % 3 == (agent + 2) % 3).collect();
                put_rewards(&mut layout, agent, &reward, &terminated);
                let (value_at, next_at) = (layout.value, layout.next_value);
                layout.put(agent, value_at, &value);
                layout.put(agent, next_at, &next);
                (reward, terminated, value, next)
            })
            .collect();
        let steps = [layout.temporal_difference()];
        layout.contents.run(rig, &steps);
        for (agent, (reward, terminated, value, next)) in (0..AGENTS).zip(&drawn) {
            let what = format!("{}, agent {agent}, {sampled} of {rows} rows", rig.name);
            let hyper = layout.contents.hyper_parameters[agent as usize];
            let expected = reference_temporal_difference(&wide(reward), terminated, &wide(value), &wide(next), hyper.gamma.into());
            let d_value_at = layout.d_value;
            assert_close(&layout.take(agent, d_value_at, sampled), &expected.d_value, 1e-6, 2e-6, &format!("{what}: d_value"));
            let rewards = Place::new(layout.rewards.offset, 1, 4).take(layout.contents.activations_of(agent), sampled);
            let column = |i: usize| rewards.iter().skip(i).step_by(4).copied().collect::<Vec<_>>();
            assert_eq!(column(0), *reward, "{what}: rewards");
            assert_close(&column(2), &expected.td_target, 1e-6, 1e-6, &format!("{what}: td_target"));
            assert_close(&column(3), &expected.td_error, 1e-6, 2e-6, &format!("{what}: td_error"));
            let state = layout.contents.states[agent as usize];
            let sampled = f64::from(sampled);
            assert_eq!((state.updates, state.measured_updates, state.halted), (7 * agent + 1, 1, 0), "{what}: counters");
            assert_close(&[state.critic_loss], &[expected.loss], 1e-5, 0.0, &format!("{what}: loss"));
            assert_close(&[state.value], &[wide(value).iter().sum::<f64>() / sampled], 1e-5, 1e-5, &format!("{what}: value"));
            let absolute = expected.td_error.iter().map(|e| e.abs()).sum::<f64>() / sampled;
            assert_close(&[state.absolute_td_error], &[absolute], 1e-5, 0.0, &format!("{what}: absolute error"));
            let largest = value.iter().copied().fold(f32::MIN, f32::max);
            assert_eq!((state.value_maximum, state.episode_maximum_value), (largest, largest), "{what}: largest value");
            assert_eq!(state.blend, hyper.tau, "{what}: blend");
            let corrections = [state.bias_correction1, state.bias_correction2];
            assert_close(&corrections, &[1.0 - hyper.adam_beta1, 1.0 - hyper.adam_beta2], 1e-6, 0.0, &format!("{what}: corrections"));
        }
    }

    #[test]
    fn measurements_add_up_until_they_are_cleared() {
        for rig in rigs(&Environment::pendulum_v1()) {
            let mut layout = Layout::new(2, 2, 1);
            for agent in 0..AGENTS {
                put_rewards(&mut layout, agent, &[1.0, 3.0], &[true, true]);
                let (value, next) = (layout.value, layout.next_value);
                layout.put(agent, value, &[0.0, agent as f32]);
                layout.put(agent, next, &[5.0, 5.0]);
                for half in [0, layout.contents.sizes.target_offset] {
                    Place::vector(1 + half, 1).put(layout.contents.parameters_of(agent), &[1.0]);
                    Place::vector(2 + half, 1).put(layout.contents.parameters_of(agent), &[0.0]);
                }
                let action = layout.action;
                layout.put(agent, action, &[0.995, -0.5]);
            }
            let steps = [layout.temporal_difference(), layout.policy_objective(1)];
            layout.contents.repeat(&rig, &steps, 3);
            for (agent, state) in layout.contents.states.iter().enumerate() {
                let a = agent as f64;
                assert_eq!((state.measured_updates, state.updates), (3, 7 * agent as u32 + 3), "agent {agent}");
                let expected = [3.0 * (1.0 + (3.0 - a).powi(2)) / 2.0, -3.0 * a / 2.0, 3.0 * a / 2.0, 3.0 * (1.0 + (3.0 - a).abs()) / 2.0];
                let sums = [state.critic_loss, state.actor_loss, state.value, state.absolute_td_error];
                assert_close(&sums, &expected, 1e-6, 1e-6, &format!("{}, agent {agent}", rig.name));
                assert_close(&[state.saturated], &[1.5], 1e-6, 0.0, "saturated");
                assert_eq!((state.value_maximum, state.episode_maximum_value), (agent as f32, 3.0 * agent as f32));
            }
            let clear = Operation { kind: Kernel::ClearMeasurements as u32, units: 1, ..Default::default() };
            layout.contents.states.iter_mut().enumerate().for_each(|(agent, state)| state.episodes = 5 + agent as u32);
            let before = layout.contents.states.clone();
            layout.contents.run(&rig, &[step(clear, vec![], vec![Access::Agent])]);
            for (before, after) in before.iter().zip(&layout.contents.states) {
                let cleared = AgentState {
                    measured_updates: 0,
                    critic_loss: 0.0,
                    actor_loss: 0.0,
                    value: 0.0,
                    value_maximum: f32::MIN,
                    absolute_td_error: 0.0,
                    saturated: 0.0,
                    reported: before.episodes,
                    ..*before
                };
                assert_eq!(*after, cleared);
            }
        }
    }

    #[test]
    fn a_loss_that_is_not_finite_halts_that_agent_alone() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 3e38] {
            for rig in rigs(&Environment::pendulum_v1()) {
                let mut layout = Layout::new(5, 5, 1);
                for agent in 0..AGENTS {
                    put_rewards(&mut layout, agent, &[1.0; 5], &[false; 5]);
                    let (value, next) = (layout.value, layout.next_value);
                    layout.put(agent, value, &if agent == 1 { [0.0, 0.0, 0.0, bad, 0.0] } else { [0.0; 5] });
                    layout.put(agent, next, &[0.0; 5]);
                }
                let before = layout.contents.states[1];
                let steps = [layout.temporal_difference()];
                layout.contents.repeat(&rig, &steps, 2);
                // the reason is a loss, found in the update after the seventh
                assert_eq!(layout.contents.states[1], AgentState { halted: 1, halted_at: 8, ..before }, "{}: {bad}", rig.name);
                for agent in [0, 2] {
                    let state = &layout.contents.states[agent];
                    assert_eq!((state.halted, state.updates), (0, 7 * agent as u32 + 2), "{}: agent {agent}", rig.name);
                }
            }
        }
    }

    #[test]
    fn policy_objectives_of_every_action_size() {
        for rig in rigs(&Environment::pendulum_v1()) {
            for (rows, sampled, actions) in [(1, 1, 1), (3, 3, 2), (8, 8, 3), (31, 30, 5), (64, 64, 1), (65, 33, 4), (257, 257, 2)] {
                let mut numbers = Numbers::new(u64::from(rows));
                let mut layout = Layout::new(rows, sampled, actions);
                let drawn: Vec<_> = (0..AGENTS)
                    .map(|agent| {
                        let value = numbers.uniform(sampled, -10.0, 10.0);
                        let (scale, centre) = (numbers.uniform(actions, 0.5, 2.0), numbers.uniform(actions, -1.0, 1.0));
                        let bounds = Place::vector(1, actions);
                        bounds.put(layout.contents.parameters_of(agent), &scale);
                        Place { offset: 1 + vec4s(actions), ..bounds }.put(layout.contents.parameters_of(agent), &centre);
                        // an eighth or so beyond 99 % of the range, and none within rounding of it
                        let reach = numbers.uniform(sampled * actions, -1.15, 1.15);
                        let action: Vec<f32> = (0..)
                            .zip(&reach)
                            .map(|(i, reach)| centre[i % actions as usize] + scale[i % actions as usize] * reach.clamp(-1.0, 1.0))
                            .collect();
                        let value_at = layout.value;
                        layout.put(agent, value_at, &value);
                        let place = Place::new(layout.action.offset, layout.action.stride, actions);
                        place.put(layout.contents.activations_of(agent), &action);
                        (value, action, scale, centre)
                    })
                    .collect();
                let steps = [layout.policy_objective(1)];
                layout.contents.run(&rig, &steps);
                for (agent, (value, action, scale, centre)) in (0..AGENTS).zip(&drawn) {
                    let what = format!("{}, agent {agent}, {sampled} of {rows} rows, {actions} actions", rig.name);
                    let (loss, d_value) = reference_policy_objective(&wide(value));
                    let d_value_at = layout.d_value;
                    assert_close(&layout.take(agent, d_value_at, sampled), &d_value, 1e-6, 0.0, &what);
                    let state = &layout.contents.states[agent as usize];
                    assert_close(&[state.actor_loss], &[loss], 1e-5, 1e-5, &format!("{what}: loss"));
                    let saturated = reference_saturated(&wide(action), &wide(scale), &wide(centre));
                    assert_close(&[state.saturated], &[saturated], 1e-5, 1e-6, &format!("{what}: saturated"));
                }
            }
        }
    }

    #[test]
    fn hard_updates_come_every_so_many() {
        let rig = &rigs(&Environment::pendulum_v1())[0];
        let mut layout = Layout::new(1, 1, 1);
        for agent in 0..AGENTS {
            put_rewards(&mut layout, agent, &[1.0], &[true]);
            let (value, next) = (layout.value, layout.next_value);
            layout.put(agent, value, &[0.0]);
            layout.put(agent, next, &[0.0]);
            layout.contents.states[agent as usize].updates = 0;
        }
        for (agent, every) in [1, 3, 10].into_iter().enumerate() {
            layout.contents.hyper_parameters[agent].target_update = TargetUpdate::Hard(every);
        }
        let steps = [layout.temporal_difference()];
        for update in 1..=20 {
            layout.contents.run(rig, &steps);
            let blends: Vec<_> = layout.contents.states.iter().map(|state| state.blend).collect();
            assert_eq!(blends, [1, 3, 10].map(|every| f32::from(u8::from(update % every == 0))), "update {update}");
        }
    }

    #[test]
    fn bias_corrections_keep_their_digits_for_a_thousand_updates() {
        let rig = &rigs(&Environment::pendulum_v1())[0];
        let mut layout = Layout::new(1, 1, 1);
        for agent in 0..AGENTS {
            put_rewards(&mut layout, agent, &[1.0], &[true]);
            let (value, next) = (layout.value, layout.next_value);
            layout.put(agent, value, &[0.0]);
            layout.put(agent, next, &[0.0]);
        }
        let betas = [(0.9, 0.999), (0.5, 0.9999), (0.0, 0.99)];
        for (hyper, betas) in layout.contents.hyper_parameters.iter_mut().zip(betas) {
            (hyper.adam_beta1, hyper.adam_beta2) = betas;
        }
        let steps = [layout.temporal_difference()];
        let mut taken = 0;
        for upto in [1, 2, 10, 100, 1000] {
            layout.contents.repeat(rig, &steps, upto - taken);
            taken = upto;
            for (state, (beta1, beta2)) in layout.contents.states.iter().zip(betas) {
                let power = |beta: f64| 1.0 - beta.powi(upto as i32);
                let corrections = [state.bias_correction1, state.bias_correction2];
                // computed as 1 - beta^t from a float32 beta of .9999, the first would be off by 3e-4
                let expected = [power(beta1), power(beta2)];
                assert_close(&corrections, &expected, 1e-5, 0.0, &format!("update {upto}, betas {beta1}, {beta2}"));
            }
        }
    }

    #[test]
    fn the_references_agree_with_central_differences() {
        let mut numbers = Numbers::new(4);
        let mut draw = || wide(&numbers.uniform(6, -2.0, 2.0));
        let (reward, value, next) = (draw(), draw(), draw());
        let terminated = [false, true, false, false, true, false];
        let loss = |value: &[f64]| reference_temporal_difference(&reward, &terminated, value, &next, 0.9).loss;
        let analytic = reference_temporal_difference(&reward, &terminated, &value, &next, 0.9);
        assert_close(&analytic.d_value, &differences(loss, &value), 1e-7, 1e-8, "critic");
        assert_close(&[analytic.td_target[1], analytic.td_target[0]], &[reward[1], reward[0] + 0.9 * next[0]], 0.0, 1e-15, "target");
        let (_, d_value) = reference_policy_objective(&value);
        assert_close(&d_value, &differences(|value| reference_policy_objective(value).0, &value), 1e-7, 1e-8, "policy");
    }
}
