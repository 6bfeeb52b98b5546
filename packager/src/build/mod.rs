//! The two recorded builds.

mod rpmbuild;
mod recorder;
mod tree;

pub use recorder::{ORIGINAL, PATCHED, Recorder, find_wrapper};
pub use rpmbuild::{RpmBuild, Stage};
pub use tree::TreeBuild;
