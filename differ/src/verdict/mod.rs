//! Judges the differences: which functions are replaced, which data are shipped, and which changes are
//! refused.

pub(crate) mod callbacks;
mod callees;
mod constant_users;
pub(crate) mod counters;
mod functions;
mod kernel;
mod labels;
mod lambdas;
pub(crate) mod layout;
mod meaning;
pub(crate) mod members;
mod new_variables;
mod objects;
mod section_lists;
mod too_short;

pub use members::conflicts;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use crate::atoms::{AtomKind, Atoms, Target};
use crate::compare::Comparer;
use crate::model::{Change, ChangeKind, MemberChange, Options, Refusal, Warning};
use crate::profile::Profile;
use crate::symbol_names;

/// Everything decided about a unit.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    /// Patched atoms that are on both sides and differ, or refer to something that differs.
    pub(crate) changed: BTreeMap<usize, Cause>,
    /// Named patched atoms without a partner.
    pub(crate) new: Vec<usize>,
    /// Per patched function the fragments of its old code, by symbol of the original unit.
    pub(crate) old_fragments: HashMap<usize, Vec<String>>,
    /// Further names of changed functions whose old code, elsewhere, is replaced too.
    pub(crate) extra_replaced: BTreeSet<String>,
    /// Cold fragments and the functions that they belong to, patched side.
    pub(crate) parent: HashMap<usize, usize>,
    /// Changed functions that no entry leads to: new code for their callers.
    pub(crate) entryless: BTreeSet<usize>,
    /// Per caller the functions without an entry that it was replaced for.
    in_callers: HashMap<usize, BTreeSet<usize>>,
    pub(crate) refused: Vec<Refusal>,
    pub(crate) warnings: Vec<Warning>,
    /// The warnings that were given, so that none is given twice.
    warned: HashSet<Warning>,
    pub(crate) global_rodata: Vec<String>,
    pub(crate) member_changes: Vec<MemberChange>,
    pub(crate) functions: Vec<Change>,
    pub(crate) objects: Vec<Change>,
}

/// Why an atom counts as changed.
#[derive(Debug, Default, Clone)]
pub(crate) struct Cause {
    pub(crate) content: bool,
    pub(crate) reasons: Vec<String>,
}

impl Verdict {
    pub(crate) fn refuse(&mut self, what: &str, place: String, why: &str, remedy: &str) {
        let refusal = Refusal { what: what.into(), place, why: why.into(), remedy: remedy.into() };
        if !self.refused.contains(&refusal) {
            self.refused.push(refusal);
        }
    }

    pub(crate) fn warn(&mut self, what: &str, place: String, why: &str) {
        let warning = Warning { what: what.into(), place, why: why.into() };
        if self.warned.insert(warning.clone()) {
            self.warnings.push(warning);
        }
    }
}

/// Judges all atoms.
pub(crate) fn judge(cmp: &mut Comparer<'_>, opts: &Options, source_file: &str) -> Verdict {
    let mut verdict = Verdict { parent: parents(cmp.new), ..Verdict::default() };
    functions::judge(cmp, &mut verdict, source_file);
    objects::judge(cmp, opts, &mut verdict, source_file);
    section_lists::judge(cmp, &mut verdict, source_file);
    lambdas::judge(cmp, &mut verdict, source_file);
    loop {
        let before = verdict.changed.len();
        too_short::judge(cmp, opts, &mut verdict);
        constant_users::judge(cmp, opts, &mut verdict, source_file);
        // Each of the two may add what concerns the other.
        let none = opts.too_short.is_empty() && opts.profile == Profile::User;
        if none || verdict.changed.len() == before {
            break;
        }
    }
    new_variables::judge(cmp, &mut verdict, source_file);
    counters::variables(cmp, &mut verdict, source_file);
    functions::check_replaced(cmp, &mut verdict, source_file);
    labels::judge(cmp, &mut verdict, source_file);
    section_lists::check_places(cmp, &mut verdict, source_file);
    section_lists::check_constructors(cmp, &mut verdict, source_file);
    kernel::judge(cmp, opts, &mut verdict, source_file);
    fragments(cmp, &mut verdict);
    list(cmp, &mut verdict);
    verdict
}

/// `limit (server.c)`.
fn place(name: &str, source_file: &str) -> String {
    if source_file.is_empty() { name.to_owned() } else { format!("{name} ({source_file})") }
}

/// Cold fragments are parts of their function, entered by jumps from it.
fn parents(all: &Atoms) -> HashMap<usize, usize> {
    let mut parents = HashMap::new();
    for (id, atom) in all.atoms.iter().enumerate() {
        if atom.kind == AtomKind::Function
            && let Some(parent) =
                symbol_names::cold_parent(all.name(id)).and_then(|name| all.by_name.get(name))
        {
            parents.insert(id, *parent);
        }
    }
    parents
}

/// Finds the old code of replaced functions beside their entries: cold fragments, and clones that only these
/// functions used and that are gone.
fn fragments(cmp: &Comparer<'_>, verdict: &mut Verdict) {
    let old_parents = parents(cmp.old);
    let mut children: HashMap<usize, Vec<usize>> = HashMap::new();
    for (&child, &parent) in &old_parents {
        children.entry(parent).or_default().push(child);
    }
    for &new in verdict.changed.keys() {
        if cmp.new.atom(new).kind != AtomKind::Function || verdict.parent.contains_key(&new) {
            continue;
        }
        let Some(old) = cmp.pairs.old_of[new] else { continue };
        let mut seen = vec![old];
        seen.extend(too_short::called(cmp, verdict, new));
        let mut todo = seen.clone();
        while let Some(id) = todo.pop() {
            let gone = cmp.old.atom(id).refs.iter().filter_map(|r| match r.target {
                Target::Atom { atom, .. }
                    if cmp.old.atom(atom).kind == AtomKind::Function
                        && cmp.pairs.new_of[atom].is_none()
                        && !cmp.old.is_global(atom) =>
                {
                    Some(atom)
                }
                _ => None,
            });
            for next in gone.chain(children.get(&id).into_iter().flatten().copied()) {
                if !seen.contains(&next) {
                    seen.push(next);
                    todo.push(next);
                }
            }
        }
        let mut names: Vec<String> = seen.into_iter().skip(1).map(|id| cmp.old.name(id).to_owned()).collect();
        names.sort();
        verdict.old_fragments.insert(new, names);
    }
}

/// The lists for people, in name order.
fn list(cmp: &Comparer<'_>, verdict: &mut Verdict) {
    let mut out: [Vec<Change>; 2] = [Vec::new(), Vec::new()];
    let slot = |kind: AtomKind| usize::from(kind != AtomKind::Function);
    for (&new, cause) in &verdict.changed {
        if verdict.parent.contains_key(&new) {
            continue;
        }
        let name = cmp.new.name(new).to_owned();
        let orig = cmp.pairs.old_of[new].map(|old| cmp.old.name(old).to_owned());
        out[slot(cmp.new.atom(new).kind)].push(Change {
            orig_name: orig.filter(|o| *o != name),
            name,
            kind: ChangeKind::Changed,
            content: cause.content,
            reasons: cause.reasons.clone(),
        });
    }
    for &new in verdict.new.iter().filter(|n| !verdict.parent.contains_key(n)) {
        out[slot(cmp.new.atom(new).kind)].push(Change {
            name: cmp.new.name(new).to_owned(),
            kind: ChangeKind::New,
            orig_name: None,
            content: true,
            reasons: Vec::new(),
        });
    }
    let old_parents = parents(cmp.old);
    for (old, partner) in cmp.pairs.new_of.iter().enumerate() {
        let kind = cmp.old.atom(old).kind;
        if partner.is_none() && kind != AtomKind::Anonymous && !old_parents.contains_key(&old) {
            out[slot(kind)].push(Change {
                name: cmp.old.name(old).to_owned(),
                kind: ChangeKind::Removed,
                orig_name: None,
                content: true,
                reasons: Vec::new(),
            });
        }
    }
    let [mut functions, mut objects] = out;
    functions.sort_by(|a, b| a.name.cmp(&b.name));
    objects.sort_by(|a, b| a.name.cmp(&b.name));
    verdict.functions = functions;
    verdict.objects = objects;
}
