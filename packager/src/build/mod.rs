//! The two recorded builds.

mod recorder;
mod rpmbuild;
mod tree;

pub use recorder::{ORIGINAL, PATCHED, Recorder, find_wrapper};
pub use rpmbuild::{RpmBuild, Stage};
pub use tree::TreeBuild;
