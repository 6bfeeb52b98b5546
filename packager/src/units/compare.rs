//! Hands each pair to the differ and sorts what comes back.

use super::compared::{Compared, check_built, compare_objects};
use super::inlined::inlined;
use super::members::EMPTY;
use super::optimised;
use super::pair::Pair;
use super::sectioned::{Sectioned, empty_object};
use super::stamps::Window;
use crate::elf;
use crate::error::{Context, Result};
use crate::prep::Changes;
use crate::process::check_stopped;
use crate::scratch::Work;
use differ::{Refusal, UnitDiff};
use rayon::prelude::*;
use wrapper::UnitRecord;

/// Is the code and data that runs the same on both sides, so that only debug information differs?
pub(crate) fn only_debug_differs(original: &UnitRecord, patched: &UnitRecord) -> bool {
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
pub(crate) fn compare(
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
    let read = |path: &std::path::PathBuf| std::fs::read(path).map_err(|e| e.to_string());
    let object = |side: &Option<std::result::Result<std::path::PathBuf, String>>| {
        side.as_ref().map(|s| s.as_ref().map_err(Clone::clone).and_then(read))
    };
    if let Some(file) = &pair.prebuilt {
        let object = std::fs::read(file).at(file)?;
        out.patched = Some(file.clone());
        match compare_objects(&unit, &[], &EMPTY, &object) {
            // A new unit may hold anything, since nothing that runs has used it yet.
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
        out.plain = std::fs::read(&record.stored).at(record.stored.as_path())?;
    }
    match compare_objects(&unit, &out.plain, &original, &patched) {
        Ok(diff) => {
            out.diff = diff;
            if let Some(record) = pair.patched.filter(|_| !sectioned.restamped) {
                let built = std::fs::read(&record.stored).at(record.stored.as_path())?;
                check_built(&unit, &mut out.diff, &built, &patched);
            }
        }
        Err(e) => refuse("comparison failed", e.to_string(), "this construct is not supported yet"),
    }
    if !out.diff.is_unchanged() {
        // An explanation only: without one the result is the same.
        out.inlined = differ::inlining(&patched).map(|i| inlined(&i, changes)).unwrap_or_default();
    }
    Ok(out)
}

/// Was the object made from bytecode, or does it hold bytecode? Then the linker may have made other code of
/// it.
fn by_lto(unit: &UnitRecord) -> bool {
    let bytecode = || std::fs::read(&unit.stored).map_or(true, |data| elf::holds_bytecode(&data));
    unit.not_recompilable.is_some() || bytecode()
}
