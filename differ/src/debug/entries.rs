//! Visits debugging information entries of the wanted kinds. Most entries of a unit are of other kinds, and
//! are passed over unread.

use gimli::{DebuggingInformationEntry, EndianSlice, LittleEndian};

use super::types::TypeId;

pub(super) type Slice<'a> = EndianSlice<'a, LittleEndian>;
pub(super) type Die<'a> = DebuggingInformationEntry<Slice<'a>>;
pub(super) type Dwarf<'a> = gimli::Dwarf<Slice<'a>>;
pub(super) type Unit<'a> = gimli::Unit<Slice<'a>>;

/// Calls `visit` with the depth of each entry whose tag is wanted and with the entry, in the order of the
/// file. `None` when the entries cannot be read, or when `visit` gives `None`.
pub(super) fn each<'a>(
    unit: &Unit<'a>,
    wanted: impl Fn(gimli::DwTag) -> bool,
    mut visit: impl FnMut(usize, &Die<'a>) -> Option<()>,
) -> Option<()> {
    let mut entries = unit.entries_raw(None).ok()?;
    let mut die = Die::null();
    while !entries.is_empty() {
        let (depth, offset) = (entries.next_depth(), entries.next_offset());
        let Some(abbreviation) = entries.read_abbreviation().ok()? else { continue };
        if !wanted(abbreviation.tag()) {
            entries.skip_attributes(abbreviation.attributes()).ok()?;
            continue;
        }
        die.tag = abbreviation.tag();
        die.has_children = abbreviation.has_children();
        (die.depth, die.offset) = (depth, offset);
        entries.read_attributes(abbreviation.attributes(), &mut die.attrs).ok()?;
        visit(usize::try_from(depth).ok()?, &die)?;
    }
    Some(())
}

pub(super) fn slice<'a>(
    dwarf: &Dwarf<'a>,
    unit: &Unit<'a>,
    die: &Die<'a>,
    name: gimli::DwAt,
) -> Option<Slice<'a>> {
    dwarf.attr_string(unit, die.attr_value(name)?).ok()
}

/// The name that a linker sees; without that, the name in the source.
pub(super) fn linkage_name<'a>(dwarf: &Dwarf<'a>, unit: &Unit<'a>, die: &Die<'a>) -> Option<Slice<'a>> {
    slice(dwarf, unit, die, gimli::DW_AT_linkage_name).or_else(|| slice(dwarf, unit, die, gimli::DW_AT_name))
}

pub(super) fn text<'a>(
    dwarf: &Dwarf<'a>,
    unit: &Unit<'a>,
    die: &Die<'a>,
    name: gimli::DwAt,
) -> Option<String> {
    slice(dwarf, unit, die, name).map(|s| s.to_string_lossy().into_owned())
}

pub(super) fn number(die: &Die<'_>, name: gimli::DwAt) -> Option<u64> {
    die.attr_value(name)?.udata_value()
}

/// The entry that an attribute refers to, by its offset in `.debug_info`.
pub(super) fn reference(base: usize, die: &Die<'_>, name: gimli::DwAt) -> Option<TypeId> {
    match die.attr_value(name)? {
        gimli::AttributeValue::UnitRef(offset) => base.checked_add(offset.0),
        gimli::AttributeValue::DebugInfoRef(offset) => Some(offset.0),
        _ => None,
    }
}
