//! The two builds, whatever the source is.

mod again;
mod both;
mod kept;
mod numbered;
mod original;
mod patched;
mod source;

pub(super) use both::Builds;
pub(super) use original::Original;
pub(super) use patched::Patched;
pub(super) use source::Source;
