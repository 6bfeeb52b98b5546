//! Are two linked files the same, function by function and datum by datum?
//!
//! Of one file everything is known: which object brought what, and which bits the linker filled in. Those are
//! references; all others must be equal in the other file, and each reference must lead to the same thing
//! there, under one map from atoms to atoms.

mod code;
mod contributions;
mod data;
mod debug;
mod fit;
mod ledger;
mod lines;
mod loaded;
mod matcher;
mod recorded;
mod strings;
mod thread_local;
mod types;
mod unwind;

pub use contributions::Part;
pub use fit::{Fit, FitInput, fit};
pub use ledger::{BuiltFile, Entry, Ledger, LedgerUnit, ledger};
