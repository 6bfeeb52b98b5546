//! Compares what functions do with members.

use std::collections::BTreeSet;

use super::function_use::{LOWER, RAISE};
use crate::model::{MemberChange, MemberChangeKind as Kind, Refusal};
use crate::profile::Profile;
use crate::verdict::callees::{Callees, acquires, releases};
use crate::verdict::place;

/// Finds where functions of `own` put into members what functions of `all` treat in another way, and tells
/// one contradiction for each member. `all` holds the changes of the whole patch, which may be of several
/// units and several ELF files.
pub fn conflicts(own: &[MemberChange], all: &[MemberChange], profile: Profile) -> Vec<Refusal> {
    let callees = Callees::of(profile);
    let mut told = BTreeSet::new();
    let mut refusals = Vec::new();
    for maker in own {
        for user in all {
            let Some(how) = clash(callees, maker, user, all) else { continue };
            let Some(member) = common(maker, user).next().filter(|m| told.insert((*m).to_owned())) else {
                continue;
            };
            refusals.push(Refusal {
                what: "live objects hold what the new code would misuse".into(),
                place: place(member, &maker.source_file),
                why: how,
                remedy: "let the new code treat what it finds in old objects as the old code did, or tell \
                         old objects from new ones (a shadow variable)"
                    .into(),
            });
        }
    }
    refusals
}

fn clash(
    callees: Callees,
    maker: &MemberChange,
    user: &MemberChange,
    all: &[MemberChange],
) -> Option<String> {
    let (a, f, b, g) = (&maker.function, &maker.callee, &user.function, &user.callee);
    if callees.kind(f) == callees.kind(g) {
        return None;
    }
    // Code that only moved to another function is no change.
    let moved = |one: &MemberChange, from: Kind| {
        all.iter().any(|d| {
            d.kind == from
                && callees.kind(&d.callee) == callees.kind(&one.callee)
                && common(d, one).next().is_some()
        })
    };
    let anew = || !moved(user, Kind::NoLongerGives) && releases(g);
    match (maker.kind, user.kind) {
        (Kind::Enlarges, Kind::Reads) => Some(format!(
            "`{a}` comes to ask `{f}` for more memory to keep there, and `{b}`, which changes too, uses it; \
             objects that live already hold as much as the old code asked for"
        )),
        (Kind::NoLongerKeeps, Kind::NoLongerGives) if !callees.looks_only(g) => Some(format!(
            "`{a}` no longer keeps there what `{f}` returns, and `{b}` no longer hands it to `{g}`; objects \
             that live already hold what the old code put there"
        )),
        (Kind::Keeps, Kind::Gives) if anew() && !moved(maker, Kind::NoLongerKeeps) => Some(format!(
            "`{a}` comes to keep there what `{f}` returns, and `{b}` comes to {}; objects that live already \
             hold what the old code put there",
            handing(g)
        )),
        (Kind::Counts | Kind::Gives, Kind::Gives)
            if a != b && acquires(f) && anew() && !moved(maker, Kind::NoLongerGives) =>
        {
            // One function does both: it gives back what it has taken.
            let balanced = |one: &str, other: fn(&str) -> bool| {
                all.iter().any(|d| {
                    d.function == one
                        && matches!(d.kind, Kind::Counts | Kind::Gives)
                        && other(&d.callee)
                        && common(d, maker).next().is_some()
                })
            };
            let counted = if f == RAISE { "count".to_owned() } else { format!("hand to `{f}`") };
            (!balanced(a, releases) && !balanced(b, acquires)).then(|| {
                format!(
                    "`{a}` comes to {counted} what it keeps there, and `{b}` comes to {}; for what objects \
                     that live already keep, the old code did not do the former",
                    handing(g)
                )
            })
        }
        _ => None,
    }
}

fn handing(callee: &str) -> String {
    if callee == LOWER { "lower its count".to_owned() } else { format!("hand it to `{callee}`") }
}

/// Members that both functions may mean: one function has such an object, and the other one can reach one.
fn common<'a>(one: &'a MemberChange, other: &'a MemberChange) -> impl Iterator<Item = &'a str> {
    one.members.iter().filter_map(|(name, direct)| {
        let also = other.members.get(name)?;
        (*direct || *also).then_some(name.as_str())
    })
}
