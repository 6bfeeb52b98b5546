//! Patching what starts. The kernel holds whoever executes a watched program or opens a watched library
//! (fanotify(7)); one thread takes these events and does nothing that could keep it waiting, a few others
//! follow each start to the point where the patches go in (see [`crate::start`]).
//!
//! Nothing waits for this program for long: an event that no worker takes up in time is answered all the
//! same, and the kernel answers all of them when this program ends, however it ends. What went by is found by
//! the next look at `/proc`.

use super::{
    permission_event::PermissionEvent,
    plan::{Shared, lock},
    worker,
};
use crate::{engine::start, manage::ProcessResult, sys::guardian::Progress};
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        fanotify::{EventFFlags, Fanotify, InitFlags},
        resource::{Resource, getrlimit, setrlimit},
    },
};
use patchfile::Uuid;
use std::{
    collections::{HashMap, VecDeque},
    io,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// Most threads. One waits for events, each of the others follows a start.
const WORKERS: usize = 17;
/// Most events that wait. More are let through at once: each holds a file descriptor, and the kernel denies
/// what it has none for.
const WAITING: usize = 512;
/// File descriptors needed at least: one for each that waits, those of one read, and some for looking at
/// processes.
const FILES: u64 = 2048;
/// A worker without work ends after this time.
const IDLE: Duration = Duration::from_secs(30);
/// How often a worker that waits for its process is asked to think about it.
const WAKE: Duration = Duration::from_millis(10);

/// How it ended with one patch for one process that started.
#[derive(Debug)]
pub(super) struct StartResult {
    /// The patch.
    pub(super) uuid: Uuid,
    /// Its id.
    pub(super) id: String,
    /// The process.
    pub(super) line: ProcessResult,
}

/// A start that is being followed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Job {
    /// The thread of ours that does it.
    pub(super) worker: i32,
    /// Since when.
    pub(super) begun: Instant,
}

#[derive(Debug, Default)]
pub(super) struct Jobs {
    queue: VecDeque<Arc<PermissionEvent>>,
    /// Not known to be answered.
    open: Vec<Arc<PermissionEvent>>,
    /// By thread that is followed.
    pub(super) followed: HashMap<i32, Job>,
    pub(super) workers: usize,
    /// Workers that were just started.
    pub(super) fresh: usize,
    /// Workers that wait for work.
    idle: usize,
    /// Does one of them wait for events?
    watched: bool,
    pub(super) start_results: Vec<StartResult>,
    /// Processes that went by.
    pub(super) missed: Vec<i32>,
}

/// What the workers share.
#[derive(Debug)]
pub(super) struct Watch {
    pub(super) shared: Arc<Shared>,
    group: Arc<Fanotify>,
    pub(super) jobs: Mutex<Jobs>,
    work: Condvar,
    /// Written to when there are start results.
    bell: OwnedFd,
    ringer: OwnedFd,
    /// How often events were waited for, and how many wait for an answer.
    progress: &'static Progress,
    poke: (OwnedFd, OwnedFd),
    /// See [`start::Pin`].
    pub(super) notes: Arc<Path>,
}

/// Asks the kernel for a group.
///
/// # Errors
/// The kernel has no permission events, or does not let us have them.
pub(super) fn group() -> io::Result<Arc<Fanotify>> {
    let flags = InitFlags::FAN_CLASS_CONTENT
        | InitFlags::FAN_CLOEXEC
        | InitFlags::FAN_NONBLOCK
        | InitFlags::FAN_REPORT_TID
        | InitFlags::FAN_UNLIMITED_MARKS
        | InitFlags::FAN_UNLIMITED_QUEUE;
    let files = EventFFlags::O_RDONLY | EventFFlags::O_LARGEFILE | EventFFlags::O_CLOEXEC;
    let group = Fanotify::init(flags, files)?;
    // Each process that is held takes a descriptor; where there is none left, the kernel would deny it its
    // file.
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let enough = most.max(FILES);
    if setrlimit(Resource::RLIMIT_NOFILE, enough, enough).is_err() {
        setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
        if most < FILES {
            return Err(io::Error::other(format!("only {most} file descriptors are allowed")));
        }
    }
    // Whether the events are there shows at the first mark only; our own program is as good as any, and is
    // ours to execute.
    let own = std::fs::File::open("/proc/self/exe")?;
    let mask = nix::sys::fanotify::MaskFlags::FAN_OPEN_EXEC_PERM;
    for flags in [nix::sys::fanotify::MarkFlags::FAN_MARK_ADD, nix::sys::fanotify::MarkFlags::FAN_MARK_REMOVE]
    {
        group.mark(flags, mask, &own, None::<&Path>)?;
    }
    start::prepare()?;
    Ok(Arc::new(group))
}

/// Where there are notes about threads that are kept to one processor for a moment.
pub(super) fn notes(root: &Path) -> PathBuf {
    root.join(patchfile::paths::RUN).join("pinned")
}

fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    use nix::fcntl::OFlag;
    Ok(nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?)
}

fn drain(fd: &OwnedFd) {
    let mut bytes = [0; 64];
    while nix::unistd::read(fd, &mut bytes).is_ok_and(|n| n > 0) {}
}

impl Watch {
    /// Begins to take events of `group`.
    ///
    /// # Errors
    /// No pipe or thread can be made.
    pub(super) fn begin(
        shared: Arc<Shared>,
        group: Arc<Fanotify>,
        progress: Option<&'static Progress>,
    ) -> io::Result<Arc<Self>> {
        static OWN: Progress = Progress { rounds: AtomicU64::new(0), waiting: AtomicU64::new(0) };
        let progress = progress.unwrap_or(&OWN);
        let (bell, ringer) = pipe()?;
        let poke = pipe()?;
        let (jobs, work) = (Mutex::default(), Condvar::new());
        let notes = notes(&shared.root).into();
        let watch = Arc::new(Self { shared, group, jobs, work, bell, ringer, progress, poke, notes });
        watch.hire(&mut lock(&watch.jobs))?;
        Ok(watch)
    }

    /// Readable when there are start results.
    pub(super) fn bell(&self) -> &OwnedFd {
        &self.bell
    }

    /// Says that there are start results.
    pub(super) fn ring(&self) {
        // Full: it rings already.
        let _ = nix::unistd::write(&self.ringer, b"!");
    }

    /// Findings, and processes that went by, since the last call.
    pub(super) fn take(&self) -> (Vec<StartResult>, Vec<i32>) {
        drain(&self.bell);
        let mut jobs = lock(&self.jobs);
        (std::mem::take(&mut jobs.start_results), std::mem::take(&mut jobs.missed))
    }

    /// Processes whose start is being followed: they are in good hands.
    pub(super) fn followed(&self) -> Vec<i32> {
        let jobs = lock(&self.jobs);
        let tids = jobs.followed.keys().copied().chain(jobs.open.iter().map(|t| t.tid()));
        tids.filter_map(start::process_of).collect()
    }

    /// How often events were waited for so far; asks for another time.
    pub(super) fn pulse(&self) -> u64 {
        let _ = nix::unistd::write(&self.poke.1, b"!");
        self.progress.rounds.load(Ordering::Relaxed)
    }

    /// The next event to see to, for the calling worker. One at a time of those that have nothing to do waits
    /// for events and looks after what waits; when some have come, it hands that over, and sees to one
    /// itself: nobody has to be woken first. `None` when it has had nothing to do for a while.
    pub(super) fn next(self: &Arc<Self>) -> Option<Arc<PermissionEvent>> {
        let mut jobs = lock(&self.jobs);
        loop {
            if let Some(event) = jobs.queue.pop_front() {
                return Some(event);
            }
            if !jobs.watched {
                jobs.watched = true;
                drop(jobs);
                while !self.await_events() {}
                jobs = lock(&self.jobs);
                jobs.watched = false;
                // Before another one is faster, which would have to be woken.
                let event = jobs.queue.pop_front();
                self.work.notify_all();
                if event.is_some() {
                    return event;
                }
                continue;
            }
            jobs.idle += 1;
            let (again, waited) = self.work.wait_timeout(jobs, IDLE).unwrap_or_else(PoisonError::into_inner);
            jobs = again;
            jobs.idle -= 1;
            // One is kept for the next event.
            if waited.timed_out() && jobs.queue.is_empty() && jobs.watched && jobs.idle > 0 {
                return None;
            }
        }
    }

    /// Waits for events and takes them up. `true` where the caller shall see to one of them, since another
    /// one can watch.
    fn await_events(self: &Arc<Self>) -> bool {
        let timeout = self.tick();
        let mut fds = [
            PollFd::new(self.group.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.poke.0.as_fd(), PollFlags::POLLIN),
        ];
        // An error other than an interruption cannot happen with valid descriptors.
        let _ = poll(&mut fds, timeout);
        self.progress.rounds.fetch_add(1, Ordering::Relaxed);
        if fds[1].revents().is_some_and(|r| !r.is_empty()) {
            drain(&self.poke.0);
        }
        // Said before they are taken: stopped right after that, this program is still known to be waited for.
        self.progress.waiting.fetch_max(1, Ordering::Relaxed);
        let Ok(events) = self.group.read_events() else { return false };
        for event in events {
            self.take_up(Arc::new(PermissionEvent::new(
                Arc::clone(&self.group),
                event,
                Arc::clone(&self.notes),
            )));
        }
        let mut jobs = lock(&self.jobs);
        if jobs.queue.is_empty() {
            return false;
        }
        // Another worker waits for events, and the rest take one event each.
        while jobs.idle + jobs.fresh < jobs.queue.len() && jobs.workers < WORKERS {
            if self.hire(&mut jobs).is_err() {
                break;
            }
        }
        jobs.idle + jobs.fresh > 0
    }

    /// Starts another worker.
    fn hire(self: &Arc<Self>, jobs: &mut Jobs) -> io::Result<()> {
        let watch = Arc::clone(self);
        thread::Builder::new().name("upatch-start".into()).spawn(move || worker::work(&watch))?;
        jobs.workers += 1;
        jobs.fresh += 1;
        Ok(())
    }

    /// Answers what has waited too long, and says how long nothing will have.
    fn tick(&self) -> PollTimeout {
        let mut jobs = lock(&self.jobs);
        let now = Instant::now();
        jobs.open.retain(|t| !t.is_answered(now));
        let stale = |job: &&Job| now.saturating_duration_since(job.begun) > WAKE;
        jobs.followed.values().filter(stale).for_each(|job| start::wake(job.worker));
        let waiting = jobs.open.len() + jobs.followed.len();
        self.progress.waiting.store(waiting as u64, Ordering::Relaxed);
        match (jobs.open.is_empty(), jobs.followed.is_empty()) {
            (false, _) => PollTimeout::from(1u8),
            (true, false) => PollTimeout::from(10u8),
            (true, true) => PollTimeout::NONE,
        }
    }

    /// Queues an event for a worker. Dropping the event instead lets the process go on.
    fn take_up(&self, event: Arc<PermissionEvent>) {
        let tid = event.tid();
        let own = tid <= 0 || Path::new(&format!("/proc/self/task/{tid}")).exists();
        let mut jobs = lock(&self.jobs);
        if own || jobs.followed.contains_key(&tid) || jobs.open.len() >= WAITING {
            return;
        }
        jobs.open.push(Arc::clone(&event));
        jobs.queue.push_back(event);
    }
}
