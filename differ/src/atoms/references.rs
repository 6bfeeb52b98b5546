//! Finds what the references of atoms mean: a symbol + offset, or an atom + offset.
//!
//! An object says *section symbol + addend*. Where a reference is relative to an instruction, the addend also
//! holds the distance from the field to the address from which the processor counts. So the instruction has
//! to be decoded before the meaning of the reference is known.

use std::collections::HashMap;

use super::atom::{Atom, AtomKind, Atoms, Ref, Target};
use crate::arch::RelocationType;
use crate::error::Error;
use crate::model::SymbolType;
use crate::unit::{DefinedIn, Reloc};

/// Fills in the references of all atoms.
pub(super) fn resolve(all: &mut Atoms) -> Result<(), Error> {
    all.marks = marks(all)?;
    let mut resolved = Vec::with_capacity(all.atoms.len());
    for id in 0..all.atoms.len() {
        let mut refs = Vec::new();
        let mut tables = HashMap::new();
        for r in all.relocs(id) {
            if let Some(reference) = one(all, id, r, &mut tables)? {
                refs.push(reference);
            }
        }
        implicit(all, id, &mut refs);
        refs.sort_by_key(|r| r.at);
        resolved.push(refs);
    }
    for (atom, refs) in all.atoms.iter_mut().zip(resolved) {
        atom.refs = refs;
    }
    Ok(())
}

fn kind_of(all: &Atoms, section: usize, r: &Reloc) -> Result<&'static RelocationType, Error> {
    all.arch.relocation(r.r_type).ok_or_else(|| Error::Unsupported {
        what: format!("relocation type {}", r.r_type),
        place: format!("{}+{:#x} of the {} object", all.unit.sections[section].name, r.offset, all.unit.side),
    })
}

/// What a relative addend holds beside the offset of the target, with the sign changed: the distance from the
/// field to the address from which the processor counts.
fn distance(atom: &Atom, r: &Reloc, kind: &RelocationType) -> i64 {
    if !kind.is_pc_relative() {
        return 0;
    }
    let Some(code) = &atom.code else { return 0 };
    let at = r.offset - atom.start;
    match code.covering(at) {
        Some(insn) => i64::from(insn.counts_from) - at.cast_signed(),
        None => kind.pc_bias.map_or(0, i64::from),
    }
}

/// All offsets of sections that relocations refer to, by section symbol or by label. Anonymous pieces begin
/// there.
fn marks(all: &Atoms) -> Result<Vec<Vec<u64>>, Error> {
    let mut marks = vec![Vec::new(); all.unit.sections.len()];
    for atom in &all.atoms {
        let from = all.unit.sections[atom.section].relocs.partition_point(|r| r.offset < atom.start);
        let relocs = all.unit.sections[atom.section].relocs.get(from..).unwrap_or(&[]);
        for r in relocs.iter().take_while(|r| r.offset < atom.end) {
            let kind = kind_of(all, atom.section, r)?;
            let symbol = all.symbol(r.symbol);
            let DefinedIn::Section(section) = symbol.home else { continue };
            if counts_from_table(all, atom, kind) && !is_list(all, atom.section) {
                // An entry of a jump table refers to code. To which code is known only once the beginning of
                // the table is known.
                continue;
            }
            let target = symbol.value.cast_signed() + r.addend + distance(atom, r, kind);
            if let Ok(target) = u64::try_from(target)
                && target <= all.unit.sections[section].size
            {
                marks[section].push(target);
            }
        }
    }
    let sections = all.unit.sections.iter().enumerate();
    for (_, section) in sections.filter(|(index, _)| all.records_in(*index).is_some()) {
        for r in &section.relocs {
            let symbol = all.symbol(r.symbol);
            if let DefinedIn::Section(home) = symbol.home
                && let Ok(target) = u64::try_from(symbol.value.cast_signed() + r.addend)
            {
                marks[home].push(target);
            }
        }
    }
    for list in &mut marks {
        list.sort_unstable();
        list.dedup();
    }
    Ok(marks)
}

/// A relative field in data holds the distance from the beginning of a table (`.long label - table`) or from
/// the field (`.long label - .`).
fn counts_from_table(all: &Atoms, atom: &Atom, kind: &RelocationType) -> bool {
    kind.is_pc_relative() && atom.code.is_none() && !all.unit.sections[atom.section].is_lsda()
}

/// In lists that the source puts into sections of their own, each entry mostly counts from itself.
fn is_list(all: &Atoms, section: usize) -> bool {
    !all.unit.sections[section].is_standard()
}

/// Whether the fields of a table in `from..to` of its section count each from itself. Where they lead tells:
/// one of the two readings mostly leads beside what is there. Where both lead somewhere, the section tells.
fn count_from_themselves(all: &Atoms, atom: &Atom, (from, to): (u64, u64)) -> bool {
    let relocs = &all.unit.sections[atom.section].relocs;
    let first = relocs.partition_point(|r| r.offset < from);
    let leads = |from: Option<u64>| {
        relocs.iter().skip(first).take_while(|r| r.offset < to).all(|r| {
            let symbol = all.symbol(r.symbol);
            let DefinedIn::Section(home) = symbol.home else { return true };
            let distance = from.map_or(0, |from| (r.offset - from).cast_signed());
            let place = symbol.value.cast_signed() + r.addend - distance;
            if symbol.stype == SymbolType::Section {
                return is_place(all, home, place);
            }
            // A named symbol says which atom is meant.
            let meant = all.find(home, symbol.value.cast_signed());
            meant.is_some_and(|id| is_place_of(all.atom(id), place))
        })
    };
    let (by_table, by_itself) = (leads(Some(from)), leads(None));
    if is_list(all, atom.section) { by_itself || !by_table } else { by_itself && !by_table }
}

/// Whether there is something at that offset of a section: an instruction, or a datum.
fn is_place(all: &Atoms, section: usize, offset: i64) -> bool {
    all.find(section, offset).is_some_and(|id| is_place_of(all.atom(id), offset))
}

/// Whether an atom has something at that offset of its section.
fn is_place_of(atom: &Atom, offset: i64) -> bool {
    let inside = offset - atom.start.cast_signed();
    let in_range = (0..=atom.size().cast_signed()).contains(&inside);
    let at_end = inside == atom.size().cast_signed();
    in_range && atom.code.as_ref().is_none_or(|code| at_end || code.ordinal(inside).is_some())
}

fn one(all: &Atoms, id: usize, r: &Reloc, tables: &mut HashMap<u64, bool>) -> Result<Option<Ref>, Error> {
    let atom = all.atom(id);
    let kind = kind_of(all, atom.section, r)?;
    if r.r_type == 0 {
        return Ok(None);
    }
    let at = r.offset - atom.start;
    let mut extra = distance(atom, r, kind);
    let symbol = all.symbol(r.symbol);
    if counts_from_table(all, atom, kind) {
        // `.long label - table`: the assembler adds the distance from the table's beginning to the field.
        let marks = &all.marks[atom.section];
        let next = marks.partition_point(|&m| m <= r.offset);
        let begin = next.checked_sub(1).and_then(|i| marks.get(i)).copied();
        let begin = begin.unwrap_or(atom.start).max(atom.start);
        let end = marks.get(next).copied().unwrap_or(atom.end).min(atom.end);
        if !*tables.entry(begin).or_insert_with(|| count_from_themselves(all, atom, (begin, end))) {
            extra = -(r.offset - begin).cast_signed();
        }
    }
    let is_branch = atom.code.as_ref().is_some_and(|code| {
        code.covering(at).is_some_and(|insn| insn.branch.is_some_and(|field| at == insn.offset_of(field)))
    });
    let target = match symbol.home {
        // An IFUNC shares its address with its resolver, an ordinary function. Only the symbol tells that the
        // function is meant which the resolver chose.
        DefinedIn::Section(_) if symbol.stype == SymbolType::IFunc => {
            Target::Symbol { symbol: r.symbol, offset: r.addend + extra }
        }
        DefinedIn::Section(section) => {
            let offset = symbol.value.cast_signed() + r.addend + extra;
            // A named symbol says which atom is meant; a section symbol leaves only the offset.
            let found = if symbol.stype == SymbolType::Section {
                let found = all.find(section, offset);
                if all.by_place { found.or_else(|| all.nearest(section, offset)) } else { found }
            } else {
                all.find(section, symbol.value.cast_signed())
            };
            match found {
                Some(found) => {
                    Target::Atom { atom: found, offset: offset - all.atom(found).start.cast_signed() }
                }
                None => {
                    return Err(Error::Unsupported {
                        what: format!(
                            "{} refers to {}{offset:+#x}, outside of every symbol",
                            kind.name, symbol.name
                        ),
                        place: format!("{}+{at:#x} of the {} object", all.name(id), all.unit.side),
                    });
                }
            }
        }
        DefinedIn::Undefined | DefinedIn::Absolute => {
            Target::Symbol { symbol: r.symbol, offset: r.addend + extra }
        }
    };
    Ok(Some(Ref {
        at,
        r_type: r.r_type,
        width: kind.width,
        target,
        is_branch,
        bias: -extra,
        resolved: false,
    }))
}

/// Adds the references that the assembler resolved itself, because both ends are in one section.
fn implicit(all: &Atoms, id: usize, refs: &mut Vec<Ref>) {
    let atom = all.atom(id);
    let Some(code) = &atom.code else { return };
    if atom.kind == AtomKind::Anonymous && all.by_section[atom.section].len() == 1 {
        return;
    }
    let known: Vec<u64> = refs.iter().map(|r| r.at).collect();
    let size = atom.size().cast_signed();
    for insn in &code.instructions {
        let Some(target) = insn.target else { continue };
        let Some(field) = insn.branch.or(insn.address) else { continue };
        let is_branch = insn.branch.is_some();
        let at = insn.offset_of(field);
        if known.binary_search(&at).is_ok() || (0..size).contains(&target) {
            continue;
        }
        let offset = atom.start.cast_signed() + target;
        let Some(found) = all.find(atom.section, offset).filter(|&f| f != id) else { continue };
        let distance = i64::from(insn.counts_from) - at.cast_signed();
        refs.push(Ref {
            at,
            r_type: all.arch.type_of_resolved(is_branch),
            width: field.width,
            target: Target::Atom { atom: found, offset: offset - all.atom(found).start.cast_signed() },
            is_branch,
            bias: -distance,
            resolved: true,
        });
    }
}
