//! Records in other sections that belong to a function and are shipped with it: unwind information,
//! and the kernel's tables of places in code.
//!
//! To add a table of the kernel, add a row to [`crate::kernel::TABLES`]. To add another kind: give it a name
//! in [`crate::record_kind::RecordKind`], tell its sections in `crate::record_kind`, read it in a file here,
//! name its parts in `compare/attached.rs`, and ship it in a file of `extract`.

mod call_frames;
mod records;
mod table;

pub(crate) use call_frames::BEGIN;
pub(crate) use records::{Record, Records, read};
