//! Which patches shall be in force.

use super::file::{read_yaml, write_yaml};
use patchfile::{Manifest, Uuid, manifest::Elf, paths, state::PatchState};
use serde::{Deserialize, Serialize};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Version of the state file.
const FORMAT: u32 = 1;

/// A process, for as long as it lives: process ids come again, start times with them do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct ProcessKey {
    /// Process id.
    pub pid: i32,
    /// Start time in clock ticks since boot (`/proc/PID/stat`, field 22).
    pub start: u64,
}

/// What shall be with one patch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Identity.
    pub uuid: Uuid,
    /// `<package>/<PATCH>`: the name of the patch, also when its files are gone.
    pub id: String,
    /// Intended state.
    pub state: PatchState,
    /// Only these processes (`apply --pid`); all if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only: Option<Vec<ProcessKey>>,
    /// It was accepted before it was taken out of force, and is again once it is in force everywhere.
    #[serde(default, skip_serializing_if = "is_false")]
    pub accepted: bool,
    /// Not these (`deactive --pid`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub except: Vec<ProcessKey>,
    /// The linked files that it was made for, each by its build-id or else the digest of its code. None: not
    /// known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub builds: Vec<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes it so")]
fn is_false(value: &bool) -> bool {
    !value
}

/// What [`Record::builds`] is for the patch with this manifest.
pub(crate) fn builds(manifest: &Manifest) -> Vec<String> {
    let name = |e: &Elf| e.build_id.as_ref().map_or_else(|| e.code.to_string(), ToString::to_string);
    manifest.elfs.iter().map(name).collect()
}

impl Record {
    /// Takes it out of force. What was confirmed stays confirmed for the time when it is in force again.
    pub(crate) fn deactivate(&mut self) {
        self.accepted |= self.state == PatchState::Accepted;
        self.state = PatchState::Deactived;
        self.only = None;
    }

    /// Does the patch mean this process?
    pub(crate) fn covers(&self, process: ProcessKey) -> bool {
        !self.except.contains(&process) && self.only.as_ref().is_none_or(|only| only.contains(&process))
    }

    /// Are the two versions of one patch, so that one gives way to the other? They have one name, and are for
    /// the same file: two programs built from trees of one name, or two builds of one program, each keep
    /// their own.
    pub(crate) fn is_version_of(&self, other: &Self) -> bool {
        self.id == other.id && same_file(&self.builds, &other.builds)
    }
}

/// Have two patches, made for the files `a` and `b`, one of them in common? So it is taken to be where that
/// is not known.
pub(crate) fn same_file(a: &[String], b: &[String]) -> bool {
    a.is_empty() || b.is_empty() || a.iter().any(|build| b.contains(build))
}

/// All records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    /// Version of this file.
    pub format: u32,
    /// Boot the records are about (`/proc/sys/kernel/random/boot_id`).
    pub boot: String,
    /// In order of application: a patch that lies over another comes after it.
    pub patches: Vec<Record>,
}

impl State {
    /// Nothing applied in this boot.
    pub(crate) fn empty(boot: &str) -> Self {
        Self { format: FORMAT, boot: boot.into(), patches: Vec::new() }
    }

    /// The record of `uuid`.
    pub(crate) fn get(&self, uuid: Uuid) -> Option<&Record> {
        self.patches.iter().find(|r| r.uuid == uuid)
    }

    /// The record of `uuid`.
    pub(crate) fn get_mut(&mut self, uuid: Uuid) -> Option<&mut Record> {
        self.patches.iter_mut().find(|r| r.uuid == uuid)
    }

    /// The record of `uuid`, made if there is none.
    pub(crate) fn entry(&mut self, uuid: Uuid, id: &str) -> &mut Record {
        let at = self.patches.iter().position(|r| r.uuid == uuid).unwrap_or_else(|| {
            let state = PatchState::NotApplied;
            let (only, accepted, except, builds) = (None, false, Vec::new(), Vec::new());
            self.patches.push(Record { uuid, id: id.into(), state, only, accepted, except, builds });
            self.patches.len() - 1
        });
        &mut self.patches[at]
    }

    /// The other versions of the patch `uuid`.
    pub(crate) fn versions(&self, uuid: Uuid) -> impl DoubleEndedIterator<Item = &Record> {
        let mine = self.get(uuid);
        self.patches.iter().filter(move |r| r.uuid != uuid && mine.is_some_and(|m| m.is_version_of(r)))
    }

    /// Older versions of the patch `uuid`, which it replaces.
    pub(crate) fn older(&self, uuid: Uuid) -> Vec<Uuid> {
        let at = self.place(uuid);
        self.versions(uuid).filter(|r| self.place(r.uuid) < at).map(|r| r.uuid).collect()
    }

    /// Active versions of the patch `uuid` that were applied after it, the newest first.
    pub(crate) fn newer(&self, uuid: Uuid) -> Vec<&Record> {
        let at = self.place(uuid);
        let after = self.versions(uuid).rev().filter(|r| self.place(r.uuid) > at);
        after.filter(|r| r.state.is_active()).collect()
    }

    fn place(&self, uuid: Uuid) -> Option<usize> {
        self.patches.iter().position(|r| r.uuid == uuid)
    }

    /// Makes `uuid` the patch that was applied last.
    pub(crate) fn make_newest(&mut self, uuid: Uuid) {
        if let Some(at) = self.place(uuid) {
            let record = self.patches.remove(at);
            self.patches.push(record);
        }
    }

    /// Forgets `uuid`.
    pub(crate) fn forget(&mut self, uuid: Uuid) {
        self.patches.retain(|r| r.uuid != uuid);
    }

    /// What is left after a reboot: accepted patches, for every process.
    fn rebooted(mut self, boot: &str) -> Self {
        self.patches.retain(|r| r.state == PatchState::Accepted);
        for record in &mut self.patches {
            record.only = None;
            record.except.clear();
        }
        self.boot = boot.into();
        self
    }
}

/// What the state file said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StateFile {
    /// This.
    Read(State),
    /// There is none.
    Absent,
    /// It is damaged, for this reason; the processes know better.
    Damaged(String),
}

impl StateFile {
    /// Where the state of `root` is.
    pub(crate) fn path(root: &Path) -> PathBuf {
        root.join(paths::STATE).join("state.yaml")
    }

    /// Reads the state of `root` as it holds in this boot.
    ///
    /// # Errors
    /// The file is there and cannot be read.
    pub(crate) fn read(root: &Path, boot: &str) -> io::Result<Self> {
        match read_yaml::<State>(&Self::path(root)) {
            Ok(None) => Ok(Self::Absent),
            Ok(Some(state)) if state.format != FORMAT => Ok(Self::Damaged(format!(
                "it has format version {}, this program reads {FORMAT}",
                state.format
            ))),
            Ok(Some(state)) if state.boot != boot => Ok(Self::Read(state.rebooted(boot))),
            Ok(Some(state)) => Ok(Self::Read(state)),
            Err(e) if e.kind() == io::ErrorKind::InvalidData => Ok(Self::Damaged(e.to_string())),
            Err(e) => Err(e),
        }
    }

    /// Writes `state` for `root`; a damaged file is put aside as `state.yaml.damaged`.
    ///
    /// # Errors
    /// It cannot be written; the old one then stays.
    pub(crate) fn write(root: &Path, state: &State) -> io::Result<()> {
        let path = Self::path(root);
        // Only accepted patches outlive this boot, so only they have to outlive a loss of power; the old
        // contents may hold some too.
        let accepted = |s: &State| s.patches.iter().any(|r| r.state == PatchState::Accepted);
        let old = read_yaml::<State>(&path);
        let durable = accepted(state) || old.as_ref().is_ok_and(|old| old.as_ref().is_some_and(accepted));
        if matches!(&old, Err(e) if e.kind() == io::ErrorKind::InvalidData) {
            fs::rename(&path, path.with_extension("yaml.damaged"))?;
        }
        write_yaml(&path, state, durable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> State {
        let mut state = State::empty("one");
        state.entry(Uuid::from_bytes([1; 16]), "p-1-1/A").state = PatchState::Accepted;
        state.entry(Uuid::from_bytes([2; 16]), "p-1-1/B").state = PatchState::Actived;
        state.entry(Uuid::from_bytes([3; 16]), "p-1-1/C").state = PatchState::Deactived;
        state
    }

    #[test]
    fn only_accepted_patches_survive_a_reboot() {
        let root = tempfile::tempdir().unwrap();
        StateFile::write(root.path(), &state()).unwrap();
        assert_eq!(StateFile::read(root.path(), "one").unwrap(), StateFile::Read(state()));
        let StateFile::Read(after) = StateFile::read(root.path(), "two").unwrap() else { panic!() };
        assert_eq!(after.patches.iter().map(|r| r.id.as_str()).collect::<Vec<_>>(), ["p-1-1/A"]);
    }

    #[test]
    fn every_truncation_is_damage_or_valid_but_never_a_panic() {
        let root = tempfile::tempdir().unwrap();
        StateFile::write(root.path(), &state()).unwrap();
        let path = StateFile::path(root.path());
        let whole = fs::read(&path).unwrap();
        for len in 0..whole.len() {
            fs::write(&path, &whole[..len]).unwrap();
            StateFile::read(root.path(), "one").unwrap();
        }
        fs::write(&path, b"").unwrap();
        assert!(matches!(StateFile::read(root.path(), "one").unwrap(), StateFile::Damaged(_)));
        StateFile::write(root.path(), &state()).unwrap();
        assert!(path.with_extension("yaml.damaged").exists());
    }
}
