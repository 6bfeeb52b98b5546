//! Why processes are not patched yet: the outcome of the last attempt for each, kept until the machine goes
//! down. Only reasons; whether a process is patched is read from the process.

use super::{
    file::{read_yaml, write_yaml},
    record::ProcessKey,
};
use patchfile::{Uuid, paths, state::ProcessState};
use serde::{Deserialize, Serialize};
use std::{
    io,
    path::{Path, PathBuf},
};

/// The last attempt on one process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Attempt {
    /// Patch.
    pub uuid: Uuid,
    /// Process.
    #[serde(flatten)]
    pub process: ProcessKey,
    /// How it ended.
    pub outcome: ProcessState,
}

/// All last attempts that did not end well.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Attempts(Vec<Attempt>);

impl Attempts {
    fn path(root: &Path) -> PathBuf {
        root.join(paths::RUN).join("attempts.yaml")
    }

    /// Reads those of `root`; what cannot be read is as if nothing had been tried.
    pub(crate) fn read(root: &Path) -> Self {
        Self(read_yaml(&Self::path(root)).ok().flatten().unwrap_or_default())
    }

    /// The last attempt on `process` with `uuid`.
    pub(crate) fn get(&self, uuid: Uuid, process: ProcessKey) -> Option<&ProcessState> {
        self.0.iter().find(|a| a.uuid == uuid && a.process == process).map(|a| &a.outcome)
    }

    /// Notes an attempt; success needs no note.
    pub(crate) fn set(&mut self, uuid: Uuid, process: ProcessKey, outcome: ProcessState) {
        self.clear(uuid, Some(process));
        if outcome != ProcessState::Patched {
            self.0.push(Attempt { uuid, process, outcome });
        }
    }

    /// Forgets the attempts on `process`, or on all.
    pub(crate) fn clear(&mut self, uuid: Uuid, process: Option<ProcessKey>) {
        self.0.retain(|a| a.uuid != uuid || process.is_some_and(|p| p != a.process));
    }

    /// Writes them for `root`, leaving out processes for which `alive` is false.
    ///
    /// # Errors
    /// They cannot be written.
    pub(crate) fn write(&mut self, root: &Path, alive: impl Fn(ProcessKey) -> bool) -> io::Result<()> {
        self.0.retain(|a| alive(a.process));
        let path = Self::path(root);
        if self.0.is_empty() && !path.exists() {
            return Ok(());
        }
        write_yaml(&path, &self.0, false)
    }
}
