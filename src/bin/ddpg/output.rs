//! Standard output that may be closed by whoever reads it (`ddpg devices | head -1`).

use std::fmt::Arguments;
use std::io::{ErrorKind, Write};
use std::sync::OnceLock;

/// Why a line was lost first.
static LOST: OnceLock<std::io::Error> = OnceLock::new();

/// Writes a line. A reader that has gone is no reason to fail, and nothing else ends a training run at once: its files are
/// what counts. But what could not be written is not forgotten: see [`lost`].
pub fn line(text: Arguments<'_>) {
    let mut out = std::io::stdout().lock();
    if let Err(error) = writeln!(out, "{text}").and_then(|()| out.flush())
        && error.kind() != ErrorKind::BrokenPipe
    {
        let _ = LOST.set(error);
    }
}

/// Why something that was to be written to standard output was not, where somebody still reads it.
pub fn lost() -> Option<&'static std::io::Error> {
    LOST.get()
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
