//! Patching a program before its code runs: following a thread from the moment at which it opens an ELF file
//! (it is held in the kernel then, see fanotify(7)) to the moment at which the file is mapped and relocated
//! and nothing of it has run yet.
//!
//! How the way there is found, without anything that could harm the process should this program die on the
//! way:
//!
//! - `execve` of a dynamic program: the dynamic loader calls an empty function of its own whenever it has
//!   finished with its list of modules, for debuggers (`r_brk` in `<link.h>`). For the time of the start that
//!   function sends its own thread a signal that nobody who does not trace it takes notice of
//!   ([`rendezvous`]). One stop leads from `execve` to the point where every library is relocated and no
//!   constructor has run.
//! - Where that is not possible (seccomp filters, an unknown loader): stops at system calls, until the loader
//!   says that it has finished.
//! - A static program: stops at system calls until it has set up its thread pointer, which comes after its
//!   own relocation.
//! - A library that is opened by the loader of a running program (`dlopen`): stops at system calls until the
//!   loader has protected what it relocated.
//!
//! Breakpoints and single steps are not used: they outlive the tracer, and a trap without tracer kills.

mod follow;
mod held;
mod library;
mod pin;
mod program;
mod relocated;
mod rendezvous;
mod shared_cpu;

pub use follow::{FollowError, StartObserver};
pub use held::HeldProcess;
pub(crate) use library::process_of;
pub use library::{loads, opened};
pub(crate) use pin::{Pin, unpin_all};
pub use program::executed;
pub(crate) use program::executing;
pub use rendezvous::mend;
pub(crate) use shared_cpu::{SharedCpu, WorkerCpu};

use std::io;

/// Prepares this program for following threads: waits can be ended by [`wake`].
///
/// # Errors
/// The kernel refuses the handler.
pub fn prepare() -> io::Result<()> {
    crate::sys::tracee::make_wakeable()
}

/// Lets the follower on thread `tid` of this program ask its [`StartObserver`].
pub(crate) fn wake(tid: i32) {
    crate::sys::tracee::wake(tid);
}

/// Makes the calling thread one that can be woken, and that runs at once when it is. Gives its id, for
/// [`wake`].
pub fn enter() -> i32 {
    // Not allowed: then it runs when its turn comes.
    let _ = crate::sys::tracee::be_urgent();
    // The worker and the thread that it follows never run at the same time, which the scheduler notices.
    crate::sys::wait::share_processor();
    crate::sys::tracee::enter()
}

/// Id of the calling thread.
fn own_tid() -> i32 {
    crate::sys::tracee::own_tid()
}
