#![expect(
    unsafe_code,
    reason = "waitpid for any tracee of one thread and sigaction have no safe interface in std"
)]
//! waitpid(2) for whatever the calling OS thread traces, and a way to end such a wait from another thread.

use std::{
    io,
    mem::{self, MaybeUninit},
    ptr,
};

/// What a tracee reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Its process executes another program now.
    Exec,
    /// It was interrupted by us.
    Interrupted,
    /// It stopped with its whole process (job control).
    Group,
    /// At the entry to or exit from a system call.
    Syscall,
    /// About to receive this signal.
    Signal(i32),
    /// Another ptrace event.
    Other,
    /// It ended.
    Ended,
}

/// Waits for the next report of any thread that the calling OS thread traces. `None` after [`wake`].
///
/// # Errors
/// `ECHILD` when it traces none.
pub(crate) fn next() -> io::Result<Option<(i32, Stop)>> {
    let mut status = 0;
    // SAFETY: the kernel writes one int.
    let tid = unsafe { libc::waitpid(-1, &raw mut status, libc::__WALL | libc::__WNOTHREAD) };
    if tid < 0 {
        let error = io::Error::last_os_error();
        return if error.raw_os_error() == Some(libc::EINTR) { Ok(None) } else { Err(error) };
    }
    if !libc::WIFSTOPPED(status) {
        return Ok(Some((tid, Stop::Ended)));
    }
    let signal = libc::WSTOPSIG(status);
    let stop = match status >> 16 {
        libc::PTRACE_EVENT_EXEC => Stop::Exec,
        libc::PTRACE_EVENT_STOP if signal == libc::SIGTRAP => Stop::Interrupted,
        libc::PTRACE_EVENT_STOP => Stop::Group,
        0 if signal == libc::SIGTRAP | 0x80 => Stop::Syscall,
        0 => Stop::Signal(signal),
        _ => Stop::Other,
    };
    Ok(Some((tid, stop)))
}

/// The signal that ends a wait. Only [`wake`] sends it to this program.
const WAKE: i32 = libc::SIGUSR1;

extern "C" fn nothing(_: i32) {}

/// Makes [`wake`] work. To be called once, before threads are woken.
///
/// # Errors
/// The kernel refuses the handler.
pub(crate) fn make_wakeable() -> io::Result<()> {
    // SAFETY: all-zero is a value of this plain C structure: no flags (so that waits are not restarted), an
    // empty mask.
    let mut action: libc::sigaction = unsafe { mem::zeroed() };
    action.sa_sigaction = nothing as extern "C" fn(i32) as usize;
    // SAFETY: the handler does nothing, which is safe at any point.
    let rc = unsafe { libc::sigaction(WAKE, &raw const action, ptr::null_mut()) };
    if rc < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Ends the wait of a thread of this program, if it waits. A wake that comes too early is lost: wake it
/// again.
pub(crate) fn wake(tid: i32) {
    // SAFETY: takes integers only.
    unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), tid, WAKE) };
}

/// Lets the calling thread be woken, whatever whoever started this program has blocked. Gives its id.
pub(crate) fn enter() -> i32 {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: the set is initialised by the first call; none of them can fail for valid arguments.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), WAKE);
        libc::pthread_sigmask(libc::SIG_UNBLOCK, set.as_ptr(), ptr::null_mut());
        libc::gettid()
    }
}

/// Id of the calling thread.
pub(crate) fn own_tid() -> i32 {
    // SAFETY: takes nothing, cannot fail.
    unsafe { libc::gettid() }
}

/// Lets the calling thread run before all that are not urgent: others are held until it has done its work,
/// which takes a moment. So may the threads that it starts: one that first has to wait for its turn comes too
/// late on a busy machine.
///
/// # Errors
/// `EPERM` without `CAP_SYS_NICE`; everything works without, only that on a busy machine processes are held
/// for longer.
pub(crate) fn be_urgent() -> io::Result<()> {
    set_urgency(0, 1)
}

fn set_urgency(tid: i32, priority: i32) -> io::Result<()> {
    // SAFETY: all-zero is a value of this plain C structure.
    let mut parameters: libc::sched_param = unsafe { mem::zeroed() };
    parameters.sched_priority = priority;
    // SAFETY: the kernel reads one structure.
    let rc = unsafe { libc::sched_setscheduler(tid, libc::SCHED_RR, &raw const parameters) };
    if rc < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Policy and priority of a thread.
fn urgency(tid: i32) -> io::Result<(i32, i32)> {
    // SAFETY: all-zero is a value of this plain C structure.
    let mut parameters: libc::sched_param = unsafe { mem::zeroed() };
    // SAFETY: takes an integer.
    let policy = unsafe { libc::sched_getscheduler(tid) };
    // SAFETY: the kernel writes one structure.
    let rc = unsafe { libc::sched_getparam(tid, &raw mut parameters) };
    if policy < 0 || rc < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok((policy, parameters.sched_priority))
    }
}

/// Makes thread `worker` of this program, which is urgent already, run before thread `other` where both share
/// a processor. `false` where that cannot be.
///
/// # Errors
/// One of them is gone, or more urgency is not allowed.
pub(crate) fn outrank(worker: i32, other: i32) -> io::Result<bool> {
    let (policy, priority) = urgency(other)?;
    if urgency(worker)?.0 != libc::SCHED_RR {
        return Ok(false);
    }
    match policy {
        libc::SCHED_FIFO | libc::SCHED_RR if priority < 99 => {
            set_urgency(worker, priority + 1).map(|()| true)
        }
        libc::SCHED_OTHER | libc::SCHED_BATCH | libc::SCHED_IDLE => Ok(true),
        _ => Ok(false),
    }
}

/// Takes back what [`outrank`] has done.
pub(crate) fn be_urgent_again(worker: i32) {
    if urgency(worker).is_ok_and(|(_, priority)| priority > 1) {
        // It has that much already.
        let _ = set_urgency(worker, 1);
    }
}
