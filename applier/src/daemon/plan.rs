//! What shall be in force, ready to be used by several threads.

use super::marks::Marks;
use crate::{
    TargetId,
    catalog::{Catalog, LoadedEntry, Owner},
    manage::{Error, OptOut, TargetIndex},
    state::{Record, State, StateFile},
};
use patchfile::Uuid;
use std::{
    collections::HashMap,
    io,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
};

/// Messages that are kept until they are told: whoever causes them may do so without end.
const MESSAGES: usize = 100;

/// An active patch.
#[derive(Debug)]
pub(super) struct Planned {
    /// What shall be with it.
    pub(super) record: Record,
    /// The patch.
    pub(super) patch: Arc<LoadedEntry>,
    /// Its ELF files: index in [`Plan::targets`] and in the manifest.
    pub(super) elfs: Vec<(usize, u32)>,
    /// Versions of it that give way to it.
    pub(super) older: Vec<Uuid>,
    /// Newer versions, to which this one gives way in processes that do not refuse them.
    pub(super) newer: Vec<Uuid>,
}

/// All active patches whose files are there, in order of application.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// The patches.
    pub(super) patches: Vec<Planned>,
    /// Their ELF files, each once.
    pub(super) targets: Vec<TargetId>,
}

/// Locks, also when a thread that held it has panicked: what is guarded here is replaced as a whole.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the threads of the service share.
#[derive(Debug)]
pub(super) struct Shared {
    /// File-system root.
    pub(super) root: PathBuf,
    owner: Owner,
    boot: String,
    /// The plan. Locked for reading while a start is being patched, so that whoever replaces it knows
    /// that nobody works by the old one any more.
    pub(super) plan: RwLock<Plan>,
    /// Processes that are left alone.
    pub(super) opt_out: OptOut,
    /// Patches read before.
    cache: Mutex<HashMap<Uuid, Option<Arc<LoadedEntry>>>>,
    /// What there is to tell the administrator.
    messages: Mutex<Vec<String>>,
    /// The files watched; none where the kernel cannot.
    pub(super) marks: Option<Mutex<Marks>>,
}

impl Shared {
    pub(super) fn new(
        root: PathBuf,
        owner: Owner,
        boot: String,
        opt_out: OptOut,
        marks: Option<Marks>,
    ) -> Self {
        let (plan, cache, messages) = (RwLock::default(), Mutex::default(), Mutex::default());
        Self { root, owner, boot, opt_out, plan, cache, messages, marks: marks.map(Mutex::new) }
    }

    /// Messages since the last call.
    pub(super) fn messages(&self) -> Vec<String> {
        std::mem::take(&mut lock(&self.messages))
    }

    pub(super) fn tell(&self, message: impl ToString) {
        let mut messages = lock(&self.messages);
        if messages.len() < MESSAGES {
            messages.push(message.to_string());
        }
    }

    /// The patch of `record`, unless it is one of the kernel; its files are read once.
    pub(super) fn load(&self, catalog: &Catalog, record: &Record) -> Option<Arc<LoadedEntry>> {
        if catalog.get(record.uuid).is_some_and(|e| e.manifest.kernel.is_some()) {
            return None;
        }
        let mut cache = lock(&self.cache);
        // A patch whose files come back (package installed again) is read again.
        if cache.get(&record.uuid).is_some_and(Option::is_none) && catalog.get(record.uuid).is_some() {
            cache.remove(&record.uuid);
        }
        let load = || match catalog.get(record.uuid).map(|e| e.load(self.owner)) {
            // The files as they were read are only needed for keeping copies.
            Some(Ok(patch)) => Some(Arc::new(LoadedEntry { files: Vec::new(), ..patch })),
            Some(Err(error)) => {
                self.tell(Error::entry(&record.id, &error));
                None
            }
            None => {
                self.tell(format_args!("{}: its files are gone: new processes do not get it", record.id));
                None
            }
        };
        cache.entry(record.uuid).or_insert_with(load).clone()
    }

    /// Reads the state on disk, plans by it, and watches the files that it names. Takes no lock of the state:
    /// who wrote it waits for this.
    ///
    /// # Errors
    /// The state cannot be read.
    pub(super) fn reload(&self) -> io::Result<()> {
        match StateFile::read(&self.root, &self.boot)? {
            StateFile::Read(state) => self.follow(&state, &mut None),
            // A state that was lost is rebuilt at the next turn.
            StateFile::Absent | StateFile::Damaged(_) => {}
        }
        Ok(())
    }

    /// Plans by `state`.
    pub(super) fn follow(&self, state: &State, catalog: &mut Option<Catalog>) {
        let active = state.patches.iter().filter(|r| r.state.is_active());
        let patches: Vec<_> = active
            .filter_map(|record| {
                let cached = lock(&self.cache).get(&record.uuid).cloned().flatten();
                let patch = cached.or_else(|| {
                    let catalog = catalog.get_or_insert_with(|| Catalog::read(&self.root, self.owner));
                    self.load(catalog, record)
                })?;
                Some((record.clone(), patch))
            })
            .collect();
        lock(&self.cache).retain(|uuid, _| state.get(*uuid).is_some_and(|r| r.state.is_active()));
        let loaded: Vec<_> = patches.iter().map(|(r, _)| r.uuid).collect();
        let wanted = TargetIndex::of_manifests(patches.iter().map(|(_, p)| &p.manifest));
        let patches = patches.into_iter().zip(wanted.elfs);
        let patches = patches.map(|((record, patch), elfs)| {
            let older = state.older(record.uuid);
            let newer = state.newer(record.uuid).into_iter().map(|r| r.uuid);
            let newer = newer.filter(|n| loaded.contains(n)).collect();
            Planned { record, patch, elfs, older, newer }
        });
        let plan = Plan { patches: patches.collect(), targets: wanted.targets };
        let files = plan.patches.iter().flat_map(|p| &p.patch.manifest.elfs).flat_map(|e| e.paths().cloned());
        let (files, targets): (Vec<_>, _) = (files.collect(), plan.targets.clone());
        *self.plan.write().unwrap_or_else(PoisonError::into_inner) = plan;
        if let Some(marks) = &self.marks {
            lock(marks).follow(&self.root, &files, targets);
        }
    }
}
