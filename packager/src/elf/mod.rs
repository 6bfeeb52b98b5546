//! Reading ELF files.

mod file;
mod loaded;

pub(crate) use file::*;
pub(crate) use loaded::read_loaded;
