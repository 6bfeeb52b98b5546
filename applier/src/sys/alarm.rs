#![expect(unsafe_code, reason = "timers and signal handlers have no safe interface in std")]
//! A clock that interrupts this thread's waiting, so that waiting for another process can block and still end
//! in time. (Polling with `sched_yield` costs whole time slices on a busy machine, while the target stands
//! still.)

use std::{io, mem, ptr, sync::OnceLock, time::Duration};

/// A timer that interrupts system calls of the thread that made it: they give `EINTR`.
#[derive(Debug)]
pub(crate) struct Alarm {
    timer: libc::timer_t,
}

/// A real-time signal that neither glibc nor common libraries use.
fn signal() -> i32 {
    libc::SIGRTMAX() - 3
}

extern "C" fn ignore(_: i32) {}

/// Installs a handler that does nothing: what counts is the interruption.
fn handler_is_set() -> bool {
    static SET: OnceLock<bool> = OnceLock::new();
    *SET.get_or_init(|| {
        // SAFETY: all-zero is a value of this plain C structure.
        let mut action: libc::sigaction = unsafe { mem::zeroed() };
        action.sa_sigaction = ignore as extern "C" fn(i32) as usize;
        // SAFETY: the structure is initialised; the handler does nothing, so it is safe at any point.
        unsafe { libc::sigaction(signal(), &raw const action, ptr::null_mut()) == 0 }
    })
}

impl Alarm {
    /// A timer for the calling thread, not running yet.
    ///
    /// # Errors
    /// No timers left (`RLIMIT_SIGPENDING`).
    pub(crate) fn new() -> io::Result<Self> {
        if !handler_is_set() {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: all-zero is a value of this plain C structure.
        let mut wanted: libc::sigset_t = unsafe { mem::zeroed() };
        // The program that started us may have blocked it. SAFETY: the set is ours and valid.
        unsafe {
            libc::sigemptyset(&raw mut wanted);
            libc::sigaddset(&raw mut wanted, signal());
            libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const wanted, ptr::null_mut());
        }
        // SAFETY: all-zero is a value of this plain C structure.
        let mut event: libc::sigevent = unsafe { mem::zeroed() };
        event.sigev_notify = libc::SIGEV_THREAD_ID;
        event.sigev_signo = signal();
        // SAFETY: takes nothing, cannot fail.
        event.sigev_notify_thread_id = unsafe { libc::gettid() };
        let mut timer: libc::timer_t = ptr::null_mut();
        // SAFETY: the kernel reads `event` and writes `timer`.
        let rc = unsafe { libc::timer_create(libc::CLOCK_MONOTONIC, &raw mut event, &raw mut timer) };
        if rc < 0 { Err(io::Error::last_os_error()) } else { Ok(Self { timer }) }
    }

    /// From now on interrupts every `period`; zero: stops. That it goes on interrupting is what makes it
    /// certain to meet a wait that had not begun at the first time.
    pub(crate) fn every(&self, period: Duration) {
        let time = libc::timespec { tv_sec: 0, tv_nsec: i64::from(period.subsec_nanos()) };
        let both = libc::itimerspec { it_interval: time, it_value: time };
        // SAFETY: the timer is ours, the kernel reads `both`.
        unsafe { libc::timer_settime(self.timer, 0, &raw const both, ptr::null_mut()) };
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        // SAFETY: the timer is ours and is not used afterwards.
        unsafe { libc::timer_delete(self.timer) };
    }
}
