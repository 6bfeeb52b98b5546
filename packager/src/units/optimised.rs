//! Compares two programs that were optimised while they were linked, or two objects that were joined of
//! several.

use std::path::{Path, PathBuf};

use differ::{Options, Refusal, Warning};

use super::compared::{Compared, flag_refusals};
use super::inlined::inlined;
use super::lto::{self, Compiled, Program, Programs};
use super::stamps::{self, Window, equal_but_for_times};
use crate::elf;
use crate::error::Result;
use crate::prep::Changes;

/// Title of the refusals.
pub(super) const WHAT: &str = "link-time optimisation";

/// What always helps.
pub(super) const REMEDY: &str = "ship the package built with -fno-lto (with rpm: %global _lto_cflags \
 %{nil}), then it can be live-patched";

/// Name for messages of an object that a `-r` link has joined.
const JOINED: &str = "object joined of several";
const SEPARATE: &str = "build its parts with -g by plain compiler commands, or link them without `ld -r`";

/// Compares all that the optimiser made of both programs as one unit, with files below `dir`. The builds ran
/// at the times `windows`: what holds the time of the build is in pieces with everything else, so it is set
/// aside in what was made of them.
///
/// # Errors
/// When a file cannot be read or written, or a tool of binutils fails.
pub(super) fn compare(
    unit: &str,
    programs: &Programs<'_>,
    compiled: &[Compiled; 2],
    changes: &Changes,
    windows: (Window, Window),
    dir: &Path,
) -> Result<Compared> {
    let mut out = Compared { unit: unit.to_owned(), ..Compared::default() };
    out.diff.source_file = unit.to_owned();
    let (what, remedy) = if programs.joined() { (JOINED, SEPARATE) } else { (WHAT, REMEDY) };
    let refuse =
        |why: String| Refusal { what: what.into(), place: unit.to_owned(), why, remedy: remedy.into() };
    let pieces = |program: &Program<'_>, compiled: &Compiled| -> std::result::Result<Vec<PathBuf>, String> {
        if program.pieces.is_empty() && programs.joined() {
            let why = "only one of the two builds has such an object, or how a part of it was made was not \
                       recorded";
            return Err(why.into());
        }
        if program.pieces.is_empty() {
            return Err(
                "only one of the two builds was optimised at link time, or what the linker made was \
             not recorded"
                    .into(),
            );
        }
        compiled.clone()
    };
    let (original, patched) =
        match (pieces(&programs.original, &compiled[0]), pieces(&programs.patched, &compiled[1])) {
            (Ok(original), Ok(patched)) => (original, patched),
            (Err(why), _) | (_, Err(why)) => {
                out.diff.refused.push(refuse(why));
                return Ok(out);
            }
        };
    let side = |program, compiled| lto::Side { program, compiled };
    let merged = lto::merge(
        &side(&programs.original, original.as_slice()),
        &side(&programs.patched, patched.as_slice()),
        dir,
    );
    let mut merged = match merged {
        Ok(merged) => merged,
        Err(failure) => {
            out.diff.refused.push(refuse(failure.words().why));
            return Ok(out);
        }
    };
    let same = |old: &[u8], new: &[u8]| equal_but_for_times(old, new, windows);
    let stamped = match elf::take_over_data(&mut merged.patched, &merged.original, same) {
        Ok(stamped) => stamped,
        Err(why) => {
            out.diff.refused.push(refuse(why));
            return Ok(out);
        }
    };
    let names = lto::by_piece(&merged.pieces);
    let named = |index: usize, name: &str| names.get(&(index, name)).copied().unwrap_or(name).to_owned();
    let constants = merged.pieces.objects.iter().enumerate().flat_map(|(index, plain)| {
        let found = differ::merged(&plain.1).unwrap_or_default();
        found.into_iter().map(move |name| (index, name))
    });
    let constants = constants.map(|(index, name)| named(index, &name)).collect();
    let options = Options { unit: unit.to_owned(), merged: constants, ..Options::default() };
    match differ::diff(&merged.original, &merged.patched, &options) {
        Ok(diff) => out.diff = diff,
        Err(e) => out.diff.refused.push(refuse(e.to_string())),
    }
    if !stamped.is_empty() {
        out.diff.warnings.push(Warning {
            what: stamps::WHAT.into(),
            place: format!("{} ({unit})", stamped.join(", ")),
            why: stamps::WHY.into(),
        });
    }
    if !out.diff.is_unchanged() {
        for (index, (plain, sectioned)) in merged.pieces.objects.iter().zip(&merged.sectioned).enumerate() {
            let named = |name: &str| named(index, name);
            let found = flag_refusals(unit, &out.diff, &plain.1, sectioned, &named);
            out.diff.refused.extend(found);
        }
        out.inlined = differ::inlining(&merged.patched).map(|i| inlined(&i, changes)).unwrap_or_default();
    }
    if !out.diff.refused.is_empty() {
        out.diff.patch = None;
    }
    out.patched = Some(merged.patched_file);
    out.pieces = Some(merged.linked.unwrap_or(merged.pieces));
    out.names = merged.names;
    Ok(out)
}
