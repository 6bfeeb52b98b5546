//! From request to result, step by step.

mod builds;
mod checks;
mod compare;
mod comparison;
mod name;
mod report;
mod run;
mod ship;
mod task;

pub(crate) use name::name;
pub(crate) use run::{end, run};
