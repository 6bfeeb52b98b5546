//! Stopping the threads of a process, all together, and letting them go as they were.

use super::{own, process::Process, restart, sleepers::Sleepers, status};
use crate::{
    Busy, ProcessError,
    arch::Registers,
    engine::Hindrance,
    sys::{
        ptrace,
        wait::{self, Report},
    },
};
use std::{
    collections::HashSet,
    io,
    time::{Duration, Instant},
};

/// A thread that is stopped by us.
#[derive(Debug)]
pub(crate) struct Thread {
    /// Its id.
    pub tid: i32,
    /// Its registers when it stopped.
    pub registers: Registers,
    /// Its process is stopped by job control: it must not run.
    pub suspended: bool,
}

/// Threads that we hold. Dropping lets them go. A thread that was asked to stop but has not is let go by the
/// kernel when the tracing OS thread ends, which is why every operation runs on an OS thread of its own.
#[derive(Debug)]
pub(crate) struct StoppedThreads {
    pid: i32,
    threads: Vec<Thread>,
    /// Threads that were asked to stop.
    seen: HashSet<i32>,
    /// Threads among them that have not stopped yet.
    late: Vec<i32>,
    /// Which of them wait in a call that ends by itself, and since when.
    sleepers: Sleepers,
    /// Threads that stay stopped when the others are let go.
    kept: Vec<i32>,
}

/// Longest wait for a thread to stop. A thread stops as soon as it is scheduled, unless it sleeps
/// uninterruptibly.
const PATIENCE: Duration = Duration::from_millis(100);
/// Wait after which a thread's state is looked at.
const SUSPICION: Duration = Duration::from_millis(2);

/// Shortest wait that is worth a timer.
const SHORTEST: Duration = Duration::from_micros(20);

/// Why a thread could not be stopped.
enum NotStopped {
    Ended,
    Hindered(Hindrance),
}

impl StoppedThreads {
    /// Stops every thread of the process. Those of `ours` are stopped already, and stay so if that fails.
    pub(crate) fn all(process: &Process, options: i32, ours: &[i32]) -> Result<Self, Hindrance> {
        if process.begins()
            && let Some(hold) = process.held
        {
            // It is the only one.
            return Self::one(process, hold.tid, options)?.ok_or_else(|| process.ended().into());
        }
        let sleepers = Sleepers::find(process, &status::threads(process.pid)?);
        let mut held = Self {
            pid: process.pid,
            threads: Vec::new(),
            seen: HashSet::new(),
            late: Vec::new(),
            sleepers,
            kept: process.held.iter().map(|h| h.tid).chain(ours.iter().copied()).collect(),
        };
        for tid in ours {
            held.seen.insert(*tid);
            // Reading fails for a thread that was killed.
            if let Ok(registers) = Registers::read(*tid) {
                held.threads.push(Thread { tid: *tid, registers, suspended: false });
            }
        }
        held.rest(process, options)?;
        let Some(first) = held.threads.first() else { return Err(process.ended().into()) };
        process.is_as_seen(first.tid)?;
        held.kept.retain(|tid| process.holds(*tid));
        Ok(held)
    }

    /// Notes threads that are to stay stopped when the others are let go.
    pub(crate) fn leave_stopped(&mut self, tids: impl Iterator<Item = i32>) {
        self.kept.extend(tids);
    }

    /// Stops the threads that are not held yet. Returns their ids.
    pub(crate) fn rest(&mut self, process: &Process, options: i32) -> Result<Vec<i32>, Hindrance> {
        let from = self.threads.len();
        loop {
            let all = status::threads(self.pid)?;
            let fresh: Vec<i32> = all.into_iter().filter(|t| !self.seen.contains(t)).collect();
            if fresh.is_empty() {
                break;
            }
            // All are attached before the first is stopped, and all are asked before the first is waited for:
            // the pause is then one scheduling round, not one for each thread.
            let mut attached = Vec::with_capacity(fresh.len());
            for tid in fresh {
                self.seen.insert(tid);
                if attach(process, tid, options)? {
                    attached.push(tid);
                }
            }
            for tid in attached.iter().filter(|t| !process.holds(**t)) {
                let _ = ptrace::interrupt(*tid);
            }
            let mut attached = attached.into_iter();
            while let Some(tid) = attached.next() {
                let hindrance = match stopped(process, tid, Duration::ZERO) {
                    Ok(thread) => {
                        self.threads.push(thread);
                        continue;
                    }
                    Err(NotStopped::Ended) => continue,
                    Err(NotStopped::Hindered(hindrance)) => hindrance,
                };
                // The one that whoever called us holds stays with them.
                let asked = [tid].into_iter().chain(attached).filter(|t| !process.holds(*t));
                self.late.extend(asked);
                return Err(hindrance);
            }
        }
        Ok(self.threads[from..].iter().map(|t| t.tid).collect())
    }

    /// Lets one of the threads run on, for about `slice` or to where its next system call is done, and stops
    /// it again. `false` if it has ended.
    pub(crate) fn advance(&mut self, tid: i32, options: i32, slice: Duration) -> Result<bool, Hindrance> {
        let Some(index) = self.threads.iter().position(|t| t.tid == tid) else { return Ok(false) };
        restart::again(&self.threads[index], &self.sleepers);
        self.sleepers.forget(tid);
        let stopped = ptrace::set_options(tid, options | ptrace::SYSGOOD)
            .and_then(|()| run_on(tid, slice))
            .map_err(|e| not_stopped(tid, e))
            .and_then(|()| await_stop(self.pid, tid, Duration::ZERO));
        match stopped {
            Ok(thread) => {
                self.threads[index] = thread;
                Ok(true)
            }
            Err(why) => {
                self.threads.swap_remove(index);
                match why {
                    NotStopped::Ended => Ok(false),
                    NotStopped::Hindered(hindrance) => {
                        if matches!(hindrance, Hindrance::Busy(_)) {
                            self.late.push(tid);
                        }
                        Err(hindrance)
                    }
                }
            }
        }
    }

    /// Stops one thread. `None` if it has ended.
    pub(crate) fn one(process: &Process, tid: i32, options: i32) -> Result<Option<Self>, Hindrance> {
        // One that is held waits in no call.
        let mut sleepers =
            if process.holds(tid) { Sleepers::default() } else { Sleepers::find(process, &[tid]) };
        if !attach(process, tid, options)? {
            return Ok(None);
        }
        if !process.holds(tid) {
            let _ = ptrace::interrupt(tid);
        }
        match stopped(process, tid, process.wait) {
            Ok(thread) => {
                // Before the thread is used for anything, which would look as if it had slept again.
                sleepers.confirm(tid);
                let threads = vec![thread];
                let (seen, late) = (HashSet::from([tid]), Vec::new());
                let (pid, kept) = (process.pid, process.held.iter().map(|h| h.tid).collect());
                let held = Self { pid, threads, seen, late, sleepers, kept };
                process.is_as_seen(tid)?;
                Ok(Some(held))
            }
            Err(NotStopped::Ended) => Ok(None),
            Err(NotStopped::Hindered(hindrance)) => {
                if matches!(hindrance, Hindrance::Busy(_)) {
                    release_late(process.pid, [tid].into_iter());
                }
                Err(hindrance)
            }
        }
    }

    /// The threads held.
    pub(crate) fn threads(&self) -> &[Thread] {
        &self.threads
    }
}

impl Drop for StoppedThreads {
    fn drop(&mut self) {
        let released = || self.threads.iter().filter(|t| !self.kept.contains(&t.tid));
        let (sleeping, others): (Vec<_>, Vec<_>) = released().partition(|t| self.sleepers.holds(t.tid));
        // Errors mean that the thread was killed meanwhile: there is nothing left to let go.
        for thread in &others {
            restart::again(thread, &self.sleepers);
        }
        for thread in others {
            let _ = ptrace::detach(thread.tid);
        }
        // These wait anyway, and finding out for how much longer takes its time.
        for thread in sleeping {
            self.sleepers.confirm(thread.tid);
            restart::again(thread, &self.sleepers);
            let _ = ptrace::detach(thread.tid);
        }
        // Threads that have stopped go on at once; the others are waited for.
        release_late(self.pid, self.late.iter().copied());
    }
}

/// Lets a stopped thread of ours go on, still ours. What our stop has made give up goes on as well.
pub(crate) fn go_on(tid: i32) -> io::Result<()> {
    let thread = Thread { tid, registers: Registers::read(tid)?, suspended: false };
    restart::again(&thread, &Sleepers::default());
    ptrace::cont(tid, 0)
}

/// Stops a running thread of ours. `false` where it does not stop, or has ended.
pub(crate) fn stop_again(tid: i32) -> bool {
    ptrace::interrupt(tid).is_ok() && await_stop(tid, tid, Duration::ZERO).is_ok()
}

/// Lets stopped threads of ours go.
pub(crate) fn release(tids: &mut Vec<i32>) {
    for tid in tids.drain(..) {
        if let Ok(registers) = Registers::read(tid) {
            restart::again(&Thread { tid, registers, suspended: false }, &Sleepers::default());
        }
        let _ = ptrace::detach(tid);
    }
}

/// Waits for a thread that was asked to stop while it slept uninterruptibly.
pub(crate) fn await_return(tid: i32, until: Instant) -> bool {
    while Instant::now() < until {
        match wait::wait_for(tid, SUSPICION) {
            Ok(Report::Interrupted) => return true,
            Ok(Report::Nothing) => {}
            Ok(Report::Signal(signal)) => drop(ptrace::cont_to_interrupt(tid, signal)),
            Ok(Report::Syscall | Report::Event(_)) => drop(ptrace::cont_to_interrupt(tid, 0)),
            Ok(Report::Suspended | Report::Ended) | Err(_) => return false,
        }
    }
    false
}

/// Longest wait for threads that were asked to stop for nothing.
const LATE: Duration = Duration::from_secs(2);

/// Lets threads go that were asked to stop but have not been seen to. Each is waited for, since the call it
/// was in may have given up for us, and has to be made again. Nothing is kept from running meanwhile. One
/// that sleeps uninterruptibly has not noticed anything yet; the kernel lets it go when the calling OS thread
/// ends.
fn release_late(pid: i32, tids: impl Iterator<Item = i32>) {
    let started = Instant::now();
    for tid in tids {
        while started.elapsed() < LATE {
            match wait::wait(tid) {
                Ok(Report::Interrupted | Report::Suspended) => {
                    if let Ok(registers) = Registers::read(tid) {
                        restart::again(&Thread { tid, registers, suspended: false }, &Sleepers::default());
                    }
                    let _ = ptrace::detach(tid);
                    break;
                }
                Ok(Report::Signal(signal)) => {
                    let _ = ptrace::cont_to_interrupt(tid, signal);
                }
                Ok(Report::Syscall | Report::Event(_)) => {
                    let _ = ptrace::cont_to_interrupt(tid, 0);
                }
                Ok(Report::Nothing) if status::thread(pid, tid).is_ok_and(|s| s.state != b'D') => {}
                Ok(Report::Nothing | Report::Ended) | Err(_) => break,
            }
        }
    }
}

/// Attaches to a thread without stopping it. `false` if it has ended.
fn attach(process: &Process, tid: i32, options: i32) -> Result<bool, ProcessError> {
    let held = process.holds(tid);
    let done = if held { ptrace::set_options(tid, options) } else { ptrace::seize(tid, options) };
    let Err(error) = done else { return Ok(true) };
    match error.raw_os_error() {
        Some(libc::ESRCH) => Ok(false),
        // Also what the kernel says about a thread that has ended but is not gone, such as the first thread
        // of a process whose other threads go on.
        Some(libc::EPERM) => match status::thread(process.pid, tid) {
            Ok(stat) if matches!(stat.state, b'Z' | b'X') => Ok(false),
            Err(ProcessError::Gone) => Ok(false),
            _ => Err(refusal(process, held, options)),
        },
        _ if held => Ok(false),
        _ => Err(ProcessError::Os { what: format!("cannot attach to thread {tid}"), source: error }),
    }
}

/// Why the kernel does not let us attach (`ptrace_attach` and `check_ptrace_options` in kernel/ptrace.c).
fn refusal(process: &Process, held: bool, options: i32) -> ProcessError {
    let filters = options & ptrace::SUSPEND_SECCOMP != 0;
    match status::status(process.pid) {
        Ok(status) if status.tracer != 0 && !held => ProcessError::Traced { by: status.tracer },
        Ok(_) => ProcessError::NotPermitted { why: own::denied(filters).into() },
        Err(error) => error,
    }
}

/// A thread, once it has stopped.
fn stopped(process: &Process, tid: i32, asleep: Duration) -> Result<Thread, NotStopped> {
    if process.holds(tid) {
        // It can only have been killed meanwhile.
        let registers = Registers::read(tid).map_err(|_| NotStopped::Ended)?;
        return Ok(Thread { tid, registers, suspended: false });
    }
    await_stop(process.pid, tid, asleep)
}

/// Lets a stopped thread go on, and asks it to stop once it has come out of a system call, or when the time
/// is over.
fn run_on(tid: i32, slice: Duration) -> io::Result<()> {
    let until = Instant::now() + slice;
    let (mut signal, mut entered) = (0, false);
    loop {
        ptrace::syscall(tid, signal)?;
        signal = 0;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match wait::wait_for(tid, left.max(SHORTEST))? {
                // From here it runs no instruction before it stops for `interrupt`.
                Report::Syscall if entered => {
                    return ptrace::cont_to_interrupt(tid, 0);
                }
                Report::Syscall => entered = true,
                Report::Signal(number) => signal = number,
                Report::Event(_) => {}
                // Job control has come first.
                Report::Interrupted | Report::Suspended => {
                    return ptrace::cont_to_interrupt(tid, 0);
                }
                Report::Ended => return Err(io::Error::from_raw_os_error(libc::ESRCH)),
                Report::Nothing if left.is_zero() => return ptrace::interrupt(tid),
                Report::Nothing => continue,
            }
            break;
        }
    }
}

fn not_stopped(tid: i32, error: io::Error) -> NotStopped {
    match error.raw_os_error() {
        Some(libc::ESRCH) => NotStopped::Ended,
        _ => {
            let what = format!("cannot stop thread {tid}");
            NotStopped::Hindered(ProcessError::Os { what, source: error }.into())
        }
    }
}

/// Waits until a thread that was asked to stop has done so. Signals that come first are delivered: the thread
/// then stops at the first instruction of the handler. One that sleeps uninterruptibly has at least the time
/// `asleep`.
fn await_stop(pid: i32, tid: i32, asleep: Duration) -> Result<Thread, NotStopped> {
    let started = Instant::now();
    loop {
        let os = |error| not_stopped(tid, error);
        match wait::wait(tid).map_err(os)? {
            report @ (Report::Interrupted | Report::Suspended) => {
                let suspended = report == Report::Suspended;
                return Ok(Thread { tid, registers: Registers::read(tid).map_err(os)?, suspended });
            }
            Report::Ended => return Err(NotStopped::Ended),
            Report::Signal(signal) => ptrace::cont_to_interrupt(tid, signal).map_err(os)?,
            Report::Syscall | Report::Event(_) => ptrace::cont_to_interrupt(tid, 0).map_err(os)?,
            Report::Nothing => {
                let waited = started.elapsed();
                if waited > SUSPICION.max(asleep) && status::thread(pid, tid).is_ok_and(|s| s.state == b'D') {
                    return Err(NotStopped::Hindered(Busy::asleep(tid).into()));
                }
                if waited > PATIENCE.max(asleep) {
                    let why = "does not stop".into();
                    return Err(NotStopped::Hindered(Busy { tid, function: None, why }.into()));
                }
            }
        }
    }
}
