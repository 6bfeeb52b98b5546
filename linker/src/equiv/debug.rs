//! The debug information of a linked file, as far as types and line numbers need it.

use std::borrow::Cow;
use std::collections::HashMap;

use gimli::{EndianSlice, LittleEndian};

/// A part of a section.
pub(super) type Bytes<'a> = EndianSlice<'a, LittleEndian>;

const SECTIONS: [&str; 7] = [
    ".debug_info",
    ".debug_abbrev",
    ".debug_str",
    ".debug_line_str",
    ".debug_str_offsets",
    ".debug_addr",
    ".debug_line",
];

/// Sections of debug information, decompressed; empty where a file has none.
#[derive(Debug)]
pub(super) struct DebugSections<'a>(HashMap<String, Cow<'a, [u8]>>);

impl<'a> DebugSections<'a> {
    pub(super) fn of(file: &'a [u8]) -> Self {
        Self(crate::elf::debug_sections(file, &SECTIONS))
    }

    /// The content of the sections; `None` if it cannot be read.
    pub(super) fn dwarf(&self) -> Option<gimli::Dwarf<Bytes<'_>>> {
        let load = |id: gimli::SectionId| -> Result<_, gimli::Error> {
            Ok(EndianSlice::new(self.0.get(id.name()).map_or(&[][..], |b| &**b), LittleEndian))
        };
        gimli::Dwarf::load(load).ok()
    }
}
