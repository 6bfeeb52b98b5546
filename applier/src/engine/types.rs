//! Arguments and results of the engine.

use super::error::{Busy, Hindrance, ProcessError};
use patchfile::image::Image;
use patchfile::{BuildId, Digest, Manifest, Uuid, control::Control};
use std::path::PathBuf;

/// Identity of an ELF file a patch is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetId {
    /// Build-id; decides when there is one.
    pub build_id: Option<BuildId>,
    /// Digest of the executable segments otherwise.
    pub code: Digest,
}

impl From<&patchfile::manifest::Elf> for TargetId {
    fn from(elf: &patchfile::manifest::Elf) -> Self {
        Self { build_id: elf.build_id.clone(), code: elf.code }
    }
}

/// A process that maps a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Process id.
    pub pid: i32,
    /// When it started, in clock ticks since boot: tells it from a later process with the same pid.
    pub start_time: u64,
    /// Index of the target asked for.
    pub target: usize,
    /// The file as mapped, in the process's mount namespace; ` (deleted)` cut off.
    pub path: PathBuf,
    /// Lowest address of the module.
    pub base: u64,
    /// Path of the file was deleted or replaced since.
    pub deleted: bool,
}

/// A process that maps a target or carries a patch.
#[derive(Debug)]
pub struct ScannedProcess {
    /// Process id.
    pub pid: i32,
    /// When it started, see [`Candidate::start_time`].
    pub start_time: u64,
    /// The targets it maps.
    pub candidates: Vec<Candidate>,
    /// The patches it carries, or why they cannot be read. See [`crate::inspect`].
    pub images: Result<Vec<Located>, ProcessError>,
}

/// What [`crate::scan`] saw.
#[derive(Debug, Default)]
pub struct Scan {
    /// Processes with something of what was looked for, in order of their ids.
    pub seen: Vec<ScannedProcess>,
    /// Processes that exist but may not be looked into.
    pub unseen: Vec<i32>,
}

/// A patch, read and checked, ready to go into processes.
#[derive(Clone, Debug)]
pub struct LoadedPatch {
    /// Its identity.
    pub uuid: Uuid,
    /// Its name, shown in `/proc/PID/maps`.
    pub name: String,
    /// Its ELF files.
    pub elfs: Vec<LoadedElf>,
}

/// One ELF of a patch.
#[derive(Clone, Debug)]
pub struct LoadedElf {
    /// Index in the manifest.
    pub index: u32,
    /// The image to map.
    pub image: Image,
}

impl LoadedPatch {
    /// A patch from its manifest and the images of its ELF files, in the manifest's order.
    pub fn new(manifest: &Manifest, images: Vec<Image>) -> Self {
        let elfs = (0u32..).zip(images).map(|(index, image)| LoadedElf { index, image }).collect();
        Self { uuid: manifest.uuid, name: manifest.name.clone(), elfs }
    }

    /// Identities of the ELF files, for [`crate::find_processes`].
    pub fn targets(&self) -> Vec<TargetId> {
        let id =
            |e: &LoadedElf| TargetId { build_id: e.image.target.build_id.clone(), code: e.image.target.code };
        self.elfs.iter().map(id).collect()
    }
}

/// How to go about it.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Redirect at once although old code is on some stack; only the overwritten bytes themselves must be
    /// free.
    pub lazy: bool,
    /// Expected start time of the process, see [`Candidate::start_time`]; another one means
    /// [`crate::ProcessError::Gone`].
    pub start_time: Option<u64>,
    /// How long threads that are in the way may run on while the others stand, so that they get out of it.
    /// Zero: not at all.
    pub patience: std::time::Duration,
    /// How long a thread that is in the way may run on with all others until it is at the place where it gets
    /// out of it. Zero: not at all.
    pub wait: std::time::Duration,
    /// For tests: what goes wrong.
    #[doc(hidden)]
    pub fault: Option<Fault>,
}

/// For tests: the step at which something goes wrong.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Number of the step, from 0.
    pub step: usize,
    /// What goes wrong.
    pub kind: FaultKind,
}

/// For tests: what goes wrong.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// The step fails.
    Fail,
    /// The applier is killed before the step.
    Kill,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The change was made now.
    Done,
    /// The change was made now, and something about it wants to be known.
    DoneBut(String),
    /// It was so already.
    Already,
    /// Not now: a thread is in the way. Nothing was changed; try again.
    Busy(Busy),
}

impl Outcome {
    /// The outcome of a change, as its caller sees it.
    pub(crate) fn of(result: Result<Self, Hindrance>) -> Result<Self, ProcessError> {
        match result {
            Ok(outcome) => Ok(outcome),
            Err(Hindrance::Busy(busy)) => Ok(Self::Busy(busy)),
            Err(Hindrance::Failed(error)) => Err(error),
        }
    }
}

/// A patch found in a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// Address of the control block and of the mapping.
    pub address: u64,
    /// Its content.
    pub control: Control,
    /// Is the new code in force? Found from the code at the functions' entries, not only from the block's
    /// flag.
    pub in_force: bool,
    /// Where it is, entries at which something else has been since: addresses.
    pub disturbed: Vec<u64>,
}

/// What [`crate::check`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// The patch is in force already.
    pub already: bool,
    /// Addresses of the modules it would go to, with the index of the ELF in the patch.
    pub modules: Vec<(usize, u64)>,
    /// What would hold it up now.
    pub busy: Option<Busy>,
}
