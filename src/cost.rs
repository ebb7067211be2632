//! What iterations take, learned from what earlier ones took.

use std::collections::VecDeque;
use std::time::Duration;

/// Seconds an iteration takes, by the newest measurements.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cost {
    /// Oldest first.
    measured: VecDeque<Measured>,
    learning: bool,
}

#[derive(Debug, Clone, Copy)]
struct Measured {
    iterations: f64,
    /// Of one iteration.
    seconds: f64,
}

/// Measurements that are remembered: about a second of frames. The second dearest of 64 is passed by 3 in 100 of their like.
const REMEMBERED: usize = 64;

impl Cost {
    /// What rollouts alone take says nothing about learning: the estimate starts anew when learning starts.
    pub fn phase(&mut self, learning: bool) {
        if learning != self.learning {
            *self = Cost { learning, ..Cost::default() };
        }
    }

    /// What `iterations` took all together.
    pub fn observe(&mut self, iterations: u64, seconds: f64, learning: bool) {
        if learning != self.learning || iterations == 0 {
            return;
        }
        if self.measured.len() == REMEMBERED {
            self.measured.pop_front();
        }
        let iterations = iterations as f64;
        self.measured.push_back(Measured { iterations, seconds: seconds.max(1e-7) / iterations });
    }

    /// How many are remembered.
    pub fn measurements(&self) -> usize {
        self.measured.len()
    }

    /// Seconds of the second dearest iteration: a single measurement that is far off may be chance, two are not.
    pub fn dear(&self) -> Option<f64> {
        let mut seconds: Vec<f64> = self.measured.iter().map(|measured| measured.seconds).collect();
        seconds.sort_by(f64::total_cmp);
        let dear = seconds.get(seconds.len().saturating_sub(2))?;
        // dearer by far than most: that was not the iterations, and fewer of them would not have helped
        Some(dear.min(4.0 * seconds[seconds.len() / 2]))
    }

    /// Iterations (with a fraction) that fit into `budget`, if they turn out dear.
    pub fn fitting(&self, budget: Duration) -> f64 {
        let (Some(dear), Some(last)) = (self.dear(), self.measured.back()) else { return 1.0 };
        // dearer than ever: believe it until the next measurement tells whether it was chance
        let fitting = budget.as_secs_f64() / dear.max(last.seconds);
        let largest = self.measured.iter().fold(0.0, |largest, measured| measured.iterations.max(largest));
        // what few iterations took says little about very many
        fitting.min(2.0 * largest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_of_learning_begins_anew() {
        const BUDGET: Duration = Duration::from_millis(4);
        let mut cost = Cost::default();
        cost.observe(100, 1e-3, false);
        assert_eq!(cost.fitting(BUDGET), 200.0, "no more than twice as many as were measured");
        cost.phase(true);
        assert_eq!(cost.fitting(BUDGET), 1.0);
        cost.observe(100, 1e-3, false);
        assert_eq!(cost.fitting(BUDGET), 1.0, "a rollout that comes back late");
    }
}
