//! Stopping the threads of a process, all together, and letting them go as they were.

use super::{process::Process, restart, sleepers::Sleepers, status};
use crate::{
    Busy, ProcessError,
    sys::{
        ptrace::{self, Registers},
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
}

/// Threads that we hold. Dropping lets them go. A thread that was asked to stop but has not is let go by the kernel when the
/// tracing OS thread ends, which is why every operation runs on an OS thread of its own.
#[derive(Debug)]
pub(crate) struct StoppedThreads {
    threads: Vec<Thread>,
    /// Which of them wait in a call that ends by itself, and since when.
    sleepers: Sleepers,
    /// Was stopped before and stays so.
    kept: Option<i32>,
}

/// Longest wait for a thread to stop. A thread stops as soon as it is scheduled, unless it sleeps uninterruptibly.
const PATIENCE: Duration = Duration::from_millis(100);
/// Wait after which a thread's state is looked at.
const SUSPICION: Duration = Duration::from_millis(2);

/// Why a thread could not be stopped.
enum NotStopped {
    Ended,
    Busy(Busy),
    Error(ProcessError),
}

impl StoppedThreads {
    /// Stops every thread of the process.
    pub(crate) fn all(process: &Process, options: i32) -> Result<Result<Self, Busy>, ProcessError> {
        let pid = process.pid;
        let sleepers = Sleepers::find(process, &status::threads(pid)?);
        let mut held = Self { threads: Vec::new(), sleepers, kept: process.held };
        let mut seen = HashSet::new();
        loop {
            let fresh: Vec<i32> = status::threads(pid)?.into_iter().filter(|t| !seen.contains(t)).collect();
            if fresh.is_empty() {
                break;
            }
            // All are attached before the first is stopped, and all are asked before the first is waited for: the pause is
            // then one scheduling round, not one for each thread.
            let mut attached = Vec::with_capacity(fresh.len());
            for tid in fresh {
                seen.insert(tid);
                if attach(process, tid, options)? {
                    attached.push(tid);
                }
            }
            for tid in attached.iter().filter(|t| process.held != Some(**t)) {
                let _ = ptrace::interrupt(*tid);
            }
            let mut attached = attached.into_iter();
            while let Some(tid) = attached.next() {
                let result = match stopped(process, tid) {
                    Ok(registers) => {
                        held.threads.push(Thread { tid, registers });
                        continue;
                    }
                    Err(NotStopped::Ended) => continue,
                    Err(NotStopped::Busy(busy)) => Ok(Err(busy)),
                    Err(NotStopped::Error(error)) => Err(error),
                };
                // Those that stand go on at once; the others are waited for.
                drop(held);
                release_late(pid, [tid].into_iter().chain(attached));
                return result;
            }
        }
        if held.threads.is_empty() { Err(process.ended()) } else { Ok(Ok(held)) }
    }

    /// Stops one thread. `None` if it has ended.
    pub(crate) fn one(
        process: &Process,
        tid: i32,
        options: i32,
    ) -> Result<Result<Option<Self>, Busy>, ProcessError> {
        let mut sleepers = Sleepers::find(process, &[tid]);
        if !attach(process, tid, options)? {
            return Ok(Ok(None));
        }
        if process.held != Some(tid) {
            let _ = ptrace::interrupt(tid);
        }
        match stopped(process, tid) {
            Ok(registers) => {
                // Before the thread is used for anything, which would look as if it had slept again.
                sleepers.confirm(tid);
                let threads = vec![Thread { tid, registers }];
                Ok(Ok(Some(Self { threads, sleepers, kept: process.held })))
            }
            Err(NotStopped::Ended) => Ok(Ok(None)),
            Err(NotStopped::Busy(busy)) => Ok(Err(busy)),
            Err(NotStopped::Error(error)) => Err(error),
        }
    }

    /// The threads held.
    pub(crate) fn threads(&self) -> &[Thread] {
        &self.threads
    }
}

impl Drop for StoppedThreads {
    fn drop(&mut self) {
        let released = || self.threads.iter().filter(|t| self.kept != Some(t.tid));
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
    }
}

/// Longest wait for threads that were asked to stop for nothing.
const LATE: Duration = Duration::from_secs(2);

/// Lets threads go that were asked to stop but have not been seen to. Each is waited for, since the call it was in may have
/// given up for us, and has to be made again. Nothing is kept from running meanwhile. One that sleeps uninterruptibly has not
/// noticed anything yet; the kernel lets it go when the calling OS thread ends.
fn release_late(pid: i32, tids: impl Iterator<Item = i32>) {
    let started = Instant::now();
    for tid in tids {
        while started.elapsed() < LATE {
            match wait::wait(tid) {
                Ok(Report::Interrupted) => {
                    if let Ok(registers) = ptrace::registers(tid) {
                        restart::again(&Thread { tid, registers }, &Sleepers::default());
                    }
                    let _ = ptrace::detach(tid);
                    break;
                }
                Ok(Report::Signal(signal)) => {
                    let _ = ptrace::cont(tid, signal);
                }
                Ok(Report::Syscall | Report::Event(_)) => {
                    let _ = ptrace::cont(tid, 0);
                }
                Ok(Report::Nothing) if status::thread(pid, tid).is_ok_and(|s| s.state != b'D') => {}
                Ok(Report::Nothing | Report::Ended) | Err(_) => break,
            }
        }
    }
}

/// Attaches to a thread without stopping it. `false` if it has ended.
fn attach(process: &Process, tid: i32, options: i32) -> Result<bool, ProcessError> {
    if process.held == Some(tid) {
        return Ok(ptrace::set_options(tid, options).is_ok());
    }
    let Err(error) = ptrace::seize(tid, options) else { return Ok(true) };
    match error.raw_os_error() {
        Some(libc::ESRCH) => Ok(false),
        // Also what the kernel says about a thread that has ended but is not gone, such as the first thread of a process
        // whose other threads go on.
        Some(libc::EPERM) => match status::thread(process.pid, tid) {
            Ok(stat) if matches!(stat.state, b'Z' | b'X') => Ok(false),
            Err(ProcessError::Gone) => Ok(false),
            _ => Err(refusal(process)),
        },
        _ => Err(ProcessError::Os { what: format!("cannot attach to thread {tid}"), source: error }),
    }
}

fn refusal(process: &Process) -> ProcessError {
    match status::status(process.pid) {
        Ok(status) if status.tracer != 0 => ProcessError::Traced { by: status.tracer },
        Ok(_) => ProcessError::NotPermitted {
            why: "the kernel does not let this user trace it; run as root (or see kernel.yama.ptrace_scope)"
                .into(),
        },
        Err(error) => error,
    }
}

/// The registers of a thread, once it has stopped.
fn stopped(process: &Process, tid: i32) -> Result<Registers, NotStopped> {
    if process.held == Some(tid) {
        // It can only have been killed meanwhile.
        return ptrace::registers(tid).map_err(|_| NotStopped::Ended);
    }
    await_stop(process.pid, tid)
}

/// Waits until a thread that was asked to stop has done so. Signals that come first are delivered: the thread then stops at
/// the first instruction of the handler.
fn await_stop(pid: i32, tid: i32) -> Result<Registers, NotStopped> {
    let started = Instant::now();
    loop {
        let os = |e: io::Error| match e.raw_os_error() {
            Some(libc::ESRCH) => NotStopped::Ended,
            _ => NotStopped::Error(ProcessError::Os { what: format!("cannot stop thread {tid}"), source: e }),
        };
        match wait::wait(tid).map_err(os)? {
            Report::Interrupted => return ptrace::registers(tid).map_err(os),
            Report::Ended => return Err(NotStopped::Ended),
            Report::Signal(signal) => ptrace::cont(tid, signal).map_err(os)?,
            Report::Syscall | Report::Event(_) => ptrace::cont(tid, 0).map_err(os)?,
            Report::Nothing => {
                let waited = started.elapsed();
                if waited > SUSPICION && status::thread(pid, tid).is_ok_and(|s| s.state == b'D') {
                    let why = "sleeps uninterruptibly (in vfork, or waiting for a device)".into();
                    return Err(NotStopped::Busy(Busy { tid, function: None, why }));
                }
                if waited > PATIENCE {
                    let why = "does not stop".into();
                    return Err(NotStopped::Busy(Busy { tid, function: None, why }));
                }
            }
        }
    }
}
