//! Names that mean the same on both sides.
//!
//! Within a piece gcc makes equal names of different source files unique by numbers (`helper.lto_priv.1`),
//! across pieces it may leave them as they are. Neither number nor piece says which is which, so both go;
//! where a name belongs to several source files, that of the file is put in. Entities that other files can
//! name (external linkage) have one name in the whole program already.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use differ::Origin;

/// A symbol of one side.
#[derive(Clone, Debug)]
pub(super) struct Symbol {
    /// The name in the merged object, where it is unique.
    pub(super) name: String,
    /// In its piece.
    pub(super) own: String,
    /// Index of the piece.
    pub(super) piece: usize,
    /// Other modules can see it.
    pub(super) exported: bool,
    /// It is of a piece that LLVM made.
    pub(super) llvm: bool,
    /// By the debug information.
    pub(super) origin: Option<Origin>,
}

/// Parts that the optimiser cut off a function have no entry in the debug information: they come from where
/// the function does.
pub(super) fn inherit(symbols: &mut [Symbol]) {
    let known = symbols.iter().filter_map(|s| Some(((s.piece, s.own.clone()), s.origin.clone()?)));
    let known: HashMap<(usize, String), Origin> = known.collect();
    for symbol in symbols.iter_mut().filter(|s| s.origin.is_none()) {
        let own = symbol.own.clone();
        let mut name = own.as_str();
        while let (Some(whole), None) = (whole(name), &symbol.origin) {
            symbol.origin = known.get(&(symbol.piece, whole.to_owned())).cloned();
            name = whole;
        }
    }
}

/// The function that a part of one is named after: `foo.part.0.cold`, `foo.part.0`, `foo`.
fn whole(name: &str) -> Option<&str> {
    const PARTS: [&str; 6] = ["cold", "part", "isra", "constprop", "localalias", "specialized"];
    let (rest, last) = name.rsplit_once('.')?;
    if PARTS.contains(&last) {
        return Some(rest);
    }
    let (whole, kind) = rest.rsplit_once('.')?;
    (PARTS.contains(&kind) && last.bytes().all(|b| b.is_ascii_digit())).then_some(whole)
}

/// A new name for each symbol of the two sides, in their order. Within a side no name comes twice.
pub(super) fn canonical(sides: [&[Symbol]; 2]) -> [Vec<String>; 2] {
    let plain = sides.map(|side| side.iter().map(plain).collect::<Vec<_>>());
    let mut known = Known::default();
    for (symbol, name) in sides.iter().zip(&plain).flat_map(|(s, n)| s.iter().zip(n)) {
        let Some(origin) = &symbol.origin else { continue };
        known.sources.entry(base(name)).or_default().insert(&origin.source);
        if internal(symbol).is_none() {
            known.external.insert((base(name), &origin.source));
        }
    }
    let tags = tags(known.sources.values().flatten().copied());
    let mut named = [Vec::new(), Vec::new()];
    for ((out, side), plain) in named.iter_mut().zip(sides).zip(&plain) {
        *out = side.iter().zip(plain).map(|(symbol, name)| known.tagged(symbol, name, &tags)).collect();
    }
    number(sides, &mut named);
    named
}

/// What the names of both sides belong to.
#[derive(Default)]
struct Known<'n> {
    /// By base name.
    sources: HashMap<&'n str, BTreeSet<&'n str>>,
    /// Global names of one source file, on one side at least: they stay what they are when the fix makes them
    /// `static`.
    external: BTreeSet<(&'n str, &'n str)>,
}

impl Known<'_> {
    fn tagged(&self, symbol: &Symbol, name: &str, tags: &HashMap<&str, String>) -> String {
        let base = base(name);
        let several = self.sources.get(base).is_some_and(|s| s.len() > 1);
        let source = internal(symbol).filter(|source| several && !self.external.contains(&(base, *source)));
        match source.and_then(|source| tags.get(source)) {
            Some(tag) => format!("{base}:{tag}{}", &name[base.len()..]),
            None => name.to_owned(),
        }
    }
}

/// The source file of a symbol whose name other files may have for something else.
fn internal(symbol: &Symbol) -> Option<&str> {
    let origin = symbol.origin.as_ref().filter(|o| o.internal && !symbol.exported)?;
    Some(&origin.source)
}

/// The end of each path that no other path has, dots replaced: behind a dot compilers put suffixes.
fn tags<'p>(paths: impl Iterator<Item = &'p str>) -> HashMap<&'p str, String> {
    let paths: BTreeSet<&str> = paths.collect();
    let end = |path: &str, parts: usize| {
        let all: Vec<&str> = path.split('/').collect();
        all[all.len().saturating_sub(parts)..].join("/")
    };
    let tag = |path: &&'p str| {
        let longest = path.split('/').count();
        let unique =
            |parts: &usize| paths.iter().filter(|p| end(p, *parts) == end(path, *parts)).count() == 1;
        let parts = (1..longest).find(unique).unwrap_or(longest);
        (*path, end(path, parts).replace('.', "_").replace(char::is_whitespace, "_"))
    };
    paths.iter().map(tag).collect()
}

/// What still comes twice on a side, since nothing tells the source file, gets numbers on both sides, as the
/// compiler would have given them: the comparison pairs numbered symbols by what they are, or says that it
/// cannot.
fn number(sides: [&[Symbol]; 2], named: &mut [Vec<String>; 2]) {
    let mut twice: BTreeSet<String> = BTreeSet::new();
    for names in named.iter() {
        let mut seen = BTreeSet::new();
        twice.extend(names.iter().filter(|name| !seen.insert(*name)).cloned());
    }
    for (side, names) in sides.iter().zip(named) {
        let mut used: BTreeSet<String> = names.iter().cloned().collect();
        let mut next: BTreeMap<String, u32> = BTreeMap::new();
        for (symbol, name) in side.iter().zip(names) {
            if !twice.contains(name.as_str()) || symbol.exported {
                continue;
            }
            let count = next.entry(name.clone()).or_default();
            *name = loop {
                let numbered = format!("{name}.{count}");
                *count += 1;
                if used.insert(numbered.clone()) {
                    break numbered;
                }
            };
        }
    }
}

/// Up to the first suffix.
fn base(name: &str) -> &str {
    name.split('.').next().filter(|base| !base.is_empty()).unwrap_or(name)
}

/// A symbol's name without what the optimiser put in to make it unique.
fn plain(symbol: &Symbol) -> String {
    if !symbol.llvm {
        return without(&symbol.own, PARTITION);
    }
    let name = without(&symbol.own, PROMOTED);
    if name.starts_with('.') {
        // String literals have numbers for names. What is called like a label has no name to the comparison.
        return format!(".L{}", symbol.own);
    }
    // Merged modules: the second `helper` becomes `helper.14`. Static locals have their function's name
    // before their own (`f.count`), and keep their numbers.
    let origin = symbol.origin.as_ref().filter(|o| o.internal && !symbol.exported);
    let rest = origin.filter(|o| !o.name.is_empty()).and_then(|o| name.strip_prefix(o.name.as_str()));
    match rest.and_then(|rest| Some((rest, rest.strip_prefix('.')?))) {
        Some((rest, number)) => {
            let digits = number.bytes().take_while(u8::is_ascii_digit).count();
            let ends = matches!(number.as_bytes().get(digits), None | Some(b'.'));
            let suffix = if digits > 0 && ends { &number[digits..] } else { rest };
            format!("{}{suffix}", &name[..name.len() - rest.len()])
        }
        None => name,
    }
}

/// gcc: `helper.lto_priv.1.cold` is `helper.cold`.
const PARTITION: &str = ".lto_priv";

/// ThinLTO makes statics that another module needs known to all, with a hash of their own module:
/// `helper.llvm.1183346782168767616`.
const PROMOTED: &str = ".llvm";

fn without(name: &str, mark: &str) -> String {
    let Some(at) = name.find(mark) else { return name.to_owned() };
    let rest = &name[at + mark.len()..];
    let number = rest.strip_prefix('.').map_or(0, |r| r.bytes().take_while(u8::is_ascii_digit).count());
    let skip = if number > 0 { number + 1 } else { 0 };
    format!("{}{}", &name[..at], without(&rest[skip..], mark))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn symbol(own: &str, source: &str, internal: bool) -> Symbol {
        let origin =
            (!source.is_empty()).then(|| Origin { name: String::new(), source: source.into(), internal });
        Symbol { name: own.into(), own: own.into(), piece: 0, exported: false, llvm: false, origin }
    }

    #[test]
    fn partitions_leave_no_trace() {
        assert_eq!(without("helper.lto_priv.12.cold", PARTITION), "helper.cold");
        assert_eq!(without("calls.0.lto_priv.1", PARTITION), "calls.0");
        assert_eq!(without("x.lto_priv", PARTITION), "x");
        assert_eq!(without("plain.constprop.0", PARTITION), "plain.constprop.0");
    }

    #[test]
    fn names_that_llvm_made_unique() {
        let made = |own: &str, name: &str, internal: bool| {
            let origin = Some(Origin { name: name.into(), source: "/s/a.c".into(), internal });
            plain(&Symbol { llvm: true, origin, ..symbol(own, "", false) })
        };
        assert_eq!(made("step.14", "step", true), "step");
        assert_eq!(made("step.14.cold.1", "step", true), "step.cold.1");
        assert_eq!(made("step.llvm.11833467821687676162", "step", true), "step");
        assert_eq!(made("step.3.llvm.118", "step", true), "step");
        assert_eq!(made("_ZL4stepi.7", "_ZL4stepi", true), "_ZL4stepi");
        // Not a number that tells files apart: a clone of a function that all can call, a static local,
        // another name.
        assert_eq!(made("calc.1", "calc", false), "calc.1");
        assert_eq!(made("calc.count.1", "count", true), "calc.count.1");
        assert_eq!(made("steps.14", "step", true), "steps.14");
        assert_eq!(made("step.14x", "step", true), "step.14x");
        assert_eq!(made(".str.1.llvm.77", "", true), ".L.str.1.llvm.77");
    }

    #[test]
    fn parts_belong_to_their_function() {
        let mut symbols = [
            symbol("f.lto_priv.1", "/s/b.c", true),
            symbol("f.lto_priv.1.part.0.cold", "", false),
            symbol("f.7", "", false),
        ];
        inherit(&mut symbols);
        assert_eq!(symbols[1].origin, symbols[0].origin);
        assert_eq!(symbols[2].origin, None, "a variable, perhaps");
    }

    #[test]
    fn statics_of_one_name_get_their_file() {
        let was = [symbol("helper.lto_priv.0", "/s/a.c", true), symbol("helper.lto_priv.1", "/s/b.c", true)];
        // The other order, and one alone: still the same two functions.
        let is = [symbol("helper.lto_priv.0", "/s/b.c", true), symbol("helper.constprop.0", "/s/a.c", true)];
        let [old, new] = canonical([&was, &is]);
        assert_eq!(old, ["helper:a_c", "helper:b_c"]);
        assert_eq!(new, ["helper:b_c", "helper:a_c.constprop.0"]);
    }

    #[test]
    fn a_static_that_moves_is_another_one() {
        let [old, new] = canonical([&[symbol("n", "/s/x/a.c", true)], &[symbol("n", "/s/y/a.c", true)]]);
        assert_eq!((old, new), (vec!["n:x/a_c".to_owned()], vec!["n:y/a_c".to_owned()]));
    }

    #[test]
    fn external_names_stay() {
        let was = [symbol("init", "/s/a.c", false), symbol("init.lto_priv.0", "/s/b.c", true)];
        // The fix makes the first one static, and the optimiser names both the other way round.
        let is = [symbol("init.lto_priv.0", "/s/a.c", true), symbol("init", "/s/b.c", true)];
        let [old, new] = canonical([&was, &is]);
        assert_eq!(
            (old, new),
            (vec!["init".to_owned(), "init:b_c".to_owned()], vec!["init".to_owned(), "init:b_c".to_owned()])
        );
    }

    #[test]
    fn an_inline_function_may_be_kept_from_another_file() {
        let [old, new] =
            canonical([&[symbol("_Z1fv", "/s/a.cc", false)], &[symbol("_Z1fv", "/s/b.cc", false)]]);
        assert_eq!(old, new);
    }

    #[test]
    fn unknown_ones_are_numbered_on_both_sides() {
        let twice = [symbol("CSWTCH.3", "", false), symbol("CSWTCH.3.lto_priv.0", "", false)];
        let [old, new] = canonical([&twice, &twice[..1]]);
        assert_eq!(old, ["CSWTCH.3.0", "CSWTCH.3.1"]);
        assert_eq!(new, ["CSWTCH.3.0"]);
    }
}
