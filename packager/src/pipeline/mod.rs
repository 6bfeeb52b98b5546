//! From request to result, phase by phase.

mod analysis;
mod builds;
mod join;
mod run;
mod shipped;

pub use run::run;
