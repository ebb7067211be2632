//! A trained policy as WGSL of its own, to paste into somebody else's shader.

use crate::ddpg::Networks;
use crate::error::{Error, Result};
use crate::network::{Layer, vec4s};
use crate::pending::Pending;
use crate::population::Population;
use crate::shader::{check_exported, hyperbolic_tangent};
use std::fmt::Write;

/// Where an exported policy keeps its weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum WeightStorage {
    /// In the source, as constants: nothing to bind. For small networks, up to [`WeightStorage::MOST_CONSTANTS`] floats;
    /// compilers take long over large tables.
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
    pub const MOST_CONSTANTS: usize = 1 << 15;
}

/// A policy in WGSL: the source of `fn policy(observation: array<f32, N>) -> array<f32, M>` and what it needs. All its other
/// names begin with `policy_` or `POLICY_`.
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

/// The tables of an exported policy: names, vec4s, and where each begins in the weights.
#[derive(Default)]
struct Tables {
    storage: Option<WeightStorage>,
    declarations: String,
    weights: Vec<f32>,
}

impl Tables {
    /// Adds a table of whole vec4s; gives the WGSL that reads its vec4 number `index`.
    fn add(&mut self, name: &str, numbers: &[f32]) -> impl Fn(&str) -> String + use<> {
        let offset = self.weights.len() / 4;
        self.weights.extend_from_slice(numbers);
        let name = format!("POLICY_{}", name.to_uppercase());
        let constant = self.storage == Some(WeightStorage::Constants);
        if constant {
            let (chunks, _) = numbers.as_chunks::<4>();
            let vectors: Vec<_> = chunks.iter().map(|[x, y, z, w]| format!("vec4f({x:?}, {y:?}, {z:?}, {w:?})")).collect();
            let _ = writeln!(self.declarations, "const {name} = array<vec4f, {}>({});", vectors.len(), vectors.join(", "));
        }
        move |index| if constant { format!("{name}[{index}]") } else { format!("policy_weights[{offset}u + {index}]") }
    }
}

/// `parameters` is an agent's online half, floats.
pub(crate) fn policy_wgsl(networks: &Networks, parameters: &[f32], epsilon: f32, storage: WeightStorage) -> Result<PolicyWgsl> {
    let actor = &networks.actor;
    let (inputs, actions) = (actor.observation_size, actor.action_size);
    let floats = |offset: u32, vec4s: u32| &parameters[4 * offset as usize..4 * (offset + vec4s) as usize];
    let mut tables = Tables { storage: Some(storage), ..Tables::default() };
    let mut body = format!("    var x: array<vec4f, {}>;\n", vec4s(inputs));
    let _ = writeln!(body, "    for (var i = 0u; i < {inputs}u; i++) {{ x[i / 4u][i % 4u] = observation[i]; }}");
    if let Some(norm) = actor.input_norm {
        let (scale, centre) = affine(floats(norm, 4 * vec4s(inputs)), epsilon);
        let (scale, centre) = (tables.add("input_scale", &scale), tables.add("input_centre", &centre));
        let _ =
            writeln!(body, "    for (var c = 0u; c < {}u; c++) {{ x[c] = fma({}, x[c], {}); }}", vec4s(inputs), scale("c"), centre("c"));
    }
    let mut below = "x".to_owned();
    for (index, layer) in actor.layers.iter().enumerate() {
        let last = index + 1 == actor.layers.len();
        let (weights, bias) = folded(layer, floats, epsilon);
        let weights = tables.add(&format!("weight{}", index + 1), &weights);
        let bias = tables.add(&format!("bias{}", index + 1), &bias);
        let (columns, inputs) = (layer.columns(), layer.inputs);
        let output = if last { "z".to_owned() } else { format!("h{}", index + 1) };
        let result = if last { "sum" } else { "max(sum, vec4f())" };
        let (weight, bias) = (weights(&format!("i * {columns}u + c")), bias("c"));
        let _ = write!(
            body,
            "    var {output}: array<vec4f, {columns}>;
    for (var c = 0u; c < {columns}u; c++) {{
        var sum = {bias};
        for (var i = 0u; i < {inputs}u; i++) {{ sum = fma(vec4f({below}[i / 4u][i % 4u]), {weight}, sum); }}
        {output}[c] = {result};
    }}
"
        );
        below = output;
    }
    let scale = tables.add("action_scale", floats(actor.bounds, vec4s(actions)));
    let centre = tables.add("action_centre", floats(actor.bounds + vec4s(actions), vec4s(actions)));
    let at = |table: String| format!("{table}[i % 4u]");
    let _ = writeln!(
        body,
        "    var action: array<f32, {actions}>;
    for (var i = 0u; i < {actions}u; i++) {{
        action[i] = fma({}, policy_tanh(z[i / 4u][i % 4u]), {});
    }}
    return action;",
        at(scale("i / 4u")),
        at(centre("i / 4u"))
    );
    if let Some(index) = tables.weights.iter().position(|weight| !weight.is_finite()) {
        return Err(Error::config(format!("the policy's weight {index} is {}; only finite ones can be exported", tables.weights[index])));
    }
    match storage {
        WeightStorage::Constants if tables.weights.len() > WeightStorage::MOST_CONSTANTS => {
            let (floats, most) = (tables.weights.len(), WeightStorage::MOST_CONSTANTS);
            return Err(Error::config(format!(
                "a policy of {floats} weights is too large for constants, of which at most {most} are written: use WeightStorage::Buffer"
            )));
        }
        WeightStorage::Constants => {}
        WeightStorage::Buffer { group, binding } => {
            tables.declarations = format!(
                "@group({group}) @binding({binding}) var<storage, read> policy_weights: array<vec4f, {}>;\n",
                tables.weights.len() / 4
            );
        }
    }
    let source = format!(
        "// A policy of {inputs} observations and {actions} actions, written by ddpg-wgpu.\n\n{}\n{}\n\
         fn policy(observation: array<f32, {inputs}>) -> array<f32, {actions}> {{\n{body}}}\n",
        tables.declarations,
        hyperbolic_tangent().replace("hyperbolic_tangent", "policy_tanh"),
    );
    check_exported("the exported policy", &source)?;
    Ok(PolicyWgsl { source, weights: tables.weights })
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
