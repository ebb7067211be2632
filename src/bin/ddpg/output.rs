//! Standard output that may be closed by whoever reads it (`ddpg devices | head -1`).

use std::fmt::Arguments;
use std::io::Write;

/// Writes a line. A reader that has gone is no reason to fail: a training run goes on, its files are what counts.
pub fn line(text: Arguments<'_>) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

/// Writes a line to standard error, under the same rule.
pub fn note(text: Arguments<'_>) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// `println!` that never panics.
macro_rules! say {
    ($($text:tt)*) => { crate::output::line(format_args!($($text)*)) };
}
pub(crate) use say;
