//! The log of a build.

use crate::error::{Context, Result};
use std::fs::File;
use std::path::{Path, PathBuf};

/// A log file that is being written.
#[derive(Debug)]
pub(crate) struct Log {
    /// Where it is.
    pub path: PathBuf,
    pub(super) file: File,
}

impl Log {
    /// Starts a new log.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub(crate) fn create(path: &Path) -> Result<Self> {
        let file = File::create(path).at(path)?;
        Ok(Self { path: path.to_path_buf(), file })
    }

    /// The whole text so far.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.path).unwrap_or_default()).into_owned()
    }
}
