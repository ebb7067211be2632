// Elementary functions with known accuracy. WGSL lets a driver's own `sin` be off by 2^-11 and its `tanh` overflow;
// these give about 1e-7 on every device.

// (sin x, cos x). The argument is reduced by multiples of pi/2 in three parts (Cody & Waite 1980), good to |x| < 1e4;
// then the minimax polynomials of degree 7 and 8 on [-pi/4, pi/4].
fn sine_cosine(x: f32) -> vec2f {
    let quarter = floor(x * 0.6366197723675814 + 0.5);
    var y = fma(quarter, -1.5703125, x);
    y = fma(quarter, -4.837512969970703e-4, y);
    y = fma(quarter, -7.549789948768648e-8, y);
    // past 1e7 the parts no longer cancel; the result is then some angle's, but never beyond one
    y = clamp(y, -1.0, 1.0);
    let y2 = y * y;
    let sine = fma(y * y2, fma(y2, fma(y2, -1.9515295891e-4, 8.3321608736e-3), -1.6666654611e-1), y);
    let cosine = fma(y2 * y2, fma(y2, fma(y2, 2.443315711809948e-5, -1.388731625493765e-3), 4.166664568298827e-2), fma(y2, -0.5, 1.0));
    let quadrant = u32(i32(quarter)) & 3u;
    var result = select(vec2f(sine, cosine), vec2f(cosine, -sine), (quadrant & 1u) == 1u);
    result = select(result, -result, (quadrant & 2u) == 2u);
    return result;
}

// x reduced to [-pi, pi): x - 2 pi floor((x + pi) / (2 pi)), with 2 pi in three parts.
fn wrap_angle(x: f32) -> f32 {
    let turns = floor(x * 0.15915494309189535 + 0.5);
    var y = fma(turns, -6.28125, x);
    y = fma(turns, -1.9350051879882812e-3, y);
    // the bounds matter for huge angles only, which float32 cannot tell from each other any more
    return clamp(fma(turns, -3.0199159795074593e-7, y), -3.1415928, 3.1415928);
}

// The first `count` of four numbers, then zeros. Not a loop that writes one after the other: a compiler for DX12 unrolls
// loops that write to a vector at a place that changes, with all loops around them, and gives up.
fn first_of_four(values: vec4f, count: u32) -> vec4f {
    return select(vec4f(), values, vec4u(0u, 1u, 2u, 3u) < vec4u(count));
}

// Groups into which to put `count` terms, so that adding up a group and adding up the groups take about as long.
fn group_count(count: u32) -> u32 {
    return 1u << (firstLeadingBit(count) / 2u);
}

// tanh, odd, by polynomial below 0.625 and by the exponential above, where nothing cancels; saturates without overflow.
fn hyperbolic_tangent(x: f32) -> f32 {
    let magnitude = min(abs(x), 15.0);
    let square = magnitude * magnitude;
    let polynomial = fma(square, fma(square, fma(square, fma(square, -5.70498872745e-3, 2.06390887954e-2), -5.37397155531e-2), 1.33314422036e-1), -3.33332819422e-1);
    let small = fma(magnitude * square, polynomial, magnitude);
    let large = 1.0 - 2.0 / (exp(2.0 * magnitude) + 1.0);
    let result = select(large, small, magnitude < 0.625);
    return select(result, -result, x < 0.0);
}
