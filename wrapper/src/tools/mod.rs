//! Compilers, assemblers and linkers: their names, where the real ones are, and which they are.

pub(crate) mod identity;
pub(crate) mod names;
pub(crate) mod resolve;
