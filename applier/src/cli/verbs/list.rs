//! `list` and `status`.

use super::unseen;
use crate::{
    catalog::Known,
    cli::{
        args::{Apply, List, Status},
        report::{self, Tone},
    },
    kernel::LivePatch,
    manage::{
        Context, Error, Inventory, LEFT_ALONE, Overlap, PatchView, ProcessView, ServiceStatus, TargetIndex,
        kernel, overlaps, view, view_all,
    },
};
use patchfile::{
    Uuid,
    exit::ManageExit,
    state::{PatchState, ProcessState},
};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Every patch known.
pub(crate) fn list(ctx: &mut Context<'_>, args: &List) -> Result<ManageExit, Error> {
    super::common::exist(ctx, &args.only.pids)?;
    let inventory = Inventory::read(ctx)?;
    let (survey, mut views) = view_all(ctx, &inventory, &args.only.pids);
    views.retain(|v| is_asked_for(v, args));
    for problem in &inventory.catalog.problems {
        ctx.warn(format_args!("{}: not listed: {}", problem.directory.display(), problem.error));
    }
    unseen::warn(ctx, &survey);
    let overlaps = overlaps(&inventory, &survey, ctx.owner);
    let all = args.cve.is_none() && args.package.is_none() && args.state.is_none() && !args.pending;
    let foreign = if all { kernel::foreign(&ctx.backend.kernel()) } else { Vec::new() };
    if args.json {
        let patches: Vec<_> = views.iter().map(|v| summary_json(v, &overlaps)).collect();
        let foreign: Vec<_> = foreign.iter().map(foreign_json).collect();
        report::json(ctx, &json!({ "patches": patches, "foreign": foreign }))?;
        return Ok(ManageExit::Done);
    }
    // The last column is only there where there is something to say.
    let last = if overlaps.is_empty() { "" } else { "OVERLAPS" };
    let heading = ["ID", "STATE", "PATCHED", "PENDING", "REFUSED", "CVE", "VERSION", last];
    let mut rows = vec![heading.map(str::to_owned)];
    for v in &views {
        let [patched, pending, refused] = v.counts().map(|n| n.to_string());
        let cve = v.known.entry.as_ref().map(|e| e.manifest.cve.join(",")).filter(|c| !c.is_empty());
        let cve = cve.unwrap_or_else(|| {
            match (&v.known.entry, &v.known.broken) {
                (None, None) => "(files gone)",
                (None, Some(_)) => "(files unusable)",
                _ => "-",
            }
            .into()
        });
        let manifest = v.known.entry.as_ref().map(|e| &e.manifest);
        let version = manifest.map_or("-".into(), |m| format!("{}-{}", m.version, m.release));
        let overlaps = in_short(&overlaps, v.known.uuid);
        rows.push([
            v.known.id.clone(),
            v.state.to_string(),
            patched,
            pending,
            refused,
            cve,
            version,
            overlaps,
        ]);
    }
    // Live patches that other programs have put into the kernel; they are left alone.
    for live in &foreign {
        let patched = live.objects.iter().filter(|o| o.patched).count().to_string();
        let row = [&live.module, "FOREIGN", &patched, "0", "0", "-", "-", ""];
        rows.push(row.map(str::to_owned));
    }
    let tone = |column: usize, cell: &str| match (column, cell) {
        (1, "ACTIVED" | "ACCEPTED") => Tone::Good,
        (1, "DEACTIVED") => Tone::Busy,
        (3, count) if count != "0" => Tone::Busy,
        (4, count) if count != "0" => Tone::Bad,
        (5, cell) if cell.starts_with("(files") => Tone::Bad,
        _ => Tone::Plain,
    };
    report::table(ctx, &rows, &[7, 5, 0], tone)?;
    namesakes(ctx, &views);
    Ok(ManageExit::Done)
}

/// Do the options of `list` name this patch?
fn is_asked_for(v: &PatchView, args: &List) -> bool {
    let manifest = v.known.entry.as_ref().map(|e| &e.manifest);
    let is = |a: &str, b: &str| a.eq_ignore_ascii_case(b);
    let [_, pending, refused] = v.counts();
    args.cve.as_ref().is_none_or(|id| manifest.is_some_and(|m| m.cve.iter().any(|c| is(c, id))))
        && args.package.as_ref().is_none_or(|name| {
            manifest.is_some_and(|m| is(&m.package.name, name) || is(&m.package.nvr(), name))
                || v.known.id.split_once('/').is_some_and(|(package, _)| is(package, name))
        })
        && args.state.is_none_or(|state| v.state == state)
        && (!args.pending || pending + refused > 0)
}

/// Is something not as it should be?
fn is_troubled(v: &PatchView) -> bool {
    let [_, pending, refused] = v.counts();
    // That is as somebody wants it.
    let left_alone = |p: &&ProcessView| match &p.state {
        ProcessState::Refused { why } => why.starts_with(LEFT_ALONE),
        _ => false,
    };
    let refused = refused - v.processes.iter().filter(left_alone).count();
    let unwanted = !v.state.is_active() && !v.processes.is_empty();
    let gone = v.known.entry.is_none() && v.state != PatchState::NotApplied;
    pending + refused > 0 || unwanted || gone || v.note.as_ref().is_some_and(|_| !v.is_elsewhere)
}

/// How each process stands to patches.
pub(crate) fn status(ctx: &mut Context<'_>, args: &Status) -> Result<ManageExit, Error> {
    super::common::exist(ctx, &args.only.pids)?;
    let inventory = Inventory::read(ctx)?;
    if args.ids.is_empty() {
        return troubled(ctx, &inventory, args);
    }
    let known = inventory.resolve(ctx, &args.ids)?;
    let wanted = TargetIndex::new(&known);
    let survey = ctx.backend.survey(&wanted.targets, &args.only.pids);
    let views = known.into_iter().zip(&wanted.elfs).map(|(k, elfs)| view(ctx, &inventory, k, elfs, &survey));
    let views: Vec<_> = views.collect();
    unseen::warn(ctx, &survey);
    let overlaps = overlaps(&inventory, &survey, ctx.owner);
    show(ctx, &views, &overlaps, args.json)?;
    Ok(ManageExit::Done)
}

/// `status` without ID: what is not as it should be.
fn troubled(ctx: &mut Context<'_>, inventory: &Inventory, args: &Status) -> Result<ManageExit, Error> {
    let (survey, views) = view_all(ctx, inventory, &args.only.pids);
    let (bad, good): (Vec<_>, Vec<_>) = views.into_iter().partition(is_troubled);
    unseen::warn(ctx, &survey);
    let active = bad.iter().chain(&good).any(|v| v.state.is_active());
    let unserved = active && ServiceStatus::read(&ctx.root).is_none();
    let exit = if bad.is_empty() && !unserved { ManageExit::Done } else { ManageExit::Partly };
    if args.json || exit == ManageExit::Partly {
        show(ctx, &bad, &overlaps(inventory, &survey, ctx.owner), args.json)?;
    } else {
        let patched = |p: &&ProcessView| p.state == ProcessState::Patched;
        let processes: BTreeSet<_> =
            good.iter().flat_map(|v| v.processes.iter().filter(patched).map(|p| p.key)).collect();
        let (patches, processes) = (good.len(), processes.len());
        ctx.say(format_args!(
            "all is as it should be: {patches} patch{} known, {processes} process{} patched",
            if patches == 1 { "" } else { "es" },
            if processes == 1 { "" } else { "es" }
        ))?;
    }
    Ok(exit)
}

/// `apply --json`: how the patches stand when it is done.
pub(crate) fn apply_json(ctx: &mut Context<'_>, args: &Apply) -> Result<ManageExit, Error> {
    let (mut nowhere, settings) = (std::io::sink(), ctx.settings.clone());
    let mut quiet = Context {
        root: ctx.root.clone(),
        backend: ctx.backend,
        stop: ctx.stop,
        owner: ctx.owner,
        boot: ctx.boot.clone(),
        settings,
        terminal: ctx.terminal,
        out: &mut nowhere,
        err: &mut *ctx.err,
    };
    let done = super::apply(&mut quiet, "apply", &args.change, args.replace);
    let exit = match done {
        Ok(exit) => exit,
        Err(error) => {
            // There is nowhere to report that standard error is gone.
            writeln!(ctx.err, "{error}").ok();
            error.exit
        }
    };
    let inventory = Inventory::read(ctx)?;
    // What is not known was told above.
    let known = inventory.resolve(ctx, &args.change.ids).unwrap_or_default();
    let wanted = TargetIndex::new(&known);
    let survey = ctx.backend.survey(&wanted.targets, &args.change.only.pids);
    let views = known.into_iter().zip(&wanted.elfs);
    let views: Vec<_> = views.map(|(k, elfs)| view(ctx, &inventory, k, elfs, &survey)).collect();
    let overlaps = overlaps(&inventory, &survey, ctx.owner);
    let patches: Vec<_> = views.iter().map(|v| full_json(v, &overlaps)).collect();
    report::json(ctx, &json!({ "patches": patches, "exit": exit as u8 }))?;
    Ok(exit)
}

fn show(
    ctx: &mut Context<'_>,
    views: &[PatchView],
    overlaps: &[Overlap],
    as_json: bool,
) -> Result<(), Error> {
    let service = ServiceStatus::read(&ctx.root);
    if as_json {
        let patches: Vec<_> = views.iter().map(|v| full_json(v, overlaps)).collect();
        return report::json(ctx, &json!({ "patches": patches, "service": service }));
    }
    for v in views {
        let [patched, pending, refused] = v.counts();
        let (id, uuid, state) = (&v.known.id, v.known.uuid, v.state);
        match &v.objects {
            Some(objects) => {
                ctx.say(format_args!("{id} ({uuid}): {state}"))?;
                for (name, _, words) in objects {
                    ctx.say(format_args!("  {name:<24}  {words}"))?;
                }
            }
            None => ctx.say(format_args!(
                "{id} ({uuid}): {state}: {patched} patched, {pending} pending, {refused} refused"
            ))?,
        }
        if let Some(note) = &v.note {
            ctx.say(format_args!("  {note}"))?;
        }
        if v.known.entry.is_none() {
            ctx.say(format_args!("  {}; `upatch remove` takes it out of the processes", v.known.absence()))?;
        }
        for words in overlaps.iter().filter_map(|o| o.words(v.known.uuid)) {
            ctx.say(format_args!("  {words}"))?;
        }
        for p in &v.processes {
            let (state, why) = words(p);
            let why = why.map_or(String::new(), |w| format!(": {w}"));
            ctx.say(format_args!("  {:>7}  {:<16}  {state}{why}", p.key.pid, p.comm))?;
        }
    }
    match service {
        Some(service) => ctx.say(format_args!("service: {service}"))?,
        // A patch of the kernel is in force for all processes; only the next boot needs the service.
        None if !views.is_empty() && views.iter().all(|v| v.objects.is_some()) => {
            ctx.say("service: not running: accepted patches come back at boot where it is enabled")?;
        }
        None => ctx.say("service: not running: processes started from now on run the old code")?,
    }
    Ok(())
}

fn words(process: &ProcessView) -> (&'static str, Option<&str>) {
    match &process.state {
        ProcessState::Patched => ("patched", process.note.as_deref()),
        ProcessState::Pending { why } => ("pending", Some(why)),
        ProcessState::Refused { why } => ("refused", Some(why)),
    }
}

/// `over <id> (f)` or `under <id> (f)` for what `uuid` has in common with other patches; the one that is over
/// is in force.
fn in_short(overlaps: &[Overlap], uuid: Uuid) -> String {
    let word = |o: &Overlap| {
        let (covered, (_, id)) = o.of(uuid)?;
        let place = if covered { "under" } else { "over" };
        Some(format!("{place} {id} ({})", o.functions.join(", ")))
    };
    overlaps.iter().filter_map(word).collect::<Vec<_>>().join("; ")
}

/// Patches that share a name are told apart by their uuids.
fn namesakes(ctx: &mut Context<'_>, views: &[PatchView]) {
    for (at, v) in views.iter().enumerate() {
        let id = &v.known.id;
        let same: Vec<_> = views.iter().filter(|o| o.known.id == *id).collect();
        if same.len() < 2 || views[..at].iter().any(|o| o.known.id == *id) {
            continue;
        }
        let file = |k: &Known| k.entry.as_ref().and_then(|e| Some(e.manifest.elfs.first()?.path.clone()));
        let describe = |o: &&PatchView| {
            let file = file(&o.known).map_or(o.known.absence(), |f| format!("for {f}"));
            format!("{} ({file}, {})", o.known.uuid, o.state)
        };
        let all: Vec<_> = same.iter().map(describe).collect();
        ctx.warn(format_args!("{id} is the name of several patches: {}", all.join("; ")));
    }
}

fn summary_json(v: &PatchView, overlaps: &[Overlap]) -> Value {
    let [patched, pending, refused] = v.counts();
    let manifest = v.known.entry.as_ref().map(|e| &e.manifest);
    let object = |(name, patched, words): &(String, bool, &str)| {
        let (name, state) = (name.as_str(), *words);
        json!({ "name": name, "patched": patched, "state": state })
    };
    json!({
        "id": v.known.id,
        "type": if v.objects.is_some() { "kernel" } else { "user" },
        "objects": v.objects.as_ref().map(|o| o.iter().map(object).collect::<Vec<_>>()),
        "note": v.note,
        "uuid": v.known.uuid,
        "name": manifest.map_or(v.known.id.rsplit('/').next().unwrap_or_default(), |m| m.name.as_str()),
        "package": manifest.map(|m| m.package.nvr()),
        "version": manifest.map(|m| m.version),
        "release": manifest.map(|m| m.release),
        "state": v.state,
        "cve": manifest.map_or(&[][..], |m| m.cve.as_slice()),
        "directory": v.known.entry.as_ref().map(|e| e.directory.display().to_string()),
        "processes": { "patched": patched, "pending": pending, "refused": refused },
        "overlaps": overlaps.iter().filter_map(|o| overlap_json(o, v.known.uuid)).collect::<Vec<_>>(),
    })
}

fn foreign_json(live: &LivePatch) -> Value {
    let objects: Vec<_> = live.objects.iter().map(|o| &o.name).collect();
    json!({
        "module": live.module, "enabled": live.enabled, "transition": live.moving, "objects": objects,
    })
}

fn overlap_json(overlap: &Overlap, uuid: Uuid) -> Option<Value> {
    let (covered, (other, id)) = overlap.of(uuid)?;
    Some(json!({
        "id": id, "uuid": other, "elf": overlap.elf, "functions": overlap.functions, "covered": covered,
    }))
}

fn full_json(v: &PatchView, overlaps: &[Overlap]) -> Value {
    let line = |p: &ProcessView| {
        let (state, why) = words(p);
        json!({ "pid": p.key.pid, "comm": p.comm, "state": state, "why": why })
    };
    let mut value = summary_json(v, overlaps);
    value["counts"] = value["processes"].take();
    value["processes"] = v.processes.iter().map(line).collect();
    value
}
