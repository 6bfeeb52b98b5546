//! Judges counts that begin in the middle.
//!
//! A fix may count what is under way, in a new variable or in a new member where a structure had padding:
//! open elements, connections, references. The new code counts up where each begins, and down where it ends.
//! When the patch comes to a running process, some of them have begun already. The old code did not count
//! them up, and the new code counts them down when they end: below zero, which is mostly more than any limit.
//!
//! A function that looks at the count before it counts down is no problem. Nor is a changed function that
//! counts both up and down: it is not running when the patch comes, so nothing is in the middle.

use std::collections::{BTreeMap, BTreeSet};

use super::layout::{LayoutChange, layout_change, lives};
use super::new_variables::is_variable;
use super::{Verdict, place};
use crate::arch::{Counter, Counts};
use crate::atoms::{AtomKind, Target};
use crate::compare::Comparer;
use crate::debug::{Info, SCOPE, TypeId};
use crate::symbol_names;

/// New variables.
pub(super) fn variables(cmp: &Comparer<'_>, verdict: &mut Verdict, source_file: &str) {
    let variables: Vec<usize> = verdict.new.iter().copied().filter(|&id| is_variable(cmp, id)).collect();
    for id in variables {
        let counts = patched(verdict, cmp).into_iter().map(|function| {
            let names_it = |t: &Target| matches!(t, Target::Atom { atom, .. } if *atom == id);
            let refs = cmp.new.atom(function).refs.iter().filter(|r| names_it(&r.target));
            let counter = Counter::Variable(refs.map(|r| r.at).collect());
            (function, cmp.new.arch.counts(cmp.new.bytes(function), &counter))
        });
        let counts = counts.collect();
        judge(cmp, verdict, counts, cmp.new.name(id), source_file);
    }
}

/// New members. `was` and `is` are the debug information of the original and of the patched unit.
pub(crate) fn members(cmp: &Comparer<'_>, was: &Info, is: &Info, verdict: &mut Verdict, source_file: &str) {
    let lives = lives(was);
    let named: BTreeMap<&String, TypeId> = is.types.named.iter().map(|(name, id)| (name, *id)).collect();
    for (name, new) in named {
        let Some(old) = was.types.named.get(name).filter(|old| lives.contains(old)) else { continue };
        let (Some(before), Some(after)) = (was.types.layout(*old), is.types.layout(new)) else { continue };
        let Some(LayoutChange::Added(added)) = layout_change(&before, &after) else { continue };
        for member in added.iter().filter(|m| m.offset % 8 == 0) {
            let Ok(offset) = i64::try_from(member.offset / 8) else { continue };
            let counter = Counter::Member(offset);
            let counts =
                patched(verdict, cmp).into_iter().filter(|id| deals_with(is, cmp.new.name(*id), new));
            let counts = counts.map(|id| {
                let mut counts = cmp.new.arch.counts(cmp.new.bytes(id), &counter);
                // The old code may do the same with a member at this offset of another structure. Then it
                // says nothing of the new member.
                if let Some(old) = cmp.pairs.old_of[id] {
                    let before = cmp.old.arch.counts(cmp.old.bytes(old), &counter);
                    counts = Counts { up: counts.up && !before.up, down: counts.down && !before.down };
                }
                (id, counts)
            });
            let counts = counts.collect();
            let member = format!("{}::{}", name.split(SCOPE).next().unwrap_or_default(), member.name);
            judge(cmp, verdict, counts, &member, source_file);
        }
    }
}

/// Functions that the patch changes for their own content, and new ones.
fn patched(verdict: &Verdict, cmp: &Comparer<'_>) -> BTreeSet<usize> {
    let changed = verdict.changed.iter().filter(|(_, cause)| cause.content).map(|(id, _)| *id);
    let all = changed.chain(verdict.new.iter().copied());
    all.filter(|id| cmp.new.atom(*id).kind == AtomKind::Function).collect()
}

fn deals_with(is: &Info, function: &str, wanted: TypeId) -> bool {
    let Some(function) = is.functions.get(&symbol_names::parse(function).base) else { return false };
    let inlined = function.inlines.iter().filter_map(|name| is.functions.get(name));
    let types = inlined.flat_map(|i| &i.types).chain(&function.types).copied();
    is.types.reach(types).contains(&wanted)
}

fn judge(
    cmp: &Comparer<'_>,
    verdict: &mut Verdict,
    counts: BTreeMap<usize, Counts>,
    counter: &str,
    source_file: &str,
) {
    let counts = by_entry(cmp, verdict, counts);
    let downs = counts.iter().filter(|(_, c)| c.down && !c.up).map(|(id, _)| cmp.new.name(*id));
    let ups = counts.iter().filter(|(_, c)| c.up).map(|(id, _)| cmp.new.name(*id));
    if let (Some(down), Some(up)) = (downs.min(), ups.min()) {
        verdict.refuse(
            "a count begins in the middle",
            place(counter, source_file),
            &format!(
                "`{up}` counts it up, and `{down}` down, whatever it is; what a running process has begun \
                 before the patch was not counted up, and is counted down when it ends",
            ),
            "do not count down what is zero, or set the count to what it should be in a hook",
        );
    }
}

/// Adds what new functions do to the functions that call them: so a function that does both is seen. Keeps
/// the functions that old code reaches.
fn by_entry(
    cmp: &Comparer<'_>,
    verdict: &Verdict,
    mut counts: BTreeMap<usize, Counts>,
) -> BTreeMap<usize, Counts> {
    let is_new = |id: usize| cmp.pairs.old_of[id].is_none() || verdict.parent.contains_key(&id);
    // Once for each level of calls among new functions.
    for _ in 0..counts.len() {
        let before = counts.clone();
        for (&id, &done) in before.iter().filter(|(id, _)| is_new(**id)) {
            for &user in cmp.new.users(id) {
                counts.entry(user).or_default().add(done);
            }
        }
        if counts == before {
            break;
        }
    }
    let is_called = |id: usize| {
        let mut refs = cmp.new.users(id).iter().flat_map(|&user| &cmp.new.atom(user).refs);
        refs.all(|r| r.is_branch || !matches!(r.target, Target::Atom { atom, .. } if atom == id))
    };
    counts.retain(|&id, _| {
        let function = cmp.new.atom(id).kind == AtomKind::Function && !verdict.parent.contains_key(&id);
        function && (!is_new(id) || cmp.new.users(id).is_empty() || !is_called(id))
    });
    counts
}
