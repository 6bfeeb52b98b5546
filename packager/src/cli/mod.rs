//! The command line.

mod args;
mod manual;
mod passthrough;
mod request;

pub use args::{Args, When, command};
pub use manual::manual;
pub use passthrough::split;
pub use request::{Input, Request};
