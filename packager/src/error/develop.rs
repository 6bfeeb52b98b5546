//! Errors of making and applying in one.

use super::{Worded, Words};
use std::path::PathBuf;

/// Why what was made is not applied.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.words())]
pub(crate) enum DevelopError {
    /// A package is not applied by its maker.
    NeedsSource,
    /// The program that applies patches is not installed.
    NoUpatch {
        /// Where it would be.
        beside: PathBuf,
    },
    /// Processes by id, with the exit code of `upatch`.
    NotApplied(Vec<(i32, Option<i32>)>),
}

impl Worded for DevelopError {
    fn words(&self) -> Words {
        match self {
            Self::NeedsSource => Words::usage("usage", "--apply and --watch go with --source")
                .hint("a patch for a package is applied by installing it, or by `upatch apply DIR`"),
            Self::NoUpatch { beside } => Words::failed(
                "upatch not found",
                format!("neither is there {} nor one on the PATH", beside.display()),
            ),
            Self::NotApplied(processes) => {
                let code = |code: &Option<i32>| code.map_or("a signal".to_owned(), |c| c.to_string());
                let all = processes.iter().map(|(pid, c)| format!("{pid} (upatch: {})", code(c)));
                Words::failed("the patch was made, but not applied to", all.collect::<Vec<_>>().join(", "))
            }
        }
    }
}
