//! The gradient of a dense layer's input, and on through the activation below: `shaders/dense_backward_input.wgsl`.

/// dx = dy Wᵀ in float64: `d_output` `[rows, columns]`, `weights` `[inputs, columns]`, the result `[rows, inputs]`.
pub fn reference(d_output: &[f64], weights: &[f64], columns: usize) -> Vec<f64> {
    d_output
        .chunks_exact(columns)
        .flat_map(|dy| weights.chunks_exact(columns).map(move |row| row.iter().zip(dy).map(|(w, dy)| w * dy).sum::<f64>()))
        .collect()
}

/// The gradient before a ReLU from the gradient after it: kept where the activation is positive.
pub fn reference_rectified(gradient: &[f64], activation: &[f64]) -> Vec<f64> {
    gradient.iter().zip(activation).map(|(gradient, y)| if *y > 0.0 { *gradient } else { 0.0 }).collect()
}

/// The gradient before a = centre + scale tanh(z) from the action gradient: da/dz = scale (1 − tanh² z), tanh z = (a −
/// centre) / scale. `action` `[rows, actions]`.
pub fn reference_scaled_tanh(gradient: &[f64], action: &[f64], scale: &[f64], centre: &[f64]) -> Vec<f64> {
    let through = |(i, (gradient, a)): (usize, (&f64, &f64))| {
        let (scale, centre) = (scale[i % scale.len()], centre[i % centre.len()]);
        gradient * scale * (1.0 - ((a - centre) / scale).powi(2))
    };
    gradient.iter().zip(action).enumerate().map(through).collect()
}

#[cfg(test)]
mod tests;
