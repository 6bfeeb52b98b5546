//! Judges lambdas. They have no names: the compiler counts them, so a new lambda before another one takes its
//! number.
//!
//! The program may hold pointers to the old lambdas (`std::function`). Their entries would lead to the code
//! of other lambdas.

use std::collections::{BTreeMap, BTreeSet};

use super::{Verdict, place};
use crate::atoms::{AtomKind, Atoms};
use crate::compare::Comparer;
use crate::correlate::fingerprint;
use crate::symbol_names;

pub(super) fn judge(cmp: &Comparer<'_>, verdict: &mut Verdict, source_file: &str) {
    let (old, new) = (groups(cmp.old), groups(cmp.new));
    for (group, ids) in &new {
        let Some(olds) = old.get(group) else { continue };
        let changed: Vec<usize> =
            ids.iter().copied().filter(|id| verdict.changed.get(id).is_some_and(|c| c.content)).collect();
        let Some(&first) = changed.first() else { continue };
        let before: BTreeSet<&str> = olds.iter().map(|&o| cmp.old.name(o)).collect();
        let after: BTreeSet<&str> = ids.iter().map(|&n| cmp.new.name(n)).collect();
        let moved = || {
            changed.iter().any(|&n| {
                let print = fingerprint(cmp.new, n);
                olds.iter().any(|&o| cmp.pairs.old_of[n] != Some(o) && fingerprint(cmp.old, o) == print)
            })
        };
        if before != after || moved() {
            verdict.refuse(
                "lambdas renumbered",
                place(cmp.new.name(first), source_file),
                "lambdas of one signature in one function are counted: it is not known which old one this \
                 is, and the program may hold pointers to the old ones",
                "add new lambdas after the existing ones and change no existing one, or use a named function",
            );
        }
    }
}

/// Functions that belong to lambdas, by their name without the lambda's number.
fn groups(all: &Atoms) -> BTreeMap<String, Vec<usize>> {
    let mut out: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (id, atom) in all.atoms.iter().enumerate() {
        if atom.kind == AtomKind::Function
            && let Some(group) = symbol_names::lambda_group(all.name(id))
        {
            out.entry(group).or_default().push(id);
        }
    }
    out
}
