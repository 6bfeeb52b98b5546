//! Whether a signal has asked to stop, and who ends the run.

use crate::error::{ProcessError, Result};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The signal that asked us to stop, 0 for none.
static STOPPED: AtomicI32 = AtomicI32::new(0);

/// Takes note of a signal. Was there one before?
pub(super) fn note(signal: i32) -> bool {
    STOPPED.swap(signal, Ordering::SeqCst) != 0
}

/// Has a signal asked to stop?
pub(super) fn is_stopped() -> bool {
    STOPPED.load(Ordering::SeqCst) != 0
}

/// Fails when a signal has asked to stop.
///
/// # Errors
/// After a signal.
pub(crate) fn check_stopped() -> Result<()> {
    match STOPPED.load(Ordering::SeqCst) {
        0 => Ok(()),
        signal => Err(ProcessError::Interrupted { signal }.into()),
    }
}

/// While this is held no signal ends us: for what is done as a whole or not at all, in an instant.
pub(crate) fn undisturbed() -> MutexGuard<'static, ()> {
    static WHOLE: Mutex<()> = Mutex::new(());
    locked(&WHOLE)
}

/// Is the calling thread the first that asks? It is the one that says how the run ended.
pub(crate) fn is_first_to_end() -> bool {
    static ENDED: AtomicBool = AtomicBool::new(false);
    !ENDED.swap(true, Ordering::SeqCst)
}

pub(super) fn locked<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}
