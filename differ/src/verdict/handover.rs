//! What members of objects hold: pointers that the old code got in one way must not be treated as those that the new code gets in another.
//!
//! A fix may change what a member holds and all code that deals with it at once, the layout stays, and new objects are right. Those that are
//! older than the patch are not:
//!
//! - a string that came out of a pool, and that the pool was asked about before it was freed, is a copy from now on, and freed unasked;
//! - a string of the caller's that was kept is copied from now on, and the copy freed with the object;
//! - an object that was kept is counted from now on, and the count taken back when it is no longer kept;
//! - the memory behind a member gets larger, and code that uses it changes, too, with the new size in mind.
//!
//! So the changed functions of a patch are asked what they begin to do with members and what they no longer do, and what one of them does
//! is held against what another one does. Members of one offset are taken for the same one if both functions deal with a structure
//! that has a pointer there.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::Verdict;
use super::callees::{acquires, allocates, kind, looks_only, releases};
use crate::arch::x86_64::handed::{self, Amount, Base, By, Given, Handed, Members};
use crate::atoms::{AtomKind, Atoms, Target};
use crate::compare::Comparer;
use crate::debug::{Function, Info, OF_FUNCTION, SCOPE, TypeId};
use crate::model::{Dealing, Refusal, Turn};
use crate::names;

const RAISE: &str = "++";
const LOWER: &str = "--";

/// `was`: debug information of the original unit, `is`: of the patched one.
pub(crate) fn judge(cmp: &Comparer<'_>, was: &Info, is: &Info, verdict: &mut Verdict, source_file: &str) {
    let functions = functions(cmp, was, is, verdict);
    let mut dealings = Vec::new();
    let passing =
        if functions.is_empty() { [HashSet::new(), HashSet::new()] } else { [was, is].map(passing) };
    let enlarged: BTreeSet<i64> =
        functions.iter().flat_map(|f| f.enlarges().into_iter().map(|(offset, _)| offset)).collect();
    for function in &functions {
        for (turn, offset, callee) in function.turns(&functions, &enlarged) {
            let ((own, other), passing) =
                if function.known.is_some() { ((was, is), &passing[0]) } else { ((is, was), &passing[1]) };
            let Some(known) = function.known.or(function.now) else { continue };
            let members = members(own, other, passing, known, offset);
            if !members.is_empty() {
                dealings.push(Dealing {
                    function: function.name.to_owned(),
                    source_file: source_file.to_owned(),
                    callee: callee.to_owned(),
                    turn,
                    members,
                });
            }
        }
    }
    for refusal in conflicts(&dealings, &dealings) {
        verdict.refuse(&refusal.what, refusal.place, &refusal.why, &refusal.remedy);
    }
    verdict.dealings = dealings;
}

/// Where what `own` functions put into members contradicts what any of `all` functions of a patch do with them; of each member one sign. The
/// functions may be those of several units and several ELF files.
pub fn conflicts(own: &[Dealing], all: &[Dealing]) -> Vec<Refusal> {
    let mut told = BTreeSet::new();
    let mut refusals = Vec::new();
    for maker in own {
        for user in all {
            let Some(how) = clash(maker, user, all) else { continue };
            let Some(member) = common(maker, user).next().filter(|m| told.insert((*m).to_owned())) else {
                continue;
            };
            refusals.push(Refusal {
                what: "what a member holds is made and treated in another way".into(),
                place: super::place(member, &maker.source_file),
                why: how,
                remedy: "let the new code treat what it finds in old objects as the old code did, or tell old objects from new ones (a shadow \
                         variable)"
                    .into(),
            });
        }
    }
    refusals
}

fn clash(maker: &Dealing, user: &Dealing, all: &[Dealing]) -> Option<String> {
    let (a, f, b, g) = (&maker.function, &maker.callee, &user.function, &user.callee);
    if kind(f) == kind(g) {
        return None;
    }
    // Code that has only moved to another function is no change.
    let moved = |one: &Dealing, from: Turn| {
        all.iter().any(|d| {
            d.turn == from && kind(&d.callee) == kind(&one.callee) && common(d, one).next().is_some()
        })
    };
    let anew = || !moved(user, Turn::NoLongerGives) && releases(g);
    match (maker.turn, user.turn) {
        (Turn::Enlarges, Turn::Reads) => Some(format!(
            "`{a}` comes to ask `{f}` for more memory to keep there, and `{b}`, which changes too, uses it; objects that live already hold as \
             much as the old code asked for"
        )),
        (Turn::NoLongerKeeps, Turn::NoLongerGives) if !looks_only(g) => Some(format!(
            "`{a}` no longer keeps there what `{f}` returns, and `{b}` no longer hands it to `{g}`; objects that live already hold what the \
             old code put there"
        )),
        (Turn::Keeps, Turn::Gives) if anew() && !moved(maker, Turn::NoLongerKeeps) => Some(format!(
            "`{a}` comes to keep there what `{f}` returns, and `{b}` comes to {}; objects that live already hold what the old code put there",
            handing(g)
        )),
        (Turn::Counts | Turn::Gives, Turn::Gives)
            if a != b && acquires(f) && anew() && !moved(maker, Turn::NoLongerGives) =>
        {
            // Both in one function: what it takes it gives back.
            let balanced = |one: &str, other: fn(&str) -> bool| {
                all.iter().any(|d| {
                    d.function == one
                        && matches!(d.turn, Turn::Counts | Turn::Gives)
                        && other(&d.callee)
                        && common(d, maker).next().is_some()
                })
            };
            let counted = if f == RAISE { "count".to_owned() } else { format!("hand to `{f}`") };
            (!balanced(a, releases) && !balanced(b, acquires)).then(|| {
                format!(
                    "`{a}` comes to {counted} what it keeps there, and `{b}` comes to {}; for what objects that live already keep, the old code \
                     did not do the former",
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

/// Members that both may mean: one function has such an object at hand, the other can get at one.
fn common<'a>(one: &'a Dealing, other: &'a Dealing) -> impl Iterator<Item = &'a str> {
    one.members.iter().filter_map(|(name, direct)| {
        let also = other.members.get(name)?;
        (*direct || *also).then_some(name.as_str())
    })
}

/// A changed function, or a new one.
struct Candidate<'a> {
    name: &'a str,
    /// Of the original; none where the function is new.
    before: Option<Seen<'a>>,
    after: Seen<'a>,
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
        let before = old.map(|old| Seen::of(cmp.old, old));
        found.push(Candidate { name, before, after: Seen::of(cmp.new, new), known, now });
    }
    found
}

/// What the debug information says of a function: it knows it by one of its names.
fn debugged<'a>(info: &'a Info, all: &Atoms<'_>, id: usize) -> Option<&'a Function> {
    let mut names = all.atom(id).names.iter().map(|symbol| all.symbol(*symbol).name);
    names.find_map(|name| info.functions.get(&names::parse(name).base))
}

impl<'a> Candidate<'a> {
    /// What it begins to do, and what it no longer does.
    fn turns(&self, all: &[Candidate<'_>], enlarged: &BTreeSet<i64>) -> Vec<(Turn, i64, &'a str)> {
        let inlined =
            |function: Option<&Function>, callee: &str| function.is_some_and(|f| f.inlines.contains(callee));
        let none = Handed::default();
        let before = self.before.as_ref().map_or(&none, |seen| &seen.handed);
        let after = &self.after.handed;
        let mut turns = Vec::new();
        if let Some(seen) = &self.before {
            for (turn, here, there) in [
                (Turn::NoLongerKeeps, &before.made, &after.made),
                (Turn::NoLongerGives, &before.given, &after.given),
            ] {
                let lost = seen.only_here(here, &self.after, there);
                let lost = lost.into_iter().filter(|(_, callee)| !inlined(self.now, callee));
                turns.extend(lost.map(|(offset, callee)| (turn, offset, callee)));
            }
        }
        let nothing = Seen { names: Vec::new(), handed: Handed::default() };
        let seen = self.before.as_ref().unwrap_or(&nothing);
        // What an inlined function does is no news if it was called before.
        let was_called = |offset: i64| {
            before.given.get(&offset).into_iter().flatten().any(|by| {
                let callee = seen.name(*by);
                inlined(self.now, callee) && !inlined(self.known, callee)
            })
        };
        let was_filled = |offset: &i64| {
            let fills =
                |c: &Candidate<'_>| c.before.as_ref().is_some_and(|b| b.handed.stored.contains(offset));
            all.iter().any(fills)
        };
        for (turn, here, there) in [
            (Turn::Keeps, &after.made, &before.made),
            (Turn::Counts, &after.kept, &before.kept),
            (Turn::Gives, &after.given, &before.given),
        ] {
            let gained = self.after.only_here(here, seen, there);
            let gained = gained.into_iter().filter(|(offset, callee)| {
                let counts = match turn {
                    Turn::Keeps => was_filled(offset),
                    Turn::Counts => acquires(callee),
                    _ => acquires(callee) || releases(callee),
                };
                counts && !inlined(self.known, callee) && !was_called(*offset)
            });
            turns.extend(gained.map(|(offset, callee)| (turn, offset, callee)));
        }
        let enlarges = self.enlarges();
        // What was there is let go, or made larger itself.
        let replaced = |offset: &i64| {
            let ends = |callee: &str| releases(callee) || callee.contains("realloc");
            let Some(given) = after.given.get(offset) else { return false };
            let mut given = given.iter().map(|by| ends(self.after.name(*by)));
            let own = enlarges.iter().any(|(enlarged, _)| enlarged == offset);
            if own { given.any(|ends| ends) } else { given.all(|ends| ends) }
        };
        // A clone that gets the members' values, where the function in the source gets the object.
        let is_scalarised = names::parse(self.name).suffixes.contains(".isra");
        let first = |offset: &&i64| is_scalarised || after.read.get(offset) == Some(&true);
        let read = enlarged.iter().filter(first).filter(|offset| !replaced(offset));
        turns.extend(read.map(|offset| (Turn::Reads, *offset, "")));
        turns.extend(enlarges.iter().map(|(offset, callee)| (Turn::Enlarges, *offset, *callee)));
        turns
    }

    /// Members for which it asks for more memory than before.
    fn enlarges(&self) -> Vec<(i64, &'a str)> {
        let Some(before) = &self.before else { return Vec::new() };
        let mut found = Vec::new();
        for (offset, now) in &self.after.handed.sized {
            let Some(was) = before.handed.sized.get(offset) else { continue };
            let old: Vec<_> = was.iter().map(|(by, given)| before.asks(*by, *given)).collect();
            let new: Vec<_> = now.iter().map(|(by, given)| self.after.asks(*by, *given)).collect();
            let grown =
                |n: &Asks<'_>| !old.contains(n) && old.iter().any(|o| !new.contains(o) && n.is_more_than(o));
            found.extend(new.iter().find(|n| allocates(n.callee) && grown(n)).map(|n| (*offset, n.callee)));
        }
        found
    }
}

/// A call for memory.
#[derive(PartialEq, Eq)]
struct Asks<'a> {
    callee: &'a str,
    /// The first two arguments, as far as they are known: so much more than a term.
    amounts: [Option<(Option<Term<'a>>, i64)>; 2],
}

#[derive(PartialEq, Eq)]
enum Term<'a> {
    Argument(usize),
    Result(&'a str),
    Member(i64),
}

impl Asks<'_> {
    fn is_more_than(&self, other: &Self) -> bool {
        let mut pairs = self.amounts.iter().zip(&other.amounts);
        self.callee == other.callee
            && pairs.any(|pair| matches!(pair, (Some(now), Some(was)) if now.0 == was.0 && now.1 > was.1))
    }
}

/// What one side's function does with members, and the functions' names.
struct Seen<'a> {
    names: Vec<&'a str>,
    handed: Handed,
}

impl<'a> Seen<'a> {
    fn of(all: &'a Atoms<'_>, id: usize) -> Self {
        let mut names: Vec<&str> = Vec::new();
        let mut calls = HashMap::new();
        for r in &all.atom(id).refs {
            let callee = match r.target {
                Target::Atom { atom, .. } if atom != id && all.atom(atom).kind == AtomKind::Function => {
                    all.name(atom)
                }
                // Also the name in the table that a call reads the address from.
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
        Self { handed: handed::follow(all.bytes(id), &calls), names }
    }

    fn name(&self, by: By) -> &'a str {
        match by {
            By::Call(number) => self.names.get(number).copied().unwrap_or_default(),
            By::Raise => RAISE,
            By::Lower => LOWER,
        }
    }

    fn asks(&self, by: By, given: Given) -> Asks<'a> {
        let amounts = given.map(|amount| {
            let Amount { base, plus } = amount?;
            let base = base.map(|base| match base {
                Base::Argument(number) => Term::Argument(number),
                Base::Result(by, _) => Term::Result(self.name(by)),
                Base::Member(offset) => Term::Member(offset),
            });
            Some((base, plus))
        });
        Asks { callee: self.name(by), amounts }
    }

    /// Members with what deals with them here and not there.
    fn only_here(&self, here: &Members, other: &Seen<'_>, there: &Members) -> Vec<(i64, &'a str)> {
        let mut found = Vec::new();
        for (offset, all) in here {
            let left: BTreeSet<&str> =
                there.get(offset).into_iter().flatten().map(|by| kind(other.name(*by))).collect();
            let gone = all.iter().map(|by| self.name(*by)).filter(|name| !left.contains(kind(name)));
            found.extend(gone.map(|name| (*offset, name)));
        }
        found
    }
}

/// Structures of functions' own, as libstdc++'s string has one that frees what was allocated if an exception comes: variables of the
/// function are such objects, and gone when it returns.
fn passing(info: &Info) -> HashSet<TypeId> {
    let mut local = info.types.contained(info.automatic.iter().copied());
    local.retain(|id| info.types.labels.get(id).is_some_and(|name| name.contains(OF_FUNCTION)));
    local
}

/// Is it a member of a class of the C++ library? How such a class treats what it holds stands in its own headers, which no fix of a package
/// changes: that a function comes to make a string, or no longer does, says nothing about the strings of objects.
fn is_of_library(structure: &str, member: &str) -> bool {
    let own = member.rsplit('.').next().unwrap_or(member);
    structure.starts_with("std::") || structure.starts_with("__gnu_cxx::") || own.starts_with("_M_")
}

/// The pointers at `offset` in structures that a function can get at, by name; `true` where it has such an object at hand.
///
/// Where the layout has changed, offsets mean other members; and it is refused for that, or no such object is older than the patch.
fn members(
    own: &Info,
    other: &Info,
    passing: &HashSet<TypeId>,
    function: &Function,
    offset: i64,
) -> BTreeMap<String, bool> {
    let same = |name: &String, id: TypeId| {
        other.types.named.get(name).is_some_and(|o| other.types.layout(*o) == own.types.layout(id))
    };
    let Some(bits) = u64::try_from(offset).ok().and_then(|o| o.checked_mul(8)) else {
        return BTreeMap::new();
    };
    let types = || {
        let inlined = function.inlines.iter().filter_map(|name| own.functions.get(name));
        let all: Vec<TypeId> = inlined.flat_map(|i| &i.types).chain(&function.types).copied().collect();
        all.into_iter()
    };
    let (reached, direct) = (own.types.reach(types()), own.types.pointed(types()));
    let lasts = |id: &TypeId| reached.contains(id) && !passing.contains(id);
    let named = own.types.named.iter().filter(|(name, id)| lasts(id) && same(name, **id));
    let members = named.filter_map(|(name, id)| {
        let name = name.split(SCOPE).next().unwrap_or_default();
        let member = own.types.pointer_at(*id, bits)?;
        (!is_of_library(name, &member)).then(|| (format!("{name}::{member}"), direct.contains(id)))
    });
    let mut found = BTreeMap::new();
    for (member, is_direct) in members {
        *found.entry(member).or_default() |= is_direct;
    }
    found
}
