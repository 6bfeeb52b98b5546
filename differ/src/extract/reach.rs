//! Which atoms are shipped: what changed, what is new, and the anonymous constants that these refer to.

use std::collections::{BTreeSet, HashMap};

use crate::atoms::{AtomKind, Atoms, Target};
use crate::correlate::Pairs;
use crate::eh_frame::Frames;
use crate::unit::SHF_MERGE;
use crate::verdict::Verdict;

/// The atoms to ship, in the order of the unit.
pub(super) fn reach(
    all: &Atoms,
    frames: &Frames,
    pairs: &Pairs,
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
        let unwind = frames.of_atom[id].iter().flat_map(|&e| {
            let entry = &frames.entries[e];
            let cie = entry.cie.map(|c| &frames.entries[c]);
            entry.refs.iter().chain(cie.into_iter().flat_map(|c| c.refs.iter()))
        });
        for r in atom.refs.iter().chain(unwind) {
            let Target::Atom { atom: target, .. } = r.target else { continue };
            let section = all.section(target);
            if all.atom(target).kind != AtomKind::Anonymous {
                if pairs.old_of[target].is_none() || is_merged(all, target) {
                    todo.push(target);
                }
                continue;
            }
            // Clang's `.L….DW.stub`: pointers to type information that nothing writes to.
            let is_stub = all.section(id).is_lsda() && !section.is_text();
            if !is_stub && (section.is_text() || !section.is_read_only()) {
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

/// A named constant that the linker merges with others: where it is in the program was not recorded, and a copy does as well.
fn is_merged(all: &Atoms, id: usize) -> bool {
    let section = all.section(id);
    section.has(SHF_MERGE) && section.is_read_only() && !all.is_global(id) && all.atom(id).refs.is_empty()
}
