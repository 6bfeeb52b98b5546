#![expect(unsafe_code, reason = "waitpid of a traced thread and tgkill have no safe interface in std")]
//! waitpid(2) for traced threads.

use std::io;

/// What a traced thread reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Report {
    /// Nothing new.
    Nothing,
    /// It ended.
    Ended,
    /// Stopped by us, or with its whole group.
    Interrupted,
    /// At the entry to or exit from a system call.
    Syscall,
    /// About to receive this signal.
    Signal(i32),
    /// Another ptrace event.
    Event(i32),
}

/// Asks for a report of `tid`; waits for one if `block`.
pub(crate) fn wait(tid: i32, block: bool) -> io::Result<Report> {
    let flags = libc::__WALL | if block { 0 } else { libc::WNOHANG };
    loop {
        let mut status = 0;
        // SAFETY: the kernel writes one int.
        let rc = unsafe { libc::waitpid(tid, &raw mut status, flags) };
        if rc == 0 {
            return Ok(Report::Nothing);
        }
        if rc < 0 {
            let error = io::Error::last_os_error();
            match error.raw_os_error() {
                Some(libc::EINTR) => continue,
                Some(libc::ECHILD) => return Ok(Report::Ended),
                _ => return Err(error),
            }
        }
        if !libc::WIFSTOPPED(status) {
            return Ok(Report::Ended);
        }
        let signal = libc::WSTOPSIG(status);
        return Ok(match status >> 16 {
            libc::PTRACE_EVENT_STOP => Report::Interrupted,
            0 if signal == libc::SIGTRAP | 0x80 => Report::Syscall,
            0 => Report::Signal(signal),
            event => Report::Event(event),
        });
    }
}

/// Sends a signal to one thread of a process.
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
