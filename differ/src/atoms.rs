//! Splits the sections of a unit into *atoms*: the smallest pieces that can be compared and shipped alone.
//!
//! With `-ffunction-sections -fdata-sections` nearly every atom is a whole section; hand-written assembly, and the plain object of a
//! unit, hold several in one section.

use std::cell::OnceCell;
use std::collections::HashMap;

use crate::arch::x86_64::decode::Code;
use crate::model::{Binding, SymbolType};
use crate::unit::{Home, Section, Symbol, Unit};

/// What an atom is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AtomKind {
    /// Named code.
    Function,
    /// Named data.
    Object,
    /// No symbol: strings, constants, jump tables. Compared by content, where it is referred to.
    Anonymous,
}

/// One piece of a section.
#[derive(Debug)]
pub(crate) struct Atom {
    pub(crate) section: usize,
    /// Offsets in the section.
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) kind: AtomKind,
    /// Symbols at its start, the best name first. Empty for [`AtomKind::Anonymous`].
    pub(crate) names: Vec<usize>,
    /// Typed or global symbols inside of it: entries beside the first.
    pub(crate) inner: Vec<usize>,
    pub(crate) code: Option<Code>,
    pub(crate) refs: Vec<Ref>,
}

impl Atom {
    pub(crate) fn size(&self) -> u64 {
        self.end - self.start
    }
}

/// A reference out of an atom.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ref {
    /// Offset of the field in the atom.
    pub(crate) at: u64,
    pub(crate) r_type: u32,
    pub(crate) width: u8,
    pub(crate) target: Target,
    pub(crate) is_branch: bool,
    /// Addend of the relocation minus the offset of the target in [`Target`]: what stays when the target moves.
    pub(crate) bias: i64,
    /// Resolved by the assembler already, so there is no relocation in the object.
    pub(crate) resolved: bool,
}

/// What a reference refers to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    /// Offset in an atom; may lie outside (`table[i - 1]`).
    Atom { atom: usize, offset: i64 },
    /// A symbol that the unit does not define, or an absolute one.
    Symbol { symbol: usize, offset: i64 },
}

/// A unit, split.
#[derive(Debug)]
pub(crate) struct Atoms<'a> {
    pub(crate) unit: Unit<'a>,
    pub(crate) atoms: Vec<Atom>,
    /// Per section its atoms, by start.
    pub(crate) by_section: Vec<Vec<usize>>,
    /// Per section the offsets that something refers to, sorted: where anonymous pieces begin.
    pub(crate) marks: Vec<Vec<u64>>,
    pub(crate) by_name: HashMap<&'a str, usize>,
    /// Only the place that a reference leads to counts, not the atom: it may lie outside of every atom.
    pub(crate) by_place: bool,
    users: OnceCell<Vec<Vec<usize>>>,
}

impl<'a> Atoms<'a> {
    pub(crate) fn atom(&self, id: usize) -> &Atom {
        &self.atoms[id]
    }

    pub(crate) fn section(&self, id: usize) -> &Section<'a> {
        &self.unit.sections[self.atoms[id].section]
    }

    pub(crate) fn symbol(&self, symbol: usize) -> &Symbol<'a> {
        &self.unit.symbols[symbol]
    }

    /// The best symbol of an atom.
    pub(crate) fn primary(&self, id: usize) -> Option<&Symbol<'a>> {
        self.atoms[id].names.first().map(|&s| self.symbol(s))
    }

    /// Its name, or that of its section.
    pub(crate) fn name(&self, id: usize) -> &str {
        self.primary(id).map_or(&*self.section(id).name, |s| s.name)
    }

    /// Content; empty for zeroed memory.
    pub(crate) fn bytes(&self, id: usize) -> &[u8] {
        let atom = &self.atoms[id];
        let (Ok(start), Ok(end)) = (usize::try_from(atom.start), usize::try_from(atom.end)) else {
            return &[];
        };
        self.section(id).data.get(start..end).unwrap_or(&[])
    }

    /// Other units can refer to it.
    pub(crate) fn is_global(&self, id: usize) -> bool {
        self.atoms[id].names.iter().any(|&s| self.symbol(s).binding != Binding::Local)
    }

    /// The atom that `offset` of `section` lies in. One past the end belongs to the last; so does anything else outside when the
    /// section holds one atom only.
    pub(crate) fn find(&self, section: usize, offset: i64) -> Option<usize> {
        let ids = self.by_section.get(section)?;
        if let [only] = ids.as_slice() {
            return Some(*only);
        }
        let after = ids.partition_point(|&id| self.atoms[id].start.cast_signed() <= offset);
        let id = *ids.get(after.checked_sub(1)?)?;
        (offset <= self.atoms[id].end.cast_signed()).then_some(id)
    }

    /// An atom of the section, whatever `offset` lies in.
    pub(crate) fn nearest(&self, section: usize, offset: i64) -> Option<usize> {
        let ids = self.by_section.get(section)?;
        let after = ids.partition_point(|&id| self.atoms[id].start.cast_signed() <= offset);
        ids.get(after.saturating_sub(1)).copied()
    }

    /// The atoms that refer to it, in their order. References are resolved by then.
    pub(crate) fn users(&self, id: usize) -> &[usize] {
        let users = self.users.get_or_init(|| {
            let mut users = vec![Vec::new(); self.atoms.len()];
            for (user, atom) in self.atoms.iter().enumerate() {
                for r in &atom.refs {
                    if let Target::Atom { atom: target, .. } = r.target
                        && users[target].last() != Some(&user)
                    {
                        users[target].push(user);
                    }
                }
            }
            users
        });
        users.get(id).map_or(&[], Vec::as_slice)
    }

    /// Relocations that lie in the atom.
    pub(crate) fn relocs(&self, id: usize) -> &[crate::unit::Reloc] {
        let atom = &self.atoms[id];
        let all = &self.section(id).relocs;
        let from = all.partition_point(|r| r.offset < atom.start);
        let to = all.partition_point(|r| r.offset < atom.end);
        all.get(from..to).unwrap_or(&[])
    }
}

/// Splits `unit`. References are not resolved yet.
pub(crate) fn split(unit: Unit<'_>) -> Atoms<'_> {
    let mut in_section: Vec<Vec<usize>> = vec![Vec::new(); unit.sections.len()];
    for (index, symbol) in unit.symbols.iter().enumerate() {
        if let Home::Section(section) = symbol.home
            && symbol.stype != SymbolType::Section
            && !symbol.name.is_empty()
            // Labels of the compiler (`.LC0`), which the assembler keeps for references into mergeable sections.
            && !symbol.name.starts_with(".L")
            // Clang names exception tables (`GCC_except_table2`); they are compared with their functions.
            && !unit.sections[section].is_lsda()
        {
            in_section[section].push(index);
        }
    }
    let mut atoms = Vec::new();
    let mut by_section = vec![Vec::new(); unit.sections.len()];
    for (index, section) in unit.sections.iter().enumerate() {
        if !section.is_compared() || section.is_eh_frame() {
            continue;
        }
        let first = atoms.len();
        split_section(&unit, index, section, &in_section[index], &mut atoms);
        by_section[index] = (first..atoms.len()).collect();
    }
    for atom in &mut atoms {
        if unit.sections[atom.section].is_text() {
            let range = usize::try_from(atom.start).unwrap_or(0)..usize::try_from(atom.end).unwrap_or(0);
            atom.code = Some(Code::decode(unit.sections[atom.section].data.get(range).unwrap_or(&[])));
        }
    }
    let mut by_name = HashMap::with_capacity(atoms.len());
    for (id, atom) in atoms.iter().enumerate() {
        for &symbol in &atom.names {
            by_name.insert(unit.symbols[symbol].name, id);
        }
    }
    let marks = vec![Vec::new(); unit.sections.len()];
    Atoms { unit, atoms, by_section, marks, by_name, by_place: false, users: OnceCell::new() }
}

fn split_section(
    unit: &Unit<'_>,
    index: usize,
    section: &Section<'_>,
    symbols: &[usize],
    out: &mut Vec<Atom>,
) {
    let typed = |s: &Symbol| s.stype != SymbolType::None;
    let mut order = symbols.to_vec();
    // At one place the best name first: typed, sized, global, then by name, so that both sides choose alike.
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

    let anonymous = |start: u64, end: u64| Atom {
        section: index,
        start,
        end,
        kind: AtomKind::Anonymous,
        names: Vec::new(),
        inner: Vec::new(),
        code: None,
        refs: Vec::new(),
    };
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
                // Hand-written assembly often has no type; what other units can name is an entry all the same.
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

    // What lies between the named atoms is anonymous, unless it is only padding.
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
        if first == out.len() || !is_padding(section, start, end) {
            out.push(anonymous(start, end));
        }
    }
    if let Some(own) = out.get_mut(first..) {
        own.sort_by_key(|a| a.start);
    }
}

fn is_padding(section: &Section<'_>, start: u64, end: u64) -> bool {
    let next = section.relocs.get(section.relocs.partition_point(|r| r.offset < start));
    if next.is_some_and(|r| r.offset < end) {
        return false;
    }
    let (Ok(from), Ok(to)) = (usize::try_from(start), usize::try_from(end)) else { return false };
    let Some(bytes) = section.data.get(from..to) else { return section.is_nobits() };
    if bytes.iter().all(|&b| b == 0) {
        return true;
    }
    section.is_text() && {
        let code = Code::decode(bytes);
        bytes.iter().all(|&b| b == 0xcc) || (code.valid && code.insns.iter().all(|i| i.nop))
    }
}
