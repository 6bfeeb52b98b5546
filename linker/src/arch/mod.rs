//! What depends on the instruction set.

pub(crate) mod x86_64;
