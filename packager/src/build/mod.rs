//! The two recorded builds.

mod again;
mod altered;
mod recorder;
mod rpmbuild;
mod site_script;
mod tree;

pub(crate) use again::{Built, Doubt};
pub(crate) use recorder::Recorder;
pub(crate) use rpmbuild::{RpmBuild, Stage};
pub(crate) use site_script::SiteScript;
pub(crate) use tree::TreeBuild;
