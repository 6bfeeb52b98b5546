//! The store of compiled units, kept between runs.

pub(crate) mod key;
pub(crate) mod results;
