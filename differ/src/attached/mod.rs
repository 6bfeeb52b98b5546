//! Records in other sections that belong to a function, and that go with it: unwind information, and later
//! the kernel's tables of places in code. A new kind is a [`crate::profile::RecordKind`], read by a file
//! here, and shipped by one in `extract`.

mod call_frames;
mod records;

pub(crate) use call_frames::BEGIN;
pub(crate) use records::{Record, Records, read};
