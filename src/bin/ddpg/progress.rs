//! How far training is: a bar on a terminal, plain lines elsewhere.

use crate::output::say;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::time::Duration;

/// What a run tells while it trains.
#[derive(Debug, Clone)]
pub struct Progress {
    bar: Option<ProgressBar>,
    quiet: bool,
}

impl Progress {
    /// A bar of `steps` environment steps where standard error is a terminal.
    pub fn new(quiet: bool, steps: u64, done: u64) -> Self {
        Self::of("steps", quiet, steps, done)
    }

    /// A bar of `total` of whatever is counted.
    pub fn of(counted: &str, quiet: bool, total: u64, done: u64) -> Self {
        let bar = (!quiet && std::io::stderr().is_terminal()).then(|| {
            let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr_with_hz(5));
            let template = format!("{{bar:20}} {{human_pos}}/{{human_len}} {counted}, {{eta}} left  {{wide_msg}}");
            bar.set_style(ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.set_position(done);
            bar.reset_eta();
            bar.enable_steady_tick(Duration::from_millis(500));
            bar
        });
        Self { bar, quiet }
    }

    /// Where training stands.
    pub fn show(&self, step: u64, message: impl FnOnce() -> String) {
        if let Some(bar) = &self.bar {
            bar.set_message(message());
            bar.set_position(step);
        }
    }

    /// What is being done.
    pub fn message(&self, message: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(message.to_owned());
        }
    }

    /// A line that stays.
    pub fn tell(&self, line: &str) {
        if self.quiet {
            return;
        }
        match &self.bar {
            Some(bar) => bar.suspend(|| say!("{line}")),
            None => say!("{line}"),
        }
    }

    /// A line that is worth telling even when quiet: on standard error.
    pub fn warn(&self, line: &str) {
        let note = || crate::output::note(format_args!("{line}"));
        match &self.bar {
            Some(bar) => bar.suspend(note),
            None => note(),
        }
    }

    /// Removes the bar.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
