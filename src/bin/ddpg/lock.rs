//! One writer a directory: a lock that the operating system takes back when the process ends, however it ends.

use anyhow::{Context, Result, bail};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// Lies in the directory while somebody writes to it.
pub const NAME: &str = ".ddpg.lock";

/// Held from the first file of a run to its last.
#[derive(Debug)]
pub struct Lock {
    file: File,
    path: PathBuf,
    held: AtomicBool,
}

impl Lock {
    /// Takes the lock of `directory`, which exists.
    pub fn take(directory: &Path) -> Result<Self> {
        let (path, shown) = (directory.join(NAME), directory.display());
        loop {
            let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
            let file = file.with_context(|| format!("cannot write to the output directory {shown}"))?;
            match file.try_lock() {
                // whoever had it may have removed the file between the opening and the locking: then it says nothing
                Ok(()) if !lies_at(&file, &path) => {}
                Ok(()) => return Ok(Self { file, path, held: AtomicBool::new(true) }),
                Err(TryLockError::WouldBlock) => bail!("another ddpg writes to {shown}; wait for it, or choose another --out"),
                Err(TryLockError::Error(error)) => {
                    // some network file systems have no locks, which is no reason not to train there
                    tracing::warn!("{shown} is not locked against another ddpg: {error}");
                    return Ok(Self { file, path, held: AtomicBool::new(true) });
                }
            }
        }
    }

    /// Gives the lock back, and its file with it where that is safe: where the next one sees that it has a file of that name.
    pub fn release(&self) {
        if !self.held.swap(false, Ordering::Relaxed) {
            // by now it may be somebody else's
            return;
        }
        if cfg!(unix) {
            let _ = fs::remove_file(&self.path);
        }
        let _ = self.file.unlock();
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(unix)]
fn lies_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let identity = |metadata: &fs::Metadata| (metadata.dev(), metadata.ino());
    matches!((file.metadata(), fs::metadata(path)), (Ok(held), Ok(found)) if identity(&held) == identity(&found))
}

#[cfg(not(unix))]
fn lies_at(_: &File, _: &Path) -> bool {
    // it is never removed
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holds_it_and_the_next_finds_nothing_left() {
        let directory = tempfile::tempdir().expect("a directory");
        let held = Lock::take(directory.path()).expect("free");
        let refused = Lock::take(directory.path()).expect_err("taken").to_string();
        assert!(refused.contains("another ddpg writes to") && refused.contains("--out"), "{refused}");
        drop(held);
        if cfg!(unix) {
            assert_eq!(fs::read_dir(directory.path()).expect("a directory").count(), 0);
        }
        // what a killed process leaves is free
        fs::write(directory.path().join(NAME), "").expect("written");
        Lock::take(directory.path()).expect("free");
    }

    #[test]
    fn a_thousand_in_turn_never_hold_it_together() {
        use std::sync::atomic::AtomicU32;
        let directory = tempfile::tempdir().expect("a directory");
        let (holders, taken) = (AtomicU32::new(0), AtomicU32::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while taken.load(Ordering::SeqCst) < 1000 {
                        if let Ok(lock) = Lock::take(directory.path()) {
                            assert_eq!(holders.fetch_add(1, Ordering::SeqCst), 0);
                            taken.fetch_add(1, Ordering::SeqCst);
                            holders.fetch_sub(1, Ordering::SeqCst);
                            drop(lock);
                        }
                    }
                });
            }
        });
    }
}
