//! The replay ring: `shaders/replay.wgsl`.

/// First in, first out when full: Lillicrap et al. 2016, Algorithm 1, "store transition".
#[derive(Debug, Clone, PartialEq)]
pub struct Ring<T> {
    slots: Vec<T>,
    capacity: usize,
    head: usize,
}

impl<T> Ring<T> {
    /// An empty ring of `capacity` slots.
    pub fn new(capacity: usize) -> Self {
        Self { slots: Vec::new(), capacity, head: 0 }
    }

    /// Stores one transition, over the oldest when full.
    pub fn push(&mut self, transition: T) {
        if self.slots.len() < self.capacity {
            self.slots.push(transition);
        } else {
            self.slots[self.head] = transition;
        }
        self.head = (self.head + 1) % self.capacity;
    }

    /// Transitions held.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The slot that the next transition goes to.
    pub fn head(&self) -> usize {
        self.head
    }

    /// The slots in use, in the order of their addresses.
    pub fn slots(&self) -> &[T] {
        &self.slots
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.slots.clear();
        self.head = 0;
    }
}

/// The slot that row `row` of a minibatch of `rows` comes from, with `length` transitions held and a random word: uniform
/// with replacement, or each one once where there are fewer than `rows`.
pub fn reference_slot(bits: u32, row: u32, rows: u32, length: u32) -> u32 {
    if length < rows { row } else { super::philox::reference_index(bits, length) }
}

#[cfg(test)]
mod tests;
