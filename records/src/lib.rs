//! What the recorder writes down of a link, and the types that its records are made of: text that need not be
//! UTF-8 ([`OsBytes`]), and the builds of a run ([`Phase`]).
//!
//! The recorder (crate `wrapper`) fills in a [`LinkRecord`]; the linker, which runs no programs and knows no
//! recorder, is told by it where everything went. The record of a compilation unit is the recorder's own.

pub mod hex;
mod link;
mod os_bytes;
mod pass;
mod phase;

pub use link::{LinkInput, LinkRecord, MapFlavour};
pub use os_bytes::OsBytes;
pub use pass::Pass;
pub use phase::Phase;
