//! Which atom of the patched unit is which atom of the original.
//!
//! For functions a wrong pair costs precision only: references are compared by pair, so both ends would count
//! as changed. For live data a wrong pair would make new code use another variable; therefore static locals
//! are paired by the function they belong to, and what stays ambiguous is left for a refusal.

mod shifted;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};

use crate::atoms::{AtomKind, Atoms, Target};
use crate::names::{self, Parsed};
use crate::scopes::Scopes;

/// The pairs.
#[derive(Debug)]
pub(crate) struct Pairs {
    /// By patched atom.
    pub(crate) old_of: Vec<Option<usize>>,
    /// By original atom.
    pub(crate) new_of: Vec<Option<usize>>,
    /// Patched atoms that may or may not be one of several original ones, with these.
    pub(crate) ambiguous: HashMap<usize, Vec<usize>>,
}

impl Pairs {
    pub(crate) fn join(&mut self, old: usize, new: usize) {
        self.old_of[new] = Some(old);
        self.new_of[old] = Some(new);
    }
}

/// A group of compiler-numbered symbols that differ in their numbers only.
type Stem = (AtomKindKey, String, String);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum AtomKindKey {
    Function,
    ReadOnly,
    Writable,
}

/// Pairs the named atoms of both sides.
pub(crate) fn correlate(old: &Atoms, new: &Atoms, old_scopes: &Scopes, new_scopes: &Scopes) -> Pairs {
    let mut pairs = Pairs {
        old_of: vec![None; new.atoms.len()],
        new_of: vec![None; old.atoms.len()],
        ambiguous: HashMap::new(),
    };
    let counted = counted(old).into_iter().chain(counted(new)).collect();
    let old_owners = owners(old);
    let new_owners = owners(new);
    let shifted = shifted::families([old, new], [&old_owners, &new_owners]);
    let is_numbered = |all: &Atoms, id: usize, name: &str| {
        is_numbered(all, id, name, &counted) || shifted.contains(&shifted::family(all, id))
    };
    // 1. Names that the source chose.
    for id in 0..new.atoms.len() {
        if pairs.old_of[id].is_some() || new.atom(id).kind == AtomKind::Anonymous {
            continue;
        }
        for &symbol in &new.atom(id).names {
            let name = &new.symbol(symbol).name;
            if is_numbered(new, id, name) {
                continue;
            }
            if let Some(&candidate) = old.by_name.get(name)
                && pairs.new_of[candidate].is_none()
                && (old.atom(candidate).kind == AtomKind::Function)
                    == (new.atom(id).kind == AtomKind::Function)
                && !is_numbered(old, candidate, name)
            {
                pairs.join(candidate, id);
                break;
            }
        }
    }
    // 2. Names that the compiler numbered: functions first, since data is told apart by the functions that
    //    use it.
    let old_stems = stems(old, &pairs.new_of, &is_numbered, &shifted);
    let new_stems = stems(new, &pairs.old_of, &is_numbered, &shifted);
    for (stem, ids) in new_stems.iter().filter(|(s, _)| s.0 == AtomKindKey::Function) {
        pair_functions(old, new, old_stems.get(stem).map_or(&[], Vec::as_slice), ids, &mut pairs);
    }
    for (stem, ids) in new_stems.iter().filter(|(s, _)| s.0 == AtomKindKey::ReadOnly) {
        let olds = old_stems.get(stem).map_or(&[][..], Vec::as_slice);
        pair_constants(old, new, olds, ids, &mut pairs);
        // A changed table keeps its owner; a wrong pair of constants costs precision only.
        by_owner(&old_owners, &new_owners, olds, ids, &|_, _| true, &mut pairs);
    }
    for (stem, ids) in new_stems.iter().filter(|(s, _)| s.0 == AtomKindKey::Writable) {
        let olds = old_stems.get(stem).map_or(&[][..], Vec::as_slice);
        if shifted.contains(&stem.1) {
            // Whether the macro counted or the source means another one is not to be seen.
            pairs.ambiguous.extend(ids.iter().map(|&id| (id, olds.to_vec())));
            continue;
        }
        by_scope(old, new, old_scopes, new_scopes, olds, ids, &mut pairs);
        // Where the debug information names the scopes of both, different scopes are different variables.
        let may_be_same = |o: usize, n: usize| match (old_scopes.of(o), new_scopes.of(n)) {
            (Some(a), Some(b)) => a == b,
            _ => true,
        };
        by_owner(&old_owners, &new_owners, olds, ids, &may_be_same, &mut pairs);
        // What the debug information knows and left open stays open.
        let unknown = |scopes: &Scopes, ids: &[usize]| ids.iter().all(|&id| scopes.of(id).is_none());
        if unknown(old_scopes, olds) || unknown(new_scopes, ids) {
            by_order(old, new, &old_owners, &new_owners, olds, ids, &mut pairs);
        }
        let left: Vec<usize> = olds.iter().copied().filter(|&o| pairs.new_of[o].is_none()).collect();
        for &id in ids {
            if pairs.old_of[id].is_some() {
                continue;
            }
            let rivals: Vec<usize> = left.iter().copied().filter(|&o| may_be_same(o, id)).collect();
            if !rivals.is_empty() {
                pairs.ambiguous.insert(id, rivals);
            }
        }
    }
    pairs
}

/// Base and suffixes of the local data whose names are numbered. Clang numbers the static locals of one name
/// in a function from the second on (`f.count`, `f.count.1`), and which is the first depends on the source.
fn counted(all: &Atoms) -> Vec<(String, String)> {
    let data = (0..all.atoms.len()).filter(|&id| all.atom(id).kind == AtomKind::Object && !all.is_global(id));
    let parsed = data.map(|id| names::parse(all.name(id))).filter(|p| p.numbered && !p.suffixes.is_empty());
    parsed.map(|p| (p.base, p.suffixes)).collect()
}

fn is_numbered(all: &Atoms, id: usize, name: &str, counted: &HashSet<(String, String)>) -> bool {
    if all.is_global(id) {
        return false;
    }
    let Parsed { base, suffixes, numbered, .. } = names::parse(name);
    numbered || (all.atom(id).kind == AtomKind::Object && counted.contains(&(base, suffixes)))
}

fn stems(
    all: &Atoms,
    done: &[Option<usize>],
    is_numbered: &dyn Fn(&Atoms, usize, &str) -> bool,
    shifted: &BTreeSet<String>,
) -> BTreeMap<Stem, Vec<usize>> {
    let mut stems: BTreeMap<Stem, Vec<usize>> = BTreeMap::new();
    for (id, done) in done.iter().enumerate() {
        if done.is_some() || all.atom(id).kind == AtomKind::Anonymous || !is_numbered(all, id, all.name(id)) {
            continue;
        }
        let kind = if all.atom(id).kind == AtomKind::Function {
            AtomKindKey::Function
        } else if all.section(id).is_read_only() {
            AtomKindKey::ReadOnly
        } else {
            AtomKindKey::Writable
        };
        let family = shifted::family(all, id);
        let (base, suffixes) = if shifted.contains(&family) {
            (family, String::new())
        } else {
            let Parsed { base, suffixes, .. } = names::parse(all.name(id));
            (base, suffixes)
        };
        stems.entry((kind, base, suffixes)).or_default().push(id);
    }
    for ids in stems.values_mut() {
        ids.sort_by_key(|&id| (names::parse(all.name(id)).numbers, all.name(id).to_owned()));
    }
    stems
}

/// Content, and per reference its offset, type, and the source name and offset of what it refers to.
pub(crate) type Fingerprint = (Vec<u8>, Vec<(u64, u32, String, i64)>);

/// Content with relocated fields blanked, and the source names of what it refers to.
pub(crate) fn fingerprint(all: &Atoms, id: usize) -> Fingerprint {
    let mut bytes = all.bytes(id).to_vec();
    let mut refs = Vec::new();
    for r in &all.atom(id).refs {
        let from = usize::try_from(r.at).unwrap_or(usize::MAX);
        if let Some(field) = bytes.get_mut(from..from.saturating_add(usize::from(r.width))) {
            field.fill(0);
        }
        refs.push(match r.target {
            Target::Atom { atom, offset } => match all.atom(atom).kind {
                AtomKind::Anonymous => (r.at, r.r_type, String::new(), 0),
                _ => (r.at, r.r_type, names::parse(all.name(atom)).base, offset),
            },
            Target::Symbol { symbol, offset } => (r.at, r.r_type, all.symbol(symbol).name.to_owned(), offset),
        });
    }
    if bytes.is_empty() {
        bytes = all.atom(id).size().to_le_bytes().to_vec();
    }
    (bytes, refs)
}

fn pair_functions(old: &Atoms, new: &Atoms, olds: &[usize], news: &[usize], pairs: &mut Pairs) {
    pair_constants(old, new, olds, news, pairs);
    // What is left by number: `foo.constprop.0` is the first clone on both sides.
    for &id in news {
        if pairs.old_of[id].is_none()
            && let Some(&o) = olds.iter().find(|&&o| pairs.new_of[o].is_none() && old.name(o) == new.name(id))
        {
            pairs.join(o, id);
        }
    }
    let left_old: Vec<usize> = olds.iter().copied().filter(|&o| pairs.new_of[o].is_none()).collect();
    let left_new: Vec<usize> = news.iter().copied().filter(|&n| pairs.old_of[n].is_none()).collect();
    if let ([o], [n]) = (left_old.as_slice(), left_new.as_slice()) {
        pairs.join(*o, *n);
    }
}

/// Equal content first with equal name, then with any.
fn pair_constants(old: &Atoms, new: &Atoms, olds: &[usize], news: &[usize], pairs: &mut Pairs) {
    if olds.is_empty() || news.is_empty() {
        return;
    }
    let by_name: HashMap<&str, usize> = olds.iter().rev().map(|&o| (old.name(o), o)).collect();
    let mut unnamed = Vec::new();
    for &id in news.iter().filter(|&&id| pairs.old_of[id].is_none()).collect::<Vec<_>>() {
        let print = fingerprint(new, id);
        match by_name.get(new.name(id)) {
            Some(&o) if pairs.new_of[o].is_none() && fingerprint(old, o) == print => pairs.join(o, id),
            _ => unnamed.push((id, print)),
        }
    }
    // In their order, so that the first of several equal ones is taken.
    let mut left: HashMap<Fingerprint, VecDeque<usize>> = HashMap::new();
    for &o in olds.iter().filter(|&&o| pairs.new_of[o].is_none()) {
        left.entry(fingerprint(old, o)).or_default().push_back(o);
    }
    for (id, print) in unnamed {
        if let Some(o) = left.get_mut(&print).and_then(VecDeque::pop_front) {
            pairs.join(o, id);
        }
    }
}

/// The functions (source names) that refer to each atom, also through constants and tables.
fn owners(all: &Atoms) -> Vec<BTreeSet<String>> {
    let mut owners = vec![BTreeSet::new(); all.atoms.len()];
    for (id, atom) in all.atoms.iter().enumerate() {
        if atom.kind != AtomKind::Function {
            continue;
        }
        let owner = names::parse(all.name(id)).base;
        let mut seen = BTreeSet::new();
        let mut todo = vec![id];
        while let Some(next) = todo.pop() {
            for r in &all.atom(next).refs {
                let Target::Atom { atom, .. } = r.target else { continue };
                if all.atom(atom).kind != AtomKind::Function && seen.insert(atom) {
                    owners[atom].insert(owner.clone());
                    if all.atom(atom).kind == AtomKind::Anonymous {
                        todo.push(atom);
                    }
                }
            }
        }
    }
    owners
}

/// Pairs by the scope that the debug information gives; several of one name in one scope by [`in_scope`].
fn by_scope(
    old: &Atoms,
    new: &Atoms,
    old_scopes: &Scopes,
    new_scopes: &Scopes,
    olds: &[usize],
    news: &[usize],
    pairs: &mut Pairs,
) {
    let mut groups: BTreeMap<&str, (Vec<usize>, Vec<usize>)> = BTreeMap::new();
    for &o in olds {
        if let Some(scope) = old_scopes.of(o) {
            groups.entry(scope).or_default().0.push(o);
        }
    }
    for &n in news {
        if let Some(scope) = new_scopes.of(n) {
            groups.entry(scope).or_default().1.push(n);
        }
    }
    for (mut o, mut n) in groups.into_values() {
        // Declaration order in the scope, not the compiler's numbers, which follow the order of use.
        o.sort_by_key(|&id| old_scopes.order(id));
        n.sort_by_key(|&id| new_scopes.order(id));
        let same_size = |o: usize, n: usize| old.atom(o).size() == new.atom(n).size();
        // New lines may have the numbers of old ones beside them, hence the content too.
        let marks = |all: &Atoms, ids: &[usize], scopes: &Scopes| {
            ids.iter().map(|&id| Some((scopes.line(id)?, fingerprint(all, id)))).collect::<Vec<_>>()
        };
        for (i, j) in in_scope(&marks(old, &o, old_scopes), &marks(new, &n, new_scopes)) {
            if o.len() == 1 && n.len() == 1 || same_size(o[i], n[j]) {
                pairs.join(o[i], n[j]);
            }
        }
    }
}

/// Which of several variables of one name in one function are the same, by their marks (line of the
/// declaration, and content); nothing where that is not certain. As many on both sides are paired in their
/// order, unless the marks say otherwise; where one side has more, the marks must account for every one of
/// the other side.
fn in_scope<T: PartialEq>(old: &[Option<T>], new: &[Option<T>]) -> Vec<(usize, usize)> {
    fn unique<T: PartialEq>(all: &[Option<T>], mark: &T) -> Option<usize> {
        let mut at = (0..all.len()).filter(|&i| all[i].as_ref() == Some(mark));
        at.next().filter(|_| at.next().is_none())
    }
    let mut marked = Vec::new();
    for (i, mark) in old.iter().enumerate() {
        if let Some(mark) = mark
            && unique(old, mark) == Some(i)
            && let Some(j) = unique(new, mark)
        {
            marked.push((i, j));
        }
    }
    if old.len() == new.len() {
        let agrees = marked.iter().all(|(i, j)| i == j);
        return if agrees { (0..old.len()).map(|i| (i, i)).collect() } else { Vec::new() };
    }
    if marked.len() == old.len().min(new.len()) { marked } else { Vec::new() }
}

/// Pairs by equal sets of owners, then by overlapping ones, only where the answer is unique both ways.
fn by_owner(
    old_owners: &[BTreeSet<String>],
    new_owners: &[BTreeSet<String>],
    olds: &[usize],
    news: &[usize],
    may_be_same: &dyn Fn(usize, usize) -> bool,
    pairs: &mut Pairs,
) {
    let mut equal: HashMap<&BTreeSet<String>, (Vec<usize>, Vec<usize>)> = HashMap::new();
    let mut overlap: HashMap<&str, (Vec<usize>, Vec<usize>)> = HashMap::new();
    for &o in olds.iter().filter(|&&o| pairs.new_of[o].is_none()) {
        equal.entry(&old_owners[o]).or_default().0.push(o);
        old_owners[o].iter().for_each(|owner| overlap.entry(owner).or_default().0.push(o));
    }
    for &n in news.iter().filter(|&&n| pairs.old_of[n].is_none()) {
        equal.entry(&new_owners[n]).or_default().1.push(n);
        new_owners[n].iter().for_each(|owner| overlap.entry(owner).or_default().1.push(n));
    }
    for (owners, group) in equal {
        if let ([o], [n]) = (group.0.as_slice(), group.1.as_slice())
            && !owners.is_empty()
            && may_be_same(*o, *n)
        {
            pairs.join(*o, *n);
        }
    }
    let of = |owner: &String| overlap.get(owner.as_str());
    for &n in news {
        if pairs.old_of[n].is_some() {
            continue;
        }
        let candidates = new_owners[n].iter().filter_map(of).flat_map(|(olds, _)| olds);
        let Some(o) = only(candidates.filter(|&&o| pairs.new_of[o].is_none())) else { continue };
        let rivals = old_owners[o].iter().filter_map(of).flat_map(|(_, news)| news);
        if only(rivals.filter(|&&m| pairs.old_of[m].is_none())) == Some(n) && may_be_same(o, n) {
            pairs.join(o, n);
        }
    }
}

/// What all are, if there are any and all are the same.
fn only<'a>(mut all: impl Iterator<Item = &'a usize>) -> Option<usize> {
    let first = *all.next()?;
    all.all(|&other| other == first).then_some(first)
}

/// The same number of variables of one name in one function, equal in size and content one by one: by their
/// order.
fn by_order(
    old: &Atoms,
    new: &Atoms,
    old_owners: &[BTreeSet<String>],
    new_owners: &[BTreeSet<String>],
    olds: &[usize],
    news: &[usize],
    pairs: &mut Pairs,
) {
    let mut groups: BTreeMap<&BTreeSet<String>, (Vec<usize>, Vec<usize>)> = BTreeMap::new();
    for &o in olds.iter().filter(|&&o| pairs.new_of[o].is_none()) {
        groups.entry(&old_owners[o]).or_default().0.push(o);
    }
    for &n in news.iter().filter(|&&n| pairs.old_of[n].is_none()) {
        groups.entry(&new_owners[n]).or_default().1.push(n);
    }
    for (owner, (o, n)) in groups {
        if !owner.is_empty()
            && o.len() == n.len()
            && o.iter().zip(&n).all(|(&o, &n)| fingerprint(old, o) == fingerprint(new, n))
        {
            for (o, n) in o.into_iter().zip(n) {
                pairs.join(o, n);
            }
        }
    }
}
