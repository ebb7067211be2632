// Adam: Kingma & Ba 2015, Algorithm 1, epsilon added after the bias-corrected root; then the blend of the target
// parameters, theta' <- tau theta + (1 - tau) theta' (Lillicrap et al. 2016, Algorithm 1), in the same visit.
//
//   m <- beta1 m + (1 - beta1) g          v <- beta2 v + (1 - beta2) g^2
//   theta <- theta - lr (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + epsilon)
//
// The target network is not read again in the update that changes it, so blending here equals blending at its end.
// Called by whichever invocation has just finished a vec4 of gradient; it owns that vec4 of parameters and moments.

// `index`: the vec4 within the agent's online parameters. `decays`: add weight decay (L2 on weight matrices only).
fn apply_gradient(agent: u32, network: u32, index: u32, gradient: vec4f, decays: bool) {
    let moments_base = agent * sizes.moments_stride + index;
    if (sizes.flags & RECORD_GRADIENTS) != 0u {
        moments[moments_base + sizes.gradient_offset] = gradient;
    }
    if agent_states[agent].halted != 0u {
        return;
    }
    let h = hyper_parameters[agent];
    let is_actor = network == ACTOR;
    let online = agent * sizes.parameters_stride + index;
    let parameter = parameters[online];
    var g = gradient;
    if decays {
        g = fma(vec4f(select(h.critic_weight_decay, h.actor_weight_decay, is_actor)), parameter, g);
    }
    let m = fma(vec4f(h.adam_beta1), moments[moments_base], h.adam_one_minus_beta1 * g);
    let v = fma(vec4f(h.adam_beta2), moments[moments_base + sizes.second_moment_offset], h.adam_one_minus_beta2 * g * g);
    let step_size = select(h.critic_learning_rate, h.actor_learning_rate, is_actor) / agent_states[agent].bias_correction1;
    let root = sqrt(v / agent_states[agent].bias_correction2);
    let stepped = parameter - step_size * m / (root + h.adam_epsilon);
    if !all_finite(stepped) || !all_finite(v) {
        halt(agent, select(HALTED_CRITIC_GRADIENT, HALTED_ACTOR_GRADIENT, is_actor), agent_states[agent].updates);
        return;
    }
    moments[moments_base] = m;
    moments[moments_base + sizes.second_moment_offset] = v;
    parameters[online] = stepped;
    let blended = online + sizes.target_offset;
    parameters[blended] = blend_target(stepped, parameters[blended], agent_states[agent].blend);
}
