//! Refusals in words for the one who made the fix: one paragraph for each cause.

use super::merged::{place, split};
use super::report::Refused;
use crate::error::{Cause, CompareError};
use crate::names::readable;

/// The error (exit code 4) that names each of them.
pub(crate) fn refusals<'r>(all: impl IntoIterator<Item = &'r Refused>) -> CompareError {
    CompareError::Refused(causes(all))
}

/// What is to be told of `all`, which may have several entries of one cause.
fn causes<'r>(all: impl IntoIterator<Item = &'r Refused>) -> Vec<Cause> {
    struct Group {
        cause: Cause,
        keys: Vec<String>,
        places: Vec<String>,
        units: Vec<String>,
    }
    let all: Vec<&Refused> = all.into_iter().collect();
    let mut groups: Vec<Group> = Vec::new();
    for refusal in all.iter().filter(|r| r.follows.is_none()) {
        let (symbol, unit) = split(&refusal.place);
        let symbol = readable(&symbol);
        let why = readable(&refusal.why);
        let key = format!("{}: {}", refusal.what, refusal.place);
        let same = |g: &&mut Group| {
            g.cause.what == refusal.what
                && g.cause.symbol == symbol
                && g.cause.why == why
                && g.cause.remedy == refusal.remedy
        };
        let group = match groups.iter_mut().find(same) {
            Some(group) => group,
            None => {
                let (what, remedy) = (refusal.what.clone(), refusal.remedy.clone());
                let cause = Cause { what, symbol, why, remedy, ..Cause::default() };
                groups.push(Group { cause, keys: Vec::new(), places: Vec::new(), units: Vec::new() });
                let last = groups.len() - 1;
                &mut groups[last]
            }
        };
        group.keys.push(key);
        group.places.extend(refusal.at.clone().filter(|at| !group.places.contains(at)));
        group.units.extend(unit.filter(|unit| !group.units.contains(unit)));
    }
    for refusal in &all {
        let Some(follows) = &refusal.follows else { continue };
        let (_, unit) = split(&refusal.place);
        let told = format!("{}: {}", refusal.what, readable(&refusal.place));
        let told = match refusal.at.as_deref().map(|at| (at, at.rsplit_once(':'))) {
            Some((_, Some((file, line)))) if unit.as_deref() == Some(file) => format!("{told}, line {line}"),
            Some((at, _)) => format!("{told}, {at}"),
            None => told,
        };
        if let Some(group) = groups.iter_mut().find(|g| g.keys.contains(follows))
            && !group.cause.follows.contains(&told)
        {
            group.cause.follows.push(told);
        }
    }
    let named = |group: Group| Cause {
        place: place(&group.cause.symbol, &group.units),
        site: site(&group.places, group.units),
        ..group.cause
    };
    groups.into_iter().map(named).collect()
}

/// Where it is declared, and the units where it was met unless that says it.
fn site(places: &[String], units: Vec<String>) -> String {
    if places.is_empty() {
        return place("", &units);
    }
    let said =
        |unit: &String| places.iter().any(|at| at.rsplit_once(':').is_some_and(|(file, _)| file == unit));
    let others: Vec<String> = units.into_iter().filter(|unit| !said(unit)).collect();
    match others.as_slice() {
        [] => place("", places),
        others => format!("{}, used in {}", place("", places), place("", others)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Failure, Words};

    fn refused(what: &str, place: &str, at: &str, follows: Option<&str>) -> Refused {
        Refused {
            what: what.into(),
            place: place.into(),
            why: "its size is 24 bytes instead of 16".into(),
            remedy: "leave the structure as it is".into(),
            at: (!at.is_empty()).then(|| at.to_owned()),
            follows: follows.map(str::to_owned),
        }
    }

    fn told(all: &[Refused]) -> Words {
        Failure::from(refusals(all)).words()
    }

    #[test]
    fn one_cause_is_one_paragraph_with_what_follows_from_it() {
        let layout = "layout of a structure changed";
        let cause = "layout of a structure changed: app::Base (a.cc)";
        let words = told(&[
            refused("size of live data changed", "_ZN3app6serverE (a.cc)", "a.cc:5", Some(cause)),
            refused(layout, "app::Base (a.cc)", "a.hh:4", None),
            refused(layout, "app::Base (main.cc)", "a.hh:4", None),
            refused(layout, "app::Session (a.cc)", "a.hh:5", Some(cause)),
        ]);
        assert_eq!(
            words.to_string(),
            "the change cannot be live-patched safely: layout of a structure changed: app::Base (a.cc, \
             main.cc)"
        );
        assert_eq!(
            words.blocks,
            ["layout of a structure changed: app::Base\n\
              --> a.hh:4, used in a.cc, main.cc\n\
              why:  its size is 24 bytes instead of 16\n\
              do:   leave the structure as it is\n\
              with: size of live data changed: app::server (a.cc), line 5\n\
              with: layout of a structure changed: app::Session (a.cc), a.hh:5\n\
              see:  docs/guide/when-refused.md#layout-of-a-structure-changed"]
        );
    }

    #[test]
    fn several_causes_are_several_paragraphs() {
        let all: Vec<Refused> = ["a.c", "b.c", "c.c", "d.c", "e.c", "f.c"]
            .map(|unit| refused("layout", &format!("session ({unit})"), "", None))
            .into_iter()
            .chain([refused("value", "limit (a.c)", "a.c:3", None)])
            .collect();
        let words = told(&all);
        let sites = "a.c, b.c, c.c and 3 more";
        assert!(words.why.contains(&format!("layout: session ({sites}); value: limit (a.c)")), "{words}");
        assert_eq!(words.blocks.len(), 2);
        assert!(words.blocks[0].contains(&format!("--> {sites}\n")), "{}", words.blocks[0]);
    }

    #[test]
    fn what_has_no_source_has_no_place_in_it() {
        let words = told(&[refused("link not recorded", "prog", "", None)]);
        assert_eq!(words.why, "link not recorded: prog");
        assert!(!words.blocks[0].contains("-->"));
    }
}
