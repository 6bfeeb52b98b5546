//! What a verb means for many processes, for the state on disk and for the log. The command line and the
//! service are both made of this.

mod announce;
mod backend;
mod context;
mod drive;
mod error;
mod examine;
mod guard;
pub(crate) mod kernel;
mod overlap;
mod present;
mod processes;
mod replaced;
mod settings;
mod settle;
mod unit;
mod view;
mod world;

pub(crate) use announce::{CHANGED, DONE, PATIENCE, socket, tell};
#[cfg(test)]
pub(crate) use backend::Backend;
pub(crate) use backend::{Subject, Survey};
pub(crate) use context::Context;
pub(crate) use drive::{Ending, Line, Tally};
pub(crate) use error::Error;
pub(crate) use error::exit_of;
pub(crate) use examine::{Finding, examine};
pub(crate) use guard::{Never, Signals, Stop};
pub(crate) use overlap::{Overlap, covers, overlaps};
pub(crate) use present::{Presence, StartHandling};
pub(crate) use processes::ProcessBackend;
pub(crate) use processes::{comm, printable};
pub(crate) use settings::Settings;
pub(crate) use settle::targets;
pub(crate) use settle::{Settler, complete};
pub(crate) use unit::Unit;
pub(crate) use view::Wanted;
pub(crate) use view::{PatchView, ProcessView, view, view_all};
pub(crate) use world::World;
pub(crate) use world::kind_exit;
