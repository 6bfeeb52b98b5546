//! Judges addresses of labels (`&&label`) that the running process may hold. New code that finds such an
//! address would go on inside of the old function, with a stack frame that is laid out for the new one.

use super::{Verdict, place};
use crate::arch::{LabelUse, Labels};
use crate::atoms::{AtomKind, Atoms, Ref, Target};
use crate::compare::{Comparer, piece};

pub(super) fn judge(cmp: &mut Comparer<'_>, verdict: &mut Verdict, source_file: &str) {
    let replaced: Vec<usize> = (verdict.changed.keys().copied())
        .filter(|&id| cmp.new.atom(id).kind == AtomKind::Function && !verdict.parent.contains_key(&id))
        .collect();
    for new in replaced {
        let Some(old) = cmp.pairs.old_of[new] else { continue };
        let differs = |id: usize| verdict.changed.get(&id).is_some_and(|cause| cause.content);
        let was = seen(cmp.old, old, &|id| cmp.pairs.new_of[id].is_none_or(differs));
        let is = seen(cmp.new, new, &|id| cmp.pairs.old_of[id].is_none() || differs(id));
        let by_distance = |all, id| seen(all, id, &|_| true).jumps_by_distance;
        let meets = |a: &LabelUse, b: &LabelUse| a.escapes && b.jumps;
        if meets(&was, &is) || meets(&is, &was) || (by_distance(cmp.old, old) && by_distance(cmp.new, new)) {
            verdict.refuse(
                "addresses of labels outlive the call",
                place(cmp.new.name(new), source_file),
                "the function keeps addresses of its labels (`&&label`), or distances between them, in \
                 memory, and jumps to what it finds there: the new code would go on inside of the old, with \
                 another stack frame",
                "leave the function as it is and change what it calls, or leave the fix to the next start",
            );
        }
    }
}

/// What a function and its cold parts do with their labels.
fn seen(all: &Atoms, id: usize, distances: &dyn Fn(usize) -> bool) -> LabelUse {
    let parents = super::parents(all);
    let parts: Vec<usize> =
        parents.iter().filter(|(_, parent)| **parent == id).map(|(&part, _)| part).chain([id]).collect();
    let mut out = LabelUse::default();
    for &part in &parts {
        let labels = labels_of(all, part, &parts, distances);
        if labels.tables.is_empty() && labels.labels.is_empty() {
            continue;
        }
        let seen = all.arch.labels(all.bytes(part), &labels);
        out.escapes |= seen.escapes;
        out.jumps |= seen.jumps;
        // The pass has seen that what is in a table of distances stays there.
        out.jumps_by_distance |= seen.jumps_by_distance && labels.tables.is_empty();
    }
    out
}

/// The references of `id` to its labels and to tables of them, also those that the assembler resolved. A
/// function with labels may also use constants that refer to nothing as tables, with distances from a label,
/// which no relocation shows. Such constants count if only this function uses them and `distances` takes
/// them.
fn labels_of(all: &Atoms, id: usize, parts: &[usize], distances: &dyn Fn(usize) -> bool) -> Labels {
    let is_label = |r: &Ref| match r.target {
        Target::Atom { atom, offset } => parts.contains(&atom) && (offset > 0 || atom != id),
        Target::Symbol { .. } => false,
    };
    let mut out = Labels::default();
    let atom = all.atom(id);
    for r in &atom.refs {
        let Target::Atom { atom: target, offset } = r.target else { continue };
        if is_label(r) && !r.is_branch {
            out.labels.push(r.at);
            out.entries.extend(u64::try_from(offset).ok().filter(|_| target == id));
        }
        if all.atom(target).kind == AtomKind::Function {
            continue;
        }
        let entries = refs_at(all, target, offset).iter().filter(|r| is_label(r));
        let before = out.entries.len();
        out.entries.extend(entries.filter_map(|r| match r.target {
            Target::Atom { atom, offset } if atom == id => u64::try_from(offset).ok(),
            _ => Some(0),
        }));
        if out.entries.len() > before {
            out.tables.push(r.at);
        }
    }
    let size = atom.size().cast_signed();
    for insn in atom.code.iter().flat_map(|code| &code.instructions) {
        let Some(field) = insn.address.map(|field| insn.offset_of(field)) else { continue };
        let target = insn.target.filter(|t| 0 < *t && *t < size).and_then(|t| u64::try_from(t).ok());
        if target.is_some() && atom.refs.binary_search_by_key(&field, |r| r.at).is_err() {
            out.labels.push(field);
            out.entries.extend(target);
        }
    }
    if !out.labels.is_empty() {
        let own = |id: usize| all.atom(id).kind == AtomKind::Object && all.section(id).is_read_only();
        let alone =
            |id: usize| all.atom(id).refs.is_empty() && all.users(id).iter().all(|u| parts.contains(u));
        let is_distances = |r: &&Ref| match r.target {
            Target::Atom { atom, .. } => own(atom) && alone(atom) && distances(atom),
            Target::Symbol { .. } => false,
        };
        let before = out.tables.len();
        out.tables.extend(atom.refs.iter().filter(is_distances).map(|r| r.at));
        if out.tables.len() > before {
            out.entries.clear();
        }
    }
    out.labels.sort_unstable();
    out.tables.sort_unstable();
    out.entries.sort_unstable();
    out.entries.dedup();
    out
}

/// The references of the named datum, or of the unnamed piece at that offset.
fn refs_at<'a>(all: &'a Atoms<'_>, id: usize, offset: i64) -> &'a [Ref] {
    let refs = &all.atom(id).refs;
    if all.atom(id).kind != AtomKind::Anonymous {
        return refs;
    }
    let Some((from, to)) = piece(all, id, offset) else { return &[] };
    let (from, to) = (refs.partition_point(|r| r.at < from), refs.partition_point(|r| r.at < to));
    refs.get(from..to).unwrap_or(&[])
}
