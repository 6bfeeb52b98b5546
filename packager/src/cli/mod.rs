//! The command line.

mod args;
mod kernel;
mod manual;
mod passthrough;
mod request;
mod store;

pub(crate) use args::{Args, command};
pub(crate) use kernel::{KernelRequest, KernelSource};
pub(crate) use manual::manual;
pub(crate) use passthrough::split;
pub(crate) use request::{Input, Request};
