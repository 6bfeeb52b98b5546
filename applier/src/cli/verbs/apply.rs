//! `apply` and `active`.

use super::common::{all_refused, each, exist, fits, load, name_missed, probe_all, summary};
use super::kernel;
use crate::{
    catalog::{self, Known, Loaded, Origin},
    cli::args::Change,
    manage::kernel::refuses_pids,
    manage::{Context, Ending, Error, Presence, Settler, Survey, Tally, World, covers, targets},
    state::{Event, ProcessKey, append, builds},
};
use patchfile::{exit::ManageExit, state::PatchState};

/// Brings patches into force.
pub(crate) fn apply(ctx: &mut Context<'_>, verb: &str, args: &Change) -> Result<ManageExit, Error> {
    if !args.how.dry_run {
        ctx.needs_root(verb, &args.only.pids)?;
    }
    exist(ctx, &args.only.pids)?;
    let mut world = if args.how.dry_run { World::look(ctx)? } else { World::change(ctx, &args.only.pids)? };
    let patches = world.resolve(ctx, &args.ids)?;
    refuses_pids(ctx, &patches, &args.only.pids)?;
    // All of them are read before the first is applied: a damaged one is noticed while nothing has been
    // changed.
    let patches: Vec<_> =
        patches.into_iter().map(|k| load(ctx, &k).map(|l| (k, l))).collect::<Result<_, _>>()?;
    each(ctx, patches, |ctx, (known, patch)| {
        if args.how.dry_run && patch.manifest.kernel.is_some() {
            kernel::would_apply(ctx, &world, &patch)
        } else if args.how.dry_run {
            would(ctx, &known, &patch, args)
        } else {
            one(ctx, &mut world, verb, &known, &patch, args, PatchState::Actived)
        }
    })
}

/// Brings one patch to `state`, at least.
pub(super) fn one(
    ctx: &mut Context<'_>,
    world: &mut World,
    verb: &str,
    known: &Known,
    patch: &Loaded,
    args: &Change,
    state: PatchState,
) -> Result<ManageExit, Error> {
    if patch.manifest.kernel.is_some() {
        return kernel::apply(ctx, world, verb, known, patch, args, state);
    }
    let (id, uuid, pids) = (&known.id, known.uuid, args.only.pids.as_slice());
    let survey = ctx.backend.survey(&targets(&patch.manifest), pids);
    let misfits = fits(ctx, id, &patch.manifest, &survey, pids)?;
    overlaps(ctx, world, patch);

    // The intention is on disk before the first process is touched: killed from here on, the service
    // completes it.
    let before = world.state.clone();
    let was_active = before.get(uuid).is_some_and(|r| r.state.is_active());
    intend(world, known, builds(&patch.manifest), &survey, pids, state);
    let named = known.entry.as_ref().is_some_and(|e| e.origin == Origin::Named);
    let kept = !catalog::kept_directory(&ctx.root, uuid).exists();
    if named && world.writable {
        catalog::keep(&ctx.root, patch, ctx.owner)
            .map_err(|e| Error::failed(id, format_args!("its files cannot be kept: {e}")))?;
        if let Some(entry) = &known.entry {
            catalog::keep_debug(&ctx.root, entry, ctx.owner);
        }
    }
    world.save(&ctx.root)?;
    // From here on the service patches what starts; what started before is found by the surveys below.
    let survey = match crate::manage::tell(&ctx.root) {
        true => ctx.backend.survey(&targets(&patch.manifest), pids),
        false => survey,
    };

    let root = ctx.root.clone();
    let settler = Settler::of_verb(ctx, &root, verb, args.how.lazy, args.how.timeout);
    let (record, older) = (world.state.get(uuid).cloned(), world.state.older(uuid));
    let covers = |p: ProcessKey| record.as_ref().is_some_and(|r| r.covers(p));
    let mut tally = settler.activate(patch, &older, survey, pids.is_empty(), covers);
    tally.extend(misfits);
    name_missed(ctx, id, &tally);
    let nothing = tally.all_refused() || (tally.interrupted && tally.reached() == 0);
    if nothing && !was_active {
        world.state = before;
        world.save(&root)?;
        crate::manage::tell(&root);
        if named && kept && world.writable {
            catalog::unkeep(&root, uuid).map_err(|e| Error::failed(id, e))?;
        }
        return Err(if tally.interrupted {
            Error::failed(id, "interrupted; nothing was changed")
        } else {
            all_refused(id, &tally, "no process could be patched")
        });
    }
    // What is done is done; a log that cannot be written is only worth a warning.
    if let Err(error) = settler.note(world, id, uuid, &tally, "patched") {
        ctx.warn(format_args!("the log cannot be written: {error}"));
    }
    settler.take_over(world, uuid, pids).map_err(|e| Error::failed(id, e))?;
    world.save(&root)?;
    world.save_attempts(&root, ctx.backend)?;
    announce(ctx, world, verb, known, &tally, was_active, !pids.is_empty())?;
    Ok(tally.exit())
}

/// Changes the record.
pub(super) fn intend(
    world: &mut World,
    known: &Known,
    builds: Vec<String>,
    survey: &Survey,
    pids: &[i32],
    state: PatchState,
) {
    let keys: Vec<_> = survey.processes.iter().filter(|p| !p.targets.is_empty()).map(|p| p.key).collect();
    // A new version of an accepted patch is accepted too, and so is one that was before it was taken out.
    world.state.entry(known.uuid, &known.id).builds = builds;
    let accepted_version = world.state.versions(known.uuid).any(|r| r.state == PatchState::Accepted);
    let covered = !world.state.newer(known.uuid).is_empty();
    let record = world.state.entry(known.uuid, &known.id);
    let accepted = pids.is_empty() && (accepted_version || record.accepted);
    let state = if accepted { PatchState::Accepted } else { state };
    // Where it is in force already it stays below what was applied since.
    let newest = !record.state.is_active() || covered;
    if pids.is_empty() {
        record.only = None;
        record.except.clear();
    } else if record.state.is_active() {
        record.except.retain(|p| !keys.contains(p));
        if let Some(only) = &mut record.only {
            only.extend(keys);
            only.sort_unstable();
            only.dedup();
        }
    } else {
        record.except.clear();
        record.only = Some(keys);
    }
    record.state = record.state.max(state);
    if newest {
        world.state.make_newest(known.uuid);
    }
}

fn announce(
    ctx: &mut Context<'_>,
    world: &World,
    verb: &str,
    known: &Known,
    tally: &Tally,
    was_active: bool,
    only_these: bool,
) -> Result<(), Error> {
    let id = &known.id;
    let state = world.state.get(known.uuid).map_or(PatchState::NotApplied, |r| r.state);
    if !was_active && world.writable {
        let event = Event::new(verb, id, known.uuid, state.to_string());
        if let Err(error) = append(&ctx.root, &[event]) {
            ctx.warn(format_args!("the log cannot be written: {error}"));
        }
    }
    let alive = tally.count(|e| *e != Ending::Gone);
    let served = Presence::read(&ctx.root).is_some();
    match alive {
        0 if served => {
            ctx.say(format_args!("{id}: {state}: 0 processes run it now; those started later get the patch"))?
        }
        0 => ctx.say(format_args!("{id}: {state}: 0 processes run it now"))?,
        _ => ctx.say(format_args!("{id}: {state}: {}", summary(tally, "patched")))?,
    }
    // What does not last is said where somebody may still do something about it.
    if only_these {
        return Ok(());
    }
    if state == PatchState::Actived {
        ctx.say(format_args!("  until the next boot: `upatch accept {id}` makes it last"))?;
    }
    if !served {
        ctx.say(
            "  the service is not running: new processes run the old code: systemctl enable --now upatch",
        )?;
    }
    Ok(())
}

/// Another active patch that replaces the same function is covered by this one: allowed, but to be known.
fn overlaps(ctx: &mut Context<'_>, world: &World, patch: &Loaded) {
    for (id, elf, functions) in covers(world, patch, ctx.owner) {
        let functions = functions.join(", ");
        ctx.warn(format_args!(
            "{id} is active and replaces {functions} of {elf} too: the patch applied last is in force"
        ));
    }
}

/// `--dry-run`.
fn would(ctx: &mut Context<'_>, known: &Known, patch: &Loaded, args: &Change) -> Result<ManageExit, Error> {
    let (id, pids) = (&known.id, args.only.pids.as_slice());
    let survey = ctx.backend.survey(&targets(&patch.manifest), pids);
    let misfits = fits(ctx, id, &patch.manifest, &survey, pids)?;
    let processes = survey.processes.iter().filter(|p| !p.targets.is_empty());
    let mut tally = probe_all(ctx, patch, processes, args.how.lazy);
    tally.extend(misfits);
    name_missed(ctx, id, &tally);
    for line in &tally.lines {
        match line.ending {
            Ending::Done => {
                ctx.say(format_args!("{id}: would patch process {} ({})", line.key.pid, line.comm))?
            }
            Ending::Already => {
                ctx.say(format_args!("{id}: process {} ({}) is patched already", line.key.pid, line.comm))?;
            }
            _ => {}
        }
    }
    ctx.say(format_args!("{id}: dry run: {}", summary(&tally, "can be patched")))?;
    Ok(tally.exit())
}
