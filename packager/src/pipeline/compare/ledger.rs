//! Holds the files that both builds linked against each other, see [`linker::ledger`].

use super::analysis::{Analysis, Reached, Unreal};
use crate::elf::read_loaded;
use crate::error::{CompareError, Context, Result};
use crate::output::{ElfReport, LedgerEntry, LedgerReport, Refused};
use crate::pipeline::builds::{Original, Patched};
use crate::units::{Compared, LinkSources, Pair, made_of};
use differ::ChangeKind;
use linker::{BuiltFile, Ledger, LedgerUnit, MovedDefinitions, Part, ledger};
use std::path::Path;
use wrapper::{LinkRecord, Records, UnitRecord};

/// The ledger of one ELF file; `None` where it cannot be made: a program that was optimised while it was
/// linked is one unit, which the comparison has seen as a whole, and without maps nothing is known of the
/// places of objects.
pub(in crate::pipeline) fn of_links(
    (before, original): (&Records, &LinkRecord),
    (after, patched): (&Records, &LinkRecord),
    units: &[LedgerUnit],
) -> Result<Option<Ledger>> {
    if original.lto || patched.lto || original.output_sha256 == patched.output_sha256 {
        return Ok(None);
    }
    let (Some(old_map), Some(new_map)) = (&original.map, &patched.map) else { return Ok(None) };
    let (old, new) = (loaded(original.saved.as_path())?, loaded(patched.saved.as_path())?);
    let text = |path: &Path| read(path).map(|map| String::from_utf8_lossy(&map).into_owned());
    let (old_map, new_map) = (text(old_map.as_path())?, text(new_map.as_path())?);
    let (old_made, new_made) = (made_of(before, original), made_of(after, patched));
    let (old_parts, new_parts) = (parts(&old_made), parts(&new_made));
    let before = BuiltFile {
        data: &old,
        map: &old_map,
        record: original,
        parts: &old_parts,
        objects: &old_made.objects,
    };
    let after = BuiltFile {
        data: &new,
        map: &new_map,
        record: patched,
        parts: &new_parts,
        objects: &new_made.objects,
    };
    let file = patched.output.to_string_lossy();
    Ok(Some(ledger(&before, &after, units).map_err(|source| CompareError::Ledger { file, source })?))
}

/// The `-r` links of a link.
pub(in crate::pipeline) fn parts<'m>(made: &'m LinkSources<'_>) -> Vec<Part<'m>> {
    made.parts.iter().map(|(record, map)| Part { record, map }).collect()
}

fn loaded(path: &Path) -> Result<Vec<u8>> {
    read_loaded(path).at(path)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).at(path)
}

/// What is known of the units of a file that the fix reaches.
pub(in crate::pipeline) fn units(reached: &Reached<'_>, analysis: &Analysis<'_>) -> Vec<LedgerUnit> {
    let touched = reached.units.iter().flat_map(|i| parts_of(&analysis.pairs[*i], &analysis.compared[*i]));
    touched.chain(unreal(&analysis.unreal)).collect()
}

/// Units whose objects differ for other reasons than the fix.
pub(in crate::pipeline) fn unreal(all: &[Unreal]) -> impl Iterator<Item = LedgerUnit> {
    all.iter().map(|one| LedgerUnit {
        name: one.name.clone(),
        original: Some(one.original.clone()),
        patched: Some(one.patched.clone()),
        explained: Some(one.why),
        ..LedgerUnit::default()
    })
}

fn unit(pair: &Pair<'_>, compared: &Compared) -> LedgerUnit {
    let all = || compared.diff.functions.iter().chain(&compared.diff.objects);
    let changed = all().filter(|c| c.kind == ChangeKind::Changed);
    let new = all().filter(|c| c.kind == ChangeKind::New);
    let removed = compared.diff.objects.iter().filter(|c| c.kind == ChangeKind::Removed);
    LedgerUnit {
        name: compared.unit.clone(),
        original: pair.original_hash.clone(),
        patched: pair.patched_hash.clone(),
        changed: changed
            .map(|c| (c.name.clone(), c.orig_name.clone().unwrap_or_else(|| c.name.clone())))
            .collect(),
        new: new.map(|c| c.name.clone()).collect(),
        removed: removed.map(|c| c.name.clone()).collect(),
        explained: None,
    }
}

/// The units that were compared: one, or each of the units that a `-r` link has joined.
fn parts_of(pair: &Pair<'_>, compared: &Compared) -> Vec<LedgerUnit> {
    let whole = unit(pair, compared);
    let Some(programs) = pair.optimised.as_ref().filter(|p| p.joined()) else { return vec![whole] };
    let [old, new] = compared.names.each_ref().map(|names| |name: &String| names.get(name).cloned());
    let source = |unit: &UnitRecord| (unit.source.clone(), unit.cwd.clone());
    let mut parts = Vec::new();
    for (index, after) in programs.patched.pieces.iter().enumerate() {
        let before = programs.original.pieces.iter().position(|before| source(before) == source(after));
        let own = |name: &String| new(name).filter(|(piece, _)| *piece == index).map(|(_, own)| own);
        let pair = |(name, original): &(String, String)| {
            let (_, original) = old(original).filter(|(piece, _)| Some(*piece) == before)?;
            Some((own(name)?, original))
        };
        let gone = |name: &String| old(name).filter(|(piece, _)| Some(*piece) == before).map(|(_, own)| own);
        let original = before.map(|at| programs.original.pieces[at].object_sha256.clone());
        if original.as_ref() != Some(&after.object_sha256) {
            parts.push(LedgerUnit {
                name: after.source.to_string_lossy(),
                original,
                patched: Some(after.object_sha256.clone()),
                changed: whole.changed.iter().filter_map(pair).collect(),
                new: whole.new.iter().filter_map(own).collect(),
                removed: whole.removed.iter().filter_map(gone).collect(),
                explained: None,
            });
        }
    }
    parts
}

/// What the link has to know of it.
pub(in crate::pipeline) fn moved(ledger: &Ledger) -> MovedDefinitions {
    MovedDefinitions {
        same: ledger.settled.clone(),
        displaced: ledger.displaced.iter().map(|entry| entry.name.clone()).collect(),
    }
}

/// The ledger as the report has it.
pub(in crate::pipeline) fn report(ledger: &Ledger) -> LedgerReport {
    let all = ledger.entries.iter().chain(&ledger.displaced);
    let differs = all.map(|e| LedgerEntry { name: e.name.clone(), unit: e.unit.clone(), why: e.why.clone() });
    LedgerReport { same: ledger.same, moved: ledger.moved, differs: differs.collect() }
}

/// Reports of the files whose units differ in nothing that is of the fix.
pub(in crate::pipeline) fn of_untouched(
    analysis: &Analysis<'_>,
    original: &Original,
    patched: &Patched,
) -> Result<Vec<ElfReport>> {
    let mut reports = Vec::new();
    for (matched, link) in &analysis.untouched {
        let units: Vec<_> = unreal(&analysis.unreal).collect();
        let links = ((&original.records, matched.link), (&patched.records, *link));
        let Some(ledger) = of_links(links.0, links.1, &units)? else { continue };
        reports.push(ElfReport {
            name: original.targets[matched.target].name.clone(),
            ledger: Some(report(&ledger)),
            refused: ledger.refused.iter().map(Refused::from).collect(),
            ..ElfReport::default()
        });
    }
    Ok(reports)
}
