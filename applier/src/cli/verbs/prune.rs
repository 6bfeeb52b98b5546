//! `prune`.

use crate::{
    catalog::{self, Entry, Origin, disk_elf},
    cli::args::DryRun,
    manage::{Context, Error, Inventory, TargetIndex},
    state::{Event, append},
};
use patchfile::{Uuid, exit::ManageExit, state::PatchState};
use std::{io::ErrorKind, path::Path};

/// Drops what is kept of patches for programs that are gone: copies of patches applied by path, and records
/// without files. What a package installed is the package manager's; it is named.
pub(crate) fn prune(ctx: &mut Context<'_>, args: &DryRun) -> Result<ManageExit, Error> {
    if !args.dry_run {
        ctx.needs_root("prune", &[])?;
    }
    let mut inventory = if args.dry_run { Inventory::read(ctx)? } else { Inventory::lock(ctx, &[])? };
    let wanted = TargetIndex::of_manifests(inventory.catalog.entries.iter().map(|e| &e.manifest));
    let survey = ctx.backend.survey(&wanted.targets, &[]);
    if survey.hidden || !survey.unknown().is_empty() {
        ctx.warn("some processes may not be looked into; what they may run is kept");
    }
    let mut dropped = Vec::new();
    for (entry, elfs) in inventory.catalog.entries.iter().zip(&wanted.elfs) {
        let uuid = entry.manifest.uuid;
        let runs = |target: &usize| survey.processes.iter().any(|p| p.targets.contains(target));
        let used = elfs.iter().any(|(target, _)| runs(target)) || !survey.is_free_of(uuid);
        if used || on_disk(ctx, entry) {
            continue;
        }
        let id = entry.manifest.id();
        match entry.origin {
            Origin::Kept => dropped.push((uuid, id, "nothing that it fits is there any more")),
            Origin::Installed => {
                let directory = entry.directory.display();
                ctx.say(format_args!(
                    "{id}: nothing that it fits is there any more: remove its package: rpm -e $(rpm -qf \
                     {directory})"
                ))?;
            }
            Origin::Named => {}
        }
    }
    for record in &inventory.state.patches {
        let loaded = ctx.backend.kernel().module_of(record.uuid).is_some();
        if inventory.catalog.get(record.uuid).is_none() && survey.is_free_of(record.uuid) && !loaded {
            dropped.push((record.uuid, record.id.clone(), "its files are gone, and no process runs it"));
        }
    }
    for (uuid, id, why) in dropped {
        if args.dry_run {
            ctx.say(format_args!("{id}: would be dropped: {why}"))?;
            continue;
        }
        drop(ctx, &mut inventory, uuid, &id)?;
        ctx.say(format_args!("{id}: dropped: {why}"))?;
    }
    if !args.dry_run {
        inventory.save(&ctx.root)?;
    }
    Ok(ManageExit::Done)
}

fn drop(ctx: &mut Context<'_>, inventory: &mut Inventory, uuid: Uuid, id: &str) -> Result<(), Error> {
    inventory.state.forget(uuid);
    inventory.attempts.clear(uuid, None);
    inventory.save(&ctx.root)?;
    catalog::unkeep(&ctx.root, uuid).map_err(|e| Error::failed(id, e))?;
    if let Err(error) =
        append(&ctx.root, &[Event::new("prune", id, uuid, PatchState::NotApplied.to_string())])
    {
        ctx.warn(format_args!("the log cannot be written: {error}"));
    }
    Ok(())
}

/// Is a file on disk that it was made for? Of a file without a path that is known it cannot be told, so it
/// counts as there. A kernel is there as long as its modules are, or as it runs.
fn on_disk(ctx: &Context<'_>, entry: &Entry) -> bool {
    let root = &ctx.root;
    if let Some(kernel) = &entry.manifest.kernel {
        let modules = Path::new("lib/modules").join(&kernel.release);
        return ctx.backend.kernel().release() == kernel.release || root.join(modules).exists();
    }
    entry.manifest.elfs.iter().any(|elf| {
        elf.paths().any(|path| match Path::new(path).strip_prefix("/") {
            Ok(below) => match disk_elf(&root.join(below)) {
                Ok(Some(found)) => found.is(elf),
                Ok(None) => false,
                Err(error) => error.kind() != ErrorKind::NotFound,
            },
            Err(_) => true,
        })
    })
}
