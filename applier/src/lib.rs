//! Applies live patches to running processes and takes them out again.
//!
//! The engine: [`find_processes`], [`inspect`], [`check`], [`apply`], [`deactivate`]. The truth about a process is in the
//! process (see `patchfile::control`); nothing here reads or writes state on disk. Each operation leaves a process wholly
//! on the old or wholly on the new code of a patch, running (or stopped) as it was before.

mod error;
mod types;

pub use error::{Busy, ProcessError};
pub use types::{
    Candidate, CheckReport, Fault, FaultKind, LoadedElf, LoadedPatch, Located, Options, Outcome, Seen,
    Survey, TargetId,
};

mod load;
mod patch;
mod remote;
pub mod start;
pub mod sys;
mod target;

pub use patch::{apply, check, deactivate, inspect, replace};
pub use target::cache::{Batch, batch};
pub use target::find::{find_in, find_processes, start_time, survey};

pub mod catalog;
pub mod cli;
pub mod daemon;
#[doc(hidden)]
pub mod foreign;
pub mod state;
