//! Pieces of the sections that hold code without a name for the places in tables.

use std::collections::{BTreeMap, BTreeSet};

use super::tables::{ALTERNATIVES, Table, layout};
use crate::unit::{DefinedIn, Section, Unit};

/// Code of alternatives, as long as the table says.
pub(super) const REPLACEMENTS: &str = ".altinstr_replacement";
/// Code that functions jump to until alternatives are applied.
pub(super) const UNTIL_APPLIED: &str = ".altinstr_aux";
/// Code of faulting instructions (5.10).
const FIXUPS: &str = ".fixup";

/// Does the section hold such code? It is shipped with the code that refers to it.
pub(crate) fn is_companion(section: &str) -> bool {
    [REPLACEMENTS, UNTIL_APPLIED, FIXUPS].contains(&section)
}

/// The pieces of such a section, each with its beginning and end; together they are the whole section.
pub(crate) fn pieces(unit: &Unit<'_>, index: usize, sizes: &BTreeMap<String, u64>) -> Vec<(u64, u64)> {
    let size = unit.sections[index].size;
    let mut cuts = BTreeSet::from([0, size]);
    for section in &unit.sections {
        let is_table = Table::of(&section.name).is_some();
        if !section.is_text() && !is_table {
            continue;
        }
        for r in &section.relocs {
            let symbol = &unit.symbols[r.symbol];
            if symbol.home != DefinedIn::Section(index) || section.name == unit.sections[index].name {
                continue;
            }
            // A jump counts from the end of its field.
            let bias = if is_table { 0 } else { 4 };
            let place = symbol.value.cast_signed() + r.addend + bias;
            cuts.extend(u64::try_from(place).ok().filter(|place| *place <= size));
            if section.name == ALTERNATIVES {
                let end = replacement_length(section, r.offset, sizes).map(|n| place + i64::from(n));
                cuts.extend(end.and_then(|end| u64::try_from(end).ok()).filter(|end| *end <= size));
            }
        }
    }
    let cuts: Vec<u64> = cuts.into_iter().collect();
    cuts.iter().zip(cuts.iter().skip(1)).map(|(&from, &to)| (from, to)).collect()
}

/// The length of the replacement in the entry of alternatives that has a field at `at`.
fn replacement_length(section: &Section<'_>, at: u64, sizes: &BTreeMap<String, u64>) -> Option<u8> {
    let layout = layout(Table::of(&section.name)?, section, sizes)?;
    let at = usize::try_from(at).ok()?;
    section.data.get(at - at % layout.size + layout.replacement_length).copied()
}

/// How many bytes of padding before a function belong to it: `-fpatchable-function-entry=16,16`, into which
/// the kernel may write code. `from` is the end of what lies before.
pub(crate) fn padding_before(unit: &Unit<'_>, index: usize, from: u64, start: u64) -> u64 {
    const NOP: u8 = 0x90;
    let lists = unit.sections.iter().filter(|s| s.name == "__patchable_function_entries");
    let places = lists.flat_map(|list| &list.relocs).filter_map(|r| {
        let symbol = &unit.symbols[r.symbol];
        let place = u64::try_from(symbol.value.cast_signed() + r.addend).ok()?;
        (symbol.home == DefinedIn::Section(index)).then_some(place)
    });
    let begin = places.filter(|place| (from..start).contains(place)).min().unwrap_or(start);
    let (Ok(a), Ok(b)) = (usize::try_from(begin), usize::try_from(start)) else { return 0 };
    let nops = unit.sections[index].data.get(a..b).is_some_and(|bytes| bytes.iter().all(|b| *b == NOP));
    if nops { start - begin } else { 0 }
}
