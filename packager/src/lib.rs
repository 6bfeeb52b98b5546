//! `upatch-build`: makes a live patch from a spec file, a source RPM or a source tree.

pub mod build;
pub mod cli;
pub mod elf;
pub mod error;
pub mod files;
pub(crate) mod loaded;
pub mod naming;
pub mod output;
pub mod pipeline;
pub mod place;
pub mod prep;
pub mod progress;
pub mod run;
pub mod source;
pub mod target;
pub mod units;
pub mod work;
