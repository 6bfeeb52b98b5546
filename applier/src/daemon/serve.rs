//! The loop: at each turn every process is brought to where the state on disk says it shall be. There is no
//! second source of intentions: commands write the state under the lock, the service reads it under the lock,
//! so either may be killed at any point and the other goes on from there.

use super::{
    kernel,
    marks::Marks,
    notify::{Watchdog, notify},
    plan::{Shared, lock},
    record::{DONE, announce, record},
    socket,
    watch::{self, StartResult, Watch},
};
use crate::{
    catalog::LoadedEntry,
    manage::{
        Context, Error, Inventory, ProcessOutcome, Reconciler, ServiceStatus, StartHandling, Survey,
        SurveyedProcess, TargetIndex, complete, kind_exit,
    },
    state::{Lock, ProcessKey, Record, StateFile},
    sys::guardian::guard,
};
use patchfile::{Uuid, exit::ManageExit, paths, state::ProcessState};
use std::{
    collections::HashSet,
    fs::{self, Metadata},
    io,
    os::{
        fd::{AsFd, AsRawFd},
        unix::fs::MetadataExt,
    },
    path::Path,
    sync::{Arc, PoisonError},
    time::{Duration, Instant},
};

/// Time after which a process that refused is asked again: a debugger may have left it meanwhile.
const ASK_AGAIN: Duration = Duration::from_secs(30);
/// Time after which all processes are looked at although nothing seems to have happened.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// Longest wait for a service that is ending.
const PREDECESSOR: Duration = Duration::from_secs(3);

/// Serves until asked to stop.
///
/// # Errors
/// The state cannot be read or the lock cannot be made at the start; later such trouble is reported and tried
/// again.
pub(crate) fn serve(ctx: &mut Context<'_>, interval: Duration) -> Result<ManageExit, Error> {
    ctx.needs_root("daemon", &[])?;
    if crate::engine::target::own::is_filtered() {
        ctx.warn(
            "a seccomp filter acts on this service (of its unit file, or of a container): the kernel lets it \
             patch no process that has one too",
        );
    }
    let mut service = Service::begin(ctx, interval);
    // After the guard was started, which would hold it too and lives for a moment longer.
    let _only = alone(ctx)?;
    let mut watchdog = Watchdog::from_environment();
    for count in 0u64.. {
        match service.tick(ctx, count) {
            Ok(()) => service.said.clear(),
            // Told to stop while waiting for the lock: that is no trouble.
            Err(_) if ctx.stop.asked() => break,
            Err(error) if count == 0 => return Err(error),
            Err(error) => {
                // Trouble that comes back every second is reported once.
                let text = error.to_string();
                if text != service.said {
                    ctx.warn(&text);
                    service.said = text;
                }
            }
        }
        if count == 0 {
            service.open_socket(ctx);
            if let Err(error) = notify("READY=1") {
                ctx.warn(format_args!("NOTIFY_SOCKET: {error}"));
            }
            ctx.say("upatch: serving")?;
        }
        service.shared.messages().iter().for_each(|m| ctx.warn(m));
        ctx.out.flush().ok();
        let pulse = service.watch.as_ref().filter(|_| watchdog.is_some()).map(|w| w.pulse());
        let time = watchdog.as_ref().map_or(interval, |w| w.interval(interval));
        let stop = match &service.watch {
            Some(watch) => ctx.stop.wait_or(time, watch.bell().as_fd()),
            None => ctx.stop.wait(time),
        };
        if stop {
            break;
        }
        if let Some(watchdog) = &mut watchdog {
            // While nobody takes events, processes wait for it: better to be ended and started again.
            watchdog.beat(pulse);
        }
    }
    notify("STOPPING=1").ok();
    Ok(ManageExit::Done)
}

/// Two services would both hold whatever starts. One that is about to end is waited for.
fn alone(ctx: &Context<'_>) -> Result<Lock, Error> {
    let until = Instant::now() + PREDECESSOR;
    loop {
        let path = ctx.root.join(paths::RUN).join("service.lock");
        match Lock::of_service(&ctx.root) {
            Ok(Some(lock)) => return Ok(lock),
            Ok(None) if Instant::now() < until && !ctx.stop.wait(Duration::from_millis(20)) => {}
            Ok(None) => {
                let other = ServiceStatus::read(&ctx.root)
                    .map_or(String::new(), |p| format!(" (process {})", p.process.pid));
                return Err(Error::failed("daemon", format_args!("another one serves already{other}"))
                    .hint("systemctl status upatch"));
            }
            Err(e) => return Err(Error::new(kind_exit(e.kind()), path.display().to_string(), e)),
        }
    }
}

struct Service {
    shared: Arc<Shared>,
    watch: Option<Arc<Watch>>,
    /// Why starts are not watched.
    unwatched: Option<String>,
    interval: Duration,
    /// When everything was looked at last, and when those that refused were asked.
    looked: Option<Instant>,
    asked: Option<Instant>,
    /// Did that leave something to be tried again?
    open: bool,
    /// The state file as it was then.
    state: Option<Stamp>,
    /// The directories of installed packages as they were then, where files of an active patch are missing.
    missing: Option<Vec<Stamp>>,
    /// The number of processes at the last count, and when that was.
    pids: HashSet<i32>,
    counted: Option<Instant>,
    presence: Option<ServiceStatus>,
    /// Not written down yet.
    start_results: Vec<StartResult>,
    said: String,
    of_kernel: kernel::Memory,
}

type Stamp = (u64, u64, i64);

fn stamp(meta: &Metadata) -> Stamp {
    (meta.ino(), meta.size(), meta.mtime_nsec())
}

/// Changes when patches are installed or removed.
fn installed(root: &Path) -> Vec<Stamp> {
    let patches = root.join(paths::PATCHES);
    let packages = fs::read_dir(&patches).into_iter().flatten().filter_map(|e| Some(e.ok()?.path()));
    let mut packages: Vec<_> = packages.collect();
    packages.sort();
    packages.push(patches);
    packages.iter().filter_map(|p| fs::metadata(p).ok()).map(|m| stamp(&m)).collect()
}

fn all_pids() -> HashSet<i32> {
    let Ok(entries) = fs::read_dir("/proc") else { return HashSet::new() };
    entries.filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok()).collect()
}

impl Service {
    fn begin(ctx: &mut Context<'_>, interval: Duration) -> Self {
        let mut unwatched = None;
        if !ctx.settings.hold {
            unwatched = Some("the settings say that no process is to be held".into());
        }
        let group = if ctx.backend.is_real() && ctx.settings.hold {
            watch::group()
                .map_err(|e| {
                    let why = format!("the kernel does not hold processes that start (fanotify: {e})");
                    ctx.warn(format_args!(
                        "{why}: looking for them every {} s instead",
                        interval.as_secs_f64()
                    ));
                    unwatched = Some(why);
                })
                .ok()
        } else {
            None
        };
        let marks = group.as_ref().map(|g| Marks::new(Arc::clone(g)));
        let shared = {
            let opt_out = ctx.settings.opt_out.clone();
            Arc::new(Shared::new(ctx.root.clone(), ctx.owner, ctx.boot.clone(), opt_out, marks))
        };
        let guarded = group.as_ref().map(|g| guard(g.as_fd().as_raw_fd()));
        let progress = guarded.and_then(|g| {
            g.map_err(|e| ctx.warn(format_args!("nobody ends this program should it stand still: {e}"))).ok()
        });
        let watch = group.and_then(|group| {
            Watch::begin(Arc::clone(&shared), group, progress)
                .map_err(|e| unwatched = Some(format!("no thread: {e}")))
                .ok()
        });
        Self {
            shared,
            watch,
            unwatched,
            interval,
            looked: None,
            asked: None,
            open: false,
            state: None,
            missing: None,
            pids: HashSet::new(),
            counted: None,
            presence: None,
            start_results: Vec::new(),
            said: String::new(),
            of_kernel: kernel::Memory::default(),
        }
    }

    fn open_socket(&self, ctx: &mut Context<'_>) {
        if !ctx.backend.is_real() {
            return;
        }
        if let Err(error) = socket::listen(Arc::clone(&self.shared)) {
            ctx.warn(format_args!(
                "socket: {error}: commands are noticed after {} s at the latest",
                self.interval.as_secs_f64()
            ));
        }
    }

    /// Does what there is to do; mostly nothing.
    fn tick(&mut self, ctx: &mut Context<'_>, count: u64) -> Result<(), Error> {
        let (start_results, missed) = self.watch.as_ref().map(|w| w.take()).unwrap_or_default();
        let state = fs::metadata(StateFile::path(&self.shared.root)).ok().map(|m| stamp(&m));
        let now = Instant::now();
        let since = |t: Option<Instant>| t.map_or(Duration::MAX, |t| now.saturating_duration_since(t));
        // Looked at each time, also when there is another reason: what was there is remembered.
        let gone = self.of_kernel.is_one_gone(ctx);
        let due = self.watch.is_none()
            || self.open
            || !missed.is_empty()
            || state != self.state
            || gone
            || self.missing.as_ref().is_some_and(|m| *m != installed(&self.shared.root))
            || since(self.looked) >= LOOK_AGAIN
            || (since(self.counted) >= self.interval && self.somebody_new(ctx));
        self.start_results.extend(start_results);
        if !self.start_results.is_empty() {
            record(ctx, &self.start_results)?;
            self.open |=
                self.start_results.iter().any(|f| matches!(f.line.outcome, ProcessOutcome::Pending(_)));
            self.start_results.clear();
        }
        if due {
            let ask = since(self.asked) >= ASK_AGAIN;
            self.look(ctx, count == 0, ask)?;
            self.looked = Some(now);
            if ask {
                self.asked = Some(now);
            }
            // As it was before the look: what was written meanwhile, also by the look itself, is looked at
            // next time.
            self.state = state;
        }
        self.introduce(ctx);
        Ok(())
    }

    /// Is there a process that was not there at the last look, and that lacks a patch? What the watched files
    /// brought is patched already; this finds copies of them that are not watched, such as those in
    /// containers started since.
    fn somebody_new(&mut self, ctx: &Context<'_>) -> bool {
        self.counted = Some(Instant::now());
        let pids = all_pids();
        let new: Vec<i32> = pids.difference(&self.pids).copied().collect();
        self.pids = pids;
        let plan = self.shared.plan.read().unwrap_or_else(PoisonError::into_inner);
        if new.is_empty() || plan.patches.is_empty() {
            return false;
        }
        let survey = ctx.backend.survey(&plan.targets, &new);
        let followed = self.watch.as_ref().map(|w| w.followed()).unwrap_or_default();
        survey.processes.iter().filter(|p| !followed.contains(&p.key.pid)).any(|p| {
            plan.patches.iter().any(|planned| {
                planned.newer.is_empty()
                    && planned.record.covers(p.key)
                    && planned.elfs.iter().any(|(t, _)| p.targets.contains(t))
                    && !complete(p, planned.record.uuid, &planned.elfs)
            })
        })
    }

    /// Brings every process to where it shall be, one try each.
    fn look(&mut self, ctx: &mut Context<'_>, first: bool, ask: bool) -> Result<(), Error> {
        let mut inventory = Inventory::lock(ctx, &[])?;
        let before = inventory.state.patches.clone();
        let of_kernel =
            |r: &&Record| inventory.catalog.get(r.uuid).is_some_and(|e| e.manifest.kernel.is_some());
        let records: Vec<Record> = before.iter().filter(|r| !of_kernel(r)).cloned().collect();
        let root = ctx.root.clone();
        // A rebuilt state is written at once, whatever it says.
        if first || inventory.rebuilt {
            inventory.save(&root)?;
        }
        if first {
            self.mend(ctx, &inventory);
        }
        let moving = kernel::reconcile(ctx, &inventory, &mut self.of_kernel)?;
        // What is planned and watched before the processes are looked up holds for those that start
        // meanwhile.
        self.shared.follow(&inventory.state, &mut None);
        let reconciler = Reconciler::of_service(ctx, &root);
        let log = |e: io::Error| Error::failed("log", e);
        // One look at /proc for all patches.
        let active: Vec<(&Record, Arc<LoadedEntry>)> = records
            .iter()
            .filter(|r| r.state.is_active())
            .filter_map(|record| Some((record, self.shared.load(&inventory.catalog, record)?)))
            .collect();
        let planned = records.iter().filter(|r| r.state.is_active()).count();
        self.missing = (active.len() < planned).then(|| installed(&root));
        let wanted = TargetIndex::of_manifests(active.iter().map(|(_, patch)| &patch.manifest));
        let survey =
            if records.is_empty() { Survey::default() } else { ctx.backend.survey(&wanted.targets, &[]) };
        self.meet(&survey);
        self.open = moving;
        let followed = self.watch.as_ref().map(|w| w.followed()).unwrap_or_default();
        for ((record, patch), elfs) in active.iter().zip(&wanted.elfs) {
            if ctx.stop.asked() {
                break;
            }
            let (id, uuid) = (&record.id, record.uuid);
            let is_refused = |uuid: Uuid, p: ProcessKey| {
                matches!(inventory.attempts.get(uuid, p), Some(ProcessState::Refused { .. }))
            };
            let older = inventory.state.older(uuid);
            let newer = inventory.state.newer(uuid);
            // A process that a newer version fits gets the newer one, unless it has refused it.
            let superseded = |p: &SurveyedProcess| {
                let loaded = |n: &Record| active.iter().any(|(r, _)| r.uuid == n.uuid);
                newer
                    .iter()
                    .any(|n| loaded(n) && n.covers(p.key) && (p.runs(n.uuid) || !is_refused(n.uuid, p.key)))
            };
            let ripe = |p: &&SurveyedProcess| {
                elfs.iter().any(|(target, _)| p.targets.contains(target))
                    && !complete(p, uuid, elfs)
                    && !followed.contains(&p.key.pid)
                    && (ask || !is_refused(uuid, p.key))
                    && !superseded(p)
            };
            let processes = survey.processes.iter().filter(ripe).cloned().collect();
            let survey = Survey { processes, ..Survey::default() };
            let results = reconciler.activate(patch, &older, survey, false, |p| record.covers(p));
            self.open |= results.count(|e| matches!(e, ProcessOutcome::Pending(_))) > 0;
            reconciler.note(&mut inventory, id, uuid, &results, DONE).map_err(log)?;
            announce(ctx, id, &results.lines)?;
            reconciler.take_over(&mut inventory, uuid, &[]).map_err(log)?;
        }
        for record in records.iter().filter(|r| !r.state.is_active()) {
            let results = reconciler.deactivate(record.uuid, &survey, |_| true);
            self.open |= results.count(|e| matches!(e, ProcessOutcome::Pending(_))) > 0;
            reconciler
                .note(&mut inventory, &record.id, record.uuid, &results, "old code back")
                .map_err(log)?;
        }
        if inventory.state.patches != before {
            inventory.save(&root)?;
        }
        inventory.save_attempts(&root, ctx.backend)
    }

    /// Watches the files that processes really run.
    fn meet(&self, survey: &Survey) {
        let Some(marks) = &self.shared.marks else { return };
        let mut marks = lock(marks);
        survey
            .processes
            .iter()
            .filter(|p| !p.targets.is_empty())
            .for_each(|p| marks.follow_process(p.key.pid));
    }

    /// Puts right what a killed service left behind in processes that were starting. Done before this one
    /// follows any start.
    fn mend(&self, ctx: &Context<'_>, inventory: &Inventory) {
        let pinned = crate::start::unpin_all(&watch::notes(&ctx.root));
        if pinned > 0 {
            self.shared.tell(format_args!("{pinned} threads may use all of their processors again"));
        }
        if self.shared.marks.is_none() {
            return;
        }
        let active = inventory.state.patches.iter().filter(|r| r.state.is_active());
        let manifests = active.filter_map(|r| Some(&inventory.catalog.get(r.uuid)?.manifest));
        let survey = ctx.backend.survey(&TargetIndex::of_manifests(manifests).targets, &[]);
        for process in survey.processes {
            let pid = process.key.pid;
            if crate::start::mend(pid).is_ok_and(|mended| mended) {
                self.shared.tell(format_args!("process {pid}: put right after an interrupted start"));
            }
        }
    }

    /// Writes down how processes that start are met.
    fn introduce(&mut self, ctx: &mut Context<'_>) {
        if !ctx.backend.is_real() {
            return;
        }
        let way = match (&self.shared.marks, &self.unwatched) {
            (Some(marks), None) => {
                let marks = lock(marks);
                StartHandling::Held { files: marks.count(), trouble: marks.trouble.clone() }
            }
            (_, why) => StartHandling::Polled {
                seconds: self.interval.as_secs_f64(),
                why: why.clone().unwrap_or_else(|| "the kernel cannot tell of them".into()),
            },
        };
        let pid = i32::try_from(std::process::id()).unwrap_or(0);
        let Ok(start) = crate::start_time(pid) else { return };
        let presence = ServiceStatus { process: ProcessKey { pid, start }, way };
        if self.presence.as_ref() != Some(&presence) {
            match presence.write(&ctx.root) {
                Ok(()) => self.presence = Some(presence),
                Err(error) => self.shared.tell(format_args!("service.yaml: {error}")),
            }
        }
    }
}
