//! The command line of `upatch`.

mod args;
mod generate;
mod order;
mod report;
mod run;
mod verbs;

pub use args::{Args, Verb};
pub use run::{Serve, main, run};
