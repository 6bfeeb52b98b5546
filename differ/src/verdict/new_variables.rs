//! Judges new variables: state that begins with the patch, while the process has a past.
//!
//! The old code computed without such a variable, and the process keeps what it computed. Code mostly does
//! not tell whether a kept value has to agree with the new variable. New variables are rare enough to ask the
//! author about each of them, by a warning.
//!
//! One pattern is seen and refused: a function answers from a value that it computed earlier, and the fix
//! makes it compute that value with the new variable, as a hash with a seed that is chosen at random. Old and
//! new values would meet in one table. They meet too where the fix changes the function that computes them.
//! That is seen if this function only computes, and is called and not inlined.

use std::collections::{BTreeMap, BTreeSet};

use super::{Verdict, place};
use crate::arch::{MemberField, ValueSource};
use crate::atoms::{AtomKind, Ref, Target};
use crate::compare::Comparer;

pub(super) fn judge(cmp: &Comparer<'_>, verdict: &mut Verdict, source_file: &str) {
    for (function, computes, (offset, _)) in compared(cmp, verdict) {
        verdict.refuse(
            "kept values are computed in another way",
            place(cmp.new.name(function), source_file),
            &format!(
                "it keeps what `{computes}` computes, which the fix changes, at offset {offset} of an \
                 object, and compares it with what others hold there; objects that live hold what the old \
                 code computed",
            ),
            "compute what is kept as before, or leave this part of the fix to the next start",
        );
    }
    // Variables that the same functions use serve one purpose.
    let mut groups: BTreeMap<Vec<&str>, Vec<&str>> = BTreeMap::new();
    let variables: BTreeSet<usize> = verdict.new.iter().copied().filter(|&id| is_variable(cmp, id)).collect();
    if variables.is_empty() {
        return;
    }
    for (function, (offset, _)) in keepers(cmp, &variables) {
        let mut names: Vec<&str> = variables.iter().map(|&id| cmp.new.name(id)).collect();
        names.sort_unstable();
        verdict.refuse(
            "kept values are computed in another way",
            place(cmp.new.name(function), source_file),
            &format!(
                "it computes a value with new variables (of {}), keeps it at offset {offset} of an object, \
                 and answers from what is kept there; objects that live hold values that the old code \
                 computed without them",
                names.join(", ")
            ),
            "keep the new values apart from those of the old code (a shadow variable), or leave this part \
             of the fix to the next start",
        );
    }
    for &id in &variables {
        let users = users(cmp, verdict, id);
        if !users.is_empty() {
            groups.entry(users).or_default().push(cmp.new.name(id));
        }
    }
    for (users, mut variables) in groups {
        variables.sort_unstable();
        let users: Vec<String> = users.iter().map(|u| format!("`{u}`")).collect();
        verdict.warn(
            "new variable",
            place(&variables.join(", "), source_file),
            &format!(
                "used by {}; in processes that run already it begins with its initial value, and what the \
                 old code computed and stored without it stays as it is: must any of that agree with it?",
                users.join(", ")
            ),
        );
    }
}

/// Functions that keep in an object what a changed function computes, and compare it with what is kept there,
/// as a hash table does. Gives each with the name of the changed function, and the member.
fn compared<'a>(cmp: &Comparer<'a>, verdict: &Verdict) -> Vec<(usize, &'a str, MemberField)> {
    let changed = verdict.changed.iter().filter(|(id, cause)| {
        let both = cmp.pairs.old_of[**id].is_some_and(|old| cmp.old.arch.only_computes(cmp.old.bytes(old)));
        let function = cmp.new.atom(**id).kind == AtomKind::Function && !verdict.parent.contains_key(id);
        cause.content && function && both && cmp.new.arch.only_computes(cmp.new.bytes(**id))
    });
    let mut found = Vec::new();
    for (&computes, _) in changed {
        for &user in cmp.new.users(computes) {
            let atom = cmp.new.atom(user);
            if atom.kind != AtomKind::Function || cmp.pairs.old_of[user].is_none() {
                continue;
            }
            let is_call =
                |r: &&Ref| r.is_branch && matches!(r.target, Target::Atom { atom, .. } if atom == computes);
            let calls = atom.refs.iter().filter(is_call).map(|r| r.at).collect();
            let seen = cmp.new.arch.keeps(cmp.new.bytes(user), &ValueSource { variables: Vec::new(), calls });
            found.extend(seen.compared.map(|member| (user, cmp.new.name(computes), member)));
        }
    }
    found
}

pub(super) fn is_variable(cmp: &Comparer<'_>, id: usize) -> bool {
    let is_guard = cmp.new.name(id).starts_with("_ZGV");
    cmp.new.atom(id).kind == AtomKind::Object && !cmp.new.section(id).is_read_only() && !is_guard
}

/// Functions that store a value computed with one of the variables in an object that both old and new code
/// read.
fn keepers(cmp: &Comparer<'_>, variables: &BTreeSet<usize>) -> Vec<(usize, MemberField)> {
    let functions: Vec<usize> =
        (0..cmp.new.atoms.len()).filter(|&id| cmp.new.atom(id).kind == AtomKind::Function).collect();
    let mut returning: BTreeSet<usize> = BTreeSet::new();
    loop {
        let mut found = Vec::new();
        let mut more = false;
        for &id in &functions {
            let fields = |wanted: &dyn Fn(&Ref) -> bool| -> Vec<u64> {
                cmp.new.atom(id).refs.iter().filter(|r| wanted(r)).map(|r| r.at).collect()
            };
            let names = |r: &Ref, set: &BTreeSet<usize>| match r.target {
                Target::Atom { atom, .. } => set.contains(&atom),
                Target::Symbol { .. } => false,
            };
            let source = ValueSource {
                variables: fields(&|r| names(r, variables)),
                calls: fields(&|r| r.is_branch && names(r, &returning)),
            };
            if source.variables.is_empty() && source.calls.is_empty() {
                continue;
            }
            let seen = cmp.new.arch.keeps(cmp.new.bytes(id), &source);
            more |= seen.returns && returning.insert(id);
            // A new function has no past.
            found.extend(
                seen.answered_from.filter(|_| cmp.pairs.old_of[id].is_some()).map(|member| (id, member)),
            );
        }
        if !more {
            return found;
        }
    }
}

/// The names of the changed functions that refer to the variable; if there are none, of the new functions.
fn users<'a>(cmp: &Comparer<'a>, verdict: &Verdict, id: usize) -> Vec<&'a str> {
    let all = cmp.new.users(id).iter().copied();
    let mut users: Vec<usize> = all
        .filter(|&user| cmp.new.atom(user).kind == AtomKind::Function)
        .map(|user| verdict.parent.get(&user).copied().unwrap_or(user))
        .collect();
    let is_old = |&user: &usize| cmp.pairs.old_of[user].is_some();
    if users.iter().any(is_old) {
        users.retain(is_old);
    }
    let mut names: Vec<&str> = users.into_iter().map(|user| cmp.new.name(user)).collect();
    names.sort_unstable();
    names.dedup();
    names
}
