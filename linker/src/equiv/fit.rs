//! Does the patch fit the file in service? The rebuild is known in all its parts; the target must be the same
//! program.

use std::collections::{BTreeMap, HashMap, HashSet};

use differ::Refusal;
use records::LinkRecord;

use super::contributions::Part;
use super::lines::Lines;
use super::loaded::LoadedFile;
use super::matcher::{Difference, Kind, Matcher};
use super::recorded::{Atom, RecordedFile};
use super::strings::{Paths, is_stamp, uses_words};
use super::thread_local::{self, ThreadLocals};
use super::types;
use crate::elf::{ElfFile, ParsedElf, SHF_EXECINSTR, STB_LOCAL, STT_FILE, STT_SECTION, STT_TLS, Symbol};
use crate::error::{LinkError, refusal};
use crate::locate::map::LinkMap;
use crate::locate::translate::Used;

/// What is compared.
#[derive(Clone, Copy, Debug)]
pub struct FitInput<'a> {
    /// The rebuilt file as it came from the linker.
    pub linked: &'a ParsedElf<'a>,
    /// Text of its map file.
    pub map: Option<&'a str>,
    /// The record of its link.
    pub record: &'a LinkRecord,
    /// The links with `-r` before it.
    pub parts: &'a [Part<'a>],
    /// The objects that were linked, by hash, as far as they were kept.
    pub objects: &'a HashMap<String, Vec<u8>>,
    /// The file in service.
    pub target: &'a ParsedElf<'a>,
    /// Its separate debug information.
    pub debug: Option<&'a [u8]>,
    /// What the patch relies on.
    pub used: &'a [Used],
    /// Hashes of the objects that the fix touches, with the names of their units.
    pub units: &'a HashMap<String, String>,
    /// Contents of what the patch brings.
    pub brought: &'a [&'a [u8]],
    /// Where the rebuild took place.
    pub paths: &'a [Vec<u8>],
}

/// What was proven.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fit {
    /// Atoms that are the same in the target.
    pub same: usize,
    /// Differences that the patch does not depend on, in words.
    pub notes: Vec<String>,
    /// Why it does not fit.
    pub refused: Vec<Refusal>,
}

/// How many differences are told one by one.
const TOLD: usize = 6;

/// Compares the target with the rebuild.
///
/// # Errors
/// When a file is damaged.
pub fn fit(input: &FitInput<'_>) -> Result<Fit, LinkError> {
    let map = input.map.map(LinkMap::parse).unwrap_or_default();
    let linked = LoadedFile::new(input.linked.0.clone(), "linked ELF")?;
    let known = RecordedFile::new(linked, &map, input.record, input.parts, input.objects);
    let mut target = LoadedFile::new(input.target.0.clone(), "target ELF")?;
    let debug = input.debug.map(|d| ElfFile::parse(d, "debug information")).transpose()?;
    // Where debug information is: in a file of its own, or in the target.
    let apart = input.debug.unwrap_or(input.target.0.data);
    if let Some(debug) = debug.as_ref().filter(|_| target.elf.symbols.is_empty()) {
        target.thread_locals = ThreadLocals::of(&debug.symbols);
    }
    let paths = Paths(input.paths.to_vec());
    let mut matcher = Matcher::new(&known, &target, &paths);
    let mut fit = Fit::default();

    for name in thread_local::other_values(&known.loaded, &target).into_iter().take(TOLD) {
        fit.refused.push(unfit(&name, "a thread begins with another value in it there"));
    }

    let (mut replaced, mut used_pieces) = (HashSet::new(), HashSet::new());
    for used in input.used {
        let Some(atom) = known.atom(used.linked) else { continue };
        if is_thread_local(&known.loaded.elf, used) {
            continue;
        }
        let there = used.target.wrapping_sub(used.linked - atom.start);
        used_pieces.insert(atom.start);
        if used.replaced {
            replaced.insert(atom.start);
        }
        if let Err(why) = matcher.pair(atom.start, there) {
            fit.refused.push(unfit(&used.name, &format!("it is {why}")));
        }
    }
    let symbols = match &debug {
        Some(debug) if target.elf.symbols.is_empty() => &debug.symbols,
        _ if target.elf.symbols.is_empty() => &target.elf.dynamic_symbols,
        _ => &target.elf.symbols,
    };
    let complete = !target.elf.symbols.is_empty() || debug.as_ref().is_some_and(|d| !d.symbols.is_empty());
    if same_code(&known.loaded.elf, &target.elf, !complete) {
        for atom in known.atoms.values().filter(|p| p.code) {
            // A place that is taken is seen below, when it is compared.
            let _ = matcher.pair(atom.start, atom.start);
        }
    } else {
        for (start, there) in by_name(&known, symbols) {
            let _ = matcher.pair(start, there);
        }
    }
    // The names of all functions of the target, if it has a symbol table.
    let names: HashSet<&str> = symbols.iter().filter(|_| complete).map(|s| s.name.as_str()).collect();
    matcher.watch(replaced.clone());
    let (places, relied_on, differences) = matcher.run();

    fit.same = places.len();
    let unit_of =
        |atom: &Atom| known.regions.get(&atom.region).map(|r| r.object.as_str()).filter(|o| !o.is_empty());
    for atom in known.atoms.values().filter(|p| p.code && !p.name.is_empty()) {
        let Some(object) = unit_of(atom).filter(|_| !places.contains_key(&atom.start)) else { continue };
        let place = match input.units.get(object) {
            Some(unit) => format!("{} ({unit})", atom.name),
            // Of another unit: it counts where the target's symbols say that it is not there at all.
            None if names.is_empty() || names.contains(atom.name.as_str()) => continue,
            None => atom.name.clone(),
        };
        fit.refused.push(unfit(&place, "the target has no such function, or none that can be found"));
    }
    for name in input.units.values() {
        for (of, why) in types::differing(input.linked.0.data, apart, name).into_iter().take(TOLD) {
            fit.refused.push(unfit(&format!("{of} ({name})"), &why));
        }
    }
    let mut lines = None;
    let mut told: BTreeMap<u64, &Difference> = BTreeMap::new();
    for difference in &differences {
        let Some(atom) = known.atoms.get(&difference.atom) else { continue };
        let object = unit_of(atom);
        let in_touched = object.is_some_and(|o| input.units.contains_key(o));
        // Of what the fix does not touch, an assertion may hold another line.
        let explained = !in_touched
            && !used_pieces.contains(&atom.start)
            && difference.numbers.is_some_and(|(here, there)| {
                let (ours, theirs) =
                    lines.get_or_insert_with(|| (Lines::of(input.linked.0.data), Lines::of(apart)));
                let place = places.get(&atom.start).copied().unwrap_or_default();
                ours.has(atom.start, atom.end(), here) && theirs.has(place, place + atom.size, there)
            });
        let fatal = !explained
            && match difference.kind {
                Kind::Path => false,
                Kind::Text => {
                    replaced.contains(&atom.start)
                        || relied_on.contains(&atom.start)
                        || in_touched && !is_stamp(&difference.detail)
                        || object.is_some() && uses_words(&difference.detail, input.brought)
                }
                // Whatever unit shows it: the macro, enumerator, type or option behind it may be one that the
                // fix uses too, and nobody can see that.
                Kind::Content | Kind::Offset | Kind::Number | Kind::Code => {
                    object.is_some() || used_pieces.contains(&atom.start)
                }
            };
        if fatal {
            told.entry(atom.start).or_insert(difference);
        } else if object.is_some() {
            fit.notes.push(format!("{}: {}", atom.name, difference.detail));
        }
    }
    let count = told.len();
    // What the patch replaces is told first.
    let mut order: Vec<(&u64, &&Difference)> = told.iter().collect();
    order.sort_by_key(|(start, _)| !replaced.contains(*start));
    for (start, difference) in order.into_iter().take(TOLD) {
        let atom = known.atoms.get(start);
        let name = atom.map(|p| p.name.as_str()).filter(|n| !n.is_empty()).unwrap_or("unnamed data");
        fit.refused.push(unfit(name, &difference.detail));
    }
    if count > TOLD {
        fit.refused.push(unfit(&format!("{} more functions and data", count - TOLD), "they differ too"));
    }
    Ok(fit)
}

fn unfit(place: &str, why: &str) -> Refusal {
    refusal(
        "differs from the target",
        place,
        why,
        "build the patch from the sources, with the options and the compiler that the target was built with",
    )
}

fn is_thread_local(elf: &ElfFile<'_>, used: &Used) -> bool {
    elf.symbols.iter().any(|s| s.kind == STT_TLS && s.value == used.linked && s.name == used.name)
}

/// Are all sections of code at the same place and of the same size, with the same bytes or, if its symbols
/// are `unknown`, others?
fn same_code(linked: &ElfFile<'_>, target: &ElfFile<'_>, unknown: bool) -> bool {
    let code = |elf: &ElfFile<'_>| -> Vec<(String, u64, u64)> {
        let sections = elf.sections.iter().filter(|s| s.flags & SHF_EXECINSTR != 0);
        sections.map(|s| (s.name.clone(), s.address, s.size)).collect()
    };
    let bytes = |elf: &ElfFile<'_>| -> Vec<Vec<u8>> {
        let sections = elf.sections.iter().filter(|s| s.flags & SHF_EXECINSTR != 0);
        sections.map(|s| elf.content(s).to_vec()).collect()
    };
    code(linked) == code(target) && (unknown || bytes(linked) == bytes(target))
}

/// Atoms whose name, with the source file of a local one, stands for one place on each side.
fn by_name(known: &RecordedFile<'_>, symbols: &[Symbol]) -> Vec<(u64, u64)> {
    let ours = places(&known.loaded.elf.symbols);
    let theirs = places(symbols);
    // Marks, such as where a section begins or an empty one is, are where something else is in another order
    // of the objects.
    let marks: HashSet<&str> =
        known.loaded.elf.symbols.iter().filter(|s| s.size == 0).map(|s| s.name.as_str()).collect();
    let mut found = Vec::new();
    for (key, here) in &ours {
        let (&[here], Some(&[there])) = (here.as_slice(), theirs.get(key).map(Vec::as_slice)) else {
            continue;
        };
        let named = |p: &&Atom| p.name == key.0 || !marks.contains(key.0.as_str());
        let atom = known.atom(here).filter(|p| p.start == here).filter(named);
        let brought = atom.and_then(|p| known.regions.get(&p.region)).is_some_and(|r| !r.object.is_empty());
        if brought {
            found.push((here, there));
        }
    }
    found.sort_unstable();
    found
}

fn places(symbols: &[Symbol]) -> HashMap<(String, String), Vec<u64>> {
    let mut found: HashMap<(String, String), Vec<u64>> = HashMap::new();
    let usable = |s: &&Symbol| {
        s.is_defined()
            && s.reserved == 0
            && !matches!(s.kind, STT_FILE | STT_SECTION | STT_TLS)
            && !s.name.is_empty()
    };
    for symbol in symbols.iter().filter(usable) {
        let local = symbol.binding == STB_LOCAL;
        let file = symbol.file.filter(|_| local).and_then(|i| symbols.get(i)).map_or("", |f| f.name.as_str());
        let name = symbol.name.split('@').next().unwrap_or_default();
        let of_name = found.entry((name.to_owned(), file.to_owned())).or_default();
        if !of_name.contains(&symbol.value) {
            of_name.push(symbol.value);
        }
    }
    found
}
