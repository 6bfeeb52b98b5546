#![expect(unsafe_code, reason = "waitpid of a traced thread and tgkill have no safe interface in std")]
//! waitpid(2) for traced threads.

use super::alarm::Alarm;
use std::{
    cell::Cell,
    hint, io,
    num::NonZero,
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

/// What a traced thread reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Report {
    /// Nothing new.
    Nothing,
    /// It ended.
    Ended,
    /// Stopped by us.
    Interrupted,
    /// As `Interrupted`, or without being asked, while job control has stopped the process.
    Suspended,
    /// At the entry to or exit from a system call.
    Syscall,
    /// About to receive this signal.
    Signal(i32),
    /// Another ptrace event.
    Event(i32),
}

/// How often it is asked before the calling thread goes to sleep, some 50 µs: a thread that runs, or that an
/// idle processor has to be woken for, stops within that time, and being woken ourselves would take as long
/// again.
const ASKED: usize = 150;
/// Longest sleep.
const NAP: Duration = Duration::from_millis(1);

/// OS threads of ours that trace something.
static TRACERS: AtomicUsize = AtomicUsize::new(0);

/// Counts the calling OS thread among those that trace, for as long as it lives.
#[derive(Debug)]
pub(crate) struct Tracing(());

impl Tracing {
    /// Begins.
    pub(crate) fn begin() -> Self {
        TRACERS.fetch_add(1, Ordering::Relaxed);
        Self(())
    }
}

impl Drop for Tracing {
    fn drop(&mut self) {
        TRACERS.fetch_sub(1, Ordering::Relaxed);
    }
}

thread_local! {
    static SHARES: Cell<bool> = const { Cell::new(false) };
}

/// Notes that the calling OS thread is likely to share its processor with the one thread that it traces. From
/// then on it sleeps while it waits.
pub(crate) fn share_processor() {
    SHARES.set(true);
}

/// Is there a processor for every tracer and for a thread that is to stop? Otherwise asking again and again
/// keeps just that thread from running.
fn may_ask_often() -> bool {
    if SHARES.get() {
        return false;
    }
    static PROCESSORS: OnceLock<usize> = OnceLock::new();
    match TRACERS.load(Ordering::Relaxed) {
        // Not worth a look at the number of processors.
        0 | 1 => true,
        tracers => {
            tracers < *PROCESSORS.get_or_init(|| thread::available_parallelism().map_or(1, NonZero::get))
        }
    }
}

thread_local! {
    static ALARM: Option<Alarm> = Alarm::new().ok();
}

/// Waits for a report of `tid`, not much longer than a millisecond: then [`Report::Nothing`].
pub(crate) fn wait(tid: i32) -> io::Result<Report> {
    for _ in 0..if may_ask_often() { ASKED } else { 1 } {
        match ask(tid, libc::WNOHANG)? {
            Report::Nothing => hint::spin_loop(),
            report => return Ok(report),
        }
    }
    ask_asleep(tid, NAP)
}

/// Waits for a report of `tid` for about so long. The calling thread sleeps: the one that is waited for may
/// need its processor.
pub(crate) fn wait_for(tid: i32, time: Duration) -> io::Result<Report> {
    let first = ask(tid, libc::WNOHANG)?;
    if first != Report::Nothing {
        return Ok(first);
    }
    ask_asleep(tid, time.min(NAP))
}

/// Waits for a report of any thread that the calling OS thread traces, not much longer than a millisecond.
pub(crate) fn wait_any() -> io::Result<Option<(i32, Report)>> {
    let any = |flags| ask_for(-1, libc::__WNOTHREAD | flags);
    let (tid, report) = ALARM.with(|alarm| match alarm {
        Some(alarm) => {
            alarm.every(NAP);
            let report = any(0);
            alarm.every(Duration::ZERO);
            report
        }
        None => {
            thread::sleep(NAP / 20);
            any(libc::WNOHANG)
        }
    })?;
    Ok((tid > 0).then_some((tid, report)))
}

/// Asks once, asleep until there is a report or the time is over; without a timer, looks again after a
/// shorter time.
fn ask_asleep(tid: i32, time: Duration) -> io::Result<Report> {
    ALARM.with(|alarm| match alarm {
        Some(alarm) => {
            alarm.every(time);
            let report = ask(tid, 0);
            alarm.every(Duration::ZERO);
            report
        }
        None => {
            thread::sleep(time.min(NAP / 20));
            ask(tid, libc::WNOHANG)
        }
    })
}

fn ask(tid: i32, flags: i32) -> io::Result<Report> {
    ask_for(tid, flags).map(|(_, report)| report)
}

/// Asks for a report of one thread or, for -1, of any thread. Tells which.
fn ask_for(tid: i32, flags: i32) -> io::Result<(i32, Report)> {
    let mut status = 0;
    // SAFETY: the kernel writes one int.
    let rc = unsafe { libc::waitpid(tid, &raw mut status, libc::__WALL | flags) };
    if rc == 0 {
        return Ok((0, Report::Nothing));
    }
    if rc < 0 {
        let error = io::Error::last_os_error();
        return match error.raw_os_error() {
            Some(libc::EINTR) => Ok((0, Report::Nothing)),
            Some(libc::ECHILD) => Ok((0, Report::Ended)),
            _ => Err(error),
        };
    }
    if !libc::WIFSTOPPED(status) {
        return Ok((rc, Report::Ended));
    }
    let signal = libc::WSTOPSIG(status);
    let report = match status >> 16 {
        libc::PTRACE_EVENT_STOP if signal == libc::SIGTRAP => Report::Interrupted,
        libc::PTRACE_EVENT_STOP => Report::Suspended,
        0 if signal == libc::SIGTRAP | 0x80 => Report::Syscall,
        0 => Report::Signal(signal),
        event => Report::Event(event),
    };
    Ok((rc, report))
}

/// Sends a signal to one thread of a process; 0: only asks whether that has such a thread.
pub(crate) fn send(pid: i32, tid: i32, signal: i32) -> io::Result<()> {
    // SAFETY: takes integers only.
    let rc = unsafe { libc::syscall(libc::SYS_tgkill, pid, tid, signal) };
    if rc < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Ends this very process at once, as `kill -9` would. For tests of what happens then.
pub(crate) fn kill_self() {
    // SAFETY: takes integers only.
    unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
}
