//! The tables and the JSON of a bench.

use super::ceilings::Ceilings;
use super::growth::Point;
use super::kernels::Dispatch;
use super::machine::Machine;
use super::sample::{Pace, Row, Spread, figure};
use crate::output::say;
use crate::report::table;
use anyhow::{Context, Result};
use comfy_table::{CellAlignment, Table};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// All that was measured.
#[derive(Debug)]
pub struct Report {
    pub machine: Machine,
    pace: Pace,
    rows: Vec<Row>,
    pub ceilings: Option<Ceilings>,
    pub kernels: Vec<Dispatch>,
    pub growth: Vec<Point>,
}

/// That the file can be written: its directory is made, the file itself only for a moment.
pub fn prepare(path: &Path) -> Result<()> {
    let shown = path.display();
    if path.is_dir() {
        return Err(super::usage(format!("--json {shown} is a directory; name a file, or - for standard output")));
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    parent.map_or(Ok(()), fs::create_dir_all).with_context(|| format!("cannot write to {shown}"))?;
    let is_new = !path.exists();
    fs::OpenOptions::new().append(true).create(true).open(path).with_context(|| format!("cannot write to {shown}"))?;
    if is_new {
        // where nothing is measured, an empty file says nothing
        fs::remove_file(path).with_context(|| format!("cannot write to {shown}"))?;
    }
    Ok(())
}

impl Report {
    pub fn new(machine: Machine, pace: Pace) -> Self {
        Self { machine, pace, rows: vec![], ceilings: None, kernels: vec![], growth: vec![] }
    }

    pub fn add(&mut self, row: Row) {
        self.rows.push(row);
    }

    pub fn json(&self) -> Value {
        json!({
            "machine": self.machine.json(),
            "unix_time": SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
            "repetitions": self.pace.repetitions,
            "seconds_a_repetition": self.pace.duration.as_secs_f64(),
            "workloads": self.rows.iter().map(Row::json).collect::<Vec<_>>(),
            "ceilings": self.ceilings.as_ref().map(Ceilings::json),
            "kernels": self.kernels.iter().map(Dispatch::json).collect::<Vec<_>>(),
            "growth": self.growth.iter().map(Point::json).collect::<Vec<_>>(),
        })
    }

    pub fn write(&self, path: &Path) -> Result<()> {
        fs::write(path, format!("{:#}\n", self.json())).with_context(|| path.display().to_string())
    }

    pub fn print(&self) {
        if !self.rows.is_empty() {
            say!("{}", self.workloads());
            for row in self.rows.iter().filter(|row| !row.note.is_empty()) {
                say!("{}: {}", row.title, row.note);
            }
        }
        if let Some(ceilings) = &self.ceilings {
            say!("\n{}", self.dispatches(ceilings));
            say!(
                "ceilings: {} GB/s copying {} MiB (read and written), {} GFLOP/s multiplying matrices of {} {}; by {}",
                figure(1e-9 * ceilings.bytes.median),
                ceilings.copied >> 20,
                figure(1e-9 * ceilings.flops.median),
                ceilings.product.0,
                ceilings.product.1,
                ceilings.clock
            );
            if let Some(dispatch) = self.kernels.first() {
                say!(
                    "kernels: each dispatch repeated on its own, by {}; small ones stay in the caches, beyond what a copy gets",
                    dispatch.time.clock
                );
            }
        }
        if !self.growth.is_empty() {
            say!("\ngrowth, from 64-64, batch 64, one agent, one environment:\n{}", self.growth_table());
            for point in self.growth.iter().filter(|point| !point.note.is_empty()) {
                say!("{} {}: {}", point.axis, point.value, point.note);
            }
        }
    }

    fn workloads(&self) -> Table {
        let mut table = table();
        table.set_header(["workload", "median", "min", "max", "unit"]);
        for row in &self.rows {
            let [median, min, max] = cells(Spread::of(&row.samples));
            table.add_row([row.title.clone(), median, min, max, row.unit.to_owned()]);
        }
        right(&mut table, 1..4);
        table
    }

    /// A row a kernel of a program; the JSON has every dispatch.
    fn dispatches(&self, ceilings: &Ceilings) -> Table {
        let mut table = table();
        table.set_header(["network", "program", "kernel", "dispatches", "µs", "share", "GFLOP/s", "of ceiling", "GB/s", "of ceiling"]);
        let mut groups: Vec<Vec<&Dispatch>> = vec![];
        fn key(dispatch: &Dispatch) -> (&str, &str, &str) {
            (dispatch.network, dispatch.time.program, &dispatch.time.kernel)
        }
        for dispatch in &self.kernels {
            match groups.iter_mut().find(|group| key(group[0]) == key(dispatch)) {
                Some(group) => group.push(dispatch),
                None => groups.push(vec![dispatch]),
            }
        }
        let percent = |share: f64| format!("{:.0} %", 100.0 * share);
        for group in &groups {
            let (network, program, kernel) = key(group[0]);
            let of_program = self.kernels.iter().filter(|other| (other.network, other.time.program) == (network, program));
            let total: f64 = of_program.map(|dispatch| dispatch.seconds.median).sum();
            let sum = |of: fn(&Dispatch) -> f64| group.iter().map(|dispatch| of(dispatch)).sum::<f64>();
            let seconds = sum(|dispatch| dispatch.seconds.median).max(1e-12);
            let (flops, bytes) = (sum(|dispatch| dispatch.time.flops) / seconds, sum(|dispatch| dispatch.time.bytes) / seconds);
            let achieved = |rate: f64, ceiling: f64| match rate > 0.0 {
                true => [figure(1e-9 * rate), percent(rate / ceiling)],
                false => ["–", ""].map(str::to_owned),
            };
            let mut cells = [network, program].map(str::to_owned).to_vec();
            cells.extend([kernel.to_lowercase(), group.len().to_string(), format!("{:.1}", 1e6 * seconds), percent(seconds / total)]);
            cells.extend(achieved(flops, ceilings.flops.median));
            cells.extend(achieved(bytes, ceilings.bytes.median));
            table.add_row(cells);
        }
        right(&mut table, 3..10);
        table
    }

    fn growth_table(&self) -> Table {
        let mut table = table();
        table.set_header(["axis", "value", "median", "min", "max", "unit", "of the point before", "GFLOP/s"]);
        let mut before: Option<&Point> = None;
        for point in &self.growth {
            let [median, min, max] = cells(point.rate);
            let earlier = before.filter(|before| before.axis == point.axis).and_then(|before| before.rate);
            let ratio = earlier.zip(point.rate).map_or_else(String::new, |(before, now)| format!("× {:.2}", now.median / before.median));
            let gigaflops = point.gigaflops.map(figure).unwrap_or_default();
            table.add_row([point.axis.to_owned(), point.value.to_string(), median, min, max, point.unit.to_owned(), ratio, gigaflops]);
            before = Some(point);
        }
        right(&mut table, 1..5);
        right(&mut table, 6..8);
        table
    }
}

fn cells(spread: Option<Spread>) -> [String; 3] {
    spread.map_or_else(|| ["–", "", ""].map(str::to_owned), |spread| [spread.median, spread.min, spread.max].map(figure))
}

fn right(table: &mut Table, columns: std::ops::Range<usize>) {
    for column in columns {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
}
