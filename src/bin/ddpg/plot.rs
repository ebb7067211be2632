//! The learning curve as SVG.

use plotters::prelude::*;
use std::path::Path;

/// Mean return of each agent at one moment of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    pub step: u64,
    pub returns: Vec<f64>,
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { 0.5 * (sorted[middle - 1] + sorted[middle]) }
}

/// Draws each agent as a thin line and their median as a thick one; nothing without a finite point,
/// or where they are too large to be told apart.
pub fn learning_curve(path: &Path, title: &str, points: &[Point]) -> anyhow::Result<()> {
    let finite: Vec<_> = points.iter().filter(|point| !point.returns.is_empty() && point.returns.iter().all(|r| r.is_finite())).collect();
    let Some(last) = finite.last() else { return Ok(()) };
    let all = || finite.iter().flat_map(|point| &point.returns).copied();
    let (lowest, highest) = (all().fold(f64::INFINITY, f64::min), all().fold(f64::NEG_INFINITY, f64::max));
    let margin = 0.05 * (highest - lowest).max(1.0);
    // an axis over numbers beyond all others would be drawn for ever
    if !margin.is_finite() || lowest - margin >= lowest || highest + margin <= highest {
        return Ok(());
    }

    let root = SVGBackend::new(path, (960, 540)).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption(title, ("sans-serif", 24))
        .margin(16)
        .x_label_area_size(44)
        .y_label_area_size(64)
        .build_cartesian_2d(0.0..last.step.max(1) as f64, lowest - margin..highest + margin)?;
    chart
        .configure_mesh()
        .axis_desc_style(("sans-serif", 18))
        .label_style(("sans-serif", 16))
        .x_desc("environment steps an agent")
        .y_desc("mean return of an evaluation")
        .x_label_formatter(&|step| format!("{step:.0}"))
        .y_label_formatter(&|value| format!("{value:.0}"))
        .light_line_style(WHITE)
        .draw()?;
    let agents = finite.iter().map(|point| point.returns.len()).min().unwrap_or_default();
    let thin = RGBColor(90, 140, 200).mix(0.5);
    for agent in 0..agents {
        chart.draw_series(LineSeries::new(finite.iter().map(|point| (point.step as f64, point.returns[agent])), thin))?;
    }
    let medians: Vec<_> = finite.iter().map(|point| (point.step as f64, median(&point.returns))).collect();
    let thick = RGBColor(20, 60, 120).stroke_width(3);
    chart.draw_series(LineSeries::new(medians.iter().copied(), thick))?;
    chart.draw_series(medians.iter().map(|&at| Circle::new(at, 3, RGBColor(20, 60, 120).filled())))?;
    root.present()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_beyond_all_others_are_not_drawn_for_ever() {
        let directory = tempfile::tempdir().expect("a directory");
        let drawn = |returns: [f64; 2]| {
            let path = directory.path().join("curve.svg");
            let point = |step| Point { step, returns: returns.to_vec() };
            learning_curve(&path, "a title", &[point(0), point(10)]).expect("drawn, or not");
            std::fs::remove_file(&path).is_ok()
        };
        assert!(drawn([-1230.0, -138.0]) && drawn([3.0, 3.0]));
        assert!(!drawn([1e308, -1e308]) && !drawn([1e30, 1e30]) && !drawn([f64::NAN, 1.0]));
    }
}
