//! Does a patch fit this kernel, and what is there already?

use super::signature::suffices;
use crate::{
    catalog::{Known, LoadedEntry},
    kernel::Kernel,
    manage::{Context, Error, Inventory},
    state::builds,
};
use patchfile::{
    Manifest,
    exit::ManageExit,
    kernel::{self, object_of},
    manifest::Elf,
};

/// Is it a patch of the kernel? Of one whose files are gone, the kernel itself can tell.
pub(crate) fn is_of_kernel(ctx: &Context<'_>, known: &Known) -> bool {
    match &known.entry {
        Some(entry) => entry.manifest.kernel.is_some(),
        None => ctx.backend.kernel().module_of(known.uuid).is_some(),
    }
}

/// A patch of the kernel is for all processes.
///
/// # Errors
/// Some are named.
pub(crate) fn refuses_pids(ctx: &Context<'_>, patches: &[Known], pids: &[i32]) -> Result<(), Error> {
    match patches.iter().find(|known| !pids.is_empty() && is_of_kernel(ctx, known)) {
        Some(known) => {
            let why = "is a patch of the kernel, which is the same for all processes: there is no --pid";
            Err(Error::new(ManageExit::Usage, &known.id, why))
        }
        None => Ok(()),
    }
}

/// Is this the kernel that `wanted` names?
pub(crate) fn is_for_this_kernel(kernel: &Kernel<'_>, wanted: &kernel::Kernel) -> bool {
    kernel.release() == wanted.release && kernel.build_id().is_none_or(|id| id == wanted.build_id)
}

/// The module of a patch, as it was checked.
pub(crate) fn image(patch: &LoadedEntry) -> &[u8] {
    let module = patch.files.iter().find(|(name, _)| name.ends_with(".ko"));
    module.map_or(&[], |(_, bytes)| bytes.as_slice())
}

/// Does the patch fit this kernel, and is nothing in its way?
///
/// # Errors
/// It is for another build; this kernel cannot be patched now; another patch replaces one of its functions;
/// the kernel loads only signed modules, and this is none.
pub(crate) fn fits(ctx: &Context<'_>, inventory: &Inventory, patch: &LoadedEntry) -> Result<(), Error> {
    let manifest = &patch.manifest;
    let Some(wanted) = &manifest.kernel else { return Ok(()) };
    let (kernel, id) = (ctx.backend.kernel(), manifest.id());
    let misfit = |why: String| Error::new(ManageExit::DoesNotFit, &id, why);
    let release = kernel.release();
    if release != wanted.release {
        return Err(misfit(format!("is for Linux {}, and this is Linux {release}", wanted.release))
            .hint("install the patch that was made for this kernel; each build needs its own"));
    }
    for elf in &manifest.elfs {
        let object = object_of(&elf.name);
        let found = kernel.object_build_id(&object);
        if let (Some(found), Some(build)) = (&found, &elf.build_id)
            && found != build
        {
            return Err(misfit(format!("{object} has build-id {found}, and the patch is for {build}"))
                .hint("it has the release, and is another build: install the patch that was made for it"));
        }
    }
    match kernel.build_id() {
        Some(found) if found != wanted.build_id => {
            let build = &wanted.build_id;
            return Err(misfit(format!("the kernel has build-id {found}, and the patch is for {build}"))
                .hint("it has the release, and is another build: install the patch that was made for it"));
        }
        Some(_) => {}
        None => {
            return Err(Error::failed(&id, "the kernel's build-id cannot be read (/sys/kernel/notes)")
                .hint("mount /sys, and run it outside of containers"));
        }
    }
    if !kernel.is_patchable() {
        let why = "this kernel cannot be patched: it was built without CONFIG_LIVEPATCH";
        return Err(Error::failed(&id, why));
    }
    if !kernel.has_ftrace() {
        return Err(Error::failed(&id, "ftrace is switched off, and live patches of the kernel need it")
            .hint("sysctl kernel.ftrace_enabled=1; if that fails, ftrace has found a fault: boot again"));
    }
    conflicts(ctx, inventory, manifest)?;
    if kernel.find(manifest.uuid).is_some() { Ok(()) } else { suffices(&kernel, &id, image(patch)) }
}

/// Two patches for one function: the upper one was made from the shipped source, so the fix of the lower one
/// would be lost. Versions of one patch take each other's place.
fn conflicts(ctx: &Context<'_>, inventory: &Inventory, manifest: &Manifest) -> Result<(), Error> {
    let mine = |object: &str, function: &String| {
        manifest.elfs.iter().any(|e: &Elf| object_of(&e.name) == object && e.changed.contains(function))
    };
    for live in ctx.backend.kernel().live() {
        let entry = live.uuid.and_then(|uuid| inventory.catalog.get(uuid));
        let record = live.uuid.and_then(|uuid| inventory.state.get(uuid));
        let theirs = entry.map_or_else(|| record.map(|r| r.id.clone()), |e| Some(e.manifest.id()));
        let same = |b: &[String]| crate::state::same_file(b, &builds(manifest));
        let built = entry.map(|e| builds(&e.manifest)).or_else(|| record.map(|r| r.builds.clone()));
        let is_version = theirs.as_deref() == Some(&manifest.id()) && built.is_none_or(|b| same(&b));
        if live.uuid == Some(manifest.uuid) || is_version {
            continue;
        }
        for object in live.objects {
            let both: Vec<_> = object.functions.into_iter().filter(|f| mine(&object.name, f)).collect();
            if both.is_empty() {
                continue;
            }
            let other = match (&theirs, live.uuid) {
                (Some(id), _) => format!("{id} is active and"),
                (None, Some(uuid)) => format!("the patch {uuid} is active and"),
                (None, None) => format!("{}, a live patch that is not ours,", live.module),
            };
            let why = format!("{other} replaces {} of {} too", both.join(", "), object.name);
            return Err(Error::new(ManageExit::Conflict, manifest.id(), why)
                .hint("the later one would undo the other's fix: make one patch from both diffs"));
        }
    }
    Ok(())
}
