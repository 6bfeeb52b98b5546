//! What `list` and `status` show: how each process stands to each patch, as `/proc` has it at this moment.

use super::{
    backend::{Survey, SurveyedProcess},
    context::Context,
    inventory::Inventory,
    kernel,
    reconcile::complete,
};
use crate::{
    TargetId,
    catalog::Known,
    state::{ProcessKey, Record},
};
use patchfile::{
    Manifest,
    manifest::Elf,
    state::{PatchState, ProcessState},
};

/// One process with regard to one patch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProcessView {
    /// The process.
    pub(crate) key: ProcessKey,
    /// Its name.
    pub(crate) comm: String,
    /// How it stands to the patch.
    pub(crate) state: ProcessState,
    /// What else there is to say about a patched process.
    pub(crate) note: Option<String>,
}

/// One patch.
#[derive(Clone, Debug)]
pub(crate) struct PatchView {
    /// The patch.
    pub(crate) known: Known,
    /// Its state.
    pub(crate) state: PatchState,
    /// The processes it has to do with; of a patch of the kernel, the tasks that hold up its transition.
    pub(crate) processes: Vec<ProcessView>,
    /// Of a patch of the kernel: the objects, whether each is patched, and that in words.
    pub(crate) objects: Option<Vec<(String, bool, &'static str)>>,
    /// What else there is to say about it.
    pub(crate) note: Option<String>,
    /// Is the patch for another kernel than the one that runs?
    pub(crate) is_elsewhere: bool,
}

impl PatchView {
    /// Processes that are patched, pending, refused; of a patch of the kernel, objects that are patched.
    pub(crate) fn counts(&self) -> [usize; 3] {
        let objects = self.objects.iter().flatten().filter(|(_, patched, _)| *patched).count();
        let mut counts = [objects, 0, 0];
        for process in &self.processes {
            counts[match process.state {
                ProcessState::Patched => 0,
                ProcessState::Pending { .. } => 1,
                ProcessState::Refused { .. } => 2,
            }] += 1;
        }
        counts
    }
}

/// The ELF files of several patches as one list to look for, and where each patch's are in it.
#[derive(Debug, Default)]
pub(crate) struct TargetIndex {
    /// What to look for.
    pub targets: Vec<TargetId>,
    /// Per patch: index in `targets` and in the manifest.
    pub elfs: Vec<Vec<(usize, u32)>>,
}

impl TargetIndex {
    /// The ELF files of `patches`. A patch without files on disk has none to look for.
    pub(crate) fn new<'a>(patches: impl IntoIterator<Item = &'a Known>) -> Self {
        Self::of(
            patches.into_iter().map(|k| k.entry.as_ref().map_or(&[][..], |e| e.manifest.elfs.as_slice())),
        )
    }

    /// The ELF files of `manifests`.
    pub(crate) fn of_manifests<'a>(manifests: impl IntoIterator<Item = &'a Manifest>) -> Self {
        Self::of(manifests.into_iter().map(|m| m.elfs.as_slice()))
    }

    fn of<'a>(patches: impl Iterator<Item = &'a [Elf]>) -> Self {
        let mut wanted = Self::default();
        for elfs in patches {
            let mut mine = Vec::new();
            for (index, elf) in (0u32..).zip(elfs) {
                let id = TargetId::from(elf);
                let at = wanted.targets.iter().position(|t| *t == id).unwrap_or_else(|| {
                    wanted.targets.push(id);
                    wanted.targets.len() - 1
                });
                mine.push((at, index));
            }
            wanted.elfs.push(mine);
        }
        wanted
    }
}

/// Looks at every patch that is known, in the processes `only` (all if none is named).
pub(crate) fn view_all(ctx: &Context<'_>, inventory: &Inventory, only: &[i32]) -> (Survey, Vec<PatchView>) {
    let listed: Vec<_> = inventory.catalog.entries.iter().cloned().map(Known::from_entry).collect();
    let mut wanted = TargetIndex::new(&listed);
    let survey = ctx.backend.survey(&wanted.targets, only);
    let known = inventory.everything(ctx, &survey);
    // Patches without files come after those with files and have nothing to look for.
    wanted.elfs.resize(known.len(), Vec::new());
    let views =
        known.into_iter().zip(&wanted.elfs).map(|(k, elfs)| view(ctx, inventory, k, elfs, &survey)).collect();
    (survey, views)
}

/// Looks at `known` in `survey`, which was made for `wanted`.
pub(crate) fn view(
    ctx: &Context<'_>,
    inventory: &Inventory,
    known: Known,
    elfs: &[(usize, u32)],
    survey: &Survey,
) -> PatchView {
    if kernel::is_of_kernel(ctx, &known) {
        return view_in_kernel(ctx, inventory, known);
    }
    let record = inventory.state.get(known.uuid);
    let carried = survey.carriers(known.uuid).next().is_some();
    let state = match record.map(|r| r.state) {
        // Nobody recorded it (a user's own process, or a crash): what counts is what processes run.
        None | Some(PatchState::NotApplied) if carried => PatchState::Actived,
        None => PatchState::NotApplied,
        Some(state) => state,
    };
    let processes = survey
        .processes
        .iter()
        .filter_map(|p| process_view(inventory, &known, record, state, elfs, p))
        .collect();
    PatchView { known, state, processes, objects: None, note: None, is_elsewhere: false }
}

/// A patch of the kernel, as the kernel has it.
fn view_in_kernel(ctx: &Context<'_>, inventory: &Inventory, known: Known) -> PatchView {
    let kernel = ctx.backend.kernel();
    let manifest = known.entry.as_ref().map(|e| &e.manifest);
    let live = kernel.find(known.uuid);
    let wanted = inventory.state.get(known.uuid).map_or(PatchState::NotApplied, |r| r.state);
    let (mut note, mut is_elsewhere) = (None, false);
    let state = match &live {
        Some(live) if live.enabled && wanted == PatchState::NotApplied => PatchState::Actived,
        Some(live) if live.enabled && !wanted.is_active() => {
            note = Some("is to be taken out and still in force: upatch deactive it again".to_owned());
            wanted
        }
        Some(live) => {
            if live.objects.iter().any(|o| !kernel.has(&o.name)) {
                note = known.entry.as_ref().and_then(|entry| {
                    let loaded = entry.load(ctx.owner).ok();
                    kernel::note_on_modules(&kernel, &entry.manifest, loaded.as_ref().map(kernel::image))
                });
            }
            wanted
        }
        None if !wanted.is_active() => wanted,
        None => {
            let wants = manifest.and_then(|m| m.kernel.as_ref());
            let other = wants.filter(|k| !kernel::is_for_this_kernel(&kernel, k));
            is_elsewhere = other.is_some();
            note = Some(match other {
                Some(other) => format!("{wanted} for Linux {}, which does not run now", other.release),
                None => {
                    format!("should be {wanted} and is not loaded: upatch apply it, or see the service's log")
                }
            });
            PatchState::NotApplied
        }
    };
    let processes = live.iter().flat_map(|live| kernel::task_lines(&kernel, live)).collect();
    let objects = Some(kernel::object_lines(&kernel, live.as_ref(), manifest));
    PatchView { known, state, processes, objects, note, is_elsewhere }
}

fn process_view(
    inventory: &Inventory,
    known: &Known,
    record: Option<&Record>,
    state: PatchState,
    elfs: &[(usize, u32)],
    process: &SurveyedProcess,
) -> Option<ProcessView> {
    let seen = |state, note: Option<&str>| {
        let note = note.map(str::to_owned);
        Some(ProcessView { key: process.key, comm: process.comm.clone(), state, note })
    };
    let attempt = inventory.attempts.get(known.uuid, process.key);
    let runs = process.runs(known.uuid);
    if !state.is_active() {
        // Old code is wanted; only a process that still runs the new one is worth a line.
        let why = match attempt {
            Some(ProcessState::Pending { why } | ProcessState::Refused { why }) => why.as_str(),
            _ => "not tried yet",
        };
        return runs.then(|| seen(ProcessState::Patched, Some(&format!("deactivation pending: {why}"))))?;
    }
    // A newer version has taken its place here.
    if !runs && inventory.state.newer(known.uuid).iter().any(|newer| process.runs(newer.uuid)) {
        return None;
    }
    let maps = elfs.iter().any(|(target, _)| process.targets.contains(target));
    if runs && complete(process, known.uuid, elfs) {
        return seen(ProcessState::Patched, None);
    }
    let record = record.filter(|r| r.state.is_active());
    let concerned = record.is_some_and(|r| r.covers(process.key) || r.except.contains(&process.key));
    if !maps || !(concerned || runs) {
        return None;
    }
    if record.is_some_and(|r| r.except.contains(&process.key)) {
        let why = "taken out of this process with --pid".into();
        return seen(ProcessState::Refused { why }, None);
    }
    let state = match (&process.blocks, attempt) {
        (_, Some(attempt @ (ProcessState::Pending { .. } | ProcessState::Refused { .. }))) => attempt.clone(),
        (Err(why), _) => ProcessState::Refused { why: why.clone() },
        _ if process.is_disturbed(known.uuid) => {
            let why = "something else (a breakpoint, a uprobe) has changed the entry of a function since it \
             was patched";
            ProcessState::Pending { why: why.into() }
        }
        _ if runs => ProcessState::Pending { why: "one of the patch's ELF files was loaded later".into() },
        _ => ProcessState::Pending { why: "not tried yet".into() },
    };
    seen(state, None)
}
