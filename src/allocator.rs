//! Places in an agent's slice of a role buffer, counted in vec4s.

use crate::operation::Matrix;

/// Whole vec4s that hold `floats`.
pub(crate) fn vec4s(floats: u32) -> u32 {
    floats.div_ceil(4)
}

/// The most vec4s of an agent's slice of a role buffer, 16 GiB: so that no place in it, nor what a few of them add up to, exceeds
/// the 32 bits that the kernels count with.
pub(crate) const MOST_VEC4S: u64 = 1 << 30;

/// Hands out an agent's slice of a role buffer, vec4 by vec4. What is beyond the largest slice is counted, but has no place of its
/// own: who lays out must ask whether all of it [fits](Allocator::fits) before anything is made of the places.
#[derive(Debug, Clone, Default)]
pub(crate) struct Allocator {
    pub used: u64,
}

impl Allocator {
    pub fn vector(&mut self, vec4s: u32) -> u32 {
        self.take(vec4s.into())
    }

    pub fn matrix(&mut self, rows: u32, columns: u32) -> Matrix {
        Matrix { offset: self.take(u64::from(rows) * u64::from(columns)), stride: columns, rows, columns }
    }

    fn take(&mut self, vec4s: u64) -> u32 {
        let offset = self.length();
        self.used = self.used.saturating_add(vec4s);
        offset
    }

    /// Whether all that was handed out has a place.
    pub fn fits(&self) -> bool {
        self.used <= MOST_VEC4S
    }

    /// The vec4s handed out, or the most that there can be.
    pub fn length(&self) -> u32 {
        self.used.min(MOST_VEC4S) as u32
    }
}
