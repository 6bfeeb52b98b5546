//! Hands each pair to the differ and sorts what comes back.

use super::drawn::{DrawnIn, drawn_in};
use super::members::EMPTY;
use super::optimised;
use super::pairs::Pair;
use super::sectioned::{Sectioned, empty_object};
use super::stamps::Window;
use crate::elf;
use crate::error::{Context, Result};
use crate::prep::Changes;
use crate::run::check_stopped;
use crate::work::Work;
use differ::{Options, Refusal, UnitDiff};
use linker::Pieces;
use rayon::prelude::*;
use std::path::PathBuf;
use wrapper::UnitRecord;

/// What became of one pair.
#[derive(Clone, Debug, Default)]
pub struct Compared {
    /// Unit for messages.
    pub unit: String,
    /// What differs.
    pub diff: UnitDiff,
    /// The original object as linked; empty for a new unit.
    pub plain: Vec<u8>,
    /// The original objects of a program that was optimised at link time, instead of [`Compared::plain`].
    pub pieces: Option<Pieces>,
    /// Changed functions that have something inlined that the fix changes.
    pub drawn_in: DrawnIn,
    /// Both objects that were compared, if they are files.
    pub(super) objects: Option<[PathBuf; 2]>,
    /// The patched object that was compared.
    pub patched: Option<PathBuf>,
    /// Functions whose callers were replaced because their entries have no room for a jump.
    pub(super) too_short: Vec<String>,
}

impl Compared {
    /// Compares once more, so that the callers of these functions are replaced and their entries left alone. `None` where that cannot be
    /// done: another comparison gives nothing that can be shipped, or was made already.
    pub fn with_callers(&self, too_short: &[String]) -> Option<Self> {
        let mut all = self.too_short.clone();
        all.extend(too_short.iter().filter(|name| !self.too_short.contains(name)).cloned());
        if all.len() == self.too_short.len() {
            return None;
        }
        let [original, patched] = self.objects.as_ref()?;
        let (original, patched) = (std::fs::read(original).ok()?, std::fs::read(patched).ok()?);
        let options = Options { unit: self.unit.clone(), too_short: all.clone(), ..Options::default() };
        let diff = compare_with(&options, &self.plain, &original, &patched).ok()?;
        diff.patch.is_some().then(|| Self { diff, too_short: all, ..self.clone() })
    }
}

/// Is what runs the same on both sides, so that only debug information differs?
pub fn only_debug_differs(original: &UnitRecord, patched: &UnitRecord) -> bool {
    // Bytecode for link-time optimisation is not in sections that are loaded.
    if original.lto || patched.lto {
        return false;
    }
    let content = |u: &UnitRecord| std::fs::read(&u.stored).ok().and_then(|d| elf::runtime_content(&d).ok());
    matches!((content(original), content(patched)), (Some(a), Some(b)) if a == b)
}

/// Compares all pairs, in parallel.
///
/// # Errors
/// When an object cannot be read.
pub fn compare(
    pairs: &[Pair<'_>],
    sectioned: &[Sectioned],
    changes: &Changes,
    windows: (Window, Window),
    work: &Work,
) -> Result<Vec<Compared>> {
    let all = pairs.par_iter().zip(sectioned).enumerate();
    all.map(|(index, (p, s))| {
        check_stopped()?;
        match (&p.optimised, &s.pieces) {
            (Some(programs), Some(pieces)) => {
                let dir = work.path("objects").join(format!("{index}-merged"));
                optimised::compare(&p.name(), programs, pieces, changes, windows, &dir)
            }
            _ => one(p, s, changes, work),
        }
    })
    .collect()
}

fn one(pair: &Pair<'_>, sectioned: &Sectioned, changes: &Changes, work: &Work) -> Result<Compared> {
    let unit = pair.name();
    let mut out = Compared { unit: unit.clone(), ..Compared::default() };
    out.diff.source_file.clone_from(&unit);
    let mut refuse = |what: &str, why: String, remedy: &str| {
        out.diff.refused.push(Refusal { what: what.into(), place: unit.clone(), why, remedy: remedy.into() });
    };
    let object = |side: &Option<std::result::Result<std::path::PathBuf, String>>| -> Option<std::result::Result<Vec<u8>, String>> {
        side.as_ref().map(|s| s.as_ref().map_err(Clone::clone).and_then(|p| std::fs::read(p).map_err(|e| e.to_string())))
    };
    if let Some(file) = &pair.prebuilt {
        let object = std::fs::read(file).what(file.to_string_lossy())?;
        out.patched = Some(file.clone());
        match compare_objects(&unit, &[], &EMPTY, &object) {
            // Whatever it holds, nothing that runs has dealt with it.
            Ok(diff) => out.diff = UnitDiff { warnings: Vec::new(), ..diff },
            Err(e) => {
                refuse("comparison failed", e.to_string(), "add the source of what is needed to the fix")
            }
        }
        return Ok(out);
    }
    let not_recorded = "an object that goes into the program differs, but how it was made was not recorded";
    if pair.patched_hash.is_none() {
        // Its code is no longer called by anything that is new, and stays where it is.
        return Ok(out);
    }
    let Some(patched) = object(&sectioned.patched) else {
        refuse(
            "unrecorded object",
            not_recorded.into(),
            "report.yaml lists what could not be recorded; build it with a plain compiler command",
        );
        return Ok(out);
    };
    let made_by_lto = |unit: Option<&UnitRecord>| unit.is_some_and(|u| u.lto && by_lto(u));
    if !pair.direct && (made_by_lto(pair.patched) || made_by_lto(pair.original)) {
        let why =
            "code is made when the whole program is linked, and what this linker made of it was not recorded";
        refuse(optimised::WHAT, why.into(), optimised::REMEDY);
        return Ok(out);
    }
    let original = match (&pair.original_hash, object(&sectioned.original)) {
        (None, _) => match pair.patched {
            Some(unit) => empty_object(unit, work).map_err(|f| f.to_string()),
            None => Err(not_recorded.into()),
        },
        (Some(_), None) => Err(not_recorded.into()),
        (Some(_), Some(found)) => found,
    };
    if let (Some(Ok(original)), Some(Ok(patched))) = (&sectioned.original, &sectioned.patched) {
        out.objects = Some([original.clone(), patched.clone()]);
    }
    out.patched = sectioned.patched.as_ref().and_then(|p| p.as_ref().ok()).cloned();
    let (original, patched) = match (original, patched) {
        (Ok(o), Ok(p)) => (o, p),
        (Err(why), _) | (_, Err(why)) => {
            refuse(
                "unit cannot be compiled once more",
                why,
                "make the build keep the files that the unit is compiled from",
            );
            return Ok(out);
        }
    };
    if let (Some(record), Some(_)) = (pair.original, &pair.original_hash) {
        out.plain = std::fs::read(&record.stored).what(record.stored.to_string_lossy())?;
    }
    match compare_objects(&unit, &out.plain, &original, &patched) {
        Ok(diff) => {
            out.diff = diff;
            if let Some(record) = pair.patched.filter(|_| !sectioned.restamped) {
                let built = std::fs::read(&record.stored).what(record.stored.to_string_lossy())?;
                check_built(&unit, &mut out.diff, &built, &patched);
            }
        }
        Err(e) => refuse("comparison failed", e.to_string(), "this construct is not supported yet"),
    }
    if !out.diff.is_unchanged() {
        // An explanation only: without one the result is the same.
        out.drawn_in = differ::inlining(&patched).map(|i| drawn_in(&i, changes)).unwrap_or_default();
    }
    Ok(out)
}

/// Compares the sectioned objects of one unit, and makes sure that the sectioned original is what was linked (`plain`; empty for a
/// new unit).
///
/// # Errors
/// When an object cannot be read or holds something that is not known.
pub fn compare_objects(
    unit: &str,
    plain: &[u8],
    original: &[u8],
    patched: &[u8],
) -> std::result::Result<UnitDiff, differ::Error> {
    let options = Options { unit: unit.to_owned(), ..Options::default() };
    compare_with(&options, plain, original, patched)
}

fn compare_with(
    options: &Options,
    plain: &[u8],
    original: &[u8],
    patched: &[u8],
) -> std::result::Result<UnitDiff, differ::Error> {
    let merged = if plain.is_empty() { Vec::new() } else { differ::merged(plain)? };
    let mut diff = differ::diff(original, patched, &Options { merged, ..options.clone() })?;
    match (plain.is_empty(), diff.is_unchanged()) {
        (true, _) => {}
        (false, true) => check_built(&options.unit, &mut diff, plain, original),
        (false, false) => check_flags(&options.unit, &mut diff, plain, original),
    }
    Ok(diff)
}

/// Was the unit made from bytecode, or does it hold some, so that the linker may have made other code of it?
fn by_lto(unit: &UnitRecord) -> bool {
    let bytecode = || std::fs::read(&unit.stored).map_or(true, |data| elf::holds_bytecode(&data));
    unit.not_recompilable.is_some() || bytecode()
}

/// Refuses when `-ffunction-sections` made other code of a function that the patch does not replace: a change could hide
/// there, for example by other inlining.
fn check_flags(unit: &str, diff: &mut UnitDiff, plain: &[u8], sectioned: &[u8]) {
    diff.refused.extend(flag_refusals(unit, diff, plain, sectioned, &|name| name.to_owned()));
    if !diff.refused.is_empty() {
        diff.patch = None;
    }
}

/// Refuses when what a build made is not what was compared: the unit was compiled from something that was not recorded.
fn check_built(unit: &str, diff: &mut UnitDiff, built: &[u8], compared: &[u8]) {
    let Ok(mismatches) = differ::same_code(built, compared) else { return };
    let shipped = |name: &str| diff.functions.iter().any(|c| c.name == name);
    let found: Vec<Refusal> = mismatches
        .iter()
        .filter(|m| !shipped(&m.function))
        .map(|m| Refusal {
            what: "unit that comes out otherwise when it is compiled again".into(),
            place: unit.to_owned(),
            why: format!("{}: {}", m.function, m.detail),
            remedy: "see that the build keeps the files that the unit is compiled from, as they were then"
                .into(),
        })
        .collect();
    if !found.is_empty() {
        diff.refused.extend(found);
        diff.patch = None;
    }
}

/// The same for one object; `named` gives the comparison's name of a symbol of it.
pub(super) fn flag_refusals(
    unit: &str,
    diff: &UnitDiff,
    plain: &[u8],
    sectioned: &[u8],
    named: &dyn Fn(&str) -> String,
) -> Vec<Refusal> {
    let refusal = |why: String| Refusal {
        what: "code depends on -ffunction-sections".into(),
        place: unit.to_owned(),
        why,
        remedy: "build the package with -ffunction-sections, or leave this unit out of the fix".into(),
    };
    match differ::same_code(plain, sectioned) {
        Ok(mismatches) => {
            let replaced =
                |name: &str| diff.functions.iter().any(|c| c.orig_name.as_deref().unwrap_or(&c.name) == name);
            let kept = mismatches.iter().filter(|m| !replaced(&named(&m.function)));
            kept.map(|m| refusal(format!("{}: {}", m.function, m.detail))).collect()
        }
        Err(e) => vec![refusal(e.to_string())],
    }
}
