//! Which sections of an object are read for what. Debug information is most of an object, so it is read only
//! where it is needed.

use crate::unit::{SHF_ALLOC, Section};

/// What scopes, types and inlined functions are read from. Lists of locations are larger than all of these.
pub(crate) const DEBUG: [&str; 7] = [
    ".debug_info",
    ".debug_abbrev",
    ".debug_str",
    ".debug_line_str",
    ".debug_str_offsets",
    ".debug_addr",
    ".debug_line",
];

/// Where the parts of a function lie. Its relocations tell which function of several sources a symbol is.
pub(crate) const RANGES: &str = ".debug_rnglists";

/// Where variables are, in DWARF 5 and before.
pub(crate) const LOCATIONS: [&str; 2] = [".debug_loclists", ".debug_loc"];

/// What is converted for a debugger. Macros, indices and tables of names are not.
pub(crate) const CONVERTED: [&str; 11] = [
    ".debug_abbrev",
    ".debug_addr",
    ".debug_info",
    ".debug_line",
    ".debug_line_str",
    ".debug_loc",
    ".debug_loclists",
    ".debug_ranges",
    ".debug_rnglists",
    ".debug_str",
    ".debug_str_offsets",
];

/// What is to be read of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reading {
    /// The program, without debug information.
    Program,
    /// Debug information alone: its relocations, and its content unpacked.
    Debug,
    /// Debug information alone, with the places of variables.
    Locations,
    /// All debug information that is converted for a debugger.
    Converted,
}

impl Reading {
    /// Are content and relocations of the section wanted?
    pub(crate) fn wants(self, section: &Section<'_>) -> bool {
        let name = &&*section.name;
        match self {
            Self::Program => section.has(SHF_ALLOC) || section.is_probes(),
            Self::Debug => *name == RANGES || DEBUG.contains(name),
            Self::Locations => LOCATIONS.contains(name) || Self::Debug.wants(section),
            Self::Converted => CONVERTED.contains(name),
        }
    }
}
