//! One start after the other.

use super::{
    permission_event::PermissionEvent,
    plan::{Plan, Planned, lock},
    watch::{Job, StartResult, Watch},
};
use crate::{
    Options,
    engine::start::{self, FollowError, HeldProcess, SharedCpu, StartObserver, WorkerCpu},
    manage::{OptOut, ProcessOutcome, ProcessResult, comm, printable},
    state::ProcessKey,
};
use patchfile::exit::ManageExit;
use std::{
    cell::RefCell,
    collections::VecDeque,
    sync::{Arc, PoisonError},
    thread,
    time::{Duration, Instant},
};

/// Longest time from the first to the last system call of the dynamic loader, reading libraries from a slow
/// disk included. The process runs meanwhile.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often and after which pause a process is tried again that is held at its start while another thread of
/// it is in the way.
const TRIES: usize = 20;
const PAUSE: Duration = Duration::from_micros(500);

/// Takes events until there are none for a while, or until a process can only be let go by the end of the
/// thread that traces it.
pub(super) fn work(watch: &Arc<Watch>) {
    // Also when a panic ends this thread.
    let _leaving = Leaving(watch);
    let worker = start::enter();
    lock(&watch.jobs).fresh -= 1;
    // Without one it takes longer.
    let cpu = WorkerCpu::take(worker, &watch.notes).ok();
    loop {
        let Some(event) = watch.next() else { return };
        let job = Job { worker, begun: Instant::now() };
        if !event.begin(job.worker) {
            continue;
        }
        let tid = event.tid();
        lock(&watch.jobs).followed.insert(tid, job);
        let cpu = cpu.as_ref().filter(|_| event.executes());
        let shared_cpu = RefCell::new(cpu.and_then(|cpu| cpu.share(tid)));
        let following = Following { watch, event: &event, tid, begun: job.begun, shared_cpu };
        let clean = follow(watch, &event, &following);
        following.letting_go();
        if !clean {
            return;
        }
    }
}

struct Leaving<'a>(&'a Watch);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        lock(&self.0.jobs).workers -= 1;
    }
}

struct Following<'a> {
    watch: &'a Watch,
    event: &'a PermissionEvent,
    tid: i32,
    begun: Instant,
    shared_cpu: RefCell<Option<SharedCpu<'a>>>,
}

impl StartObserver for Following<'_> {
    fn time_left(&self, _tid: i32) -> bool {
        self.begun.elapsed() < PATIENCE
    }

    fn attached(&self) {
        self.event.unpin();
    }

    fn letting_go(&self) {
        drop(self.shared_cpu.take());
        lock(&self.watch.jobs).followed.remove(&self.tid);
    }
}

/// Follows one start. `false` when the thread must end.
fn follow(watch: &Watch, event: &PermissionEvent, following: &Following<'_>) -> bool {
    let tid = event.tid();
    let allow = || event.allow();
    let held = if event.executes() {
        let held = start::executed(tid, allow, following);
        event.unpin();
        held
    } else {
        match start::process_of(tid).filter(|_| start::loads(tid)) {
            Some(pid) => start::opened(tid, pid, allow, following),
            None => {
                event.allow();
                return true;
            }
        }
    };
    tracing::debug!(tid, held = held.is_ok(), "a start was followed");
    let missed = match held {
        Ok(held) => {
            let start_results = patch(watch, &held);
            let alone = held.alone();
            // It need not wait for what there is to tell.
            drop(held);
            if !start_results.is_empty() {
                lock(&watch.jobs).start_results.extend(start_results);
                watch.ring();
            }
            return alone;
        }
        Err(missed) => missed,
    };
    let pid = start::process_of(tid);
    match missed {
        FollowError::NotLoaded => return false,
        FollowError::Gone => {}
        FollowError::Traced | FollowError::Late | FollowError::Stopped => {}
        FollowError::Unknown(ref why) => {
            watch
                .shared
                .tell(format_args!("process {}: its start was not followed: {why}", pid.unwrap_or(tid)));
        }
    }
    let traced = matches!(missed, FollowError::Traced);
    lock(&watch.jobs).missed.extend(pid);
    watch.ring();
    traced
}

/// Brings everything that is planned into the process that is held.
fn patch(watch: &Watch, held: &HeldProcess<'_>) -> Vec<StartResult> {
    let pid = held.pid();
    // A thread that replaces the plan waits for this lock. So a patch that is being taken out is not put in
    // meanwhile.
    let plan = watch.shared.plan.read().unwrap_or_else(PoisonError::into_inner);
    held.start_time().map_or_else(
        |_| Vec::new(),
        |start| put_in(&plan, &watch.shared.opt_out, held, ProcessKey { pid, start }),
    )
}

fn put_in(plan: &Plan, opt_out: &OptOut, held: &HeldProcess<'_>, key: ProcessKey) -> Vec<StartResult> {
    let Ok(mapped) = held.mapped(&plan.targets) else { return Vec::new() };
    let concerned = plan
        .patches
        .iter()
        .filter(|p| p.record.covers(key) && p.elfs.iter().any(|(target, _)| mapped.contains(target)));
    let concerned: Vec<_> = concerned.collect();
    let mut start_results: Vec<StartResult> = Vec::new();
    // Of several versions of a patch, an older one only where the newer is refused.
    let current = concerned.iter().filter(|p| !concerned.iter().any(|n| p.newer.contains(&n.record.uuid)));
    let mut todo: VecDeque<&Planned> = current.copied().collect();
    let options = Options::default();
    let left_alone = if todo.is_empty() { None } else { opt_out.why(key.pid) };
    if let Some(why) = left_alone {
        let comm = held.name().map_or_else(|| comm(key.pid), |name| printable(&name));
        let outcome = ProcessOutcome::Refused(why, ManageExit::Failed);
        let result = |planned: &Planned| {
            let line = ProcessResult { key, comm: comm.clone(), outcome: outcome.clone() };
            StartResult { uuid: planned.record.uuid, id: planned.record.id.clone(), line }
        };
        return todo.into_iter().map(result).collect();
    }
    while let Some(planned) = todo.pop_front() {
        let apply = || ProcessOutcome::of(held.apply(&planned.patch.patch, &planned.older, &options));
        let mut outcome = apply();
        for _ in 0..TRIES {
            if !matches!(outcome, ProcessOutcome::Pending(_)) || !held.alone() {
                break;
            }
            thread::sleep(PAUSE);
            outcome = apply();
        }
        if matches!(outcome, ProcessOutcome::Refused(..)) {
            let older = concerned.iter().rev().find(|o| o.newer.last() == Some(&planned.record.uuid));
            todo.extend(older);
        }
        if matches!(outcome, ProcessOutcome::Already | ProcessOutcome::Gone) {
            continue;
        }
        let comm = held.name().map_or_else(|| comm(key.pid), |name| printable(&name));
        let line = ProcessResult { key, comm, outcome };
        start_results.push(StartResult { uuid: planned.record.uuid, id: planned.record.id.clone(), line });
    }
    start_results
}
