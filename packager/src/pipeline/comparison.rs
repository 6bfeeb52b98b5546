//! The comparison of both builds as a whole: the units, the images made of them, and what else the fix
//! changes.

use super::builds::{Builds, Original, Patched};
use super::checks::{OtherFiles, idle, read_at_run_time};
use super::compare::{Joined, NotKnown, analyse, join, of_untouched, settle};
use crate::build::Recorder;
use crate::error::Result;
use crate::output::{ElfReport, Refused, Warned};
use crate::process::check_stopped;
use crate::progress::{Progress, Step};
use crate::target::Fidelity;

/// What comparing and linking gave.
#[derive(Debug, Default)]
pub(super) struct Comparison {
    /// What is said of each ELF file.
    pub(super) elfs: Vec<ElfReport>,
    /// What is said besides.
    pub(super) warnings: Vec<Warned>,
    /// The images.
    pub(super) joined: Vec<Joined>,
    /// Numbers of the patch files that contribute nothing.
    pub(super) idle: Vec<usize>,
    /// What the fix changes in other files.
    pub(super) other_files: OtherFiles,
    /// Targets that no recorded link made.
    pub(super) unmade: Vec<Warned>,
    /// Units whose object the fix changes.
    pub(super) touched: usize,
    /// Units compiled for the comparison.
    pub(super) compiled: usize,
    /// Units for the comparison that came out of the store.
    pub(super) reused: usize,
    /// Some targets are not those that the links of the build made, and something could not be patched.
    pub(super) is_unsure: bool,
}

/// Compares both builds, and links the images.
///
/// # Errors
/// When something cannot be read or written; refusals are in the result.
pub(super) fn compare(
    builds: &Builds<'_>,
    (original, patched): (&Original, &Patched),
    recorder: &Recorder,
    progress: &mut Progress,
) -> Result<Comparison> {
    let found = original.matches(builds.request)?;
    let other_files = OtherFiles::look(original, patched, &found, builds.work);
    progress.begin(Step::Compare);
    let analysis = analyse(original, patched, &found, builds.work, recorder, progress)?;
    let mut warnings = analysis.warnings.clone();
    warnings.extend(read_at_run_time(&patched.files));
    warnings.extend(analysis.lost.iter().map(|name| lost(name)));
    let mut elfs: Vec<ElfReport> =
        analysis.unrecorded.iter().map(|(name, why)| unrecorded(name, why)).collect();
    elfs.extend(analysis.unexplained.iter().map(|name| unexplained(name)));
    elfs.extend(of_untouched(&analysis, original, patched)?);
    progress.begin(Step::Link);
    let outcomes = analysis.reached.iter().map(|reached| {
        check_stopped()?;
        join(reached, &analysis, original, patched)
    });
    let mut outcomes = outcomes.collect::<Result<Vec<_>>>()?;
    let joined = settle(&mut outcomes, |target| original.targets[target].name.clone());
    let idle = idle(builds, (original, patched), &analysis, &joined);
    let reports = outcomes.into_iter().map(|one| one.report);
    elfs.extend(reports.filter(|r| !r.details.is_empty() || !r.refused.is_empty()));
    // The links of %build need not be those of the shipped files.
    let others = found.len() < original.targets.len();
    let unlike = others || found.iter().any(|m| m.fidelity == Fidelity::Mismatch);
    Ok(Comparison {
        is_unsure: unlike && (joined.is_empty() || elfs.iter().any(mismatched)),
        unmade: original.unmade(builds.request, &found).into_iter().map(|name| unmade(name)).collect(),
        touched: analysis.pairs.len(),
        compiled: analysis.compiled,
        reused: analysis.reused,
        elfs,
        warnings,
        joined,
        idle,
        other_files,
    })
}

impl Comparison {
    /// Names what a patch would not reach. Who says which files are meant, with `--elf`, knows of the others.
    pub(super) fn name_others(&mut self, elf: &[String]) {
        self.warnings.extend(self.unmade.iter().cloned());
        if !elf.is_empty() {
            return;
        }
        if self.joined.is_empty() && self.elfs.iter().all(|e| e.refused.is_empty()) {
            self.elfs.extend(self.other_files.refusals());
        } else {
            self.warnings.extend(self.other_files.warnings());
        }
    }
}

/// Could it not be linked, in a file that is not the target's as a whole?
fn mismatched(report: &ElfReport) -> bool {
    report.fidelity == Some(Fidelity::Mismatch) && !report.refused.is_empty()
}

fn unmade(name: &str) -> Warned {
    Warned {
        what: "ELF file not made by a recorded link".into(),
        place: name.into(),
        why: "if the fix reaches it, the patch does not; use --elf to say which files are meant".into(),
    }
}

fn lost(name: &str) -> Warned {
    Warned {
        what: "ELF file not built any more".into(),
        place: name.into(),
        why: "the patched build does not link it; it stays as it is".into(),
    }
}

/// What made this file another one is not in its units: a linker script, or an input that was not seen.
fn unexplained(name: &str) -> ElfReport {
    let why = "its code or data differs, but none of the objects that are known to be in it does";
    let remedy = "leave changes of linker scripts, version scripts and link options out of the fix; if there \
     are \
                  none, please report this";
    refused(name, "linked in another way", why, remedy)
}

/// What the fix does to this file is not known.
fn unrecorded(name: &str, [why, remedy]: &NotKnown) -> ElfReport {
    refused(name, "link not recorded", why, remedy)
}

fn refused(name: &str, what: &str, why: &str, remedy: &str) -> ElfReport {
    let (what, place) = (what.into(), name.into());
    let refused = Refused { what, place, why: why.into(), remedy: remedy.into(), ..Refused::default() };
    ElfReport { name: name.to_owned(), refused: vec![refused], ..ElfReport::default() }
}
