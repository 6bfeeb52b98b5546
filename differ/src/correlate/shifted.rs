//! Variables that a macro numbered (`__COUNTER__`, `__LINE__`). If the source has one more before the others,
//! each has the name that another variable had.

use std::collections::{BTreeMap, BTreeSet};

use crate::atoms::{AtomKind, Atoms};
use crate::symbol_names;

/// A name with each number in it replaced, for a local variable with one; empty for anything else.
pub(super) fn family(all: &Atoms, id: usize) -> String {
    let name = all.name(id);
    let is_variable = all.atom(id).kind == AtomKind::Object && !all.section(id).is_read_only();
    // What the compiler numbered (`count.1`) is told apart otherwise.
    let by_compiler = symbol_names::parse(name).numbered;
    if !is_variable || by_compiler || all.is_global(id) || !name.bytes().any(|b| b.is_ascii_digit()) {
        return String::new();
    }
    let mut out = String::new();
    for c in name.chars() {
        match c {
            '0'..='9' if out.ends_with('#') => {}
            '0'..='9' => out.push('#'),
            other => out.push(other),
        }
    }
    out
}

/// The families in which a number means another variable than before: a function no longer uses the variable
/// of that name, and uses another variable of the family, which it did not use.
pub(super) fn families(units: [&Atoms; 2], owners: [&[BTreeSet<String>]; 2]) -> BTreeSet<String> {
    type Members<'a> = BTreeMap<&'a str, &'a BTreeSet<String>>;
    let [old, new] = [0, 1].map(|side: usize| {
        let mut all: BTreeMap<String, Members<'_>> = BTreeMap::new();
        for (id, owners) in owners[side].iter().enumerate() {
            let family = family(units[side], id);
            if !family.is_empty() {
                all.entry(family).or_default().insert(units[side].name(id), owners);
            }
        }
        all
    });
    let none = BTreeSet::new();
    let is_shifted = |was: &Members<'_>, is: &Members<'_>| {
        was.iter().any(|(name, users)| {
            let still = is.get(name).copied().unwrap_or(&none);
            users.difference(still).any(|user| {
                let takes = |(other, users): (&&str, &&BTreeSet<String>)| {
                    other != name && users.contains(user) && !was.get(other).is_some_and(|w| w.contains(user))
                };
                is.iter().any(takes)
            })
        })
    };
    let shifted =
        old.into_iter().filter(|(family, was)| new.get(family).is_some_and(|is| is_shifted(was, is)));
    shifted.map(|(family, _)| family).collect()
}
