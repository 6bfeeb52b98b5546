//! `needs-restart`.

use super::unseen;
use crate::{
    cli::{args::Json, report},
    manage::{Context, Error, Inventory, Survey, SystemdUnit, view_all},
};
use patchfile::{Manifest, exit::ManageExit, state::ProcessState};
use serde_json::json;
use std::collections::BTreeMap;

/// A process that runs old code.
#[derive(Debug, Default)]
struct Stale {
    comm: String,
    /// Why, in words.
    why: Vec<String>,
    /// Patches that it may still get.
    waits_for: Vec<String>,
}

/// Names the processes that run old code which no patch covers, by what starts them anew.
pub(crate) fn needs_restart(ctx: &mut Context<'_>, args: &Json) -> Result<ManageExit, Error> {
    let inventory = Inventory::read(ctx)?;
    let (survey, views) = view_all(ctx, &inventory, &[]);
    unseen::warn(ctx, &survey);
    let mut stale: BTreeMap<i32, Stale> = BTreeMap::new();
    for patch in views {
        let id = patch.known.id;
        for process in patch.processes {
            let (why, waits) = match &process.state {
                ProcessState::Patched => continue,
                ProcessState::Pending { why } => (format!("{id} is pending: {why}"), true),
                ProcessState::Refused { why } => (format!("{id} is refused: {why}"), false),
            };
            let entry = stale.entry(process.key.pid).or_default();
            entry.comm = process.comm;
            entry.why.push(why);
            entry.waits_for.extend(waits.then(|| id.clone()));
        }
    }
    let manifests: Vec<_> = inventory.catalog.entries.iter().map(|e| &e.manifest).collect();
    for (pid, comm, files) in ctx.backend.replaced_files() {
        for file in files.into_iter().filter(|file| !is_patched(pid, file, &manifests, &survey)) {
            let entry = stale.entry(pid).or_default();
            entry.comm.clone_from(&comm);
            entry.why.push(format!("runs {file}, which was replaced or removed since it started"));
        }
    }
    show(ctx, &stale, args.json)
}

/// Is a patch in force in this file of the process? Then the file's age is no reason to start it anew.
fn is_patched(pid: i32, file: &str, manifests: &[&Manifest], survey: &Survey) -> bool {
    let process = survey.processes.iter().find(|p| p.key.pid == pid);
    process.is_some_and(|process| {
        manifests.iter().any(|manifest| {
            let in_force = process.in_force(manifest.uuid);
            let elfs = manifest.elfs.iter().zip(0u32..);
            elfs.filter(|(_, at)| in_force.contains(at)).any(|(elf, _)| elf.paths().any(|path| path == file))
        })
    })
}

fn show(ctx: &mut Context<'_>, stale: &BTreeMap<i32, Stale>, as_json: bool) -> Result<ManageExit, Error> {
    let mut by_remedy: BTreeMap<String, Vec<(i32, &Stale)>> = BTreeMap::new();
    let mut printed = Vec::new();
    for (&pid, process) in stale {
        let unit = SystemdUnit::of(pid);
        let remedy = unit.remedy(pid);
        let waits = &process.waits_for;
        // Where every reason is a patch that is only pending, less than a restart may do.
        let first = (waits.len() == process.why.len())
            .then(|| format!("upatch apply --timeout 60 {}", waits.join(" ")));
        if as_json {
            printed.push(json!({
                "pid": pid, "comm": process.comm, "unit": unit.name(), "why": process.why,
                "remedies": first.iter().chain([&remedy]).collect::<Vec<_>>(),
            }));
        }
        let remedy = first.map_or(remedy.clone(), |first| format!("{first}; else: {remedy}"));
        by_remedy.entry(remedy).or_default().push((pid, process));
    }
    if as_json {
        report::json(ctx, &json!({ "processes": printed }))?;
    } else if stale.is_empty() {
        ctx.say("no process runs old code that is known")?;
    }
    for (remedy, processes) in by_remedy.iter().filter(|_| !as_json) {
        ctx.say(remedy)?;
        for (pid, process) in processes {
            for (at, why) in process.why.iter().enumerate() {
                let name = if at == 0 { format!("{pid:>7}  {:<16}", process.comm) } else { " ".repeat(25) };
                ctx.say(format_args!("  {name}  {why}"))?;
            }
        }
    }
    Ok(if stale.is_empty() { ManageExit::Done } else { ManageExit::Partly })
}
