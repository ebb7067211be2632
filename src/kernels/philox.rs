//! Random numbers: `shaders/shared/philox.wgsl`. The words themselves come from [`crate::philox`], Philox4x32-10 of Salmon,
//! Moraes, Dror & Shaw 2011; here is what is made of them, in float64.

/// What a word of a counter is for: the third word of each counter, so that no two uses share a stream.
pub mod purpose {
    /// An environment's starting state.
    pub const RESET: u32 = 0;
    /// Exploration noise.
    pub const NOISE: u32 = 1;
    /// Indices of a minibatch.
    pub const SAMPLE: u32 = 2;
    /// Uniform random actions.
    pub const RANDOM_ACTION: u32 = 3;
    /// Where an episode of an evaluation starts, and what its environment draws.
    pub const EVALUATION: u32 = 4;
    /// What an environment draws in a step.
    pub const ENVIRONMENT: u32 = 5;
}

/// A uniform number in [0, 1) of 24 bits, exact in float32.
pub fn reference_uniform(bits: u32) -> f64 {
    f64::from(bits >> 8) / f64::from(1 << 24)
}

/// Two independent standard normals: Box & Muller 1958, the radius from (0, 1], the angle in ±π.
pub fn reference_normals(bits: [u32; 2]) -> [f64; 2] {
    let radius = (-2.0 * (f64::from((bits[0] >> 8) + 1) / f64::from(1 << 24)).ln()).sqrt();
    let (sine, cosine) = (std::f64::consts::TAU * (reference_uniform(bits[1]) - 0.5)).sin_cos();
    [radius * cosine, radius * sine]
}

/// A uniform index in [0, `length`): the high word of the product (Lemire 2019, without rejection).
pub fn reference_index(bits: u32, length: u32) -> u32 {
    ((u64::from(bits) * u64::from(length)) >> 32) as u32
}

/// How far float32 may take a normal of these bits from [`reference_normals`]: a logarithm near 0 is only good to 2⁻²¹
/// absolutely (WGSL's accuracy table), and its root multiplies that by 1 / radius.
#[cfg(test)]
pub(crate) fn normal_tolerance(bits: u32) -> f64 {
    let radius = reference_normals([bits, 1 << 31])[0].abs();
    (3e-6 + 5e-7 / radius.max(1e-9)).min(1.5e-3)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Philox;
    use crate::kernels::harness::assert_close;
    use crate::kernels::math::on_device;
    use rand::RngExt;

    const WORDS: &str = "
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
    let i = id.x;
    if 2u * i + 1u >= arrayLength(&given) { return; }
    let words = philox(given[2u * i], given[2u * i + 1u].xy);
    taken[4u * i] = words;
    taken[4u * i + 1u] = vec4u(bitcast<u32>(uniform_from_bits(words.x)), bitcast<u32>(positive_uniform_from_bits(words.x)), index_from_bits(words.y, given[2u * i + 1u].z), 0u);
    let normals = normal_pair_from_bits(words.xy);
    let wide = multiply_wide(words.x, words.y);
    taken[4u * i + 2u] = vec4u(bitcast<u32>(normals.x), bitcast<u32>(normals.y), wide.x, wide.y);
}
";

    #[test]
    fn words_uniforms_normals_and_indices_match_the_reference() {
        let mut random = Philox::new(1, 1);
        let mut given: Vec<[u32; 4]> = vec![
            [0; 4],
            [0, 0, 1, 0],
            [u32::MAX; 4],
            [u32::MAX, u32::MAX, u32::MAX, 0],
            [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
            [0xa409_3822, 0x299f_31d0, 1_000_000, 0],
        ];
        for length in [1, 2, 3, 1000, 999_999, 1 << 31].into_iter().cycle().take(5000) {
            given.push(random.random());
            given.push([random.random(), random.random(), length, 0]);
        }
        let taken = on_device(WORDS, &given, 2 * given.len());
        let known = [
            [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8],
            [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd],
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1],
        ];
        for (i, known) in known.iter().enumerate() {
            assert_eq!(taken[4 * i], *known, "published known answer {i}");
        }
        for (i, pair) in given.chunks(2).enumerate() {
            let [counter, [key0, key1, length, _]] = [pair[0], pair[1]];
            let words = crate::philox(counter, [key0, key1]);
            assert_eq!(taken[4 * i], words, "{pair:?}");
            let [uniform, positive, index, _] = taken[4 * i + 1];
            assert_eq!(f64::from(f32::from_bits(uniform)), reference_uniform(words[0]), "{pair:?}");
            assert_eq!(f64::from(f32::from_bits(positive)), reference_uniform(words[0]) + 1.0 / f64::from(1 << 24), "{pair:?}");
            assert_eq!(index, reference_index(words[1], length), "{pair:?}");
            let [first, second, low, high] = taken[4 * i + 2];
            let normals = [f32::from_bits(first), f32::from_bits(second)];
            assert_close(&normals, &reference_normals([words[0], words[1]]), 2e-6, normal_tolerance(words[0]), &format!("{pair:?}"));
            assert_eq!(u64::from(high) << 32 | u64::from(low), u64::from(words[0]) * u64::from(words[1]), "{pair:?}");
        }
    }

    #[test]
    fn extreme_words_stay_within_their_ranges() {
        assert_eq!((reference_uniform(0), reference_uniform(u32::MAX)), (0.0, 1.0 - 1.0 / f64::from(1 << 24)));
        assert_eq!((reference_index(0, 7), reference_index(u32::MAX, 7)), (0, 6));
        // the smallest radius is of the largest word, the largest, 5.77, of the smallest
        assert_eq!(reference_normals([u32::MAX, 1 << 31]), [0.0, 0.0]);
        assert_close(&[reference_normals([0, 1 << 31])[0]], &[5.768_108], 1e-6, 0.0, "largest normal");
    }
}
