//! Converts entries and their attributes.

use std::iter::Peekable;

use gimli::constants as dw;
use gimli::read::UnitRef;
use gimli::write::{
    Address, AttributeValue, ConvertResult, ConvertUnit, ConvertUnitEntry, Range, RangeList, UnitEntryId,
};
use gimli::{Attribute, DebuggingInformationEntry, read};

use super::Slice;
use super::placements::{CodeRange, Placements};
use super::sections::Object;

/// One object being converted.
pub(super) struct Converter<'c> {
    pub(super) object: &'c Object<'c>,
    pub(super) placements: &'c Placements,
    /// Address in the image of the word with the target's load bias.
    pub(super) bias: u64,
    pub(super) renamed: &'c dyn Fn(&[u8]) -> Option<Vec<u8>>,
}

impl Converter<'_> {
    /// The parts of an entry's code that are in the image.
    pub(super) fn code<'a>(
        &self,
        unit: UnitRef<'_, Slice<'a>>,
        entry: &DebuggingInformationEntry<Slice<'a>>,
    ) -> gimli::Result<Vec<CodeRange>> {
        let mut ranges = unit.die_ranges(entry)?;
        let mut code = Vec::new();
        while let Some(range) = ranges.next()? {
            code.extend(self.placements.code_ranges(range.begin, range.end));
        }
        Ok(code)
    }

    /// Converts a unit, if anything in it is wanted. `needed`: offsets in `.debug_info` of the entries to
    /// convert, of this unit and of those behind it.
    pub(super) fn unit<'a>(
        &self,
        unit: &mut ConvertUnit<'_, Slice<'a>>,
        root: ConvertUnitEntry<'_, Slice<'a>>,
        needed: &mut Peekable<impl Iterator<Item = usize>>,
    ) -> ConvertResult<()> {
        let code = self.code(root.read_unit, &root)?;
        let mut begun = false;
        // A skeleton unit has no entries, but it has lines.
        if !code.is_empty() {
            self.begin(unit, &root, &code)?;
            begun = true;
        }
        let mut entry = unit.null_entry();
        while let Some(id) = unit.read_entry(&mut entry)? {
            let offset = entry.offset.to_unit_section_offset(&unit.read_unit).0;
            if needed.next_if_eq(&offset).is_none() {
                continue;
            }
            if !begun {
                self.begin(unit, &root, &code)?;
                begun = true;
            }
            let id = unit.add_entry(id, &entry);
            let code = self.code(entry.read_unit, &entry)?;
            self.attributes(unit, id, &entry, &code, false)?;
        }
        if !begun {
            unit.skip();
        }
        Ok(())
    }

    /// Lines come first: entries refer to the files in them.
    fn begin<'a>(
        &self,
        unit: &mut ConvertUnit<'_, Slice<'a>>,
        root: &ConvertUnitEntry<'_, Slice<'a>>,
        code: &[CodeRange],
    ) -> ConvertResult<()> {
        self.lines(unit)?;
        let id = unit.unit.root();
        unit.unit.get_mut(id).set_sibling(false);
        self.attributes(unit, id, root, code, true)
    }

    fn attributes<'a>(
        &self,
        unit: &mut ConvertUnit<'_, Slice<'a>>,
        id: UnitEntryId,
        entry: &ConvertUnitEntry<'_, Slice<'a>>,
        code: &[CodeRange],
        root: bool,
    ) -> ConvertResult<()> {
        let extends = root || entry.has_attr(dw::DW_AT_high_pc) || entry.has_attr(dw::DW_AT_ranges);
        for attribute in &entry.attrs {
            let name = attribute.name();
            if (name == dw::DW_AT_low_pc || name == dw::DW_AT_high_pc || name == dw::DW_AT_ranges) && extends
            {
                continue;
            }
            if let Some(value) = self.attribute(unit, entry.read_unit, attribute, root)? {
                unit.unit.get_mut(id).set(name, value);
            }
        }
        let list = |unit: &mut ConvertUnit<'_, Slice<'a>>| {
            let range =
                |s: &CodeRange| Range::StartLength { begin: Address::Constant(s.image), length: s.len() };
            AttributeValue::RangeListRef(unit.unit.ranges.add(RangeList(code.iter().map(range).collect())))
        };
        let set = |unit: &mut ConvertUnit<'_, Slice<'a>>, name, value| unit.unit.get_mut(id).set(name, value);
        match code {
            [] => {}
            [one] if !root => {
                set(unit, dw::DW_AT_low_pc, AttributeValue::Address(Address::Constant(one.image)));
                // From DWARF 4 on the value may be a length (2.17.2).
                let end = match unit.unit.version() {
                    ..4 => AttributeValue::Address(Address::Constant(one.image + one.len())),
                    _ => AttributeValue::Udata(one.len()),
                };
                set(unit, dw::DW_AT_high_pc, end);
            }
            _ => {
                if root {
                    // Lists count from this address (DWARF 5, 3.1.1). All converted lists have addresses of
                    // their own.
                    set(unit, dw::DW_AT_low_pc, AttributeValue::Address(Address::Constant(0)));
                }
                let ranges = list(unit);
                set(unit, dw::DW_AT_ranges, ranges);
            }
        }
        Ok(())
    }

    /// The converted attribute; `None` to leave it out.
    fn attribute<'a>(
        &self,
        unit: &mut ConvertUnit<'_, Slice<'a>>,
        from: UnitRef<'_, Slice<'a>>,
        attribute: &Attribute<Slice<'a>>,
        root: bool,
    ) -> ConvertResult<Option<AttributeValue>> {
        use read::AttributeValue as Value;
        let value = attribute.value();
        match attribute.name() {
            // The attribute refers to a table that is not converted.
            dw::DW_AT_GNU_locviews
            | dw::DW_AT_GNU_entry_view
            | dw::DW_AT_GNU_pubnames
            | dw::DW_AT_GNU_pubtypes
            | dw::DW_AT_macro_info
            | dw::DW_AT_macros
            | dw::DW_AT_GNU_macros
            | dw::DW_AT_start_scope => return Ok(None),
            dw::DW_AT_decl_file | dw::DW_AT_call_file => {
                let index = attribute.udata_value().and_then(|i| unit.convert_file_index(from, i).ok());
                return Ok(index.map(AttributeValue::FileIndex));
            }
            dw::DW_AT_name | dw::DW_AT_comp_dir if root => {
                let text = from.attr_string(value)?;
                let text = (self.renamed)(text.slice()).unwrap_or_else(|| text.slice().to_vec());
                return Ok(Some(AttributeValue::StringRef(unit.strings.add(text))));
            }
            dw::DW_AT_entry_pc if from.attr_address(value)?.is_none() => return Ok(None),
            dw::DW_AT_stmt_list if from.line_program.is_none() => return Ok(None),
            // An operand in such an attribute is a number, whatever it looks like.
            dw::DW_AT_vtable_elem_location => {
                return unit.convert_attribute_value(from, attribute, &|_| None).map(Some);
            }
            _ => {}
        }
        Ok(match value {
            Value::Addr(_) | Value::DebugAddrIndex(_) => {
                let address = from.attr_address(value)?.and_then(|a| self.placements.in_image(a));
                address.map(|a| AttributeValue::Address(Address::Constant(a)))
            }
            Value::Exprloc(expression) => {
                self.expression(unit, from, expression).map(AttributeValue::Exprloc)
            }
            Value::LocationListsRef(_) | Value::DebugLocListsIndex(_) => {
                let Some(list) = from.attr_locations(value)? else { return Ok(None) };
                let list = self.locations(unit, from, list)?;
                let known = !list.0.is_empty();
                known.then(|| AttributeValue::LocationListRef(unit.unit.locations.add(list)))
            }
            _ => Some(unit.convert_attribute_value(from, attribute, &|_| None)?),
        })
    }
}
