//! Errors of the library. The `upatch-cc` binary turns all of them into `Problem` records.

use std::path::PathBuf;

/// What can go wrong while recording, reading records or compiling again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A system call on a file failed.
    #[error("{path}: cannot {action}: {source}", path = path.display())]
    Io {
        /// In the infinitive: `read`, `write`, …
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// The kernel's answer.
        source: std::io::Error,
    },
    /// A file of ours does not parse.
    #[error("{path}: not a valid {what}: {why}", path = path.display())]
    Format {
        /// Which file.
        path: PathBuf,
        /// What it should have been.
        what: &'static str,
        /// The parser's words.
        why: String,
    },
    /// No session belongs to this wrapper or directory.
    #[error("{0}: not a recording session")]
    NoSession(PathBuf),
    /// An input of a unit is no longer what it was when the unit was recorded.
    #[error("{path}: changed since the unit {unit} was recorded (now {now})", path = path.display())]
    InputChanged {
        /// Source of the unit.
        unit: String,
        /// The input.
        path: PathBuf,
        /// Its hash now, or `missing`.
        now: String,
    },
    /// The record does not hold enough to compile again.
    #[error("{unit}: cannot be compiled again: {why}")]
    NotRecompilable {
        /// Source of the unit.
        unit: String,
        /// Why.
        why: String,
    },
    /// The compiler failed.
    #[error("{unit}: compiling again failed ({status}):\n{stderr}")]
    CompileFailed {
        /// Source of the unit.
        unit: String,
        /// Exit status in words.
        status: String,
        /// What the compiler said.
        stderr: String,
    },
    /// An archive that cannot be read.
    #[error("{path}: not a readable archive: {why}", path = path.display())]
    Archive {
        /// The archive.
        path: PathBuf,
        /// What is wrong.
        why: &'static str,
    },
}

/// Result of this library.
pub type Result<T> = std::result::Result<T, Error>;

/// Adds the file and the action to an I/O error.
pub(crate) trait IoContext<T> {
    fn at(self, action: &'static str, path: &std::path::Path) -> Result<T>;
}

impl<T> IoContext<T> for std::io::Result<T> {
    fn at(self, action: &'static str, path: &std::path::Path) -> Result<T> {
        self.map_err(|source| Error::Io { action, path: path.to_path_buf(), source })
    }
}
