//! ELF in and out. The only module that names `object::` types.

mod meta;
mod patch;
mod read;

pub(crate) use read::read_unit;
