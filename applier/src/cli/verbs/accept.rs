//! `accept`.

use super::common::each;
use crate::{
    catalog,
    cli::args::Accept,
    manage::kernel::is_of_kernel,
    manage::{Context, Error, Inventory},
    state::{Event, append},
};
use patchfile::{exit::ManageExit, state::PatchState};

/// Makes patches come back after a reboot.
pub(crate) fn accept(ctx: &mut Context<'_>, args: &Accept) -> Result<ManageExit, Error> {
    if !args.dry_run {
        ctx.needs_root("accept", &[])?;
    }
    let mut inventory = if args.dry_run { Inventory::read(ctx)? } else { Inventory::lock(ctx, &[])? };
    let patches = inventory.resolve(ctx, &args.ids)?;
    each(ctx, patches, |ctx, known| {
        let (id, uuid) = (&known.id, known.uuid);
        if known.entry.is_none() {
            return Err(Error::failed(
                id,
                format_args!("{}, so it could not come back after a reboot", known.absence()),
            )
            .hint("install its package again"));
        }
        let unloaded = is_of_kernel(ctx, &known) && ctx.backend.kernel().find(uuid).is_none();
        match inventory.state.get(uuid).map_or(PatchState::NotApplied, |r| r.state) {
            _ if unloaded => {
                return Err(Error::failed(
                    id,
                    "the kernel does not have it, and only an active patch can be accepted",
                )
                .hint(format!("upatch apply {id}")));
            }
            PatchState::Actived | PatchState::Accepted => {}
            other => {
                return Err(Error::failed(
                    id,
                    format_args!("is {other}, and only an active patch can be accepted"),
                )
                .hint(format!("upatch apply {id}")));
            }
        }
        if args.dry_run {
            ctx.say(format_args!("{id}: would be accepted"))?;
            return Ok(ManageExit::Done);
        }
        catalog::sync_kept(&ctx.root, uuid).map_err(|e| Error::failed(id, e))?;
        inventory.state.entry(uuid, id).state = PatchState::Accepted;
        inventory.save(&ctx.root)?;
        if let Err(error) = append(&ctx.root, &[Event::new("accept", id, uuid, "ACCEPTED")]) {
            ctx.warn(format_args!("the log cannot be written: {error}"));
        }
        ctx.say(format_args!("{id}: ACCEPTED: it comes back by itself after a reboot"))?;
        Ok(ManageExit::Done)
    })
}
