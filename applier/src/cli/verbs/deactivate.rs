//! `deactive` and `remove`.

use super::{
    common::{all_refused, each, exist, name_missed, summary},
    kernel,
    unseen::{blind_error, not_looked_at, unknown},
    withdraw::Waiting,
};
use crate::{
    catalog::{self, Known},
    cli::args::Change,
    manage::kernel::{is_of_kernel, refuses_pids},
    manage::{Context, Error, Inventory, Reconciler, Results, Survey, targets},
    state::{Event, ProcessKey, append},
};
use patchfile::{exit::ManageExit, state::PatchState};

/// Puts the old code back.
pub(crate) fn deactivate(ctx: &mut Context<'_>, args: &Change) -> Result<ManageExit, Error> {
    change(ctx, args, "deactive", false)
}

/// Puts the old code back and forgets the patch.
pub(crate) fn remove(ctx: &mut Context<'_>, args: &Change) -> Result<ManageExit, Error> {
    change(ctx, args, "remove", true)
}

fn change(ctx: &mut Context<'_>, args: &Change, verb: &str, forget: bool) -> Result<ManageExit, Error> {
    if !args.how.dry_run {
        ctx.needs_root(verb, &args.only.pids)?;
    }
    exist(ctx, &args.only.pids)?;
    let mut inventory =
        if args.how.dry_run { Inventory::read(ctx)? } else { Inventory::lock(ctx, &args.only.pids)? };
    let patches = inventory.resolve(ctx, &args.ids)?;
    refuses_pids(ctx, &patches, &args.only.pids)?;
    let patches = inventory.with_older(patches, &args.ids);
    each(ctx, patches, |ctx, known| one(ctx, &mut inventory, verb, &known, args, forget))
}

/// Takes one patch out.
pub(super) fn one(
    ctx: &mut Context<'_>,
    inventory: &mut Inventory,
    verb: &str,
    known: &Known,
    args: &Change,
    forget: bool,
) -> Result<ManageExit, Error> {
    if is_of_kernel(ctx, known) {
        return kernel::deactivate(ctx, inventory, verb, known, args, forget);
    }
    let (id, uuid, pids) = (&known.id, known.uuid, args.only.pids.as_slice());
    // Where processes are named, those that have not got the patch yet matter too.
    let wanted = known.entry.as_ref().filter(|_| !pids.is_empty()).map(|e| targets(&e.manifest));
    let survey = ctx.backend.survey(&wanted.unwrap_or_default(), pids);
    if args.how.dry_run {
        return would(ctx, known, &survey);
    }
    let before = inventory.state.clone();
    let was = before.get(uuid).map_or(PatchState::NotApplied, |r| r.state);
    let waiting = Waiting::find(ctx, inventory, uuid, &survey, pids);
    intend(inventory, known, pids, survey.carriers(uuid).next().is_some(), &waiting.named);
    inventory.save(&ctx.root)?;
    // From here on the service leaves alone what starts; what it has patched is found by the surveys below.
    let mut survey = match crate::manage::tell(&ctx.root) {
        true => ctx.backend.survey(&[], pids),
        false => survey,
    };

    let root = ctx.root.clone();
    let reconciler = Reconciler::of_verb(ctx, &root, verb, args.how.lazy, args.how.timeout);
    // A process that is just starting may be patched by what began before; look again until none is found.
    let mut results = reconciler.deactivate(uuid, &survey, |_| true);
    while pids.is_empty() && !results.interrupted && !results.lines.is_empty() {
        let known: Vec<_> = results.lines.iter().map(|l| l.key).collect();
        survey = ctx.backend.survey(&[], &[]);
        let more = reconciler.deactivate(uuid, &survey, |p| !known.contains(&p));
        if more.lines.is_empty() {
            break;
        }
        results.extend(more);
    }
    if !pids.is_empty() {
        results.extend(not_looked_at(&survey));
        results.extend(waiting.not_ours(inventory));
    }
    name_missed(ctx, id, &results);
    let blind = pids.is_empty().then(|| unknown(&survey)).flatten();
    let nobody = results.all_refused() || (results.interrupted && results.reached() == 0);
    if nobody || (blind.is_some() && results.lines.is_empty()) {
        inventory.state = before;
        inventory.save(&root)?;
        crate::manage::tell(&root);
        return Err(match blind {
            _ if results.interrupted => Error::failed(id, "interrupted; nothing was changed"),
            Some(why) if results.lines.is_empty() => blind_error(id, &why),
            _ => all_refused(id, &results, "no process could be given its old code back"),
        });
    }
    if let Err(error) = reconciler.note(inventory, id, uuid, &results, "old code back") {
        ctx.warn(format_args!("the log cannot be written: {error}"));
    }
    waiting.withdraw(ctx, inventory, verb, known);
    // With --pid, the patch is forgotten when these were the last processes that had it.
    let last = || {
        let deactived = inventory.state.get(uuid).is_none_or(|r| !r.state.is_active());
        pids.is_empty() || (deactived && ctx.backend.survey(&[], &[]).is_free_of(uuid))
    };
    if forget && results.missed().next().is_none() && blind.is_none() && last() {
        inventory.state.forget(uuid);
        inventory.attempts.clear(uuid, None);
        if inventory.writable {
            catalog::unkeep(&root, uuid).map_err(|e| Error::failed(id, e))?;
        }
    }
    inventory.save(&root)?;
    inventory.save_attempts(&root, ctx.backend)?;
    announce(ctx, inventory, verb, known, &results, &waiting, was)?;
    match blind {
        Some(why) => {
            ctx.warn(format_args!("{id}: {why}, so whether they run its code is not known"));
            Ok(ManageExit::Partly)
        }
        None => Ok(results.exit()),
    }
}

/// `--dry-run`.
fn would(ctx: &mut Context<'_>, known: &Known, survey: &Survey) -> Result<ManageExit, Error> {
    let id = &known.id;
    let mut carriers = 0;
    for process in survey.carriers(known.uuid) {
        carriers += 1;
        ctx.say(format_args!("{id}: would take it out of process {} ({})", process.key.pid, process.comm))?;
    }
    let es = if carriers == 1 { "" } else { "es" };
    ctx.say(format_args!("{id}: dry run: {carriers} process{es} would get the old code back"))?;
    match unknown(survey) {
        None => Ok(ManageExit::Done),
        Some(why) if carriers == 0 => Err(blind_error(id, &why)),
        Some(why) => {
            ctx.warn(format_args!("{id}: {why}, so whether they run its code is not known"));
            Ok(ManageExit::Partly)
        }
    }
}

/// Changes the record.
pub(super) fn intend(
    inventory: &mut Inventory,
    known: &Known,
    pids: &[i32],
    carried: bool,
    named: &[ProcessKey],
) {
    let was = inventory.state.get(known.uuid).map_or(PatchState::NotApplied, |r| r.state);
    if was == PatchState::NotApplied && !carried {
        return;
    }
    if pids.is_empty() {
        let record = inventory.state.entry(known.uuid, &known.id);
        record.deactivate();
        record.except.clear();
    } else if was.is_active() {
        let record = inventory.state.entry(known.uuid, &known.id);
        match &mut record.only {
            Some(only) => {
                only.retain(|p| !named.contains(p));
                if only.is_empty() {
                    record.deactivate();
                }
            }
            None => {
                record.except.extend(named);
                record.except.sort_unstable();
                record.except.dedup();
            }
        }
    }
}

fn announce(
    ctx: &mut Context<'_>,
    inventory: &Inventory,
    verb: &str,
    known: &Known,
    results: &Results,
    waiting: &Waiting,
    was: PatchState,
) -> Result<(), Error> {
    let id = &known.id;
    let state = inventory.state.get(known.uuid).map_or(PatchState::NotApplied, |r| r.state);
    if state != was && inventory.writable {
        let event = Event::new(verb, id, known.uuid, state.to_string());
        if let Err(error) = append(&ctx.root, &[event]) {
            ctx.warn(format_args!("the log cannot be written: {error}"));
        }
    }
    let withdrawn = waiting.count();
    if withdrawn > 0 && inventory.writable {
        let es = if withdrawn == 1 { "" } else { "es" };
        ctx.say(format_args!(
            "{id}: {state}: withdrawn from {withdrawn} process{es} that did not have it yet"
        ))?;
        if results.lines.is_empty() {
            return Ok(());
        }
    }
    if results.lines.is_empty() {
        return ctx.say(format_args!("{id}: {state}: no process runs its code"));
    }
    ctx.say(format_args!("{id}: {state}: {}", summary(results, "back on the old code")))
}
