//! The target networks' parameters: `shaders/soft_update.wgsl`.

/// θ′ ← blend θ + (1 − blend) θ′ in float64 (Lillicrap et al. 2016, Algorithm 1). A blend of 1 is a copy, 0 leaves the
/// target as it is.
pub fn reference(online: &[f64], target: &[f64], blend: f64) -> Vec<f64> {
    online.iter().zip(target).map(|(online, target)| blend * online + (1.0 - blend) * target).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Environment;
    use crate::allocator::vec4s;
    use crate::kernels::Kernel;
    use crate::kernels::harness::{Contents, Numbers, Place, assert_close, rigs, step, wide};
    use crate::operation::{Access, Operation};

    #[test]
    fn a_sweep_blends_its_range_and_is_exact_at_both_ends() {
        for rig in rigs(&Environment::pendulum_v1()) {
            for (first, count, blend) in
                [(0, 1, 1.0), (3, 3, 0.0), (1, 4, 1e-3), (2, 5, 5e-3), (0, 255, 0.5), (7, 257, 1.0), (1, 1030, 0.25), (2, 63, 0.0_f32)]
            {
                let columns = vec4s(count);
                let mut contents = Contents::new(3, first + columns + 2, 1);
                let mut numbers = Numbers::new(count.into());
                let target = contents.sizes.target_offset;
                let online = Place::vector(first, count);
                let blended = Place { offset: first + target, ..online };
                let drawn: Vec<_> = (0..3)
                    .map(|agent| {
                        let values = [numbers.uniform(count, -3.0, 3.0), numbers.uniform(count, -3.0, 3.0)];
                        online.put(contents.parameters_of(agent), &values[0]);
                        blended.put(contents.parameters_of(agent), &values[1]);
                        values
                    })
                    .collect();
                let operation = Operation {
                    kind: Kernel::SoftUpdate as u32,
                    units: columns.div_ceil(rig.pipelines.workgroup_size),
                    columns,
                    weights: first,
                    extra: blend.to_bits(),
                    ..Default::default()
                };
                let range = first + target..first + target + columns;
                contents.run(&rig, &[step(operation, vec![], vec![Access::Parameters(range)])]);
                for (agent, [from, to]) in (0..3).zip(&drawn) {
                    let what = format!("{}, agent {agent}, {count} from vec4 {first}, blend {blend}", rig.name);
                    let actual = blended.take(contents.parameters_of(agent), 1);
                    match blend {
                        0.0 => assert_eq!(&actual, to, "{what}"),
                        1.0 => assert_eq!(&actual, from, "{what}"),
                        _ => assert_close(&actual, &reference(&wide(from), &wide(to), blend.into()), 1e-6, 5e-7, &what),
                    }
                }
            }
        }
    }
}
