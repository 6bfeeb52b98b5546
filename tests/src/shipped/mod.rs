//! Patches for the files that a distribution ships: its own packages, unpacked from its archive, are the
//! targets; its source packages are built again; the fix is the newest patch of `debian/patches`, taken off
//! (the shipped file has it, and any real fix will do).
//!
//! `testdata/shipped/packages.yaml` lists the packages, with a service or driver that is patched while it
//! serves.

mod attempt;
mod entry;
mod fetch;
mod fix;
mod outcome;
mod serve;
mod unit;

pub use attempt::attempt;
pub use entry::{Entry, entries};
pub use outcome::{Outcome, kept, table};

use crate::paths::repository;
use std::path::PathBuf;

/// What is kept between runs: `$UPATCH_SHIPPED_CACHE`, or a folder of the checkout.
fn cache() -> PathBuf {
    match std::env::var_os("UPATCH_SHIPPED_CACHE") {
        Some(dir) => repository().join(dir),
        None => repository().join("corpus-cache/debian"),
    }
}
