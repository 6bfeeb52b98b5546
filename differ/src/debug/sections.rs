//! Debug sections of a relocatable object, with their relocations applied.

use std::borrow::Cow;
use std::collections::HashMap;

use gimli::{EndianSlice, LittleEndian, SectionId};

use crate::arch;
use crate::reading::{DEBUG, LOCATIONS};
use crate::unit::{Section, Unit};

/// `SHF_COMPRESSED` (gABI).
const SHF_COMPRESSED: u64 = 0x800;

/// The sections with their relocations applied. References between debug sections are offsets then, and
/// addresses are offsets in their section.
pub(super) struct Sections<'a> {
    bytes: HashMap<&'a str, Cow<'a, [u8]>>,
}

impl<'a> Sections<'a> {
    /// `None` without (readable) debug information.
    pub(super) fn load(unit: &'a Unit<'_>) -> Option<Sections<'a>> {
        Self::load_named(unit, &[])
    }

    /// Loads the lists of locations too.
    pub(super) fn load_with_locations(unit: &'a Unit<'_>) -> Option<Sections<'a>> {
        Self::load_named(unit, &LOCATIONS)
    }

    fn load_named(unit: &'a Unit<'_>, more: &[&str]) -> Option<Sections<'a>> {
        let mut bytes = HashMap::new();
        let wanted = |name: &str| DEBUG.contains(&name) || more.contains(&name);
        for section in unit.sections.iter().filter(|s| wanted(&s.name)) {
            if section.has(SHF_COMPRESSED) {
                return None;
            }
            // A unit has one section of each name. Further sections (groups of `.debug_types`, macros) are
            // not needed here.
            bytes.entry(&*section.name).or_insert_with(|| relocated(unit, section));
        }
        bytes.contains_key(".debug_info").then_some(Sections { bytes })
    }

    pub(super) fn dwarf(&self) -> gimli::Dwarf<EndianSlice<'_, LittleEndian>> {
        let load = |id: SectionId| -> Result<_, gimli::Error> {
            let bytes = self.bytes.get(id.name()).map_or(&[][..], |b| &**b);
            Ok(EndianSlice::new(bytes, LittleEndian))
        };
        gimli::Dwarf::load(load).unwrap_or_default()
    }
}

fn relocated<'a>(unit: &Unit<'_>, section: &'a Section<'_>) -> Cow<'a, [u8]> {
    if section.relocs.is_empty() {
        return Cow::Borrowed(&section.data);
    }
    let arch = arch::of(unit.machine);
    let mut bytes = section.data.to_vec();
    for r in &section.relocs {
        let Some(kind) = arch.and_then(|arch| arch.relocation(r.r_type)) else { continue };
        let value = unit.symbols[r.symbol].value.wrapping_add(r.addend.cast_unsigned()).to_le_bytes();
        let Ok(from) = usize::try_from(r.offset) else { continue };
        let width = usize::from(kind.width);
        if let (Some(field), Some(value)) = (bytes.get_mut(from..from + width), value.get(..width)) {
            field.copy_from_slice(value);
        }
    }
    Cow::Owned(bytes)
}
