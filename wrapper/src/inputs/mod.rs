//! What a unit is made from: the files that were read, those that must not be there, and whether they still
//! are what they were.

pub(crate) mod absent;
pub(crate) mod assembled;
pub(crate) mod dep_file;
pub(crate) mod examine;
pub(crate) mod proof;
pub(crate) mod scan;
pub(crate) mod search;
