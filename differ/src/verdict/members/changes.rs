//! What the changed functions of a unit begin to do with members, and what they no longer do.

use std::collections::{BTreeSet, HashSet};

use super::conflicts::conflicts;
use super::function_use::{AllocationCall, FunctionUse};
use super::reach::{members, short_lived};
use crate::arch::MemberUse;
use crate::atoms::{AtomKind, Atoms};
use crate::compare::Comparer;
use crate::debug::{Function, Info};
use crate::model::{MemberChange, MemberChangeKind as Kind};
use crate::symbol_names;
use crate::verdict::Verdict;
use crate::verdict::callees::{Callees, acquires, releases};

/// `was` and `is` are the debug information of the original and of the patched unit.
pub(crate) fn judge(cmp: &Comparer<'_>, was: &Info, is: &Info, verdict: &mut Verdict, source_file: &str) {
    let callees = Callees::of(cmp.new.profile);
    let functions = functions(cmp, was, is, verdict);
    let mut changes = Vec::new();
    let short_lived =
        if functions.is_empty() { [HashSet::new(), HashSet::new()] } else { [was, is].map(short_lived) };
    let enlarged: BTreeSet<i64> =
        functions.iter().flat_map(|f| f.enlarges(callees).into_iter().map(|(offset, _)| offset)).collect();
    for function in &functions {
        for (kind, offset, callee) in function.changes(callees, &functions, &enlarged) {
            let ((own, other), short_lived) = if function.known.is_some() {
                ((was, is), &short_lived[0])
            } else {
                ((is, was), &short_lived[1])
            };
            let Some(known) = function.known.or(function.now) else { continue };
            let members = members(own, other, short_lived, known, offset);
            if !members.is_empty() {
                changes.push(MemberChange {
                    function: function.name.to_owned(),
                    source_file: source_file.to_owned(),
                    callee: callee.to_owned(),
                    kind,
                    members,
                });
            }
        }
    }
    for refusal in conflicts(&changes, &changes, cmp.new.profile) {
        verdict.refuse(&refusal.what, refusal.place, &refusal.why, &refusal.remedy);
    }
    verdict.member_changes = changes;
}

/// A changed function, or a new one.
struct Candidate<'a> {
    name: &'a str,
    /// In the original; `None` if the function is new.
    before: Option<FunctionUse<'a>>,
    after: FunctionUse<'a>,
    known: Option<&'a Function>,
    now: Option<&'a Function>,
}

fn functions<'a>(
    cmp: &'a Comparer<'_>,
    was: &'a Info,
    is: &'a Info,
    verdict: &Verdict,
) -> Vec<Candidate<'a>> {
    let content = verdict.changed.iter().filter(|(_, cause)| cause.content).map(|(id, _)| *id);
    let candidates = content.chain(verdict.new.iter().copied());
    let is_function =
        |id: &usize| cmp.new.atom(*id).kind == AtomKind::Function && !verdict.parent.contains_key(id);
    let mut found = Vec::new();
    for new in candidates.filter(is_function) {
        let old = cmp.pairs.old_of[new];
        let name = old.map_or_else(|| cmp.new.name(new), |old| cmp.old.name(old));
        let (known, now) = (old.and_then(|old| debugged(was, cmp.old, old)), debugged(is, cmp.new, new));
        if now.is_none() || old.is_some() != known.is_some() {
            continue;
        }
        let before = old.map(|old| FunctionUse::of(cmp.old, old));
        found.push(Candidate { name, before, after: FunctionUse::of(cmp.new, new), known, now });
    }
    found
}

/// What the debug information says of a function. It knows the function by one of the function's names.
fn debugged<'a>(info: &'a Info, all: &Atoms<'_>, id: usize) -> Option<&'a Function> {
    let mut names = all.atom(id).names.iter().map(|symbol| all.symbol(*symbol).name);
    names.find_map(|name| info.functions.get(&symbol_names::parse(name).base))
}

impl<'a> Candidate<'a> {
    /// What the function starts to do, and what it stops doing.
    fn changes(
        &self,
        callees: Callees,
        all: &[Candidate<'_>],
        enlarged: &BTreeSet<i64>,
    ) -> Vec<(Kind, i64, &'a str)> {
        let inlined =
            |function: Option<&Function>, callee: &str| function.is_some_and(|f| f.inlines.contains(callee));
        let none = MemberUse::default();
        let before = self.before.as_ref().map_or(&none, |seen| &seen.uses);
        let after = &self.after.uses;
        let mut changes = Vec::new();
        if let Some(seen) = &self.before {
            for (kind, here, there) in [
                (Kind::NoLongerKeeps, &before.made, &after.made),
                (Kind::NoLongerGives, &before.given, &after.given),
            ] {
                let lost = seen.only_here(callees, here, &self.after, there);
                let lost = lost.into_iter().filter(|(offset, callee)| {
                    !inlined(self.now, callee) && !self.hands_on(callees, all, kind, *offset, callee)
                });
                changes.extend(lost.map(|(offset, callee)| (kind, offset, callee)));
            }
        }
        let nothing = FunctionUse { names: Vec::new(), uses: MemberUse::default() };
        let seen = self.before.as_ref().unwrap_or(&nothing);
        // What an inlined function does is nothing new if the function was called before.
        let was_called = |offset: i64| {
            before.given.get(&offset).into_iter().flatten().any(|by| {
                let callee = seen.name(*by);
                inlined(self.now, callee) && !inlined(self.known, callee)
            })
        };
        let was_filled = |offset: &i64| {
            let fills = |c: &Candidate<'_>| c.before.as_ref().is_some_and(|b| b.uses.stored.contains(offset));
            all.iter().any(fills)
        };
        for (kind, here, there) in [
            (Kind::Keeps, &after.made, &before.made),
            (Kind::Counts, &after.kept, &before.kept),
            (Kind::Gives, &after.given, &before.given),
        ] {
            let gained = self.after.only_here(callees, here, seen, there);
            let gained = gained.into_iter().filter(|(offset, callee)| {
                let counts = match kind {
                    Kind::Keeps => was_filled(offset),
                    Kind::Counts => acquires(callee),
                    _ => acquires(callee) || releases(callee),
                };
                counts && !inlined(self.known, callee) && !was_called(*offset)
            });
            changes.extend(gained.map(|(offset, callee)| (kind, offset, callee)));
        }
        let enlarges = self.enlarges(callees);
        // The function lets go of what was there, or makes that itself larger.
        let replaced = |offset: &i64| {
            let ends = |callee: &str| releases(callee) || callee.contains("realloc");
            let Some(given) = after.given.get(offset) else { return false };
            let mut given = given.iter().map(|by| ends(self.after.name(*by)));
            let own = enlarges.iter().any(|(enlarged, _)| enlarged == offset);
            if own { given.any(|ends| ends) } else { given.all(|ends| ends) }
        };
        // A clone that gets the members' values, where the function in the source gets the object.
        let is_scalarised = symbol_names::parse(self.name).suffixes.contains(".isra");
        let first = |offset: &&i64| is_scalarised || after.read.get(offset) == Some(&true);
        let read = enlarged.iter().filter(first).filter(|offset| !replaced(offset));
        changes.extend(read.map(|offset| (Kind::Reads, *offset, "")));
        changes.extend(enlarges.iter().map(|(offset, callee)| (Kind::Enlarges, *offset, *callee)));
        changes
    }

    /// Does a new function that this one calls do with the member what this one no longer does itself? A
    /// compiler that makes a function of code that it had inlined changes nothing.
    fn hands_on(
        &self,
        callees: Callees,
        all: &[Candidate<'_>],
        kind: Kind,
        offset: i64,
        callee: &str,
    ) -> bool {
        let calls = |new: &Candidate<'_>| {
            let name = new.name.split('.').next().unwrap_or(new.name);
            new.before.is_none() && self.after.names.contains(&name)
        };
        all.iter().filter(|new| calls(new)).any(|new| {
            let uses = &new.after.uses;
            let does = if kind == Kind::NoLongerKeeps { &uses.made } else { &uses.given };
            let does = does.get(&offset).into_iter().flatten();
            does.into_iter().any(|by| callees.kind(new.after.name(*by)) == callees.kind(callee))
        })
    }

    /// Members for which the function asks for more memory than before.
    fn enlarges(&self, callees: Callees) -> Vec<(i64, &'a str)> {
        let Some(before) = &self.before else { return Vec::new() };
        let mut found = Vec::new();
        for (offset, now) in &self.after.uses.sized {
            let Some(was) = before.uses.sized.get(offset) else { continue };
            let old: Vec<_> = was.iter().map(|(by, given)| before.asks(*by, *given)).collect();
            let new: Vec<_> = now.iter().map(|(by, given)| self.after.asks(*by, *given)).collect();
            let grown = |n: &AllocationCall<'_>| {
                !old.contains(n) && old.iter().any(|o| !new.contains(o) && n.is_more_than(o))
            };
            found.extend(
                new.iter().find(|n| callees.allocates(n.callee) && grown(n)).map(|n| (*offset, n.callee)),
            );
        }
        found
    }
}
