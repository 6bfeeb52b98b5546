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
pub use context::Context;
pub use drive::{Ending, Line, Tally};
pub use engine::{Engine, Process, Survey};
pub use error::Error;
pub(crate) use error::exit_of;
pub(crate) use examine::{Finding, examine};
pub use guard::{Never, Signals, Stop};
pub(crate) use overlap::{Overlap, covers, overlaps};
pub use present::{Presence, Way};
pub use real::RealEngine;
pub(crate) use real::{comm, printable};
pub use settings::Settings;
pub(crate) use settle::targets;
pub use settle::{Settler, complete};
pub(crate) use unit::Unit;
pub use view::Wanted;
pub(crate) use view::{PatchView, ProcessView, view};
pub use world::World;
pub(crate) use world::kind_exit;
