//! Objects that have another name in the patched link.

use super::pair::Pair;
use crate::elf::defined_names;
use std::collections::{BTreeMap, HashSet};
use wrapper::{OsBytes, UnitRecord};

/// Joins a lost and a new object that are one unit: of the same source file, since a compiler that also links
/// gives its objects random names in the directory for temporary files; or of a source file that the fix
/// renames, which is told by what both define.
pub(super) fn join(pairs: &mut Vec<Pair<'_>>) {
    let source = |unit: Option<&UnitRecord>| unit.map(|u| (u.source.clone(), u.cwd.clone()));
    join_where(pairs, |lost, new| {
        source(lost.original).is_some() && source(lost.original) == source(new.patched)
    });
    join_numbered(pairs);
    join_where(pairs, |lost, new| match (names(lost.original), names(new.patched)) {
        (Some(before), Some(after)) => {
            let common = before.intersection(&after).count();
            common > 0 && common * 2 >= before.len().min(after.len())
        }
        _ => false,
    });
    pairs.retain(|p| p.original_hash != p.patched_hash);
}

/// Joins each lost object with the one new object that `same` holds for; where it holds for several, they
/// stay apart.
fn join_where(pairs: &mut Vec<Pair<'_>>, same: impl Fn(&Pair<'_>, &Pair<'_>) -> bool) {
    let mut at = 0;
    while at < pairs.len() {
        if pairs[at].original_hash.is_some() && pairs[at].patched_hash.is_none() {
            let is_new = |p: &Pair<'_>| p.original_hash.is_none() && p.patched_hash.is_some();
            let mut others = (0..pairs.len()).filter(|i| is_new(&pairs[*i]) && same(&pairs[at], &pairs[*i]));
            if let (Some(other), None) = (others.next(), others.next()) {
                drop(others);
                let new = pairs.remove(other);
                if other < at {
                    at -= 1;
                }
                pairs[at].direct &= new.direct;
                pairs[at].patched = new.patched;
                pairs[at].patched_hash = new.patched_hash;
            }
        }
        at += 1;
    }
}

/// Joins lost and new objects whose names are the same but for numbers (`/tmp/go-link-123/000001.o`), in
/// order, where there are as many of the ones as of the others.
fn join_numbered(pairs: &mut Vec<Pair<'_>>) {
    let mut names: BTreeMap<_, [Vec<usize>; 2]> = BTreeMap::new();
    for (index, pair) in pairs.iter().enumerate().filter(|(_, p)| p.optimised.is_none()) {
        let is_new = match (&pair.original_hash, &pair.patched_hash) {
            (Some(_), None) => 0,
            (None, Some(_)) => 1,
            _ => continue,
        };
        let name = |name: &OsBytes| without_numbers(name.as_bytes());
        let through: Vec<_> = pair.place.through.iter().map(name).collect();
        let key = (through, name(&pair.place.path), pair.place.member.as_ref().map(name));
        names.entry(key).or_default()[is_new].push(index);
    }
    let mut gone = Vec::new();
    for [lost, new] in names.into_values().filter(|[lost, new]| lost.len() == new.len()) {
        for (lost, new) in lost.into_iter().zip(new) {
            let Pair { patched, patched_hash, direct, .. } = pairs[new].clone();
            pairs[lost] =
                Pair { patched, patched_hash, direct: direct && pairs[lost].direct, ..pairs[lost].clone() };
            gone.push(new);
        }
    }
    let mut index = 0..;
    pairs.retain(|_| index.next().is_some_and(|at| !gone.contains(&at)));
}

/// The name with `#` for each number: process ids and the like are other ones in each build.
pub(crate) fn without_numbers(name: &[u8]) -> Vec<u8> {
    let mut out: Vec<u8> = Vec::with_capacity(name.len());
    for byte in name {
        match byte {
            b if !b.is_ascii_digit() => out.push(*b),
            _ if out.last() == Some(&b'#') => {}
            _ => out.push(b'#'),
        }
    }
    out
}

/// What a unit's object defines.
fn names(unit: Option<&UnitRecord>) -> Option<HashSet<String>> {
    let data = std::fs::read(unit?.stored.as_path()).ok()?;
    Some(defined_names(&data).ok()?.into_iter().map(|n| n.name).collect())
}
