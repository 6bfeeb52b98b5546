//! How a function of one side uses members, by the names of the functions that it calls.

use std::collections::{BTreeSet, HashMap};

use crate::arch::{Actor, ActorsByMember, Amount, FirstArguments, MemberUse, ValueOrigin};
use crate::atoms::{AtomKind, Atoms, Target};
use crate::verdict::callees::Callees;

/// Stands for a function that raises a count.
pub(super) const RAISE: &str = "++";
/// Stands for a function that lowers a count.
pub(super) const LOWER: &str = "--";

/// A call for memory.
#[derive(PartialEq, Eq)]
pub(super) struct AllocationCall<'a> {
    pub(super) callee: &'a str,
    /// The first two arguments, as far as they are known: a term, and how much more than that.
    amounts: [Option<(Option<Term<'a>>, i64)>; 2],
}

#[derive(PartialEq, Eq)]
enum Term<'a> {
    Argument(usize),
    Result(&'a str),
    Member(i64),
}

impl AllocationCall<'_> {
    pub(super) fn is_more_than(&self, other: &Self) -> bool {
        let mut pairs = self.amounts.iter().zip(&other.amounts);
        self.callee == other.callee
            && pairs.any(|pair| matches!(pair, (Some(now), Some(was)) if now.0 == was.0 && now.1 > was.1))
    }
}

/// How a function of one side uses members, and the names of the functions that it calls.
pub(super) struct FunctionUse<'a> {
    pub(super) names: Vec<&'a str>,
    pub(super) uses: MemberUse,
}

impl<'a> FunctionUse<'a> {
    pub(super) fn of(all: &'a Atoms<'_>, id: usize) -> Self {
        let mut names: Vec<&str> = Vec::new();
        let mut calls = HashMap::new();
        for r in &all.atom(id).refs {
            let callee = match r.target {
                Target::Atom { atom, .. } if atom != id && all.atom(atom).kind == AtomKind::Function => {
                    all.name(atom)
                }
                // This is also the name of the slot from which an indirect call reads the address.
                Target::Symbol { symbol, .. } => all.symbol(symbol).name,
                Target::Atom { .. } => continue,
            };
            // A copy for some callers (`free_name.isra.0`) stands for the function.
            let callee = callee.split('.').next().filter(|base| !base.is_empty()).unwrap_or(callee);
            let number = names.iter().position(|n| *n == callee).unwrap_or_else(|| {
                names.push(callee);
                names.len() - 1
            });
            calls.insert(r.at, number);
        }
        Self { uses: all.arch.members(all.bytes(id), &calls), names }
    }

    pub(super) fn name(&self, by: Actor) -> &'a str {
        match by {
            Actor::Call(number) => self.names.get(number).copied().unwrap_or_default(),
            Actor::Raise => RAISE,
            Actor::Lower => LOWER,
        }
    }

    pub(super) fn asks(&self, by: Actor, given: FirstArguments) -> AllocationCall<'a> {
        let amounts = given.map(|amount| {
            let Amount { of, plus } = amount?;
            let of = of.map(|origin| match origin {
                ValueOrigin::Argument(number) => Term::Argument(number),
                ValueOrigin::Result(by, _) => Term::Result(self.name(by)),
                ValueOrigin::Member(offset) => Term::Member(offset),
            });
            Some((of, plus))
        });
        AllocationCall { callee: self.name(by), amounts }
    }

    /// Members that a function deals with here and not there, with the name of that function.
    pub(super) fn only_here(
        &self,
        callees: Callees,
        here: &ActorsByMember,
        other: &FunctionUse<'_>,
        there: &ActorsByMember,
    ) -> Vec<(i64, &'a str)> {
        let mut found = Vec::new();
        for (offset, all) in here {
            let left: BTreeSet<&str> =
                there.get(offset).into_iter().flatten().map(|by| callees.kind(other.name(*by))).collect();
            let gone = all.iter().map(|by| self.name(*by)).filter(|name| !left.contains(callees.kind(name)));
            found.extend(gone.map(|name| (*offset, name)));
        }
        found
    }
}
