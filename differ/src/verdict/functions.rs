//! Judges functions: changed, new, and those that cannot be replaced.

use std::collections::HashMap;

use super::{Cause, Verdict, place};
use crate::atoms::{AtomKind, Atoms, Target};
use crate::compare::Comparer;
use crate::model::SymbolType;
use crate::symbol_names;

pub(super) fn judge(cmp: &mut Comparer<'_>, verdict: &mut Verdict, source_file: &str) {
    for new in 0..cmp.new.atoms.len() {
        if cmp.new.atom(new).kind != AtomKind::Function {
            continue;
        }
        let parent = verdict.parent.get(&new).copied();
        let Some(old) = cmp.pairs.old_of[new] else {
            verdict.new.push(new);
            if let Some(parent) = parent
                && cmp.pairs.old_of[parent].is_some()
            {
                add(verdict, parent, vec!["has a cold part now".into()]);
            }
            if is_ifunc(cmp.new, new) {
                refuse_ifunc(verdict, place(cmp.new.name(new), source_file), "is new");
            }
            continue;
        };
        if is_ifunc(cmp.old, old) != is_ifunc(cmp.new, new) {
            refuse_ifunc(verdict, place(cmp.new.name(new), source_file), "became, or is no longer, one");
        }
        let reasons = cmp.functions(old, new);
        if reasons.is_empty() {
            continue;
        }
        if let Some(parent) = parent {
            let reasons = reasons.into_iter().map(|r| format!("cold part: {r}")).collect();
            add(verdict, parent, reasons);
        } else {
            add(verdict, new, reasons);
        }
    }
    verdict.changed.retain(|&id, _| cmp.pairs.old_of[id].is_some());
    aliases(cmp, verdict, source_file);
}

/// Refuses names that came to share one function, or no longer do.
fn aliases(cmp: &Comparer<'_>, verdict: &mut Verdict, source_file: &str) {
    for (new, atom) in cmp.new.atoms.iter().enumerate() {
        if atom.kind != AtomKind::Function {
            continue;
        }
        for &symbol in &atom.names {
            let name = cmp.new.symbol(symbol).name;
            let Some(&old) = cmp.old.by_name.get(name) else { continue };
            if cmp.pairs.old_of[new] == Some(old) || !cmp.old.is_global(old) {
                continue;
            }
            if cmp.pairs.new_of[old].is_some() || cmp.pairs.old_of[new].is_none() {
                verdict.refuse(
                    "functions that shared their code no longer do",
                    place(name, source_file),
                    "the old code has one entry for several names, and each name now needs another target",
                    "build both with -fno-ipa-icf, or leave the functions unchanged",
                );
            } else {
                verdict.extra_replaced.insert(name.to_owned());
                add(verdict, new, vec![format!("is now also `{name}`, which had code of its own")]);
            }
        }
    }
}

fn add(verdict: &mut Verdict, id: usize, reasons: Vec<String>) {
    let cause: &mut Cause = verdict.changed.entry(id).or_default();
    cause.content = true;
    cause.reasons.extend(reasons);
}

fn is_ifunc(all: &Atoms, id: usize) -> bool {
    all.atom(id).names.iter().any(|&s| all.symbol(s).stype == SymbolType::IFunc)
}

fn refuse_ifunc(verdict: &mut Verdict, place: String, what: &str) {
    verdict.refuse(
        "indirect function (IFUNC)",
        place,
        &format!("its resolver {what}; resolvers have run already, and their answers are kept"),
        "change the implementations that the resolver chooses from, and leave the resolver as it is",
    );
}

/// Refuses changed functions whose entries cannot be redirected.
pub(super) fn check_replaced(cmp: &Comparer<'_>, verdict: &mut Verdict, source_file: &str) {
    let changed: Vec<usize> = verdict
        .changed
        .keys()
        .copied()
        .filter(|&id| cmp.new.atom(id).kind == AtomKind::Function && !verdict.parent.contains_key(&id))
        .collect();
    let entered = entered_inside(cmp, verdict);
    for new in changed {
        let Some(old) = cmp.pairs.old_of[new] else { continue };
        let at = place(cmp.new.name(new), source_file);
        if is_ifunc(cmp.new, new) {
            refuse_ifunc(verdict, at.clone(), "changed");
        }
        if symbol_names::is_coroutine_part(cmp.new.name(new)) {
            verdict.refuse(
                "coroutine changed",
                at.clone(),
                "coroutines that are suspended hold the state of the old code, which the new code would go \
                 on from",
                "leave the coroutine as it is, and change what it calls",
            );
        }
        if symbol_names::cold_parent(cmp.new.name(new)).is_some() {
            verdict.refuse(
                "cold fragment without its function",
                at.clone(),
                "it is entered in several places, by jumps from a function that the object does not hold",
                "compile the unit with -fno-reorder-blocks-and-partition",
            );
        }
        for (all, id) in [(cmp.old, old), (cmp.new, new)] {
            if let Some(&inner) = all.atom(id).inner.first() {
                verdict.refuse(
                    "function with more than one entry",
                    at.clone(),
                    &format!(
                        "`{}` lies inside of it: its callers would still run old code",
                        all.symbol(inner).name
                    ),
                    "split the function, or leave it unchanged",
                );
            }
            if all.atom(id).code.as_ref().is_some_and(|c| !c.valid) {
                verdict.refuse(
                    "data among code",
                    at.clone(),
                    "not all of its bytes are instructions: what refers to what is not known",
                    "move the data to a section of its own, or leave the function unchanged",
                );
            }
            if let Some(neighbour) = flows(all, id) {
                verdict.refuse(
                    "function that runs into another",
                    at.clone(),
                    &format!(
                        "it and `{neighbour}` share a section, and the one runs into the other without a jump"
                    ),
                    "end the first with a jump, in the original source too, or leave both unchanged",
                );
            }
        }
        if let Some(user) = entered.get(&new) {
            verdict.refuse(
                "function with more than one entry",
                at.clone(),
                &format!("`{user}` jumps into the middle of it, and would still run old code there"),
                "give that place a function of its own, or leave the function unchanged",
            );
        }
        if cmp.new.name(new) == "main" {
            verdict.warn(
                "`main` changed",
                at.clone(),
                "it is on the stack as long as the program runs: a running process stays pending, new ones \
                 get the fix (`apply --lazy` patches the rest and leaves this one old: is the rest right \
                 without it?)",
            );
        }
    }
}

/// Functions that an unchanged function refers to a place inside of, each with the name of one such user.
/// Cold fragments do so too, but are replaced together with their function.
fn entered_inside<'a>(cmp: &Comparer<'a>, verdict: &Verdict) -> HashMap<usize, &'a str> {
    let whole = |id: usize| verdict.parent.get(&id).copied().unwrap_or(id);
    let mut entered = HashMap::new();
    for (user, atom) in cmp.new.atoms.iter().enumerate().filter(|(_, a)| a.kind == AtomKind::Function) {
        if verdict.changed.contains_key(&whole(user)) || cmp.pairs.old_of[whole(user)].is_none() {
            continue;
        }
        for r in &atom.refs {
            if let Target::Atom { atom: id, offset } = r.target
                && whole(user) != id
                && offset > 0
                && offset < cmp.new.atom(id).size().cast_signed()
            {
                entered.entry(id).or_insert(cmp.new.name(user));
            }
        }
    }
    entered
}

/// The neighbour in the same section that control runs into from here, or that runs into this function.
fn flows<'a>(all: &'a Atoms<'_>, id: usize) -> Option<&'a str> {
    let ids = &all.by_section[all.atom(id).section];
    let position = ids.iter().position(|&i| i == id)?;
    let open = |id: usize| {
        all.atom(id).code.as_ref().is_some_and(|code| {
            code.instructions.iter().rev().find(|i| !i.is_padding).is_none_or(|last| last.falls_through)
        })
    };
    if let Some(&next) = ids.get(position + 1)
        && open(id)
    {
        return Some(all.name(next));
    }
    let previous = *ids.get(position.checked_sub(1)?)?;
    open(previous).then(|| all.name(previous))
}
