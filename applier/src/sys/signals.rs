#![expect(unsafe_code, reason = "signal masks have no safe interface in std")]
//! Holding termination signals off while a process is being changed.

use std::{mem::MaybeUninit, ptr};

/// While this lives, SIGINT, SIGTERM and SIGHUP wait for the calling thread (and for threads it starts meanwhile).
#[derive(Debug)]
pub struct Blocked(libc::sigset_t);

impl Blocked {
    /// Holds the signals off.
    pub fn new() -> Self {
        let mut set = MaybeUninit::<libc::sigset_t>::uninit();
        let mut old = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: both sets are valid for writing and are initialised by these calls, which cannot fail for valid arguments.
        unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
                libc::sigaddset(set.as_mut_ptr(), signal);
            }
            libc::sigemptyset(old.as_mut_ptr());
            libc::pthread_sigmask(libc::SIG_BLOCK, set.as_ptr(), old.as_mut_ptr());
            Self(old.assume_init())
        }
    }
}

impl Default for Blocked {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        // SAFETY: the mask was read by `new`.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.0, ptr::null_mut()) };
    }
}
