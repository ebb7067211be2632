// Exploration noise, one process an environment and action dimension.
//
//   Gaussian             n = sigma N(0, 1)
//   Ornstein-Uhlenbeck   x <- x + theta (0 - x) dt + sigma sqrt(dt) N(0, 1)     Uhlenbeck & Ornstein 1930;
//                                                                               Lillicrap et al. 2016, section 7
//   decaying offset      n = c / (1 + episode): always positive, as the seed's program has it in a comment
//   decaying Gaussian    n = c / (1 + episode) N(0, 1): its zero-mean variant
//
// `episode` counts the agent's finished episodes. The process itself knows no schedule: what is added to the action is
// multiplied by the schedule's factor f(t), t being the environment steps the agent has taken, and by half the action
// range where `noise_is_relative`.
//
//   constant     f = 1
//   linear       f = 1 + (final - 1) min(t / span, 1)
//   exponential  f = max(2^(-t / span), final)

const NOISE_NONE: u32 = 0u;
const NOISE_GAUSSIAN: u32 = 1u;
const NOISE_ORNSTEIN_UHLENBECK: u32 = 2u;
const NOISE_DECAYING_OFFSET: u32 = 3u;
const NOISE_DECAYING_GAUSSIAN: u32 = 4u;

const SCHEDULE_LINEAR: u32 = 1u;
const SCHEDULE_EXPONENTIAL: u32 = 2u;

// What the noise of an episode starts from.
fn first_noise(agent: u32) -> f32 {
    let h = hyper_parameters_of(agent);
    return select(0.0, h.ou_start, h.noise_kind == NOISE_ORNSTEIN_UHLENBECK);
}

// The noise after `previous`, given a standard normal.
fn next_noise(agent: u32, previous: f32, normal: f32) -> f32 {
    let h = hyper_parameters_of(agent);
    let sigma = h.noise_sigma;
    switch h.noise_kind {
        case NOISE_GAUSSIAN: {
            return sigma * normal;
        }
        case NOISE_ORNSTEIN_UHLENBECK: {
            return previous - h.ou_theta * previous * h.ou_dt + sigma * sqrt(h.ou_dt) * normal;
        }
        case NOISE_DECAYING_OFFSET: {
            return sigma / (1.0 + f32(agent_states[agent].episodes));
        }
        case NOISE_DECAYING_GAUSSIAN: {
            return sigma / (1.0 + f32(agent_states[agent].episodes)) * normal;
        }
        default: {
            return 0.0;
        }
    }
}

// The schedule's factor after `step` steps of each environment.
fn noise_factor(agent: u32, step: u32) -> f32 {
    let h = hyper_parameters_of(agent);
    let progress = f32(step) * f32(sizes.environments) / max(h.noise_span, 1e-6);
    switch h.noise_schedule {
        case SCHEDULE_LINEAR: {
            return fma(h.noise_final - 1.0, min(progress, 1.0), 1.0);
        }
        case SCHEDULE_EXPONENTIAL: {
            return max(exp2(-progress), h.noise_final);
        }
        default: {
            return 1.0;
        }
    }
}

// Noise in units of the action; `scale` is half the range of this action.
fn noise_in_action_units(agent: u32, noise: f32, scale: f32, step: u32) -> f32 {
    return noise * noise_factor(agent, step) * select(1.0, scale, hyper_parameters_of(agent).noise_is_relative != 0u);
}
