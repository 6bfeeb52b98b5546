//! `upatch-build --kernel`: a livepatch module for a shipped kernel, of which only the touched objects are
//! compiled.

mod callbacks;
mod candidates;
mod compiler;
mod config;
mod devel;
mod hook;
mod includes;
mod kbuild;
mod module;
mod objects;
mod overlay;
mod packages;
mod run;
mod ship;
mod source;
mod store;
mod target;
mod touched;
mod tree;
mod units;
mod unpack;
mod warnings;

pub(crate) use run::run;
pub use unpack::kernel_image;
