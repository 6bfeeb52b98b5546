//! What can keep a patch out of a process.

use std::io;

/// Why one process could not be dealt with. The process runs (or is stopped) as before.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProcessError {
    /// The process ended before or meanwhile, or never was.
    #[error("process is gone")]
    Gone,
    /// The process has ended and waits for its parent.
    #[error("process is a zombie")]
    Zombie,
    /// Not allowed to trace it.
    #[error("not permitted to trace the process: {why}")]
    NotPermitted {
        /// What forbids it, and what would help.
        why: String,
    },
    /// Another tracer (debugger) has it.
    #[error("process is being traced by process {by}; end that debugger first")]
    Traced {
        /// Pid of the tracer.
        by: i32,
    },
    /// The patch was not made for anything this process maps. Where it did a moment ago, it executes another
    /// program now, or ends.
    #[error("does not fit: it maps no ELF file that the patch is for")]
    NotMapped,
    /// The process is of a kind that cannot be patched, or the patch not for what it maps.
    #[error("does not fit: {why}")]
    Unfit {
        /// What does not fit.
        why: String,
    },
    /// No free address range within branch reach.
    #[error("no free memory of {size} bytes within reach of {module}")]
    NoMemoryNear {
        /// Bytes needed.
        size: u64,
        /// The target module.
        module: String,
    },
    /// A symbol that the patch imports is in no module of the process.
    #[error("symbol {symbol} is in no library that the process has loaded")]
    Unresolved {
        /// `name` or `name@version`.
        symbol: String,
    },
    /// What the patch adds to one ELF file and wants in another is not there.
    #[error(
        "symbol {symbol}, which the patch adds to another file of the package, is not in the process: it has \
         another build of that file"
    )]
    NoSibling {
        /// `name` or `name@version`.
        symbol: String,
    },
    /// The bytes at a function's entry are not what the patch expects.
    #[error(
        "the entry of {function} at {address:#x} was changed by something else (a debugger, another tool)"
    )]
    EntryChanged {
        /// The function.
        function: String,
        /// Run-time address.
        address: u64,
    },
    /// Another patch in this process is in the way.
    #[error("conflicts with another patch: {why}")]
    Conflict {
        /// Which, and how.
        why: String,
    },
    /// The patch is not in this process.
    #[error("the patch is not loaded in this process")]
    NotLoaded,
    /// A hook of the patch refused.
    #[error("a hook of the patch refused with {code}")]
    HookRefused {
        /// What it returned.
        code: i64,
    },
    /// A hook of the patch crashed or did not return.
    #[error("a hook of the patch failed: {why}")]
    HookFailed {
        /// In which way.
        why: String,
    },
    /// A system call failed in an unexpected way.
    #[error("{what}: {source}")]
    Os {
        /// What was attempted.
        what: String,
        /// The error.
        source: io::Error,
    },
}

impl ProcessError {
    pub(crate) fn os(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| match source.raw_os_error() {
            Some(libc::ESRCH) => Self::Gone,
            _ => Self::Os { what, source },
        }
    }

    pub(crate) fn unfit(why: impl Into<String>) -> Self {
        Self::Unfit { why: why.into() }
    }
}

/// Which thread holds a change up; trying again later may work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("thread {tid} {why}")]
pub struct Busy {
    /// The thread.
    pub tid: i32,
    /// The function that the thread is in, if that holds the change up.
    pub function: Option<String>,
    /// For people: `is in foo (at 0x…)`, `has a frame without unwind information at 0x…`.
    pub why: String,
}

/// Why a process was not changed: a thread is in the way, or something went wrong.
#[derive(Debug)]
pub(crate) enum Hindrance {
    /// Trying again later may work.
    Busy(Busy),
    /// It will not.
    Failed(ProcessError),
}

impl From<Busy> for Hindrance {
    fn from(busy: Busy) -> Self {
        Self::Busy(busy)
    }
}

impl From<ProcessError> for Hindrance {
    fn from(error: ProcessError) -> Self {
        Self::Failed(error)
    }
}

/// Why a thread does not stop that is in the middle of something.
const ASLEEP: &str = "sleeps uninterruptibly (in vfork, or waiting for a device)";

impl Busy {
    /// A thread that will stop when it returns from the function that it is in.
    pub(crate) fn asleep(tid: i32) -> Self {
        Self { tid, function: None, why: ASLEEP.into() }
    }

    /// Is it such a thread?
    pub(crate) fn sleeps_uninterruptibly(&self) -> bool {
        self.why == ASLEEP
    }

    /// Every thread is where nothing of its stack may be used: deep on a small one, or on one that is not its
    /// own (a handler's, a coroutine's), whose bounds nobody knows.
    pub(crate) fn no_room(pid: i32) -> Self {
        let why = "and the others of its process have no room on a stack of their own to be borrowed";
        Self { tid: pid, function: None, why: why.into() }
    }
}
