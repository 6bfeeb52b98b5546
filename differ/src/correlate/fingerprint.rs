//! Pairs atoms of one name by their content.

use std::collections::{HashMap, VecDeque};

use super::pairs::Pairs;
use crate::atoms::{AtomKind, Atoms, Target};
use crate::symbol_names;

/// Content, and per reference its offset, type, and the source name and offset of what it refers to.
pub(crate) type Fingerprint = (Vec<u8>, Vec<(u64, u32, String, i64)>);

/// Content with relocated fields blanked, and the source names of what it refers to.
pub(crate) fn fingerprint(all: &Atoms, id: usize) -> Fingerprint {
    let mut bytes = all.bytes(id).to_vec();
    let mut refs = Vec::new();
    for r in &all.atom(id).refs {
        let from = usize::try_from(r.at).unwrap_or(usize::MAX);
        if let Some(field) = bytes.get_mut(from..from.saturating_add(usize::from(r.width))) {
            field.fill(0);
        }
        refs.push(match r.target {
            Target::Atom { atom, offset } => match all.atom(atom).kind {
                AtomKind::Anonymous => (r.at, r.r_type, String::new(), 0),
                _ => (r.at, r.r_type, symbol_names::parse(all.name(atom)).base, offset),
            },
            Target::Symbol { symbol, offset } => (r.at, r.r_type, all.symbol(symbol).name.to_owned(), offset),
        });
    }
    if bytes.is_empty() {
        bytes = all.atom(id).size().to_le_bytes().to_vec();
    }
    (bytes, refs)
}

pub(super) fn pair_functions(old: &Atoms, new: &Atoms, olds: &[usize], news: &[usize], pairs: &mut Pairs) {
    pair_constants(old, new, olds, news, pairs);
    // Pairs the rest by number: `foo.constprop.0` is the first clone on both sides.
    for &id in news {
        if pairs.old_of[id].is_none()
            && let Some(&o) = olds.iter().find(|&&o| pairs.new_of[o].is_none() && old.name(o) == new.name(id))
        {
            pairs.join(o, id);
        }
    }
    let left_old: Vec<usize> = olds.iter().copied().filter(|&o| pairs.new_of[o].is_none()).collect();
    let left_new: Vec<usize> = news.iter().copied().filter(|&n| pairs.old_of[n].is_none()).collect();
    if let ([o], [n]) = (left_old.as_slice(), left_new.as_slice()) {
        pairs.join(*o, *n);
    }
}

/// Pairs constants of equal content: first those of equal names, then the others.
pub(super) fn pair_constants(old: &Atoms, new: &Atoms, olds: &[usize], news: &[usize], pairs: &mut Pairs) {
    if olds.is_empty() || news.is_empty() {
        return;
    }
    let by_name: HashMap<&str, usize> = olds.iter().rev().map(|&o| (old.name(o), o)).collect();
    let mut unnamed = Vec::new();
    for &id in news.iter().filter(|&&id| pairs.old_of[id].is_none()).collect::<Vec<_>>() {
        let print = fingerprint(new, id);
        match by_name.get(new.name(id)) {
            Some(&o) if pairs.new_of[o].is_none() && fingerprint(old, o) == print => pairs.join(o, id),
            _ => unnamed.push((id, print)),
        }
    }
    // The order is kept, so that the first of several equal constants is taken.
    let mut left: HashMap<Fingerprint, VecDeque<usize>> = HashMap::new();
    for &o in olds.iter().filter(|&&o| pairs.new_of[o].is_none()) {
        left.entry(fingerprint(old, o)).or_default().push_back(o);
    }
    for (id, print) in unnamed {
        if let Some(o) = left.get_mut(&print).and_then(VecDeque::pop_front) {
            pairs.join(o, id);
        }
    }
}
