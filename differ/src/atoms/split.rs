//! Splits the sections of a unit into atoms.
//!
//! With `-ffunction-sections -fdata-sections` nearly every atom is a whole section. Hand-written assembly,
//! and the object of a unit as it was built, hold several atoms in one section.

use std::cell::OnceCell;
use std::collections::HashMap;

use super::atom::{Atom, AtomContent, AtomKind, Atoms};
use crate::arch::Arch;
use crate::kernel;
use crate::model::{Binding, KernelOptions, SymbolType};
use crate::profile::Profile;
use crate::unit::{DefinedIn, Section, Symbol, Unit};

/// Splits `unit`. References are not resolved yet.
pub(super) fn split<'a>(
    unit: Unit<'a>,
    arch: &'static dyn Arch,
    profile: Profile,
    options: &KernelOptions,
) -> Atoms<'a> {
    let mut in_section: Vec<Vec<usize>> = vec![Vec::new(); unit.sections.len()];
    for (index, symbol) in unit.symbols.iter().enumerate() {
        if let DefinedIn::Section(section) = symbol.home
            && symbol.stype != SymbolType::Section
            && !symbol.name.is_empty()
            // Labels of the compiler (`.LC0`). The assembler keeps them for references into mergeable
            // sections.
            && !symbol.name.starts_with(".L")
            && !arch.is_mapping_symbol(symbol.name)
            && !(profile == Profile::Kernel && symbol.name.starts_with("__BTF_ID__"))
            // Clang names exception tables (`GCC_except_table2`); they are compared with their functions.
            && !unit.sections[section].is_lsda()
            && !(profile == Profile::Kernel && kernel::is_companion(&unit.sections[section].name))
        {
            in_section[section].push(index);
        }
    }
    let mut atoms = Vec::new();
    let mut by_section = vec![Vec::new(); unit.sections.len()];
    for (index, section) in unit.sections.iter().enumerate() {
        if !section.is_compared()
            || profile.records_in(&section.name).is_some()
            || profile.is_build_time(&section.name)
        {
            continue;
        }
        let first = atoms.len();
        if profile == Profile::Kernel && kernel::is_companion(&section.name) {
            let pieces = kernel::pieces(&unit, index, &options.entry_sizes);
            atoms.extend(pieces.into_iter().map(|(start, end)| anonymous(section, index, start, end)));
        } else {
            split_section(&unit, arch, index, &in_section[index], &mut atoms);
        }
        if profile == Profile::Kernel {
            tell_kernel(&unit, &mut atoms, first);
        }
        by_section[index] = (first..atoms.len()).collect();
    }
    for atom in &mut atoms {
        if unit.sections[atom.section].is_text() {
            let place = |offset| usize::try_from(offset).unwrap_or(usize::MAX);
            let bytes = unit.sections[atom.section].data.get(place(atom.start)..place(atom.end));
            atom.code = Some(arch.decode(bytes.unwrap_or(&[])));
        }
    }
    let mut by_name = HashMap::with_capacity(atoms.len());
    for (id, atom) in atoms.iter().enumerate() {
        for &symbol in &atom.names {
            by_name.insert(unit.symbols[symbol].name, id);
        }
    }
    let marks = vec![Vec::new(); unit.sections.len()];
    Atoms {
        unit,
        arch,
        profile,
        kernel: options.clone(),
        atoms,
        by_section,
        marks,
        by_name,
        by_place: false,
        users: OnceCell::new(),
    }
}

/// What is particular to the kernel about the atoms of one section, which begin at `first`.
fn tell_kernel(unit: &Unit<'_>, atoms: &mut [Atom], first: usize) {
    let mut end = 0;
    for atom in atoms.get_mut(first..).unwrap_or(&mut []) {
        let section = &unit.sections[atom.section];
        if atom.kind == AtomKind::Function {
            atom.padding = kernel::padding_before(unit, atom.section, end, atom.start);
        }
        let is_copied = |&symbol: &usize| kernel::is_copied(section, &unit.symbols[symbol]);
        if atom.kind == AtomKind::Object && atom.names.first().is_some_and(is_copied) {
            atom.kind = AtomKind::Anonymous;
        }
        end = atom.end;
    }
}

/// A piece of a section without a name.
fn anonymous(section: &Section<'_>, index: usize, start: u64, end: u64) -> Atom {
    Atom {
        section: index,
        start,
        end,
        padding: 0,
        kind: AtomKind::Anonymous,
        nature: if section.is_text() { AtomContent::Code } else { AtomContent::Data },
        names: Vec::new(),
        inner: Vec::new(),
        code: None,
        refs: Vec::new(),
    }
}

fn split_section(unit: &Unit<'_>, arch: &dyn Arch, index: usize, symbols: &[usize], out: &mut Vec<Atom>) {
    let section = &unit.sections[index];
    let typed = |s: &Symbol| s.stype != SymbolType::None;
    let mut order = symbols.to_vec();
    // Of the symbols at one offset the best name comes first: typed, sized, global, then by name. So both
    // sides choose alike.
    order.sort_by(|&a, &b| {
        let key = |i: usize| {
            let s = &unit.symbols[i];
            let rank = match s.binding {
                Binding::Global | Binding::Unique => 0,
                Binding::Weak => 1,
                Binding::Local => 2,
            };
            // Of several names of one function the compiler gives the first one to the section.
            let own_section = section.name.strip_suffix(s.name).is_some_and(|r| r.ends_with('.'));
            (s.value, !typed(s), s.size == 0, s.stype == SymbolType::IFunc, !own_section, rank, s.name)
        };
        key(a).cmp(&key(b))
    });

    let anonymous = |start: u64, end: u64| anonymous(section, index, start, end);
    let first = out.len();
    let mut open_ended = false;
    for &id in &order {
        let symbol = &unit.symbols[id];
        if let Some(last) = out.get_mut(first..).and_then(<[Atom]>::last_mut) {
            if symbol.value == last.start {
                last.names.push(id);
                last.end = last.end.max(symbol.value + symbol.size);
                open_ended &= symbol.size == 0;
                continue;
            }
            if symbol.value < last.end {
                // Hand-written assembly often has no type. What other units can name is an entry
                // nevertheless.
                if typed(symbol) || symbol.binding != Binding::Local {
                    last.inner.push(id);
                    last.end = last.end.max(symbol.value + symbol.size);
                }
                continue;
            }
            if open_ended {
                // A symbol without a size (hand-written assembly) reaches to the next one.
                last.end = symbol.value;
            }
        }
        out.push(Atom {
            names: vec![id],
            kind: if section.is_text() { AtomKind::Function } else { AtomKind::Object },
            ..anonymous(symbol.value, symbol.value + symbol.size)
        });
        open_ended = symbol.size == 0;
    }
    if open_ended && let Some(last) = out.get_mut(first..).and_then(<[Atom]>::last_mut) {
        last.end = section.size;
    }

    // What lies between the named atoms is an anonymous atom, unless it is only padding.
    let mut gaps = Vec::new();
    let mut at = 0;
    for atom in out.get(first..).unwrap_or(&[]) {
        if atom.start > at {
            gaps.push((at, atom.start));
        }
        at = at.max(atom.end);
    }
    if at < section.size {
        gaps.push((at, section.size));
    }
    for (start, end) in gaps {
        if first == out.len() || !is_padding(arch, section, start, end) {
            out.push(anonymous(start, end));
        }
    }
    if let Some(own) = out.get_mut(first..) {
        own.sort_by_key(|a| a.start);
    }
}

fn is_padding(arch: &dyn Arch, section: &Section<'_>, start: u64, end: u64) -> bool {
    let next = section.relocs.get(section.relocs.partition_point(|r| r.offset < start));
    if next.is_some_and(|r| r.offset < end) {
        return false;
    }
    let (Ok(from), Ok(to)) = (usize::try_from(start), usize::try_from(end)) else { return false };
    let Some(bytes) = section.data.get(from..to) else { return section.is_nobits() };
    if bytes.iter().all(|&b| b == 0) {
        return true;
    }
    section.is_text() && arch.is_padding(bytes)
}
