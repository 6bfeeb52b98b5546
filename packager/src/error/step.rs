//! A step that a file, a library or the system did not let us do.

use super::{Failure, Result, Worded, Words};
use std::error::Error;
use std::path::{Path, PathBuf};

/// The error of a library or of the system, and what it befell.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.words())]
pub(crate) struct StepError {
    /// What was in work.
    pub subject: Subject,
    /// The error itself.
    pub source: Box<dyn Error + Send + Sync>,
}

/// What was in work: the words before the colon.
#[derive(Debug)]
pub(crate) enum Subject {
    /// A file or directory.
    Path(PathBuf),
    /// A file that was being written, by its path or its name.
    Writing(PathBuf),
    /// The value of an option.
    Option(&'static str, PathBuf),
    /// Something with a name of its own.
    Named(String),
}

impl Worded for StepError {
    fn words(&self) -> Words {
        let what = match &self.subject {
            Subject::Path(path) => path.display().to_string(),
            Subject::Writing(path) => format!("cannot write {}", path.display()),
            Subject::Option(option, path) => format!("{option} {}", path.display()),
            Subject::Named(name) => name.clone(),
        };
        Words::failed(what, &self.source)
    }
}

/// Turns any error into a [`StepError`].
pub(crate) trait Context<T>: Sized {
    /// Says what was in work.
    ///
    /// # Errors
    /// The error itself, with `subject` in front.
    fn about(self, subject: impl FnOnce() -> Subject) -> Result<T>;

    /// As [`Context::about`], of a file or directory.
    ///
    /// # Errors
    /// The same.
    fn at(self, path: &Path) -> Result<T> {
        self.about(|| Subject::Path(path.to_path_buf()))
    }

    /// As [`Context::about`], of a file that was being written.
    ///
    /// # Errors
    /// The same.
    fn writing(self, path: impl AsRef<Path>) -> Result<T> {
        self.about(|| Subject::Writing(path.as_ref().to_path_buf()))
    }

    /// As [`Context::about`], of the value of an option.
    ///
    /// # Errors
    /// The same.
    fn option(self, option: &'static str, path: &Path) -> Result<T> {
        self.about(|| Subject::Option(option, path.to_path_buf()))
    }

    /// As [`Context::about`], of what `what` names.
    ///
    /// # Errors
    /// The same.
    fn what(self, what: impl Into<String>) -> Result<T> {
        self.about(|| Subject::Named(what.into()))
    }
}

impl<T, E: Into<Box<dyn Error + Send + Sync>>> Context<T> for std::result::Result<T, E> {
    fn about(self, subject: impl FnOnce() -> Subject) -> Result<T> {
        self.map_err(|e| Failure::Step(StepError { subject: subject(), source: e.into() }))
    }
}
