//! Reading ELF files.

#[cfg(test)]
#[path = "../../../tests/unit/damage.rs"]
mod damage;
mod file;
mod loaded;
mod origin;

pub(crate) use file::*;
pub(crate) use loaded::read_loaded;
pub(crate) use origin::Origin;
