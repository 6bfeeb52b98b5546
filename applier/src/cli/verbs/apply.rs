//! `apply` and `active`.

use super::common::{all_refused, each, exist, fits, load, name_missed, probe_all, summary, would_be};
use super::kernel;
use crate::{
    catalog::{self, Entry, Known, LoadedEntry, Origin},
    cli::args::Change,
    manage::kernel::refuses_pids,
    manage::{
        Context, Error, Inventory, ProcessOutcome, Reconciler, Results, ServiceStatus, Survey, covers,
        targets,
    },
    state::{Event, ProcessKey, append, builds},
};
use patchfile::{exit::ManageExit, state::PatchState};

/// Brings patches into force.
pub(crate) fn apply(
    ctx: &mut Context<'_>,
    verb: &str,
    args: &Change,
    replace: bool,
) -> Result<ManageExit, Error> {
    if !args.how.dry_run {
        ctx.needs_root(verb, &args.only.pids)?;
    }
    exist(ctx, &args.only.pids)?;
    let mut inventory =
        if args.how.dry_run { Inventory::read(ctx)? } else { Inventory::lock(ctx, &args.only.pids)? };
    let patches = inventory.resolve(ctx, &args.ids)?;
    if let Some(packed) = patches.iter().find(|k| k.entry.as_ref().is_some_and(Entry::is_packed)) {
        let file = packed.entry.as_ref().map(|e| e.directory.display().to_string()).unwrap_or_default();
        return Err(Error::failed(
            &file,
            "is a package; rpm checks who made it, and installing it applies it",
        )
        .hint(format!("rpm -i {file}")));
    }
    refuses_pids(ctx, &patches, &args.only.pids)?;
    // All of them are read before the first is applied: a damaged one is noticed while nothing has been
    // changed.
    let patches: Vec<_> =
        patches.into_iter().map(|k| load(ctx, &k).map(|l| (k, l))).collect::<Result<_, _>>()?;
    each(ctx, patches, |ctx, (known, patch)| {
        if args.how.dry_run && patch.manifest.kernel.is_some() {
            kernel::would_apply(ctx, &inventory, &patch)
        } else if args.how.dry_run {
            would(ctx, &known, &patch, args)
        } else {
            let done = one(ctx, &mut inventory, verb, &known, &patch, args, PatchState::Actived)?;
            if replace { super::replace::others(ctx, &mut inventory, &patch, args, done) } else { Ok(done) }
        }
    })
}

/// Brings one patch to `state`, at least.
pub(super) fn one(
    ctx: &mut Context<'_>,
    inventory: &mut Inventory,
    verb: &str,
    known: &Known,
    patch: &LoadedEntry,
    args: &Change,
    state: PatchState,
) -> Result<ManageExit, Error> {
    if patch.manifest.kernel.is_some() {
        return kernel::apply(ctx, inventory, verb, known, patch, args, state);
    }
    let (id, uuid, pids) = (&known.id, known.uuid, args.only.pids.as_slice());
    let survey = ctx.backend.survey(&targets(&patch.manifest), pids);
    let misfits = fits(ctx, id, &patch.manifest, &survey, pids)?;
    overlaps(ctx, inventory, patch);

    // The intention is on disk before the first process is touched: killed from here on, the service
    // completes it.
    let before = inventory.state.clone();
    let was_active = before.get(uuid).is_some_and(|r| r.state.is_active());
    intend(inventory, known, builds(&patch.manifest), &survey, pids, state);
    let named = known.entry.as_ref().is_some_and(|e| e.origin == Origin::Named);
    let kept = !catalog::kept_directory(&ctx.root, uuid).exists();
    if named && inventory.writable {
        catalog::keep(&ctx.root, patch, ctx.owner)
            .map_err(|e| Error::failed(id, format_args!("its files cannot be kept: {e}")))?;
        if let Some(entry) = &known.entry {
            catalog::keep_debug(&ctx.root, entry, ctx.owner);
        }
    }
    inventory.save(&ctx.root)?;
    // From here on the service patches what starts; what started before is found by the surveys below.
    let survey = match crate::manage::tell(&ctx.root) {
        true => ctx.backend.survey(&targets(&patch.manifest), pids),
        false => survey,
    };

    let root = ctx.root.clone();
    let reconciler = Reconciler::of_verb(ctx, &root, verb, args.how.lazy, args.how.timeout);
    let (record, older) = (inventory.state.get(uuid).cloned(), inventory.state.older(uuid));
    let covers = |p: ProcessKey| record.as_ref().is_some_and(|r| r.covers(p));
    let mut results = reconciler.activate(patch, &older, survey, pids.is_empty(), covers);
    results.extend(misfits);
    name_missed(ctx, id, &results);
    let nothing = results.all_refused() || (results.interrupted && results.reached() == 0);
    if nothing && !was_active {
        inventory.state = before;
        inventory.save(&root)?;
        crate::manage::tell(&root);
        if named && kept && inventory.writable {
            catalog::unkeep(&root, uuid).map_err(|e| Error::failed(id, e))?;
        }
        return Err(if results.interrupted {
            Error::failed(id, "interrupted; nothing was changed")
        } else {
            all_refused(id, &results, "no process could be patched")
        });
    }
    // What is done is done; a log that cannot be written is only worth a warning.
    if let Err(error) = reconciler.note(inventory, id, uuid, &results, "patched") {
        ctx.warn(format_args!("the log cannot be written: {error}"));
    }
    reconciler.take_over(inventory, uuid, pids).map_err(|e| Error::failed(id, e))?;
    inventory.save(&root)?;
    inventory.save_attempts(&root, ctx.backend)?;
    announce(ctx, inventory, verb, known, &results, was_active, !pids.is_empty())?;
    Ok(results.exit())
}

/// Changes the record.
pub(super) fn intend(
    inventory: &mut Inventory,
    known: &Known,
    builds: Vec<String>,
    survey: &Survey,
    pids: &[i32],
    state: PatchState,
) {
    let keys: Vec<_> = survey.processes.iter().filter(|p| !p.targets.is_empty()).map(|p| p.key).collect();
    // A new version of an accepted patch is accepted too, and so is one that was before it was taken out.
    inventory.state.entry(known.uuid, &known.id).builds = builds;
    let accepted_version = inventory.state.versions(known.uuid).any(|r| r.state == PatchState::Accepted);
    let covered = !inventory.state.newer(known.uuid).is_empty();
    let record = inventory.state.entry(known.uuid, &known.id);
    let accepted = pids.is_empty() && (accepted_version || record.accepted);
    let state = if accepted { PatchState::Accepted } else { state };
    // In a process that has the patch already, it stays below the patches that were applied since.
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
        inventory.state.make_newest(known.uuid);
    }
}

fn announce(
    ctx: &mut Context<'_>,
    inventory: &Inventory,
    verb: &str,
    known: &Known,
    results: &Results,
    was_active: bool,
    only_these: bool,
) -> Result<(), Error> {
    let id = &known.id;
    let state = inventory.state.get(known.uuid).map_or(PatchState::NotApplied, |r| r.state);
    if !was_active && inventory.writable {
        let event = Event::new(verb, id, known.uuid, state.to_string());
        if let Err(error) = append(&ctx.root, &[event]) {
            ctx.warn(format_args!("the log cannot be written: {error}"));
        }
    }
    let alive = results.count(|e| *e != ProcessOutcome::Gone);
    let served = ServiceStatus::read(&ctx.root).is_some();
    match alive {
        0 if served => {
            ctx.say(format_args!("{id}: {state}: 0 processes run it now; those started later get the patch"))?
        }
        0 => ctx.say(format_args!("{id}: {state}: 0 processes run it now"))?,
        _ => ctx.say(format_args!("{id}: {state}: {}", summary(results, "patched")))?,
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
fn overlaps(ctx: &mut Context<'_>, inventory: &Inventory, patch: &LoadedEntry) {
    for (id, elf, functions) in covers(inventory, patch, ctx.owner) {
        let functions = functions.join(", ");
        ctx.warn(format_args!(
            "{id} is active and replaces {functions} of {elf} too: the patch applied last is in force"
        ));
    }
}

/// `--dry-run`.
fn would(
    ctx: &mut Context<'_>,
    known: &Known,
    patch: &LoadedEntry,
    args: &Change,
) -> Result<ManageExit, Error> {
    let (id, pids) = (&known.id, args.only.pids.as_slice());
    let survey = ctx.backend.survey(&targets(&patch.manifest), pids);
    let misfits = fits(ctx, id, &patch.manifest, &survey, pids)?;
    let processes = survey.processes.iter().filter(|p| !p.targets.is_empty());
    let mut results = probe_all(ctx, patch, processes, args.how.lazy);
    results.extend(misfits);
    name_missed(ctx, id, &results);
    for line in &results.lines {
        match line.outcome {
            ProcessOutcome::Done => {
                ctx.say(format_args!("{id}: would patch process {} ({})", line.key.pid, line.comm))?
            }
            ProcessOutcome::Already => {
                ctx.say(format_args!("{id}: process {} ({}) is patched already", line.key.pid, line.comm))?;
            }
            _ => {}
        }
    }
    ctx.say(format_args!("{id}: dry run: {}", would_be(&results, "would be patched", "is so already")))?;
    Ok(results.exit())
}
