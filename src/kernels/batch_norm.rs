//! Batch normalisation, forwards and backwards: `shaders/batch_norm.wgsl`.
//!
//! Ioffe & Szegedy 2015, Algorithm 1, with the biased variance throughout; matrices are `[rows, columns]`, row-major.

/// Mean and biased variance of each column.
#[derive(Debug, Clone, PartialEq)]
pub struct Statistics {
    /// Mean, `[columns]`.
    pub mean: Vec<f64>,
    /// Mean squared deviation from the mean, `[columns]`.
    pub variance: Vec<f64>,
}

/// What a forward pass leaves for the backward pass.
#[derive(Debug, Clone, PartialEq)]
pub struct Normalised {
    /// scale x̂ + shift, `[rows, columns]`.
    pub output: Vec<f64>,
    /// x̂ = (x − mean) / √(variance + ε), `[rows, columns]`.
    pub normalised: Vec<f64>,
    /// 1 / √(variance + ε), `[columns]`.
    pub inverse_deviation: Vec<f64>,
}

/// Gradients of a pass through batch norm.
#[derive(Debug, Clone, PartialEq)]
pub struct Gradients {
    /// `[rows, columns]`.
    pub d_input: Vec<f64>,
    /// `[columns]`.
    pub d_scale: Vec<f64>,
    /// `[columns]`.
    pub d_shift: Vec<f64>,
}

/// The statistics of a minibatch `x`.
pub fn reference_statistics(x: &[f64], columns: usize) -> Statistics {
    let rows = (x.len() / columns) as f64;
    let average = |f: &dyn Fn(usize, f64) -> f64| {
        let mut sums = vec![0.0; columns];
        x.iter().enumerate().for_each(|(i, &x)| sums[i % columns] += f(i % columns, x));
        sums.into_iter().map(|sum| sum / rows).collect::<Vec<_>>()
    };
    let mean = average(&|_, x| x);
    let variance = average(&|column, x| (x - mean[column]).powi(2));
    Statistics { mean, variance }
}

/// y = scale (x − mean) / √(variance + ε) + shift, with the statistics given: the minibatch's while learning (Algorithm 1),
/// running averages while acting (Algorithm 2).
pub fn reference(x: &[f64], statistics: &Statistics, scale: &[f64], shift: &[f64], epsilon: f64) -> Normalised {
    let columns = scale.len();
    let inverse_deviation: Vec<_> = statistics.variance.iter().map(|variance| 1.0 / (variance + epsilon).sqrt()).collect();
    let normalised: Vec<_> =
        x.iter().enumerate().map(|(i, x)| (x - statistics.mean[i % columns]) * inverse_deviation[i % columns]).collect();
    let output = normalised.iter().enumerate().map(|(i, xhat)| scale[i % columns] * xhat + shift[i % columns]).collect();
    Normalised { output, normalised, inverse_deviation }
}

/// Backwards from `d_output`: Ioffe & Szegedy 2015, section 3, with the sums collected. `of_the_minibatch`: the statistics
/// were those of the minibatch, so the gradient also flows through them; else they were constants.
pub fn reference_backward(d_output: &[f64], forward: &Normalised, scale: &[f64], of_the_minibatch: bool) -> Gradients {
    let columns = scale.len();
    let rows = (d_output.len() / columns) as f64;
    let (mut d_scale, mut d_shift) = (vec![0.0; columns], vec![0.0; columns]);
    for (i, (dy, xhat)) in d_output.iter().zip(&forward.normalised).enumerate() {
        d_scale[i % columns] += dy * xhat;
        d_shift[i % columns] += dy;
    }
    let through = if of_the_minibatch { 1.0 / rows } else { 0.0 };
    let d_input = d_output
        .iter()
        .zip(&forward.normalised)
        .enumerate()
        .map(|(i, (dy, xhat))| {
            let column = i % columns;
            let centred = dy - through * (d_shift[column] + xhat * d_scale[column]);
            scale[column] * forward.inverse_deviation[column] * centred
        })
        .collect();
    Gradients { d_input, d_scale, d_shift }
}

/// running ← decay running + (1 − decay) batch.
pub fn reference_running(running: &[f64], batch: &[f64], decay: f64) -> Vec<f64> {
    running.iter().zip(batch).map(|(running, batch)| decay * running + (1.0 - decay) * batch).collect()
}

#[cfg(test)]
mod tests;
