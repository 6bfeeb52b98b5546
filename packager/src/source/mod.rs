//! Where the package comes from: spec file, source RPM, source tree or git.

mod buildrequires;
mod git;
mod spec;
mod srpm;
mod tree;

pub(crate) use buildrequires::host_uses_rpm;
pub use buildrequires::missing as missing_build_requires;
pub use git::GitFix;
pub use spec::SpecSource;
pub use srpm::{extract, unpack};
pub use tree::TreeSource;
