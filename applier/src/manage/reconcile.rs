//! Bringing processes to where a patch shall be. Verbs and the daemon both do it this way.

use super::{
    backend::{Backend, Survey, SurveyedProcess},
    context::Context,
    each_process::{Obstacle, ProcessOutcome, ProcessResult, Results, for_each_process},
    inventory::Inventory,
    opt_out::OptOut,
    stop_request::StopRequest,
    waiting,
};
use crate::{
    TargetId,
    catalog::{LoadedEntry, unkeep},
    state::{Event, ProcessKey, Record, SERVICE, append},
};
use patchfile::{Manifest, Uuid, exit::ManageExit};
use std::{collections::HashSet, io, path::Path, time::Duration};

/// How often processes are looked up again for such as started meanwhile.
const SWEEPS: usize = 3;

/// Brings processes to where a patch shall be.
pub(crate) struct Reconciler<'a> {
    /// What touches processes.
    pub backend: &'a dyn Backend,
    /// Who may ask to stop.
    pub stop: &'a dyn StopRequest,
    /// File-system root.
    pub root: &'a Path,
    /// What the log calls it.
    pub verb: &'a str,
    /// See `--lazy`.
    pub lazy: bool,
    /// See `--timeout`.
    pub timeout: Duration,
    /// Processes that are left alone.
    pub opt_out: OptOut,
    /// Who is told what is in the way.
    pub tell: fn(&[Obstacle<'_>]),
}

impl<'a> Reconciler<'a> {
    /// For the command `verb`.
    pub(crate) fn of_verb<'c: 'a>(
        ctx: &Context<'c>,
        root: &'a Path,
        verb: &'a str,
        lazy: bool,
        timeout: Option<Duration>,
    ) -> Self {
        let timeout = ctx.settings.timeout(timeout);
        let opt_out = ctx.settings.opt_out.clone();
        let tell = if ctx.terminal.is_some() { waiting::show } else { waiting::nobody };
        Self { backend: ctx.backend, stop: ctx.stop, root, verb, lazy, timeout, opt_out, tell }
    }

    /// For the service: one try for each process, since it tries again by itself.
    pub(crate) fn of_service<'c: 'a>(ctx: &Context<'c>, root: &'a Path) -> Self {
        let (verb, lazy, timeout) = (SERVICE, false, Duration::ZERO);
        let (opt_out, tell) = (ctx.settings.opt_out.clone(), waiting::nobody as fn(&[Obstacle<'_>]));
        Self { backend: ctx.backend, stop: ctx.stop, root, verb, lazy, timeout, opt_out, tell }
    }
}

impl std::fmt::Debug for Reconciler<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reconciler")
            .field("root", &self.root)
            .field("verb", &self.verb)
            .finish_non_exhaustive()
    }
}

/// What the engine looks for, for `manifest`.
pub(crate) fn targets(manifest: &Manifest) -> Vec<TargetId> {
    manifest.elfs.iter().map(TargetId::from).collect()
}

/// Is `uuid` in force in every one of the `wanted` ELF files that the process maps, and has nobody touched it
/// since?
pub(crate) fn complete(process: &SurveyedProcess, uuid: Uuid, wanted: &[(usize, u32)]) -> bool {
    let there = process.in_force(uuid);
    !there.is_empty()
        && !process.is_disturbed(uuid)
        && wanted.iter().all(|(target, elf)| !process.targets.contains(target) || there.contains(elf))
}

impl Reconciler<'_> {
    /// Applies `patch` to every process in `survey` that maps one of its ELF files and that `wants` lets
    /// through, then to those that have started meanwhile (if `again`). `older` versions of it that a process
    /// has give way in the same step.
    pub(crate) fn activate(
        &self,
        patch: &LoadedEntry,
        older: &[Uuid],
        survey: Survey,
        again: bool,
        wants: impl Fn(ProcessKey) -> bool,
    ) -> Results {
        let wanted = targets(&patch.manifest);
        let uuid = patch.manifest.uuid;
        let mut results = Results::default();
        let mut seen = HashSet::new();
        let mut survey = survey;
        for _ in 0..SWEEPS {
            let fresh: Vec<_> = survey
                .processes
                .into_iter()
                .filter(|p| !p.targets.is_empty() && wants(p.key) && seen.insert(p.key))
                .collect();
            if fresh.is_empty() {
                break;
            }
            let mut left_alone = Results::default();
            let fresh: Vec<_> = fresh
                .into_iter()
                .filter(|p| {
                    let why = self.backend.opts_out(p.key, &self.opt_out).filter(|_| !p.runs(uuid));
                    let outcome = why.map(|why| ProcessOutcome::Refused(why, ManageExit::Failed));
                    let line =
                        outcome.map(|outcome| ProcessResult { key: p.key, comm: p.comm.clone(), outcome });
                    let wanted = line.is_none();
                    left_alone.lines.extend(line);
                    wanted
                })
                .collect();
            results.extend(left_alone);
            let work = |p| self.backend.apply(p, &patch.patch, older, self.lazy);
            for process in &fresh {
                let carried = older.iter().filter(|old| process.runs(**old));
                results.replaces.extend(carried.map(|old| (process.key, *old)));
            }
            let now = for_each_process(&fresh, self.timeout, self.stop, &self.tell, work);
            // Which may have been an `execve` half done, of the same program.
            for line in now.lines.iter().filter(|l| l.outcome == ProcessOutcome::Gone) {
                seen.remove(&line.key);
            }
            results.extend(now);
            if results.interrupted || !again {
                break;
            }
            survey = self.backend.survey(&wanted, &[]);
        }
        results
    }

    /// Takes `uuid` out of every process in `survey` that runs it and that `wants` lets through.
    pub(crate) fn deactivate(
        &self,
        uuid: Uuid,
        survey: &Survey,
        wants: impl Fn(ProcessKey) -> bool,
    ) -> Results {
        let carriers: Vec<_> = survey.carriers(uuid).filter(|p| wants(p.key)).cloned().collect();
        for_each_process(&carriers, self.timeout, self.stop, &self.tell, |p| {
            self.backend.deactivate(p, uuid, self.lazy)
        })
    }

    /// Where another version of the patch `uuid` was left beside it, by whoever was killed or refused on the
    /// way, it goes. The record of an older version is dropped once nothing runs it.
    ///
    /// # Errors
    /// The log cannot be written.
    pub(crate) fn take_over(&self, inventory: &mut Inventory, uuid: Uuid, pids: &[i32]) -> io::Result<()> {
        let old: Vec<Record> = inventory.state.versions(uuid).cloned().collect();
        for record in old {
            let survey = self.backend.survey(&[], pids);
            let new: HashSet<_> = survey.carriers(uuid).map(|p| p.key).collect();
            let results = self.deactivate(record.uuid, &survey, |p| new.contains(&p));
            self.note(inventory, &record.id, record.uuid, &results, "replaced by a newer version")?;
            let left = match inventory.state.get_mut(record.uuid).and_then(|r| r.only.as_mut()) {
                _ if pids.is_empty() => 0,
                // Those that have the new version do not wait for the old one.
                Some(only) => {
                    only.retain(|p| !new.contains(p) && self.backend.alive(*p));
                    only.len()
                }
                None => 1,
            };
            if left == 0 && self.backend.survey(&[], &[]).is_free_of(record.uuid) {
                inventory.state.forget(record.uuid);
                if inventory.writable {
                    unkeep(self.root, record.uuid)?;
                }
            }
        }
        Ok(())
    }

    /// Keeps the outcome for `status` and `log`.
    ///
    /// # Errors
    /// The log cannot be written.
    pub(crate) fn note(
        &self,
        inventory: &mut Inventory,
        id: &str,
        uuid: Uuid,
        results: &Results,
        done: &str,
    ) -> io::Result<()> {
        let mut events = Vec::new();
        for line in &results.lines {
            let state = line.outcome.state();
            let changed = inventory.attempts.get(uuid, line.key) != Some(&state);
            let event = |outcome| line.event(self.verb, id, uuid, outcome);
            match &line.outcome {
                ProcessOutcome::Done | ProcessOutcome::DoneBut(_) => {
                    events.extend(line.done(self.verb, id, uuid, done));
                    for (_, old) in results.replaces.iter().filter(|(key, _)| *key == line.key) {
                        events.push(Event { uuid: *old, ..event("replaced by a newer version".into()) });
                    }
                }
                ProcessOutcome::Pending(why) if changed => events.push(event(format!("pending: {why}"))),
                ProcessOutcome::Refused(why, _) if changed => events.push(event(format!("refused: {why}"))),
                _ => {}
            }
            inventory.attempts.set(uuid, line.key, state);
        }
        if inventory.writable { append(self.root, &events) } else { Ok(()) }
    }
}
