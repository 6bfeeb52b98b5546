//! What the fix changes: units by units, then the images of all ELF files that it reaches.

mod analysis;
mod counterpart;
mod join;
mod ledger;
mod link_options;
mod members;
mod siblings;

pub(super) use analysis::{Analysis, NotKnown, analyse};
pub(super) use counterpart::{Counterparts, links};
pub(super) use join::{Joined, join, refused};
pub(super) use ledger::of_untouched;
pub(super) use siblings::settle;
