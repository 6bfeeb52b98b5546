//! Applies live patches to running processes and takes them out again.
//!
//! Layers, from the ground (each uses only those before it):
//!
//! - `sys`: system calls, and all `unsafe` code. `arch`: what depends on the machine.
//! - `engine`: operations on one process: [`find_processes`], [`inspect`], [`check`], [`apply`],
//!   [`deactivate`]. The truth about a process is in the process (see `patchfile::control`); the engine reads
//!   and writes no state on disk. Each operation leaves a process wholly on the old or wholly on the new code
//!   of a patch, running (or stopped) as it was before.
//! - `catalog`: which patches there are. `state`: which of them shall be in force, and what was done.
//! - `manage`: what a verb means for many processes, for state and log.
//! - `cli` and `daemon`, side by side: neither uses the other.

mod arch;
mod catalog;
mod cli;
mod daemon;
mod engine;
#[doc(hidden)]
pub mod foreign;
mod kernel;
mod manage;
mod state;
mod sys;

#[cfg(test)]
mod tests;

pub use engine::{
    Batch, Busy, Candidate, CheckReport, Fault, FaultKind, LoadedElf, LoadedPatch, Located, Options, Outcome,
    ProcessError, Scan, ScannedProcess, TargetId, apply, batch, check, deactivate, find_processes, inspect,
    replace, scan, start, start_time,
};

use patchfile::exit::ManageExit;

/// Runs `upatch` with the arguments of this process.
pub fn main() -> ManageExit {
    cli::main(daemon::serve)
}
