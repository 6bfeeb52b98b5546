//! Judges sections that the program reads as a whole: constructor lists, and what the source put into a
//! section of its own.

use std::collections::{BTreeMap, BTreeSet};

use super::{Verdict, place};
use crate::atoms::{AtomKind, Atoms, Target};
use crate::compare::Comparer;
use crate::kernel;
use crate::model::SymbolType;
use crate::profile::Profile;
use crate::symbol_names;
use crate::unit::{DefinedIn, SHT_NOTE, Section};

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
        if lists.into_iter().any(Section::is_ctor_list) {
            verdict.refuse(
                "list of constructors or destructors changed",
                place(&name, source_file),
                "a running process has passed its constructors: what is new would never run",
                "do the work where it is first needed, or in a hook of the patch",
            );
        } else if !super::objects::refuse_by_meaning(cmp, verdict, &name, source_file) {
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
        if section.is_for_tools() {
            continue;
        }
        if section.is_ctor_list()
            || (atom.kind == AtomKind::Anonymous
                && !section.is_standard()
                && !all.is_copied(id)
                && !all.is_companion(id))
        {
            out.entry(section.name.to_string()).or_default().push(id);
        }
    }
    out
}

/// Refuses lists of places inside of changed functions, as of instructions that may fault, of jumps that are
/// written to, of alternatives. Code that walks such a list, by `__start_…` or by symbols of a linker script,
/// finds the old places and none of the new code. Pointers to entries are no problem: they lead to the new
/// code.
pub(super) fn check_places(cmp: &Comparer<'_>, verdict: &mut Verdict, source_file: &str) {
    for (id, atom) in cmp.old.atoms.iter().enumerate() {
        let section = cmp.old.section(id);
        let is_list = !section.is_standard()
            && !section.is_for_tools()
            && !cmp.old.is_companion(id)
            && cmp.old.records_in(atom.section).is_none();
        if atom.kind == AtomKind::Function || !is_list {
            continue;
        }
        for r in &atom.refs {
            let Target::Atom { atom: function, offset } = r.target else { continue };
            let entries = cmp.old.profile == Profile::Kernel && kernel::lists_entries(&section.name);
            let is_place = atom.kind == AtomKind::Anonymous && by_label(cmp.old, id, r.at) && !entries;
            if let Some(new) = replaced_inside(cmp, verdict, function, is_place || offset > 0) {
                refuse_places(verdict, &section.name, cmp.new.name(new), source_file);
            }
        }
    }
    for section in cmp.old.unit.sections.iter().filter(|s| s.sh_type == SHT_NOTE) {
        for (function, at) in places(cmp.old, section) {
            let Some(new) = replaced_inside(cmp, verdict, function, true) else { continue };
            let name = cmp.new.name(new);
            if section.is_probes() {
                let probe = probe(section, at).unwrap_or_else(|| "a probe".into());
                verdict.warn(
                    "USDT probe in a changed function",
                    place(name, source_file),
                    &format!(
                        "tools find `{probe}` by the file's notes, in the old code: where the patch is \
                         active they see nothing of it"
                    ),
                );
            } else {
                refuse_places(verdict, &section.name, name, source_file);
            }
        }
    }
}

fn refuse_places(verdict: &mut Verdict, section: &str, function: &str, source_file: &str) {
    verdict.refuse(
        "list of places inside of functions",
        place(section, source_file),
        &format!(
            "it names places inside of `{function}`, which the fix changes: what walks the list would find \
             those of the old code and none of the new"
        ),
        "leave the function as it is and change what it calls, or leave the fix to the next start",
    );
}

/// Whether an entry of a list means a place in code, which may be the first of a function, and not the
/// function itself.
fn by_label(all: &Atoms, id: usize, at: u64) -> bool {
    let at = all.atom(id).start + at;
    all.relocs(id).iter().any(|r| r.offset == at && all.symbol(r.symbol).stype == SymbolType::Section)
}

/// The changed function that a place of the original belongs to: a place `inside` of the function and not its
/// entry, or a place in one of its cold parts.
fn replaced_inside(cmp: &Comparer<'_>, verdict: &Verdict, id: usize, inside: bool) -> Option<usize> {
    let old_parent = symbol_names::cold_parent(cmp.old.name(id)).and_then(|name| cmp.old.by_name.get(name));
    let inside = cmp.old.atom(id).kind == AtomKind::Function && (inside || old_parent.is_some());
    let new = cmp.pairs.new_of[old_parent.copied().unwrap_or(id)]?;
    (inside && verdict.changed.contains_key(&new)).then_some(new)
}

/// What the relocations of a section that is not split into atoms lead to, and the offset of each.
fn places(all: &Atoms, section: &Section<'_>) -> Vec<(usize, u64)> {
    let place = |r: &crate::unit::Reloc| {
        let symbol = all.symbol(r.symbol);
        let DefinedIn::Section(home) = symbol.home else { return None };
        let offset = symbol.value.cast_signed() + r.addend;
        Some((all.find(home, offset)?, r.offset))
    };
    section.relocs.iter().filter_map(place).collect()
}

/// `provider:name` of the probe whose address is at `at` in its note: three addresses, then the names.
fn probe(section: &Section<'_>, at: u64) -> Option<String> {
    let names = section.data.get(usize::try_from(at).ok()?.checked_add(24)?..)?;
    let mut names = names.split(|&b| b == 0).map(String::from_utf8_lossy);
    Some(format!("{}:{}", names.next()?, names.next()?))
}

/// Warns of changed constructors: they have run already, and so has what only constructors call.
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
                "only constructors of this file call it, and they have run already; where nothing else \
                 does, the change has no effect",
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

/// Constructors, and the functions that the unit uses only by calls from these. A function whose address a
/// constructor takes, to register it, runs later.
fn startup(all: &Atoms) -> BTreeSet<usize> {
    let lists: BTreeSet<usize> = constructor_lists(all).collect();
    let mut users: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
    let mut registered = BTreeSet::new();
    for (id, atom) in all.atoms.iter().enumerate() {
        for r in &atom.refs {
            let Target::Atom { atom: target, offset } = r.target else { continue };
            if target == id || all.atom(target).kind != AtomKind::Function {
                continue;
            }
            users.entry(target).or_default().insert(id);
            // A cold part is entered by jumps, also through tables. What a list names runs at the start.
            if !r.is_branch && offset == 0 && !lists.contains(&id) {
                registered.insert(target);
            }
        }
    }
    let mut found = lists.clone();
    let mut todo: Vec<usize> = lists.iter().copied().collect();
    while let Some(id) = todo.pop() {
        for target in targets(all, id) {
            let only = users.get(&target).is_some_and(|users| users.is_subset(&found));
            if only && !registered.contains(&target) && found.insert(target) {
                todo.push(target);
            }
        }
    }
    found.retain(|id| !lists.contains(id));
    found
}
