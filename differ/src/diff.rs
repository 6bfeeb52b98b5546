//! The whole comparison, phase by phase.

use std::collections::HashSet;

use crate::atoms;
use crate::attached;
use crate::compare::Comparer;
use crate::correlate::{self, Scopes};
use crate::debug;
use crate::elf;
use crate::error::Error;
use crate::extract;
use crate::model::{Options, UnitDiff};
use crate::reading::Reading;
use crate::verdict;

/// Compares two relocatable objects of one unit, both compiled with `-ffunction-sections -fdata-sections`.
///
/// # Errors
/// When an object cannot be read, or holds something that this version does not know (the message names it).
/// A difference that cannot be live-patched is no error: it is in [`UnitDiff::refused`].
pub fn diff(orig: &[u8], patched: &[u8], opts: &Options) -> Result<UnitDiff, Error> {
    let old = atoms::load(orig, "original", opts)?;
    let new = atoms::load(patched, "patched", opts)?;
    if old.unit.machine != new.unit.machine {
        return Err(Error::Different(format!("ELF machine {} and {}", old.unit.machine, new.unit.machine)));
    }
    let source_file = if opts.unit.is_empty() { new.unit.source_file.clone() } else { opts.unit.clone() };
    let (old_records, new_records) = (attached::read(&old)?, attached::read(&new)?);
    // Debug information is large. It is read only where something depends on it, and only once.
    let with_debug = || {
        Ok((
            elf::read_unit(orig, "original", Reading::Debug)?,
            elf::read_unit(patched, "patched", Reading::Debug)?,
        ))
    };
    let mut debugged = None;
    let (mut old_statics, mut new_statics) = (None, None);
    if correlate::needs_scopes(&old) || correlate::needs_scopes(&new) {
        let (was, is) = debugged.insert(with_debug()?);
        (old_statics, new_statics) = (debug::read_statics(was), debug::read_statics(is));
    }
    let old_scopes = Scopes::new(&old, old_statics.as_deref().unwrap_or_default());
    let new_scopes = Scopes::new(&new, new_statics.as_deref().unwrap_or_default());
    let pairs = correlate::correlate(&old, &new, &old_scopes, &new_scopes);
    let mut cmp = Comparer::new(&old, &new, &old_records, &new_records, &pairs);
    let mut verdict = verdict::judge(&mut cmp, opts, &source_file);

    let nothing = verdict.changed.is_empty() && verdict.new.is_empty();
    // Where the whole unit is new, no object is older than the patch.
    if !nothing && !old.atoms.is_empty() {
        let (was, is) = match debugged.take() {
            Some(read) => read,
            None => with_debug()?,
        };
        match (debug::read(&was), debug::read(&is)) {
            (Some(was), Some(is)) => {
                verdict::layout::judge(&was, &is, &mut verdict, &source_file);
                verdict::counters::members(&cmp, &was, &is, &mut verdict, &source_file);
                verdict::members::judge(&cmp, &was, &is, &mut verdict, &source_file);
                let arguments = |of: &HashSet<String>| {
                    let read = |elf, side| elf::read_unit(elf, side, Reading::Locations).ok();
                    let arguments = |elf, side| debug::read_arguments(&read(elf, side)?, of);
                    Some([arguments(orig, "original")?, arguments(patched, "patched")?])
                };
                verdict::callbacks::judge(&cmp, [&was, &is], arguments, &mut verdict, &source_file);
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
        extract::extract(&old, &new, &new_records, &pairs, &opts.merged, &mut verdict, &source_file)
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
        member_changes: verdict.member_changes,
        source_file,
    })
}
