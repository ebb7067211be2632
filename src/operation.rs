//! What a kernel is told to do, and what it touches of an agent's memory.

use crate::error::{Error, Result};
use crate::kernels::Deal;
use bytemuck::{Pod, Zeroable};
use std::ops::Range;

/// Twin of `struct Operation` in `shaders/shared/bindings.wgsl`; every offset and stride counts vec4s.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Pod, Zeroable)]
#[allow(missing_docs)]
pub struct Operation {
    pub kind: u32,
    pub network: u32,
    pub units: u32,
    pub strip: u32,
    pub split: u32,
    pub flags: u32,
    pub rows: u32,
    pub inner: u32,
    pub columns: u32,
    pub input: u32,
    pub input_stride: u32,
    pub weights: u32,
    pub weights_stride: u32,
    pub bias: u32,
    pub output: u32,
    pub output_stride: u32,
    pub forward: u32,
    pub forward_stride: u32,
    pub normalised: u32,
    pub normalised_stride: u32,
    pub norm: u32,
    pub statistics: u32,
    pub extra: u32,
    pub extra_stride: u32,
    pub ends_level: u32,
    pub chain: u32,
    pub rest: u32,
    pub band: u32,
    pub local_input: u32,
    pub local_forward: u32,
    pub local_output: u32,
    pub level: u32,
}

/// A place that an operation does not have, as in `shaders/shared/bindings.wgsl`.
pub(crate) const NOWHERE: u32 = u32::MAX;

/// Operations of all programs of a population: what a uniform buffer holds within WebGPU's default limits, as in
/// `shaders/shared/bindings.wgsl`.
pub(crate) const MOST_OPERATIONS: usize = 512;

/// Refuses more operations than a table holds.
///
/// # Errors
/// [`Error::Limit`].
pub(crate) fn check_operations(count: usize) -> Result<()> {
    if count <= MOST_OPERATIONS {
        return Ok(());
    }
    Err(Error::Limit {
        what: "the networks' programs".into(),
        needed: format!("{count} operations"),
        offered: MOST_OPERATIONS.to_string(),
        remedy: "use fewer hidden layers".into(),
    })
}
impl Operation {
    /// Multiplications and additions of its product; 0 where it has none.
    pub fn flops(&self) -> f64 {
        2.0 * 16.0 * f64::from(self.rows) * f64::from(self.inner) * f64::from(self.columns)
    }

    /// The same, dealt out.
    pub(crate) fn dealt(self, Deal { units, strip, split }: Deal) -> Self {
        Self { units, strip, split, ..self }
    }

    pub(crate) fn with_input(self, matrix: Matrix) -> Self {
        Self { input: matrix.offset, input_stride: matrix.stride, ..self }
    }

    pub(crate) fn with_output(self, matrix: Matrix) -> Self {
        Self { output: matrix.offset, output_stride: matrix.stride, ..self }
    }

    pub(crate) fn with_forward(self, matrix: Matrix) -> Self {
        Self { forward: matrix.offset, forward_stride: matrix.stride, ..self }
    }

    pub(crate) fn with_normalised(self, matrix: Matrix) -> Self {
        Self { normalised: matrix.offset, normalised_stride: matrix.stride, ..self }
    }

    /// [`NOWHERE`], without a matrix.
    pub(crate) fn with_extra(self, matrix: impl Into<Option<Matrix>>) -> Self {
        let (extra, extra_stride) = matrix.into().map_or((NOWHERE, 0), |matrix| (matrix.offset, matrix.stride));
        Self { extra, extra_stride, ..self }
    }
}

/// `Operation::flags`, as in `shaders/shared/bindings.wgsl`.
pub(crate) mod flag {
    pub const MINIBATCH_ROWS: u32 = 1;
    pub const UPDATE_RUNNING: u32 = 2;
    pub const CANCELLED_BIAS: u32 = 4;
    pub const TRAIN_NORM: u32 = 8;
    pub const EVALUATION: u32 = 16;
    pub const RUNNING_STATISTICS: u32 = 32;
    pub const LATEST_STEP: u32 = 64;
    pub const PREVIOUS_STEP: u32 = 128;
    pub const DELTA_RULE: u32 = 256;
    pub const WITH_VERDICT: u32 = 512;
    pub const MEETS: u32 = 1024;
}

/// A matrix of activations: rows of `stride` vec4s, `columns` of which are its own.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Matrix {
    pub offset: u32,
    pub stride: u32,
    pub rows: u32,
    pub columns: u32,
}

impl Matrix {
    /// The columns from `first`.
    pub fn window(self, first: u32, columns: u32) -> Self {
        Self { offset: self.offset + first, columns, ..self }
    }

    pub fn access(self) -> Access {
        Access::Activations(self)
    }

    /// One row.
    pub fn vector(offset: u32, columns: u32) -> Self {
        Self { offset, stride: columns, rows: 1, columns }
    }

    fn end(self) -> u32 {
        self.offset + self.rows.saturating_sub(1) * self.stride + self.columns
    }

    /// Whether it holds the vec4 at `offset`.
    #[cfg(test)]
    pub fn contains(self, offset: u32) -> bool {
        (self.offset..self.end()).contains(&offset) && (offset - self.offset) % self.stride.max(1) < self.columns
    }

    /// Whether both may be windows on one matrix: of two or more rows, what begins within a stride of it is one.
    pub fn is_of_matrix(self, other: Matrix) -> bool {
        self.stride == other.stride && self.offset.abs_diff(other.offset) < self.stride
    }

    /// Whether both hold one and the same vec4. Windows on different columns of one matrix do not.
    pub fn overlaps(self, other: Matrix) -> bool {
        let (first, second) = if self.offset <= other.offset { (self, other) } else { (other, self) };
        let apart = second.offset - first.offset;
        let beside = first.is_of_matrix(second) && apart >= first.columns && apart + second.columns <= first.stride;
        second.offset < first.end() && !beside
    }
}

/// What an operation touches of an agent's slice of one of the role buffers.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Access {
    Parameters(Range<u32>),
    Activations(Matrix),
    /// The environments, the replay ring and the agent's state, which few operations touch and always together.
    Agent,
    /// The number of updates and what follows from it alone, where bands take the rows; else they are the agent's.
    Counters,
    /// Sums over the updates, for the host alone.
    Measurements,
}

impl Access {
    fn overlaps(&self, other: &Access) -> bool {
        match (self, other) {
            (Access::Parameters(a), Access::Parameters(b)) => a.start < b.end && b.start < a.end,
            (Access::Activations(a), Access::Activations(b)) => a.overlaps(*b),
            (one, other) => one == other,
        }
    }
}

/// One operation and what it touches.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub operation: Operation,
    pub reads: Vec<Access>,
    pub writes: Vec<Access>,
}

impl Step {
    /// Whether it must come after `earlier`.
    pub fn conflicts(&self, earlier: &Step) -> bool {
        let any = |a: &[Access], b: &[Access]| a.iter().any(|a| b.iter().any(|b| a.overlaps(b)));
        any(&self.writes, &earlier.writes) || any(&self.writes, &earlier.reads) || any(&self.reads, &earlier.writes)
    }
}
