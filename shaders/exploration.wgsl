// Exploration noise, one process an environment and action dimension.
//
//   Gaussian             n = sigma N(0, 1)
//   Ornstein-Uhlenbeck   x <- x + theta (0 - x) dt + sigma sqrt(dt) N(0, 1)     Uhlenbeck & Ornstein 1930;
//                                                                               Lillicrap et al. 2016, section 7
// The result is multiplied by half the action range where `noise_is_relative`.

const NOISE_NONE: u32 = 0u;
const NOISE_GAUSSIAN: u32 = 1u;
const NOISE_ORNSTEIN_UHLENBECK: u32 = 2u;

// The noise after `previous`, given a standard normal.
fn next_noise(agent: u32, previous: f32, normal: f32) -> f32 {
    let sigma = hyper_parameters[agent].noise_sigma;
    switch hyper_parameters[agent].noise_kind {
        case NOISE_GAUSSIAN: {
            return sigma * normal;
        }
        case NOISE_ORNSTEIN_UHLENBECK: {
            let dt = hyper_parameters[agent].ou_dt;
            return previous - hyper_parameters[agent].ou_theta * previous * dt + sigma * sqrt(dt) * normal;
        }
        default: {
            return 0.0;
        }
    }
}

// Noise in units of the action; `scale` is half the range of this action.
fn noise_in_action_units(agent: u32, noise: f32, scale: f32) -> f32 {
    return noise * select(1.0, scale, hyper_parameters[agent].noise_is_relative != 0u);
}
