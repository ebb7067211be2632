//! Repetitions, and what is said of them.

use anyhow::Result;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// How long and how often.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    pub repetitions: u32,
    /// Shortest time of a repetition, and of the warm-up.
    pub duration: Duration,
}

impl Pace {
    pub fn new(repetitions: u32, quick: bool) -> Self {
        Self { repetitions, duration: Duration::from_millis(if quick { 200 } else { 1000 }) }
    }

    /// A third as long: where many figures make a table.
    pub fn brief(self) -> Self {
        Self { repetitions: self.repetitions.min(3), duration: self.duration / 3 }
    }

    /// Runs `slice`, which does some work, waits for it and returns how much it was, again and again; the amount a second
    /// in each repetition.
    pub fn rates(self, mut slice: impl FnMut() -> Result<u64>) -> Result<Vec<f64>> {
        let mut run = || {
            let (start, mut done) = (Instant::now(), 0);
            loop {
                done += slice()?;
                let elapsed = start.elapsed();
                if elapsed >= self.duration {
                    return Ok(done as f64 / elapsed.as_secs_f64());
                }
            }
        };
        run()?;
        (0..self.repetitions).map(|_| run()).collect()
    }
}

/// Median, lowest and highest.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

impl Spread {
    /// Of one sample at least.
    pub fn of(samples: &[f64]) -> Option<Self> {
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median = if sorted.len() % 2 == 1 { sorted[middle] } else { 0.5 * (sorted[middle - 1] + sorted[middle]) };
        Some(Self { median, min, max })
    }
}

/// A line of the table.
#[derive(Debug, Clone)]
pub struct Row {
    pub title: String,
    pub unit: &'static str,
    /// One number a repetition; none where it was skipped.
    pub samples: Vec<f64>,
    /// What else there is to know.
    pub note: String,
}

impl Row {
    pub fn skipped(title: &str, why: &str) -> Self {
        Self { title: title.into(), unit: "", samples: vec![], note: format!("skipped: {why}") }
    }

    pub fn json(&self) -> Value {
        let spread = Spread::of(&self.samples);
        json!({
            "workload": self.title,
            "unit": self.unit,
            "median": spread.map(|spread| spread.median),
            "min": spread.map(|spread| spread.min),
            "max": spread.map(|spread| spread.max),
            "samples": self.samples,
            "note": self.note,
        })
    }
}

/// A whole number with its thousands apart.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> = digits.as_bytes().rchunks(3).rev().filter_map(|group| std::str::from_utf8(group).ok()).collect();
    groups.join(",")
}

/// Three or four digits of a measured number.
pub fn figure(number: f64) -> String {
    match number {
        1e10.. => format!("{:.1} G", number / 1e9),
        1e7.. => format!("{:.1} M", number / 1e6),
        1000.0.. => count(number.round() as u64),
        10.0.. => format!("{number:.1}"),
        _ => format!("{number:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        let spread = |samples: &[f64]| Spread::of(samples).map(|s| (s.min, s.median, s.max));
        assert_eq!(spread(&[3.0, 1.0, 2.0]), Some((1.0, 2.0, 3.0)));
        assert_eq!(spread(&[4.0, 1.0, 2.0, 10.0]), Some((1.0, 3.0, 10.0)));
        assert_eq!(spread(&[]), None);
    }

    #[test]
    fn figures_are_for_people() {
        let figures = [0.5, 12.34, 999.94, 1378.2, 1_234_567.0, 98_765_432.0, 2.5e10].map(figure);
        assert_eq!(figures, ["0.50", "12.3", "999.9", "1,378", "1,234,567", "98.8 M", "25.0 G"]);
        assert_eq!([0, 999, 1000, 1_048_576].map(count), ["0", "999", "1,000", "1,048,576"]);
    }

    #[test]
    fn rates_count_all_that_was_done() {
        let pace = Pace { repetitions: 4, duration: Duration::from_millis(20) };
        let rates = pace
            .rates(|| {
                std::thread::sleep(Duration::from_millis(5));
                Ok(10)
            })
            .expect("no error");
        assert_eq!(rates.len(), 4);
        assert!(rates.iter().all(|rate| (1.0..=2000.0).contains(rate)), "{rates:?}");
    }
}
