//! The inputs of a unit: files that were read, files that must be missing, and whether both are still as they
//! were.

pub(crate) mod absent;
pub(crate) mod assembled;
pub(crate) mod dep_file;
pub(crate) mod examine;
pub(crate) mod proof;
pub(crate) mod scan;
pub(crate) mod search;
