//! What the command line asks of the engine. A trait, so that every verb and every exit code is tested
//! without processes.

use super::opt_out::OptOut;
use crate::{
    CheckReport, LoadedPatch, Located, Outcome, ProcessError, TargetId, kernel::Kernel, state::ProcessKey,
};
use patchfile::Uuid;

/// A process that maps a wanted ELF file or carries a patch.
#[derive(Clone, Debug)]
pub(crate) struct SurveyedProcess {
    /// The process.
    pub key: ProcessKey,
    /// Its name (`/proc/PID/comm`).
    pub comm: String,
    /// Which of the ELF files asked for it maps: indexes into the list, each once.
    pub targets: Vec<usize>,
    /// The patches it carries, or why they cannot be read.
    pub blocks: Result<Vec<Located>, String>,
}

impl SurveyedProcess {
    /// Indexes (in the manifest) of the ELF files in which `uuid` is in force.
    pub(crate) fn in_force(&self, uuid: Uuid) -> Vec<u32> {
        let blocks = self.blocks.as_deref().unwrap_or_default();
        let mine = blocks.iter().filter(|b| b.control.uuid == uuid && b.in_force);
        mine.map(|b| b.control.elf).collect()
    }

    /// Where `uuid` is in force, is there an entry that something else has changed since?
    pub(crate) fn is_disturbed(&self, uuid: Uuid) -> bool {
        let blocks = self.blocks.as_deref().unwrap_or_default();
        blocks.iter().any(|b| b.control.uuid == uuid && !b.disturbed.is_empty())
    }

    /// Is `uuid` in force in any ELF file?
    pub(crate) fn runs(&self, uuid: Uuid) -> bool {
        !self.in_force(uuid).is_empty()
    }
}

/// What was found in `/proc`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Survey {
    /// In order of process ids.
    pub processes: Vec<SurveyedProcess>,
    /// Processes that exist but may not be looked into.
    pub unseen: Vec<i32>,
    /// May there be more processes, which `/proc` does not list?
    pub hidden: bool,
}

impl Survey {
    /// Processes of which it is not known whether they carry a patch.
    pub(crate) fn unknown(&self) -> Vec<i32> {
        let unread = self.processes.iter().filter(|p| p.blocks.is_err()).map(|p| p.key.pid);
        let mut all: Vec<i32> = self.unseen.iter().copied().chain(unread).collect();
        all.sort_unstable();
        all
    }

    /// Is it known that no process runs `uuid`?
    pub(crate) fn is_free_of(&self, uuid: Uuid) -> bool {
        self.carriers(uuid).next().is_none() && self.unknown().is_empty() && !self.hidden
    }

    /// The processes in which `uuid` is in force.
    pub(crate) fn carriers(&self, uuid: Uuid) -> impl Iterator<Item = &SurveyedProcess> {
        self.processes.iter().filter(move |p| p.runs(uuid))
    }
}

/// Everything that touches processes and the kernel.
pub(crate) trait Backend: Sync {
    /// The kernel that runs, for patches of the kernel.
    fn kernel(&self) -> Kernel<'_>;

    /// Looks at all processes, or only at those in `only` (when not empty), for the ELF files in `wanted` and
    /// for patches.
    fn survey(&self, wanted: &[TargetId], only: &[i32]) -> Survey;

    /// Brings a patch into a process and puts it in force, in the place of `older` versions of it. See
    /// [`crate::replace`].
    ///
    /// # Errors
    /// See [`ProcessError`].
    fn apply(
        &self,
        process: ProcessKey,
        patch: &LoadedPatch,
        older: &[Uuid],
        lazy: bool,
    ) -> Result<Outcome, ProcessError>;

    /// Puts the old code back. See [`crate::deactivate`].
    ///
    /// # Errors
    /// See [`ProcessError`].
    fn deactivate(&self, process: ProcessKey, uuid: Uuid, lazy: bool) -> Result<Outcome, ProcessError>;

    /// Why a process is left alone, whatever shall be done with it.
    fn opts_out(&self, process: ProcessKey, by_settings: &OptOut) -> Option<String> {
        by_settings.why(process.pid)
    }

    /// Would it work? See [`crate::check`].
    ///
    /// # Errors
    /// See [`ProcessError`].
    fn check(
        &self,
        process: ProcessKey,
        patch: &LoadedPatch,
        lazy: bool,
    ) -> Result<CheckReport, ProcessError>;

    /// Does the backend work on the processes of this machine, so that starts can be watched?
    fn is_real(&self) -> bool {
        false
    }

    /// Is there a process of this id?
    fn exists(&self, pid: i32) -> bool;

    /// The process of this id, if it is there.
    fn key(&self, pid: i32) -> Option<ProcessKey>;

    /// Does this process still live?
    fn alive(&self, process: ProcessKey) -> bool;

    /// Processes that run code of files which were replaced or removed since, with their names and the paths
    /// of these files.
    fn replaced_files(&self) -> Vec<(i32, String, Vec<String>)> {
        Vec::new()
    }

    /// Processes that map a file of this name, whatever build it is: for saying why a patch fits nothing.
    fn namesakes(&self, name: &str) -> Vec<(i32, String)>;
}
