//! Lists that the build or the loader reads, compared by meaning: what is exported, which functions run at
//! the start, what a module tells of itself. Nothing in them is shipped; a change in them is refused.

use std::collections::{BTreeMap, BTreeSet};

use super::super::{Verdict, place};
use crate::atoms::Atoms;
use crate::compare::Comparer;
use crate::unit::{DefinedIn, Section};

/// What is refused, and the entries of the list.
struct List {
    what: &'static str,
    why: &'static str,
    remedy: &'static str,
    entries: fn(&Atoms<'_>) -> BTreeSet<String>,
}

const LISTS: [List; 3] = [
    List {
        what: "exported symbol added, removed or changed",
        why: "the kernel reads the list of exported symbols when an object is loaded; no module finds a new \
              one there, and one that is gone may be in use",
        remedy: "leave EXPORT_SYMBOL lines as they are; units of one patch find each other's symbols without",
        entries: exports,
    },
    List {
        what: "initcall added or removed",
        why: "initcalls have run when the patch is loaded",
        remedy: "do the work where it is first needed, or in a hook of the patch",
        entries: initcalls,
    },
    List {
        what: "set of functions for BPF changed",
        why: "the numbers in it are filled in when the kernel is linked",
        remedy: "leave the set as it is",
        entries: bpf_sets,
    },
];

pub(super) fn judge(cmp: &Comparer<'_>, verdict: &mut Verdict, source_file: &str) {
    for list in &LISTS {
        let (was, is) = ((list.entries)(cmp.old), (list.entries)(cmp.new));
        for entry in was.symmetric_difference(&is) {
            let word = if was.contains(entry) { "gone" } else { "new" };
            let place = place(entry, source_file);
            verdict.refuse(list.what, place, &format!("it is {word}; {}", list.why), list.remedy);
        }
    }
    let (was, is) = (information(cmp.old), information(cmp.new));
    for entry in was.symmetric_difference(&is) {
        let key = entry.split(['=', '.']).find(|word| INFORMATION.contains(word));
        if key.is_some() {
            let why = "it is not shipped: tools go on to show what the module said when it was loaded";
            verdict.warn("information about the module changed", place(entry, source_file), why);
        } else {
            verdict.refuse(
                "what a module declares changed",
                place(entry, source_file),
                "the loader and its tools read it (parameters, aliases, licence, dependencies) when the \
                 module is loaded",
                "leave the declaration as it is",
            );
        }
    }
}

/// What a module tells people.
const INFORMATION: [&str; 4] = ["description", "author", "version", "srcversion"];

fn text(section: &Section<'_>, at: u64) -> String {
    let at = usize::try_from(at).unwrap_or(usize::MAX);
    let bytes = section.data.get(at..).unwrap_or(&[]).split(|b| *b == 0).next().unwrap_or(&[]);
    String::from_utf8_lossy(bytes).into_owned()
}

/// Exported symbols, with licence and namespace: sections `___ksymtab_gpl+NAME` (before 6.4), or symbols
/// `__export_symbol_NAME` with strings.
fn exports(all: &Atoms<'_>) -> BTreeSet<String> {
    let mut out = BTreeSet::new();
    let mut namespaces = BTreeMap::new();
    for symbol in &all.unit.symbols {
        let DefinedIn::Section(home) = symbol.home else { continue };
        let section = &all.unit.sections[home];
        if let Some(name) = symbol.name.strip_prefix("__kstrtabns_") {
            namespaces.insert(name, text(section, symbol.value));
        }
        if let Some(name) = symbol.name.strip_prefix("__export_symbol_")
            && section.name.starts_with(".export_symbol")
        {
            let licence = text(section, symbol.value);
            let namespace = text(section, symbol.value + licence.len() as u64 + 1);
            out.insert(export(name, &licence, &namespace));
        }
    }
    for section in &all.unit.sections {
        let Some((list, name)) = section.name.split_once('+') else { continue };
        if let Some(licence) = list.strip_prefix("___ksymtab") {
            let namespace = namespaces.get(name).map_or("", String::as_str);
            out.insert(export(name, &licence.trim_start_matches('_').to_uppercase(), namespace));
        }
    }
    out
}

fn export(name: &str, licence: &str, namespace: &str) -> String {
    let notes = [licence, namespace].into_iter().filter(|note| !note.is_empty());
    let notes: Vec<&str> = notes.collect();
    if notes.is_empty() { name.to_owned() } else { format!("{name} ({})", notes.join(", ")) }
}

/// Functions that run at the start only, with the list that they are in.
fn initcalls(all: &Atoms<'_>) -> BTreeSet<String> {
    let lists = all.unit.sections.iter().filter(|s| s.name.starts_with(".initcall"));
    let entries = lists.flat_map(|list| list.relocs.iter().map(move |r| (list, r)));
    let name = |(list, r): (&Section<'_>, &crate::unit::Reloc)| {
        let symbol = all.symbol(r.symbol);
        let found = match symbol.home {
            DefinedIn::Section(home) => all.find(home, symbol.value.cast_signed() + r.addend),
            _ => None,
        };
        format!("{} in {}", found.map_or(symbol.name, |id| all.name(id)), list.name)
    };
    entries.map(name).collect()
}

/// Members of sets for BPF. Each has a symbol with a number at its end.
fn bpf_sets(all: &Atoms<'_>) -> BTreeSet<String> {
    let members = all.unit.symbols.iter().filter_map(|s| s.name.strip_prefix("__BTF_ID__"));
    members.map(|name| name.trim_end_matches(|c: char| c.is_ascii_digit()).to_owned()).collect()
}

/// What a module tells of itself, as `key=value`.
fn information(all: &Atoms<'_>) -> BTreeSet<String> {
    let sections = all.unit.sections.iter().filter(|s| s.name == ".modinfo");
    let entries = sections.flat_map(|s| s.data.split(|b| *b == 0)).filter(|entry| !entry.is_empty());
    entries.map(|entry| String::from_utf8_lossy(entry).into_owned()).collect()
}
