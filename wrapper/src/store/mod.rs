//! The store of compiled units, kept between runs.

pub(crate) mod results;
pub(crate) mod ticket;
