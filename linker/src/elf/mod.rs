//! ELF files: the objects of the build, the linked files and the target. The only module that names types of
//! `object`, which reads them.
//!
//! What it gives are plain numbers and names (System V gABI, chapters 4 and 5; symbol versions: LSB core,
//! "Symbol Versioning").

#[cfg(test)]
#[path = "../../../tests/unit/damage.rs"]
mod damage;
mod debug;
mod file;
mod numbers;
mod relocatable;
mod relocatable_bytes;
mod symbols;

pub(crate) use debug::debug_sections;
pub use file::ParsedElf;
pub(crate) use file::{ElfFile, Rela, Section, Segment};
pub(crate) use numbers::*;
pub(crate) use relocatable::{
    FurtherRelocations, NO_SYMBOL, PlainPlace, PlainSection, PlainSymbol, Relocatable,
};
pub(crate) use symbols::Symbol;
