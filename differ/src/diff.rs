//! The whole comparison, phase by phase.

use std::collections::HashSet;

use crate::Error;
use crate::arch::x86_64;
use crate::atoms::{self, Atoms};
use crate::compare::Comparer;
use crate::correlate;
use crate::debug;
use crate::eh_frame;
use crate::elf;
use crate::extract;
use crate::model::{Options, UnitDiff};
use crate::refs;
use crate::scopes::{self, Scopes};
use crate::unit::Reading;
use crate::verdict;

/// What gcc defines in an object without machine code.
const SLIM: &str = "__gnu_lto_slim";

/// Compares two relocatable objects of one unit, both compiled with `-ffunction-sections -fdata-sections`.
///
/// # Errors
/// When an object cannot be read, or holds something that this version does not know (the message names it). A difference that cannot be
/// live-patched is no error: it is in [`UnitDiff::refused`].
pub fn diff(orig: &[u8], patched: &[u8], opts: &Options) -> Result<UnitDiff, Error> {
    let old = load(orig, "original")?;
    let new = load(patched, "patched")?;
    if old.unit.machine != new.unit.machine {
        return Err(Error::Different(format!("ELF machine {} and {}", old.unit.machine, new.unit.machine)));
    }
    let source_file = if opts.unit.is_empty() { new.unit.source_file.clone() } else { opts.unit.clone() };
    let (old_frames, new_frames) = (eh_frame::read(&old)?, eh_frame::read(&new)?);
    // Debug information is large: it is read only where something depends on it, and once.
    let with_debug = || {
        Ok((
            elf::read_unit(orig, "original", Reading::Debug)?,
            elf::read_unit(patched, "patched", Reading::Debug)?,
        ))
    };
    let mut debugged = None;
    let (mut old_statics, mut new_statics) = (None, None);
    if scopes::needed(&old) || scopes::needed(&new) {
        let (was, is) = debugged.insert(with_debug()?);
        (old_statics, new_statics) = (debug::read_statics(was), debug::read_statics(is));
    }
    let old_scopes = Scopes::new(&old, old_statics.as_deref().unwrap_or_default());
    let new_scopes = Scopes::new(&new, new_statics.as_deref().unwrap_or_default());
    let pairs = correlate::correlate(&old, &new, &old_scopes, &new_scopes);
    let mut cmp = Comparer::new(&old, &new, &old_frames, &new_frames, &pairs);
    let mut verdict = verdict::judge(&mut cmp, opts, &source_file);

    let nothing = verdict.changed.is_empty() && verdict.new.is_empty();
    // A unit that is new has no objects that are older.
    if !nothing && !opts.skip_layout && !old.atoms.is_empty() {
        let (was, is) = match debugged.take() {
            Some(read) => read,
            None => with_debug()?,
        };
        match (debug::read(&was), debug::read(&is)) {
            (Some(was), Some(is)) => {
                verdict::layout::judge(&was, &is, &mut verdict, &source_file);
                verdict::counts::members(&cmp, &was, &is, &mut verdict, &source_file);
                verdict::handover::judge(&cmp, &was, &is, &mut verdict, &source_file);
                let arguments = |of: &HashSet<String>| {
                    let read = |elf, side| elf::read_unit(elf, side, Reading::Places).ok();
                    let arguments = |elf, side| debug::read_arguments(&read(elf, side)?, of);
                    Some([arguments(orig, "original")?, arguments(patched, "patched")?])
                };
                verdict::arguments::judge(&cmp, [&was, &is], arguments, &mut verdict, &source_file);
            }
            _ => verdict.warn(
                "no debug information",
                source_file.clone(),
                "layouts of structures were not compared: build with -g",
            ),
        }
    }
    let patch = if nothing || !verdict.refused.is_empty() {
        None
    } else {
        extract::extract(&old, &new, &new_frames, &pairs, &opts.merged, &mut verdict, &source_file)
    };
    let (patch, extents) = patch.filter(|_| verdict.refused.is_empty()).unzip();
    Ok(UnitDiff {
        functions: verdict.functions,
        objects: verdict.objects,
        patch,
        extents: extents.unwrap_or_default(),
        refused: verdict.refused,
        warnings: verdict.warnings,
        global_rodata_changed: verdict.global_rodata,
        dealings: verdict.dealings,
        source_file,
    })
}

/// Reads, splits and resolves one object.
pub(crate) fn load<'a>(data: &'a [u8], side: &'static str) -> Result<Atoms<'a>, Error> {
    load_with(data, side, false)
}

/// The same, for comparing by place ([`Atoms::by_place`]) if asked for.
pub(crate) fn load_with<'a>(data: &'a [u8], side: &'static str, by_place: bool) -> Result<Atoms<'a>, Error> {
    let unit = elf::read_unit(data, side, Reading::Program)?;
    if unit.machine != x86_64::MACHINE {
        return Err(Error::Unsupported {
            what: format!("ELF machine {} (this version knows x86-64)", unit.machine),
            place: format!("the {side} object"),
        });
    }
    // Beside machine code ("fat" objects) bytecode is of no interest here.
    if unit.symbols.iter().any(|s| s.name == SLIM) {
        return Err(Error::Unsupported {
            what: "link-time optimisation: the object holds no machine code".into(),
            place: format!("the {side} object"),
        });
    }
    let mut all = atoms::split(unit);
    all.by_place = by_place;
    refs::resolve(&mut all)?;
    Ok(all)
}
