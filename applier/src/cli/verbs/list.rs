//! `list` and `status`.

use crate::{
    cli::{
        args::{List, Show},
        context::Context,
        engine::Survey,
        error::Error,
        report,
        view::{PatchView, ProcessView, Wanted, view},
        world::World,
    },
    daemon::Presence,
};
use patchfile::{exit::ManageExit, state::ProcessState};
use serde_json::{Value, json};

/// Every patch known.
pub(in crate::cli) fn list(ctx: &mut Context<'_>, args: &List) -> Result<ManageExit, Error> {
    super::common::exist(ctx, &args.only.pids)?;
    let world = World::look(ctx)?;
    let listed: Vec<_> =
        world.catalog.entries.iter().cloned().map(crate::catalog::Known::from_entry).collect();
    let mut wanted = Wanted::new(&listed);
    let survey = ctx.engine.survey(&wanted.targets, &args.only.pids);
    let known = world.everything(&ctx.root, &survey);
    // Patches without files come after those with files and have nothing to look for.
    wanted.elfs.resize(known.len(), Vec::new());
    let views = known.into_iter().zip(&wanted.elfs).map(|(k, elfs)| view(&world, k, elfs, &survey));
    let views: Vec<_> = views.collect();
    for problem in &world.catalog.problems {
        ctx.warn(format_args!("{}: not listed: {}", problem.directory.display(), problem.error));
    }
    unseen(ctx, &survey);
    if args.json {
        let patches: Vec<_> = views.iter().map(summary_json).collect();
        report::json(ctx, &json!({ "patches": patches }))?;
        return Ok(ManageExit::Done);
    }
    let mut rows = vec![["ID", "STATE", "PATCHED", "PENDING", "REFUSED", "CVE"].map(str::to_owned)];
    for v in &views {
        let [patched, pending, refused] = v.counts().map(|n| n.to_string());
        let cve = v.known.entry.as_ref().map(|e| e.manifest.cve.join(",")).filter(|c| !c.is_empty());
        let cve = cve.unwrap_or_else(|| if v.known.entry.is_none() { "(files gone)" } else { "-" }.into());
        rows.push([v.known.id.clone(), v.state.to_string(), patched, pending, refused, cve]);
    }
    report::table(ctx, &rows)?;
    Ok(ManageExit::Done)
}

/// How each process stands to patches.
pub(in crate::cli) fn status(ctx: &mut Context<'_>, args: &Show) -> Result<ManageExit, Error> {
    super::common::exist(ctx, &args.only.pids)?;
    let world = World::look(ctx)?;
    let known = world.resolve(ctx, &args.ids)?;
    let wanted = Wanted::new(&known);
    let survey = ctx.engine.survey(&wanted.targets, &args.only.pids);
    let views = known.into_iter().zip(&wanted.elfs).map(|(k, elfs)| view(&world, k, elfs, &survey));
    let views: Vec<_> = views.collect();
    unseen(ctx, &survey);
    let service = Presence::read(&ctx.root);
    if args.json {
        let patches: Vec<_> = views.iter().map(full_json).collect();
        report::json(ctx, &json!({ "patches": patches, "service": service }))?;
        return Ok(ManageExit::Done);
    }
    for v in &views {
        let [patched, pending, refused] = v.counts();
        ctx.say(format_args!(
            "{} ({}): {}: {patched} patched, {pending} pending, {refused} refused",
            v.known.id, v.known.uuid, v.state
        ))?;
        if v.known.entry.is_none() {
            ctx.say("  its files are gone; `upatch remove` takes it out of the processes")?;
        }
        for p in &v.processes {
            let (state, why) = words(p);
            let why = why.map_or(String::new(), |w| format!(": {w}"));
            ctx.say(format_args!("  {:>7}  {:<16}  {state}{why}", p.key.pid, p.comm))?;
        }
    }
    match service {
        Some(service) => ctx.say(format_args!("service: {service}"))?,
        None => ctx.say("service: not running: processes started from now on run the old code")?,
    }
    Ok(ManageExit::Done)
}

fn unseen(ctx: &mut Context<'_>, survey: &Survey) {
    // What is hidden even from root (another machine's sandbox) is no news to root.
    if !survey.unseen.is_empty() && ctx.owner.uid != 0 {
        let n = survey.unseen.len();
        ctx.warn(format_args!(
            "{n} other processes may not be looked into and are not counted; root sees them"
        ));
    }
}

fn words(process: &ProcessView) -> (&'static str, Option<&str>) {
    match &process.state {
        ProcessState::Patched => ("patched", process.note.as_deref()),
        ProcessState::Pending { why } => ("pending", Some(why)),
        ProcessState::Refused { why } => ("refused", Some(why)),
    }
}

fn summary_json(v: &PatchView) -> Value {
    let [patched, pending, refused] = v.counts();
    let manifest = v.known.entry.as_ref().map(|e| &e.manifest);
    json!({
        "id": v.known.id,
        "uuid": v.known.uuid,
        "name": manifest.map_or(v.known.id.rsplit('/').next().unwrap_or_default(), |m| m.name.as_str()),
        "package": manifest.map(|m| m.package.nvr()),
        "version": manifest.map(|m| m.version),
        "release": manifest.map(|m| m.release),
        "state": v.state,
        "cve": manifest.map_or(&[][..], |m| m.cve.as_slice()),
        "directory": v.known.entry.as_ref().map(|e| e.directory.display().to_string()),
        "processes": { "patched": patched, "pending": pending, "refused": refused },
    })
}

fn full_json(v: &PatchView) -> Value {
    let line = |p: &ProcessView| {
        let (state, why) = words(p);
        json!({ "pid": p.key.pid, "comm": p.comm, "state": state, "why": why })
    };
    let mut value = summary_json(v);
    value["counts"] = value["processes"].take();
    value["processes"] = v.processes.iter().map(line).collect();
    value
}
