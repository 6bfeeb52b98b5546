//! Finds the entries to convert: new functions and variables, variables of the program whose address is
//! known, and what these need.
//!
//! The content of a function that is not in the patch is not needed. Nor are member functions that nothing
//! refers to, which in C++ are most of a unit. So an entry is read in full only once it is known to be
//! needed.

use gimli::constants as dw;
use gimli::read::UnitRef;
use gimli::{
    AttributeValue, DebuggingInformationEntry, DieReference, DwTag, Dwarf, Expression, Operation, Unit,
    UnitSectionOffset,
};

use super::Slice;
use super::entries::Converter;
use crate::model::LinkedAddress;

/// Which parts of an entry are converted together with it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ConvertedParts {
    /// All parts.
    Parts,
    /// Parameters: for functions whose code is elsewhere.
    Signature,
    /// None: for namespaces.
    Nothing,
}

/// How an entry belongs to the entry around it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Parameter,
    Part,
    /// Only entries that refer to it need it.
    Thing,
}

struct Node {
    /// In `.debug_info`.
    offset: usize,
    unit: usize,
    /// Index of the entry around it; `None` at the top of a unit.
    parent: Option<usize>,
    depth: isize,
    role: Role,
    along: ConvertedParts,
}

/// The entries of an object.
struct Graph<'a, 'd> {
    dwarf: &'d Dwarf<Slice<'a>>,
    units: Vec<Unit<Slice<'a>>>,
    nodes: Vec<Node>,
    needed: Vec<bool>,
    todo: Vec<usize>,
}

/// Offsets in `.debug_info` of all entries that are needed, in ascending order, without those of units.
pub(super) fn needed(converter: &Converter<'_>, dwarf: &Dwarf<Slice<'_>>) -> gimli::Result<Vec<usize>> {
    let mut graph =
        Graph { dwarf, units: Vec::new(), nodes: Vec::new(), needed: Vec::new(), todo: Vec::new() };
    let mut headers = dwarf.units();
    while let Some(header) = headers.next()? {
        graph.read(converter, dwarf.unit(header)?)?;
    }
    graph.needed = vec![false; graph.nodes.len()];
    while let Some(index) = graph.todo.pop() {
        if !std::mem::replace(&mut graph.needed[index], true) {
            graph.follow(index)?;
        }
    }
    Ok(graph.nodes.iter().zip(&graph.needed).filter(|(_, needed)| **needed).map(|(n, _)| n.offset).collect())
}

impl<'a> Graph<'a, '_> {
    /// Reads how the entries of a unit are nested, and which of them are wanted for their own sake.
    fn read(&mut self, converter: &Converter<'_>, unit: Unit<Slice<'a>>) -> gimli::Result<()> {
        let number = self.units.len();
        let UnitSectionOffset(base) = unit.header.offset();
        let from = unit.unit_ref(self.dwarf);
        let mut entries = from.entries_raw(None)?;
        let mut around: Vec<(usize, DwTag)> = Vec::new();
        while !entries.is_empty() {
            let (offset, depth) = (entries.next_offset(), entries.next_depth());
            let Some(abbreviation) = entries.read_abbreviation()? else { continue };
            entries.skip_attributes(abbreviation.attributes())?;
            if depth == 0 {
                continue;
            }
            while around.last().is_some_and(|(index, _)| self.nodes[*index].depth >= depth) {
                around.pop();
            }
            let (tag, parent) = (abbreviation.tag(), around.last().copied());
            let (mut along, mut role) = (along(tag), role(tag));
            let mut wanted = false;
            match tag {
                dw::DW_TAG_subprogram => {
                    let entry = from.entry(offset)?;
                    if !converter.code(from, &entry)?.is_empty() {
                        (along, wanted) = (ConvertedParts::Parts, true);
                    } else if entry.has_attr(dw::DW_AT_virtuality) {
                        // These members tell a debugger that an object itself says which class it is of.
                        role = Role::Part;
                    }
                }
                // Parts of a function are converted with it.
                dw::DW_TAG_variable if outside(parent) => {
                    wanted = place(converter, from, &from.entry(offset)?).is_some();
                }
                dw::DW_TAG_imported_module => wanted = parent.is_none(),
                _ => {}
            }
            let index = self.nodes.len();
            if wanted {
                self.todo.push(index);
            }
            if abbreviation.has_children() {
                around.push((index, tag));
            }
            let (offset, parent) = (base + offset.0, parent.map(|(index, _)| index));
            self.nodes.push(Node { offset, unit: number, parent, depth, role, along });
        }
        self.units.push(unit);
        Ok(())
    }

    /// Adds what an entry needs.
    fn follow(&mut self, index: usize) -> gimli::Result<()> {
        let Node { offset, unit, parent, depth, along, .. } = self.nodes[index];
        self.todo.extend(parent);
        if along != ConvertedParts::Nothing {
            let inside = self.nodes.iter().enumerate().skip(index + 1);
            let inside = inside.take_while(|(_, n)| n.unit == unit && n.depth > depth);
            let goes = |n: &Node| {
                n.role == Role::Parameter || n.role == Role::Part && along == ConvertedParts::Parts
            };
            self.todo.extend(inside.filter(|(_, n)| n.parent == Some(index) && goes(n)).map(|(i, _)| i));
        }
        let from = self.units[unit].unit_ref(self.dwarf);
        let Some(own) = UnitSectionOffset(offset).to_unit_offset(&self.units[unit]) else { return Ok(()) };
        let mut referred = Vec::new();
        for attribute in &from.entry(own)?.attrs {
            if attribute.name() == dw::DW_AT_sibling {
                continue;
            }
            let value = attribute.value();
            match value {
                AttributeValue::UnitRef(to) => referred.push(to.to_unit_section_offset(&self.units[unit]).0),
                AttributeValue::DebugInfoRef(to) => referred.push(to.0),
                AttributeValue::Exprloc(expression) => self.operands(unit, expression, &mut referred),
                AttributeValue::LocationListsRef(_) | AttributeValue::DebugLocListsIndex(_) => {
                    let Some(mut list) = from.attr_locations(value)? else { continue };
                    while let Some(location) = list.next()? {
                        self.operands(unit, location.data, &mut referred);
                    }
                }
                _ => {}
            }
        }
        for offset in referred {
            self.todo.extend(self.nodes.binary_search_by_key(&offset, |n| n.offset));
        }
        Ok(())
    }

    /// Adds the entries that an expression refers to.
    fn operands(&self, number: usize, expression: Expression<Slice<'a>>, referred: &mut Vec<usize>) {
        let unit = &self.units[number];
        let mut operations = expression.operations(unit.encoding());
        // An expression that cannot be read is left out later.
        while let Ok(Some(operation)) = operations.next() {
            let to = match operation {
                Operation::Deref { base_type: to, .. }
                | Operation::RegisterOffset { base_type: to, .. }
                | Operation::TypedLiteral { base_type: to, .. }
                | Operation::Convert { base_type: to }
                | Operation::Reinterpret { base_type: to }
                | Operation::ParameterRef { offset: to }
                | Operation::Call { offset: DieReference::UnitRef(to) } => to.to_unit_section_offset(unit).0,
                Operation::Call { offset: DieReference::DebugInfoRef(to) }
                | Operation::ImplicitPointer { value: to, .. }
                | Operation::VariableValue { offset: to } => to.0,
                Operation::EntryValue { expression } => {
                    self.operands(number, Expression(expression), referred);
                    continue;
                }
                _ => continue,
            };
            referred.push(to);
        }
    }
}

fn along(tag: DwTag) -> ConvertedParts {
    match tag {
        dw::DW_TAG_namespace | dw::DW_TAG_module => ConvertedParts::Nothing,
        dw::DW_TAG_subprogram => ConvertedParts::Signature,
        _ => ConvertedParts::Parts,
    }
}

fn role(tag: DwTag) -> Role {
    match tag {
        dw::DW_TAG_formal_parameter
        | dw::DW_TAG_unspecified_parameters
        | dw::DW_TAG_template_type_parameter
        | dw::DW_TAG_template_value_parameter
        | dw::DW_TAG_GNU_template_template_param
        | dw::DW_TAG_GNU_template_parameter_pack
        | dw::DW_TAG_GNU_formal_parameter_pack => Role::Parameter,
        dw::DW_TAG_array_type
        | dw::DW_TAG_atomic_type
        | dw::DW_TAG_base_type
        | dw::DW_TAG_class_type
        | dw::DW_TAG_const_type
        | dw::DW_TAG_dwarf_procedure
        | dw::DW_TAG_enumeration_type
        | dw::DW_TAG_namespace
        | dw::DW_TAG_pointer_type
        | dw::DW_TAG_ptr_to_member_type
        | dw::DW_TAG_reference_type
        | dw::DW_TAG_restrict_type
        | dw::DW_TAG_rvalue_reference_type
        | dw::DW_TAG_string_type
        | dw::DW_TAG_structure_type
        | dw::DW_TAG_subprogram
        | dw::DW_TAG_subroutine_type
        | dw::DW_TAG_template_alias
        | dw::DW_TAG_typedef
        | dw::DW_TAG_union_type
        | dw::DW_TAG_unspecified_type
        | dw::DW_TAG_volatile_type => Role::Thing,
        _ => Role::Part,
    }
}

/// Is this an entry (`None`: the unit itself) that holds things of static storage?
fn outside(parent: Option<(usize, DwTag)>) -> bool {
    let holds = |tag| {
        matches!(
            tag,
            dw::DW_TAG_namespace | dw::DW_TAG_structure_type | dw::DW_TAG_class_type | dw::DW_TAG_union_type
        )
    };
    parent.is_none_or(|(_, tag)| holds(tag))
}

/// The linked address of a variable whose location is an address and nothing else.
fn place(
    converter: &Converter<'_>,
    unit: UnitRef<'_, Slice<'_>>,
    entry: &DebuggingInformationEntry<Slice<'_>>,
) -> Option<LinkedAddress> {
    let AttributeValue::Exprloc(expression) = entry.attr_value(dw::DW_AT_location)? else { return None };
    let mut operations = expression.operations(unit.encoding());
    let address = match operations.next() {
        Ok(Some(Operation::Address { address })) => address,
        Ok(Some(Operation::AddressIndex { index })) => unit.address(index).ok()?,
        _ => return None,
    };
    let alone = matches!(operations.next(), Ok(None));
    converter.placements.of(address).filter(|_| alone)
}
