//! What every part stands on: errors, bytes as names, files that appear whole, hashes, the environment.

pub(crate) mod env;
pub(crate) mod error;
pub(crate) mod files;
pub(crate) mod hash;
pub(crate) mod hex;
pub(crate) mod loaded;
pub(crate) mod os_bytes;
pub(crate) mod streams;
