//! Finds the atoms to ship: what changed, what is new, and the anonymous constants that these refer to.

use std::collections::{BTreeSet, HashMap};

use crate::atoms::{AtomContent, AtomKind, Atoms, Ref, Target};
use crate::attached::Records;
use crate::correlate::Pairs;
use crate::model::Binding;
use crate::unit::SHF_MERGE;
use crate::verdict::Verdict;

/// The atoms to ship, in the order of the unit.
pub(super) fn reach(
    old: &Atoms,
    all: &Atoms,
    records: &Records,
    pairs: &Pairs,
    merged: &dyn Fn(usize) -> bool,
    verdict: &mut Verdict,
    source_file: &str,
) -> Vec<usize> {
    let mut children: HashMap<usize, Vec<usize>> = HashMap::new();
    for (&child, &parent) in &verdict.parent {
        children.entry(parent).or_default().push(child);
    }
    let mut shipped = BTreeSet::new();
    let mut todo: Vec<usize> = verdict.changed.keys().chain(&verdict.new).copied().collect();
    while let Some(id) = todo.pop() {
        if !shipped.insert(id) {
            continue;
        }
        todo.extend(children.get(&id).into_iter().flatten());
        let atom = all.atom(id);
        if !may_be_copied(all, id) {
            verdict.refuse(
                "code or data without a type",
                format!("{} ({source_file})", all.name(id)),
                "it lies in a code section, and whether it is a function or a table, or what its words lead \
                 to, cannot be told",
                "give it a type (`.type name, @function` or `@object`), in the original source too, or move \
                 the table to .rodata",
            );
            continue;
        }
        for r in atom.refs.iter().chain(records.refs(id)) {
            let Target::Atom { atom: target, .. } = r.target else { continue };
            let section = all.section(target);
            if all.atom(target).kind != AtomKind::Anonymous {
                if pairs.old_of[target].is_none() || is_merged(all, target, merged) {
                    todo.push(target);
                }
                continue;
            }
            // Clang's `.L….DW.stub` is a pointer to type information, and nothing writes to it.
            if stays(old, all, target).is_some() {
                continue;
            }
            let is_stub = all.section(id).is_lsda() && !section.is_text();
            let is_live = !section.is_read_only() && !is_pool(all, target) && !all.is_copied(target);
            let is_code = section.is_text()
                && all.atom(target).nature == AtomContent::Code
                && !all.is_companion(target);
            if !is_stub && (is_code || is_live) {
                verdict.refuse(
                    if is_code { "code without a symbol" } else { "live data without a symbol" },
                    format!("{} ({source_file})", section.name),
                    &format!(
                        "`{}` refers to it, and it cannot be found in the running program",
                        all.name(id)
                    ),
                    "give it a symbol, in the original source too, or leave the function unchanged",
                );
                continue;
            }
            todo.push(target);
        }
    }
    shipped.into_iter().collect()
}

/// Whether a piece of a code section may be shipped: it is a function, or a table that means the same
/// elsewhere.
fn may_be_copied(all: &Atoms, id: usize) -> bool {
    let atom = all.atom(id);
    match atom.nature {
        AtomContent::Unknown => false,
        AtomContent::Data if all.section(id).is_text() => atom.refs.is_empty() && !all.leads_to_code(id),
        AtomContent::Code | AtomContent::Data => true,
    }
}

/// The symbol of the original unit, and the distance from it, by which a piece of a code section without a
/// symbol is found in the running program: the original unit has the same bytes there, and they lead nowhere.
pub(super) fn stays<'a>(old: &'a Atoms<'_>, all: &Atoms, id: usize) -> Option<(&'a str, i64)> {
    let is_plain = |all: &Atoms, id: usize| {
        let atom = all.atom(id);
        atom.kind == AtomKind::Anonymous
            && atom.nature != AtomContent::Code
            && atom.refs.is_empty()
            && all.section(id).is_text()
    };
    // With a section for each function, what assembly puts beside them may lie elsewhere as built.
    let apart = |all: &Atoms| all.unit.sections.iter().any(|s| s.is_text() && s.name.starts_with(".text."));
    if !is_plain(all, id) || apart(old) {
        return None;
    }
    let same = |&o: &usize| {
        is_plain(old, o) && old.section(o).name == all.section(id).name && old.bytes(o) == all.bytes(id)
    };
    let found = (0..old.atoms.len()).find(same)?;
    let section = old.atom(found).section;
    let mut neighbours = old.by_section[section].iter().filter_map(|&n| Some((n, old.primary(n)?)));
    // A weak one may be another unit's.
    let (neighbour, symbol) = neighbours.find(|(_, s)| s.binding != Binding::Weak)?;
    let distance = old.atom(found).start.cast_signed() - old.atom(neighbour).start.cast_signed();
    Some((symbol.name, distance))
}

/// Constants that the compiler made, and that lie in writable memory because they hold addresses: GCC
/// initialises arrays on the stack from such constants in position-independent code. With a section for each
/// datum, nothing else that a compiler makes lies there without a name. Assembly in the source may have put
/// something else there; what its users do with it tells.
fn is_pool(all: &Atoms, id: usize) -> bool {
    let section = all.section(id);
    let is_it = |r: &&Ref| matches!(r.target, Target::Atom { atom, .. } if atom == id);
    let reads = |user: usize| {
        let fields: Vec<u64> = all.atom(user).refs.iter().filter(is_it).map(|r| r.at).collect();
        all.atom(user).kind == AtomKind::Function && all.arch.only_reads(all.bytes(user), &fields)
    };
    [".data", ".data.rel", ".data.rel.local"].contains(&&*section.name)
        && all.by_section[all.atom(id).section].len() == 1
        && all.users(id).iter().copied().all(reads)
}

/// A named constant that the linker merges with others. Nothing records where it is in the program, and a
/// copy serves as well. `merged` tells the constants that only the original as built has in such a section.
fn is_merged(all: &Atoms, id: usize, merged: &dyn Fn(usize) -> bool) -> bool {
    let section = all.section(id);
    (section.has(SHF_MERGE) || merged(id))
        && section.is_read_only()
        && !all.is_global(id)
        && all.atom(id).refs.is_empty()
}
