//! What this machine knows about patches when a verb begins: their files, the state wanted of each, and the
//! last attempts on processes.

use super::{
    backend::{Backend, Survey},
    context::Context,
    error::Error,
};
use crate::{
    catalog::{Catalog, Known, Origin, ResolveError, alike, resolve},
    state::{Attempts, Lock, State, StateFile, builds, has_log, same_file},
};
use patchfile::{Uuid, exit::ManageExit, state::PatchState};
use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    io::ErrorKind,
    path::Path,
    time::{Duration, Instant},
};

/// How long another `upatch` may hold the lock. Longer than the default `--timeout`.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often a held lock is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// The patches that this machine knows, with the state of each. Holds the lock where it was taken.
#[derive(Debug)]
pub(crate) struct Inventory {
    /// The patches on disk.
    pub catalog: Catalog,
    /// The state wanted of each patch.
    pub state: State,
    /// The last attempts on processes that failed.
    pub attempts: Attempts,
    /// Can the state be written? Not without root.
    pub writable: bool,
    /// Was the state file lost, and the state read from the processes?
    pub rebuilt: bool,
    lock: Option<Lock>,
}

impl Inventory {
    /// Reads everything, for looking at it.
    ///
    /// # Errors
    /// The state file cannot be read.
    pub(crate) fn read(ctx: &mut Context<'_>) -> Result<Self, Error> {
        let path = StateFile::path(&ctx.root);
        let file = StateFile::read(&ctx.root, &ctx.boot)
            .map_err(|e| Error::new(kind_exit(e.kind()), path.display().to_string(), e))?;
        let catalog = Catalog::read(&ctx.root, ctx.owner);
        let mut rebuilt = false;
        let state = match file {
            StateFile::Read(state) => state,
            StateFile::Absent if !has_log(&ctx.root) => State::empty(&ctx.boot),
            lost => {
                let why = match lost {
                    StateFile::Damaged(why) => why.lines().next().unwrap_or_default().to_owned(),
                    _ => "is gone".into(),
                };
                ctx.warn(format_args!(
                    "{}: {why}: the state is read from the processes instead",
                    path.display()
                ));
                rebuilt = true;
                let all = whole_system(&ctx.root);
                let mut state = rebuild(&ctx.boot, &catalog, &ctx.backend.survey(&[], &[]), all);
                for live in ctx.backend.kernel().live().into_iter().filter(|live| live.enabled) {
                    let Some(uuid) = live.uuid else { continue };
                    let entry = catalog.get(uuid);
                    if all || entry.is_some() {
                        let id = entry.map_or(live.module, |e| e.manifest.id());
                        state.entry(uuid, &id).state = PatchState::Actived;
                    }
                }
                state
            }
        };
        let mut state = state;
        for record in state.patches.iter_mut().filter(|r| r.builds.is_empty()) {
            record.builds = catalog.get(record.uuid).map(|e| builds(&e.manifest)).unwrap_or_default();
        }
        Ok(Self { catalog, state, attempts: Attempts::read(&ctx.root), writable: false, rebuilt, lock: None })
    }

    /// Takes the lock, waiting for other holders, and reads everything, for changing it. Without root, and
    /// only where `pids` are named, goes on without lock and without writing state: the kernel lets only one
    /// tracer at a process anyway.
    ///
    /// # Errors
    /// Another `upatch` holds the lock for too long, a stop was asked for meanwhile, or the lock cannot be
    /// made.
    pub(crate) fn lock(ctx: &mut Context<'_>, pids: &[i32]) -> Result<Self, Error> {
        let until = Instant::now() + PATIENCE;
        let lock = loop {
            match Lock::take(&ctx.root) {
                Ok(Some(lock)) => break Some(lock),
                Ok(None) if Instant::now() >= until => {
                    return Err(Error::failed("lock", "another upatch has been busy for a minute")
                        .hint("wait for it, or look for it with: pgrep -a upatch"));
                }
                Ok(None) => {
                    if ctx.stop.wait(LOOK_AGAIN) {
                        return Err(Error::failed("lock", "interrupted; nothing was changed"));
                    }
                }
                Err(e) if !pids.is_empty() && unwritable(e.kind()) => break None,
                Err(e) => {
                    let path = ctx.root.join(patchfile::paths::RUN).join("lock");
                    return Err(Error::new(kind_exit(e.kind()), path.display().to_string(), e));
                }
            }
        };
        let mut inventory = Self::read(ctx)?;
        inventory.writable = lock.is_some();
        inventory.lock = lock;
        Ok(inventory)
    }

    /// Writes the state.
    ///
    /// # Errors
    /// It cannot be written; the old one then stays.
    pub(crate) fn save(&self, root: &Path) -> Result<(), Error> {
        if !self.writable {
            return Ok(());
        }
        let path = StateFile::path(root);
        StateFile::write(root, &self.state)
            .map_err(|e| Error::new(kind_exit(e.kind()), path.display().to_string(), e))
    }

    /// Writes down what was tried. Only reasons: when it cannot be written, they are missing from `status`.
    pub(crate) fn save_attempts(&mut self, root: &Path, backend: &dyn Backend) -> Result<(), Error> {
        if !self.writable {
            return Ok(());
        }
        let written = self.attempts.write(root, |p| backend.alive(p));
        written.map_err(|e| Error::failed("attempts", e))
    }

    /// The patches that `ids` stand for.
    ///
    /// # Errors
    /// One of them stands for none or several, or is the path of an unusable patch.
    pub(crate) fn resolve(&self, ctx: &Context<'_>, ids: &[OsString]) -> Result<Vec<Known>, Error> {
        let mut found: Vec<Known> = Vec::new();
        let mut others = self.recorded();
        let mut surveyed = false;
        for id in ids {
            let known = loop {
                match resolve(id, &self.catalog, &others, ctx.owner) {
                    Ok(known) => break known,
                    // Perhaps only a process knows it.
                    Err(ResolveError::Unknown) if !surveyed => {
                        surveyed = true;
                        others.extend(carried(&self.catalog, &others, &ctx.backend.survey(&[], &[])));
                        others.extend(in_kernel(ctx, &self.catalog, &others));
                    }
                    Err(error) => return Err(self.unresolved(id, error)),
                }
            };
            if !found.iter().any(|k| k.uuid == known.uuid) {
                found.push(known);
            }
        }
        Ok(found)
    }

    /// `patches` and, of those that `ids` name by name, the older versions that some process may still run,
    /// since a newer one was refused there. A path names one patch: what has only its name is another one.
    pub(crate) fn with_older(&self, patches: Vec<Known>, ids: &[OsString]) -> Vec<Known> {
        let by_uuid =
            |uuid: Uuid| ids.iter().any(|id| id.to_str().and_then(|t| t.parse().ok()) == Some(uuid));
        let older = self.recorded().into_iter().filter(|old| {
            let theirs = self.state.get(old.uuid).map_or(&[][..], |r| r.builds.as_slice());
            let named = |p: &Known| match p.entry.as_ref().filter(|e| e.origin == Origin::Named) {
                Some(e) => same_file(theirs, &builds(&e.manifest)),
                None => true,
            };
            patches.iter().any(|p| p.id == old.id && p.uuid != old.uuid && !by_uuid(p.uuid) && named(p))
        });
        let older: Vec<_> = older.filter(|old| patches.iter().all(|p| p.uuid != old.uuid)).collect();
        patches.into_iter().chain(older).collect()
    }

    /// Every patch known: from the catalog, from the state, and for the system as a whole from the processes
    /// in `survey` and from the kernel.
    pub(crate) fn everything(&self, ctx: &Context<'_>, survey: &Survey) -> Vec<Known> {
        let mut all: Vec<_> = self.catalog.entries.iter().cloned().map(Known::from_entry).collect();
        let recorded = self.recorded();
        let mut carried = carried(&self.catalog, &recorded, survey);
        carried.extend(in_kernel(ctx, &self.catalog, &recorded));
        all.extend(recorded);
        if whole_system(&ctx.root) {
            all.extend(carried);
        }
        all
    }

    /// Patches that the state knows and the catalog does not.
    fn recorded(&self) -> Vec<Known> {
        let gone = self.state.patches.iter().filter(|r| self.catalog.get(r.uuid).is_none());
        let gone = gone.filter(|r| r.state != PatchState::NotApplied);
        gone.map(|r| Known::without_files(r.uuid, r.id.clone(), &self.catalog)).collect()
    }

    fn unresolved(&self, id: &OsStr, error: ResolveError) -> Error {
        let what = id.display().to_string();
        match error {
            ResolveError::Unknown => {
                let broken = self.catalog.problems.iter().find(|p| p.directory.ends_with(id));
                if let Some(problem) = broken {
                    return Error::entry(&what, &problem.error);
                }
                let listed = self.catalog.entries.iter().cloned().map(Known::from_entry);
                let all: Vec<_> = listed.chain(self.recorded()).collect();
                let error = Error::new(ManageExit::Unknown, what.as_str(), "no patch of this name is known");
                let error = match alike(&what, &all).as_slice() {
                    [] => error,
                    names => error.hint(format!("did you mean {}?", names.join(" or "))),
                };
                error
                    .hint("`upatch list` shows the known patches; a patch directory can be named by its path")
            }
            ResolveError::Ambiguous(candidates) => {
                let why = format!("stands for {} patches", candidates.len());
                let error = Error::new(ManageExit::Unknown, what, why);
                candidates.into_iter().fold(error, |e, c| e.hint(format!("it could be {c}")))
            }
            ResolveError::Unusable(error) => match error {
                crate::catalog::EntryError::Read(crate::catalog::ReadError::Absent(path)) => {
                    Error::new(ManageExit::Unknown, what, format_args!("{}: no such file", path.display()))
                        .hint("a patch directory holds manifest.yaml and one .upatch file per ELF file")
                }
                other => Error::entry(&what, &other),
            },
        }
    }
}

/// Does this root stand for the system? Then a patch in a process is its business though it has no files of
/// it. Of another root only its own patches are; any other is found by name or uuid.
fn whole_system(root: &Path) -> bool {
    root == Path::new("/")
}

/// State as the processes show it: the way back when the state file is lost. `all`: also patches without
/// files.
///
/// Patches that are loaded but not in force count as not applied, for that is what `remove` leaves behind.
pub(crate) fn rebuild(boot: &str, catalog: &Catalog, survey: &Survey, all: bool) -> State {
    let mut found: BTreeMap<Uuid, (u64, String)> = BTreeMap::new();
    for process in &survey.processes {
        let blocks = process.blocks.as_deref().unwrap_or_default();
        for control in blocks.iter().filter(|b| b.in_force).map(|b| &b.control) {
            let entry = catalog.get(control.uuid);
            if !all && entry.is_none() {
                continue;
            }
            let name = || entry.map_or_else(|| control.name.clone(), |e| e.manifest.id());
            let seen = found.entry(control.uuid).or_insert_with(|| (control.sequence, name()));
            seen.0 = seen.0.max(control.sequence);
        }
    }
    let mut found: Vec<_> = found.into_iter().collect();
    found.sort_by_key(|(_, (sequence, _))| *sequence);
    let mut state = State::empty(boot);
    for (uuid, (_, id)) in found {
        state.entry(uuid, &id).state = PatchState::Actived;
    }
    state
}

/// Patches that only processes know.
fn carried(catalog: &Catalog, recorded: &[Known], survey: &Survey) -> Vec<Known> {
    let mut found: BTreeMap<Uuid, String> = BTreeMap::new();
    for process in &survey.processes {
        let blocks = process.blocks.as_deref().unwrap_or_default();
        for control in blocks.iter().filter(|b| b.in_force).map(|b| &b.control) {
            if catalog.get(control.uuid).is_none() && !recorded.iter().any(|k| k.uuid == control.uuid) {
                found.insert(control.uuid, control.name.clone());
            }
        }
    }
    found.into_iter().map(|(uuid, id)| Known::without_files(uuid, id, catalog)).collect()
}

/// Patches that only the kernel knows; they have the names of their modules.
fn in_kernel(ctx: &Context<'_>, catalog: &Catalog, known: &[Known]) -> Vec<Known> {
    let live = ctx.backend.kernel().live().into_iter();
    let live = live.filter_map(|live| Some(Known::without_files(live.uuid?, live.module, catalog)));
    live.filter(|k| catalog.get(k.uuid).is_none() && known.iter().all(|o| o.uuid != k.uuid)).collect()
}

fn unwritable(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem)
}

pub(crate) fn kind_exit(kind: ErrorKind) -> ManageExit {
    match kind {
        ErrorKind::PermissionDenied => ManageExit::NotPermitted,
        _ => ManageExit::Failed,
    }
}
