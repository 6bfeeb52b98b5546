//! Operations on one process.

mod apply;
mod code_pages;
mod companions;
mod entry;
mod find;
mod hooks;
mod inspect;
mod instances;
mod outwait;
mod quiesce;
mod register;
mod remove;
mod returns;
mod search;
mod suspended;
mod transaction;

pub(crate) use apply::apply_here;
pub use apply::{apply, check, replace};
pub use find::{find_processes, scan};
pub use inspect::inspect;
pub use remove::deactivate;
