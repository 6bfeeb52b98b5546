//! Patches of the kernel: the service brings the kernel to where the state says it shall be, at boot before
//! anything else. It waits for no transition; it comes by again.

use crate::{
    catalog::Entry,
    manage::{
        Context, Error, Inventory,
        kernel::{Transition, TransitionOutcome, bring, fits, image, is_for_this_kernel, take},
    },
    state::{Event, Record, SERVICE, append},
};
use patchfile::Uuid;
use std::collections::HashMap;

/// What was reported of each patch last: the same trouble is reported once.
pub(super) type LastReports = HashMap<Uuid, String>;

/// Takes the next step with each patch of the kernel. Is there something left to be tried again soon?
///
/// # Errors
/// The log or standard output cannot be written.
pub(super) fn reconcile(
    ctx: &mut Context<'_>,
    inventory: &Inventory,
    reported: &mut LastReports,
) -> Result<bool, Error> {
    let mut open = false;
    for record in &inventory.state.patches {
        let kernel = ctx.backend.kernel();
        let entry = inventory.catalog.get(record.uuid);
        let wanted = entry.and_then(|e| e.manifest.kernel.as_ref());
        let live = kernel.find(record.uuid);
        let ended = match (record.state.is_active(), entry, wanted) {
            (true, Some(entry), Some(wanted)) => match &live {
                Some(live) if live.enabled => {
                    open |= live.moving;
                    continue;
                }
                _ if !is_for_this_kernel(&kernel, wanted) => continue,
                _ => load(ctx, inventory, entry),
            },
            (false, ..) if kernel.module_of(record.uuid).is_some() => {
                take(ctx, &record.id, record.uuid, Transition::of_service())
            }
            _ => continue,
        };
        open |= tell(ctx, record, ended, reported)?;
    }
    Ok(open)
}

fn load(ctx: &Context<'_>, inventory: &Inventory, entry: &Entry) -> Result<TransitionOutcome, Error> {
    let patch = entry.load(ctx.owner).map_err(|e| Error::entry(&entry.manifest.id(), &e))?;
    fits(ctx, inventory, &patch)?;
    bring(ctx, &entry.manifest, image(&patch), Transition::of_service())
}

fn tell(
    ctx: &mut Context<'_>,
    record: &Record,
    ended: Result<TransitionOutcome, Error>,
    reported: &mut LastReports,
) -> Result<bool, Error> {
    let (id, uuid) = (&record.id, record.uuid);
    let (words, again) = match ended {
        Ok(TransitionOutcome::Pending(_)) if record.state.is_active() => {
            ("loaded, in transition".to_owned(), true)
        }
        Ok(TransitionOutcome::Pending(_)) => ("on its way out".into(), true),
        Ok(_) if record.state.is_active() => ("patched the kernel".into(), false),
        Ok(_) => ("old code back in the kernel".into(), false),
        // Another transition ends by itself.
        Err(error) => (error.why, error.exit == patchfile::exit::ManageExit::Conflict),
    };
    if reported.get(&uuid) != Some(&words) {
        ctx.say(format_args!("{id}: {words}"))?;
        append(&ctx.root, &[Event::new(SERVICE, id, uuid, words.as_str())])
            .map_err(|e| Error::failed("log", e))?;
        reported.insert(uuid, words);
    }
    Ok(again)
}
