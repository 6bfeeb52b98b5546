//! Finds the atoms to ship: what changed, what is new, and the anonymous constants that these refer to.

use std::collections::{BTreeSet, HashMap};

use crate::atoms::{AtomKind, Atoms, Ref, Target};
use crate::attached::Records;
use crate::correlate::Pairs;
use crate::unit::SHF_MERGE;
use crate::verdict::Verdict;

/// The atoms to ship, in the order of the unit.
pub(super) fn reach(
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
            let is_stub = all.section(id).is_lsda() && !section.is_text();
            let is_live = !section.is_read_only() && !is_pool(all, target);
            if !is_stub && (section.is_text() || is_live) {
                verdict.refuse(
                    if section.is_text() { "code without a symbol" } else { "live data without a symbol" },
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
