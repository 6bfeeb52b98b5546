//! The command line of `upatch`: verbs on top of the engine, the catalog of patches and the state on disk.

mod args;
mod context;
mod drive;
mod engine;
mod error;
mod generate;
mod guard;
mod order;
mod overlap;
mod real;
mod report;
mod run;
mod settings;
mod settle;
mod verbs;
mod view;
mod world;

#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;

pub use args::{Args, Verb};
pub use context::Context;
pub use drive::{Ending, Line, Tally};
pub use engine::{Engine, Process, Survey};
pub use error::Error;
pub use guard::{Never, Signals, Stop};
pub use real::RealEngine;
pub(crate) use real::{comm, printable};
pub use run::{main, run};
pub use settings::Settings;
pub use settle::{Settler, complete};
pub use view::Wanted;
pub use world::World;
pub(crate) use world::kind_exit;
