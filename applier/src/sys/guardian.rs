#![expect(unsafe_code, reason = "fork and shared memory have no safe interface in std")]
//! A child process that ends this program when it stands still while others wait for it.
//!
//! The kernel lets a process that is held in `open` or `execve` go on when the listener ends, but not when
//! the listener is stopped, or hangs. The child cannot be stopped with it by accident, does nothing but sleep
//! until there are events, and is ended by the kernel together with this program.

use std::{
    io,
    os::fd::RawFd,
    ptr,
    sync::atomic::{AtomicU64, Ordering},
};

/// Memory shared with the child.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Progress {
    /// Counts up whenever the listener has looked after everything that waits for it.
    pub rounds: AtomicU64,
    /// How many wait for it.
    pub waiting: AtomicU64,
}

/// Time between two looks, in milliseconds.
const LOOK: i32 = 250;
/// Time between two looks while there is nothing to do, in milliseconds.
const IDLE: i32 = 1000;
/// Number of looks without progress after which the program is ended: while it is stopped by job control, and
/// otherwise.
const STRIKES_STOPPED: u32 = 4;
const STRIKES: u32 = 40;

/// Starts the child, for `listener` (a descriptor that is readable when there are events). To be called
/// before any thread is started, from a thread that lives as long as the program.
///
/// # Errors
/// No memory, or no process can be made.
pub(crate) fn guard(listener: RawFd) -> io::Result<&'static Progress> {
    let len = size_of::<Progress>();
    // SAFETY: asks for new memory anywhere.
    let memory = unsafe {
        let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
        libc::mmap(ptr::null_mut(), len, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0)
    };
    if memory == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the memory is page-aligned, large enough, zero (a valid value), and never unmapped.
    let progress: &'static Progress = unsafe { &*memory.cast() };
    // SAFETY: takes nothing, cannot fail.
    let parent = unsafe { libc::getpid() };
    // SAFETY: this program has one thread, so the child may do whatever the parent could.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            // SAFETY: take integers and a constant string; the child has one thread.
            unsafe {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                libc::prctl(libc::PR_SET_NAME, c"upatch-guard".as_ptr());
                // The end of the program between the fork and the line above.
                if libc::getppid() == parent {
                    watch(parent, listener, progress);
                }
                libc::_exit(0)
            }
        }
        _ => Ok(progress),
    }
}

/// Returns when the program has been ended.
fn watch(parent: i32, listener: RawFd, progress: &Progress) {
    let (mut strikes, mut seen) = (0, None);
    loop {
        let waiting = progress.waiting.load(Ordering::Relaxed) > 0;
        // An event that the listener has taken before it was stopped shows in `waiting` only.
        let readable = poll(listener, if waiting { 0 } else { IDLE });
        let rounds = progress.rounds.load(Ordering::Relaxed);
        strikes = if (waiting || readable) && seen == Some(rounds) { strikes + 1 } else { 0 };
        seen = Some(rounds);
        if strikes >= STRIKES || (strikes >= STRIKES_STOPPED && stopped(parent)) {
            // SAFETY: takes integers only. The parent lives: its end would have ended this process.
            unsafe { libc::kill(parent, libc::SIGKILL) };
            return;
        }
        poll(-1, LOOK);
    }
}

fn poll(fd: RawFd, timeout: i32) -> bool {
    let mut fds = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    // SAFETY: the kernel reads and writes one structure; a negative descriptor is ignored.
    unsafe { libc::poll(&raw mut fds, 1, timeout) > 0 }
}

fn stopped(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with(['T', 't']))
    })
}
