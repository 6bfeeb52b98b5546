//! Replaces what refers to a changed constant. The constant is shipped as a copy, and old code must not go on
//! with the old one.

use std::collections::BTreeSet;

use super::{Cause, Verdict, objects, place};
use crate::atoms::{AtomKind, Atoms, Target};
use crate::compare::Comparer;
use crate::model::Options;

pub(super) fn judge(cmp: &Comparer<'_>, opts: &Options, verdict: &mut Verdict, source_file: &str) {
    let all = cmp.new;
    let mut users: Vec<Vec<(usize, i64)>> = vec![Vec::new(); all.atoms.len()];
    for id in 0..all.atoms.len() {
        if all.atom(id).kind != AtomKind::Anonymous {
            for (target, offset) in named_targets(all, id) {
                users[target].push((id, offset));
            }
        }
    }
    let mut todo: Vec<usize> = verdict.changed.keys().copied().collect();
    while let Some(id) = todo.pop() {
        let is_function = all.atom(id).kind == AtomKind::Function;
        for &(user, offset) in &users[id] {
            let is_done = cmp.pairs.old_of[user].is_none() || all.has_passed(user);
            if is_done || verdict.changed.contains_key(&user) {
                continue;
            }
            let user_kind = all.atom(user).kind;
            // A table of labels is replaced with its function. A pointer to the entry of a function is
            // redirected at the entry.
            if is_function && (offset == 0 || user_kind == AtomKind::Function) {
                continue;
            }
            let reason = if is_function {
                format!("holds addresses inside of changed function `{}`", all.name(id))
            } else {
                format!("references changed constant `{}`", all.name(id))
            };
            let at = place(all.name(user), source_file);
            if user_kind == AtomKind::Function {
                let parent = verdict.parent.get(&user).copied().unwrap_or(user);
                if cmp.pairs.old_of[parent].is_none() || verdict.changed.contains_key(&parent) {
                    continue;
                }
                verdict.changed.insert(parent, Cause { content: false, reasons: vec![reason] });
                todo.push(parent);
            } else if !all.section(user).is_read_only() {
                verdict.refuse(
                    "live data refers to something that changed",
                    at,
                    &format!("it {reason}; the running process keeps the old pointer"),
                    "leave the constant as it is, and add a new one that the changed code uses",
                );
            } else if objects::shippable(cmp, opts, verdict, user, at, &reason) {
                verdict.changed.insert(user, Cause { content: false, reasons: vec![reason] });
                todo.push(user);
            }
        }
    }
}

/// The named atoms that `id` refers to, also through anonymous constants.
fn named_targets(all: &Atoms, id: usize) -> BTreeSet<(usize, i64)> {
    let mut out = BTreeSet::new();
    let mut seen = BTreeSet::from([id]);
    let mut todo = vec![id];
    while let Some(next) = todo.pop() {
        for r in &all.atom(next).refs {
            let Target::Atom { atom, offset } = r.target else { continue };
            if all.atom(atom).kind != AtomKind::Anonymous {
                if atom != id {
                    out.insert((atom, offset));
                }
            } else if seen.insert(atom) {
                todo.push(atom);
            }
        }
    }
    out
}
