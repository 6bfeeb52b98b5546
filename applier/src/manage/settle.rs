//! Bringing processes to where a patch shall be. Verbs and the daemon both do it this way.

use super::{
    backend::{Backend, Subject, Survey},
    context::Context,
    drive::{Ending, Tally, drive},
    guard::Stop,
    world::World,
};
use crate::{
    TargetId,
    catalog::{Loaded, unkeep},
    state::{Event, ProcessKey, Record, SERVICE, append},
};
use patchfile::{Manifest, Uuid};
use std::{collections::HashSet, io, path::Path, time::Duration};

/// How often processes are looked up again for such as started meanwhile.
const SWEEPS: usize = 3;

/// Brings processes to where a patch shall be.
pub(crate) struct Settler<'a> {
    /// What touches processes.
    pub backend: &'a dyn Backend,
    /// Who may ask to stop.
    pub stop: &'a dyn Stop,
    /// File-system root.
    pub root: &'a Path,
    /// What the log calls it.
    pub verb: &'a str,
    /// See `--lazy`.
    pub lazy: bool,
    /// See `--timeout`.
    pub timeout: Duration,
}

impl<'a> Settler<'a> {
    /// As a command does it that was called `verb`.
    pub(crate) fn of_verb<'c: 'a>(
        ctx: &Context<'c>,
        root: &'a Path,
        verb: &'a str,
        lazy: bool,
        timeout: Option<Duration>,
    ) -> Self {
        let timeout = ctx.settings.timeout(timeout);
        Self { backend: ctx.backend, stop: ctx.stop, root, verb, lazy, timeout }
    }

    /// As the service does it: one try for each process, it comes by again.
    pub(crate) fn of_service<'c: 'a>(ctx: &Context<'c>, root: &'a Path) -> Self {
        let (verb, lazy, timeout) = (SERVICE, false, Duration::ZERO);
        Self { backend: ctx.backend, stop: ctx.stop, root, verb, lazy, timeout }
    }
}

impl std::fmt::Debug for Settler<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settler").field("root", &self.root).field("verb", &self.verb).finish_non_exhaustive()
    }
}

/// What the engine looks for, for `manifest`.
pub(crate) fn targets(manifest: &Manifest) -> Vec<TargetId> {
    manifest.elfs.iter().map(TargetId::from).collect()
}

/// Is `uuid` in force in every one of the `wanted` ELF files that the process maps, and has nobody touched it
/// since?
pub(crate) fn complete(process: &Subject, uuid: Uuid, wanted: &[(usize, u32)]) -> bool {
    let there = process.in_force(uuid);
    !there.is_empty()
        && !process.is_disturbed(uuid)
        && wanted.iter().all(|(target, elf)| !process.targets.contains(target) || there.contains(elf))
}

impl Settler<'_> {
    /// Applies `patch` to every process in `survey` that maps one of its ELF files and that `wants` lets
    /// through, then to those that have started meanwhile (if `again`). `older` versions of it that a process
    /// has give way in the same step.
    pub(crate) fn activate(
        &self,
        patch: &Loaded,
        older: &[Uuid],
        survey: Survey,
        again: bool,
        wants: impl Fn(ProcessKey) -> bool,
    ) -> Tally {
        let wanted = targets(&patch.manifest);
        let mut tally = Tally::default();
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
            let work = |p| self.backend.apply(p, &patch.patch, older, self.lazy);
            for process in &fresh {
                let carried = older.iter().filter(|old| process.runs(**old));
                tally.replaces.extend(carried.map(|old| (process.key, *old)));
            }
            let now = drive(&fresh, self.timeout, self.stop, work);
            // Which may have been an `execve` half done, of the same program.
            for line in now.lines.iter().filter(|l| l.ending == Ending::Gone) {
                seen.remove(&line.key);
            }
            tally.extend(now);
            if tally.interrupted || !again {
                break;
            }
            survey = self.backend.survey(&wanted, &[]);
        }
        tally
    }

    /// Takes `uuid` out of every process in `survey` that runs it and that `wants` lets through.
    pub(crate) fn deactivate(
        &self,
        uuid: Uuid,
        survey: &Survey,
        wants: impl Fn(ProcessKey) -> bool,
    ) -> Tally {
        let carriers: Vec<_> = survey.carriers(uuid).filter(|p| wants(p.key)).cloned().collect();
        drive(&carriers, self.timeout, self.stop, |p| self.backend.deactivate(p, uuid, self.lazy))
    }

    /// Where another version of the patch `uuid` was left beside it, by whoever was killed or refused on the
    /// way, it goes. The record of an older version is dropped once nothing runs it.
    ///
    /// # Errors
    /// The log cannot be written.
    pub(crate) fn take_over(&self, world: &mut World, uuid: Uuid, pids: &[i32]) -> io::Result<()> {
        let old: Vec<Record> = world.state.versions(uuid).cloned().collect();
        for record in old {
            let survey = self.backend.survey(&[], pids);
            let new: HashSet<_> = survey.carriers(uuid).map(|p| p.key).collect();
            let tally = self.deactivate(record.uuid, &survey, |p| new.contains(&p));
            self.note(world, &record.id, record.uuid, &tally, "replaced by a newer version")?;
            if pids.is_empty() && self.backend.survey(&[], &[]).is_free_of(record.uuid) {
                world.state.forget(record.uuid);
                if world.writable {
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
        world: &mut World,
        id: &str,
        uuid: Uuid,
        tally: &Tally,
        done: &str,
    ) -> io::Result<()> {
        let mut events = Vec::new();
        for line in &tally.lines {
            let state = line.ending.state();
            let changed = world.attempts.get(uuid, line.key) != Some(&state);
            let event = |outcome| line.event(self.verb, id, uuid, outcome);
            match &line.ending {
                Ending::Done | Ending::DoneBut(_) => {
                    events.extend(line.done(self.verb, id, uuid, done));
                    for (_, old) in tally.replaces.iter().filter(|(key, _)| *key == line.key) {
                        events.push(Event { uuid: *old, ..event("replaced by a newer version".into()) });
                    }
                }
                Ending::Pending(why) if changed => events.push(event(format!("pending: {why}"))),
                Ending::Refused(why, _) if changed => events.push(event(format!("refused: {why}"))),
                _ => {}
            }
            world.attempts.set(uuid, line.key, state);
        }
        if world.writable { append(self.root, &events) } else { Ok(()) }
    }
}
