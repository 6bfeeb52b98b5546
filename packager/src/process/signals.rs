//! Signals that end a run: the programs that run now end, and so does the run within a second.

use super::half_made::remove_all;
use super::running::end_programs;
use super::stopped::{is_first_to_end, note, undisturbed};
use crate::error::{Context, Failure, ProcessError, Result};
use nix::sys::signal::Signal;
use std::sync::Arc;
use std::time::Duration;

/// What comes back from a signal by itself has as long as this.
const PATIENCE: Duration = Duration::from_millis(600);

/// From now on SIGINT, SIGTERM and SIGHUP end the running programs; what waits for them gets a [`Failure`],
/// so that every temporary file goes away on the usual path. A phase that does not come to its end soon, or a
/// second signal, is not waited for: then `last` is called with the failure, what is half made goes, and the
/// process ends.
///
/// # Errors
/// When no handler can be set.
pub(crate) fn catch_signals(last: impl Fn(&Failure) + Send + Sync + 'static) -> Result<()> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    let mut signals =
        signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP]).what("signal handlers")?;
    let last = Arc::new(last);
    std::thread::spawn(move || {
        for signal in signals.forever() {
            let again = note(signal);
            end_programs(if again { Signal::SIGKILL } else { Signal::SIGTERM });
            if again {
                end_now(signal, last.as_ref());
            }
            let last = last.clone();
            std::thread::spawn(move || {
                std::thread::sleep(PATIENCE);
                end_programs(Signal::SIGKILL);
                end_now(signal, last.as_ref());
            });
        }
    });
    Ok(())
}

/// Ends the process, unless it has come to its end by itself.
fn end_now(signal: i32, last: &impl Fn(&Failure)) {
    let _whole = undisturbed();
    if !is_first_to_end() {
        return;
    }
    last(&ProcessError::Interrupted { signal }.into());
    remove_all();
    let _ = signal_hook::low_level::emulate_default_handler(signal);
}
