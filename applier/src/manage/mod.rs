//! What a verb means for many processes, for the state on disk and for the log. The command line and the service are both
//! made of this.

mod announce;
mod context;
mod drive;
mod engine;
mod error;
mod examine;
mod guard;
mod overlap;
mod present;
mod real;
mod replaced;
mod settings;
mod settle;
mod unit;
mod view;
mod world;

pub(crate) use announce::{CHANGED, DONE, PATIENCE, socket, tell};
pub(crate) use context::Context;
pub(crate) use drive::{Ending, Line, Tally};
#[cfg(test)]
pub(crate) use engine::Engine;
pub(crate) use engine::{Process, Survey};
pub(crate) use error::Error;
pub(crate) use error::exit_of;
pub(crate) use examine::{Finding, examine};
pub(crate) use guard::{Never, Signals, Stop};
pub(crate) use overlap::{Overlap, covers, overlaps};
pub(crate) use present::{Presence, Way};
pub(crate) use real::RealEngine;
pub(crate) use real::{comm, printable};
pub(crate) use settings::Settings;
pub(crate) use settle::targets;
pub(crate) use settle::{Settler, complete};
pub(crate) use unit::Unit;
pub(crate) use view::Wanted;
pub(crate) use view::{PatchView, ProcessView, view};
pub(crate) use world::World;
pub(crate) use world::kind_exit;
