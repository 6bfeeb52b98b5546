//! Reading ELF files.

#[cfg(test)]
#[path = "../../../tests/unit/damage.rs"]
mod damage;
mod file;
mod loaded;

pub(crate) use file::*;
pub(crate) use loaded::read_loaded;
