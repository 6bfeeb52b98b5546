//! Operations on one process.

mod apply;
mod entry;
mod hooks;
mod inspect;
mod instances;
mod outwait;
mod quiesce;
mod register;
mod remove;
mod returns;
mod search;
mod steps;
mod suspended;
mod transaction;

pub(crate) use apply::apply_here;
pub use apply::{apply, check, replace};
pub use inspect::inspect;
pub(crate) use inspect::{locate, may_carry};
pub use remove::deactivate;
pub(crate) use steps::Steps;
