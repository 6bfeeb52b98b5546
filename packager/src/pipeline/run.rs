//! A run, step by step.

use super::checks::{OwnTree, early_fit};
use super::compare::refused;
use super::comparison::{Comparison, compare};
use super::ship;
use super::task::Task;
use crate::build::Recorder;
use crate::cli::{Input, Request};
use crate::error::{CompareError, Failure, Result, keep_log};
use crate::output::{Report, RpmInput, Staged, publish};
use crate::progress::{Progress, Step};
use crate::scratch::{Tree, Work};
use crate::target::Fidelity;
use crate::view::View;
use patchfile::exit::BuildExit;
use std::path::Path;
use wrapper::Phase;

/// Makes the patch, with builds that run where `view` shows them. `report` is filled in as far as the run
/// comes.
///
/// # Errors
/// With the exit code of the contract.
pub(crate) fn run(
    request: &Request,
    view: &View,
    progress: &mut Progress,
    report: &mut Report,
) -> Result<()> {
    progress.begin(Step::Prepare);
    let mut staged = Staged::new(&request.args.output)?;
    let args = &request.args;
    let work = Work::create(args.workdir.as_deref(), &request.input.package(), args.keep_workdir)?;
    let work = work.seen(view)?;
    report.built_at = view.at().map(Path::to_path_buf);
    if args.keep_workdir {
        progress.info(&format!("scratch directory: {}", work.root().display()));
    }
    let made = make(request, progress, report, &work, &mut staged);
    end(made, staged, &args.output, report)
}

/// What stays of a run: its results, or the log of what failed.
///
/// # Errors
/// The one that the run met, or when the results cannot be put in their place.
pub(crate) fn end(made: Result<()>, staged: Staged, output: &Path, report: &mut Report) -> Result<()> {
    match made {
        Ok(()) => {
            report.files = publish(staged)?;
            Ok(())
        }
        Err(failure) => {
            if failure.words().exit == BuildExit::Mismatch {
                report.fidelity = Some(Fidelity::Mismatch);
            }
            let patch = report.patch.as_ref().map_or("", |patch| &patch.name);
            Err(keep_log(failure, output, patch))
        }
    }
}

fn make(
    request: &Request,
    progress: &mut Progress,
    report: &mut Report,
    work: &Work,
    staged: &mut Staged,
) -> Result<()> {
    let mut task = Task::read(request, work)?;
    report.take_task(&task);
    if request.args.srpm_only {
        progress.begin(Step::Package);
        return task.packages(&task.naming).source_rpm().and_then(|srpm| staged.file(&srpm));
    }

    progress.begin(Step::OriginalBuild);
    let targets = task.targets.take();
    let task = task;
    let builds = task.builds();
    let mut recorder = Recorder::create(work, request.args.store())?;
    progress.count(&recorder.dir(Phase::Original), None);
    let mut original = builds.original(&mut recorder, targets, progress)?;
    report.take_builds(&[&original.records]);
    report.saved = original.saved.map(|seconds| (seconds * 1000.0).round() / 1000.0);
    let found = original.matches(request)?;
    for told in early_fit(&original, &found, &task)? {
        progress.info(&told);
    }
    let install = found.iter().any(|m| !original.stages.in_build(m.link));

    progress.begin(Step::PatchedBuild);
    work.begin(Tree::Patched)?;
    progress.count(&recorder.dir(Phase::Patched), Some(original.records.units.len()));
    let mut patched = builds.patched(&mut recorder, &original, install, progress)?;
    report.take_builds(&[&original.records, &patched.records]);
    report.take_files(&patched.files);
    let own_tree = match &request.input {
        Input::Tree { dir, .. } => Some(OwnTree::new(dir, &[work.root(), &work.build()])),
        _ => None,
    };
    if let Some(error) = own_tree.as_ref().and_then(|tree| tree.unfixed(&patched.records, &patched.files)) {
        return Err(error.into());
    }

    let mut compared = loop {
        let compared = compare(&builds, (&original, &patched), &recorder, progress)?;
        let deeper = original.given && compared.is_unsure;
        if !(deeper && builds.deepen(&mut recorder, &mut original, &mut patched, progress)?) {
            break compared;
        }
    };
    compared.name_others(&request.args.elf);
    let naming = task.naming.without(&compared.idle);
    report.take_builds(&[&original.records, &patched.records]);
    report.take_comparison(&compared);
    report.without_places(&[&work.build(), work.root()]);
    report.take_idle(&compared.idle, &task, &naming);
    report.show_changes(progress);
    report.show_warnings(progress);
    if let Some(error) = refused(&report.elfs) {
        return Err(error.into());
    }
    if compared.joined.is_empty() {
        let named = own_tree.and_then(|tree| tree.named(&patched.records));
        return Err(named.map_or_else(|| nothing(&compared).into(), Failure::from));
    }

    progress.begin(Step::Package);
    let shipped = ship::make(&task, &naming, &compared.joined, &original.targets)?;
    for what in &shipped.left_out {
        progress.verbose(&format!("no debug information: {what}"));
    }
    let dir = staged.patch_directory(&shipped.manifest, &shipped.files)?;
    report.take_shipped(&shipped);
    if request.rpm {
        for file in task.packages(&naming).rpms(&RpmInput { manifest: &shipped.manifest, dir: &dir })? {
            staged.file(&file)?;
        }
    }
    report.show_result(progress);
    Ok(())
}

/// The fix changes nothing that could be patched.
fn nothing(compared: &Comparison) -> CompareError {
    CompareError::Nothing { why: compared.other_files.nothing(&compared.unmade) }
}
