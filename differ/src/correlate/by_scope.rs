//! Pairs static locals by the function that they are declared in.

use std::collections::BTreeMap;

use super::fingerprint::fingerprint;
use super::pairs::Pairs;
use super::scopes::Scopes;
use crate::atoms::Atoms;

/// Pairs by the scope that the debug information gives. [`in_scope`] tells several variables of one name in
/// one scope apart.
pub(super) fn by_scope(
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
        // The order of declaration in the scope. The compiler's numbers follow the order of use.
        o.sort_by_key(|&id| old_scopes.order(id));
        n.sort_by_key(|&id| new_scopes.order(id));
        let same_size = |o: usize, n: usize| old.atom(o).size() == new.atom(n).size();
        // A new line may have the number of an old line beside it, so the content counts too.
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

/// Tells which of several variables of one name in one function are the same, by their marks (line of the
/// declaration, and content). Gives no pair where that is not certain. If both sides have as many, they are
/// paired in order, unless the marks contradict. If one side has more, the marks must account for every
/// variable of the other side.
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
