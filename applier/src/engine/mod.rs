//! Operations on one process.

mod error;
mod load;
mod patch;
mod remote;
pub mod start;
pub(crate) mod target;
mod types;

pub(crate) use error::Hindrance;
pub use error::{Busy, ProcessError};
pub use patch::{apply, check, deactivate, find_processes, inspect, replace, scan};
pub use target::cache::{Batch, batch};
pub use target::status::start_time;
pub use types::{
    Candidate, CheckReport, Fault, FaultKind, LoadedElf, LoadedPatch, Located, Options, Outcome, Scan,
    ScannedProcess, TargetId,
};
