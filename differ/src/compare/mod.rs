//! Tells whether an atom is the same on both sides.

mod attached;
mod code;
mod data;

pub(crate) use data::piece;

use std::collections::HashMap;

use crate::atoms::{AtomKind, Atoms, Ref, Target};
use crate::attached::Records;
use crate::correlate::Pairs;
use crate::model::SymbolType;

/// Compares atoms of two units whose named atoms are paired.
pub(crate) struct Comparer<'a> {
    pub(crate) old: &'a Atoms<'a>,
    pub(crate) new: &'a Atoms<'a>,
    pub(crate) old_records: &'a Records,
    pub(crate) new_records: &'a Records,
    pub(crate) pairs: &'a Pairs,
    /// The old side holds many atoms in one section. Then only the place counts that a reference leads to,
    /// since `table[i - 1]` lies in the neighbouring atom.
    pub(crate) by_place: bool,
    /// What is known about anonymous pieces. While a comparison is under way its answer is `true`, so that a
    /// cycle ends.
    pieces: HashMap<(usize, i64, usize, i64), bool>,
}

/// The first few differences of an atom, in words.
pub(crate) type Reasons = Vec<String>;

impl<'a> Comparer<'a> {
    pub(crate) fn new(
        old: &'a Atoms<'a>,
        new: &'a Atoms<'a>,
        old_records: &'a Records,
        new_records: &'a Records,
        pairs: &'a Pairs,
    ) -> Self {
        Comparer { old, new, old_records, new_records, pairs, by_place: false, pieces: HashMap::new() }
    }

    /// Why the paired functions differ; empty when they do not.
    pub(crate) fn functions(&mut self, old: usize, new: usize) -> Reasons {
        let mut reasons = self.code(old, new);
        if reasons.is_empty() {
            reasons = self.attached(old, new);
        }
        reasons
    }

    /// Whether two references mean the same thing.
    pub(crate) fn same_ref(&mut self, a: &Ref, b: &Ref) -> bool {
        self.new.arch.same_reference(a.r_type, b.r_type) && self.same_target(a.target, b.target)
    }

    fn same_target(&mut self, a: Target, b: Target) -> bool {
        match (a, b) {
            (Target::Symbol { symbol: s, offset: i }, Target::Symbol { symbol: t, offset: j }) => {
                let (s, t) = (self.old.symbol(s), self.new.symbol(t));
                let indirect = s.stype == SymbolType::IFunc && t.stype == SymbolType::IFunc;
                i == j && s.name == t.name && (indirect || (s.home == t.home && s.value == t.value))
            }
            (Target::Atom { atom: o, offset: i }, Target::Atom { atom: n, offset: j }) => {
                if self.by_place
                    && let Some(partner) = self.pairs.old_of[n].filter(|&p| p != o)
                {
                    let (meant, found) = (self.old.atom(partner), self.old.atom(o));
                    return meant.section == found.section
                        && meant.start.cast_signed() + j == found.start.cast_signed() + i;
                }
                match (self.old.atom(o).kind, self.new.atom(n).kind) {
                    (AtomKind::Anonymous, AtomKind::Anonymous) => {
                        self.old.is_copied(o) == self.new.is_copied(n) && self.same_piece(o, i, n, j)
                    }
                    (_, AtomKind::Anonymous) if self.by_place => self.is_zeroed_gap(o, i, n, j),
                    (AtomKind::Anonymous, _) | (_, AtomKind::Anonymous) => false,
                    _ => self.pairs.old_of[n] == Some(o) && self.same_place(o, i, n, j),
                }
            }
            _ => false,
        }
    }

    /// Two offsets in paired atoms: the same instruction, or the same byte.
    fn same_place(&self, o: usize, i: i64, n: usize, j: i64) -> bool {
        match (&self.old.atom(o).code, &self.new.atom(n).code) {
            (Some(a), Some(b)) => match (a.ordinal(i), b.ordinal(j)) {
                (Some(x), Some(y)) => x == y,
                (None, None) => i == j,
                _ => false,
            },
            _ => i == j,
        }
    }

    /// The symbol or content that a reference means, for messages.
    pub(crate) fn describe(all: &Atoms, target: Target) -> String {
        match target {
            Target::Symbol { symbol, .. } => all.symbol(symbol).name.to_owned(),
            Target::Atom { atom, offset } => {
                if all.atom(atom).kind == AtomKind::Anonymous && !all.is_copied(atom) {
                    return data::describe(all, atom, offset);
                }
                if offset == 0 {
                    all.name(atom).to_owned()
                } else {
                    format!("{}{offset:+#x}", all.name(atom))
                }
            }
        }
    }
}
