// Philox4x32-10: Salmon, Moraes, Dror & Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3".
//
// A counter-based generator: the same key and counter give the same four words wherever and whenever they are asked
// for, so no generator state is kept, and agents, steps and lanes never share a stream.
// key = the agent's seed; counter = (step, lane, purpose, draw).

const PURPOSE_RESET: u32 = 0u;
const PURPOSE_NOISE: u32 = 1u;
const PURPOSE_SAMPLE: u32 = 2u;
const PURPOSE_RANDOM_ACTION: u32 = 3u;
const PURPOSE_EVALUATION: u32 = 4u;
const PURPOSE_ENVIRONMENT: u32 = 5u;
const PURPOSE_SIMULATION: u32 = 6u;

// The 64-bit product of two words as (low, high), from 16-bit halves: WGSL has no wide multiply.
fn multiply_wide(a: u32, b: u32) -> vec2u {
    let a_low = a & 0xffffu;
    let a_high = a >> 16u;
    let b_low = b & 0xffffu;
    let b_high = b >> 16u;
    let low = a_low * b_low;
    let middle = a_high * b_low + (low >> 16u);
    let carry = a_low * b_high + (middle & 0xffffu);
    return vec2u(a * b, a_high * b_high + (middle >> 16u) + (carry >> 16u));
}

fn philox_round(counter: vec4u, key: vec2u) -> vec4u {
    let first = multiply_wide(0xD2511F53u, counter.x);
    let second = multiply_wide(0xCD9E8D57u, counter.z);
    return vec4u(second.y ^ counter.y ^ key.x, second.x, first.y ^ counter.w ^ key.y, first.x);
}

fn philox(counter: vec4u, key: vec2u) -> vec4u {
    let step = vec2u(0x9E3779B9u, 0xBB67AE85u);
    var c = philox_round(counter, key);
    c = philox_round(c, key + step);
    c = philox_round(c, key + 2u * step);
    c = philox_round(c, key + 3u * step);
    c = philox_round(c, key + 4u * step);
    c = philox_round(c, key + 5u * step);
    c = philox_round(c, key + 6u * step);
    c = philox_round(c, key + 7u * step);
    c = philox_round(c, key + 8u * step);
    return philox_round(c, key + 9u * step);
}

// Uniform in [0, 1): 24 bits, each value exact in float32.
fn uniform_from_bits(bits: u32) -> f32 {
    // in two halves, whose sum is exact: a compiler for DX12 (FXC) takes a converted integer times a constant for an integer,
    // and would leave the floor out of floor(6.0 * u)
    return fma(f32(bits >> 20u), 2.44140625e-4, f32((bits >> 8u) & 0xfffu) * 5.9604644775390625e-8);
}

// Uniform in (0, 1]: safe under a logarithm.
fn positive_uniform_from_bits(bits: u32) -> f32 {
    return f32((bits >> 8u) + 1u) * 5.9604644775390625e-8;
}

// Two independent standard normals from two words: Box & Muller 1958.
fn normal_pair_from_bits(bits: vec2u) -> vec2f {
    let radius = sqrt(-2.0 * log(positive_uniform_from_bits(bits.x)));
    let angle = sine_cosine(6.283185307179586 * (uniform_from_bits(bits.y) - 0.5));
    return radius * vec2f(angle.y, angle.x);
}

// A uniform index in [0, length): the high word of bits * length (Lemire 2019, without rejection). An index's
// probability is off by at most length / 2^32 of itself, 0.02 % for a ring of a million.
fn index_from_bits(bits: u32, length: u32) -> u32 {
    return multiply_wide(bits, length).y;
}

// A stream for environments: call `random_uniform(&random)` as often as needed.
struct Random {
    counter: vec4u,
    key: vec2u,
}

fn random_uniform(random: ptr<function, Random>) -> f32 {
    let bits = philox((*random).counter, (*random).key);
    (*random).counter.w += 1u;
    return uniform_from_bits(bits.x);
}

fn random_normal(random: ptr<function, Random>) -> f32 {
    let bits = philox((*random).counter, (*random).key);
    (*random).counter.w += 1u;
    return normal_pair_from_bits(bits.xy).x;
}
