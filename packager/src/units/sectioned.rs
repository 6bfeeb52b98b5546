//! Compiles the touched units once more with one section per function and datum, each side in its own tree.

use super::dates::{compiled_at, holds_date};
use super::lto;
use super::pair::Pair;
use super::stamps::{Stamp, Window, restamp, stamped_command, take_over};
use crate::error::{Context, Result};
use crate::process::check_stopped;
use crate::scratch::{Tree, Work};
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::path::PathBuf;
use wrapper::{OsBytes, Store, UnitRecord};

/// The flags that put each function and datum in a section of its own; they change no instruction.
const FLAGS: &[&str] = &["-ffunction-sections", "-fdata-sections"];

/// The flags for a unit: besides, those that put its debug information into the object, so that layouts of
/// types can be compared. They change no instruction either (gcc, "Options for Debugging Your Program"),
/// which is checked afterwards.
fn flags(unit: &UnitRecord) -> Vec<&'static str> {
    let mut flags = FLAGS.to_vec();
    if unit.lto && unit.language != wrapper::LTRANS {
        flags.push("-fno-lto");
    }
    let words = || unit.expanded_argv.iter().map(OsBytes::as_bytes);
    let driven = words().next() != Some(b"-cc1") && !unit.language.starts_with("assembler");
    if driven && words().any(|word| word.starts_with(b"-gsplit-dwarf")) {
        flags.push("-gno-split-dwarf");
    }
    // Types in sections of their own are not carried over to what a debugger gets.
    if driven && words().any(|word| word == b"-fdebug-types-section") {
        flags.push("-fno-debug-types-section");
    }
    let level = words().rev().find_map(|word| match word {
        b"-g0" | b"-ggdb0" | b"-g1" | b"-ggdb1" => Some(false),
        b"-g" | b"-g2" | b"-g3" => Some(true),
        _ if word.starts_with(b"-ggdb") || word.starts_with(b"-gdwarf") => Some(true),
        _ => None,
    });
    if driven && level != Some(true) {
        flags.push("-g");
    }
    flags
}

/// Sectioned objects of one pair.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sectioned {
    /// The original side, or why there is none.
    pub original: Option<std::result::Result<PathBuf, String>>,
    /// The patched side.
    pub patched: Option<std::result::Result<PathBuf, String>>,
    /// The patched side was compiled with stamps of the original build: it is not what the patched build
    /// made, to the bit.
    pub restamped: bool,
    /// How many were compiled, not taken from the store.
    pub compiled: u32,
    /// The pieces of both programs, of a pair that stands for link-time optimisation.
    pub(crate) pieces: Option<[lto::Compiled; 2]>,
}

/// Compiles both sides of each pair, each with its tree in place; the original one stays there. `stamped` are
/// inputs that hold the time of the build: both sides are compiled with those of the original one.
///
/// # Errors
/// When the trees cannot be exchanged. What a compiler says is in the result.
pub(crate) fn section_all(
    pairs: &[Pair<'_>],
    work: &Work,
    store: Option<&Store>,
    windows: (Window, Window),
    stamped: &BTreeMap<PathBuf, Stamp>,
) -> Result<Vec<Sectioned>> {
    let dates: Vec<u64> = pairs.iter().map(|p| date(p, windows.0)).collect();
    work.put_in_place(Tree::Patched)?;
    take_over(stamped, &work.build(), &work.tree_of(Tree::Original))?;
    let patched = side(pairs, work, store, "patched", |i, p| {
        let mut unit = dated(p.patched?, dates[i]);
        restamp(&mut unit.deps, stamped);
        // A stamp is written just before it is read; which content is meant is known.
        let of_stamp = |why: &String| stamped.keys().any(|file| why.starts_with(&*file.to_string_lossy()));
        unit.untracked = unit.untracked.filter(|why| !of_stamp(why));
        if let Some(original) = p.original {
            unit.expanded_argv = stamped_command(&original.expanded_argv, &unit.expanded_argv, windows);
        }
        Some(unit)
    });
    let patched_pieces = pieces(pairs, work, "patched", |p| &p.patched);
    work.put_in_place(Tree::Original)?;
    let original = side(pairs, work, store, "original", |i, p| Some(dated(p.original?, dates[i])));
    let original_pieces = pieces(pairs, work, "original", |p| &p.original);
    let both = pairs.iter().zip(patched.into_iter().zip(original));
    Ok(both
        .zip(original_pieces.into_iter().zip(patched_pieces))
        .map(|((pair, (p, o)), (o_pieces, p_pieces))| {
            let compiled = |r: &Side| u32::from(r.as_ref().is_some_and(|(_, reused)| !reused));
            Sectioned {
                restamped: is_restamped(pair, stamped, windows),
                pieces: o_pieces.zip(p_pieces).map(|(o, p)| [o, p]),
                compiled: compiled(&p) + compiled(&o),
                original: o.map(|r| r.0),
                patched: p.map(|r| r.0),
            }
        })
        .collect())
}

/// Compiles the pieces of the programs that link-time optimisation made.
fn pieces<'r>(
    pairs: &[Pair<'r>],
    work: &Work,
    name: &str,
    program: impl for<'p> Fn(&'p lto::Programs<'r>) -> &'p lto::Program<'r>,
) -> Vec<Option<lto::Compiled>> {
    let dir = |index: usize| work.path("objects").join(format!("{index}-{name}"));
    let one = |(index, pair): (usize, &Pair<'r>)| {
        Some(program(pair.optimised.as_ref()?).compile(&dir(index), flags))
    };
    pairs.iter().enumerate().map(one).collect()
}

type Side = Option<(std::result::Result<PathBuf, String>, bool)>;

fn side<'r>(
    pairs: &[Pair<'r>],
    work: &Work,
    store: Option<&Store>,
    name: &str,
    unit: impl Fn(usize, &Pair<'r>) -> Option<UnitRecord> + Sync,
) -> Vec<Side> {
    let one = |(index, pair): (usize, &Pair<'r>)| -> Side {
        let record = unit(index, pair)?;
        if let Err(interrupted) = check_stopped() {
            return Some((Err(interrupted.to_string()), true));
        }
        let output = work.path("objects").join(format!("{index}-{name}.o"));
        Some(match wrapper::recompile(&record, &flags(&record), &output, store) {
            Ok(done) => (Ok(done.object), done.reused),
            Err(e) => (Err(e.to_string()), true),
        })
    };
    pairs.par_iter().enumerate().map(one).collect()
}

/// Does the patched unit hold a time of the build, by a file that it includes, its command or the compiler's
/// macros?
fn is_restamped(pair: &Pair<'_>, stamped: &BTreeMap<PathBuf, Stamp>, windows: (Window, Window)) -> bool {
    let Some(unit) = pair.patched else { return false };
    let command = |original: &UnitRecord| {
        stamped_command(&original.expanded_argv, &unit.expanded_argv, windows) != unit.expanded_argv
    };
    unit.deps.iter().any(|dep| stamped.contains_key(dep.path.as_path()))
        || pair.original.is_some_and(command)
        || std::fs::read(&unit.stored).is_ok_and(|object| holds_date(&object))
}

/// The date that the original object was compiled at, as it says itself.
fn date(pair: &Pair<'_>, window: Window) -> u64 {
    let object = pair.original.and_then(|unit| std::fs::read(&unit.stored).ok()).unwrap_or_default();
    compiled_at(&object, window.start, window.end)
}

/// Both sides see one date: else `__DATE__` and `__TIME__` would differ between them (gcc, "Environment
/// Variables", `SOURCE_DATE_EPOCH`).
fn dated(unit: &UnitRecord, date: u64) -> UnitRecord {
    let mut unit = unit.clone();
    let name = OsBytes::from("SOURCE_DATE_EPOCH");
    if !unit.env.iter().any(|(n, _)| *n == name) {
        unit.env.push((name, OsBytes::from(date.to_string().as_str())));
    }
    unit
}

/// An object with nothing in it, to compare a new unit with.
///
/// # Errors
/// When the compiler fails.
pub(super) fn empty_object(unit: &UnitRecord, work: &Work) -> Result<Vec<u8>> {
    let source = work.path("objects").join("empty.c");
    let object = work.path("objects").join(format!("{}-empty.o", unit.id));
    std::fs::write(&source, "").what("scratch file")?;
    crate::process::Tool::new(unit.driver.as_os_str())
        .args(["-x", "c", "-c", "-o"])
        .arg(&object)
        .arg(&source)
        .check()?;
    std::fs::read(&object).what("scratch file")
}
