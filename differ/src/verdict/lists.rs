//! Sections that the program reads as a whole: constructor lists, and what the source put into a section of its own.

use std::collections::{BTreeMap, BTreeSet};

use super::{Verdict, place};
use crate::atoms::{AtomKind, Atoms, Target};
use crate::compare::Comparer;

/// Written by the compiler for tools; nothing reads it at run time.
const IGNORED: [&str; 1] = ["__patchable_function_entries"];

pub(super) fn judge(cmp: &mut Comparer<'_>, verdict: &mut Verdict, source_file: &str) {
    let (old, new) = (wholes(cmp.old), wholes(cmp.new));
    let names: Vec<String> = old.keys().chain(new.keys()).cloned().collect();
    for name in names {
        let none = Vec::new();
        let (a, b) = (old.get(&name).unwrap_or(&none), new.get(&name).unwrap_or(&none));
        let same = a.len() == b.len() && a.iter().zip(b).all(|(&o, &n)| cmp.objects(o, n).is_empty());
        if same {
            continue;
        }
        let lists = a.iter().map(|&o| cmp.old.section(o)).chain(b.iter().map(|&n| cmp.new.section(n)));
        if lists.into_iter().any(crate::unit::Section::is_ctor_list) {
            verdict.refuse(
                "list of constructors or destructors changed",
                place(&name, source_file),
                "a running process has passed its constructors: what is new would never run",
                "do the work where it is first needed, or in a hook of the patch",
            );
        } else {
            verdict.refuse(
                "unknown section changed",
                place(&name, source_file),
                "what reads this section, and when, is not known",
                "leave what fills the section as it is",
            );
        }
    }
}

/// Anonymous atoms that are compared as whole sections, by section name.
fn wholes(all: &Atoms) -> BTreeMap<String, Vec<usize>> {
    let mut out: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (id, atom) in all.atoms.iter().enumerate() {
        let section = all.section(id);
        if IGNORED.contains(&&*section.name) {
            continue;
        }
        if section.is_ctor_list() || (atom.kind == AtomKind::Anonymous && !section.is_standard()) {
            out.entry(section.name.to_string()).or_default().push(id);
        }
    }
    out
}

/// A constructor that changed has run already, and so has what only constructors call.
pub(super) fn check_constructors(cmp: &Comparer<'_>, verdict: &mut Verdict, source_file: &str) {
    for id in startup(cmp.new) {
        if !verdict.changed.get(&id).is_some_and(|cause| cause.content) {
            continue;
        }
        let at = place(cmp.new.name(id), source_file);
        if cmp.new.is_global(id) && !is_listed(cmp.new, id) {
            verdict.warn(
                "function of constructors changed",
                at,
                "only constructors of this file call it, and they have run already; where nothing else does, the change has no effect",
            );
        } else {
            verdict.refuse(
                "constructor changed",
                at,
                "it has run already in a running process, and does not run again",
                "do the work where it is first needed, or in a hook of the patch",
            );
        }
    }
}

/// The atoms of constructor lists, those of destructors left out.
fn constructor_lists(all: &Atoms) -> impl Iterator<Item = usize> {
    let runs_first = |id: &usize| {
        let section = all.section(*id);
        section.is_ctor_list() && !section.name.contains("fini") && !section.name.contains("dtors")
    };
    (0..all.atoms.len()).filter(runs_first)
}

fn targets(all: &Atoms, id: usize) -> impl Iterator<Item = usize> {
    all.atom(id).refs.iter().filter_map(|r| match r.target {
        Target::Atom { atom, .. } => Some(atom),
        Target::Symbol { .. } => None,
    })
}

fn is_listed(all: &Atoms, id: usize) -> bool {
    constructor_lists(all).any(|list| targets(all, list).any(|target| target == id))
}

/// Constructors, and the functions that nothing in the unit but these refers to.
fn startup(all: &Atoms) -> BTreeSet<usize> {
    let lists: BTreeSet<usize> = constructor_lists(all).collect();
    let mut users: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
    for id in 0..all.atoms.len() {
        for target in targets(all, id).filter(|&t| t != id && all.atom(t).kind == AtomKind::Function) {
            users.entry(target).or_default().insert(id);
        }
    }
    let mut found = lists.clone();
    let mut todo: Vec<usize> = lists.iter().copied().collect();
    while let Some(id) = todo.pop() {
        for target in targets(all, id) {
            let only = users.get(&target).is_some_and(|users| users.is_subset(&found));
            if only && found.insert(target) {
                todo.push(target);
            }
        }
    }
    found.retain(|id| !lists.contains(id));
    found
}
