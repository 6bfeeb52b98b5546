//! The command line.

mod args;
mod passthrough;
mod request;

pub use args::{Args, When, command};
pub use passthrough::split;
pub use request::{Input, Request};
