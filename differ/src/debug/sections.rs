//! Debug sections of a relocatable object, with their relocations applied.

use std::collections::HashMap;

use gimli::{EndianSlice, LittleEndian, SectionId};

use crate::arch::x86_64::reloc;
use crate::unit::{Section, Unit};

/// `SHF_COMPRESSED` (gABI).
const SHF_COMPRESSED: u64 = 0x800;

/// The sections, relocated: references between debug sections are offsets then. Addresses become offsets in their section.
pub(super) struct Sections {
    bytes: HashMap<String, Vec<u8>>,
}

impl Sections {
    /// `None` without (readable) debug information.
    pub(super) fn load(unit: &Unit) -> Option<Sections> {
        let mut bytes = HashMap::new();
        for section in unit.sections.iter().filter(|s| s.name.starts_with(".debug_")) {
            if section.has(SHF_COMPRESSED) {
                return None;
            }
            // One unit has one of each; a second one (`.debug_types` groups, macros) is not needed here.
            bytes.entry(section.name.clone()).or_insert_with(|| relocated(unit, section));
        }
        bytes.contains_key(".debug_info").then_some(Sections { bytes })
    }

    pub(super) fn dwarf(&self) -> gimli::Dwarf<EndianSlice<'_, LittleEndian>> {
        let load = |id: SectionId| -> Result<_, gimli::Error> {
            let bytes = self.bytes.get(id.name()).map_or(&[][..], Vec::as_slice);
            Ok(EndianSlice::new(bytes, LittleEndian))
        };
        gimli::Dwarf::load(load).unwrap_or_default()
    }
}

fn relocated(unit: &Unit, section: &Section) -> Vec<u8> {
    let mut bytes = section.data.clone();
    for r in &section.relocs {
        let Some(kind) = reloc::kind(r.r_type) else { continue };
        let value = unit.symbols[r.symbol].value.wrapping_add(r.addend.cast_unsigned()).to_le_bytes();
        let Ok(from) = usize::try_from(r.offset) else { continue };
        let width = usize::from(kind.width);
        if let (Some(field), Some(value)) = (bytes.get_mut(from..from + width), value.get(..width)) {
            field.copy_from_slice(value);
        }
    }
    bytes
}
