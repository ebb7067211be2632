//! Ctrl-C, and whatever else asks a program to end: the first asks to stop, the second stops at once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What ends the program in an orderly way.
type LastWords = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Shared {
    asked: AtomicBool,
    /// Set while the main thread does what cannot look at `asked`.
    last_words: Mutex<Option<LastWords>>,
}

impl Shared {
    fn last_words(&self) -> MutexGuard<'_, Option<LastWords>> {
        self.last_words.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether Ctrl-C, or another signal that asks to end, has come.
#[derive(Clone, Default)]
pub struct Interrupt(Arc<Shared>);

/// Listens from now on; `says` is what is told when it comes.
pub fn listen(says: &'static str) -> Interrupt {
    let interrupt = Interrupt::default();
    let shared = interrupt.0.clone();
    let handler = move || {
        let last_words = {
            let mut last_words = shared.last_words();
            // the second time, at once
            if shared.asked.swap(true, Ordering::Relaxed) {
                end();
            }
            last_words.take()
        };
        match last_words {
            Some(last_words) => {
                last_words();
                end();
            }
            None => crate::output::note(format_args!("\n{says} (again to stop at once)")),
        }
    };
    if let Err(error) = whenever_asked(handler) {
        tracing::warn!("Ctrl-C will stop the program at once: {error}");
    }
    interrupt
}

/// Calls `handler` in a thread of its own whenever the program is asked to end.
#[cfg(unix)]
fn whenever_asked(mut handler: impl FnMut() + Send + 'static) -> std::io::Result<()> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    let ignored = std::fs::read_to_string("/proc/self/status").map_or(0, |status| ignored(&status));
    // who started it with nohup, or behind others in a script, does not mean it to end with the terminal
    let heeded = [SIGINT, SIGTERM, SIGHUP].into_iter().filter(|&signal| ignored >> (signal - 1) & 1 == 0);
    let mut signals = signal_hook::iterator::Signals::new(heeded)?;
    let wait = move || signals.forever().for_each(|_| handler());
    std::thread::Builder::new().name("signals".into()).spawn(wait).map(drop)
}

#[cfg(not(unix))]
fn whenever_asked(handler: impl FnMut() + Send + 'static) -> Result<(), ctrlc::Error> {
    ctrlc::set_handler(handler)
}

/// The signals that a process ignores, a bit each from 1 on, by what Linux says of it; others say nothing.
#[cfg(unix)]
fn ignored(status: &str) -> u64 {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

fn end() -> ! {
    std::process::exit(130)
}

impl Interrupt {
    pub fn is_asked(&self) -> bool {
        self.0.asked.load(Ordering::Relaxed)
    }

    /// Does `work`, which may take minutes and changes nothing that is kept; where the program is asked to stop meanwhile,
    /// `last_words` are all that it still does.
    pub fn during<T>(&self, last_words: impl FnOnce() + Send + 'static, work: impl FnOnce() -> T) -> T {
        {
            let mut place = self.0.last_words();
            if self.is_asked() {
                last_words();
                end();
            }
            *place = Some(Box::new(last_words));
        }
        let done = work();
        if self.0.last_words().take().is_none() {
            // they are being said: the program ends within moments
            loop {
                std::thread::park();
            }
        }
        done
    }
}
