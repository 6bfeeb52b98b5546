//! The only place with system calls that the standard library does not offer.

pub(crate) mod child;
pub(crate) mod clock;
