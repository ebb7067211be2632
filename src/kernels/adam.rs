//! Adam, and the blend into the target network in the same visit: `shaders/adam.wgsl`.

/// One parameter's settings.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Adam {
    /// Step size α.
    pub learning_rate: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// ε, added after the bias-corrected root.
    pub epsilon: f64,
    /// L2 penalty: `weight_decay` θ is added to the gradient.
    pub weight_decay: f64,
}

/// A parameter and its moments.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Moments {
    /// θ.
    pub parameter: f64,
    /// m.
    pub first: f64,
    /// v.
    pub second: f64,
}

/// Step `t` (from 1) with gradient `g`, in float64: Kingma & Ba 2015, Algorithm 1.
///
/// m ← β₁ m + (1 − β₁) g, v ← β₂ v + (1 − β₂) g², θ ← θ − α m̂ / (√v̂ + ε), m̂ = m / (1 − β₁ᵗ), v̂ = v / (1 − β₂ᵗ).
pub fn reference(moments: Moments, gradient: f64, t: i32, adam: &Adam) -> Moments {
    let g = gradient + adam.weight_decay * moments.parameter;
    let first = adam.beta1 * moments.first + (1.0 - adam.beta1) * g;
    let second = adam.beta2 * moments.second + (1.0 - adam.beta2) * g * g;
    let corrected = (first / (1.0 - adam.beta1.powi(t)), second / (1.0 - adam.beta2.powi(t)));
    Moments { parameter: moments.parameter - adam.learning_rate * corrected.0 / (corrected.1.sqrt() + adam.epsilon), first, second }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Environment;
    use crate::config::TargetUpdate;
    use crate::hyper_parameters::HyperParameters;
    use crate::kernels::fixture::{AGENTS, Fixture, Shape, forward, input};
    use crate::kernels::harness::{Place, assert_close, learning, rigs, wide};
    use crate::kernels::{dense_backward_parameters, soft_update};
    use crate::memory::AgentState;
    use crate::network::Role;
    use crate::operation::Step;

    /// Settings that differ from agent to agent, and between actor and critic.
    fn settings(fixture: &mut Fixture) {
        let of = |agent: usize, hyper: &HyperParameters| HyperParameters {
            actor_learning_rate: [1e-3, 3e-3, 1e-2][agent],
            critic_learning_rate: [2e-3, 5e-3, 2e-2][agent],
            actor_weight_decay: [0.0, 0.1, 0.02][agent],
            critic_weight_decay: [0.05, 0.0, 0.3][agent],
            adam_beta1: [0.9, 0.8, 0.95][agent],
            adam_beta2: [0.999, 0.99, 0.9999][agent],
            adam_epsilon: [1e-8, 1e-3, 1e-1][agent],
            tau: [5e-3, 0.5, 1.0][agent],
            ..*hyper
        };
        let hyper_parameters = &mut fixture.contents.hyper_parameters;
        *hyper_parameters = hyper_parameters.iter().enumerate().map(|(agent, hyper)| of(agent, hyper)).collect();
    }

    fn adam(hyper: &HyperParameters, role: Role, decays: bool) -> Adam {
        let (learning_rate, weight_decay) = match role {
            Role::Actor => (hyper.actor_learning_rate, hyper.actor_weight_decay),
            Role::Critic => (hyper.critic_learning_rate, hyper.critic_weight_decay),
        };
        Adam {
            learning_rate: learning_rate.into(),
            beta1: hyper.adam_beta1,
            beta2: hyper.adam_beta2,
            epsilon: hyper.adam_epsilon.into(),
            weight_decay: if decays { weight_decay.into() } else { 0.0 },
        }
    }

    /// What `begin_update` leaves before the parameters step, for update `t`.
    fn begin(fixture: &mut Fixture, t: i32) {
        for (state, hyper) in fixture.contents.states.iter_mut().zip(&fixture.contents.hyper_parameters) {
            state.updates = t as u32;
            state.bias_correction1 = (1.0 - hyper.adam_beta1.powi(t)) as f32;
            state.bias_correction2 = (1.0 - hyper.adam_beta2.powi(t)) as f32;
            state.blend = match hyper.target_update {
                TargetUpdate::Soft => hyper.tau,
                TargetUpdate::Hard(every) => f32::from(u8::from((t as u32).is_multiple_of(every))),
            };
        }
    }

    fn backward(fixture: &Fixture, rig: &crate::kernels::harness::Rig) -> Vec<Step> {
        let mut steps = Vec::new();
        fixture.builder(&rig.pipelines).backward_parameters(&mut steps, learning(0), &fixture.activations, &fixture.gradients);
        steps
    }

    const ROWS: u32 = 7;
    const INPUTS: u32 = 5;
    const COLUMNS: u32 = 11;

    /// Weights and biases of one agent stepping in float64.
    struct Trajectory {
        weights: Vec<Moments>,
        bias: Vec<Moments>,
        targets: [Vec<f64>; 2],
    }

    #[test]
    fn successive_steps_follow_the_reference_and_blend_the_targets() {
        for rig in rigs(&Environment::pendulum_v1()) {
            for role in [Role::Actor, Role::Critic] {
                let mut fixture = Fixture::new(&Shape::dense(role, ROWS, INPUTS, &[(COLUMNS, 0, false)]));
                settings(&mut fixture);
                fixture.contents.hyper_parameters[1].target_update = TargetUpdate::Hard(4);
                fixture.contents.moments.fill(0.0);
                let steps = backward(&fixture, &rig);
                let operation = steps[0].operation;
                let (weights, bias) = (fixture.place("output.weight"), fixture.place("output.bias"));
                let half = fixture.contents.sizes.target_offset;
                let mut trajectories: Vec<_> = (0..AGENTS)
                    .map(|agent| {
                        let mut of = |half, name: &str| fixture.tensor(agent, half, name);
                        let start = |values: Vec<f64>| values.into_iter().map(|parameter| Moments { parameter, ..Default::default() });
                        Trajectory {
                            weights: start(of(0, "output.weight")).collect(),
                            bias: start(of(0, "output.bias")).collect(),
                            targets: ["output.weight", "output.bias"].map(|name| of(half, name)),
                        }
                    })
                    .collect();
                for t in 1..=12 {
                    begin(&mut fixture, t);
                    let drawn: Vec<_> = (0..AGENTS)
                        .map(|agent| {
                            let x = fixture.draw(agent, input(&operation, INPUTS), ROWS, -1.0, 1.0);
                            (x, fixture.draw(agent, forward(&operation, COLUMNS), ROWS, -0.1, 0.1))
                        })
                        .collect();
                    fixture.contents.run(&rig, &steps);
                    for (agent, (x, dy)) in (0..AGENTS).zip(&drawn) {
                        let what = format!("{}, {role:?}, agent {agent}, step {t}", rig.name);
                        let gradients = dense_backward_parameters::reference(x, dy, ROWS as usize);
                        let hyper = fixture.contents.hyper_parameters[agent as usize];
                        let blend = fixture.contents.states[agent as usize].blend.into();
                        let trajectory = &mut trajectories[agent as usize];
                        let parts = [
                            (&mut trajectory.weights, gradients.d_weights, weights, INPUTS, true),
                            (&mut trajectory.bias, gradients.d_bias, bias, 1, false),
                        ];
                        for ((moments, gradient, place, rows, decays), target) in parts.into_iter().zip(&mut trajectory.targets) {
                            let adam = adam(&hyper, role, decays);
                            moments.iter_mut().zip(&gradient).for_each(|(m, g)| *m = reference(*m, *g, t, &adam));
                            let each = |f: fn(&Moments) -> f64| moments.iter().map(f).collect::<Vec<_>>();
                            let online = each(|m| m.parameter);
                            *target = soft_update::reference(&online, target, blend);
                            let sizes = fixture.contents.sizes;
                            let second = Place { offset: place.offset + sizes.second_moment_offset, ..place };
                            let blended = Place { offset: place.offset + half, ..place };
                            // a step is at most a few learning rates; a gradient that nearly cancels gets fewer digits
                            let atol = 2e-4 * adam.learning_rate;
                            let parameters = fixture.contents.parameters_of(agent);
                            let actual = place.take(parameters, rows);
                            assert_close(&actual, &online, 3e-7, atol, &format!("{what}: parameters"));
                            assert_close(&blended.take(parameters, rows), target, 5e-7, atol, &format!("{what}: targets"));
                            let actual = place.take(fixture.contents.moments_of(agent), rows);
                            assert_close(&actual, &each(|m| m.first), 1e-5, 1e-7, &format!("{what}: first moments"));
                            let actual = second.take(fixture.contents.moments_of(agent), rows);
                            assert_close(&actual, &each(|m| m.second), 3e-5, 1e-9, &format!("{what}: second moments"));
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn a_thousand_steps_in_one_submission_keep_up_with_float64() {
        // the bias corrections advance on the device too: a TD step first, as in training
        use crate::kernels::Kernel;
        use crate::operation::{Access, Operation};
        for rig in rigs(&Environment::pendulum_v1()) {
            let mut fixture = Fixture::new(&Shape::dense(Role::Critic, 1, 4, &[(4, 0, false)]));
            settings(&mut fixture);
            for hyper in &mut fixture.contents.hyper_parameters {
                (hyper.critic_learning_rate, hyper.adam_beta2) = (1e-3, hyper.adam_beta2.min(0.999));
            }
            fixture.contents.moments.fill(0.0);
            let backward = backward(&fixture, &rig).remove(0);
            let operation = backward.operation;
            // one row whose value, next value and reward are the zeros of an unused gradient matrix
            let unused = fixture.action_gradient;
            let output = fixture.actor_gradient;
            let begin = Operation {
                kind: Kernel::TemporalDifference as u32,
                units: 1,
                rows: 1,
                input: unused.offset,
                input_stride: 1,
                forward: unused.offset,
                forward_stride: 1,
                statistics: unused.offset,
                output: output.offset,
                output_stride: 1,
                ..Default::default()
            };
            let begin =
                Step { operation: begin, reads: vec![Access::Agent], writes: vec![unused.access(), output.access(), Access::Agent] };
            let starts: Vec<_> = (0..AGENTS)
                .map(|agent| {
                    Place::new(unused.offset, 1, 4).put(fixture.contents.activations_of(agent), &[0.0; 4]);
                    let x = fixture.draw(agent, input(&operation, 4), 1, 0.5, 1.0);
                    let dy = fixture.draw(agent, forward(&operation, 4), 1, -0.1, 0.1);
                    (fixture.tensor(agent, 0, "output.weight"), dense_backward_parameters::reference(&x, &dy, 1).d_weights)
                })
                .collect();
            fixture.contents.repeat(&rig, &[begin, backward], 1000);
            for (agent, (start, gradient)) in (0..AGENTS).zip(&starts) {
                let adam = adam(&fixture.contents.hyper_parameters[agent as usize], Role::Critic, true);
                let end: Vec<_> = start
                    .iter()
                    .zip(gradient)
                    .map(|(&parameter, &g)| {
                        let start = Moments { parameter, ..Default::default() };
                        (1..=1000).fold(start, |moments, t| reference(moments, g, t, &adam)).parameter
                    })
                    .collect();
                let what = format!("{}, agent {agent}", rig.name);
                assert_eq!(fixture.contents.states[agent as usize].updates, 1000, "{what}");
                // a thousand roundings of the parameter itself, 3e-8 each, and of the step
                let place = fixture.place("output.weight");
                assert_close(&place.take(fixture.contents.parameters_of(agent), 4), &end, 2e-5, 1e-5, &what);
            }
        }
    }

    #[test]
    fn a_gradient_that_is_not_finite_halts_its_agent_and_changes_none_of_its_numbers() {
        for (bad, role) in [(f32::NAN, Role::Critic), (f32::INFINITY, Role::Actor), (-1e30, Role::Critic)] {
            for rig in rigs(&Environment::pendulum_v1()) {
                // one vec4 of weights a row and one of biases, all of which the bad gradient reaches
                let mut fixture = Fixture::new(&Shape::dense(role, 1, 4, &[(4, 0, false)]));
                settings(&mut fixture);
                fixture.contents.moments.fill(0.0);
                begin(&mut fixture, 5);
                let steps = backward(&fixture, &rig);
                let operation = steps[0].operation;
                for agent in 0..AGENTS {
                    fixture.draw(agent, input(&operation, 4), 1, 0.5, 1.0);
                    fixture.draw(agent, forward(&operation, 4), 1, 0.5, 1.0);
                }
                forward(&operation, 4).put(fixture.contents.activations_of(1), &[0.1, bad, 0.1, 0.1]);
                let mut before = fixture.contents.clone();
                fixture.contents.repeat(&rig, &steps, 2);
                let what = format!("{}, {role:?}, {bad}", rig.name);
                let bits = |values: &[f32]| values.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
                assert_eq!(bits(before.parameters_of(1)), bits(fixture.contents.parameters_of(1)), "{what}: parameters");
                assert_eq!(bits(before.moments_of(1)), bits(fixture.contents.moments_of(1)), "{what}: moments");
                let reason = if role == Role::Critic { 2 } else { 3 };
                assert_eq!(fixture.contents.states[1], AgentState { halted: reason, halted_at: 5, ..before.states[1] }, "{what}");
                for agent in [0, 2] {
                    assert_eq!(fixture.contents.states[agent as usize].halted, 0, "{what}: agent {agent}");
                    assert_ne!(bits(before.parameters_of(agent)), bits(fixture.contents.parameters_of(agent)), "{what}: agent {agent}");
                }
            }
        }
    }

    #[test]
    fn a_halted_agent_takes_no_step_at_all() {
        for rig in rigs(&Environment::pendulum_v1()) {
            let mut fixture = Fixture::new(&Shape::dense(Role::Critic, ROWS, INPUTS, &[(COLUMNS, 0, false)]));
            fixture.contents.moments.fill(0.0);
            begin(&mut fixture, 3);
            let steps = backward(&fixture, &rig);
            let operation = steps[0].operation;
            for agent in 0..AGENTS {
                fixture.draw(agent, input(&operation, INPUTS), ROWS, -1.0, 1.0);
                fixture.draw(agent, forward(&operation, COLUMNS), ROWS, -1.0, 1.0);
            }
            fixture.contents.states[2].halted = 1;
            let mut before = fixture.contents.clone();
            fixture.contents.run(&rig, &steps);
            let bits = |values: &[f32]| values.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(before.parameters_of(2)), bits(fixture.contents.parameters_of(2)), "{}", rig.name);
            assert_eq!(bits(before.moments_of(2)), bits(fixture.contents.moments_of(2)), "{}", rig.name);
            assert_ne!(bits(before.parameters_of(1)), bits(fixture.contents.parameters_of(1)), "{}", rig.name);
        }
    }

    #[test]
    fn the_reference_reproduces_the_first_steps_by_hand() {
        // t = 1: m̂ = g and v̂ = g², so the step is α g / (|g| + ε)
        let adam = Adam { learning_rate: 0.1, beta1: 0.9, beta2: 0.999, epsilon: 0.5, weight_decay: 0.0 };
        let start = Moments { parameter: 1.0, ..Default::default() };
        let first = reference(start, -2.0, 1, &adam);
        assert_close(&wide(&[1.08]), &[first.parameter], 1e-7, 0.0, "first step");
        // t = 2 with g = 1: m = .9 (-.2) + .1 = -.08, v = .999 (.004) + .001 = .004996
        let second = reference(first, 1.0, 2, &adam);
        let expected = 1.08 + 0.1 * (0.08 / 0.19) / ((0.004_996_f64 / 0.001_999).sqrt() + 0.5);
        assert_close(&[second.parameter], &[expected], 1e-12, 0.0, "second step");
        // L2 acts like a gradient of the parameter
        let decayed = reference(start, 0.0, 1, &Adam { weight_decay: 3.0, ..adam });
        assert_close(&[decayed.parameter], &[1.0 - 0.1 * 3.0 / 3.5], 1e-12, 0.0, "weight decay");
    }
}
