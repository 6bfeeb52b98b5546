//! What the service says about itself, for `upatch status`.

use crate::state::{ProcessKey, read_yaml, write_yaml};
use patchfile::paths;
use serde::{Deserialize, Serialize};
use std::{
    io,
    path::{Path, PathBuf},
};

/// How processes that start are met.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "way", rename_all = "lowercase")]
pub(crate) enum StartHandling {
    /// The kernel holds them until they are patched.
    Held {
        /// Number of files watched.
        files: usize,
        /// Why a file is not watched, though it should be.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        trouble: Option<String>,
    },
    /// The service looks for new processes from time to time. They run old code until it finds them.
    Polled {
        /// Seconds between two looks.
        seconds: f64,
        /// Why there is no better way.
        why: String,
    },
}

/// A running service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ServiceStatus {
    /// Its process.
    #[serde(flatten)]
    pub process: ProcessKey,
    /// How it meets processes that start.
    #[serde(flatten)]
    pub way: StartHandling,
}

fn path(root: &Path) -> PathBuf {
    root.join(paths::RUN).join("service.yaml")
}

impl ServiceStatus {
    /// Writes it down for `root`.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn write(&self, root: &Path) -> io::Result<()> {
        write_yaml(&path(root), self, false)
    }

    /// The service of `root`, if one runs.
    pub(crate) fn read(root: &Path) -> Option<Self> {
        let found: Self = read_yaml(&path(root)).ok()??;
        let lives = crate::start_time(found.process.pid).is_ok_and(|start| start == found.process.start);
        lives.then_some(found)
    }
}

impl std::fmt::Display for ServiceStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let pid = self.process.pid;
        match &self.way {
            StartHandling::Held { files, trouble } => {
                let s = if *files == 1 { "" } else { "s" };
                write!(
                    f,
                    "running (process {pid}): patches processes before they run; {files} file{s} watched"
                )?;
                trouble.iter().try_for_each(|why| write!(f, "; not watched: {why}"))
            }
            StartHandling::Polled { seconds, why } => {
                write!(f, "running (process {pid}): looks for new processes every {seconds} s, since {why}")
            }
        }
    }
}
