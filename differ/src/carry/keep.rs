//! Which entries are carried for their own sake.

use gimli::constants as dw;
use gimli::write::{ConvertResult, FilterUnitEntry};
use gimli::{Attribute, AttributeValue, Operation};

use super::Slice;
use super::entries::Converter;
use crate::model::Settled;

/// New functions and variables, and variables of the program whose place is known. What they refer to, and what is in them, follows.
pub(super) fn wanted(
    converter: &Converter<'_>,
    entry: &FilterUnitEntry<'_, Slice<'_>>,
) -> ConvertResult<bool> {
    Ok(match entry.tag {
        dw::DW_TAG_subprogram => !converter.code(entry.read_unit, entry)?.is_empty(),
        // Those of a function go with it.
        dw::DW_TAG_variable | dw::DW_TAG_member if outside(entry.parent_tag) => {
            let location = entry.attrs.iter().find(|a| a.name() == dw::DW_AT_location);
            location.and_then(|a| place(converter, entry, a)).is_some()
        }
        dw::DW_TAG_imported_module => outside(entry.parent_tag),
        _ => false,
    })
}

/// Is this (`None`: the unit itself) what holds things of static storage?
fn outside(parent: Option<gimli::DwTag>) -> bool {
    matches!(
        parent,
        None | Some(
            dw::DW_TAG_namespace
                | dw::DW_TAG_structure_type
                | dw::DW_TAG_class_type
                | dw::DW_TAG_union_type
                | dw::DW_TAG_compile_unit
        )
    )
}

/// Where a variable is whose location is an address and nothing else.
fn place(
    converter: &Converter<'_>,
    entry: &FilterUnitEntry<'_, Slice<'_>>,
    attribute: &Attribute<Slice<'_>>,
) -> Option<Settled> {
    let AttributeValue::Exprloc(expression) = attribute.value() else { return None };
    let mut operations = expression.operations(entry.read_unit.encoding());
    let address = match operations.next() {
        Ok(Some(Operation::Address { address })) => address,
        Ok(Some(Operation::AddressIndex { index })) => entry.read_unit.address(index).ok()?,
        _ => return None,
    };
    let alone = matches!(operations.next(), Ok(None));
    converter.places.of(address).filter(|_| alone)
}
