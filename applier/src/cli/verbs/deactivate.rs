//! `deactive` and `remove`.

use super::common::{all_refused, each, exist, name_missed, summary};
use crate::{
    catalog::{self, Known},
    cli::{args::Change, context::Context, drive::Tally, error::Error, settle::Settler, world::World},
    state::{Event, ProcessKey, append},
};
use patchfile::{exit::ManageExit, state::PatchState};

/// Puts the old code back.
pub(in crate::cli) fn deactivate(ctx: &mut Context<'_>, args: &Change) -> Result<ManageExit, Error> {
    change(ctx, args, "deactive", false)
}

/// Puts the old code back and forgets the patch.
pub(in crate::cli) fn remove(ctx: &mut Context<'_>, args: &Change) -> Result<ManageExit, Error> {
    change(ctx, args, "remove", true)
}

fn change(ctx: &mut Context<'_>, args: &Change, verb: &str, forget: bool) -> Result<ManageExit, Error> {
    if !args.how.dry_run {
        ctx.needs_root(verb, &args.only.pids)?;
    }
    exist(ctx, &args.only.pids)?;
    let mut world = if args.how.dry_run { World::look(ctx)? } else { World::change(ctx, &args.only.pids)? };
    let patches = world.resolve(ctx, &args.ids)?;
    let patches = world.with_older(patches, &args.ids);
    each(ctx, patches, |ctx, known| one(ctx, &mut world, verb, &known, args, forget))
}

/// Takes one patch out.
pub(super) fn one(
    ctx: &mut Context<'_>,
    world: &mut World,
    verb: &str,
    known: &Known,
    args: &Change,
    forget: bool,
) -> Result<ManageExit, Error> {
    let (id, uuid, pids) = (&known.id, known.uuid, args.only.pids.as_slice());
    let survey = ctx.engine.survey(&[], pids);
    if args.how.dry_run {
        for process in survey.carriers(uuid) {
            ctx.say(format_args!(
                "{id}: would take it out of process {} ({})",
                process.key.pid, process.comm
            ))?;
        }
        return Ok(ManageExit::Done);
    }
    let before = world.state.clone();
    let was = before.get(uuid).map_or(PatchState::NotApplied, |r| r.state);
    let carriers: Vec<_> = survey.carriers(uuid).map(|p| p.key).collect();
    intend(world, known, pids, &carriers);
    world.save(&ctx.root)?;
    // From here on the service leaves alone what starts; what it has patched is found by the surveys below.
    let survey = match crate::daemon::tell(&ctx.root) {
        true => ctx.engine.survey(&[], pids),
        false => survey,
    };

    let root = ctx.root.clone();
    let settler = Settler::of_verb(ctx, &root, verb, &args.how);
    // A process that is just starting may be patched by what began before; look again until none is found.
    let mut tally = settler.deactivate(uuid, &survey, |_| true);
    while pids.is_empty() && !tally.interrupted && !tally.lines.is_empty() {
        let known: Vec<_> = tally.lines.iter().map(|l| l.key).collect();
        let more = settler.deactivate(uuid, &ctx.engine.survey(&[], &[]), |p| !known.contains(&p));
        if more.lines.is_empty() {
            break;
        }
        tally.extend(more);
    }
    name_missed(ctx, id, &tally);
    if tally.all_refused() || (tally.interrupted && tally.reached() == 0) {
        world.state = before;
        world.save(&root)?;
        crate::daemon::tell(&root);
        return Err(if tally.interrupted {
            Error::failed(id, "interrupted; nothing was changed")
        } else {
            all_refused(id, &tally, "no process could be given its old code back")
        });
    }
    if let Err(error) = settler.note(world, id, uuid, &tally, "old code back") {
        ctx.warn(format_args!("the log cannot be written: {error}"));
    }
    // With --pid, the patch is forgotten when these were the last processes that had it.
    let last = || {
        let deactived = world.state.get(uuid).is_none_or(|r| !r.state.is_active());
        pids.is_empty() || (deactived && ctx.engine.survey(&[], &[]).carriers(uuid).next().is_none())
    };
    if forget && tally.missed().next().is_none() && last() {
        world.state.forget(uuid);
        world.attempts.clear(uuid, None);
        if world.writable {
            catalog::unkeep(&root, uuid).map_err(|e| Error::failed(id, e))?;
        }
    }
    world.save(&root)?;
    world.save_attempts(&root, ctx.engine)?;
    announce(ctx, world, verb, known, &tally, was)?;
    Ok(tally.exit())
}

/// Changes the record.
fn intend(world: &mut World, known: &Known, pids: &[i32], carriers: &[ProcessKey]) {
    let was = world.state.get(known.uuid).map_or(PatchState::NotApplied, |r| r.state);
    if was == PatchState::NotApplied && carriers.is_empty() {
        return;
    }
    if pids.is_empty() {
        let record = world.state.entry(known.uuid, &known.id);
        record.state = PatchState::Deactived;
        record.only = None;
        record.except.clear();
    } else if was.is_active() {
        let record = world.state.entry(known.uuid, &known.id);
        match &mut record.only {
            Some(only) => {
                only.retain(|p| !carriers.contains(p));
                if only.is_empty() {
                    record.only = None;
                    record.state = PatchState::Deactived;
                }
            }
            None => {
                record.except.extend(carriers);
                record.except.sort_unstable();
                record.except.dedup();
            }
        }
    }
}

fn announce(
    ctx: &mut Context<'_>,
    world: &World,
    verb: &str,
    known: &Known,
    tally: &Tally,
    was: PatchState,
) -> Result<(), Error> {
    let id = &known.id;
    let state = world.state.get(known.uuid).map_or(PatchState::NotApplied, |r| r.state);
    if state != was && world.writable {
        let event = Event::new(verb, id, known.uuid, state.to_string());
        if let Err(error) = append(&ctx.root, &[event]) {
            ctx.warn(format_args!("the log cannot be written: {error}"));
        }
    }
    if tally.lines.is_empty() {
        return ctx.say(format_args!("{id}: {state}: no process runs its code"));
    }
    ctx.say(format_args!("{id}: {state}: {}", summary(tally, "back on the old code")))
}
