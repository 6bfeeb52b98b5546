//! Reads and writes ELF. Only this module names `object::` types.

mod meta;
mod patch;
mod read;

pub(crate) use read::read_unit;
