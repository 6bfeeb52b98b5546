//! Where functions, variables and types are declared, and what they are made of: for explanations.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::entries::{Die, each, number, reference, text};
use super::inlined::file_name;
use super::sections::Sections;
use super::types::{Type, TypeId, Types};
use super::walk::{Info, SCOPE};
use crate::model::{Declarations, Makeup, SourcePlace};
use crate::unit::Unit;

/// Types inside of types are not followed further than this.
const DEPTH: usize = 16;

/// Reads the debug information; `None` when there is none, or it cannot be read.
pub(crate) fn read(unit: &Unit<'_>) -> Option<Declarations> {
    let mut out = places(unit)?;
    let Some(info) = super::walk::read(unit) else { return Some(out) };
    let plain = |name: &str| name.split(SCOPE).next().unwrap_or_default().to_owned();
    for (name, id) in &info.types.named {
        let name = plain(name);
        let (shape, parts) = (shape(&info, *id), parts(&info.types, *id, &name));
        out.structures.insert(name, Makeup { shape, parts });
    }
    for (name, id) in &info.statics {
        let Some(id) = id else { continue };
        let (shape, parts) = (vec![spelled(&info.types, *id, DEPTH)], parts(&info.types, *id, ""));
        out.variables.insert(plain(name), Makeup { shape, parts });
    }
    Some(out)
}

/// The named structures that an object of this type contains, itself not.
fn parts(types: &Types, id: TypeId, own: &str) -> BTreeSet<String> {
    let contained = types.contained(std::iter::once(id)).into_iter();
    let named = contained.filter_map(|t| types.labels.get(&t));
    named.map(|n| n.split(SCOPE).next().unwrap_or_default().to_owned()).filter(|n| n != own).collect()
}

fn shape(info: &Info, id: TypeId) -> Vec<String> {
    let Some(t) = info.types.all.get(&id) else { return Vec::new() };
    members(&info.types, t, DEPTH)
}

fn members(types: &Types, t: &Type, depth: usize) -> Vec<String> {
    let fields = t.members.iter().map(|field| {
        let name = field.name.as_deref().unwrap_or_default();
        let bits = field.bit_size.map_or(String::new(), |bits| format!(":{bits}"));
        let of = field.type_id.map_or(String::new(), |id| spelled(types, id, depth));
        format!("{name}{bits}: {of}")
    });
    fields.chain(t.enumerators.iter().map(|(name, value)| format!("{name} = {value}"))).collect()
}

/// The type as it could be written: by name where it has one, else by what it is made of.
fn spelled(types: &Types, id: TypeId, depth: usize) -> String {
    if let Some(name) = types.labels.get(&id) {
        return name.split(SCOPE).next().unwrap_or_default().to_owned();
    }
    let (Some(t), Some(depth)) = (types.all.get(&id), depth.checked_sub(1)) else { return "?".into() };
    let counts: String = t.counts.iter().map(|n| format!("[{n}]")).collect();
    match t.inner {
        Some(inner) if t.is_pointer => format!("*{}", named(types, inner)),
        Some(inner) => format!("{}{counts}", spelled(types, inner, depth)),
        None if t.is_pointer => "*".into(),
        None if t.members.is_empty() => format!("{:?} of {:?}", t.number, t.size),
        None => format!("{{{}}}", members(types, t, depth).join("; ")),
    }
}

/// What a pointer leads to is another object: its name is enough.
fn named(types: &Types, id: TypeId) -> &str {
    types.labels.get(&id).map_or("?", |name| name.split(SCOPE).next().unwrap_or_default())
}

fn is_wanted(tag: gimli::DwTag) -> bool {
    matches!(
        tag,
        gimli::DW_TAG_subprogram
            | gimli::DW_TAG_variable
            | gimli::DW_TAG_structure_type
            | gimli::DW_TAG_class_type
            | gimli::DW_TAG_union_type
            | gimli::DW_TAG_enumeration_type
            | gimli::DW_TAG_typedef
            | gimli::DW_TAG_namespace
    )
}

fn places(unit: &Unit<'_>) -> Option<Declarations> {
    let sections = Sections::load(unit)?;
    let dwarf = sections.dwarf();
    let mut out = Declarations::default();
    let mut headers = dwarf.units();
    while let Some(header) = headers.next().ok()? {
        let (base, unit) = (header.offset().0, dwarf.unit(header).ok()?);
        if out.source.is_empty() {
            let text = |s: Option<super::entries::Slice<'_>>| {
                s.map(|s| s.to_string_lossy().into_owned()).unwrap_or_default()
            };
            let path = std::path::Path::new(&text(unit.comp_dir)).join(text(unit.name));
            out.source = path.to_string_lossy().into_owned();
        }
        let mut files: BTreeMap<u64, String> = BTreeMap::new();
        // What is defined elsewhere than it is declared refers to its declaration.
        let mut known: HashMap<usize, (Vec<String>, SourcePlace)> = HashMap::new();
        let mut around: Vec<(usize, String)> = Vec::new();
        each(&unit, is_wanted, |depth, die| {
            while around.pop_if(|(d, _)| *d >= depth).is_some() {}
            let own = text(&dwarf, &unit, die, gimli::DW_AT_name);
            let mut names = Vec::new();
            if let Some(own) = &own {
                let scope: String = around.iter().map(|(_, name)| name.as_str()).collect();
                names.push(format!("{scope}{own}"));
            }
            names.extend(text(&dwarf, &unit, die, gimli::DW_AT_linkage_name));
            let origin = reference(base, die, gimli::DW_AT_specification)
                .or_else(|| reference(base, die, gimli::DW_AT_abstract_origin))
                .and_then(|at| known.get(&at).cloned());
            let mut place = SourcePlace { file: String::new(), line: 0 };
            if let Some((theirs, declared)) = origin {
                names.extend(theirs);
                place = declared;
            }
            if let Some(line) = number(die, gimli::DW_AT_decl_line).filter(|line| *line > 0) {
                place.line = line;
            }
            if let Some(index) = file_index(die) {
                let file = files.entry(index);
                place.file =
                    file.or_insert_with(|| file_name(&dwarf, &unit, index).unwrap_or_default()).clone();
            }
            let separator = if die.tag() == gimli::DW_TAG_subprogram { "()::" } else { "::" };
            around.push((depth, own.map_or(String::new(), |own| format!("{own}{separator}"))));
            let is_declaration = die.attr_value(gimli::DW_AT_declaration).is_some();
            if die.tag() != gimli::DW_TAG_namespace && place.line > 0 && !place.file.is_empty() {
                let is_symbol = matches!(die.tag(), gimli::DW_TAG_subprogram | gimli::DW_TAG_variable);
                let table = if is_symbol { &mut out.symbols } else { &mut out.types };
                for name in &names {
                    match table.contains_key(name) {
                        true if is_declaration => {}
                        _ => drop(table.insert(name.clone(), place.clone())),
                    }
                }
            }
            known.insert(base + die.offset().0, (names, place));
            Some(())
        })?;
    }
    Some(out)
}

fn file_index(die: &Die<'_>) -> Option<u64> {
    match die.attr_value(gimli::DW_AT_decl_file)? {
        gimli::AttributeValue::FileIndex(index) => Some(index),
        other => other.udata_value(),
    }
}
