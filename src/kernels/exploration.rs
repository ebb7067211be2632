//! Exploration noise: `shaders/exploration.wgsl`.

use crate::config::Exploration;

/// The noise after `previous`, given a standard normal, in float64: σ N for Gaussian noise, and
/// x ← x − θ x dt + σ √dt N for an Ornstein–Uhlenbeck process about zero (Uhlenbeck & Ornstein 1930; Lillicrap et al.
/// 2016, section 7). The decaying kinds are those of an agent that has finished no episode; after n of them they are divided
/// by 1 + n. What schedules multiply by is [`NoiseSchedule::reference`](crate::NoiseSchedule::reference).
pub fn reference(previous: f64, normal: f64, exploration: Exploration) -> f64 {
    match exploration {
        Exploration::None => 0.0,
        Exploration::Gaussian { sigma } => f64::from(sigma) * normal,
        Exploration::OrnsteinUhlenbeck { sigma, theta, dt, .. } => {
            let [sigma, theta, dt] = [sigma, theta, dt].map(f64::from);
            previous - theta * previous * dt + sigma * dt.sqrt() * normal
        }
        Exploration::DecayingOffset { initial } => initial.into(),
        Exploration::DecayingGaussian { initial } => f64::from(initial) * normal,
    }
}

/// Covariance of the noise after `earlier` steps with that after `earlier` + `lag` steps, from a start at zero. With
/// a = 1 − θ dt an Ornstein–Uhlenbeck process has σ² dt aˡᵃᵍ (1 − a²ⁿ) / (1 − a²), which tends to its stationary value.
pub fn reference_covariance(exploration: Exploration, earlier: i32, lag: i32) -> f64 {
    match exploration {
        Exploration::None => 0.0,
        Exploration::Gaussian { sigma } => f64::from(sigma).powi(2) * if lag == 0 && earlier > 0 { 1.0 } else { 0.0 },
        Exploration::OrnsteinUhlenbeck { sigma, theta, dt, .. } => {
            let [sigma, theta, dt] = [sigma, theta, dt].map(f64::from);
            let a = 1.0 - theta * dt;
            // the sum of a²ⁱ, which holds for a = 1 too
            sigma * sigma * dt * a.powi(lag) * (0..earlier).map(|i| a.powi(2 * i)).sum::<f64>()
        }
        Exploration::DecayingOffset { .. } => 0.0,
        Exploration::DecayingGaussian { initial: sigma } => reference_covariance(Exploration::Gaussian { sigma }, earlier, lag),
    }
}

/// The action that is stored and taken: the actor's output and its noise, within the bounds.
pub fn reference_action(actor_output: f64, noise: f64, low: f64, high: f64) -> f64 {
    (actor_output + noise).clamp(low, high)
}

#[cfg(test)]
mod tests;
