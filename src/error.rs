//! What can go wrong, said so that the reader knows what to change.

/// Every error of this crate. Messages name what was wrong and what would be right, with both numbers.
///
/// ```
/// use ddpg_wgpu::{Config, Error};
/// let mut config = Config::default();
/// config.batch_size = 0;
/// match config.validate() {
///     Err(Error::Config(message)) => println!("{message}"),
///     other => panic!("{other:?}"),
/// }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting, or two settings together, that cannot work.
    #[error("{0}")]
    Config(String),
    /// The configuration needs more than the device offers.
    #[error("{what} needs {needed}, but this device offers {offered}: {remedy}")]
    Limit {
        /// What was asked for.
        what: String,
        /// The amount it needs, with its unit.
        needed: String,
        /// The amount the device offers, with its unit.
        offered: String,
        /// What to change.
        remedy: String,
    },
    /// No adapter at all, or none that matches; lists those there are.
    #[error("{0}")]
    Adapter(String),
    /// The adapter refused to open a device.
    #[error("the adapter {adapter} did not open a device: {reason}")]
    Device {
        /// The adapter's name.
        adapter: String,
        /// What it said.
        reason: String,
    },
    /// A shader, the crate's own or a user's, that does not compile.
    #[error("{0}")]
    Shader(String),
    /// The device was lost, ran out of memory or failed validation while it worked.
    #[error("the GPU stopped working: {0}")]
    Gpu(String),
    /// A file of parameters that does not hold what it should.
    #[error("{0}")]
    Checkpoint(String),
    /// A file that could not be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file or directory.
        path: std::path::PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// A result whose error is [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub(crate) fn config(message: impl Into<String>) -> Self {
        Error::Config(message.into())
    }
}
