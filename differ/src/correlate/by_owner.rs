//! Pairs data by its owners: the functions that refer to it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::fingerprint::fingerprint;
use super::pairs::Pairs;
use crate::atoms::{AtomKind, Atoms, Target};
use crate::symbol_names;

/// The functions (source names) that refer to each atom, also through constants and tables.
pub(super) fn owners(all: &Atoms) -> Vec<BTreeSet<String>> {
    let mut owners = vec![BTreeSet::new(); all.atoms.len()];
    for (id, atom) in all.atoms.iter().enumerate() {
        if atom.kind != AtomKind::Function {
            continue;
        }
        let owner = symbol_names::parse(all.name(id)).base;
        let mut seen = BTreeSet::new();
        let mut todo = vec![id];
        while let Some(next) = todo.pop() {
            for r in &all.atom(next).refs {
                let Target::Atom { atom, .. } = r.target else { continue };
                if all.atom(atom).kind != AtomKind::Function && seen.insert(atom) {
                    owners[atom].insert(owner.clone());
                    if all.atom(atom).kind == AtomKind::Anonymous {
                        todo.push(atom);
                    }
                }
            }
        }
    }
    owners
}

/// Pairs by equal sets of owners, then by overlapping sets; only where the answer is unique both ways.
pub(super) fn by_owner(
    old_owners: &[BTreeSet<String>],
    new_owners: &[BTreeSet<String>],
    olds: &[usize],
    news: &[usize],
    may_be_same: &dyn Fn(usize, usize) -> bool,
    pairs: &mut Pairs,
) {
    let mut equal: HashMap<&BTreeSet<String>, (Vec<usize>, Vec<usize>)> = HashMap::new();
    let mut overlap: HashMap<&str, (Vec<usize>, Vec<usize>)> = HashMap::new();
    for &o in olds.iter().filter(|&&o| pairs.new_of[o].is_none()) {
        equal.entry(&old_owners[o]).or_default().0.push(o);
        old_owners[o].iter().for_each(|owner| overlap.entry(owner).or_default().0.push(o));
    }
    for &n in news.iter().filter(|&&n| pairs.old_of[n].is_none()) {
        equal.entry(&new_owners[n]).or_default().1.push(n);
        new_owners[n].iter().for_each(|owner| overlap.entry(owner).or_default().1.push(n));
    }
    for (owners, group) in equal {
        if let ([o], [n]) = (group.0.as_slice(), group.1.as_slice())
            && !owners.is_empty()
            && may_be_same(*o, *n)
        {
            pairs.join(*o, *n);
        }
    }
    let of = |owner: &String| overlap.get(owner.as_str());
    for &n in news {
        if pairs.old_of[n].is_some() {
            continue;
        }
        let candidates = new_owners[n].iter().filter_map(of).flat_map(|(olds, _)| olds);
        let Some(o) = only(candidates.filter(|&&o| pairs.new_of[o].is_none())) else { continue };
        let rivals = old_owners[o].iter().filter_map(of).flat_map(|(_, news)| news);
        if only(rivals.filter(|&&m| pairs.old_of[m].is_none())) == Some(n) && may_be_same(o, n) {
            pairs.join(o, n);
        }
    }
}

/// The one value that all items have; `None` if there are none, or different ones.
fn only<'a>(mut all: impl Iterator<Item = &'a usize>) -> Option<usize> {
    let first = *all.next()?;
    all.all(|&other| other == first).then_some(first)
}

/// Pairs variables in order where both sides have the same number of variables of one name in one function,
/// and they are equal in size and content one by one.
pub(super) fn by_order(
    old: &Atoms,
    new: &Atoms,
    old_owners: &[BTreeSet<String>],
    new_owners: &[BTreeSet<String>],
    olds: &[usize],
    news: &[usize],
    pairs: &mut Pairs,
) {
    let mut groups: BTreeMap<&BTreeSet<String>, (Vec<usize>, Vec<usize>)> = BTreeMap::new();
    for &o in olds.iter().filter(|&&o| pairs.new_of[o].is_none()) {
        groups.entry(&old_owners[o]).or_default().0.push(o);
    }
    for &n in news.iter().filter(|&&n| pairs.old_of[n].is_none()) {
        groups.entry(&new_owners[n]).or_default().1.push(n);
    }
    for (owner, (o, n)) in groups {
        if !owner.is_empty()
            && o.len() == n.len()
            && o.iter().zip(&n).all(|(&o, &n)| fingerprint(old, o) == fingerprint(new, n))
        {
            for (o, n) in o.into_iter().zip(n) {
                pairs.join(o, n);
            }
        }
    }
}
