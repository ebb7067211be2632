//! The points of a sweep in the order of what their agents return.

use super::space::{Point, short};
use crate::report::{cell, narrow, shown, spread, table};
use comfy_table::{CellAlignment, Table};
use ddpg_wgpu::{Evaluation, Halted};
use serde_json::{Value, json};
use std::cmp::Ordering;

/// One point and its agents.
#[derive(Debug, Clone)]
pub struct Ranked {
    /// Its number, in the order of the sweep.
    pub number: usize,
    pub point: Point,
    pub agents: Vec<(Evaluation, Option<Halted>)>,
}

/// Points from the best to the worst. `agents` are those of the first point, then those of the second, `seeds` each.
pub fn rank(points: Vec<Point>, agents: Vec<(Evaluation, Option<Halted>)>, seeds: usize) -> Vec<Ranked> {
    let groups = agents.chunks(seeds).map(<[_]>::to_vec);
    let mut ranked: Vec<_> =
        points.into_iter().zip(groups).enumerate().map(|(number, (point, agents))| Ranked { number, point, agents }).collect();
    // stable: equal points stay in their order
    ranked.sort_by(|a, b| order((a.halted(), a.mean()), (b.halted(), b.mean())));
    ranked
}

/// Of two points with agents that stopped learning and a mean return, the better is the lesser. What an agent returns that
/// had to stop says little about its settings, so that comes first; a mean that is not a number is the worst.
fn order(a: (usize, f64), b: (usize, f64)) -> Ordering {
    let key = |mean: f64| if mean.is_nan() { f64::NEG_INFINITY } else { mean };
    a.0.cmp(&b.0).then(key(b.1).total_cmp(&key(a.1)))
}

impl Ranked {
    fn returns(&self) -> impl Iterator<Item = f64> {
        self.agents.iter().map(|(evaluation, _)| evaluation.mean_return)
    }

    /// Mean over the seeds of their mean returns.
    pub fn mean(&self) -> f64 {
        self.returns().sum::<f64>() / self.agents.len() as f64
    }

    /// Standard deviation over the seeds (n − 1); none for one.
    pub fn deviation(&self) -> Option<f64> {
        let (mean, count) = (self.mean(), self.agents.len());
        let squares: f64 = self.returns().map(|r| (r - mean).powi(2)).sum();
        (count > 1).then(|| (squares / (count - 1) as f64).sqrt())
    }

    /// The seed that returned least, and what it did.
    pub fn worst(&self) -> (u64, f64) {
        let worse = |a: (u64, f64), b: (u64, f64)| if b.1.is_nan() || b.1 < a.1 { b } else { a };
        let agents = self.agents.iter().map(|(evaluation, _)| (evaluation.seed, evaluation.mean_return));
        agents.reduce(worse).unwrap_or((0, f64::NAN))
    }

    pub fn halted(&self) -> usize {
        self.agents.iter().filter(|(_, halted)| halted.is_some()).count()
    }

    pub fn json(&self, rank: usize) -> Value {
        let parameters: serde_json::Map<_, _> =
            self.point.iter().map(|(name, value)| ((*name).to_owned(), serde_json::to_value(value).unwrap_or_default())).collect();
        let agents: Vec<_> = self
            .agents
            .iter()
            .map(|(evaluation, halted)| {
                let mut agent = crate::report::json(evaluation);
                agent["halted"] = halted.map(|halted| halted.to_string()).into();
                agent
            })
            .collect();
        json!({
            "rank": rank,
            "point": self.number,
            "parameters": parameters,
            "mean_return": self.mean(),
            "standard_deviation": self.deviation(),
            "worst_seed": self.worst().0,
            "worst_return": self.worst().1,
            "halted": self.halted(),
            "agents": agents,
        })
    }
}

/// A row a point, the first `most` of them.
pub fn show(ranked: &[Ranked], names: &[&str], most: usize) -> Table {
    let mut table = table();
    let stopped = ranked.iter().any(|ranked| ranked.halted() > 0);
    let mut header = vec!["rank"];
    header.extend(names);
    header.extend(["mean return", "std. dev.", "worst seed"]);
    header.extend(stopped.then_some("learning"));
    let columns = header.len() - usize::from(stopped);
    table.set_header(header);
    for (index, ranked) in ranked.iter().enumerate().take(most) {
        let mut cells = vec![(index + 1).to_string()];
        cells.extend(ranked.point.iter().map(|(_, value)| short(value)));
        let (seed, worst) = ranked.worst();
        cells.extend([format!("{:.2}", ranked.mean()), shown(ranked.deviation()), format!("{worst:.2} ({seed})")]);
        if stopped {
            let (halted, all) = (ranked.halted(), ranked.agents.len());
            cells.push(if halted == 0 { "to the end".into() } else { format!("{halted} of {all} stopped") });
        }
        table.add_row(cells);
    }
    for column in table.column_iter_mut().take(columns) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    narrow(&mut table);
    table
}

/// `points.csv` and `agents.csv`: a row a point, and a row an agent, the best first.
pub fn csv(ranked: &[Ranked], names: &[&str]) -> [String; 2] {
    let parameters = names.iter().map(|name| format!("{name},")).collect::<String>();
    let mut points = format!("rank,point,{parameters}mean_return,standard_deviation,worst_return,worst_seed,halted,seeds\n");
    let mut agents = format!("rank,point,agent,seed,{parameters}mean_return,standard_deviation,standard_error,min,max,episodes,halted\n");
    for (index, ranked) in ranked.iter().enumerate() {
        let (rank, number) = (index + 1, ranked.number);
        let values = ranked.point.iter().map(|(_, value)| format!("{},", short(value))).collect::<String>();
        let (seed, worst) = ranked.worst();
        let (mean, deviation, halted, seeds) = (ranked.mean(), cell(ranked.deviation()), ranked.halted(), ranked.agents.len());
        points += &format!("{rank},{number},{values}{mean},{deviation},{worst},{seed},{halted},{seeds}\n");
        for (evaluation, halted) in &ranked.agents {
            let Evaluation { agent, seed, mean_return, min, max, .. } = evaluation;
            let [deviation, error] = spread(evaluation).map(cell);
            let (episodes, stopped) = (evaluation.returns.len(), halted.map(|halted| halted.update.to_string()).unwrap_or_default());
            agents +=
                &format!("{rank},{number},{agent},{seed},{values}{mean_return},{deviation},{error},{min},{max},{episodes},{stopped}\n");
        }
    }
    [points, agents]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_whose_agents_diverged_does_not_come_first() {
        let mut points = [(2, -90.0), (0, f64::NAN), (0, -200.0), (1, -100.0), (0, -150.0), (0, f64::NEG_INFINITY)];
        points.sort_by(|&a, &b| order(a, b));
        assert_eq!(points.map(|(halted, _)| halted), [0, 0, 0, 0, 1, 2]);
        assert_eq!(points.map(|(_, mean)| mean)[..2], [-150.0, -200.0]);
    }
}
