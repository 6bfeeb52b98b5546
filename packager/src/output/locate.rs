//! Where in the source a refusal is about, and what it follows from: a structure that grows lets each grow
//! that contains one, and each variable.

use super::merged::split;
use super::report::Refused;
use crate::names::qualified;
use differ::Declarations;
use std::collections::HashMap;
use std::path::Path;

const LAYOUT: &str = "layout of a structure changed";
/// Refusals that name a type, not a symbol.
const TYPES: [&str; 2] = [LAYOUT, "enumeration renumbered"];
const SIZE: &str = "size of live data changed";
const CONSTRUCTOR: &str = "constructor changed";

/// Both objects of a unit, by what they declare.
pub(crate) type Sides = [Declarations; 2];

/// Fills in [`Refused::at`] and [`Refused::follows`]. `read` gives what a unit of this name declares.
pub(crate) fn locate(refused: &mut [Refused], read: impl Fn(&str) -> Option<Sides>) {
    let mut known: HashMap<String, Option<Sides>> = HashMap::new();
    let places: Vec<(String, Option<String>)> = refused.iter().map(|r| split(&r.place)).collect();
    for (refusal, (symbol, unit)) in refused.iter_mut().zip(&places) {
        let Some(unit) = unit else { continue };
        let sides = known.entry(unit.clone()).or_insert_with(|| read(unit));
        let Some(sides) = sides else { continue };
        refusal.at = refusal.at.take().or_else(|| {
            let is_type = TYPES.contains(&refusal.what.as_str());
            sides.iter().find_map(|side| at(side, symbol, unit, is_type))
        });
    }
    let is_part = |inner: usize, outer: usize| {
        let (_, Some(unit)) = &places[outer] else { return false };
        let Some([before, after]) = known.get(unit).and_then(Option::as_ref) else { return false };
        if refused[inner].what != LAYOUT || places[inner].1.as_ref() != Some(unit) || inner == outer {
            return false;
        }
        let (symbol, is_type) = (&places[outer].0, refused[outer].what == LAYOUT);
        let made = |side: &Declarations| {
            let table = if is_type { &side.structures } else { &side.variables };
            name_in(table, symbol).and_then(|name| table.get(&name).cloned())
        };
        // Where the source says something else of it too, that is a cause of its own.
        made(before).zip(made(after)).is_some_and(|(before, after)| {
            before.shape == after.shape && before.parts.contains(&places[inner].0)
        })
    };
    let can_follow = |r: &Refused| r.what == LAYOUT || r.what == SIZE;
    let all = 0..refused.len();
    let inner = |outer: usize| -> Vec<usize> {
        all.clone().filter(|i| can_follow(&refused[outer]) && is_part(*i, outer)).collect()
    };
    let first = |outer: usize| inner(outer).into_iter().find(|i| inner(*i).is_empty());
    let mut causes: Vec<Option<usize>> = all.clone().map(first).collect();
    // What the compiler makes to fill the variables of a file changes with them; so do lists that lead there.
    for one in all.clone() {
        let (symbol, unit) = &places[one];
        let of_unit = |i: &usize| places[*i].1 == *unit && refused[*i].what == SIZE;
        if refused[one].what == CONSTRUCTOR && symbol.starts_with("_GLOBAL__sub_") {
            causes[one] = all.clone().find(of_unit).map(|size| causes[size].unwrap_or(size));
        }
    }
    for one in all.clone() {
        let names = |i: &usize| {
            let (symbol, unit) = &places[*i];
            *i != one
                && refused[*i].what == CONSTRUCTOR
                && places[one].1 == *unit
                && refused[one].why.contains(&format!("`{symbol}`"))
        };
        if causes[one].is_none() && refused[one].what != CONSTRUCTOR {
            causes[one] = all.clone().find(names).map(|i| causes[i].unwrap_or(i));
        }
    }
    let follows: Vec<Option<String>> =
        causes.iter().map(|c| c.map(|i| format!("{}: {}", refused[i].what, refused[i].place))).collect();
    for (refusal, follows) in refused.iter_mut().zip(follows) {
        refusal.follows = follows;
    }
}

/// Where the source declares a symbol: `file:line`.
fn at(side: &Declarations, symbol: &str, unit: &str, is_type: bool) -> Option<String> {
    let table = if is_type { &side.types } else { &side.symbols };
    let place = table.get(&name_in(table, symbol)?)?;
    // Names of files begin where those of units do.
    let top = side.source.strip_suffix(unit).map(Path::new);
    let file = Path::new(&place.file);
    let below = top.filter(|top| !top.as_os_str().is_empty()).and_then(|top| file.strip_prefix(top).ok());
    Some(format!("{}:{}", below.unwrap_or(file).display(), place.line))
}

/// What a table of declarations calls a symbol.
fn name_in<T>(table: &std::collections::BTreeMap<String, T>, symbol: &str) -> Option<String> {
    let bare = symbol.split('.').next().filter(|bare| !bare.is_empty());
    let names = [Some(symbol.to_owned()), qualified(symbol), bare.map(str::to_owned)];
    let direct = names.into_iter().flatten().find(|name| table.contains_key(name));
    // A variable of a function has a number behind its name, and the function before it in the table.
    let local = || {
        let end = format!("()::{}", bare?);
        let mut found = table.keys().filter(|name| name.ends_with(&end));
        found.next().filter(|_| found.next().is_none()).cloned()
    };
    direct.or_else(local)
}

#[cfg(test)]
mod tests {
    use super::*;
    use differ::{Makeup, SourcePlace};

    fn side(extra: &str) -> Declarations {
        let mut side = Declarations { source: "/w/BUILD/p/src/a.c".into(), ..Declarations::default() };
        let mut declare = |name: &str, file: &str, line, shape: &[&str], parts: &[&str]| {
            let place = SourcePlace { file: file.into(), line };
            let shape = shape.iter().map(|s| (*s).to_owned()).collect();
            let parts = parts.iter().map(|s| (*s).to_owned()).collect();
            let is_type = name != "servers";
            (if is_type { &mut side.types } else { &mut side.symbols }).insert(name.into(), place);
            let table = if is_type { &mut side.structures } else { &mut side.variables };
            table.insert(name.into(), Makeup { shape, parts });
        };
        declare("base", "/w/BUILD/p/include/b.h", 3, &["id: int", extra], &[]);
        declare("pool", "/w/BUILD/p/src/a.c", 9, &["first: base"], &["base"]);
        declare("server", "/w/BUILD/p/src/a.c", 12, &["pool: pool", extra], &["base", "pool"]);
        declare("servers", "/w/BUILD/p/src/a.c", 20, &["pool"], &["base", "pool"]);
        side
    }

    fn refused(what: &str, symbol: &str) -> Refused {
        Refused { what: what.into(), place: format!("{symbol} (src/a.c)"), ..Refused::default() }
    }

    #[test]
    fn what_a_structure_is_in_follows_from_it_and_what_is_written_otherwise_does_not() {
        let mut all = [(SIZE, "servers"), (LAYOUT, "pool"), (LAYOUT, "base"), (LAYOUT, "server")]
            .map(|(w, s)| refused(w, s));
        locate(&mut all, |_| Some([side("uses: int"), side("uses: long")]));
        let cause = Some("layout of a structure changed: base (src/a.c)".to_owned());
        let follows: Vec<_> = all.iter().map(|r| r.follows.clone()).collect();
        assert_eq!(follows, [cause.clone(), cause, None, None]);
        let at: Vec<_> = all.iter().map(|r| r.at.clone().unwrap_or_default()).collect();
        assert_eq!(at, ["src/a.c:20", "src/a.c:9", "include/b.h:3", "src/a.c:12"].map(String::from));
    }

    #[test]
    fn what_is_not_known_stays_as_it_was() {
        let mut all = [refused(SIZE, "x"), refused(LAYOUT, "y")];
        locate(&mut all, |_| None);
        assert!(all.iter().all(|r| r.at.is_none() && r.follows.is_none()));
    }
}
