//! What goes wrong, in words, with its exit code.

use crate::{
    ProcessError,
    catalog::{EntryError, Known, ReadError},
};
use patchfile::exit::ManageExit;
use std::fmt;

/// An error as a user sees it: `error: what: why`, then hints.
#[derive(Debug)]
pub(crate) struct Error {
    /// Exit code.
    pub exit: ManageExit,
    /// What failed.
    pub what: String,
    /// Why.
    pub why: String,
    /// What to do.
    pub hints: Vec<String>,
}

impl Error {
    /// An error without hints.
    pub(crate) fn new(exit: ManageExit, what: impl Into<String>, why: impl fmt::Display) -> Self {
        Self { exit, what: what.into(), why: why.to_string(), hints: Vec::new() }
    }

    /// [`ManageExit::Failed`].
    pub(crate) fn failed(what: impl Into<String>, why: impl fmt::Display) -> Self {
        Self::new(ManageExit::Failed, what, why)
    }

    /// Adds what to do.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// About a patch without files that can be used; `gone` says what to do where there are none.
    pub(crate) fn absent(known: &Known, gone: &str) -> Self {
        match &known.broken {
            Some(broken) => Self::entry(&known.id, broken),
            None => Self::new(ManageExit::Unknown, &known.id, known.absence()).hint(gone),
        }
    }

    /// About the files of the patch `id`.
    pub(crate) fn entry(id: &str, error: &EntryError) -> Self {
        match error {
            EntryError::Read(ReadError::Untrusted { .. }) => Self::new(ManageExit::NotPermitted, id, error)
                .hint(
                    "a patch is code: it must belong to root or to you, and nobody else may be able to \
                 write to it",
                )
                .hint(
                    "install the patch package, or as its author: chown -R and chmod -R go-w its \
                 directory",
                ),
            EntryError::Read(ReadError::Denied(_)) => {
                Self::new(ManageExit::NotPermitted, id, error).hint("run it as root")
            }
            EntryError::Newer { .. } => Self::new(ManageExit::DoesNotFit, id, error)
                .hint("the patch was made for a newer upatch: update upatch on this machine"),
            EntryError::Edited { .. } => Self::new(ManageExit::DoesNotFit, id, error).hint(
                "a manifest cannot be edited: install the patch's package again, or make the patch again",
            ),
            EntryError::Package { .. } => Self::failed(id, error)
                .hint("rpm -qpl lists what a package holds; an installed patch is found by its name"),
            EntryError::Read(ReadError::System { .. }) => Self::failed(id, error),
            EntryError::Read(ReadError::Absent(_) | ReadError::Unusable { .. })
            | EntryError::Content { .. } => Self::new(ManageExit::DoesNotFit, id, error).hint(
                "the patch is damaged or incomplete: install its package again (rpm -V shows what \
                     is missing)",
            ),
        }
    }
}

/// The exit code for a process that could not be dealt with, when that is all there is to say.
pub(crate) fn exit_of(error: &ProcessError) -> ManageExit {
    match error {
        ProcessError::NotPermitted { .. } => ManageExit::NotPermitted,
        ProcessError::Unfit { .. } | ProcessError::NotMapped => ManageExit::DoesNotFit,
        ProcessError::Conflict { .. } | ProcessError::EntryChanged { .. } => ManageExit::Conflict,
        _ => ManageExit::Failed,
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}: {}", self.what, self.why)?;
        for hint in &self.hints {
            write!(f, "\n  hint: {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}
