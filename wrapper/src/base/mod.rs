//! What every part stands on: errors, file names, files that appear whole, hashes, the environment.

pub(crate) mod env;
pub(crate) mod error;
pub(crate) mod files;
pub(crate) mod hash;
pub(crate) mod loaded;
pub(crate) mod paths;
pub(crate) mod streams;
