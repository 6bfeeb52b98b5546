//! `apply`, `active`, `deactive` and `remove` for patches of the kernel.

use super::{apply::intend, deactivate::intend as intend_out};
use crate::{
    catalog::{self, Known, LoadedEntry, Origin},
    cli::args::Change,
    kernel::Holder,
    manage::{
        Context, Error, Inventory, Survey,
        kernel::{
            Transition, TransitionOutcome, bring, fits, image, is_for_this_kernel, note_on_modules,
            object_lines, take,
        },
    },
    state::{Event, append, builds},
};
use patchfile::{Manifest, exit::ManageExit, state::PatchState};

/// Brings one patch to `state`, at least.
pub(super) fn apply(
    ctx: &mut Context<'_>,
    inventory: &mut Inventory,
    verb: &str,
    known: &Known,
    patch: &LoadedEntry,
    args: &Change,
    state: PatchState,
) -> Result<ManageExit, Error> {
    let (id, uuid, manifest) = (&known.id, known.uuid, &patch.manifest);
    fits(ctx, inventory, patch)?;
    // The intention is on disk before the kernel is touched: killed from here on, the service, or the next
    // command, completes it.
    let before = inventory.state.clone();
    let was_active = before.get(uuid).is_some_and(|r| r.state.is_active());
    intend(inventory, known, builds(manifest), &Survey::default(), &[], state);
    let named = known.entry.as_ref().is_some_and(|e| e.origin == Origin::Named);
    let kept = catalog::kept_directory(&ctx.root, uuid).exists();
    if named {
        catalog::keep(&ctx.root, patch, ctx.owner)
            .map_err(|e| Error::failed(id, format_args!("its files cannot be kept: {e}")))?;
    }
    inventory.save(&ctx.root)?;
    let how = Transition::new(args.how.timeout, args.how.lazy);
    let room = make_room(ctx, inventory, known, manifest, how);
    let ended = match room.and_then(|()| bring(ctx, manifest, image(patch), how)) {
        Ok(ended) => ended,
        Err(error) => {
            note(ctx, Event::new(verb, id, uuid, error.why.as_str()));
            // What is in the kernel now decides; it may be there from before.
            if !was_active && ctx.backend.kernel().find(uuid).is_none() {
                inventory.state = before;
                inventory.save(&ctx.root)?;
                if named && !kept {
                    catalog::unkeep(&ctx.root, uuid).map_err(|e| Error::failed(id, e))?;
                }
            }
            return Err(error);
        }
    };
    let mut exit = told(ctx, id, &ended, "in transition")?;
    if exit == ManageExit::Done {
        exit = give_way(ctx, inventory, verb, known, how)?;
    }
    let state = inventory.state.get(uuid).map_or(PatchState::NotApplied, |r| r.state);
    if ended != TransitionOutcome::Already || !was_active {
        note(ctx, Event::new(verb, id, uuid, state.to_string()));
    }
    inventory.save(&ctx.root)?;
    let live = ctx.backend.kernel().find(uuid);
    let objects = object_lines(&ctx.backend.kernel(), live.as_ref(), Some(manifest));
    let objects: Vec<_> = objects.into_iter().map(|(name, _, words)| format!("{name} {words}")).collect();
    ctx.say(format_args!("{id}: {state}: {}", objects.join(", ")))?;
    if state == PatchState::Actived {
        ctx.say(format_args!("  until the next boot: `upatch accept {id}` makes it last"))?;
    }
    if let Some(note) = note_on_modules(&ctx.backend.kernel(), manifest, Some(image(patch))) {
        ctx.say(format_args!("  {note}"))?;
    }
    Ok(exit)
}

/// An older version whose module has the very name of the new one cannot stay until that is loaded. If the
/// new one fails then, the state still wants the older, and the service or `apply` brings it back.
fn make_room(
    ctx: &mut Context<'_>,
    inventory: &Inventory,
    known: &Known,
    manifest: &Manifest,
    how: Transition,
) -> Result<(), Error> {
    let name = manifest.kernel.as_ref().map_or("", |kernel| kernel.module.as_str());
    let owner = ctx.backend.kernel().owner(name);
    let Some(old) = inventory.state.versions(known.uuid).find(|r| Some(r.uuid) == owner) else {
        return Ok(());
    };
    ctx.warn(format_args!(
        "{}: the older version's module has the same name ({name}) and goes first: the old code runs \
         meanwhile",
        known.id
    ));
    take(ctx, &old.id, old.uuid, how).map(drop)
}

/// Older versions of the patch, which it covers, go: first there were both, so there is no gap.
fn give_way(
    ctx: &mut Context<'_>,
    inventory: &mut Inventory,
    verb: &str,
    known: &Known,
    how: Transition,
) -> Result<ManageExit, Error> {
    let mut exit = ManageExit::Done;
    let old: Vec<_> = inventory.state.versions(known.uuid).cloned().collect();
    for record in old {
        match take(ctx, &record.id, record.uuid, how) {
            Ok(TransitionOutcome::Pending(holders)) => {
                exit = pending(ctx, &record.id, &holders, "on its way out")
            }
            Ok(TransitionOutcome::Done | TransitionOutcome::Already) => {
                inventory.state.forget(record.uuid);
                catalog::unkeep(&ctx.root, record.uuid).map_err(|e| Error::failed(&record.id, e))?;
                note(ctx, Event::new(verb, &record.id, record.uuid, "replaced by a newer version"));
            }
            Err(error) => {
                ctx.warn(format_args!(
                    "the older version {} stays below the new one: {}",
                    record.uuid, error.why
                ));
                exit = ManageExit::Partly;
            }
        }
    }
    Ok(exit)
}

/// Takes one patch out.
pub(super) fn deactivate(
    ctx: &mut Context<'_>,
    inventory: &mut Inventory,
    verb: &str,
    known: &Known,
    args: &Change,
    forget: bool,
) -> Result<ManageExit, Error> {
    let (id, uuid) = (&known.id, known.uuid);
    let loaded = ctx.backend.kernel().module_of(uuid);
    if args.how.dry_run {
        let module = loaded.map_or("nothing to do".into(), |module| format!("would take out {module}"));
        ctx.say(format_args!("{id}: {module}"))?;
        return Ok(ManageExit::Done);
    }
    let before = inventory.state.clone();
    let was = before.get(uuid).map_or(PatchState::NotApplied, |r| r.state);
    intend_out(inventory, known, &[], loaded.is_some(), &[]);
    inventory.save(&ctx.root)?;
    let ended = match take(ctx, id, uuid, Transition::new(args.how.timeout, args.how.lazy)) {
        Ok(ended) => ended,
        Err(error) => {
            note(ctx, Event::new(verb, id, uuid, error.why.as_str()));
            if ctx.backend.kernel().find(uuid).is_some_and(|live| live.enabled) {
                inventory.state = before;
                inventory.save(&ctx.root)?;
            }
            return Err(error);
        }
    };
    let exit = told(ctx, id, &ended, "on its way out")?;
    if forget && exit == ManageExit::Done {
        inventory.state.forget(uuid);
        catalog::unkeep(&ctx.root, uuid).map_err(|e| Error::failed(id, e))?;
    }
    let state = inventory.state.get(uuid).map_or(PatchState::NotApplied, |r| r.state);
    if state != was {
        note(ctx, Event::new(verb, id, uuid, state.to_string()));
    }
    inventory.save(&ctx.root)?;
    let words = match ended {
        TransitionOutcome::Done => "old code back in the kernel",
        TransitionOutcome::Already => "the kernel does not have it",
        TransitionOutcome::Pending(_) => "on its way out",
    };
    ctx.say(format_args!("{id}: {state}: {words}"))?;
    Ok(exit)
}

/// `apply --dry-run`.
pub(super) fn would_apply(
    ctx: &mut Context<'_>,
    inventory: &Inventory,
    patch: &LoadedEntry,
) -> Result<ManageExit, Error> {
    fits(ctx, inventory, patch)?;
    let id = patch.manifest.id();
    let there = ctx.backend.kernel().find(patch.manifest.uuid).is_some_and(|live| live.enabled);
    let words = if there { "the kernel has it already" } else { "would patch the kernel" };
    ctx.say(format_args!("{id}: {words}"))?;
    Ok(ManageExit::Done)
}

/// Is it for a kernel that does not run now? Then there is nothing to restore, which is no error.
pub(super) fn is_elsewhere(ctx: &mut Context<'_>, known: &Known) -> Result<bool, Error> {
    let wanted = known.entry.as_ref().and_then(|e| e.manifest.kernel.as_ref());
    let Some(wanted) = wanted.filter(|k| !is_for_this_kernel(&ctx.backend.kernel(), k)) else {
        return Ok(false);
    };
    ctx.say(format_args!("{}: NOT-APPLIED: is for Linux {}", known.id, wanted.release))?;
    Ok(true)
}

/// Names the tasks that a transition waits for.
fn told(ctx: &mut Context<'_>, id: &str, ended: &TransitionOutcome, way: &str) -> Result<ManageExit, Error> {
    match ended {
        TransitionOutcome::Done | TransitionOutcome::Already => Ok(ManageExit::Done),
        TransitionOutcome::Pending(holders) => Ok(pending(ctx, id, holders, way)),
    }
}

fn pending(ctx: &mut Context<'_>, id: &str, holders: &[Holder], way: &str) -> ManageExit {
    ctx.warn(format_args!("{id}: {way}; until it is over, the kernel takes no other live patch"));
    for holder in holders {
        ctx.warn(format_args!("{id}: {holder}"));
    }
    ManageExit::Partly
}

fn note(ctx: &mut Context<'_>, event: Event) {
    if let Err(error) = append(&ctx.root, &[event]) {
        ctx.warn(format_args!("the log cannot be written: {error}"));
    }
}
