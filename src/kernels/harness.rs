//! What the kernels' tests share: pipelines compiled once, a population's memory with given contents, operations run through
//! the pipelines that train, and a comparison that no NaN passes.
//!
//! Memory that a test does not fill holds [`CANARY`], NaN, so that whatever reads outside its matrices shows; and
//! [`Contents::run`] refuses any change outside what the steps declare that they write.

use crate::Environment;
use crate::allocator::vec4s;
use crate::buffer::{Source, filled, read_blocking};
use crate::config::{Config, Statistics};
use crate::gpu::Gpu;
use crate::hyper_parameters::HyperParameters;
use crate::kernels::devices::lane;
pub(crate) use crate::kernels::devices::{all_limits, default_limits};
use crate::kernels::{Grid, Tile};
use crate::memory::{AgentState, Memory, RoleBuffers, Sizes};
use crate::operation::{Access, Operation, Step};
use crate::passes::{Mode, Pass};
use crate::pipelines::Pipelines;
use crate::program::Steps;
use crate::random::Philox;
use crate::vectors::{Content, Vectors};
use bytemuck::{Pod, Zeroable};
use rand::RngExt;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// What memory holds that no test has filled.
pub(crate) const CANARY: f32 = f32::NAN;

/// Heights of the left matrix: one, odd, a tile, off a tile by one either way.
pub(crate) const ROWS: [u32; 6] = [1, 3, 8, 31, 64, 65];

/// Widths: one, a vec4 and its neighbours, whole tiles and their neighbours.
pub(crate) const WIDTHS: [u32; 8] = [1, 3, 4, 5, 63, 64, 65, 257];

/// A device and the kernels compiled for it with one tile.
#[derive(Debug, Clone)]
pub(crate) struct Rig {
    pub name: &'static str,
    pub gpu: &'static Gpu,
    pub pipelines: Arc<Pipelines>,
    environment: Environment,
}

/// The portable tile on a device with the default limits, and every other tile that the adapter runs.
pub(crate) fn rigs(environment: &Environment) -> Vec<Rig> {
    let one_agent = compiled("small tile, default limits", default_limits(), environment, Tile::Small, 0);
    // many agents keep a GPU busy without sharing tiles: products go other ways
    let many_agents = compiled("small tile, many agents", default_limits(), environment, Tile::Small, 0);
    let mut rigs = vec![rig(environment), one_agent, many_agents];
    let named = [("subgroup tile, textures, all limits", Tile::Subgroup), ("portable tile, textures, all limits", Tile::Texture)];
    let teams = named.into_iter().filter(|(_, tile)| tile.runs_on(&all_limits().device));
    rigs.extend(teams.map(|(name, tile)| compiled(name, all_limits(), environment, tile, 0)));
    rigs
}

/// The portable tile on a device with the default limits, for kernels without a product.
pub(crate) fn rig(environment: &Environment) -> Rig {
    compiled("portable tile, default limits", default_limits(), environment, Tile::Portable, 0)
}

fn compiled(name: &'static str, gpu: &'static Gpu, environment: &Environment, tile: Tile, options: u32) -> Rig {
    type Cache = Mutex<HashMap<(&'static str, String, u32, usize), Arc<OnceLock<Arc<Pipelines>>>>>;
    static CACHE: OnceLock<Cache> = OnceLock::new();
    let cell = {
        let mut cache = CACHE.get_or_init(Default::default).lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(cache.entry((name, environment.name.to_string(), options, lane())).or_default())
    };
    let pipelines = cell.get_or_init(|| {
        let agents = if name.ends_with("many agents") { 1024 } else { 1 };
        let grid = Grid::of(tile, agents).with_bands(gpu.device.limits().max_compute_workgroup_storage_size);
        Arc::new(Pipelines::new(&gpu.device, environment, grid, options).unwrap_or_else(|error| panic!("{}: {error}", environment.name)))
    });
    Rig { name, gpu, pipelines: Arc::clone(pipelines), environment: environment.clone() }
}

impl Rig {
    /// The kernels compiled for a population with these options, bits of `pipelines::option`.
    fn with(&self, options: u32) -> Arc<Pipelines> {
        compiled(self.name, self.gpu, &self.environment, self.pipelines.tile, options).pipelines
    }
}

/// A population's memory on the host, agent after agent as on the device.
#[derive(Debug, Clone)]
pub(crate) struct Contents {
    pub sizes: Sizes,
    /// Bits of `pipelines::option`.
    pub options: u32,
    pub hyper_parameters: Vec<HyperParameters>,
    pub parameters: Vec<f32>,
    pub moments: Vec<f32>,
    pub activations: Vec<f32>,
    pub replay: Vec<f32>,
    pub environments: Vec<f32>,
    pub states: Vec<AgentState>,
}

impl Contents {
    /// Canaries everywhere. `length` and `activations`: vec4s of online parameters and of activations an agent. The
    /// strides leave gaps, each a different one, so that a wrong stride or offset cannot fall on the right number.
    pub fn new(agents: u32, length: u32, activations: u32) -> Self {
        let sizes = Sizes {
            agents,
            environments: 1,
            parameters_stride: 2 * length + 4,
            target_offset: length + 1,
            moments_stride: 3 * length + 7,
            second_moment_offset: length + 2,
            gradient_offset: 2 * length + 5,
            activations_stride: activations + 3,
            normalisation_epsilon: 1e-5,
            normalisation_decay: 0.9,
            ..Default::default()
        };
        Self::of_sizes(sizes, &Config::default())
    }

    /// Canaries everywhere, in buffers of the given sizes; every agent as `config` has it.
    pub fn of_sizes(sizes: Sizes, config: &Config) -> Self {
        let agents = sizes.agents;
        let filled = |stride: u32| vec![CANARY; (agents * stride * 4) as usize];
        Self {
            sizes,
            options: 0,
            hyper_parameters: (0..agents).map(|agent| HyperParameters::of_agent(config, agent)).collect(),
            parameters: filled(sizes.parameters_stride),
            moments: filled(sizes.moments_stride),
            activations: filled(sizes.activations_stride),
            replay: vec![CANARY; ((agents * sizes.replay_stride) as usize).max(4)],
            environments: vec![CANARY; ((agents * sizes.environments * sizes.environment_stride) as usize).max(4)],
            states: vec![AgentState { value_maximum: f32::MIN, ..AgentState::zeroed() }; agents as usize],
        }
    }

    /// Runs `steps` once through `rig`'s pipelines, scheduled as in training, and takes back what the device then holds.
    pub fn run(&mut self, rig: &Rig, steps: &[Step]) {
        self.repeat(rig, steps, 1);
    }

    /// Runs `steps` again and again in one pass, without the host touching anything between.
    pub fn repeat(&mut self, rig: &Rig, steps: &[Step], times: usize) {
        let before = self.clone();
        let (device, queue, pipelines) = (&rig.gpu.device, &rig.gpu.queue, rig.with(self.options));
        let mut table = Vec::new();
        let program = Steps(steps.to_vec()).schedule(&mut table, &pipelines);
        let raw: Vec<_> = self.hyper_parameters.iter().map(HyperParameters::raw).collect();
        let buffers = RoleBuffers {
            parameters: vectors(rig, Content::Floats, &self.parameters),
            hyper_parameters: vectors(rig, Content::Words, &raw),
            moments: vectors(rig, Content::Floats, &self.moments),
            activations: vectors(rig, Content::Floats, &self.activations),
            replay: buffer(rig, &self.replay),
            environments: buffer(rig, &self.environments),
            agent_states: buffer(rig, &self.states),
        };
        let memory = Memory::new(device, queue, &pipelines, self.sizes, &table, buffers).expect("few operations");
        let mut encoder = device.create_command_encoder(&Default::default());
        {
            let mut pass = encoder.begin_compute_pass(&Default::default());
            pass.set_bind_group(0, &memory.bind_group, &[]);
            for _ in 0..times {
                program.record(&mut pass, &pipelines, &memory.table, self.sizes.agents);
            }
        }
        queue.submit([encoder.finish()]);
        let buffers = &memory.buffers;
        self.parameters = back(rig, &buffers.parameters, self.parameters.len());
        self.moments = back(rig, &buffers.moments, self.moments.len());
        self.activations = back(rig, &buffers.activations, self.activations.len());
        self.replay = back(rig, &buffers.replay, self.replay.len());
        self.environments = back(rig, &buffers.environments, self.environments.len());
        self.states = back(rig, &buffers.agent_states, self.states.len());
        rig.gpu.check().unwrap_or_else(|error| panic!("{}: {error}", rig.name));
        self.refuse_undeclared_changes(&before, steps, rig);
    }

    fn refuse_undeclared_changes(&self, before: &Contents, steps: &[Step], rig: &Rig) {
        let writes: Vec<&Access> = steps.iter().flat_map(|step| &step.writes).collect();
        let parameter = |at: u32| writes.iter().any(|access| matches!(access, Access::Parameters(range) if range.contains(&at)));
        let activation = |at: u32| writes.iter().any(|access| matches!(access, Access::Activations(matrix) if matrix.contains(at)));
        let s = &self.sizes;
        let online = s.target_offset - 1;
        // a moment, or a recorded gradient, belongs to the online parameter that it is the moment of
        let moment = |at: u32| {
            [0, s.second_moment_offset, s.gradient_offset]
                .iter()
                .any(|&first| at.checked_sub(first).is_some_and(|at| at < online && parameter(at)))
        };
        let same = |what: &str, before: &[f32], after: &[f32], stride: u32, declared: &dyn Fn(u32) -> bool| {
            for (i, (b, a)) in before.iter().zip(after).enumerate() {
                if a.to_bits() != b.to_bits() {
                    let (agent, at) = (i as u32 / (4 * stride), i as u32 / 4 % stride);
                    assert!(declared(at), "{}: {what} of agent {agent}, vec4 {at}: {b} became {a}, which no step declares", rig.name);
                }
            }
        };
        same("parameters", &before.parameters, &self.parameters, s.parameters_stride, &parameter);
        same("activations", &before.activations, &self.activations, s.activations_stride, &activation);
        same("moments", &before.moments, &self.moments, s.moments_stride, &moment);
    }

    /// One agent's slice of the parameters.
    pub fn parameters_of(&mut self, agent: u32) -> &mut [f32] {
        slice(&mut self.parameters, self.sizes.parameters_stride, agent)
    }

    /// One agent's slice of Adam's moments.
    pub fn moments_of(&mut self, agent: u32) -> &mut [f32] {
        slice(&mut self.moments, self.sizes.moments_stride, agent)
    }

    /// One agent's slice of the activations.
    pub fn activations_of(&mut self, agent: u32) -> &mut [f32] {
        slice(&mut self.activations, self.sizes.activations_stride, agent)
    }
}

fn slice(all: &mut [f32], stride: u32, agent: u32) -> &mut [f32] {
    let stride = 4 * stride as usize;
    &mut all[agent as usize * stride..(agent as usize + 1) * stride]
}

fn buffer<T: Pod>(rig: &Rig, data: &[T]) -> wgpu::Buffer {
    filled(&rig.gpu.device, &rig.gpu.queue, "test", wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC, data)
}

fn vectors<T: Pod>(rig: &Rig, content: Content, data: &[T]) -> Vectors {
    let held = Vectors::filled(&rig.gpu.device, &rig.gpu.queue, (rig.pipelines.medium(), content), "test", data, "");
    held.unwrap_or_else(|error| panic!("{}: {error}", rig.name))
}

fn back<T: Pod>(rig: &Rig, source: &impl Source, length: usize) -> Vec<T> {
    let bytes = (length * size_of::<T>()) as u64;
    read_blocking(&rig.gpu.device, &rig.gpu.queue, source, 0..bytes).unwrap_or_else(|error| panic!("{}: {error}", rig.name))
}

/// Where a matrix of `columns` floats a row lies in an agent's slice: offset and stride in vec4s.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub offset: u32,
    pub stride: u32,
    pub columns: u32,
}

impl Place {
    pub fn new(offset: u32, stride: u32, columns: u32) -> Self {
        Self { offset, stride, columns }
    }

    /// A vector: a matrix of one row.
    pub fn vector(offset: u32, columns: u32) -> Self {
        Self { offset, stride: vec4s(columns), columns }
    }

    fn row(self, row: usize) -> (usize, usize) {
        let start = 4 * (self.offset as usize + row * self.stride as usize);
        (start, 4 * vec4s(self.columns) as usize)
    }

    /// Writes `values` row by row, each row padded with zeros to whole vec4s.
    pub fn put(self, slice: &mut [f32], values: &[f32]) {
        for (row, values) in values.chunks(self.columns as usize).enumerate() {
            let (start, width) = self.row(row);
            slice[start..start + width].fill(0.0);
            slice[start..start + values.len()].copy_from_slice(values);
        }
    }

    /// Reads `rows` rows, insisting that their padding is still zero.
    pub fn take(self, slice: &[f32], rows: u32) -> Vec<f32> {
        let mut values = Vec::new();
        for row in 0..rows as usize {
            let (start, width) = self.row(row);
            let (own, padding) = slice[start..start + width].split_at(self.columns as usize);
            assert!(padding.iter().all(|&x| x == 0.0), "row {row} at {self:?}: padding {padding:?}");
            values.extend(own);
        }
        values
    }

    /// Whether `rows` rows from `first` still hold canaries.
    pub fn untouched(self, slice: &[f32], rows: std::ops::Range<u32>) -> bool {
        rows.into_iter().all(|row| {
            let (start, width) = self.row(row as usize);
            slice[start..start + width].iter().all(|x| x.is_nan())
        })
    }
}

/// Numbers for tests, the same in every run.
#[derive(Debug)]
pub(crate) struct Numbers(Philox);

impl Numbers {
    pub fn new(seed: u64) -> Self {
        Self(Philox::new(seed, 0x7e57))
    }

    pub fn one(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.0.random::<f32>()
    }

    pub fn uniform(&mut self, count: u32, low: f32, high: f32) -> Vec<f32> {
        (0..count).map(|_| self.one(low, high)).collect()
    }
}

/// The same numbers as float64.
pub(crate) fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&x| x.into()).collect()
}

/// Each finite, and within `atol` + `rtol` |expected|.
#[track_caller]
pub(crate) fn assert_close<A: Copy + Into<f64>>(actual: &[A], expected: &[f64], rtol: f64, atol: f64, what: &str) {
    assert_eq!(actual.len(), expected.len(), "{what}: lengths");
    for (i, (&actual, &expected)) in actual.iter().zip(expected).enumerate() {
        let actual: f64 = actual.into();
        assert!(actual.is_finite(), "{what}: element {i} is {actual}, expected {expected}");
        let difference = (actual - expected).abs();
        let within = difference <= atol + rtol * expected.abs();
        assert!(within, "{what}: element {i} is {actual}, expected {expected}: off by {difference:e} (rtol {rtol:e}, atol {atol:e})");
    }
}

/// Absolute tolerance of a float32 sum of `terms` products of numbers of about one: rounding grows like a random walk.
pub(crate) fn sum_tolerance(terms: u32) -> f64 {
    1e-6 * f64::from(terms).sqrt()
}

/// The gradient of `f` at `x` by central differences, to about 1e-9 for a smooth function of order one.
pub(crate) fn differences(f: impl Fn(&[f64]) -> f64, x: &[f64]) -> Vec<f64> {
    let h = 1e-5;
    let at = |i: usize, h: f64| {
        let mut moved = x.to_vec();
        moved[i] += h;
        f(&moved)
    };
    (0..x.len()).map(|i| (at(i, h) - at(i, -h)) / (2.0 * h)).collect()
}

/// Pearson's statistic of counts in equally probable bins.
pub(crate) fn chi_square(counts: &[u32]) -> f64 {
    let expected = f64::from(counts.iter().sum::<u32>()) / counts.len() as f64;
    counts.iter().map(|&count| (f64::from(count) - expected).powi(2) / expected).sum()
}

/// A step that declares what a hand-written operation touches.
pub(crate) fn step(operation: Operation, reads: Vec<Access>, writes: Vec<Access>) -> Step {
    Step { operation, reads, writes }
}

/// A pass that learns from the minibatch's statistics and leaves the running ones alone.
pub(crate) fn learning(flags: u32) -> Pass {
    let mode = Mode::Learning { statistics: Statistics::Batch, update_running: false };
    Pass { parameters: 0, mode, flags }
}

#[test]
fn assert_close_refuses_what_it_should() {
    let refuses = |actual: &[f32], expected: &[f64]| std::panic::catch_unwind(|| assert_close(actual, expected, 1e-5, 1e-6, "")).is_err();
    assert!(!refuses(&[1.0, 0.0], &[1.000_001, 5e-7]));
    assert!(refuses(&[f32::NAN], &[f64::NAN]));
    assert!(refuses(&[f32::INFINITY], &[f64::INFINITY]));
    assert!(refuses(&[1.0], &[1.0, 1.0]));
    assert!(refuses(&[1.0], &[1.000_02]));
}
