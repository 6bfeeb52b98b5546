//! `rescan`.

use crate::{
    cli::args::DryRun,
    manage::{Context, Error, Inventory},
};
use patchfile::{exit::ManageExit, state::PatchState};

/// Reads the installed patches again.
///
/// Every command reads them anyway, and so does the service when it meets a patch that it does not know; what
/// is left to do is to drop what the state says about patches that are neither there nor in any process, and
/// to name what is wrong.
pub(crate) fn rescan(ctx: &mut Context<'_>, args: &DryRun) -> Result<ManageExit, Error> {
    if !args.dry_run {
        ctx.needs_root("rescan", &[])?;
    }
    let mut inventory = if args.dry_run { Inventory::read(ctx)? } else { Inventory::lock(ctx, &[])? };
    for problem in &inventory.catalog.problems {
        ctx.warn(format_args!("{}: {}", problem.directory.display(), problem.error));
    }
    let survey = ctx.backend.survey(&[], &[]);
    let mut gone = Vec::new();
    for record in &inventory.state.patches {
        if inventory.catalog.get(record.uuid).is_some() {
            continue;
        }
        if ctx.backend.kernel().module_of(record.uuid).is_some() {
            ctx.warn(format_args!("{}: its files are gone, but the kernel still runs it", record.id));
        } else if survey.carriers(record.uuid).next().is_some() {
            ctx.warn(format_args!("{}: its files are gone, but processes still run it", record.id));
        } else if survey.is_free_of(record.uuid) {
            gone.push((record.uuid, record.id.clone()));
        }
    }
    for (uuid, id) in gone {
        ctx.warn(format_args!("{id}: its files are gone and no process runs it: forgotten"));
        inventory.state.forget(uuid);
    }
    inventory.state.patches.retain(|r| r.state != PatchState::NotApplied);
    if !args.dry_run {
        inventory.save(&ctx.root)?;
    }
    let count = inventory.catalog.entries.len();
    ctx.say(format_args!("{count} patch{} known", if count == 1 { "" } else { "es" }))?;
    Ok(ManageExit::Done)
}
