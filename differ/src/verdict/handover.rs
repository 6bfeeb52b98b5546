//! What members of objects hold: pointers that the old code got in one way must not be treated as those that the new code gets in another.
//!
//! A fix may change what a member holds and all code that deals with it at once: a string that came out of a pool, and that the pool was
//! asked about before it was freed, is a copy from now on, and is freed unasked. The layout stays, and new objects are right; one that
//! is older than the patch has the pool's string freed. Seen where a changed function no longer keeps what some function returns, and
//! a changed one no longer hands the same member to some function. Members of one offset are taken for the same one if both functions deal
//! with a structure that has a pointer there.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{Verdict, place};
use crate::arch::x86_64::handed::{self, Handed, Members};
use crate::atoms::{AtomKind, Atoms, Target};
use crate::compare::Comparer;
use crate::debug::{Function, Info, SCOPE, TypeId};
use crate::names;

/// What they return is all of one kind: memory for `free`.
const HEAP: [&str; 12] = [
    "malloc",
    "calloc",
    "realloc",
    "reallocarray",
    "strdup",
    "strndup",
    "__strdup",
    "__strndup",
    "aligned_alloc",
    "memalign",
    "_Znwm",
    "_Znam",
];

/// A function that no longer deals with a member in one way.
struct Loss<'a> {
    function: &'a str,
    callee: &'a str,
    known: &'a Function,
}

/// `was`: debug information of the original unit, `is`: of the patched one.
pub(crate) fn judge(cmp: &Comparer<'_>, was: &Info, is: &Info, verdict: &mut Verdict, source_file: &str) {
    let mut made: BTreeMap<i64, Vec<Loss<'_>>> = BTreeMap::new();
    let mut given: BTreeMap<i64, Vec<Loss<'_>>> = BTreeMap::new();
    let changed = verdict.changed.iter().filter(|(id, cause)| {
        cause.content && cmp.new.atom(**id).kind == AtomKind::Function && !verdict.parent.contains_key(id)
    });
    for (&new, _) in changed {
        let Some(old) = cmp.pairs.old_of[new] else { continue };
        let function = cmp.old.name(old);
        let base = names::parse(function).base;
        let (Some(known), Some(now)) = (was.functions.get(&base), is.functions.get(&base)) else { continue };
        let (before, after) = (Seen::of(cmp.old, old), Seen::of(cmp.new, new));
        for (members, later, losses) in [
            (&before.handed.made, &after.handed.made, &mut made),
            (&before.handed.given, &after.handed.given, &mut given),
        ] {
            for (offset, callee) in before.lost(members, &after, later) {
                if !now.inlines.contains(callee) {
                    losses.entry(offset).or_default().push(Loss { function, callee, known });
                }
            }
        }
    }
    let mut told = BTreeSet::new();
    for (offset, makers) in &made {
        for maker in makers {
            let other = |u: &&Loss<'_>| kind(u.callee) != kind(maker.callee) && !looks_only(u.callee);
            for user in given.get(offset).into_iter().flatten().filter(other) {
                let Some(member) = common((was, is), maker.known, user.known, *offset) else { continue };
                // One sign of it is enough.
                if !told.insert(member.clone()) {
                    continue;
                }
                verdict.refuse(
                    "what a member holds is made and treated in another way",
                    place(&member, source_file),
                    &format!(
                        "`{}` no longer keeps there what `{}` returns, and `{}` no longer hands it to `{}`; objects that live already \
                         hold what the old code put there",
                        maker.function, maker.callee, user.function, user.callee
                    ),
                    "let the new code treat what it finds in old objects as the old code did, or tell old objects from new ones (a \
                     shadow variable)",
                );
            }
        }
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

    /// Members with functions that they have to do with here and no longer there.
    fn lost(&self, here: &Members, other: &Seen<'_>, there: &Members) -> Vec<(i64, &'a str)> {
        let mut lost = Vec::new();
        for (offset, callees) in here {
            let left: BTreeSet<&str> =
                there.get(offset).into_iter().flatten().map(|c| kind(other.names[*c])).collect();
            let gone = callees.iter().map(|c| self.names[*c]).filter(|name| !left.contains(kind(name)));
            lost.extend(gone.map(|name| (*offset, name)));
        }
        lost
    }
}

fn kind(function: &str) -> &str {
    if HEAP.contains(&function) { "malloc" } else { function }
}

/// Functions of the C library that have to do with what lies behind a pointer, wherever it comes from.
fn looks_only(function: &str) -> bool {
    let name = function.trim_start_matches("__");
    let known = ["puts", "fputs", "fwrite", "fread", "write", "read", "send", "recv"];
    ["mem", "str", "wcs"].iter().any(|p| name.starts_with(p))
        || name.contains("printf")
        || known.contains(&name)
}

/// The member at `offset`, a pointer, of a structure that one of the functions deals with and the other one can get at.
///
/// Where the layout has changed, offsets mean other members; and it is refused for that, or no such object is older than the patch.
fn common((info, is): (&Info, &Info), one: &Function, other: &Function, offset: i64) -> Option<String> {
    let same = |name: &String, id: TypeId| {
        is.types.named.get(name).is_some_and(|now| is.types.layout(*now) == info.types.layout(id))
    };
    let bits = u64::try_from(offset).ok()?.checked_mul(8)?;
    let types = |f: &Function| {
        let inlined = f.inlines.iter().filter_map(|name| info.functions.get(name));
        let all: Vec<TypeId> = inlined.flat_map(|i| &i.types).chain(&f.types).copied().collect();
        all.into_iter()
    };
    let reach = |f: &Function| info.types.reach(types(f));
    let direct = |f: &Function| info.types.pointed(types(f));
    let mut both: BTreeSet<_> = direct(one).intersection(&reach(other)).copied().collect();
    both.extend(direct(other).intersection(&reach(one)));
    let mut found: Vec<String> = info
        .types
        .named
        .iter()
        .filter(|(name, id)| both.contains(id) && same(name, **id))
        .filter_map(|(name, id)| {
            let name = name.split(SCOPE).next().unwrap_or_default();
            Some(format!("{name}::{}", info.types.pointer_at(*id, bits)?))
        })
        .collect();
    found.sort();
    found.into_iter().next()
}
