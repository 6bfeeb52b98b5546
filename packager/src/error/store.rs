//! Errors of the store of original builds. A run goes on without: they are told with `-v` only.

use super::{Worded, Words};
use std::path::PathBuf;

/// Why a build is not kept, or does not come out of the store.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.words())]
pub(crate) enum StoreError {
    /// Neither file nor folder nor symbolic link.
    NoFile(PathBuf),
    /// It takes too much room, or is made from too much.
    TooLarge,
    /// Something that it is made from is not known by content.
    NotNamed(&'static str),
    /// What it is made from changed while it was made.
    Changed,
    /// A file of the store is not what was written.
    Damaged,
}

impl Worded for StoreError {
    fn words(&self) -> Words {
        let why = match self {
            Self::NoFile(path) => {
                format!("{} is neither file nor folder nor symbolic link", path.display())
            }
            Self::TooLarge => "it is too large".to_owned(),
            Self::NotNamed(what) => format!("it depends on {what}"),
            Self::Changed => "something that it is made from changed meanwhile".to_owned(),
            Self::Damaged => "the file in the store is damaged".to_owned(),
        };
        Words::failed("store of builds", why)
    }
}
