//! Handles functions whose entries cannot be redirected: they have no room for a jump, or, in the kernel, no
//! call of `__fentry__`. Their callers are replaced in their place, as if
//! the functions had been inlined.

use std::collections::{BTreeSet, btree_map::Entry};

use super::{Cause, Verdict, kernel};
use crate::atoms::{AtomKind, Target};
use crate::compare::Comparer;
use crate::kernel::is_passing;
use crate::model::Options;

/// Finds those of them for which that can be done, and marks them as functions without an
/// entry. The others stay as they are, and are refused later.
pub(super) fn judge(cmp: &Comparer<'_>, opts: &Options, verdict: &mut Verdict) {
    let mut todo: Vec<usize> = verdict.changed.keys().copied().collect();
    while let Some(new) = todo.pop() {
        let Some(old) = cmp.pairs.old_of[new] else { continue };
        let named = opts.too_short.iter().any(|name| name == cmp.old.name(old));
        let promoted = named || (kernel::is_fentry_missing(cmp, old) && may_be_promoted(cmp, new));
        if !promoted {
            continue;
        }
        let Some(callers) = callers(cmp, verdict, old) else { continue };
        for caller in callers {
            let why = kernel::cannot_be_redirected(cmp, old);
            let reason = format!("calls `{}`, {why}", cmp.new.name(new));
            if let Entry::Vacant(entry) = verdict.changed.entry(caller) {
                entry.insert(Cause { content: false, reasons: vec![reason] });
                todo.push(caller);
            }
            verdict.in_callers.entry(caller).or_default().insert(new);
        }
        verdict.entryless.insert(new);
    }
}

/// Is it a function that stays? A function that runs at the start only is refused as such.
fn may_be_promoted(cmp: &Comparer<'_>, new: usize) -> bool {
    cmp.new.atom(new).kind == AtomKind::Function && is_passing(cmp.new.section(new)).is_none()
}

/// The old functions without an entry that old code of `new` calls, also through others of them. A thread may
/// be in one of them while the caller is no longer on the stack, since a function can be entered by a jump.
pub(super) fn called(cmp: &Comparer<'_>, verdict: &Verdict, new: usize) -> BTreeSet<usize> {
    let mut found = BTreeSet::new();
    let mut todo = vec![new];
    while let Some(caller) = todo.pop() {
        for &callee in verdict.in_callers.get(&caller).into_iter().flatten() {
            if let Some(old) = cmp.pairs.old_of[callee]
                && found.insert(old)
            {
                todo.push(callee);
            }
        }
    }
    found
}

/// The functions of the patched unit whose old code calls `old`. `None`: something else may call it, which is
/// code of other units, whatever holds its address, or old code that nothing replaces.
fn callers(cmp: &Comparer<'_>, verdict: &Verdict, old: usize) -> Option<BTreeSet<usize>> {
    if cmp.old.is_global(old) {
        return None;
    }
    let parents = super::parents(cmp.old);
    let mut found = BTreeSet::new();
    for &user in cmp.old.users(old).iter().filter(|user| **user != old) {
        let atom = cmp.old.atom(user);
        let mut refs =
            atom.refs.iter().filter(|r| matches!(r.target, Target::Atom { atom, .. } if atom == old));
        let calls = refs.all(|r| r.is_branch && matches!(r.target, Target::Atom { offset: 0, .. }));
        if !calls || atom.kind != AtomKind::Function {
            return None;
        }
        let whole = parents.get(&user).copied().unwrap_or(user);
        if cmp.old.has_passed(whole) {
            continue;
        }
        let new = cmp.pairs.new_of[whole].filter(|new| !verdict.parent.contains_key(new))?;
        found.insert(new);
    }
    Some(found)
}
