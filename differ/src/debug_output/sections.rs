//! Reads the debug sections of an object, and applies their relocations.

use std::borrow::Cow;

use gimli::{Dwarf, EndianSlice, LittleEndian, SectionId};

use super::Slice;
use crate::arch::{self, Computes, Range, Tls};
use crate::elf::read_unit;
use crate::reading::{CONVERTED, Reading};
use crate::unit::{DefinedIn, SHF_ALLOC, Section, Unit};

/// Types in units of their own (DWARF 4, 7.30). They are not converted, so an object that has them is left
/// out.
const TYPES: &str = ".debug_types";

/// Bytes of an address.
const ADDRESS: u8 = 8;
/// Bytes of the address space that each allocated section has while an object is read.
const SECTION_SPAN: u64 = 1 << 32;
/// The address of everything that the object does not define. No section reaches it.
const ELSEWHERE: u64 = 1 << 62;

/// Address of an offset in an allocated section. It is larger than every offset in a section.
pub(super) fn address(section: usize, offset: u64) -> u64 {
    (section as u64 + 1).wrapping_mul(SECTION_SPAN).wrapping_add(offset)
}

/// Is this an offset in a section, and no address?
pub(super) fn is_offset(value: u64) -> bool {
    value < SECTION_SPAN
}

/// An object's debug information.
pub(super) struct Object<'a> {
    sections: Vec<Relocated<'a>>,
}

/// A section with its relocations applied.
struct Relocated<'a> {
    name: &'static str,
    data: Cow<'a, [u8]>,
    /// Offsets of the relocated fields, in ascending order.
    fields: Vec<u64>,
}

impl<'a> Object<'a> {
    /// `Ok(None)` for an object without debug information.
    pub(super) fn read(data: &'a [u8]) -> Result<Option<Self>, String> {
        let unit = read_unit(data, "patched", Reading::Converted).map_err(|e| e.to_string())?;
        let mut sections: Vec<Relocated<'a>> = Vec::new();
        if unit.sections.iter().any(|s| s.has(SHF_ALLOC) && s.size >= SECTION_SPAN) {
            return Err("a section is too large".to_owned());
        }
        if unit.sections.iter().any(|s| s.name == TYPES) {
            return Err("its types are in units of their own".to_owned());
        }
        for name in CONVERTED {
            let mut of_name = unit.sections.iter().filter(|s| s.name == name && s.size > 0);
            let Some(section) = of_name.next() else { continue };
            if of_name.next().is_some() {
                return Err(format!("it has several sections {name}"));
            }
            let fields = section.relocs.iter().map(|r| r.offset).collect();
            sections.push(Relocated { name, data: relocated(&unit, section)?, fields });
        }
        Ok(sections.iter().any(|s| s.name == ".debug_info").then_some(Self { sections }))
    }

    pub(super) fn dwarf(&self) -> Result<Dwarf<Slice<'_>>, gimli::Error> {
        Dwarf::load(|id: SectionId| {
            let found = self.sections.iter().find(|s| s.name == id.name());
            Ok(EndianSlice::new(found.map_or(&[][..], |s| &*s.data), LittleEndian))
        })
    }

    /// The number of relocated fields in these bytes, which are bytes of one of the sections.
    pub(super) fn relocated_in(&self, bytes: Slice<'_>) -> usize {
        let from = bytes.slice().as_ptr().addr();
        let within = |s: &&Relocated<'_>| {
            let start = s.data.as_ptr().addr();
            (start..start + s.data.len()).contains(&from)
        };
        let Some(Relocated { data, fields, .. }) = self.sections.iter().find(within) else { return 0 };
        let start = (from - data.as_ptr().addr()) as u64;
        let end = start + bytes.len() as u64;
        fields.partition_point(|o| *o < end) - fields.partition_point(|o| *o < start)
    }
}

/// What a field of a debug section holds.
enum FieldContent {
    Address,
    /// An offset in another section, in so many bytes.
    Offset(usize),
    /// The offset of a thread-local variable in its block. This is no address, and none can be written for
    /// it. What uses such a field is left out.
    InBlock,
}

fn holds(machine: u16, number: u32) -> Option<FieldContent> {
    let of = arch::of(machine)?.relocation(number)?;
    match of.computes {
        Computes::Address if of.is_pc_relative() => None,
        Computes::Address if of.width == ADDRESS => Some(FieldContent::Address),
        Computes::Address if of.width == 4 && of.range == Range::Unsigned => Some(FieldContent::Offset(4)),
        Computes::Tls(Tls::BlockOffset) => Some(FieldContent::InBlock),
        _ => None,
    }
}

fn relocated<'a>(unit: &Unit<'a>, section: &Section<'a>) -> Result<Cow<'a, [u8]>, String> {
    if section.relocs.is_empty() {
        return Ok(section.data.clone());
    }
    let mut bytes = section.data.to_vec();
    for r in &section.relocs {
        let symbol = unit.symbols.get(r.symbol).ok_or("a relocation names no symbol")?;
        let value = match symbol.home {
            DefinedIn::Section(home) => {
                let target = unit.sections.get(home).ok_or("a symbol is in no section")?;
                if target.has(SHF_ALLOC) { address(home, symbol.value) } else { symbol.value }
            }
            DefinedIn::Absolute | DefinedIn::Undefined => ELSEWHERE,
        };
        let value = value.wrapping_add(r.addend.cast_unsigned());
        let width = match holds(unit.machine, r.r_type) {
            Some(FieldContent::Address) => usize::from(ADDRESS),
            Some(FieldContent::Offset(width)) if is_offset(value) => width,
            Some(FieldContent::InBlock) => continue,
            _ => return Err(format!("relocation of type {} in {}", r.r_type, section.name)),
        };
        let from = usize::try_from(r.offset).unwrap_or(usize::MAX);
        let Some(field) = bytes.get_mut(from..from.saturating_add(width)) else {
            return Err(format!("relocation outside of {}", section.name));
        };
        field.copy_from_slice(&value.to_le_bytes()[..width]);
    }
    Ok(Cow::Owned(bytes))
}
