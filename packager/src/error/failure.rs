//! Any error of this program.

use super::{
    BuildError, CompareError, DevelopError, KernelError, OptionError, OutputError, PrepError, ProcessError,
    ScratchError, SourceError, StepError, StoreError, TargetError, Worded, Words,
};
use std::error::Error;
use std::path::{Path, PathBuf};

/// Result of this crate.
pub(crate) type Result<T> = std::result::Result<T, Failure>;

/// An error by the part of the program that meets it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// A file, a library or the system.
    #[error(transparent)]
    Step(#[from] StepError),
    /// The command line.
    #[error(transparent)]
    Option(#[from] OptionError),
    /// The sources of the package, and the commits of the fix.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The fix does not go on the sources.
    #[error(transparent)]
    Prep(#[from] PrepError),
    /// A build.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The files to be patched.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// What the builds made, held against each other.
    #[error(transparent)]
    Compare(#[from] CompareError),
    /// Applying what was made.
    #[error(transparent)]
    Develop(#[from] DevelopError),
    /// A kernel: its files, its build, its livepatch module.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// What is written.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// A program that is run, and signals.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// The scratch directory.
    #[error(transparent)]
    Scratch(#[from] ScratchError),
    /// The store of original builds.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Failure {
    /// What the user is told, with all causes.
    pub(crate) fn words(&self) -> Words {
        let mut words = self.worded().words();
        let mut cause = self.source();
        while let Some(error) = cause {
            words.causes.push(error.to_string());
            cause = error.source();
        }
        words
    }

    /// The log of the build that failed.
    pub(crate) fn log_mut(&mut self) -> Option<&mut PathBuf> {
        match self {
            Self::Build(error) => error.log_mut(),
            Self::Kernel(error) => error.log_mut(),
            _ => None,
        }
    }

    fn worded(&self) -> &dyn Worded {
        match self {
            Self::Step(e) => e,
            Self::Option(e) => e,
            Self::Source(e) => e,
            Self::Prep(e) => e,
            Self::Build(e) => e,
            Self::Target(e) => e,
            Self::Compare(e) => e,
            Self::Develop(e) => e,
            Self::Kernel(e) => e,
            Self::Output(e) => e,
            Self::Process(e) => e,
            Self::Scratch(e) => e,
            Self::Store(e) => e,
        }
    }
}

/// Copies the log of a failed build out of the scratch directory, to where results go. Logs of several runs
/// have several names.
pub(crate) fn keep_log(mut failure: Failure, output: &Path, patch: &str) -> Failure {
    if let Some(log) = failure.log_mut() {
        let name = format!("upatch-build-{patch}-{}", log.file_name().unwrap_or_default().to_string_lossy());
        let kept = output.join(name);
        let kept = std::path::absolute(&kept).unwrap_or(kept);
        if std::fs::copy(&log, &kept).is_ok() {
            *log = kept;
        }
    }
    failure
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Context;

    #[test]
    fn causes_are_named_down_to_the_last() {
        let missing = std::fs::read("/nonexistent").at(Path::new("/nonexistent")).unwrap_err();
        let copy = Failure::from(SourceError::Copy { dir: "/tree".into(), source: missing.into() });
        let words = copy.words();
        let system = "No such file or directory (os error 2)";
        assert_eq!(words.to_string(), format!("cannot copy /tree: {system}"));
        assert_eq!(copy.to_string(), words.to_string());
        assert_eq!(words.causes, [format!("/nonexistent: {system}"), system.to_owned()]);
    }
}
