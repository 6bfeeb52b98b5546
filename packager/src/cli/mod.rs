//! The command line.

mod args;
mod manual;
mod passthrough;
mod request;
mod store;

pub(crate) use args::{Args, command};
pub(crate) use manual::manual;
pub(crate) use passthrough::split;
pub(crate) use request::{Input, Request};
