//! Ctrl-C: the first asks to stop, the second stops at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A flag that Ctrl-C sets; `says` is what is told then.
pub fn listen(says: &'static str) -> Arc<AtomicBool> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = stop.clone();
    let handler = move || {
        // the second time, at once
        if flag.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
        crate::output::note(format_args!("\n{says} (again to stop at once)"));
    };
    if let Err(error) = ctrlc::set_handler(handler) {
        tracing::warn!("Ctrl-C will stop the program at once: {error}");
    }
    stop
}
