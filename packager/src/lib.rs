//! `upatch-build`: makes a live patch from a spec file, a source RPM or a source tree.

mod build;
mod cli;
mod command;
mod develop;
mod elf;
mod error;
mod files;
mod kept;
mod kernel;
mod names;
mod naming;
mod output;
mod pipeline;
mod prep;
mod private;
mod process;
mod progress;
mod scratch;
mod source;
mod target;
mod units;
mod view;

pub use command::main;
pub use kernel::kernel_image;
pub use units::compare_objects;
