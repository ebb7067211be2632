//! Standard output that may be closed by whoever reads it (`ddpg devices | head -1`).

use std::fmt::Arguments;
use std::io::{ErrorKind, Write};
use std::path::Path;
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

/// A path as a command line takes it.
pub fn in_a_command(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |c: char| c.is_alphanumeric() || "/\\:._-+,=@%".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        text
    } else if cfg!(windows) {
        format!("\"{text}\"")
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// `println!` that never panics.
macro_rules! say {
    ($($text:tt)*) => { crate::output::line(format_args!($($text)*)) };
}
pub(crate) use say;

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn a_shell_reads_the_path_that_was_meant() {
        for path in ["runs/pendulum-v1_1", "my run", "it's $HOME", "", "a\nb", "Läufe/1"] {
            let command = format!("printf %s {}", in_a_command(Path::new(path)));
            let output = std::process::Command::new("sh").args(["-c", &command]).output().expect("a shell");
            assert_eq!(String::from_utf8_lossy(&output.stdout), path);
        }
        assert_eq!(in_a_command(Path::new("runs/pendulum-v1_1")), "runs/pendulum-v1_1");
    }
}
