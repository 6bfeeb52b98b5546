//! Finds which functions the compiler put into which, by the debug information.

use std::collections::{BTreeMap, HashMap};

use super::entries::{Slice, reference, text};
use super::sections::Sections;
use crate::model::{Declared, Inlining};
use crate::unit::Unit;

/// Reads the debug information; `None` when there is none, or it cannot be read.
pub(crate) fn read(unit: &Unit) -> Option<Inlining> {
    let sections = Sections::load(unit)?;
    let dwarf = sections.dwarf();
    let mut out = Inlining::default();
    let mut headers = dwarf.units();
    while let Some(header) = headers.next().ok()? {
        let base = header.offset().0;
        let unit = dwarf.unit(header).ok()?;
        let known = declarations(&dwarf, &unit, base)?;
        out.functions.extend(known.values().filter(|d| !d.file.is_empty()).cloned());
        let mut entries = unit.entries();
        // For each depth the function around it.
        let mut stack: Vec<Option<Declared>> = Vec::new();
        while let Some(die) = entries.next_dfs().ok()? {
            stack.truncate(usize::try_from(die.depth()).ok()?);
            let mut outer = stack.last().cloned().flatten();
            let own = || {
                let own = known.get(&(base + die.offset().0));
                let origin = || origin(&known, reference(base, die, gimli::DW_AT_abstract_origin)?);
                own.filter(|d| !d.file.is_empty()).or_else(origin).cloned()
            };
            match die.tag() {
                gimli::DW_TAG_subprogram => outer = own(),
                gimli::DW_TAG_inlined_subroutine => {
                    if let (Some(outer), Some(callee)) = (&outer, own()) {
                        let list = out.inlined.entry(outer.name.clone()).or_default();
                        if !list.contains(&callee) {
                            list.push(callee);
                        }
                    }
                }
                _ => {}
            }
            stack.push(outer);
        }
    }
    out.functions.sort();
    out.functions.dedup();
    Some(out)
}

fn origin(known: &HashMap<usize, Declared>, at: usize) -> Option<&Declared> {
    known.get(&at)
}

/// Functions with name and place of declaration, by offset.
fn declarations<'a>(
    dwarf: &gimli::Dwarf<Slice<'a>>,
    unit: &gimli::Unit<Slice<'a>>,
    base: usize,
) -> Option<HashMap<usize, Declared>> {
    let mut files: BTreeMap<u64, String> = BTreeMap::new();
    let mut known = HashMap::new();
    let mut later = Vec::new();
    let mut entries = unit.entries();
    while let Some(die) = entries.next_dfs().ok()? {
        if die.tag() != gimli::DW_TAG_subprogram {
            continue;
        }
        let offset = base + die.offset().0;
        let name = text(dwarf, unit, die, gimli::DW_AT_linkage_name)
            .or_else(|| text(dwarf, unit, die, gimli::DW_AT_name));
        if let Some(declaration) = reference(base, die, gimli::DW_AT_specification) {
            later.push((offset, declaration));
        }
        let Some(name) = name else { continue };
        let line = die.attr_value(gimli::DW_AT_decl_line).and_then(|v| v.udata_value()).unwrap_or(0);
        let file = match die.attr_value(gimli::DW_AT_decl_file) {
            Some(gimli::AttributeValue::FileIndex(index)) => index,
            other => other.and_then(|v| v.udata_value()).unwrap_or(0),
        };
        let file = files.entry(file).or_insert_with(|| file_name(dwarf, unit, file).unwrap_or_default());
        known.insert(offset, Declared { name, file: file.clone(), line });
    }
    // A member function may be defined outside of its class.
    for (offset, declaration) in later {
        if let Some(found) = known.get(&declaration).cloned() {
            known.entry(offset).or_insert(found);
        }
    }
    Some(known)
}

pub(super) fn file_name<'a>(
    dwarf: &gimli::Dwarf<Slice<'a>>,
    unit: &gimli::Unit<Slice<'a>>,
    index: u64,
) -> Option<String> {
    let header = unit.line_program.as_ref()?.header();
    let file = header.file(index)?;
    let name = dwarf.attr_string(unit, file.path_name()).ok()?.to_string_lossy().into_owned();
    let folder = file.directory(header).and_then(|d| dwarf.attr_string(unit, d).ok());
    let folder = folder.map(|d| d.to_string_lossy().into_owned()).unwrap_or_default();
    let path = std::path::Path::new(&folder).join(name);
    let top = unit.comp_dir.map(|d| d.to_string_lossy().into_owned()).unwrap_or_default();
    Some(std::path::Path::new(&top).join(path).to_string_lossy().into_owned())
}
