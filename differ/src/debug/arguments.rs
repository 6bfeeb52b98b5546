//! Finds what functions take their arguments for: the types of parameters, and of the first variables, since
//! a function mostly puts an argument of type `void *` into a variable. Lists of locations are long, so this
//! is read for few functions only.

use std::collections::{HashMap, HashSet};

use gimli::{AttributeValue, Operation};

use super::entries::{Die, Dwarf, Slice, Unit, linkage_name, reference};
use super::sections::Sections;
use super::types::TypeId;
use crate::unit;

/// Parameters and variables of a function, in order. Parameters and variables of functions that are inlined
/// in it do not count.
#[derive(Debug, Default, Clone)]
pub(crate) struct Arguments {
    pub(crate) parameters: Vec<Variable>,
    pub(crate) variables: Vec<Variable>,
}

/// A parameter or variable.
#[derive(Debug, Clone)]
pub(crate) struct Variable {
    pub(crate) type_id: TypeId,
    pub(crate) begins: InitialPlace,
    /// The entry that declares it.
    declared: usize,
}

/// Where the value of a variable is at first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum InitialPlace {
    /// The debug information does not tell, or the variable is in one place for as long as it lives.
    Unknown,
    /// In the register with this number in DWARF (psABI, figure 3.36).
    Register(u16),
    /// In memory, or computed.
    Elsewhere,
}

/// Reads what these functions take; `None` if the debug information cannot be read.
pub(crate) fn read(unit: &unit::Unit<'_>, functions: &HashSet<String>) -> Option<HashMap<String, Arguments>> {
    let sections = Sections::load_with_locations(unit)?;
    let dwarf = sections.dwarf();
    let mut found: HashMap<String, Arguments> = HashMap::new();
    let mut headers = dwarf.units();
    while let Some(header) = headers.next().ok()? {
        let (base, unit) = (header.offset().0, dwarf.unit(header).ok()?);
        let mut names: HashMap<usize, String> = HashMap::new();
        // An entry may refer to one behind it.
        for pass in [Pass::Names, Pass::Variables] {
            let mut entries = unit.entries();
            // For each depth the function whose variables are there.
            let mut around: Vec<Option<String>> = Vec::new();
            while let Some(die) = entries.next_dfs().ok()? {
                around.truncate(usize::try_from(die.depth()).ok()?);
                let mut function = around.last().cloned().flatten();
                match (die.tag(), pass) {
                    (gimli::DW_TAG_subprogram, Pass::Names) => {
                        let name = linkage_name(&dwarf, &unit, die).map(|n| n.to_string_lossy().into_owned());
                        let name = name.filter(|name| functions.contains(name));
                        names.extend(name.map(|name| (base + die.offset().0, name)));
                    }
                    (gimli::DW_TAG_subprogram, Pass::Variables) => function = name_of(&names, base, die),
                    (gimli::DW_TAG_inlined_subroutine, _) => function = None,
                    (gimli::DW_TAG_formal_parameter | gimli::DW_TAG_variable, Pass::Variables) => {
                        if let Some(name) = &function {
                            let function = found.entry(name.clone()).or_default();
                            let list = match die.tag() {
                                gimli::DW_TAG_variable => &mut function.variables,
                                _ => &mut function.parameters,
                            };
                            add(list, &dwarf, &unit, base, die);
                        }
                    }
                    _ => {}
                }
                around.push(function);
            }
        }
    }
    Some(found)
}

#[derive(Clone, Copy)]
enum Pass {
    Names,
    Variables,
}

/// The name of a function, also through its abstract origin or declaration.
fn name_of(names: &HashMap<usize, String>, base: usize, die: &Die<'_>) -> Option<String> {
    let other = |name| reference(base, die, name);
    let origin = || other(gimli::DW_AT_abstract_origin).or_else(|| other(gimli::DW_AT_specification));
    names.get(&(base + die.offset().0)).or_else(|| names.get(&origin()?)).cloned()
}

/// One entry may declare a variable, and another entry may tell where it is.
fn add<'a>(list: &mut Vec<Variable>, dwarf: &Dwarf<'a>, unit: &Unit<'a>, base: usize, die: &Die<'a>) {
    let begins = begins(dwarf, unit, die);
    let origin = reference(base, die, gimli::DW_AT_abstract_origin);
    if let Some(known) = list.iter_mut().find(|v| Some(v.declared) == origin) {
        known.begins = begins;
    } else if let Some(type_id) = reference(base, die, gimli::DW_AT_type) {
        list.push(Variable { type_id, begins, declared: base + die.offset().0 });
    }
}

fn begins<'a>(dwarf: &Dwarf<'a>, unit: &Unit<'a>, die: &Die<'a>) -> InitialPlace {
    let Some(value) = die.attr_value(gimli::DW_AT_location) else { return InitialPlace::Unknown };
    if matches!(value, AttributeValue::Exprloc(_)) {
        return InitialPlace::Unknown;
    }
    let Ok(Some(mut places)) = dwarf.attr_locations(unit, value) else { return InitialPlace::Unknown };
    let Ok(Some(first)) = places.next() else { return InitialPlace::Unknown };
    register(first.data, unit).map_or(InitialPlace::Elsewhere, InitialPlace::Register)
}

/// The register that the expression names, directly or as its value at the call.
fn register(expression: gimli::Expression<Slice<'_>>, unit: &Unit<'_>) -> Option<u16> {
    let mut operations = expression.operations(unit.encoding());
    match operations.next().ok()?? {
        Operation::Register { register } => Some(register.0),
        Operation::EntryValue { expression } => register(gimli::Expression(expression), unit),
        _ => None,
    }
}
