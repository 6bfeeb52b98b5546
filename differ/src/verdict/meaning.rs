//! Finds members and variables that keep place and size, and mean something else in new code. Live data holds
//! what they meant before.

use std::collections::BTreeMap;

use crate::debug::{Info, Member, SCOPE, TypeId};

/// How a structure differs that lies in memory as before.
#[derive(Debug)]
pub(super) enum Meaning {
    /// A member means something else; what, in words.
    Other(String),
    /// A member has another name, and its type says that it means the same.
    Renamed(String),
}

/// The gravest difference between the members of a structure, if there is any.
pub(super) fn of_members(old: &Info, new: &Info, o: TypeId, n: TypeId) -> Option<Meaning> {
    let (was, is) = (old.types.members(o)?, new.types.members(n)?);
    let names = |all: &[(Member, Option<TypeId>)]| -> BTreeMap<String, usize> {
        all.iter().enumerate().map(|(i, (m, _))| (m.name.clone(), i)).collect()
    };
    let (was_named, is_named) = (names(&was), names(&is));
    let mut renamed = None;
    for (before, its) in &was {
        let gone = !is_named.contains_key(&before.name);
        let in_its_place = |(after, _): &&(Member, Option<TypeId>)| {
            let same = before.offset == after.offset && before.size == after.size;
            same && if gone { !was_named.contains_key(&after.name) } else { before.name == after.name }
        };
        let Some((after, now)) = is.iter().find(in_its_place) else { continue };
        let other = || old.types.disagreement((*its)?, &new.types, (*now)?);
        match (other(), gone) {
            (Some((a, b)), false) => {
                return Some(Meaning::Other(format!("member `{}` is {b} instead of {a}", before.name)));
            }
            (Some((a, b)), true) => {
                let (before, after) = (&before.name, &after.name);
                return Some(Meaning::Other(format!("where `{before}`, {a}, was, `{after}` is, {b}")));
            }
            (None, true) => {
                let change = format!("`{}` is called `{}`", before.name, after.name);
                renamed.get_or_insert(Meaning::Renamed(change));
            }
            (None, false) => {}
        }
    }
    renamed
}

/// Live variables that mean something else in new code, with the difference in words.
pub(super) fn of_variables(old: &Info, new: &Info) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (name, was) in &old.statics {
        let (Some(was), Some(Some(is))) = (*was, new.statics.get(name)) else { continue };
        // A constant is shipped with the code that reads it.
        if old.types.is_constant(was) {
            continue;
        }
        if let Some((a, b)) = old.types.disagreement(was, &new.types, *is) {
            let name = name.split(SCOPE).next().unwrap_or_default().to_owned();
            found.push((name, format!("it is {b} instead of {a}, and holds what the old code put there")));
        }
    }
    found.sort();
    found
}
