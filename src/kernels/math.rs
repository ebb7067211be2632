//! Elementary functions: `shaders/shared/math.wgsl`. Their references are the standard library's in float64, and
//! [`reference_wrap_angle`].

/// `x` reduced to [−π, π).
pub fn reference_wrap_angle(x: f64) -> f64 {
    use std::f64::consts::{PI, TAU};
    (x + PI).rem_euclid(TAU) - PI
}

/// Runs `main`, an entry point of workgroups of 64 over `given` and `taken`, together with the shared functions; returns
/// `results` vec4s.
#[cfg(test)]
pub(crate) fn on_device(main: &str, given: &[[u32; 4]], results: usize) -> Vec<[u32; 4]> {
    use super::harness::default_limits;
    use crate::buffer::{filled, read_blocking};
    let bindings = "
@group(0) @binding(0) var<storage, read> given: array<vec4u>;
@group(0) @binding(1) var<storage, read_write> taken: array<vec4u>;
";
    let source =
        [include_str!("../../shaders/shared/math.wgsl"), include_str!("../../shaders/shared/philox.wgsl"), bindings, main].concat();
    let gpu = default_limits();
    let (device, queue) = (&gpu.device, &gpu.queue);
    let module =
        device.create_shader_module(wgpu::ShaderModuleDescriptor { label: Some("math"), source: wgpu::ShaderSource::Wgsl(source.into()) });
    let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: Some("math"),
        layout: None,
        module: &module,
        entry_point: Some("main"),
        compilation_options: Default::default(),
        cache: None,
    });
    let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC;
    let input = filled(device, queue, "given", usage, given);
    let output = filled(device, queue, "taken", usage, &vec![[0u32; 4]; results]);
    let bind_group = device.create_bind_group(&wgpu::BindGroupDescriptor {
        label: Some("math"),
        layout: &pipeline.get_bind_group_layout(0),
        entries: &[
            wgpu::BindGroupEntry { binding: 0, resource: input.as_entire_binding() },
            wgpu::BindGroupEntry { binding: 1, resource: output.as_entire_binding() },
        ],
    });
    let mut encoder = device.create_command_encoder(&Default::default());
    {
        let mut pass = encoder.begin_compute_pass(&Default::default());
        pass.set_pipeline(&pipeline);
        pass.set_bind_group(0, &bind_group, &[]);
        pass.dispatch_workgroups((given.len() as u32).div_ceil(64), 1, 1);
    }
    queue.submit([encoder.finish()]);
    let taken = read_blocking(device, queue, &output, 0..16 * results as u64).unwrap_or_else(|error| panic!("{error}"));
    gpu.check().unwrap_or_else(|error| panic!("{error}"));
    taken
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::f64::consts::{PI, TAU};

    const FUNCTIONS: &str = "
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
    if id.x >= arrayLength(&given) { return; }
    let x = bitcast<f32>(given[id.x].x);
    taken[id.x] = bitcast<vec4u>(vec4f(sine_cosine(x), wrap_angle(x), hyperbolic_tangent(x)));
}
";

    /// x, and sine, cosine, wrapped angle and hyperbolic tangent of it, as the device has them.
    fn evaluate(x: &[f32]) -> Vec<(f64, [f64; 4])> {
        let given: Vec<_> = x.iter().map(|x| [x.to_bits(), 0, 0, 0]).collect();
        let taken = on_device(FUNCTIONS, &given, given.len());
        x.iter().zip(taken).map(|(&x, taken)| (x.into(), taken.map(|bits| f32::from_bits(bits).into()))).collect()
    }

    /// Both signs of `count` numbers from `low` to `high`, evenly on a logarithmic scale.
    fn spread(low: f64, high: f64, count: u32) -> Vec<f32> {
        let at = |i| (low * (high / low).powf(f64::from(i) / f64::from(count))) as f32;
        (0..=count).flat_map(|i| [at(i), -at(i)]).collect()
    }

    #[test]
    fn sines_and_cosines_are_good_to_two_ulps_of_one() {
        let mut x = spread(1e-30, 1e4, 30_000);
        x.extend((0..20_000).map(|i| (f64::from(i) * 1e-3 - 10.0) as f32));
        x.extend((-400..=400).map(|i| (f64::from(i) * PI / 4.0) as f32));
        x.extend([0.0, -0.0]);
        for (x, [sine, cosine, ..]) in evaluate(&x) {
            assert!((sine - x.sin()).abs() <= 2.4e-7, "sin {x} is {sine}, expected {}", x.sin());
            assert!((cosine - x.cos()).abs() <= 2.4e-7, "cos {x} is {cosine}, expected {}", x.cos());
            // small angles keep all their digits
            assert!(x.abs() > 0.7 || (sine - x.sin()).abs() <= 3e-7 * x.abs() + 1e-38, "sin {x} is {sine}, expected {}", x.sin());
        }
    }

    #[test]
    fn huge_angles_stay_within_bounds() {
        let mut x = spread(1e4, 3.4e38, 5000);
        x.extend([f32::MAX, f32::MIN]);
        for (x, [sine, cosine, wrapped, _]) in evaluate(&x) {
            assert!(sine.abs() <= 1.0 + 1e-6 && cosine.abs() <= 1.0 + 1e-6, "({sine}, {cosine}) at {x}");
            assert!(wrapped.abs() <= PI + 5e-7, "{x} wraps to {wrapped}");
        }
    }

    #[test]
    fn wrapped_angles_are_the_same_angle_within_pi() {
        let mut x = spread(1e-30, 1e4, 30_000);
        x.extend((0..20_000).map(|i| (f64::from(i) * 1e-3 - 10.0) as f32));
        // the float32 next to pi on either side
        let pi = std::f32::consts::PI;
        x.extend([0.0, -0.0, pi.next_down(), -pi.next_down(), pi, -pi, pi.next_up(), -pi.next_up()]);
        for (x, [_, _, wrapped, _]) in evaluate(&x) {
            let expected = reference_wrap_angle(x);
            // either end of the range, where rounding decides
            let difference = (wrapped - expected).abs();
            let difference = difference.min((difference - TAU).abs());
            assert!(difference <= 4e-7 + 1e-7 * x.abs().min(4.0), "{x} wraps to {wrapped}, expected {expected}");
            assert!(wrapped.abs() <= PI + 5e-7, "{x} wraps to {wrapped}");
        }
    }

    #[test]
    fn hyperbolic_tangents_are_odd_accurate_and_saturate() {
        let mut x = spread(1e-30, 3.4e38, 40_000);
        x.extend((0..20_000).map(|i| (f64::from(i) * 1e-3 - 10.0) as f32));
        x.extend([0.0, -0.0, 0.624_999, 0.625, 0.625_001, 15.0, 88.0, 89.0, -89.0, f32::MAX, f32::MIN, f32::INFINITY, f32::NEG_INFINITY]);
        for (x, [.., tanh]) in evaluate(&x) {
            let expected = x.tanh();
            // exp is good to 3 + 2 |x| ulp (WGSL's accuracy table), of which 1 - 2 / (e + 1) keeps little
            assert!((tanh - expected).abs() <= 4e-7 * expected.abs() + 1e-38, "tanh {x} is {tanh}, expected {expected}");
            assert!(tanh.abs() <= 1.0, "tanh {x} is {tanh}");
        }
        for (x, [.., tanh]) in evaluate(&[15.0, 1e3, f32::MAX, f32::INFINITY]) {
            assert_eq!(tanh, 1.0, "tanh {x}");
        }
    }

    #[test]
    fn the_reference_wraps() {
        for (x, expected) in [(0.0, 0.0), (PI, -PI), (-PI, -PI), (3.0 * PI, -PI), (4.0, 4.0 - TAU), (-7.0, TAU - 7.0)] {
            assert!((reference_wrap_angle(x) - expected).abs() < 1e-12, "{x}");
        }
    }
}
