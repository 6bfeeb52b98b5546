//! The ledger of two linked files, one of each build: what differs is in the patch, or explained, or the
//! patch is refused.

use std::collections::{BTreeMap, HashMap, HashSet};

use differ::Refusal;
use records::LinkRecord;

use super::contributions::Part;
use super::loaded::LoadedFile;
use super::matcher::{Difference, Kind, Matcher};
use super::recorded::{Atom, Merged, RecordedFile};
use super::strings::Paths;
use crate::elf::{ElfFile, SHF_WRITE, STB_LOCAL, STB_WEAK};
use crate::error::{LinkError, refusal};
use crate::locate::command_line::Options;
use crate::locate::map::LinkMap;

/// A linked file with what is known of its making.
#[derive(Clone, Copy, Debug)]
pub struct BuiltFile<'a> {
    /// The file as it came from the linker.
    pub data: &'a [u8],
    /// Text of its map file.
    pub map: &'a str,
    /// The record of its link.
    pub record: &'a LinkRecord,
    /// The links with `-r` before it.
    pub parts: &'a [Part<'a>],
    /// The objects that were linked, by hash, as far as they were kept.
    pub objects: &'a HashMap<String, Vec<u8>>,
}

/// What is known of a unit whose object is another one in the patched build.
#[derive(Clone, Debug, Default)]
pub struct LedgerUnit {
    /// Its name.
    pub name: String,
    /// Hash of the original object; `None` for a new unit.
    pub original: Option<String>,
    /// Hash of the patched object.
    pub patched: Option<String>,
    /// Functions and data that the comparison found changed: name, and name in the original.
    pub changed: Vec<(String, String)>,
    /// Names that the differ found new.
    pub new: Vec<String>,
    /// Names that are gone.
    pub removed: Vec<String>,
    /// Why the objects differ although the fix does not reach the unit.
    pub explained: Option<&'static str>,
}

/// One line of the ledger.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// Function or datum.
    pub name: String,
    /// Its unit.
    pub unit: String,
    /// In the patch, or why it is not.
    pub why: String,
}

/// How the two linked files differ, and why each difference is accounted for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Functions and data of the patched file that are the same in the original.
    pub same: usize,
    /// How many of those lie elsewhere.
    pub moved: usize,
    /// What differs.
    pub entries: Vec<Entry>,
    /// New names of a unit for what the original has from another unit, the same.
    pub settled: HashSet<String>,
    /// New functions that take the place of another unit's function in the original.
    pub displaced: Vec<Entry>,
    /// Changed functions, by their names in the original, that both linked files have and use.
    pub present: HashSet<String>,
    /// What nothing explains.
    pub refused: Vec<Refusal>,
}

/// How many refusals are told one by one.
const TOLD: usize = 6;

/// Holds the patched file against the original one.
///
/// # Errors
/// When a file is damaged.
pub fn ledger(
    original: &BuiltFile<'_>,
    patched: &BuiltFile<'_>,
    units: &[LedgerUnit],
) -> Result<Ledger, LinkError> {
    let old = read(original, "ELF file of the original build")?;
    let new = read(patched, "ELF file of the patched build")?;
    let paths = Paths::default();
    let mut matcher = Matcher::new(&new, &old.loaded, &paths);
    if Options::read(patched.record.expanded_argv.iter().map(|a| a.as_bytes())).folds {
        matcher.folds();
    }
    let mut ledger = Ledger::default();
    let touched = pair_units(&old, &new, units, &mut matcher, &mut ledger);
    pair_regions(&old, &new, units, &touched.patched, &mut matcher);
    let (places, _, differences) = matcher.run();
    ledger.same = places.len();
    ledger.moved = places.iter().filter(|(here, there)| here != there).count();

    let mut told: BTreeMap<u64, Refusal> = BTreeMap::new();
    for difference in &differences {
        let Some(atom) = new.atoms.get(&difference.atom) else { continue };
        judge(&new, atom, difference, units, &touched, &mut ledger, &mut told);
    }
    for (name, unit, at) in &touched.candidates {
        let same = |entries: &[Entry]| entries.iter().all(|e| e.name != *name);
        // What could not be paired was not compared. Of inline functions each unit may use its own copy.
        if !places.contains_key(at) {
            if touched.moved.get(at) == Some(&false) {
                let place = format!("{name} ({unit})");
                told.insert(*at, unaccounted(&place, "the original's is taken for something else already"));
            }
        } else if same(&ledger.displaced) && same(&ledger.entries) {
            ledger.settled.insert(name.clone());
            let why = "the original has it from another unit, the same".to_owned();
            ledger.entries.push(Entry { name: name.clone(), unit: unit.clone(), why });
        }
    }
    ledger.entries.sort();
    ledger.entries.dedup();
    ledger.displaced.sort();
    ledger.displaced.dedup();
    let count = told.len();
    ledger.refused.extend(told.into_values().take(TOLD));
    if count > TOLD {
        ledger
            .refused
            .push(unaccounted(&format!("{} more functions and data", count - TOLD), "they differ too"));
    }
    Ok(ledger)
}

fn read<'a>(file: &BuiltFile<'a>, what: &str) -> Result<RecordedFile<'a>, LinkError> {
    Ok(RecordedFile::new(
        LoadedFile::new(ElfFile::parse(file.data, what)?, what)?,
        &LinkMap::parse(file.map),
        file.record,
        file.parts,
        file.objects,
    ))
}

/// The units that the fix reaches.
#[derive(Debug, Default)]
struct Touched {
    /// Their patched objects.
    patched: HashSet<String>,
    /// New names of them that the original has from another unit: name, unit, atom.
    candidates: Vec<(String, String, u64)>,
    /// The atoms of those, and whether each is weak.
    moved: HashMap<u64, bool>,
}

/// Pairs what the comparison of the units has paired, and leaves out what is in the patch.
fn pair_units(
    old: &RecordedFile<'_>,
    new: &RecordedFile<'_>,
    units: &[LedgerUnit],
    matcher: &mut Matcher<'_, '_>,
    ledger: &mut Ledger,
) -> Touched {
    let mut touched = Touched::default();
    let globals = |known: &RecordedFile<'_>| -> HashMap<String, (u64, u8)> {
        let defined = known.loaded.elf.symbols.iter().filter(|s| s.is_defined() && s.reserved == 0);
        let global = defined.filter(|s| s.binding != STB_LOCAL);
        global
            .map(|s| (s.name.split('@').next().unwrap_or_default().to_owned(), (s.value, s.binding)))
            .collect()
    };
    let (old_globals, new_globals) = (globals(old), globals(new));
    for (index, unit) in units.iter().enumerate().filter(|(_, u)| u.explained.is_none()) {
        let Some(object) = &unit.patched else { continue };
        touched.patched.insert(object.clone());
        let here = |name: &str| new.named.get(&(object.clone(), name.to_owned())).copied();
        let there = |name: &str| old.named.get(&(unit.original.clone()?, name.to_owned())).copied();
        let entry = |name: &str, why: &str| Entry {
            name: name.to_owned(),
            unit: unit.name.clone(),
            why: why.to_owned(),
        };
        for (name, original) in &unit.changed {
            ledger.entries.push(entry(name, "in the patch"));
            if let Some(at) = here(name) {
                matcher.leave_out(at);
                if let Some(before) = there(original) {
                    let other = old_globals.get(original).is_some_and(|(value, _)| *value != before);
                    if !other && old.atoms.get(&before).is_some_and(|atom| atom.code) {
                        ledger.present.insert(original.clone());
                    }
                    let _ = matcher.pair(at, before);
                }
            }
        }
        for name in &unit.new {
            let Some(at) = here(name) else { continue };
            // Another definition may stand for the name in the program: of weak ones the linker takes the
            // first.
            let ours = new_globals.get(name).filter(|(value, _)| *value == at);
            match (ours, old_globals.get(name)) {
                (Some((_, binding)), Some((before, _))) => {
                    touched.moved.insert(at, *binding == STB_WEAK);
                    touched.candidates.push((name.clone(), unit.name.clone(), at));
                    let _ = matcher.pair(at, *before);
                }
                _ => {
                    if let Some(from) = moved_state(new, at, name, index, units) {
                        ledger.refused.push(refusal(
                            "variable that moves to another file",
                            format!("{name} ({})", unit.name),
                            format!(
                                "the running program keeps its value in the one of {from}, and the new \
                                     code would begin with another"
                            ),
                            "leave the variable in its file, or hand its value over in a hook",
                        ));
                    }
                    ledger.entries.push(entry(name, "in the patch"));
                    matcher.leave_out(at);
                    matcher.has_not(at);
                }
            }
        }
        let in_patch: HashSet<&str> =
            unit.changed.iter().map(|(n, _)| n.as_str()).chain(unit.new.iter().map(String::as_str)).collect();
        // Rarely run parts go with their function.
        let is_part = |name: &str| name.split_once(".cold").is_some_and(|(of, _)| in_patch.contains(of));
        for ((_, name), at) in new.named.iter().filter(|((o, _), _)| o == object) {
            if is_part(name) {
                matcher.leave_out(*at);
            }
        }
        let same = new
            .named
            .iter()
            .filter(|((o, name), _)| o == object && !in_patch.contains(name.as_str()) && !is_part(name));
        for ((_, name), at) in same.filter(|((_, name), _)| !is_numbered(name)) {
            if let (Some(before), true) = (there(name), new.atoms.contains_key(at)) {
                let _ = matcher.pair(*at, before);
            }
        }
    }
    touched
}

/// The unit that had a variable of this name for its own, and has it no more.
fn moved_state<'u>(
    new: &RecordedFile<'_>,
    at: u64,
    name: &str,
    index: usize,
    units: &'u [LedgerUnit],
) -> Option<&'u str> {
    let writable = new.loaded.section(at).is_some_and(|s| s.flags & SHF_WRITE != 0);
    let base = |name: &str| {
        if is_numbered(name) { name.rsplit_once('.').map(|(b, _)| b.to_owned()) } else { None }
            .unwrap_or_else(|| name.to_owned())
    };
    let lost = |u: &LedgerUnit| u.removed.iter().any(|r| base(r) == base(name));
    let mut others = units.iter().enumerate().filter(|(i, u)| *i != index && lost(u));
    others.next().filter(|_| writable).map(|(_, u)| u.name.as_str())
}

/// `count.0`, and exception tables as clang names them: the number is the compiler's, and may mean another
/// one on the other side.
fn is_numbered(name: &str) -> bool {
    if name.starts_with("GCC_except_table") {
        return true;
    }
    name.rsplit_once('.')
        .is_some_and(|(_, number)| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
}

/// Pairs the atoms of objects that are the same in both links.
fn pair_regions(
    old: &RecordedFile<'_>,
    new: &RecordedFile<'_>,
    units: &[LedgerUnit],
    touched: &HashSet<String>,
    matcher: &mut Matcher<'_, '_>,
) {
    let before: HashMap<&str, &str> = units
        .iter()
        .filter(|u| u.explained.is_some())
        .filter_map(|u| Some((u.patched.as_deref()?, u.original.as_deref()?)))
        .collect();
    let there: HashMap<(&str, &(String, usize)), u64> = old
        .regions
        .values()
        .filter(|r| !r.object.is_empty())
        .map(|r| ((r.object.as_str(), &r.section), r.start))
        .collect();
    let same = |r: &&super::recorded::Region| {
        !r.object.is_empty() && r.merged == Merged::No && !touched.contains(&r.object)
    };
    for region in new.regions.values().filter(same) {
        let object = before.get(region.object.as_str()).copied().unwrap_or(&region.object);
        let Some(start) = there.get(&(object, &region.section)) else { continue };
        for atom in new.atoms.range(region.start..region.end).map(|(_, p)| p) {
            let _ = matcher.pair(atom.start, start + (atom.start - region.start));
        }
    }
}

/// Says what a difference is: explained, another definition of a name, or nothing that is known.
fn judge(
    new: &RecordedFile<'_>,
    atom: &Atom,
    difference: &Difference,
    units: &[LedgerUnit],
    touched: &Touched,
    ledger: &mut Ledger,
    told: &mut BTreeMap<u64, Refusal>,
) {
    let Some(region) = new.regions.get(&atom.region).filter(|r| !r.object.is_empty()) else { return };
    let name = if atom.name.is_empty() { "unnamed data" } else { &atom.name };
    let of_object = |u: &&LedgerUnit| u.patched.as_deref() == Some(region.object.as_str());
    let unit = units.iter().find(of_object);
    let entry = |why: &str| Entry {
        name: name.to_owned(),
        unit: unit.map(|u| u.name.clone()).unwrap_or_default(),
        why: why.to_owned(),
    };
    if let Some(weak) = touched.moved.get(&atom.start) {
        if *weak {
            ledger.entries.push(entry("another copy of an inline function"));
        } else if atom.code {
            ledger.displaced.push(entry(&difference.detail));
        } else {
            let why =
                format!("the original has it from another unit, with other content: {}", difference.detail);
            told.insert(
                atom.start,
                refusal(
                    "initial value of live data changed",
                    place(name, unit),
                    why,
                    "leave the initial value as it is, or set it in a hook",
                ),
            );
        }
        return;
    }
    if let Some(why) = unit.and_then(|u| u.explained).filter(|_| !difference.reference) {
        ledger.entries.push(entry(why));
        return;
    }
    // Of a unit that the fix reaches the comparison has seen all but what the linker made of its references.
    let of_linker = difference.reference || !touched.patched.contains(&region.object);
    if of_linker && difference.kind != Kind::Path {
        told.entry(atom.start).or_insert_with(|| unaccounted(&place(name, unit), &difference.detail));
    }
}

fn place(name: &str, unit: Option<&LedgerUnit>) -> String {
    unit.map_or_else(|| name.to_owned(), |u| format!("{name} ({})", u.name))
}

fn unaccounted(place: &str, why: &str) -> Refusal {
    refusal(
        "difference that is not in the patch",
        place,
        format!(
            "the patched build has it otherwise than the original, though no unit of the fix explains it: \
             {why}"
        ),
        "see whether the fix changes how files are linked or what the build reads, and leave that out of it",
    )
}
