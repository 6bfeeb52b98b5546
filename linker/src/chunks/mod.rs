//! Pieces of an image before they have addresses.

pub(crate) mod chunk;
pub(crate) mod frames;
pub(crate) mod pool;
