//! From request to result, phase by phase.

mod analysis;
mod builds;
mod join;
mod run;
mod shipped;
mod siblings;

pub use run::run;
