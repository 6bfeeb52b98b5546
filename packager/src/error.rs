//! How making a patch fails: with an exit code of the contract, one line that says what and why, and hints.

use patchfile::exit::BuildExit;
use std::fmt;
use std::path::PathBuf;

/// A failure for the user: expected, explained, with its exit code.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    /// Exit code.
    pub exit: BuildExit,
    /// What could not be done.
    pub what: String,
    /// Why not.
    pub why: String,
    /// What to do about it, one line each.
    pub hints: Vec<String>,
    /// Log of the build that failed; its last lines are shown.
    pub log: Option<PathBuf>,
    /// Died of this signal's arrival: the process ends by the same signal after cleaning up.
    pub signal: Option<i32>,
}

/// Result of this crate.
pub(crate) type Result<T> = std::result::Result<T, Failure>;

impl Failure {
    /// A failure with `exit`.
    pub(crate) fn new(exit: BuildExit, what: impl Into<String>, why: impl fmt::Display) -> Self {
        Self { exit, what: what.into(), why: why.to_string(), hints: Vec::new(), log: None, signal: None }
    }

    /// A failure with no exit code of its own (1).
    pub(crate) fn failed(what: impl Into<String>, why: impl fmt::Display) -> Self {
        Self::new(BuildExit::Failed, what, why)
    }

    /// Wrong usage (2).
    pub(crate) fn usage(what: impl Into<String>, why: impl fmt::Display) -> Self {
        Self::new(BuildExit::Usage, what, why)
    }

    /// Adds a hint.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Adds a log file.
    #[must_use]
    pub(crate) fn log(mut self, log: impl Into<PathBuf>) -> Self {
        self.log = Some(log.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // One line whatever the parts hold: tools that read it go by lines.
        let line = |text: &str| text.trim().replace('\n', "; ");
        write!(f, "{}: {}", line(&self.what), line(&self.why))
    }
}

impl std::error::Error for Failure {}

/// Turns any error into a [`Failure`] of exit code 1.
pub(crate) trait Context<T> {
    /// Says what was being done.
    ///
    /// # Errors
    /// The error itself, with `what` in front.
    fn what(self, what: impl Into<String>) -> Result<T>;
}

impl<T, E: fmt::Display> Context<T> for std::result::Result<T, E> {
    fn what(self, what: impl Into<String>) -> Result<T> {
        self.map_err(|e| Failure::failed(what, e))
    }
}
