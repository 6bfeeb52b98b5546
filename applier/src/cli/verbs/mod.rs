//! The verbs.

mod accept;
mod apply;
mod check;
mod common;
mod deactivate;
mod list;
mod log;
mod rescan;
mod save;
mod show;
mod unseen;
mod withdraw;

pub(super) use accept::accept;
pub(super) use apply::apply;
pub(super) use check::check;
pub(super) use deactivate::{deactivate, remove};
pub(super) use list::{list, status};
pub(super) use log::log;
pub(super) use rescan::rescan;
pub(super) use save::{restore, save};
pub(super) use show::{info, target};
