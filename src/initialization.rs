//! What parameters start from.

use crate::config::{Algorithm, Config, Initialization};
use crate::network::{Network, Role};
use crate::random::Philox;
use rand::RngExt;

impl Network {
    /// Whether the hidden layers are COPDAC-Q's basis φ(s).
    fn is_fixed_basis(&self, config: &Config) -> bool {
        self.role == Role::Critic && config.algorithm == Algorithm::Compatible
    }

    /// One number of the basis: rectified random directions through the range of the observations.
    fn basis(&self, config: &Config, random: &mut Philox, part: &str, layer: usize, row: usize) -> f32 {
        if part == "bias" {
            return uniform(random, config.basis_biases);
        }
        let scale = if layer == 0 { self.observation_scale.get(row).copied().unwrap_or(1.0) } else { 1.0 };
        config.basis_weights * normal(random) / scale
    }

    /// Draws initial parameters into an agent's slice (floats).
    pub fn initialize(&self, config: &Config, random: &mut Philox, parameters: &mut [f32]) {
        let last = self.layers.len() - 1;
        for tensor in self.tensors() {
            let part = tensor.name.rsplit('.').next().unwrap_or_default().to_owned();
            let layer = self.layers.iter().position(|layer| (layer.weights..=layer.bias).contains(&tensor.offset));
            let count = (tensor.rows * tensor.columns) as usize;
            let values: Vec<f32> = match (part.as_str(), layer) {
                ("scale" | "running_variance", _) => vec![1.0; count],
                ("shift" | "running_mean", _) | (_, None) => vec![0.0; count],
                (_, Some(layer)) if layer < last && self.is_fixed_basis(config) => {
                    (0..count).map(|index| self.basis(config, random, &part, layer, index / tensor.columns as usize)).collect()
                }
                (_, Some(layer)) if layer == last => (0..count).map(|_| uniform(random, config.output_initialization)).collect(),
                (part, Some(layer)) => match config.hidden_initialization {
                    Initialization::FanIn => {
                        let fan_in = self.layers[layer].inputs + self.layers[layer].actions;
                        let bound = 1.0 / (fan_in as f32).sqrt();
                        (0..count).map(|_| uniform(random, bound)).collect()
                    }
                    Initialization::TruncatedNormal(_) if part == "bias" => vec![0.0; count],
                    Initialization::TruncatedNormal(deviation) => (0..count).map(|_| deviation * truncated_normal(random)).collect(),
                },
            };
            tensor.scatter(&values, parameters);
        }
    }
}

/// Uniform in ± `bound`.
fn uniform(random: &mut Philox, bound: f32) -> f32 {
    bound * (2.0 * random.random::<f32>() - 1.0)
}

/// Standard normal (Box & Muller 1958).
fn normal(random: &mut Philox) -> f32 {
    let radius = (-2.0 * (1.0 - random.random::<f64>()).ln()).sqrt();
    (radius * (std::f64::consts::TAU * random.random::<f64>()).cos()) as f32
}

/// Standard normal, redrawn beyond two standard deviations.
fn truncated_normal(random: &mut Philox) -> f32 {
    loop {
        let normal = normal(random);
        if normal.abs() <= 2.0 {
            return normal;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::allocator::Allocator;
    use crate::config::BatchNorm;
    use crate::environment::Environment;
    use crate::kernels::harness::wide;

    const BOUNDS: [f32; 2] = [0.2, 0.6];

    /// What a network of 17 observations, 6 actions and hidden layers of 400 and 300 starts from: each tensor of its name, rows
    /// and columns.
    fn drawn(role: Role, config: &Config, scales: &[f32]) -> impl Fn(&str) -> Vec<Vec<f64>> + use<> {
        let mut environment = Environment::host("arm", 17, vec![-1.0; 6], vec![3.0; 6]).expect("sizes");
        environment.observation_scale = scales.to_vec();
        let mut allocator = Allocator::default();
        let network = Network::new(role, config, &environment, &mut allocator);
        let mut parameters = vec![0.0; 4 * allocator.length() as usize];
        network.initialize(config, &mut Philox::new(3, 0x100), &mut parameters);
        move |name| {
            let tensors = network.tensors();
            let tensor = tensors.iter().find(|tensor| tensor.name == name).unwrap_or_else(|| panic!("no {name}"));
            wide(&tensor.gather(&parameters)).chunks(tensor.columns as usize).map(<[f64]>::to_vec).collect()
        }
    }

    fn config(change: impl Fn(&mut Config)) -> Config {
        let mut config = Config::preset(crate::Preset::Paper);
        config.output_initialization = BOUNDS[0];
        change(&mut config);
        config
    }

    fn mean(numbers: &[f64], power: i32) -> f64 {
        numbers.iter().map(|x| x.powi(power)).sum::<f64>() / numbers.len() as f64
    }

    /// Uniform in ± `bound`: the ends are reached, the mean is zero, the variance that of the uniform distribution.
    #[track_caller]
    fn assert_uniform(what: &str, rows: Vec<Vec<f64>>, bound: f64) {
        let numbers = rows.concat();
        let n = numbers.len() as f64;
        let (least, largest) = numbers.iter().fold((f64::MAX, f64::MIN), |(least, most), &x| (x.min(least), x.max(most)));
        assert!(largest <= bound * (1.0 + 1e-6) && least >= -bound * (1.0 + 1e-6), "{what}: {least} to {largest}, but ± {bound}");
        if n < 100.0 {
            return;
        }
        // that none of n numbers lies beyond has a probability of exp(-10)
        let reached = bound * (1.0 - 20.0 / n);
        assert!(largest > reached && least < -reached, "{what}: {least} to {largest}, but ± {bound}");
        assert!(mean(&numbers, 1).abs() < 5.0 * bound / (3.0 * n).sqrt(), "{what}: mean {}", mean(&numbers, 1));
        let off = 3.0 * mean(&numbers, 2) / bound.powi(2) - 1.0;
        assert!(off.abs() < 5.0 * (0.8 / n).sqrt(), "{what}: the variance is off by {off}");
    }

    #[test]
    fn layers_start_uniform_within_one_by_the_root_of_all_that_enters() {
        let of = |inputs: u32| 1.0 / f64::from(inputs).sqrt();
        for (role, outputs, entering) in [(Role::Actor, 6, 0), (Role::Critic, 1, 6)] {
            let drawn = drawn(role, &config(|_| {}), &[]);
            let layers =
                [("layer1", 17, 400, of(17)), ("layer2", 400, 300, of(400 + entering)), ("output", 300, outputs, BOUNDS[0].into())];
            for (layer, rows, columns, bound) in layers {
                let weight = drawn(&format!("{layer}.weight"));
                assert_eq!((weight.len(), weight[0].len()), (rows, columns), "{role:?}");
                assert_uniform(&format!("{role:?}, {layer}.weight"), weight, bound);
                assert_uniform(&format!("{role:?}, {layer}.bias"), drawn(&format!("{layer}.bias")), bound);
            }
            if role == Role::Critic {
                assert_uniform("the weights of the action", drawn("layer2.action_weight"), of(406));
            }
            for (part, expected) in [("scale", 1.0), ("running_variance", 1.0), ("shift", 0.0), ("running_mean", 0.0)] {
                let norms = ["input_norm", "norm1"].map(|norm| drawn(&format!("{norm}.{part}")).concat());
                assert!(norms.iter().flatten().all(|&x| x == expected), "{role:?}, {part}");
            }
        }
        // the action beside the observation
        let first = drawn(Role::Critic, &config(|config| config.action_layer = 1), &[]);
        assert_uniform("observation", first("layer1.weight"), of(17 + 6));
        assert_uniform("action", first("layer1.action_weight"), of(17 + 6));
        assert_uniform("above", first("layer2.weight"), of(400));
    }

    #[test]
    fn a_truncated_normal_ends_at_two_deviations() {
        let drawn = drawn(Role::Actor, &config(|config| config.hidden_initialization = Initialization::TruncatedNormal(0.05)), &[]);
        let numbers = drawn("layer2.weight").concat();
        let n = numbers.len() as f64;
        let largest = numbers.iter().fold(0.0_f64, |most, x| most.max(x.abs()));
        assert!(largest <= 0.1 * (1.0 + 1e-6) && largest > 0.099, "{largest}");
        assert!(mean(&numbers, 1).abs() < 5.0 * 0.05 / n.sqrt(), "mean {}", mean(&numbers, 1));
        // 1 - 4 phi(2) / (2 Phi(2) - 1)
        let share = mean(&numbers, 2) / 0.05_f64.powi(2);
        assert!((share - 0.7737).abs() < 0.016, "the variance is {share} of the normal's");
        assert!(drawn("layer1.bias").concat().into_iter().chain(drawn("layer2.bias").concat()).all(|x| x == 0.0));
        assert_uniform("the output layer", drawn("output.weight"), BOUNDS[0].into());
    }

    #[test]
    fn a_basis_looks_as_far_as_the_observations_range() {
        let compatible = config(|config| {
            config.algorithm = Algorithm::Compatible;
            config.batch_norm = BatchNorm::None;
            (config.basis_weights, config.basis_biases) = (3.0, BOUNDS[1]);
        });
        let scales: Vec<f32> = (0..17).map(|row| 4.0_f32.powi(row % 3 - 1)).collect();
        let drawn = drawn(Role::Critic, &compatible, &scales);
        for (row, (numbers, &scale)) in drawn("layer1.weight").iter().zip(&scales).enumerate() {
            let share = mean(numbers, 2) / (3.0 / f64::from(scale)).powi(2);
            // a variance of 400 numbers
            assert!((share - 1.0).abs() < 5.0 * (2.0 / 400.0_f64).sqrt(), "row {row} of scale {scale}: variance {share} of what is due");
        }
        let above = drawn("layer2.weight").concat();
        let (share, n) = (mean(&above, 2) / 9.0, above.len() as f64);
        assert!((share - 1.0).abs() < 5.0 * (2.0 / n).sqrt(), "above the first layer: {share}");
        assert!((mean(&above, 4) / 81.0 - 3.0).abs() < 5.0 * (96.0 / n).sqrt(), "normal");
        for layer in ["layer1", "layer2"] {
            assert_uniform(layer, drawn(&format!("{layer}.bias")), BOUNDS[1].into());
        }
        assert_uniform("the output layer", drawn("output.weight"), BOUNDS[0].into());
    }
}
