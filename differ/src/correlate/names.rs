//! Pairs atoms by name: first by names from the source, then by names that the compiler has numbered.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::by_owner::{by_order, by_owner, owners};
use super::by_scope::by_scope;
use super::fingerprint::{pair_constants, pair_functions};
use super::pairs::Pairs;
use super::scopes::Scopes;
use super::shifted;
use crate::atoms::{AtomKind, Atoms};
use crate::symbol_names::{self, Parsed};

/// A group of compiler-numbered symbols that differ in their numbers only.
type Stem = (AtomKindKey, String, String);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum AtomKindKey {
    Function,
    ReadOnly,
    Writable,
}

/// Pairs the named atoms of both sides.
pub(crate) fn correlate(old: &Atoms, new: &Atoms, old_scopes: &Scopes, new_scopes: &Scopes) -> Pairs {
    let mut pairs = Pairs {
        old_of: vec![None; new.atoms.len()],
        new_of: vec![None; old.atoms.len()],
        ambiguous: HashMap::new(),
    };
    let counted = counted(old).into_iter().chain(counted(new)).collect();
    let old_owners = owners(old);
    let new_owners = owners(new);
    let shifted = shifted::families([old, new], [&old_owners, &new_owners]);
    let is_numbered = |all: &Atoms, id: usize, name: &str| {
        is_numbered(all, id, name, &counted) || shifted.contains(&shifted::family(all, id))
    };
    // 1. Names that the source chose.
    for id in 0..new.atoms.len() {
        if pairs.old_of[id].is_some() || new.atom(id).kind == AtomKind::Anonymous {
            continue;
        }
        for &symbol in &new.atom(id).names {
            let name = &new.symbol(symbol).name;
            if is_numbered(new, id, name) {
                continue;
            }
            if let Some(&candidate) = old.by_name.get(name)
                && pairs.new_of[candidate].is_none()
                && (old.atom(candidate).kind == AtomKind::Function)
                    == (new.atom(id).kind == AtomKind::Function)
                && !is_numbered(old, candidate, name)
            {
                pairs.join(candidate, id);
                break;
            }
        }
    }
    // 2. Names that the compiler numbered. Functions come first, since data is told apart by the functions
    //    that use it.
    let old_stems = stems(old, &pairs.new_of, &is_numbered, &shifted);
    let new_stems = stems(new, &pairs.old_of, &is_numbered, &shifted);
    for (stem, ids) in new_stems.iter().filter(|(s, _)| s.0 == AtomKindKey::Function) {
        pair_functions(old, new, old_stems.get(stem).map_or(&[], Vec::as_slice), ids, &mut pairs);
    }
    for (stem, ids) in new_stems.iter().filter(|(s, _)| s.0 == AtomKindKey::ReadOnly) {
        let olds = old_stems.get(stem).map_or(&[][..], Vec::as_slice);
        pair_constants(old, new, olds, ids, &mut pairs);
        // A changed table keeps its owner. A wrong pair of constants costs precision only.
        by_owner(&old_owners, &new_owners, olds, ids, &|_, _| true, &mut pairs);
    }
    for (stem, ids) in new_stems.iter().filter(|(s, _)| s.0 == AtomKindKey::Writable) {
        let olds = old_stems.get(stem).map_or(&[][..], Vec::as_slice);
        if shifted.contains(&stem.1) {
            // Nothing tells whether the macro counted on or the source means another variable.
            pairs.ambiguous.extend(ids.iter().map(|&id| (id, olds.to_vec())));
            continue;
        }
        by_scope(old, new, old_scopes, new_scopes, olds, ids, &mut pairs);
        // If the debug information names the scopes of both, variables of different scopes are different
        // variables.
        let may_be_same = |o: usize, n: usize| match (old_scopes.of(o), new_scopes.of(n)) {
            (Some(a), Some(b)) => a == b,
            _ => true,
        };
        by_owner(&old_owners, &new_owners, olds, ids, &may_be_same, &mut pairs);
        // The order decides only if the debug information knows none of the variables of one side. What it
        // knows and does not pair stays open.
        let unknown = |scopes: &Scopes, ids: &[usize]| ids.iter().all(|&id| scopes.of(id).is_none());
        if unknown(old_scopes, olds) || unknown(new_scopes, ids) {
            by_order(old, new, &old_owners, &new_owners, olds, ids, &mut pairs);
        }
        let left: Vec<usize> = olds.iter().copied().filter(|&o| pairs.new_of[o].is_none()).collect();
        for &id in ids {
            if pairs.old_of[id].is_some() {
                continue;
            }
            let rivals: Vec<usize> = left.iter().copied().filter(|&o| may_be_same(o, id)).collect();
            if !rivals.is_empty() {
                pairs.ambiguous.insert(id, rivals);
            }
        }
    }
    pairs
}

/// Base and suffixes of the local data whose names are numbered. Clang numbers the static locals of one name
/// in a function from the second one on (`f.count`, `f.count.1`). Which is the first one depends on the
/// source.
fn counted(all: &Atoms) -> Vec<(String, String)> {
    let data = (0..all.atoms.len()).filter(|&id| all.atom(id).kind == AtomKind::Object && !all.is_global(id));
    let parsed =
        data.map(|id| symbol_names::parse(all.name(id))).filter(|p| p.numbered && !p.suffixes.is_empty());
    parsed.map(|p| (p.base, p.suffixes)).collect()
}

fn is_numbered(all: &Atoms, id: usize, name: &str, counted: &HashSet<(String, String)>) -> bool {
    if all.is_global(id) {
        return false;
    }
    let Parsed { base, suffixes, numbered, .. } = symbol_names::parse(name);
    numbered || (all.atom(id).kind == AtomKind::Object && counted.contains(&(base, suffixes)))
}

fn stems(
    all: &Atoms,
    done: &[Option<usize>],
    is_numbered: &dyn Fn(&Atoms, usize, &str) -> bool,
    shifted: &BTreeSet<String>,
) -> BTreeMap<Stem, Vec<usize>> {
    let mut stems: BTreeMap<Stem, Vec<usize>> = BTreeMap::new();
    for (id, done) in done.iter().enumerate() {
        if done.is_some() || all.atom(id).kind == AtomKind::Anonymous || !is_numbered(all, id, all.name(id)) {
            continue;
        }
        let kind = if all.atom(id).kind == AtomKind::Function {
            AtomKindKey::Function
        } else if all.section(id).is_read_only() {
            AtomKindKey::ReadOnly
        } else {
            AtomKindKey::Writable
        };
        let family = shifted::family(all, id);
        let (base, suffixes) = if shifted.contains(&family) {
            (family, String::new())
        } else {
            let Parsed { base, suffixes, .. } = symbol_names::parse(all.name(id));
            (base, suffixes)
        };
        stems.entry((kind, base, suffixes)).or_default().push(id);
    }
    for ids in stems.values_mut() {
        ids.sort_by_key(|&id| (symbol_names::parse(all.name(id)).numbers, all.name(id).to_owned()));
    }
    stems
}
