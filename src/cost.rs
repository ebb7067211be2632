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

    /// Seconds of an iteration, the cheapest first.
    fn sorted(&self) -> Vec<f64> {
        let mut seconds: Vec<f64> = self.measured.iter().map(|measured| measured.seconds).collect();
        seconds.sort_by(f64::total_cmp);
        seconds
    }

    /// Seconds of the second dearest iteration: a single measurement that is far off may be chance, two are not.
    pub fn dear(&self) -> Option<f64> {
        let seconds = self.sorted();
        let dear = seconds.get(seconds.len().saturating_sub(2))?;
        // dearer by far than most: that was not the iterations, and fewer of them would not have helped
        Some(dear.min(4.0 * seconds[seconds.len() / 2]))
    }

    /// Iterations (with a fraction) that usually fit into `budget`: for who wants the most done.
    pub fn fitting(&self, budget: Duration) -> f64 {
        let seconds = self.sorted();
        seconds.get(seconds.len() / 2).map_or(1.0, |&median| self.within(budget, median))
    }

    /// Iterations (with a fraction) that fit into `budget`, if they turn out dear: for who must not be late.
    pub fn surely_fitting(&self, budget: Duration) -> f64 {
        let (Some(dear), Some(last)) = (self.dear(), self.measured.back()) else { return 1.0 };
        // dearer than ever: believe it until the next measurement tells whether it was chance
        self.within(budget, dear.max(last.seconds))
    }

    /// Those of `seconds`: no more than twice as many as ever, since what few take says little about very many.
    fn within(&self, budget: Duration, seconds: f64) -> f64 {
        let largest = self.measured.iter().fold(0.0, |largest, measured| measured.iterations.max(largest));
        (budget.as_secs_f64() / seconds).min(2.0 * largest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_beginning_makes_who_must_not_be_late_cautious_and_nobody_else() {
        const BUDGET: Duration = Duration::from_millis(50);
        let mut cost = Cost::default();
        // a submission costs a millisecond, an iteration another
        for iterations in [1, 2, 4, 8, 16, 32, 49, 49, 49, 49, 49, 49] {
            cost.observe(iterations, 1e-3 * (iterations as f64 + 1.0), false);
        }
        assert!((cost.fitting(BUDGET) - 49.0).abs() < 1.0, "{}", cost.fitting(BUDGET));
        assert!((cost.surely_fitting(BUDGET) - 50.0 / 1.5).abs() < 1.0, "{}", cost.surely_fitting(BUDGET));
        // once dear is chance, and the median does not mind
        cost.observe(49, 1.0, false);
        assert!((cost.fitting(BUDGET) - 49.0).abs() < 1.0, "{}", cost.fitting(BUDGET));
        assert!(cost.surely_fitting(BUDGET) < 3.0, "{}", cost.surely_fitting(BUDGET));
    }

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
