//! Compares two variants of one compilation unit, function by function and datum by datum, and extracts what
//! has to be shipped.
//!
//! Bytes in, bytes out: the crate opens no file, starts no process and reads no clock. The phases of `diff`:
//! read the object (`elf`), split it into atoms with their references (`atoms`), read the records of
//! functions (`attached`), pair the atoms of both sides (`correlate`), compare them (`compare`), judge the
//! differences (`verdict`), put the patch object together (`extract`). What depends on the instruction set is
//! in `arch`, what depends on the product in `profile`, what is particular to the kernel in `kernel`.

pub mod arch;
mod atoms;
mod attached;
mod compare;
mod correlate;
mod debug;
mod debug_output;
mod declarations;
mod diff;
mod elf;
mod error;
mod extract;
mod inlining;
mod kernel;
mod merged;
mod model;
mod origins;
mod profile;
mod reading;
mod record_kind;
mod same_code;
mod symbol_names;
mod unit;
mod verdict;

pub use debug_output::{DebugSections, DebugUnit, debug_sections};
pub use declarations::declarations;
pub use diff::diff;
pub use error::Error;
pub use inlining::inlining;
pub use kernel::{is_kernel_list, is_kernel_table};
pub use merged::merged;
pub use model::*;
pub use origins::origins;
pub use profile::Profile;
pub use same_code::same_code;
pub use verdict::conflicts;
