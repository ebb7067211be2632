//! A trained policy as WGSL of its own, to paste into somebody else's shader.

use crate::allocator::vec4s;
use crate::ddpg::Networks;
use crate::error::{Error, Result};
use crate::network::Layer;
use crate::pending::Pending;
use crate::population::Population;
use crate::shader::{check_exported, hyperbolic_tangent};

/// Where an exported policy keeps its weights.
///
/// ```
/// use ddpg_wgpu::WeightStorage;
/// // 64-64 for Pendulum: 4,481 floats
/// let storage = if 4481 <= WeightStorage::MOST_CONSTANTS { WeightStorage::Constants } else { WeightStorage::Buffer { group: 1, binding: 0 } };
/// assert_eq!(storage, WeightStorage::Constants);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum WeightStorage {
    /// In the source, as constants: nothing to bind. For small networks, up to [`WeightStorage::MOST_CONSTANTS`] floats,
    /// written out without loops.
    Constants,
    /// In a read-only storage buffer of the shader's, which is to hold [`PolicyWgsl::weights`].
    Buffer {
        /// Its bind group.
        group: u32,
        /// Its binding.
        binding: u32,
    },
}

impl WeightStorage {
    /// Most floats that are written as constants.
    pub const MOST_CONSTANTS: usize = 1 << 13;
}

/// A policy in WGSL: the source of `fn policy(observation: array<f32, N>) -> array<f32, M>` and what it needs. All its other
/// names begin with `policy_` or `POLICY_`.
///
/// ```no_run
/// # let gpu = ddpg_wgpu::Gpu::open_blocking(None)?;
/// # let population = ddpg_wgpu::Population::new(&gpu.device, &gpu.queue, &ddpg_wgpu::Environment::pendulum_v1(), &Default::default())?;
/// use ddpg_wgpu::WeightStorage;
/// let mut encoder = gpu.device.create_command_encoder(&Default::default());
/// let pending = population.record_policy_wgsl(&mut encoder, 0, WeightStorage::Constants)?;
/// gpu.queue.submit([encoder.finish()]);
/// println!("{}", pending.wait_blocking(&gpu.device)?.source);
/// # Ok::<(), ddpg_wgpu::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct PolicyWgsl {
    /// The source, checked.
    pub source: String,
    /// The floats that the storage buffer is to hold; a multiple of four. With constants, the same numbers for reference.
    pub weights: Vec<f32>,
}

impl Population {
    /// Records the export of agent `agent`'s policy as it is at that point of `encoder`; the source arrives after it was
    /// submitted, without anybody waiting.
    ///
    /// # Errors
    /// [`Error::Config`] where there is no such agent. In what arrives: [`Error::Config`] for a network too large for
    /// constants, [`Error::Gpu`] where the device fails.
    pub fn record_policy_wgsl(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        agent: u32,
        storage: WeightStorage,
    ) -> Result<Pending<PolicyWgsl>> {
        self.check_agent(agent)?;
        let networks = self.networks.clone();
        let epsilon = self.config.batch_norm_epsilon;
        let start = 16 * u64::from(agent) * u64::from(self.memory.sizes.parameters_stride);
        let range = start..start + 16 * u64::from(networks.length);
        Ok(Pending::record(&self.device, encoder, &self.memory.buffers.parameters, range, move |bytes| {
            policy_wgsl(&networks, &bytemuck::pod_collect_to_vec(bytes), epsilon, storage)
        }))
    }
}

#[cfg(feature = "checkpoint")]
impl crate::Snapshot {
    /// The policy of a snapshot in WGSL.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] for a snapshot that does not hold what it should; [`Error::Config`] for a network too large
    /// for constants.
    pub fn policy_wgsl(&self, storage: WeightStorage) -> Result<PolicyWgsl> {
        let (_, networks, parameters) = self.online_parameters()?;
        policy_wgsl(&networks, &parameters, self.config.batch_norm_epsilon, storage)
    }
}

/// The numbers of a policy, batch norm of the hidden layers folded in; every vector and row in whole vec4s.
struct Folded {
    inputs: u32,
    actions: u32,
    /// Scale and centre of the observation.
    input: Option<(Vec<f32>, Vec<f32>)>,
    layers: Vec<FoldedLayer>,
    action_scale: Vec<f32>,
    action_centre: Vec<f32>,
}

struct FoldedLayer {
    inputs: u32,
    columns: u32,
    weights: Vec<f32>,
    bias: Vec<f32>,
}

/// `parameters` is an agent's online half, floats.
pub(crate) fn policy_wgsl(networks: &Networks, parameters: &[f32], epsilon: f32, storage: WeightStorage) -> Result<PolicyWgsl> {
    let policy = fold(networks, parameters, epsilon);
    let mut weights = Weights::default();
    let body = match storage {
        WeightStorage::Constants => policy.unrolled(&mut weights),
        WeightStorage::Buffer { .. } => policy.looped(&mut weights),
    };
    let floats = weights.0.len();
    if let Some(index) = weights.0.iter().position(|weight| !weight.is_finite()) {
        return Err(Error::config(format!("the policy's weight {index} is {}; only finite ones can be exported", weights.0[index])));
    }
    let declaration = match storage {
        WeightStorage::Constants if floats > WeightStorage::MOST_CONSTANTS => {
            let most = WeightStorage::MOST_CONSTANTS;
            return Err(Error::config(format!(
                "a policy of {floats} weights is too large for constants, of which at most {most} are written: use WeightStorage::Buffer"
            )));
        }
        WeightStorage::Constants => String::new(),
        WeightStorage::Buffer { group, binding } => {
            format!("@group({group}) @binding({binding}) var<storage, read> policy_weights: array<vec4f, {}>;\n\n", floats / 4)
        }
    };
    let Folded { inputs, actions, .. } = policy;
    let source = format!(
        "// A policy of {inputs} observations and {actions} actions, written by ddpg-wgpu.\n\n{declaration}{}\n\
         fn policy(observation: array<f32, {inputs}>) -> array<f32, {actions}> {{\n{body}    return action;\n}}\n",
        hyperbolic_tangent().replace("hyperbolic_tangent", "policy_tanh"),
    );
    check_exported("the exported policy", &source)?;
    Ok(PolicyWgsl { source, weights: weights.0 })
}

/// The floats of the storage buffer.
#[derive(Default)]
struct Weights(Vec<f32>);

impl Weights {
    /// Adds a table; gives the number of its first vec4.
    fn add(&mut self, table: &[f32]) -> usize {
        let first = self.0.len() / 4;
        self.0.extend_from_slice(table);
        first
    }
}

fn literal(table: &[f32], vec4: usize) -> String {
    let [x, y, z, w] = [0, 1, 2, 3].map(|i| table[4 * vec4 + i]);
    format!("vec4f({x:?}, {y:?}, {z:?}, {w:?})")
}

impl Folded {
    fn input_columns(&self) -> u32 {
        vec4s(self.inputs)
    }

    /// Names of what a layer reads and writes.
    fn names(&self, index: usize) -> (String, String) {
        let name = |index: usize| if index == 0 { "x".to_owned() } else { format!("h{index}") };
        (name(index), if index + 1 == self.layers.len() { "z".to_owned() } else { name(index + 1) })
    }

    fn rectified(&self, index: usize) -> &'static str {
        if index + 1 == self.layers.len() { "sum" } else { "max(sum, vec4f())" }
    }

    /// Loops over weights in a buffer.
    fn looped(&self, weights: &mut Weights) -> String {
        let (inputs, columns) = (self.inputs, self.input_columns());
        let mut body = format!(
            "    var x: array<vec4f, {columns}>;\n    for (var i = 0u; i < {inputs}u; i++) {{ x[i / 4u][i % 4u] = observation[i]; }}\n"
        );
        if let Some((scale, centre)) = &self.input {
            let (scale, centre) = (weights.add(scale), weights.add(centre));
            body += &format!(
                "    for (var c = 0u; c < {columns}u; c++) {{ x[c] = fma(policy_weights[{scale}u + c], x[c], policy_weights[{centre}u + c]); }}\n"
            );
        }
        for (index, layer) in self.layers.iter().enumerate() {
            let (below, output) = self.names(index);
            let FoldedLayer { inputs, columns, .. } = layer;
            let (weight, bias) = (weights.add(&layer.weights), weights.add(&layer.bias));
            body += &format!(
                "    var {output}: array<vec4f, {columns}>;
    for (var c = 0u; c < {columns}u; c++) {{
        var sum = policy_weights[{bias}u + c];
        for (var i = 0u; i < {inputs}u; i++) {{
            sum = fma(vec4f({below}[i / 4u][i % 4u]), policy_weights[{weight}u + i * {columns}u + c], sum);
        }}
        {output}[c] = {};
    }}
",
                self.rectified(index)
            );
        }
        let (scale, centre) = (weights.add(&self.action_scale), weights.add(&self.action_centre));
        let actions = self.actions;
        body += &format!(
            "    var action: array<f32, {actions}>;
    for (var i = 0u; i < {actions}u; i++) {{
        let c = i / 4u;
        action[i] = fma(policy_weights[{scale}u + c][i % 4u], policy_tanh(z[c][i % 4u]), policy_weights[{centre}u + c][i % 4u]);
    }}
"
        );
        body
    }

    /// Straight through, a literal a weight: compilers copy a table of constants wherever it is indexed, which takes some of
    /// them minutes.
    fn unrolled(&self, weights: &mut Weights) -> String {
        let component = |i: u32| ["x", "y", "z", "w"][i as usize % 4];
        let mut body = format!("    var x: array<vec4f, {}>;\n", self.input_columns());
        for i in 0..self.inputs {
            body += &format!("    x[{}].{} = observation[{i}];\n", i / 4, component(i));
        }
        if let Some((scale, centre)) = &self.input {
            weights.add(scale);
            weights.add(centre);
            for c in 0..self.input_columns() as usize {
                body += &format!("    x[{c}] = fma({}, x[{c}], {});\n", literal(scale, c), literal(centre, c));
            }
        }
        body += "    var sum: vec4f;\n";
        for (index, layer) in self.layers.iter().enumerate() {
            let (below, output) = self.names(index);
            weights.add(&layer.weights);
            weights.add(&layer.bias);
            body += &format!("    var {output}: array<vec4f, {}>;\n", layer.columns);
            for c in 0..layer.columns as usize {
                body += &format!("    sum = {};\n", literal(&layer.bias, c));
                for i in 0..layer.inputs {
                    let weight = literal(&layer.weights, (i * layer.columns) as usize + c);
                    body += &format!("    sum = fma(vec4f({below}[{}].{}), {weight}, sum);\n", i / 4, component(i));
                }
                body += &format!("    {output}[{c}] = {};\n", self.rectified(index));
            }
        }
        weights.add(&self.action_scale);
        weights.add(&self.action_centre);
        body += &format!("    var action: array<f32, {}>;\n", self.actions);
        for i in 0..self.actions {
            let (scale, centre) = (self.action_scale[i as usize], self.action_centre[i as usize]);
            body += &format!("    action[{i}] = fma({scale:?}, policy_tanh(z[{}].{}), {centre:?});\n", i / 4, component(i));
        }
        body
    }
}

fn fold(networks: &Networks, parameters: &[f32], epsilon: f32) -> Folded {
    let actor = &networks.actor;
    let floats = |offset: u32, vec4s: u32| &parameters[4 * offset as usize..4 * (offset + vec4s) as usize];
    let (inputs, actions) = (actor.observation_size, actor.action_size);
    let layers = actor.layers.iter().map(|layer| {
        let (weights, bias) = folded(layer, floats, epsilon);
        FoldedLayer { inputs: layer.inputs, columns: layer.columns(), weights, bias }
    });
    Folded {
        inputs,
        actions,
        input: actor.input_norm.map(|norm| affine(floats(norm, 4 * vec4s(inputs)), epsilon)),
        layers: layers.collect(),
        action_scale: floats(actor.bounds, vec4s(actions)).to_vec(),
        action_centre: floats(actor.bounds + vec4s(actions), vec4s(actions)).to_vec(),
    }
}

/// Batch norm in inference mode as `scale · x + centre`, from its scale, shift, running mean and running variance.
fn affine(norm: &[f32], epsilon: f32) -> (Vec<f32>, Vec<f32>) {
    let quarter = norm.len() / 4;
    let part = |i: usize| norm[i * quarter..(i + 1) * quarter].iter().map(|&number| f64::from(number));
    let scale: Vec<f64> = part(0).zip(part(3)).map(|(scale, variance)| scale / (variance + f64::from(epsilon)).sqrt()).collect();
    let centre = part(1).zip(part(2)).zip(&scale).map(|((shift, mean), scale)| (shift - scale * mean) as f32).collect();
    (scale.iter().map(|&scale| scale as f32).collect(), centre)
}

/// A layer's weights and bias with its batch norm folded in.
fn folded<'a>(layer: &Layer, floats: impl Fn(u32, u32) -> &'a [f32], epsilon: f32) -> (Vec<f32>, Vec<f32>) {
    let columns = layer.columns();
    let mut weights = floats(layer.weights, layer.inputs * columns).to_vec();
    let mut bias = floats(layer.bias, columns).to_vec();
    if let Some(norm) = layer.norm {
        let (scale, centre) = affine(floats(norm, 4 * columns), epsilon);
        for row in weights.chunks_mut(scale.len()) {
            row.iter_mut().zip(&scale).for_each(|(weight, scale)| *weight *= scale);
        }
        for ((bias, scale), centre) in bias.iter_mut().zip(&scale).zip(&centre) {
            *bias = scale.mul_add(*bias, *centre);
        }
    }
    (weights, bias)
}
