//! One walk over the debugging information entries.

use std::collections::HashMap;

use gimli::{AttributeValue, DebuggingInformationEntry, EndianSlice, LittleEndian, Operation, Section as _};

use super::sections::Sections;
use super::types::{Field, Type, TypeId, Types};
use crate::unit::{Home, Unit};

pub(super) type Slice<'a> = EndianSlice<'a, LittleEndian>;
pub(super) type Die<'a> = DebuggingInformationEntry<Slice<'a>>;

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Info {
    /// Variables of functions with a place in memory, in order of declaration.
    pub(crate) statics: Vec<Static>,
    pub(crate) types: Types,
    /// Types of variables with static storage, also of those only declared here.
    pub(crate) variables: Vec<TypeId>,
}

/// A variable of a function with a place in memory.
#[derive(Debug, Clone)]
pub(crate) struct Static {
    pub(crate) section: usize,
    pub(crate) offset: u64,
    /// The function's name.
    pub(crate) function: String,
    /// Line of its declaration, 0 if not known.
    pub(crate) line: u64,
}

/// Reads the debug information; `None` when there is none, or it cannot be read.
pub(crate) fn read(unit: &Unit) -> Option<Info> {
    let sections = Sections::load(unit)?;
    let dwarf = sections.dwarf();
    let debug_info = unit.sections.iter().find(|s| s.name == ".debug_info")?;
    let addresses = unit.sections.iter().find(|s| s.name == ".debug_addr");
    let mut walk = Walk {
        unit,
        relocs: &debug_info.relocs,
        addresses: addresses.map_or(&[][..], |s| s.relocs.as_slice()),
        info: Info::default(),
        names: HashMap::new(),
    };
    let mut headers = dwarf.units();
    while let Some(header) = headers.next().ok()? {
        let unit = dwarf.unit(header).ok()?;
        let base = header.offset().0;
        // First the names, since an abstract origin may come later.
        let mut entries = unit.entries();
        while let Some(die) = entries.next_dfs().ok()? {
            let name = text(&dwarf, &unit, die, gimli::DW_AT_linkage_name)
                .or_else(|| text(&dwarf, &unit, die, gimli::DW_AT_name));
            if let Some(name) = name {
                walk.names.insert(base + die.offset().0, name);
            }
        }
        let mut entries = unit.entries();
        let mut stack: Vec<Frame> = Vec::new();
        while let Some(die) = entries.next_dfs().ok()? {
            let depth = usize::try_from(die.depth()).ok()?;
            stack.truncate(depth);
            let frame = walk.visit(&dwarf, &unit, base, die, &stack)?;
            stack.push(frame);
        }
    }
    Some(walk.info)
}

/// An entry that encloses the current one.
struct Frame {
    /// The innermost function.
    function: Option<String>,
    /// Qualified name of what encloses, for types.
    path: String,
    offset: TypeId,
}

struct Walk<'a> {
    unit: &'a Unit,
    relocs: &'a [crate::unit::Reloc],
    /// Relocations of `.debug_addr`.
    addresses: &'a [crate::unit::Reloc],
    info: Info,
    names: HashMap<TypeId, String>,
}

impl Walk<'_> {
    fn visit<'a>(
        &mut self,
        dwarf: &gimli::Dwarf<Slice<'a>>,
        unit: &gimli::Unit<Slice<'a>>,
        base: usize,
        die: &Die<'a>,
        stack: &[Frame],
    ) -> Option<Frame> {
        let offset = base + die.offset().0;
        let outer = stack.last();
        let mut frame = Frame {
            function: outer.and_then(|f| f.function.clone()),
            path: outer.map(|f| f.path.clone()).unwrap_or_default(),
            offset,
        };
        let own_name = || text(dwarf, unit, die, gimli::DW_AT_name);
        match die.tag() {
            gimli::DW_TAG_subprogram | gimli::DW_TAG_inlined_subroutine => {
                let name = self.name_of(base, offset, die);
                frame.path = format!("{}{}()::", frame.path, name.as_deref().unwrap_or("?"));
                frame.function = name.or(frame.function);
            }
            gimli::DW_TAG_namespace => {
                frame.path = format!("{}{}::", frame.path, own_name().unwrap_or_default());
            }
            gimli::DW_TAG_structure_type
            | gimli::DW_TAG_class_type
            | gimli::DW_TAG_union_type
            | gimli::DW_TAG_enumeration_type => {
                let t = Type {
                    size: number(die, gimli::DW_AT_byte_size),
                    is_declaration: flag(die),
                    ..Type::default()
                };
                if let Some(name) = own_name() {
                    let name = format!("{}{name}", frame.path);
                    if !t.is_declaration {
                        self.info.types.named.entry(name.clone()).or_insert(offset);
                    }
                    frame.path = format!("{name}::");
                }
                self.info.types.all.insert(offset, t);
            }
            gimli::DW_TAG_member | gimli::DW_TAG_inheritance => {
                let type_id = reference(base, die, gimli::DW_AT_type);
                let is_static = die.attr_value(gimli::DW_AT_external).is_some();
                let bytes = number(die, gimli::DW_AT_data_member_location).unwrap_or(0);
                let bit_offset = number(die, gimli::DW_AT_data_bit_offset).unwrap_or(bytes * 8);
                let name = if die.tag() == gimli::DW_TAG_inheritance {
                    Some(format!(
                        "base {}",
                        type_id.and_then(|t| self.names.get(&t)).map_or("?", String::as_str)
                    ))
                } else {
                    own_name()
                };
                let bit_size = number(die, gimli::DW_AT_bit_size);
                if let Some(parent) = outer.and_then(|f| self.info.types.all.get_mut(&f.offset))
                    && !is_static
                {
                    parent.members.push(Field { name, bit_offset, bit_size, type_id });
                }
            }
            gimli::DW_TAG_enumerator => {
                let value = die
                    .attr_value(gimli::DW_AT_const_value)
                    .and_then(|v| v.sdata_value().or_else(|| v.udata_value().map(u64::cast_signed)));
                if let (Some(parent), Some(name), Some(value)) =
                    (outer.and_then(|f| self.info.types.all.get_mut(&f.offset)), own_name(), value)
                {
                    parent.enumerators.push((name, value));
                }
            }
            gimli::DW_TAG_subrange_type => {
                let count = number(die, gimli::DW_AT_count)
                    .or_else(|| number(die, gimli::DW_AT_upper_bound).map(|n| n.wrapping_add(1)))
                    .unwrap_or(0);
                if let Some(parent) = outer.and_then(|f| self.info.types.all.get_mut(&f.offset)) {
                    parent.counts.push(count);
                }
            }
            gimli::DW_TAG_typedef
            | gimli::DW_TAG_array_type
            | gimli::DW_TAG_pointer_type
            | gimli::DW_TAG_reference_type
            | gimli::DW_TAG_rvalue_reference_type
            | gimli::DW_TAG_const_type
            | gimli::DW_TAG_volatile_type
            | gimli::DW_TAG_restrict_type
            | gimli::DW_TAG_atomic_type
            | gimli::DW_TAG_base_type => {
                let inner = reference(base, die, gimli::DW_AT_type);
                let is_pointer = matches!(
                    die.tag(),
                    gimli::DW_TAG_pointer_type
                        | gimli::DW_TAG_reference_type
                        | gimli::DW_TAG_rvalue_reference_type
                );
                let size = number(die, gimli::DW_AT_byte_size).or(is_pointer.then_some(8));
                self.info.types.all.insert(offset, Type { size, inner, ..Type::default() });
                if die.tag() == gimli::DW_TAG_typedef
                    && let (Some(name), Some(inner)) = (own_name(), inner)
                    && !self.names.contains_key(&inner)
                {
                    // `typedef struct { … } name;`
                    self.info.types.named.entry(format!("{}{name}", frame.path)).or_insert(inner);
                }
            }
            gimli::DW_TAG_variable => self.variable(base, unit, dwarf, die, &frame),
            _ => {}
        }
        Some(frame)
    }

    /// The name of a function, also through its abstract origin or declaration.
    fn name_of(&self, base: usize, offset: usize, die: &Die<'_>) -> Option<String> {
        if let Some(name) = self.names.get(&offset) {
            return Some(name.clone());
        }
        let origin = reference(base, die, gimli::DW_AT_abstract_origin)
            .or_else(|| reference(base, die, gimli::DW_AT_specification))?;
        self.names.get(&origin).cloned()
    }

    fn variable<'a>(
        &mut self,
        base: usize,
        unit: &gimli::Unit<Slice<'a>>,
        dwarf: &gimli::Dwarf<Slice<'a>>,
        die: &Die<'a>,
        frame: &Frame,
    ) {
        let type_id = reference(base, die, gimli::DW_AT_type);
        let Some(AttributeValue::Exprloc(expression)) = die.attr_value(gimli::DW_AT_location) else {
            if die.attr_value(gimli::DW_AT_external).is_some() {
                self.info.variables.extend(type_id);
            }
            return;
        };
        let start = expression.0.offset_from(*dwarf.debug_info.reader());
        let mut operations = expression.operations(unit.encoding());
        let (relocs, field) = match operations.next() {
            // The operand follows the one-byte operation.
            Ok(Some(Operation::Address { .. })) => (self.relocs, start + 1),
            // Clang keeps addresses in a table of their own (DWARF 5, 2.6.2).
            Ok(Some(Operation::AddressIndex { index })) => {
                let size = usize::from(unit.encoding().address_size);
                let offset = index.0.checked_mul(size).and_then(|o| o.checked_add(unit.addr_base.0));
                (self.addresses, offset.unwrap_or(usize::MAX))
            }
            _ => return,
        };
        self.info.variables.extend(type_id);
        let field = field as u64;
        let at = relocs.partition_point(|r| r.offset < field);
        let Some(r) = relocs.get(at).filter(|r| r.offset == field) else { return };
        let symbol = &self.unit.symbols[r.symbol];
        if let (Home::Section(section), Some(function)) = (symbol.home, &frame.function) {
            let offset = symbol.value.wrapping_add(r.addend.cast_unsigned());
            let line = number(die, gimli::DW_AT_decl_line).unwrap_or(0);
            self.info.statics.push(Static { section, offset, function: function.clone(), line });
        }
    }
}

pub(super) fn text<'a>(
    dwarf: &gimli::Dwarf<Slice<'a>>,
    unit: &gimli::Unit<Slice<'a>>,
    die: &Die<'a>,
    name: gimli::DwAt,
) -> Option<String> {
    let value = die.attr_value(name)?;
    let slice = dwarf.attr_string(unit, value).ok()?;
    Some(slice.to_string_lossy().into_owned())
}

fn number(die: &Die<'_>, name: gimli::DwAt) -> Option<u64> {
    die.attr_value(name)?.udata_value()
}

fn flag(die: &Die<'_>) -> bool {
    matches!(die.attr_value(gimli::DW_AT_declaration), Some(AttributeValue::Flag(true)))
}

pub(super) fn reference(base: usize, die: &Die<'_>, name: gimli::DwAt) -> Option<TypeId> {
    match die.attr_value(name)? {
        AttributeValue::UnitRef(offset) => Some(base + offset.0),
        AttributeValue::DebugInfoRef(offset) => Some(offset.0),
        _ => None,
    }
}
