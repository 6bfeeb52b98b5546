//! One operation on many processes: side by side, busy ones tried again until time is up, no process ever
//! left half done.

use super::{backend::SurveyedProcess, error::exit_of, stop_request::StopRequest};
use crate::{
    Outcome, ProcessError,
    state::{Event, ProcessKey},
};
use patchfile::{Uuid, exit::ManageExit, state::ProcessState};
use std::{
    num::NonZero,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// First and longest pause between two tries.
const PAUSE: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(200));

/// Most threads at work.
const WORKERS: usize = 8;

/// How it ended with one process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ProcessOutcome {
    /// Changed now.
    Done,
    /// Changed now, with this to be known.
    DoneBut(String),
    /// Was so already.
    Already,
    /// Not yet.
    Pending(String),
    /// The change is not possible, and the exit code where no process can be changed.
    Refused(String, ManageExit),
    /// The process ended by itself, or its program did: neither success nor failure.
    Gone,
}

impl ProcessOutcome {
    /// As it is kept and shown.
    pub(crate) fn state(&self) -> ProcessState {
        match self {
            Self::Pending(why) => ProcessState::Pending { why: why.clone() },
            Self::Refused(why, _) => ProcessState::Refused { why: why.clone() },
            Self::Done | Self::DoneBut(_) | Self::Already | Self::Gone => ProcessState::Patched,
        }
    }

    /// What a result of the engine means.
    pub(crate) fn of(result: Result<Outcome, ProcessError>) -> Self {
        match result {
            Ok(Outcome::Done) => Self::Done,
            Ok(Outcome::DoneBut(what)) => Self::DoneBut(what),
            // Nothing to take out any more.
            Ok(Outcome::Already) | Err(ProcessError::NotLoaded) => Self::Already,
            Ok(Outcome::Busy(busy)) => Self::Pending(busy.to_string()),
            // Only processes that were seen to map the target come here.
            Err(ProcessError::Gone | ProcessError::Zombie | ProcessError::NotMapped) => Self::Gone,
            // Another one of us (the service, at a process that is just starting) is done in an instant.
            Err(ProcessError::Traced { by }) if is_upatch(by) => {
                Self::Pending(format!("another upatch (process {by}) is at it"))
            }
            Err(error) => Self::Refused(error.to_string(), exit_of(&error)),
        }
    }
}

/// By the name of the thread that traces; who lies about it only gets another try.
fn is_upatch(pid: i32) -> bool {
    std::fs::read(format!("/proc/{pid}/comm")).is_ok_and(|name| name.starts_with(b"upatch"))
}

/// One process and how it ended with it.
#[derive(Clone, Debug)]
pub(crate) struct ProcessResult {
    /// The process.
    pub key: ProcessKey,
    /// Its name.
    pub comm: String,
    /// How it ended.
    pub outcome: ProcessOutcome,
}

impl ProcessResult {
    /// An event of the log about it.
    pub(crate) fn event(&self, verb: &str, id: &str, uuid: Uuid, outcome: String) -> Event {
        Event::new(verb, id, uuid, outcome).on(self.key.pid, &self.comm)
    }

    /// The events where it was changed, which is called `done`.
    pub(crate) fn done(&self, verb: &str, id: &str, uuid: Uuid, done: &str) -> Vec<Event> {
        let mut events = vec![self.event(verb, id, uuid, done.into())];
        if let ProcessOutcome::DoneBut(what) = &self.outcome {
            events.push(self.event(verb, id, uuid, format!("warning: {what}")));
        }
        events
    }
}

/// How it ended with all.
#[derive(Clone, Debug, Default)]
pub(crate) struct Results {
    /// In the order given.
    pub lines: Vec<ProcessResult>,
    /// Was it stopped before the end?
    pub interrupted: bool,
    /// What was in force in processes and gives way to what is brought into force.
    pub replaces: Vec<(ProcessKey, Uuid)>,
}

impl Results {
    /// Number of processes where `test` holds.
    pub(crate) fn count(&self, test: impl Fn(&ProcessOutcome) -> bool) -> usize {
        self.lines.iter().filter(|l| test(&l.outcome)).count()
    }

    /// Processes now as wanted.
    pub(crate) fn reached(&self) -> usize {
        self.count(|e| {
            matches!(e, ProcessOutcome::Done | ProcessOutcome::DoneBut(_) | ProcessOutcome::Already)
        })
    }

    /// Processes not as wanted, that still live.
    pub(crate) fn missed(&self) -> impl Iterator<Item = &ProcessResult> {
        self.lines
            .iter()
            .filter(|l| matches!(l.outcome, ProcessOutcome::Pending(_) | ProcessOutcome::Refused(..)))
    }

    /// Adds the results of another run.
    pub(crate) fn extend(&mut self, other: Self) {
        for line in other.lines {
            self.lines.retain(|l| l.key != line.key);
            self.lines.push(line);
        }
        self.interrupted |= other.interrupted;
        self.replaces.extend(other.replaces);
    }

    /// The exit code: when everything was refused, what it was refused for.
    pub(crate) fn exit(&self) -> ManageExit {
        let mut refusals = self.lines.iter().filter_map(|l| match &l.outcome {
            ProcessOutcome::Refused(_, exit) => Some(*exit),
            _ => None,
        });
        match (self.missed().next(), refusals.next()) {
            (None, _) => ManageExit::Done,
            (_, Some(first)) if self.all_refused() => {
                if refusals.all(|e| e == first) {
                    first
                } else {
                    ManageExit::Failed
                }
            }
            _ => ManageExit::Partly,
        }
    }

    /// Refused everywhere, so nothing was changed?
    pub(crate) fn all_refused(&self) -> bool {
        let refused = self.count(|e| matches!(e, ProcessOutcome::Refused(..)));
        refused > 0 && refused == self.lines.len() - self.count(|e| *e == ProcessOutcome::Gone)
    }
}

/// What keeps a process from being changed just now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Obstacle<'a> {
    /// The process.
    pub process: &'a SurveyedProcess,
    /// Which thread, and where it is.
    pub why: &'a str,
    /// For how long this has been so, as far as it was seen.
    pub since: Duration,
}

/// Does `work` on every process, again on busy ones until `timeout` has passed (zero: one try each). `tell`
/// learns of what is in the way between two tries, and at the end that nothing is.
pub(crate) fn for_each_process(
    processes: &[SurveyedProcess],
    timeout: Duration,
    stop: &dyn StopRequest,
    tell: &dyn Fn(&[Obstacle<'_>]),
    work: impl Fn(ProcessKey) -> Result<Outcome, ProcessError> + Sync,
) -> Results {
    let began = Instant::now();
    let until = began + timeout;
    let mut since = vec![began; processes.len()];
    let _batch = crate::batch();
    let mut outcomes: Vec<Option<ProcessOutcome>> = vec![None; processes.len()];
    let mut open: Vec<usize> = (0..processes.len()).collect();
    let mut pause = PAUSE.0;
    let mut interrupted = false;
    while !open.is_empty() {
        for (index, outcome) in round(&open, processes, stop, &work) {
            // A thread that is elsewhere now is another obstacle.
            if outcomes[index].as_ref() != Some(&outcome) {
                since[index] = Instant::now();
            }
            outcomes[index] = Some(outcome);
        }
        open.retain(|i| matches!(outcomes[*i], None | Some(ProcessOutcome::Pending(_))));
        let left = until.saturating_duration_since(Instant::now());
        interrupted = stop.asked();
        if open.is_empty() || interrupted || left.is_zero() {
            break;
        }
        let obstacle = |i: &usize| match &outcomes[*i] {
            Some(ProcessOutcome::Pending(why)) => {
                Some(Obstacle { process: &processes[*i], why, since: since[*i].elapsed() })
            }
            _ => None,
        };
        tell(&open.iter().filter_map(obstacle).collect::<Vec<_>>());
        stop.wait(pause.min(left));
        pause = (pause * 2).min(PAUSE.1);
    }
    tell(&[]);
    let ended = |e: Option<ProcessOutcome>| {
        e.unwrap_or_else(|| ProcessOutcome::Pending("interrupted before it was its turn".into()))
    };
    let line =
        |(p, e): (&SurveyedProcess, _)| ProcessResult { key: p.key, comm: p.comm.clone(), outcome: ended(e) };
    Results { lines: processes.iter().zip(outcomes).map(line).collect(), interrupted, replaces: Vec::new() }
}

/// One try on each process in `open`, a few at a time. Those not begun when a stop is asked for are left out.
fn round(
    open: &[usize],
    processes: &[SurveyedProcess],
    stop: &dyn StopRequest,
    work: &(impl Fn(ProcessKey) -> Result<Outcome, ProcessError> + Sync),
) -> Vec<(usize, ProcessOutcome)> {
    let next = AtomicUsize::new(0);
    let outcomes = Mutex::new(Vec::with_capacity(open.len()));
    let worker = || {
        while let Some(&index) = open.get(next.fetch_add(1, Ordering::Relaxed)) {
            if stop.asked() {
                break;
            }
            let outcome = ProcessOutcome::of(work(processes[index].key));
            tracing::debug!(pid = processes[index].key.pid, ?outcome, "tried");
            outcomes.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((index, outcome));
        }
    };
    let workers = thread::available_parallelism().map_or(1, NonZero::get).min(WORKERS).min(open.len());
    if workers <= 1 {
        worker();
    } else {
        thread::scope(|scope| (0..workers).for_each(|_| drop(scope.spawn(worker))));
    }
    outcomes.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
}
