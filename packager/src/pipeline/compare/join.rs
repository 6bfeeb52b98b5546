//! Joins the touched units of each ELF file into its patch image, and says in the report what was found.

use super::analysis::{Analysis, Reached};
use super::ledger;
use super::members::needed;
use crate::elf::Elf;
use crate::error::{CompareError, Context, RefusalLine, Result};
use crate::output::{Detail, ElfReport, Refused, Warned, locate};
use crate::pipeline::builds::{Original, Patched};
use crate::target::{Fidelity, TargetFile, causes};
use crate::units::{Compared, Pair, made_of};
use differ::ChangeKind;
use linker::{
    Fit, FitInput, Libraries, LibraryFiles, LinkError, LinkInput, LinkOutput, MovedDefinitions, OriginalUnit,
    ParsedElf, UnitPatch, UsedAddresses, addresses, fit, link,
};
use patchfile::Arch;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use wrapper::{LinkRecord, Records};

/// An image, before [`super::siblings`] has decided whether it is shipped, and with which of its exports.
#[derive(Debug)]
pub(in crate::pipeline) struct Joined {
    /// Index of the target.
    pub(in crate::pipeline) target: usize,
    /// The image and what is in it.
    pub(in crate::pipeline) output: LinkOutput,
    /// The patched objects, in the order of [`LinkOutput::places`], with their names for messages.
    pub(in crate::pipeline) objects: Vec<(String, Option<PathBuf>)>,
}

/// What became of one ELF file.
#[derive(Debug)]
pub(in crate::pipeline) struct ElfResult {
    /// Index of the target.
    pub(in crate::pipeline) target: usize,
    pub(in crate::pipeline) report: ElfReport,
    pub(in crate::pipeline) joined: Option<Joined>,
}

/// Reports the comparison of one ELF file's units, then links them unless something was refused.
pub(in crate::pipeline) fn join(
    reached: &Reached<'_>,
    analysis: &Analysis<'_>,
    original: &Original,
    patched: &Patched,
) -> Result<ElfResult> {
    let mut result = joined(reached, analysis, original, patched)?;
    if !result.report.refused.is_empty() {
        locate(&mut result.report.refused, |unit| {
            analysis.compared.iter().find(|c| c.unit == unit)?.declarations()
        });
    }
    Ok(result)
}

fn joined(
    reached: &Reached<'_>,
    analysis: &Analysis<'_>,
    original: &Original,
    patched: &Patched,
) -> Result<ElfResult> {
    let number = reached.matched.target;
    let target = &original.targets[number];
    let chosen = needed(&reached.units, analysis);
    let mut units: Vec<Cow<'_, Compared>> =
        chosen.iter().map(|i| Cow::Borrowed(&analysis.compared[*i])).collect();
    let handed_over = handed_over(&units, analysis);
    let links = ((&original.records, reached.matched.link), (&patched.records, reached.patched));
    let ledger = ledger::of_links(links.0, links.1, &ledger::units(reached, analysis))?;
    let ledger = ledger.unwrap_or_default();
    let moved = ledger::moved(&ledger);
    loop {
        let mut report = describe(reached, &units, target, &moved);
        report.ledger = Some(ledger::report(&ledger)).filter(|l| l.same > 0);
        for refusal in &handed_over {
            if !report.refused.iter().any(|r| r.what == refusal.what && r.place == refusal.place) {
                report.refused.push(Refused::from(refusal));
            }
        }
        if report.refused.is_empty() {
            report.refused.extend(ledger.refused.iter().map(Refused::from));
        }
        let pairs = chosen.iter().map(|i| &analysis.pairs[*i]);
        let with_patch: Vec<usize> = (0..units.len()).filter(|i| units[*i].diff.patch.is_some()).collect();
        let patches: Vec<UnitPatch<'_>> =
            pairs.zip(&units).filter_map(|(pair, compared)| unit_patch(pair, compared)).collect();
        if !report.refused.is_empty() && report.fidelity == Some(Fidelity::Mismatch) {
            // Whether the functions concerned are the target's is found by linking; a refusal of the change
            // itself stands anyway.
            report.fidelity = None;
        }
        if !report.refused.is_empty() || patches.is_empty() {
            return Ok(ElfResult { target: number, report, joined: None });
        }
        let refusals = match link_units(&patches, reached, analysis, original, &moved)? {
            Ok(Linked { output, fit }) => {
                if let Some(fit) = fit {
                    if !fit.refused.is_empty() {
                        report.fidelity = Some(Fidelity::Mismatch);
                        report.causes = of_mismatch(target, reached)?;
                        report.refused.extend(fit.refused.iter().map(Refused::from));
                        return Ok(ElfResult { target: number, report, joined: None });
                    }
                    // Linked apart, yet all that the patch relies on was found and is the same.
                    report.fidelity = Some(reached.matched.fidelity.min(Fidelity::Equivalent));
                    report.differs = fit.notes;
                }
                let replaced = |name: &str| output.changed.iter().any(|c| c.name == name);
                for entry in ledger.displaced.iter().filter(|e| !replaced(&e.name)) {
                    report.refused.push(not_displaced(entry));
                }
                for warning in output.warnings.iter().filter(|w| w.what == linker::NOT_IN_FILE) {
                    let name = warning.place.split(" (").next().unwrap_or_default();
                    if ledger.present.contains(name) && !replaced(name) {
                        report.refused.push(not_found(&warning.place));
                    }
                }
                if !report.refused.is_empty() {
                    return Ok(ElfResult { target: number, report, joined: None });
                }
                report.warnings.extend(output.warnings.iter().map(Warned::from));
                let objects = with_patch.iter().map(|i| (units[*i].unit.clone(), units[*i].patched.clone()));
                let joined = Joined { target: number, output, objects: objects.collect() };
                return Ok(ElfResult { target: number, report, joined: Some(joined) });
            }
            Err(LinkError::NoRoom { refusals, functions }) => {
                let short = functions.iter().filter_map(|(u, name)| Some((*with_patch.get(*u)?, name)));
                match with_callers(&units, short) {
                    Some(again) => {
                        units = again;
                        continue;
                    }
                    None => refusals,
                }
            }
            Err(LinkError::Refused(refusals)) => refusals,
            Err(source) => {
                return Err(CompareError::Link { target: target.name.clone(), source }.into());
            }
        };
        if report.fidelity == Some(Fidelity::Mismatch) {
            report.causes = of_mismatch(target, reached)?;
        }
        report.refused.extend(refusals.iter().map(Refused::from));
        return Ok(ElfResult { target: number, report, joined: None });
    }
}

/// What the rebuild is probably not the target for.
fn of_mismatch(target: &TargetFile, reached: &Reached<'_>) -> Result<Vec<String>> {
    let rebuilt = &reached.matched.link.saved;
    Ok(causes(target, &std::fs::read(rebuilt).at(rebuilt.as_path())?))
}

/// A function of the patched build whose name means another function in the original one, which the patch
/// does not replace.
fn not_displaced(entry: &linker::Entry) -> Refused {
    Refused {
        what: "definition that moved".into(),
        place: format!("{} ({})", entry.name, entry.unit),
        why: format!(
            "the original has it from another unit, and the patch could not replace that one: {}",
            entry.why
        ),
        remedy: "leave the definition in its file, and change it there".into(),
        ..Refused::default()
    }
}

/// A changed function that the linked files have, and that was not found there as its unit has it.
fn not_found(place: &str) -> Refused {
    Refused {
        what: "address in the target not certain".into(),
        place: place.to_owned(),
        why: "both builds linked it, and the patch found no place of it".into(),
        remedy: "link the object of its unit itself, not one that another tool has made of it".into(),
        ..Refused::default()
    }
}

/// Members of objects that one source file fills in another way than before, and another one, of any ELF file
/// of the patch, treats so.
fn handed_over(units: &[Cow<'_, Compared>], analysis: &Analysis<'_>) -> Vec<differ::Refusal> {
    let own: Vec<differ::MemberChange> =
        units.iter().flat_map(|u| u.diff.member_changes.iter().cloned()).collect();
    if own.is_empty() {
        return Vec::new();
    }
    let reached: BTreeSet<usize> = analysis.reached.iter().flat_map(|r| r.units.iter().copied()).collect();
    let all: Vec<differ::MemberChange> =
        reached.into_iter().flat_map(|i| analysis.compared[i].diff.member_changes.iter().cloned()).collect();
    differ::conflicts(&own, &all, differ::Profile::User)
}

/// The units with the callers of these functions (index of the unit, name) replaced too; `None` if that
/// cannot be done, or was done.
fn with_callers<'a, 'n>(
    units: &[Cow<'a, Compared>],
    short: impl Iterator<Item = (usize, &'n String)>,
) -> Option<Vec<Cow<'a, Compared>>> {
    let mut by_unit: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    for (unit, name) in short {
        by_unit.entry(unit).or_default().push(name.clone());
    }
    let mut units = units.to_vec();
    for (unit, names) in by_unit {
        *units.get_mut(unit)? = Cow::Owned(units.get(unit)?.with_callers(&names)?);
    }
    Some(units)
}

/// A patch that was linked.
struct Linked {
    output: LinkOutput,
    /// How the target compares with the rebuild, if it is not the same to the byte.
    fit: Option<Fit>,
}

fn link_units(
    units: &[UnitPatch<'_>],
    reached: &Reached<'_>,
    analysis: &Analysis<'_>,
    original: &Original,
    moved: &MovedDefinitions,
) -> Result<std::result::Result<Linked, LinkError>> {
    let number = reached.matched.target;
    let target = &original.targets[number];
    let record = reached.matched.link;
    let linked = std::fs::read(&record.saved).at(record.saved.as_path())?;
    let map = record.map.as_ref().map(|m| std::fs::read(m).at(m.as_path())).transpose()?;
    let map = map.map(|m| String::from_utf8_lossy(&m).into_owned());
    let files = ParsedElf::parse(&linked, "linked ELF")
        .and_then(|linked| Ok((linked, ParsedElf::parse(&target.data, "target ELF")?)));
    let (parsed, of_target) = match files {
        Ok(files) => files,
        Err(e) => return Ok(Err(e)),
    };
    let places = match addresses(&parsed, &of_target, target.debug.as_deref()) {
        Ok(places) => places,
        Err(e) => return Ok(Err(e)),
    };
    let patched = &reached.patched.saved;
    let patched = std::fs::read(patched).at(patched.as_path())?;
    let siblings = analysis.siblings.iter().filter(|s| s.number != number);
    let anew = reached.patched;
    let later = anew.shared_libs.iter().map(|l| anew.cwd.as_path().join(l.as_path())).collect();
    let libraries = libraries(record, &original.records, target.elf.arch)
        .with_siblings(siblings.cloned().collect())
        .with_later(later);
    let places = UsedAddresses::new(places.as_ref());
    let output = link(&LinkInput {
        name: &target.name,
        units,
        record,
        map: map.as_deref(),
        linked: &parsed,
        target: &of_target,
        addresses: &places,
        patched: Some(&patched),
        libraries: &libraries as &dyn Libraries,
        moved,
    });
    let output = match output {
        Ok(output) => output,
        Err(e) => return Ok(Err(e)),
    };
    if is_same(&linked, target) {
        return Ok(Ok(Linked { output, fit: None }));
    }
    let used = places.used(output.changed.iter().map(|c| c.old));
    let touched = touched(units);
    let brought = output.product.contents();
    let made = made_of(&original.records, record);
    let fit = fit(&FitInput {
        linked: &parsed,
        map: map.as_deref(),
        record,
        parts: &ledger::parts(&made),
        objects: &made.objects,
        target: &of_target,
        debug: target.debug.as_deref(),
        used: &used,
        units: &touched,
        brought: &brought,
        paths: &build_paths(&original.records),
    });
    Ok(fit.map(|fit| Linked { output, fit: Some(fit) }))
}

/// Are all loaded bytes of the target those of the rebuild?
fn is_same(linked: &[u8], target: &TargetFile) -> bool {
    Elf::parse(linked)
        .is_ok_and(|l| target.elf.same_layout(&l) && target.elf.different_sections(&l).is_empty())
}

/// Hashes of the original objects of these units, with the units' names.
fn touched(units: &[UnitPatch<'_>]) -> HashMap<String, String> {
    let mut found = HashMap::new();
    for unit in units {
        let name = unit.name.to_owned();
        match unit.original {
            Some(OriginalUnit::Object { sha256, .. }) => {
                found.insert(sha256.to_owned(), name);
            }
            Some(OriginalUnit::Optimised(pieces)) => {
                found.extend(pieces.objects.iter().map(|(sha256, _)| (sha256.clone(), name.clone())));
            }
            None => {}
        }
    }
    found
}

/// The folders that the rebuild took place in, and those above them.
fn build_paths(records: &Records) -> Vec<Vec<u8>> {
    let folders = records.units.iter().flat_map(|unit| unit.cwd.as_path().ancestors());
    let mut all: Vec<Vec<u8>> =
        folders.filter(|f| f.parent().is_some()).map(|f| f.as_os_str().as_bytes().to_vec()).collect();
    all.sort();
    all.dedup();
    all
}

fn unit_patch<'a>(pair: &'a Pair<'_>, compared: &'a Compared) -> Option<UnitPatch<'a>> {
    let original = match &compared.pieces {
        Some(pieces) => Some(OriginalUnit::Optimised(pieces)),
        None => {
            let object = &compared.plain;
            pair.original_hash.as_deref().map(|sha256| OriginalUnit::Object { sha256, object })
        }
    };
    let cplusplus = pair.patched.is_some_and(|u| u.language.contains("c++"))
        || pair.optimised.as_ref().is_some_and(|p| p.cplusplus());
    let (patch, extents) = (compared.diff.patch.as_ref()?, &compared.diff.extents);
    let prebuilt = pair.prebuilt.is_some();
    Some(UnitPatch { name: &compared.unit, cplusplus, original, prebuilt, patch, extents })
}

/// Libraries seen in the original link, and where others may be. Of one that the package builds itself the
/// original counts: the tree holds the patched one by now, which may define more than what runs.
fn libraries(link: &LinkRecord, records: &Records, arch: Option<Arch>) -> LibraryFiles {
    let built = |path: &Path| records.links.iter().rev().find(|l| l.output.as_path() == path);
    let seen = link.shared_libs.iter().map(|l| {
        let path = link.cwd.as_path().join(l.as_path());
        let path = path.canonicalize().unwrap_or(path);
        let file = built(&path).map_or_else(|| path.clone(), |l| l.saved.as_path().to_path_buf());
        (path, file)
    });
    LibraryFiles::new(|path| std::fs::read(path).ok(), arch, seen, [])
}

fn describe(
    reached: &Reached<'_>,
    units: &[Cow<'_, Compared>],
    target: &TargetFile,
    moved: &MovedDefinitions,
) -> ElfReport {
    let mut report = ElfReport {
        name: target.name.clone(),
        path: target.path.clone(),
        also: target.also.clone(),
        build_id: target.elf.build_id.as_ref().map(ToString::to_string),
        fidelity: Some(reached.matched.fidelity),
        difference: reached.matched.difference.clone(),
        ..ElfReport::default()
    };
    for compared in units {
        let diff = &compared.diff;
        let kinds = [("function", &diff.functions), ("object", &diff.objects)];
        for (kind, change) in kinds.iter().flat_map(|(k, list)| list.iter().map(move |c| (*k, c))) {
            let kind_here = match change.kind {
                // The file has it, from another unit.
                ChangeKind::New if moved.same.contains(&change.name) => continue,
                ChangeKind::New if moved.displaced.contains(&change.name) => ChangeKind::Changed,
                kind => kind,
            };
            let list = match kind_here {
                ChangeKind::Changed => &mut report.changed,
                ChangeKind::New => &mut report.new,
                ChangeKind::Removed => &mut report.removed,
            };
            list.push(change.name.clone());
            report.details.push(Detail {
                name: change.name.clone(),
                kind,
                change: kind_here,
                unit: compared.unit.clone(),
                reasons: change.reasons.clone(),
                inlines: compared.inlined.get(&change.name).cloned().unwrap_or_default(),
            });
        }
        report.refused.extend(diff.refused.iter().map(Refused::from));
        report.warnings.extend(diff.warnings.iter().map(Warned::from));
    }
    report
}

/// The error of a run in which something was refused.
pub(in crate::pipeline) fn refused(reports: &[ElfReport]) -> Option<CompareError> {
    let mut refusals: Vec<&Refused> = Vec::new();
    for refusal in reports.iter().flat_map(|r| &r.refused) {
        if !refusals.contains(&refusal) {
            refusals.push(refusal);
        }
    }
    if refusals.is_empty() {
        return None;
    }
    let mismatch = reports.iter().find(|r| r.fidelity == Some(Fidelity::Mismatch) && !r.refused.is_empty());
    if let Some(report) = mismatch {
        let line =
            |r: &&Refused| RefusalLine { what: r.what.clone(), place: r.place.clone(), why: r.why.clone() };
        return Some(CompareError::Mismatch {
            file: report.name.clone(),
            difference: report.difference.clone(),
            causes: report.causes.clone(),
            refused: refusals.iter().map(line).collect(),
            // Whether debug information would help is among the causes.
            remedies: refusals
                .iter()
                .map(|r| r.remedy.clone())
                .filter(|r| !r.contains("--debuginfo"))
                .collect(),
        });
    }
    Some(crate::output::refusals(refusals))
}
