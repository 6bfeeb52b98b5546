//! The loop: at each turn every process is brought to where the state on disk says it shall be. There is no second source
//! of intentions: commands write the state under the lock, the service reads it under the lock, so either may be killed at
//! any point and the other goes on from there.

use super::notify::notify;
use crate::{
    catalog::{Catalog, Loaded},
    cli::{Context, Ending, Error, Process, Settler, Survey, Wanted, World, complete},
    state::{ProcessKey, Record},
};
use patchfile::{Uuid, exit::ManageExit, state::ProcessState};
use std::{collections::HashMap, rc::Rc, time::Duration};

/// How many turns pass before a process that refused is asked again: a debugger may have left it meanwhile.
const ASK_AGAIN: u64 = 30;

/// Serves until asked to stop.
///
/// # Errors
/// The state cannot be read or the lock cannot be made at the start; later such trouble is reported and tried again.
pub fn serve(ctx: &mut Context<'_>, interval: Duration) -> Result<ManageExit, Error> {
    ctx.needs_root("daemon", &[])?;
    let mut cache = Cache::default();
    let mut said = String::new();
    for count in 0u64.. {
        match turn(ctx, &mut cache, count) {
            Ok(()) => said.clear(),
            // Told to stop while waiting for the lock: that is no trouble.
            Err(_) if ctx.stop.asked() => break,
            Err(error) if count == 0 => return Err(error),
            Err(error) => {
                // The same trouble every second is said once.
                let text = error.to_string();
                if text != said {
                    ctx.warn(&text);
                    said = text;
                }
            }
        }
        if count == 0 {
            if let Err(error) = notify("READY=1") {
                ctx.warn(format_args!("NOTIFY_SOCKET: {error}"));
            }
            ctx.say("upatch: serving")?;
            ctx.out.flush().ok();
        }
        if ctx.stop.wait(interval) {
            break;
        }
    }
    notify("STOPPING=1").ok();
    Ok(ManageExit::Done)
}

/// Patches read before, so that a turn with nothing to do reads no files.
#[derive(Default)]
struct Cache(HashMap<Uuid, Option<Rc<Loaded>>>);

impl Cache {
    fn get(&mut self, ctx: &mut Context<'_>, catalog: &Catalog, record: &Record) -> Option<Rc<Loaded>> {
        // A patch whose files come back (package installed again) is read again.
        if self.0.get(&record.uuid).is_some_and(Option::is_none) && catalog.get(record.uuid).is_some() {
            self.0.remove(&record.uuid);
        }
        self.0
            .entry(record.uuid)
            .or_insert_with(|| {
                let loaded = catalog.get(record.uuid).map(|e| e.load(ctx.owner));
                match loaded {
                    Some(Ok(patch)) => Some(Rc::new(patch)),
                    Some(Err(error)) => {
                        ctx.warn(Error::entry(&record.id, &error));
                        None
                    }
                    None => {
                        ctx.warn(format_args!(
                            "{}: its files are gone: new processes do not get it",
                            record.id
                        ));
                        None
                    }
                }
            })
            .clone()
    }
}

/// Brings every process to where it shall be, one try each.
fn turn(ctx: &mut Context<'_>, cache: &mut Cache, count: u64) -> Result<(), Error> {
    let mut world = World::change(ctx, &[])?;
    let records = world.state.patches.clone();
    let root = ctx.root.clone();
    // Once at the start a rebuilt state is written, whatever it says.
    if count == 0 {
        world.save(&root)?;
    }
    let settler = Settler {
        engine: ctx.engine,
        stop: ctx.stop,
        root: &root,
        verb: "daemon",
        lazy: false,
        timeout: Duration::ZERO,
    };
    let log = |e: std::io::Error| Error::failed("log", e);
    // One look at /proc for all patches.
    let active: Vec<_> = records
        .iter()
        .filter(|r| r.state.is_active())
        .filter_map(|record| Some((record, cache.get(ctx, &world.catalog, record)?)))
        .collect();
    let wanted = Wanted::of_manifests(active.iter().map(|(_, patch)| &patch.manifest));
    let survey = if records.is_empty() { Survey::default() } else { ctx.engine.survey(&wanted.targets, &[]) };
    for ((record, patch), elfs) in active.iter().zip(&wanted.elfs) {
        if ctx.stop.asked() {
            break;
        }
        let (id, uuid) = (&record.id, record.uuid);
        let refused =
            |p: ProcessKey| matches!(world.attempts.get(uuid, p), Some(ProcessState::Refused { .. }));
        let ripe = |p: &&Process| {
            elfs.iter().any(|(target, _)| p.targets.contains(target))
                && !complete(p, uuid, elfs)
                && (count.is_multiple_of(ASK_AGAIN) || !refused(p.key))
        };
        let processes = survey.processes.iter().filter(ripe).cloned().collect();
        let survey = Survey { processes, unseen: Vec::new() };
        let tally = settler.activate(patch, survey, false, |p| record.covers(p));
        settler.note(&mut world, id, uuid, &tally, "patched").map_err(log)?;
        for line in tally.lines.iter().filter(|l| l.ending == Ending::Done) {
            ctx.say(format_args!("{id}: process {} ({}) patched", line.key.pid, line.comm))?;
        }
        settler.take_over(&mut world, id, uuid, &[]).map_err(log)?;
    }
    for record in records.iter().filter(|r| !r.state.is_active()) {
        let tally = settler.deactivate(record.uuid, &survey, |_| true);
        settler.note(&mut world, &record.id, record.uuid, &tally, "old code back").map_err(log)?;
    }
    if world.state.patches != records {
        world.save(&root)?;
    }
    ctx.out.flush().ok();
    world.save_attempts(&root, ctx.engine)
}
