//! What several verbs do.

use crate::{
    CheckReport, ProcessError,
    catalog::{Known, LoadedEntry, disk_elf},
    manage::{
        self, Context, Error, ProcessOutcome, ProcessResult, Results, Survey, SurveyedProcess, TargetIndex,
        exit_of,
    },
};
use patchfile::{Arch, Manifest, exit::ManageExit};
use std::{path::Path, time::Duration};

/// Reads the images of `known`.
pub(super) fn load(ctx: &Context<'_>, known: &Known) -> Result<LoadedEntry, Error> {
    let Some(entry) = &known.entry else {
        return Err(Error::absent(
            known,
            "install its package again; `upatch remove` takes it out of the processes without the files",
        ));
    };
    let manifest = &entry.manifest;
    if Arch::native() != Some(manifest.arch) {
        let why = format!("is for {}, this machine is {}", manifest.arch, std::env::consts::ARCH);
        return Err(Error::new(ManageExit::DoesNotFit, &known.id, why));
    }
    entry.load(ctx.owner).map_err(|e| Error::entry(&known.id, &e))
}

/// The processes named with `--pid` must exist.
pub(super) fn exist(ctx: &Context<'_>, pids: &[i32]) -> Result<(), Error> {
    match pids.iter().find(|p| !ctx.backend.exists(**p)) {
        Some(pid) => Err(Error::failed(format!("process {pid}"), "there is no such process")),
        None => Ok(()),
    }
}

/// Does the patch fit this machine, or the processes named? Gives a line for each process named that it does
/// not fit.
///
/// A patch fits when a process runs its target, or when the file on disk is its target, or when neither is
/// there.
pub(super) fn fits(
    ctx: &Context<'_>,
    id: &str,
    manifest: &Manifest,
    survey: &Survey,
    pids: &[i32],
) -> Result<Results, Error> {
    let candidates = || survey.processes.iter().filter(|p| !p.targets.is_empty());
    if !pids.is_empty() {
        let mut results = Results::default();
        for &pid in pids {
            if candidates().any(|p| p.key.pid == pid) {
                continue;
            }
            let (why, exit) = if survey.unseen.contains(&pid) {
                ("not permitted to look into it", ManageExit::NotPermitted)
            } else {
                ("maps no ELF file of the build that the patch is for", ManageExit::DoesNotFit)
            };
            let key = crate::state::ProcessKey { pid, start: 0 };
            results.lines.push(ProcessResult {
                key,
                comm: comm(survey, pid),
                outcome: ProcessOutcome::Refused(why.into(), exit),
            });
        }
        if results.all_refused() && candidates().next().is_none() {
            let why = results.missed().map(|l| format!("process {}: {}", l.key.pid, reason(&l.outcome)));
            let why = why.collect::<Vec<_>>().join("; ");
            return Err(wanted_builds(Error::new(results.exit(), id, why), manifest));
        }
        return Ok(results);
    }
    if candidates().next().is_some() {
        return Ok(Results::default());
    }
    let mut misfits = Vec::new();
    for elf in &manifest.elfs {
        // Of a source tree the path is only information.
        let path = Path::new(&elf.path);
        let disk = path.strip_prefix("/").ok().map(|below| ctx.root.join(below));
        match disk.as_ref().map(|p| (p, disk_elf(p))) {
            Some((_, Ok(Some(found)))) if found.is(elf) => return Ok(Results::default()),
            Some((path, Ok(found))) => {
                let build = found.and_then(|f| f.build_id).map_or("none".into(), |b| b.to_string());
                misfits.push(format!("{} has build-id {build}", path.display()));
            }
            // Not installed, or not readable: nothing is known against the patch.
            _ => {}
        }
        let namesakes = ctx.backend.namesakes(&elf.name).into_iter();
        for (pid, path) in namesakes.filter(|(pid, _)| is_another(ctx, manifest, *pid)) {
            misfits.push(format!("process {pid} runs another build ({path})"));
        }
    }
    if misfits.is_empty() {
        return Ok(Results::default());
    }
    Err(wanted_builds(Error::new(ManageExit::DoesNotFit, id, misfits.join("; ")), manifest))
}

/// Does a process that has a file of the right name still run, and none of the wanted builds? It may have
/// started, or ended, since the processes were looked at.
fn is_another(ctx: &Context<'_>, manifest: &Manifest, pid: i32) -> bool {
    let wanted = TargetIndex::of_manifests([manifest]);
    let is = || {
        let now = ctx.backend.survey(&wanted.targets, &[pid]);
        now.processes.iter().all(|p| p.targets.is_empty()) && ctx.backend.exists(pid)
    };
    // In the middle of `execve` it cannot be told yet.
    is() && (0..LOOKS).all(|_| !ctx.stop.wait(LOOK_AGAIN) && is())
}

/// How often, and after which pause, a process is looked at again that seems to run another build.
const LOOKS: usize = 4;
const LOOK_AGAIN: Duration = Duration::from_millis(10);

fn wanted_builds(error: Error, manifest: &Manifest) -> Error {
    let error = manifest.elfs.iter().fold(error, |e, elf| match &elf.build_id {
        Some(build) => e.hint(format!("it is for {} with build-id {build}", elf.path)),
        None => e.hint(format!("it is for {} with code digest {}", elf.path, elf.code)),
    });
    error.hint(format!(
        "install the patch made for the package that is installed; this one is for {}",
        manifest.package.nvr()
    ))
}

pub(super) fn comm(survey: &Survey, pid: i32) -> String {
    survey.processes.iter().find(|p| p.key.pid == pid).map_or_else(|| manage::comm(pid), |p| p.comm.clone())
}

fn reason(outcome: &ProcessOutcome) -> &str {
    match outcome {
        ProcessOutcome::Pending(why) | ProcessOutcome::Refused(why, _) => why,
        ProcessOutcome::Done
        | ProcessOutcome::DoneBut(_)
        | ProcessOutcome::Already
        | ProcessOutcome::Gone => "",
    }
}

/// Names each process that is not as wanted, or of which there is something to know, on standard error.
pub(super) fn name_missed(ctx: &mut Context<'_>, id: &str, results: &Results) {
    for line in &results.lines {
        if let ProcessOutcome::DoneBut(what) = &line.outcome {
            ctx.warn(format_args!("{id}: process {} ({}): {what}", line.key.pid, line.comm));
        }
    }
    for line in results.missed() {
        let kind = if matches!(line.outcome, ProcessOutcome::Pending(_)) { "pending" } else { "refused" };
        let why = reason(&line.outcome);
        ctx.warn(format_args!("{id}: process {} ({}) is {kind}: {why}", line.key.pid, line.comm));
    }
    if results.interrupted {
        ctx.warn(format_args!("{id}: interrupted; no process was left half done"));
    }
}

/// `3 processes patched, 1 pending`.
pub(super) fn summary(results: &Results, done: &str) -> String {
    let reached = results.reached();
    let pending = results.count(|e| matches!(e, ProcessOutcome::Pending(_)));
    let refused = results.count(|e| matches!(e, ProcessOutcome::Refused(..)));
    let mut text = format!("{reached} process{} {done}", if reached == 1 { "" } else { "es" });
    if pending > 0 {
        text.push_str(&format!(", {pending} pending"));
    }
    if refused > 0 {
        text.push_str(&format!(", {refused} refused"));
    }
    text
}

/// What a dry run found: how many processes would change, how many need not, how many would not.
pub(super) fn would_be(results: &Results, done: &str, already: &str) -> String {
    let would = results.count(|e| matches!(e, ProcessOutcome::Done | ProcessOutcome::DoneBut(_)));
    let mut text = format!("{would} process{} {done}", if would == 1 { "" } else { "es" });
    for (count, what) in [
        (results.count(|e| *e == ProcessOutcome::Already), already),
        (results.count(|e| matches!(e, ProcessOutcome::Pending(_))), "pending"),
        (results.count(|e| matches!(e, ProcessOutcome::Refused(..))), "refused"),
    ] {
        if count > 0 {
            text.push_str(&format!(", {count} {what}"));
        }
    }
    text
}

/// The error for a patch that every process refused.
pub(super) fn all_refused(id: &str, results: &Results, what: &str) -> Error {
    let error = Error::new(results.exit(), id, format_args!("{what}; nothing was changed"));
    match error.exit {
        ManageExit::NotPermitted => error.hint("run it as root, or name only your own processes with --pid"),
        ManageExit::Conflict => error
            .hint("`upatch list` shows the patches in force; end debuggers and other patching tools first"),
        _ => error,
    }
}

/// One exit code for several patches: done only if all are, a failure's own code only if all failed.
pub(super) fn combine(exits: &[ManageExit]) -> ManageExit {
    let failed = |e: &&ManageExit| !matches!(e, ManageExit::Done | ManageExit::Partly);
    match exits.iter().find(failed) {
        Some(first) if exits.iter().all(|e| failed(&e)) => *first,
        Some(_) => ManageExit::Partly,
        None if exits.contains(&ManageExit::Partly) => ManageExit::Partly,
        None => ManageExit::Done,
    }
}

/// Does `work` for each patch; an error with one is reported and the others go on.
pub(super) fn each<T>(
    ctx: &mut Context<'_>,
    patches: impl IntoIterator<Item = T>,
    mut work: impl FnMut(&mut Context<'_>, T) -> Result<ManageExit, Error>,
) -> Result<ManageExit, Error> {
    // What the first look at all processes learns of files serves the next ones.
    let _batch = crate::batch();
    let mut exits = Vec::new();
    for patch in patches {
        if ctx.stop.asked() {
            exits.push(ManageExit::Failed);
            ctx.warn("interrupted; the patches not mentioned are as they were");
            break;
        }
        exits.push(match work(ctx, patch) {
            Ok(exit) => exit,
            Err(error) => {
                // There is nowhere to report that standard error is gone.
                writeln!(ctx.err, "{error}").ok();
                error.exit
            }
        });
    }
    Ok(combine(&exits))
}

/// What [`crate::check`] says, as an outcome.
pub(super) fn probe(result: Result<CheckReport, ProcessError>) -> ProcessOutcome {
    match result {
        Ok(report) if report.already => ProcessOutcome::Already,
        Ok(CheckReport { busy: Some(busy), .. }) => ProcessOutcome::Pending(busy.to_string()),
        Ok(_) => ProcessOutcome::Done,
        Err(ProcessError::Gone | ProcessError::Zombie | ProcessError::NotMapped) => ProcessOutcome::Gone,
        Err(error) => ProcessOutcome::Refused(error.to_string(), exit_of(&error)),
    }
}

/// [`probe`]s all `processes`.
pub(super) fn probe_all<'a>(
    ctx: &Context<'_>,
    patch: &LoadedEntry,
    processes: impl Iterator<Item = &'a SurveyedProcess>,
    lazy: bool,
) -> Results {
    let line = |p: &SurveyedProcess| ProcessResult {
        key: p.key,
        comm: p.comm.clone(),
        outcome: match ctx.backend.opts_out(p.key, &ctx.settings.opt_out) {
            Some(why) if !p.runs(patch.manifest.uuid) => ProcessOutcome::Refused(why, ManageExit::Failed),
            _ => probe(ctx.backend.check(p.key, &patch.patch, lazy)),
        },
    };
    Results { lines: processes.map(line).collect(), ..Results::default() }
}
