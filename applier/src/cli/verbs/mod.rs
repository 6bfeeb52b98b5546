//! The verbs.

mod accept;
mod apply;
mod check;
mod common;
mod complete;
mod deactivate;
mod doctor;
mod gdb;
mod kernel;
mod list;
mod log;
mod needs_restart;
mod prune;
mod replace;
mod rescan;
mod save;
mod show;
mod unseen;
mod withdraw;

pub(super) use accept::accept;
pub(super) use apply::apply;
pub(super) use check::check;
pub(super) use complete::complete;
pub(super) use deactivate::{deactivate, remove};
pub(super) use doctor::doctor;
pub(super) use gdb::gdb;
pub(super) use list::{apply_json, list, status};
pub(super) use log::{history, log};
pub(super) use needs_restart::needs_restart;
pub(super) use prune::prune;
pub(super) use rescan::rescan;
pub(super) use save::{restore, save};
pub(super) use show::{info, target};
