//! Errors of the scratch directory.

use super::{Worded, Words};
use std::path::PathBuf;

/// Why there is no place to work in.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.words())]
pub(crate) enum ScratchError {
    /// Others may write to the user's directory among the temporary files.
    NotPrivate(PathBuf),
    /// A path that builds do not cope with.
    Characters(PathBuf),
    /// Other runs have all of it.
    Full(PathBuf),
}

impl Worded for ScratchError {
    fn words(&self) -> Words {
        match self {
            Self::NotPrivate(dir) => Words::failed(
                dir.display().to_string(),
                "is not a directory that only this user can write to",
            )
            .hint("remove it, or give another place with --workdir"),
            Self::Characters(base) => Words::failed(
                format!("scratch directory {}", base.display()),
                "its path holds characters that builds cannot cope with",
            )
            .hint("give a plain path with --workdir"),
            Self::Full(base) => {
                Words::failed(format!("scratch directory {}", base.display()), "every slot in it is taken")
                    .hint("wait for the other runs, or give another place with --workdir")
            }
        }
    }
}
