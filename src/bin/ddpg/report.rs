//! Tables and JSON of evaluations.

use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Table, Width, presets};
use ddpg_wgpu::{Evaluation, Halted};
use serde_json::{Value, json};

/// A table that fits any terminal and reads well in a file.
pub fn table() -> Table {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_BORDERS_ONLY);
    table
}

/// Narrows a table to the terminal's width, where it is written to one: between words, never within a number.
pub fn narrow(table: &mut Table) {
    let mut longest = vec![0; table.column_count()];
    for row in table.header().into_iter().chain(table.row_iter()) {
        for (longest, cell) in longest.iter_mut().zip(row.cell_iter()) {
            let words = cell.content();
            *longest = words.split_whitespace().map(|word| word.chars().count()).fold(*longest, usize::max);
        }
    }
    for (column, longest) in table.column_iter_mut().zip(longest) {
        // with a blank on each side
        let least = u16::try_from(longest + 2).unwrap_or(u16::MAX);
        column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(least)));
    }
    table.set_content_arrangement(ContentArrangement::Dynamic);
}

/// The returns of an evaluation: a row an agent, and why an agent stopped, where one did.
pub fn evaluations(evaluations: &[Evaluation], halted: &[Option<Halted>]) -> Table {
    let mut table = table();
    let stopped = halted.iter().any(Option::is_some);
    let mut header = vec!["agent", "seed", "mean return", "std. dev.", "std. error", "min", "max", "episodes"];
    header.extend(stopped.then_some("learning"));
    table.set_header(header);
    for (row, evaluation) in evaluations.iter().enumerate() {
        let mut cells = vec![evaluation.agent.to_string(), evaluation.seed.to_string()];
        let [deviation, error] = spread(evaluation);
        let numbers = [Some(evaluation.mean_return), deviation, error, Some(evaluation.min), Some(evaluation.max)];
        cells.extend(numbers.map(shown));
        cells.push(evaluation.returns.len().to_string());
        if stopped {
            let learning = halted.get(row).copied().flatten();
            cells.push(learning.map_or_else(|| "to the end".to_owned(), |halted| halted.to_string()));
        }
        table.add_row(cells);
    }
    for column in table.column_iter_mut().take(8) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    narrow(&mut table);
    table
}

/// Standard deviation of the returns and standard error of their mean: one return says nothing of either.
pub fn spread(evaluation: &Evaluation) -> [Option<f64>; 2] {
    let several = evaluation.returns.len() > 1;
    [evaluation.standard_deviation, evaluation.standard_error].map(|number| several.then_some(number))
}

/// A number in a table; a dash where there is none.
pub fn shown(number: Option<f64>) -> String {
    number.map_or_else(|| "–".to_owned(), |number| format!("{number:.2}"))
}

/// A number in a CSV file; nothing where there is none.
pub fn cell<T: ToString>(number: Option<T>) -> String {
    number.map(|number| number.to_string()).unwrap_or_default()
}

/// One agent's returns, as `ddpg eval --json` prints them.
pub fn json(evaluation: &Evaluation) -> Value {
    let [deviation, error] = spread(evaluation);
    json!({
        "agent": evaluation.agent,
        "seed": evaluation.seed,
        "mean_return": evaluation.mean_return,
        "standard_deviation": deviation,
        "standard_error": error,
        "min": evaluation.min,
        "max": evaluation.max,
        "episodes": evaluation.returns.len(),
    })
}

/// Mean of the agents' mean returns.
pub fn mean(evaluations: &[Evaluation]) -> f64 {
    evaluations.iter().map(|evaluation| evaluation.mean_return).sum::<f64>() / evaluations.len().max(1) as f64
}

/// "−153.2, 9 of 10 agents at −200 or better", or the mean alone where nobody has said what is good.
pub fn in_short(evaluations: &[Evaluation], environment: &str) -> String {
    let mean = format!("{:.1}", mean(evaluations));
    match good_return(environment) {
        Some(good) if evaluations.len() > 1 => {
            let (count, agents) = (evaluations.iter().filter(|evaluation| evaluation.mean_return >= good).count(), evaluations.len());
            format!("{mean}, {count} of {agents} agents at {good} or better")
        }
        _ => mean,
    }
}

/// A pendulum is swung up and held, more often than not; rewards of other environments are on other scales.
fn good_return(environment: &str) -> Option<f64> {
    environment.starts_with("Pendulum-").then_some(-200.0)
}

#[cfg(test)]
mod tests {
    use super::good_return;

    #[test]
    fn only_a_pendulum_is_held() {
        assert_eq!(["Pendulum-v1", "Pendulum-v0"].map(good_return), [Some(-200.0); 2]);
        assert_eq!(["Reacher-v0", "MountainCarContinuous-v0"].map(good_return), [None; 2]);
    }
}
