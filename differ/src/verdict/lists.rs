//! Sections that the program reads as a whole: constructor lists, and what the source put into a section of its own.

use std::collections::BTreeMap;

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
        if IGNORED.contains(&section.name.as_str()) {
            continue;
        }
        if section.is_ctor_list() || (atom.kind == AtomKind::Anonymous && !section.is_standard()) {
            out.entry(section.name.clone()).or_default().push(id);
        }
    }
    out
}

/// A constructor that changed has run already.
pub(super) fn check_constructors(cmp: &Comparer<'_>, verdict: &mut Verdict, source_file: &str) {
    for (id, atom) in cmp.new.atoms.iter().enumerate() {
        let section = cmp.new.section(id);
        if !section.is_ctor_list() || section.name.contains("fini") || section.name.contains("dtors") {
            continue;
        }
        for r in &atom.refs {
            let Target::Atom { atom, .. } = r.target else { continue };
            if verdict.changed.get(&atom).is_some_and(|cause| cause.content) {
                verdict.refuse(
                    "constructor changed",
                    place(cmp.new.name(atom), source_file),
                    "it has run already in a running process, and does not run again",
                    "do the work where it is first needed, or in a hook of the patch",
                );
            }
        }
    }
}
