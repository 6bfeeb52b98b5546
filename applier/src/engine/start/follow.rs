//! One thread on its way, stop by stop.

use crate::{
    ProcessError,
    arch::Registers,
    sys::{
        ptrace,
        tracee::{self, Stop},
    },
};
use std::io;

/// Why a start was not followed to its end. The process goes on as if nobody had looked.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// It did not execute or load the file.
    #[error("the file was not loaded")]
    NotLoaded,
    /// Somebody else traces it, and is left alone.
    #[error("it is being traced by another program")]
    Traced,
    /// It took too long.
    #[error("it took too long to start")]
    Late,
    /// It was stopped by job control on the way.
    #[error("it was stopped on the way")]
    Stopped,
    /// It ended.
    #[error("it ended")]
    Gone,
    /// Something that this program does not know.
    #[error("{0}")]
    Unknown(String),
}

impl From<ProcessError> for FollowError {
    fn from(error: ProcessError) -> Self {
        match error {
            ProcessError::Gone | ProcessError::Zombie => Self::Gone,
            other => Self::Unknown(other.to_string()),
        }
    }
}

/// What whoever asked for a thread to be followed knows and wants to know.
pub trait StartObserver {
    /// Asked after each [`crate::start::wake`]: is there time left?
    fn time_left(&self, tid: i32) -> bool;

    /// The thread is attached to, and will stop before it runs anything new.
    fn attached(&self);

    /// The thread is let go next, from a stop: what it does from then on is new.
    fn letting_go(&self);
}

/// A thread traced by the calling OS thread. To let it go in whatever state it is, end the OS thread: the
/// kernel then detaches, without stopping anything.
pub(super) struct Follower<'a> {
    /// The thread.
    pub(super) tid: i32,
    observer: &'a dyn StartObserver,
    /// Still in the system call by which it was met.
    executing: bool,
}

/// `SIGURG` and what it is sent for, see [`super::rendezvous`].
pub(super) const MARK: i32 = libc::SIGURG;

fn lost(error: &io::Error) -> FollowError {
    match error.raw_os_error() {
        Some(libc::ESRCH | libc::ECHILD) => FollowError::Gone,
        _ => FollowError::Unknown(error.to_string()),
    }
}

impl<'a> Follower<'a> {
    /// Attaches to a thread without stopping it.
    pub(super) fn seize(tid: i32, observer: &'a dyn StartObserver) -> Result<Self, FollowError> {
        match ptrace::seize(tid, ptrace::SYSGOOD | ptrace::TRACE_EXEC) {
            Ok(()) => Ok(Self { tid, observer, executing: false }),
            Err(e) if e.raw_os_error() == Some(libc::EPERM) => Err(FollowError::Traced),
            Err(e) => Err(lost(&e)),
        }
    }

    /// The next stop. Signals that mean nothing to us are delivered.
    fn stop(&mut self) -> Result<Stop, FollowError> {
        loop {
            match tracee::next().map_err(|e| lost(&e))? {
                // It failed, for example because the file is for another machine.
                None if self.executing && !super::executing(self.tid) => return Err(FollowError::NotLoaded),
                None if self.observer.time_left(self.tid) => {}
                None => return Err(FollowError::Late),
                // The old first thread, when another one executes a program: that takes over its id.
                Some((tid, Stop::Ended)) if tid != self.tid => {}
                Some((_, Stop::Ended)) => return Err(FollowError::Gone),
                Some((tid, Stop::Exec)) => {
                    self.tid = tid;
                    return Ok(Stop::Exec);
                }
                Some((_, Stop::Group)) => return Err(FollowError::Stopped),
                Some((_, stop)) => return Ok(stop),
            }
        }
    }

    /// Goes on, delivering `signal` if it is not 0.
    pub(super) fn go(&self, signal: i32) -> Result<(), FollowError> {
        ptrace::cont(self.tid, signal).map_err(|e| lost(&e))
    }

    /// Goes on from a stop, delivering the signal if it was one; with `to_interrupt` on the way to the stop
    /// that was asked for, see [`ptrace::cont_to_interrupt`].
    fn pass(&self, stop: &Stop, to_interrupt: bool) -> Result<(), FollowError> {
        let signal = if let Stop::Signal(signal) = *stop { signal } else { 0 };
        if !to_interrupt {
            return self.go(signal);
        }
        ptrace::cont_to_interrupt(self.tid, signal).map_err(|e| lost(&e))
    }

    /// Waits for the end of a successful `execve`. With `or_interrupt`, also for the stop that was asked for;
    /// `false` if that comes first.
    pub(super) fn await_exec(&mut self, or_interrupt: bool) -> Result<bool, FollowError> {
        self.executing = true;
        loop {
            match self.stop()? {
                Stop::Exec => {
                    self.executing = false;
                    return Ok(true);
                }
                Stop::Interrupted if or_interrupt => {
                    self.executing = false;
                    return Ok(false);
                }
                other => self.pass(&other, or_interrupt)?,
            }
        }
    }

    /// Waits for the stop that was asked for.
    pub(super) fn await_interrupt(&mut self) -> Result<(), FollowError> {
        loop {
            match self.stop()? {
                Stop::Interrupted => return Ok(()),
                other => self.pass(&other, true)?,
            }
        }
    }

    /// Goes on to the next entry to or exit from a system call.
    pub(super) fn run_to_syscall(&mut self) -> Result<Registers, FollowError> {
        let mut signal = 0;
        loop {
            ptrace::syscall(self.tid, signal).map_err(|e| lost(&e))?;
            signal = match self.stop()? {
                Stop::Syscall => return self.registers(),
                Stop::Signal(signal) => signal,
                _ => 0,
            };
        }
    }

    /// Goes on until the thread has sent itself [`MARK`], which it does not receive.
    pub(super) fn run_to_mark(&mut self, sent_from: impl Fn(&Registers) -> bool) -> Result<(), FollowError> {
        let mut signal = 0;
        loop {
            self.go(signal)?;
            signal = match self.stop()? {
                Stop::Signal(MARK) if sent_from(&self.registers()?) => return Ok(()),
                Stop::Signal(signal) => signal,
                _ => 0,
            };
        }
    }

    /// From whatever stop it is in, on its way to user mode: to the one that the engine works from. No
    /// instruction of the process runs between the two.
    pub(super) fn enter_event_stop(&mut self) -> Result<(), FollowError> {
        ptrace::interrupt(self.tid).map_err(|e| lost(&e))?;
        self.go(0)?;
        self.await_interrupt()
    }

    /// Sets the instruction pointer of the stopped thread.
    pub(super) fn jump(&self, to: u64) -> Result<(), FollowError> {
        self.registers()?.with_pc(to).write(self.tid).map_err(|e| lost(&e))
    }

    /// Asks a thread that is in a system call to stop when that is done.
    pub(super) fn interrupt(&self) -> Result<(), FollowError> {
        ptrace::interrupt(self.tid).map_err(|e| lost(&e))
    }

    /// Its registers.
    pub(super) fn registers(&self) -> Result<Registers, FollowError> {
        Registers::read(self.tid).map_err(|e| lost(&e))
    }

    /// Lets it go from a stop.
    pub(super) fn release(&self) {
        self.observer.letting_go();
        // Fails only when it was killed.
        let _ = ptrace::detach(self.tid);
    }
}
