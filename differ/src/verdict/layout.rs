//! Judges layouts of structures: new code with a new layout must not meet live data with the old layout.

use std::collections::{BTreeMap, HashSet};

use super::meaning::{self, Meaning};
use super::{Verdict, place};
use crate::debug::{Info, Layout, Member, SCOPE, TypeId};

pub(crate) fn judge(old: &Info, new: &Info, verdict: &mut Verdict, source_file: &str) {
    // Only old variables count: a new variable has the new layout.
    let live = old.types.reach(old.variables.iter().copied());
    // Others hold these objects. The objects of a library live with its callers, and no variable of the
    // library leads to them.
    let exchanged = old.types.reach(old.exchanged.iter().copied());
    // Functions have pointers to these objects, and no variable of a function is such an object. So they were
    // allocated, and whoever keeps them may do so behind a `void *`.
    let local = old.types.contained(old.automatic.iter().copied());
    let mut allocated = old.types.reach(old.automatic.iter().copied());
    allocated.retain(|t| !local.contains(t));
    // Live data keeps these values. Constants are shipped with the code that reads them, and what a function
    // is handed is gone when it returns.
    let written = old.variables.iter().filter(|v| !old.types.is_constant(**v));
    let handed = old.exchanged.iter().filter(|e| !old.types.is_value(**e));
    let kept = old.types.reach(written.chain(handed).copied());
    for (name, change) in meaning::of_variables(old, new) {
        verdict.refuse(
            "type of live data changed",
            place(&name, source_file),
            &change,
            "give the new variable another name, and fill it in a hook if it must not begin empty",
        );
    }
    let names: BTreeMap<&String, (TypeId, TypeId)> = old
        .types
        .named
        .iter()
        .filter_map(|(name, &o)| Some((name, (o, *new.types.named.get(name)?))))
        .collect();
    for (name, (o, n)) in names {
        let at = place(name.split(SCOPE).next().unwrap_or_default(), source_file);
        match enumeration(old, new, o, n) {
            Some((change, Shift::Values)) if kept.contains(&o) => verdict.refuse(
                "enumeration renumbered",
                at.clone(),
                &format!("{change}; objects that live already hold values with the old meaning"),
                "give what is new a value behind the others, and leave the value of what is gone unused",
            ),
            Some((change, _)) => verdict.warn(
                "enumeration renumbered",
                at.clone(),
                &format!("{change}; values that live data holds keep their old meaning"),
            ),
            None => {}
        }
        let (Some(was), Some(is)) = (old.types.layout(o), new.types.layout(n)) else { continue };
        let mut difference = difference(&was, &is);
        if !matches!(difference, Some((_, true))) {
            match meaning::of_members(old, new, o, n) {
                Some(Meaning::Other(change)) => difference = Some((change, true)),
                Some(Meaning::Renamed(change)) => verdict.warn(
                    "member renamed",
                    at.clone(),
                    &format!(
                        "{change}; if it also means something else now, objects that live hold what it \
                         meant before"
                    ),
                ),
                None => {}
            }
        }
        match difference {
            Some((change, true)) if live.contains(&o) => verdict.refuse(
                "layout of a structure changed",
                at,
                &format!(
                    "{change}; objects that live already, which variables of this unit lead to, have the \
                     old layout"
                ),
                "leave the structure as it is, and keep what is new in a structure of its own (a shadow \
                 variable)",
            ),
            Some((change, true)) if exchanged.contains(&o) => verdict.refuse(
                "layout of a structure changed",
                at,
                &format!(
                    "{change}; functions that others call take or return such objects, and those that live \
                     already have the old layout"
                ),
                "leave the structure as it is, and keep what is new in a structure of its own (a shadow \
                 variable)",
            ),
            Some((change, true)) if allocated.contains(&o) => verdict.refuse(
                "layout of a structure changed",
                at,
                &format!(
                    "{change}; functions have pointers to such objects, and those that live already have \
                     the old layout"
                ),
                "leave the structure as it is, and keep what is new in a structure of its own (a shadow \
                 variable)",
            ),
            Some((change, true)) => verdict.warn(
                "layout of a structure changed",
                at,
                &format!("{change}; objects that are older than the patch have the old layout"),
            ),
            Some((change, false)) => verdict.warn(
                "structure has a new member in former padding",
                at,
                &format!("{change}; in objects that are older than the patch it holds whatever lay there"),
            ),
            None => {}
        }
    }
}

/// The structures that live objects may be.
pub(super) fn lives(old: &Info) -> HashSet<TypeId> {
    let local = old.types.contained(old.automatic.iter().copied());
    let mut all = old.types.reach(old.automatic.iter().copied());
    all.retain(|t| !local.contains(t));
    all.extend(old.types.reach(old.variables.iter().chain(&old.exchanged).copied()));
    all
}

/// How a layout differs.
#[derive(Debug)]
pub(super) enum LayoutChange<'a> {
    /// Old and new code disagree about memory; how, in words.
    Disagree(String),
    /// Members that lie where no member was.
    Added(Vec<&'a Member>),
}

fn difference(was: &Layout, is: &Layout) -> Option<(String, bool)> {
    Some(match layout_change(was, is)? {
        LayoutChange::Disagree(how) => (how, true),
        LayoutChange::Added(members) => {
            let first = members.first()?;
            (format!("`{}` at offset {}", first.name, offset(first.offset)), false)
        }
    })
}

/// What differs, if anything.
pub(super) fn layout_change<'a>(was: &Layout, is: &'a Layout) -> Option<LayoutChange<'a>> {
    let disagree = |how: String| Some(LayoutChange::Disagree(how));
    if was == is {
        return None;
    }
    let new_by_name: BTreeMap<&str, &Member> = is.members.iter().map(|m| (m.name.as_str(), m)).collect();
    for old in &was.members {
        let Some(new) = new_by_name.get(old.name.as_str()) else { continue };
        if old.offset != new.offset {
            let (from, to) = (offset(old.offset), offset(new.offset));
            return disagree(format!("member `{}` moved from offset {from} to {to}", old.name));
        }
        if let (Some(a), Some(b)) = (old.size, new.size)
            && a != b
        {
            return disagree(format!("member `{}` has {b} bits instead of {a}", old.name));
        }
    }
    if let (Some(a), Some(b)) = (was.size, is.size)
        && a != b
    {
        return disagree(format!("its size is {b} bytes instead of {a}"));
    }
    // A member of another name at the same offset is a renamed member.
    let is_known = |m: &Member| {
        was.members.iter().any(|o| o.name == m.name || (o.offset == m.offset && o.size == m.size))
    };
    let added: Vec<&Member> = is.members.iter().filter(|m| !is_known(m)).collect();
    (!added.is_empty()).then_some(LayoutChange::Added(added))
}

/// An offset in bytes; for a bit field that begins within a byte, in bits too.
fn offset(bits: u64) -> String {
    match bits % 8 {
        0 => (bits / 8).to_string(),
        bit => format!("{} (bit {bit})", bits / 8),
    }
}

/// What the enumeration numbers differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shift {
    /// Only the last name, which has a larger value and by its name is no value but says how many values
    /// there are.
    Count,
    Values,
}

fn enumeration(old: &Info, new: &Info, o: TypeId, n: TypeId) -> Option<(String, Shift)> {
    let (was, is) = (old.types.all.get(&o)?, new.types.all.get(&n)?);
    let last = was.enumerators.iter().map(|(_, value)| *value).max()?;
    let moved = was.enumerators.iter().filter_map(|(name, value)| {
        let (_, now) = is.enumerators.iter().find(|(other, _)| other == name)?;
        let counts = *value == last && *now > last && is_count(name);
        let shift = if counts { Shift::Count } else { Shift::Values };
        (now != value).then(|| (format!("`{name}` is {now} instead of {value}"), shift))
    });
    moved.min_by_key(|(_, shift)| *shift == Shift::Count)
}

/// Is this a usual name for what stands behind all values?
fn is_count(name: &str) -> bool {
    const WORDS: [&str; 10] =
        ["MAX", "LAST", "COUNT", "NUM", "END", "TOTAL", "SIZE", "LIMIT", "SENTINEL", "N"];
    name.to_uppercase().split('_').any(|word| WORDS.contains(&word))
}
