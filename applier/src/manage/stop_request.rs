//! Stopping when asked, but never in the middle of a process.

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        signal::{SigSet, Signal},
        signalfd::{SfdFlags, SignalFd},
    },
};
use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

/// Somebody who may ask to stop.
pub(crate) trait StopRequest: Sync {
    /// Was a stop asked for?
    fn asked(&self) -> bool;

    /// Waits for `time`, less if a stop is asked for. Tells whether it was.
    fn wait(&self, time: Duration) -> bool;

    /// Waits for `time`, less if a stop is asked for or there is something to read from `fd`.
    fn wait_or(&self, time: Duration, _fd: BorrowedFd<'_>) -> bool {
        self.wait(time)
    }
}

/// Nobody asks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NeverStop;

impl StopRequest for NeverStop {
    fn asked(&self) -> bool {
        false
    }

    fn wait(&self, time: Duration) -> bool {
        thread::sleep(time);
        false
    }
}

/// SIGINT, SIGTERM and SIGHUP ask. They are blocked for this thread and those it starts, so that a process
/// being changed is finished first, and read where stopping is safe. So are those by which a terminal
/// suspends a program, which would leave a process that is being changed standing: a command is suspended
/// between two tries.
#[derive(Debug)]
pub(crate) struct Signals {
    fd: SignalFd,
    asked: AtomicBool,
}

impl Signals {
    /// Blocks the signals from here on. To be called before any thread is started.
    ///
    /// # Errors
    /// The kernel has no signalfd.
    pub(crate) fn block() -> io::Result<Self> {
        let mut set = SigSet::empty();
        for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
            set.add(signal);
        }
        set.thread_block()?;
        suspending().thread_block()?;
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        Ok(Self { fd: SignalFd::with_flags(&set, flags)?, asked: AtomicBool::new(false) })
    }

    fn poll(&self, timeout: PollTimeout) -> bool {
        if self.asked.load(Ordering::Relaxed) {
            return true;
        }
        let mut fds = [PollFd::new(self.fd.as_fd(), PollFlags::POLLIN)];
        let asked = poll(&mut fds, timeout).is_ok_and(|n| n > 0);
        if asked {
            self.asked.store(true, Ordering::Relaxed);
        }
        asked
    }
}

/// What a terminal suspends programs by: its suspend character, and writing to it from the background
/// (termios(3), `TOSTOP`).
fn suspending() -> SigSet {
    [Signal::SIGTSTP, Signal::SIGTTIN, Signal::SIGTTOU].into_iter().collect()
}

impl StopRequest for Signals {
    fn asked(&self) -> bool {
        self.poll(PollTimeout::ZERO)
    }

    fn wait(&self, time: Duration) -> bool {
        // Nothing is held here. Errors are not possible for these signals.
        let _ = suspending().thread_unblock();
        let asked = self.poll(PollTimeout::try_from(time).unwrap_or(PollTimeout::MAX));
        let _ = suspending().thread_block();
        asked
    }

    fn wait_or(&self, time: Duration, fd: BorrowedFd<'_>) -> bool {
        if self.asked() {
            return true;
        }
        let mut fds = [PollFd::new(self.fd.as_fd(), PollFlags::POLLIN), PollFd::new(fd, PollFlags::POLLIN)];
        // Whatever ends it, even an error, is looked at by who waits.
        let _ = poll(&mut fds, PollTimeout::try_from(time).unwrap_or(PollTimeout::MAX));
        self.asked()
    }
}
