//! The two recorded builds.

mod altered;
mod configured;
mod recorder;
mod rpmbuild;
mod tree;

pub(crate) use configured::Configured;
pub(crate) use recorder::Recorder;
pub(crate) use rpmbuild::{RpmBuild, Stage};
pub(crate) use tree::TreeBuild;
