//! Where the package comes from: spec file, source RPM, source tree or git.

mod buildrequires;
mod file_names;
mod git;
mod spec;
mod srpm;
mod tree;

pub(crate) use buildrequires::host_uses_rpm;
pub(crate) use buildrequires::missing as missing_build_requires;
pub(crate) use file_names::{C_EXTENSIONS, is_source};
pub(crate) use git::GitFix;
pub(crate) use spec::SpecSource;
pub(crate) use srpm::{extract, unpack};
pub(crate) use tree::TreeSource;
