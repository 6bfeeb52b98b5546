//! Compares two variants of one compilation unit, function by function and datum by datum, and extracts what
//! has to be shipped.
//!
//! Bytes in, bytes out: no file, no process, no clock. The phases, each with its file: read (`elf`), split
//! into atoms (`atoms`), resolve references (`refs`), pair (`correlate`), compare (`compare`), judge
//! (`verdict`), extract (`extract`).

pub mod arch;
mod atoms;
mod attached;
mod compare;
mod correlate;
mod debug;
mod debug_output;
mod diff;
mod elf;
mod error;
mod extract;
mod inlining;
mod merged;
mod model;
mod origins;
mod profile;
mod reading;
mod same_code;
mod symbol_names;
mod unit;
mod verdict;

pub use debug_output::{DebugSections, DebugUnit, debug_sections};
pub use diff::diff;
pub use error::Error;
pub use inlining::inlining;
pub use merged::merged;
pub use model::*;
pub use origins::origins;
pub use profile::Profile;
pub use same_code::same_code;
pub use verdict::conflicts;
