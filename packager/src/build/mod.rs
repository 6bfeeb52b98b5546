//! The two recorded builds.

mod configured;
mod recorder;
mod rpmbuild;
mod tree;

pub use configured::Configured;
pub use recorder::{ORIGINAL, PATCHED, Recorder, find_wrapper};
pub use rpmbuild::{RpmBuild, Stage};
pub use tree::TreeBuild;
