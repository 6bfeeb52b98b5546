//! Running other programs, and what a signal to us does to them.

mod half_made;
mod log;
mod running;
mod shell;
mod signals;
mod stopped;
mod tool;

pub(crate) use half_made::HalfMade;
pub(crate) use log::Log;
pub(crate) use shell::word;
pub(crate) use signals::catch_signals;
pub(crate) use stopped::{check_stopped, is_first_to_end, undisturbed};
pub(crate) use tool::Tool;
