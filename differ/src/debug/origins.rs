//! Finds the source file that each symbol of an object comes from, where the object was made from several: by
//! link-time optimisation, or by `ld -r`.
//!
//! gcc describes what it makes at link time in a unit without a name. The entries of that unit refer by
//! `DW_AT_abstract_origin` to entries that the compiler wrote for each source file (gcc internals, "LTO":
//! early debug).

use std::collections::{BTreeMap, HashMap};

use gimli::AttributeValue;

use super::entries::{Die, reference, text};
use super::sections::Sections;
use super::statics::in_table;
use crate::model::{Origin, SymbolType};
use crate::reading::RANGES;
use crate::unit::{DefinedIn, Reloc, SHF_ALLOC, Unit};

/// How gcc calls the unit of what it made while linking. An entry of this unit that refers to no other entry
/// comes from a source file that was compiled without debug information.
const MADE: &str = "<artificial>";

/// What an entry for a function or a variable says.
struct Entry {
    /// Offset in `.debug_info` of the entry and of what follows it.
    at: usize,
    end: usize,
    /// Number in the list of units.
    source: usize,
    external: bool,
    function: bool,
    /// The beginning of the unit's table of addresses (DWARF 5, 2.6.2). Entries of clang hold an index into
    /// it.
    address: Option<u64>,
    /// For a function: the offset of its list of ranges.
    ranges: Option<usize>,
    /// The entry that says more: abstract origin or declaration.
    more: Option<usize>,
    /// The outermost function around it.
    within: Option<usize>,
    name: Option<String>,
}

/// By symbol name. `None` when there is no debug information, or it cannot be read.
pub(crate) fn read(unit: &Unit<'_>) -> Option<BTreeMap<String, Origin>> {
    let sections = Sections::load(unit)?;
    let dwarf = sections.dwarf();
    let mut sources = Vec::new();
    let mut entries: Vec<Entry> = Vec::new();
    let mut headers = dwarf.units();
    while let Some(header) = headers.next().ok()? {
        let base = header.offset().0;
        let unit = dwarf.unit(header).ok()?;
        let name = unit.name.map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let folder = unit.comp_dir.map(|d| d.to_string_lossy().into_owned()).unwrap_or_default();
        let path = std::path::Path::new(&folder).join(&name);
        sources.push((name != MADE).then(|| path.to_string_lossy().into_owned()));
        let mut dies = unit.entries();
        let mut functions: Vec<Option<usize>> = Vec::new();
        let mut open = false;
        while let Some(die) = dies.next_dfs().ok()? {
            let at = base + die.offset().0;
            if let (true, Some(last)) = (open, entries.last_mut()) {
                last.end = at;
            }
            let function = die.tag() == gimli::DW_TAG_subprogram;
            open = function || die.tag() == gimli::DW_TAG_variable;
            functions.truncate(usize::try_from(die.depth()).ok()?);
            let within = functions.last().copied().flatten();
            functions.push(within.or(function.then_some(at)));
            if !open {
                continue;
            }
            let ranges = match die.attr_value(gimli::DW_AT_ranges) {
                Some(AttributeValue::RangeListsRef(offset)) => Some(offset.0),
                _ => None,
            };
            entries.push(Entry {
                at,
                address: address(&unit, die),
                end: base + header.length_including_self(),
                source: sources.len() - 1,
                external: matches!(die.attr_value(gimli::DW_AT_external), Some(AttributeValue::Flag(true))),
                function,
                ranges,
                more: reference(base, die, gimli::DW_AT_abstract_origin)
                    .or_else(|| reference(base, die, gimli::DW_AT_specification)),
                within,
                name: text(&dwarf, &unit, die, gimli::DW_AT_linkage_name)
                    .or_else(|| text(&dwarf, &unit, die, gimli::DW_AT_name)),
            });
        }
    }
    Some(by_symbol(unit, &entries, &sources))
}

/// The offset in the table of addresses for a function or a variable.
fn address(unit: &super::entries::Unit<'_>, die: &Die<'_>) -> Option<u64> {
    let index = match (die.attr_value(gimli::DW_AT_low_pc), die.attr_value(gimli::DW_AT_location)) {
        (Some(AttributeValue::DebugAddrIndex(index)), _) => index,
        (_, Some(AttributeValue::Exprloc(place))) => match place.operations(unit.encoding()).next() {
            Ok(Some(gimli::Operation::AddressIndex { index })) => index,
            _ => return None,
        },
        _ => return None,
    };
    in_table(unit, index).map(|offset| offset as u64)
}

fn by_symbol(unit: &Unit<'_>, entries: &[Entry], sources: &[Option<String>]) -> BTreeMap<String, Origin> {
    let relocations =
        |name: &str| unit.sections.iter().find(|s| s.name == name).map_or(&[][..], |s| s.relocs.as_slice());
    let (info, lists, table) = (relocations(".debug_info"), relocations(RANGES), relocations(".debug_addr"));
    let mut symbols: HashMap<(usize, u64), Vec<&str>> = HashMap::new();
    for symbol in unit.symbols.iter().filter(|s| s.stype != SymbolType::Section && !s.name.is_empty()) {
        if let DefinedIn::Section(section) = symbol.home {
            symbols.entry((section, symbol.value)).or_default().push(symbol.name);
        }
    }
    let known: HashMap<usize, &Entry> = entries.iter().map(|e| (e.at, e)).collect();
    let mut found = BTreeMap::new();
    for entry in entries {
        let own = match entry.address {
            Some(at) => place(unit, table, at, at + 1, entry.function),
            None => place(unit, info, entry.at as u64, entry.end as u64, entry.function),
        };
        // A function in several parts has a list. Its first two entries are enough to find the part that has
        // the function's name.
        let parts = entry.ranges.filter(|_| own.is_none());
        let listed = parts.into_iter().flat_map(|from| in_list(unit, lists, from)).map(|at| (at, true));
        let (end, external, name) = chain(&known, entry);
        let Some(source) = &sources[end.source] else { continue };
        for (at, listed) in own.into_iter().map(|at| (at, false)).chain(listed) {
            for symbol in symbols.get(&at).into_iter().flatten() {
                if listed && !name.is_some_and(|name| is_named(symbol, name)) {
                    continue;
                }
                // A variable of an inline function exists once in the whole program, though each unit
                // describes it.
                let shared = symbol.starts_with("_ZZ")
                    && end.within.and_then(|w| known.get(&w)).is_some_and(|f| chain(&known, f).1);
                let name = name.unwrap_or_default().to_owned();
                let origin = Origin { name, source: source.clone(), internal: !external && !shared };
                found.entry((*symbol).to_owned()).or_insert(origin);
            }
        }
    }
    found
}

/// Is this the entry of a function of that name, and not a fragment? In C++ the debug information gives no
/// linkage name for functions that other files cannot see. Then the mangled name holds the name.
fn is_named(symbol: &str, name: &str) -> bool {
    let base = symbol.split('.').next().unwrap_or_default();
    let cold = symbol.split('.').any(|part| part == "cold");
    !cold && (base == name || base.starts_with("_Z") && base.contains(name))
}

/// The last entry of a chain of origins and declarations, whether one of them is external, and the name.
fn chain<'e>(known: &HashMap<usize, &'e Entry>, entry: &'e Entry) -> (&'e Entry, bool, Option<&'e str>) {
    let (mut last, mut external, mut name) = (entry, entry.external, entry.name.as_deref());
    // No compiler nests entries deeper. Damaged information may go round in circles.
    for _ in 0..8 {
        let Some(next) = last.more.and_then(|at| known.get(&at)) else { break };
        external |= next.external;
        name = name.or(next.name.as_deref());
        last = next;
    }
    (last, external, name)
}

/// What the first address in the own attributes of an entry refers to: the entry of a function, or the memory
/// of a variable.
fn place(unit: &Unit<'_>, relocs: &[Reloc], from: u64, to: u64, code: bool) -> Option<(usize, u64)> {
    let first = relocs.partition_point(|r| r.offset < from);
    let own = relocs.get(first..)?.iter().take_while(|r| r.offset < to);
    own.filter_map(|r| target(unit, r)).find(|(section, _)| unit.sections[*section].is_text() == code)
}

fn in_list(unit: &Unit<'_>, relocs: &[Reloc], from: usize) -> Vec<(usize, u64)> {
    let first = relocs.partition_point(|r| r.offset < from as u64);
    relocs.get(first..).unwrap_or_default().iter().take(2).filter_map(|r| target(unit, r)).collect()
}

fn target(unit: &Unit<'_>, r: &Reloc) -> Option<(usize, u64)> {
    let symbol = &unit.symbols[r.symbol];
    let DefinedIn::Section(section) = symbol.home else { return None };
    unit.sections[section]
        .has(SHF_ALLOC)
        .then(|| (section, symbol.value.wrapping_add(r.addend.cast_unsigned())))
}
