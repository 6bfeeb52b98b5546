//! Tells code and data in a code section apart.
//!
//! Hand-written assembly keeps its tables beside the functions that use them, often under a name without a
//! type or under none. What is done with a piece tells what it is.

use super::atom::{Atom, AtomContent, AtomKind, Atoms};
use crate::atoms::Target;
use crate::model::SymbolType;
use crate::unit::DefinedIn;

/// Decides what each piece of a code section is. References are resolved by then; those that decoding has
/// found in data are taken away.
pub(super) fn tell(all: &mut Atoms) {
    if !(0..all.atoms.len()).any(|id| is_untyped(all, id)) {
        return;
    }
    let unwound = unwound(all);
    loop {
        let natures: Vec<AtomContent> = (0..all.atoms.len()).map(|id| nature(all, id, &unwound)).collect();
        let mut found = false;
        for (atom, nature) in all.atoms.iter_mut().zip(natures) {
            atom.nature = nature;
            if nature == AtomContent::Data && atom.code.take().is_some() {
                found = true;
                atom.refs.retain(|r| !r.resolved);
                if atom.kind == AtomKind::Function {
                    atom.kind = AtomKind::Object;
                }
            }
        }
        // The atom has other references as code than it seemed to have as data, so the users are found anew.
        all.users.take();
        if !found {
            break;
        }
    }
    for id in 0..all.atoms.len() {
        if all.atom(id).kind == AtomKind::Anonymous && all.section(id).is_text() {
            trim(all, id);
        }
    }
}

/// Whether a piece of a code section has no symbol that calls it a function. Compilers name all their
/// functions.
fn is_untyped(all: &Atoms, id: usize) -> bool {
    let named = |wanted| all.atom(id).names.iter().any(|&s| all.symbol(s).stype == wanted);
    all.atom(id).code.is_some() && !named(SymbolType::Function) && !named(SymbolType::IFunc)
}

/// Offsets of sections that records, such as unwind information, are about: there is code.
fn unwound(all: &Atoms) -> Vec<(usize, u64)> {
    let sections = all.unit.sections.iter().enumerate().filter(|(i, _)| all.records_in(*i).is_some());
    let relocs = sections.flat_map(|(_, section)| &section.relocs);
    let places = relocs.filter_map(|r| {
        let symbol = all.symbol(r.symbol);
        let DefinedIn::Section(home) = symbol.home else { return None };
        Some((home, u64::try_from(symbol.value.cast_signed() + r.addend).ok()?))
    });
    places.collect()
}

fn nature(all: &Atoms, id: usize, unwound: &[(usize, u64)]) -> AtomContent {
    let atom = all.atom(id);
    let Some(code) = &atom.code else { return AtomContent::Data };
    if !is_untyped(all, id) {
        return AtomContent::Code;
    }
    if atom.names.iter().any(|&s| all.symbol(s).stype == SymbolType::Object) {
        return AtomContent::Data;
    }
    let has_records =
        |&(section, at): &(usize, u64)| section == atom.section && (atom.start..atom.end).contains(&at);
    let users = uses(all, id);
    if unwound.iter().any(has_records) || users.iter().any(|(.., branches)| *branches) {
        return AtomContent::Code;
    }
    let ends = code.instructions.iter().rev().find(|i| !i.is_padding).is_some_and(|i| !i.falls_through);
    let held = |(user, ..): &(usize, Vec<u64>, bool)| all.atom(*user).code.is_none();
    let reads = |(user, fields, _): &(usize, Vec<u64>, bool)| {
        let code = all.atom(*user).code.as_ref().is_some_and(|c| c.valid);
        code && all.arch.only_reads(all.bytes(*user), fields)
    };
    match users.is_empty() {
        // Only other units use it, and they use it like a function.
        true if atom.kind == AtomKind::Function => AtomContent::Code,
        // Pointers in data, to something that ends as a function does.
        false if code.valid && ends && users.iter().all(held) => AtomContent::Code,
        false if users.iter().all(reads) => AtomContent::Data,
        _ => AtomContent::Unknown,
    }
}

/// The other atoms that refer to one, with the offsets of the fields, and whether one of them is a branch.
fn uses(all: &Atoms, id: usize) -> Vec<(usize, Vec<u64>, bool)> {
    let used = all.users(id).iter().filter(|&&user| user != id);
    let uses = used.map(|&user| {
        let refs = &all.atom(user).refs;
        let refs = refs.iter().filter(|r| matches!(r.target, Target::Atom { atom, .. } if atom == id));
        let branches = refs.clone().any(|r| r.is_branch);
        (user, refs.map(|r| r.at).collect(), branches)
    });
    uses.collect()
}

/// Leaves out the padding before an atom without a name, so that it begins where the assembler has aligned
/// it.
fn trim(all: &mut Atoms, id: usize) {
    let (atom, align) = (all.atom(id), all.section(id).align.max(1));
    let Some(begin) = atom.start.checked_next_multiple_of(align).filter(|b| *b < atom.end) else { return };
    let by = (begin - atom.start).cast_signed();
    let padding = usize::try_from(by).ok().and_then(|by| all.bytes(id).get(..by));
    let is_padding = |bytes: &[u8]| bytes.iter().all(|b| *b == 0) || all.arch.is_padding(bytes);
    let leads_there = |atom: &Atom| {
        atom.refs
            .iter()
            .any(|r| matches!(r.target, Target::Atom { atom, offset } if atom == id && offset < by))
    };
    let has_fields = atom.refs.iter().any(|r| r.at.cast_signed() < by);
    if by == 0 || has_fields || !padding.is_some_and(is_padding) || all.atoms.iter().any(leads_there) {
        return;
    }
    for user in &mut all.atoms {
        for r in &mut user.refs {
            if let Target::Atom { atom, offset } = &mut r.target
                && *atom == id
            {
                *offset -= by;
            }
        }
    }
    let bytes = all.bytes(id).get(usize::try_from(by).unwrap_or(usize::MAX)..).unwrap_or(&[]);
    let code = all.atom(id).code.is_some().then(|| all.arch.decode(bytes));
    let Some(atom) = all.atoms.get_mut(id) else { return };
    atom.start = begin;
    atom.code = code;
    for r in &mut atom.refs {
        r.at -= by.unsigned_abs();
    }
}

impl Atoms<'_> {
    /// Whether a piece of a code section holds distances from there to code (`.long label - table`), which
    /// the assembler has settled: two words side by side lead, from the same place, to instructions outside
    /// of it.
    pub(crate) fn leads_to_code(&self, id: usize) -> bool {
        let atom = self.atom(id);
        let words: Vec<(u64, i64)> = (atom.start..)
            .step_by(4)
            .zip(self.bytes(id).chunks_exact(4))
            .map(|(at, word)| (at, i64::from(i32::from_le_bytes(word.try_into().unwrap_or_default()))))
            .collect();
        let is_code = |place: i64| {
            let outside = !(atom.start.cast_signed()..atom.end.cast_signed()).contains(&place);
            let found = self.find(atom.section, place).filter(|_| outside).map(|found| self.atom(found));
            found.is_some_and(|found| {
                let code = found.code.as_ref();
                code.is_some_and(|code| code.ordinal(place - found.start.cast_signed()).is_some())
            })
        };
        let marks = &self.marks[atom.section];
        let first = marks.partition_point(|m| *m < atom.start);
        let inside = marks.iter().skip(first).take_while(|m| **m < atom.end).copied();
        let labels = self.atoms.iter().flat_map(|a| &a.refs).filter_map(|r| match r.target {
            Target::Atom { atom: to, offset } if to == id => atom.start.checked_add_signed(offset),
            _ => None,
        });
        let mut tables: Vec<u64> = inside.chain(labels).chain([atom.start]).collect();
        tables.sort_unstable();
        tables.dedup();
        let pairs = || words.windows(2);
        let both = |pair: &[(u64, i64)], from: &dyn Fn(u64) -> u64| {
            pair.iter().all(|(at, distance)| is_code(from(*at).cast_signed().saturating_add(*distance)))
        };
        pairs().any(|pair| both(pair, &|at| at))
            || tables.iter().any(|table| pairs().any(|pair| both(pair, &|_| *table)))
    }
}
