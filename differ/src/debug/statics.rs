//! Finds the function that each static local belongs to.

use std::collections::HashMap;

use gimli::{AttributeValue, Operation, Section as _};

use super::entries::{Die, Dwarf, Slice, Unit, each, linkage_name, number, reference};
use super::sections::Sections;
use super::types::TypeId;
use crate::unit::{self, DefinedIn, Reloc};

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

/// Origins of origins are not followed further than this.
const STEPS: usize = 8;

/// All variables of functions that have a place in memory, in order of declaration. `None` when there is no
/// debug information, or it cannot be read.
pub(crate) fn read(unit: &unit::Unit<'_>) -> Option<Vec<Static>> {
    let sections = Sections::load(unit)?;
    let dwarf = sections.dwarf();
    let mut found = FoundStatics {
        places: Places::new(unit)?,
        functions: Vec::new(),
        names: HashMap::new(),
        lines: HashMap::new(),
        statics: Vec::new(),
    };
    let mut headers = dwarf.units();
    while let Some(header) = headers.next().ok()? {
        let (base, unit) = (header.offset().0, dwarf.unit(header).ok()?);
        // Indices into `functions` of the functions around the entry, with their depths.
        let mut outer: Vec<(usize, usize)> = Vec::new();
        let wanted = |tag| is_function(tag) || tag == gimli::DW_TAG_variable;
        each(&unit, wanted, |depth, die| {
            while outer.pop_if(|(d, _)| *d >= depth).is_some() {}
            let around = outer.last().map(|(_, index)| *index);
            if is_function(die.tag()) {
                outer.push((depth, found.functions.len()));
                found.function(&dwarf, &unit, base, die, around);
            } else if let Some(function) = around {
                found.variable(&dwarf, &unit, base, die, function);
            }
            Some(())
        })?;
    }
    Some(found.named())
}

fn is_function(tag: gimli::DwTag) -> bool {
    matches!(tag, gimli::DW_TAG_subprogram | gimli::DW_TAG_inlined_subroutine)
}

/// Turns the operands of location expressions into places in the unit.
pub(super) struct Places<'u> {
    unit: &'u unit::Unit<'u>,
    /// Relocations of `.debug_info` and `.debug_addr`.
    info: &'u [Reloc],
    addresses: &'u [Reloc],
}

impl<'u> Places<'u> {
    /// `None` without debug information.
    pub(super) fn new(unit: &'u unit::Unit<'u>) -> Option<Self> {
        let of = |name: &str| unit.sections.iter().find(|s| s.name == name).map(|s| s.relocs.as_slice());
        Some(Self { unit, info: of(".debug_info")?, addresses: of(".debug_addr").unwrap_or_default() })
    }

    /// Whether a variable has one place in memory for its whole life, and which relocation tells that place:
    /// its table and offset.
    pub(super) fn field(
        &self,
        dwarf: &Dwarf<'_>,
        unit: &Unit<'_>,
        die: &Die<'_>,
    ) -> Option<(&'u [Reloc], u64)> {
        let Some(AttributeValue::Exprloc(expression)) = die.attr_value(gimli::DW_AT_location) else {
            return None;
        };
        let start = expression.0.offset_from(*dwarf.debug_info.reader());
        let (relocs, field) = match expression.operations(unit.encoding()).next() {
            // The operand follows the one-byte operation.
            Ok(Some(Operation::Address { .. })) => (self.info, start + 1),
            // Clang keeps addresses in a table of their own (DWARF 5, 2.6.2).
            Ok(Some(Operation::AddressIndex { index })) => {
                (self.addresses, in_table(unit, index).unwrap_or(usize::MAX))
            }
            _ => return None,
        };
        Some((relocs, field as u64))
    }

    /// Section and offset that a relocated field refers to.
    fn place(&self, (relocs, field): (&[Reloc], u64)) -> Option<(usize, u64)> {
        let at = relocs.partition_point(|r| r.offset < field);
        let r = relocs.get(at).filter(|r| r.offset == field)?;
        let symbol = &self.unit.symbols[r.symbol];
        let DefinedIn::Section(section) = symbol.home else { return None };
        Some((section, symbol.value.wrapping_add(r.addend.cast_unsigned())))
    }
}

/// Offset of an entry of `.debug_addr`.
pub(super) fn in_table(unit: &Unit<'_>, index: gimli::DebugAddrIndex) -> Option<usize> {
    let size = usize::from(unit.encoding().address_size);
    index.0.checked_mul(size)?.checked_add(unit.addr_base.0)
}

struct FoundStatics<'a, 'u> {
    places: Places<'u>,
    /// Functions and their inlined copies: the offset of the entry, and the function around it.
    functions: Vec<(TypeId, Option<usize>)>,
    names: HashMap<TypeId, Name<'a>>,
    /// Lines of variables, for entries that refer to them (`DW_AT_abstract_origin`).
    lines: HashMap<TypeId, u64>,
    /// Function by its index, line, section and offset.
    statics: Vec<(usize, u64, usize, u64)>,
}

enum Name<'a> {
    Own(Slice<'a>),
    /// The name is that of another entry: an abstract origin or a declaration, which may come later.
    Of(TypeId),
}

impl<'a> FoundStatics<'a, '_> {
    fn function(
        &mut self,
        dwarf: &Dwarf<'a>,
        unit: &Unit<'a>,
        base: usize,
        die: &Die<'a>,
        around: Option<usize>,
    ) {
        let offset = base + die.offset().0;
        let of = |name| reference(base, die, name).map(Name::Of);
        let name = linkage_name(dwarf, unit, die)
            .map(Name::Own)
            .or_else(|| of(gimli::DW_AT_abstract_origin))
            .or_else(|| of(gimli::DW_AT_specification));
        if let Some(name) = name {
            self.names.insert(offset, name);
        }
        self.functions.push((offset, around));
    }

    fn variable(&mut self, dwarf: &Dwarf<'a>, unit: &Unit<'a>, base: usize, die: &Die<'a>, function: usize) {
        let origin = || reference(base, die, gimli::DW_AT_abstract_origin);
        let line = number(die, gimli::DW_AT_decl_line).or_else(|| self.lines.get(&origin()?).copied());
        if let Some(line) = line {
            self.lines.insert(base + die.offset().0, line);
        }
        let field = self.places.field(dwarf, unit, die);
        if let Some((section, offset)) = field.and_then(|f| self.places.place(f)) {
            self.statics.push((function, line.unwrap_or(0), section, offset));
        }
    }

    /// The variables with the names of their functions. Variables of functions without a name are left out.
    fn named(self) -> Vec<Static> {
        let name = |mut function: usize| loop {
            let (offset, around) = *self.functions.get(function)?;
            let mut next = self.names.get(&offset);
            for _ in 0..STEPS {
                match next {
                    Some(Name::Own(name)) => return Some(name.to_string_lossy().into_owned()),
                    Some(Name::Of(other)) => next = self.names.get(other),
                    None => break,
                }
            }
            function = around?;
        };
        let statics = self.statics.iter();
        statics
            .filter_map(|&(function, line, section, offset)| {
                Some(Static { section, offset, function: name(function)?, line })
            })
            .collect()
    }
}
