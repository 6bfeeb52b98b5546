//! The phases, one after the other.

use super::analysis::{Unknown, analyse, chosen};
use super::at_run_time;
use super::builds::{Builds, Original, Patched, Source};
use super::contribution;
use super::elsewhere::Elsewhere;
use super::join::{Joined, join, refused};
use super::ledger;
use super::outside::Tree;
use super::shipped;
use super::siblings::settle;
use super::unseen;
use crate::build::Recorder;
use crate::cli::{Args, Input, Request};
use crate::error::{Context, Failure, Result};
use crate::naming::{self, Naming};
use crate::output::{
    ElfReport, PatchPackage, PatchReport, Refused, Report, RpmInput, Staged, Warned, WithoutEffect, merged,
    publish,
};
use crate::progress::Progress;
use crate::run::check_stopped;
use crate::target::{Fidelity, Match, TargetFile, from_files, match_links};
use crate::work::Work;
use patchfile::exit::BuildExit;
use patchfile::manifest::Package;
use std::path::{Path, PathBuf};

/// Makes the patch. `report` is filled in as far as the run comes.
///
/// # Errors
/// With the exit code of the contract.
pub fn run(request: &Request, progress: &mut Progress, report: &mut Report) -> Result<()> {
    progress.phase("prepare");
    let mut staged = Staged::new(&request.args.output)?;
    let work =
        Work::create(request.args.workdir.as_deref(), &request.input.package(), request.args.keep_workdir)?;
    let work = work.seen(&request.view)?;
    report.built_at = request.view.at().map(Path::to_path_buf);
    if request.args.keep_workdir {
        progress.info(&format!("scratch directory: {}", work.root().display()));
    }
    let result = in_work(request, progress, report, &work, &mut staged);
    match result {
        Ok(()) => {
            report.files = publish(staged)?;
            Ok(())
        }
        Err(failure) => Err(keep_log(failure, request)),
    }
}

/// Copies the log of a failed build out of the scratch directory.
fn keep_log(mut failure: Failure, request: &Request) -> Failure {
    if let Some(log) = &failure.log {
        let name = format!("upatch-build-{}", log.file_name().unwrap_or_default().to_string_lossy());
        let kept = request.args.output.join(name);
        let kept = std::path::absolute(&kept).unwrap_or(kept);
        if std::fs::copy(log, &kept).is_ok() {
            failure.log = Some(kept);
        }
    }
    failure
}

fn in_work(
    request: &Request,
    progress: &mut Progress,
    report: &mut Report,
    work: &Work,
    staged: &mut Staged,
) -> Result<()> {
    let source = Source::open(request, work)?;
    let patches = patches(request, &source, work)?;
    let naming = name(request, &source, &patches)?;
    let mut package = source.package();
    let (targets, requires) = targets(request, work, &mut package)?;
    report.package = Some(package.nvr());
    report.patch = Some(PatchReport {
        name: naming.name.clone(),
        version: format!("{}-{}", request.args.patch_version, request.args.patch_release),
        uuid: None,
        cve: naming.cve.clone(),
        description: naming.description.clone(),
        ..PatchReport::default()
    });
    let packager = |naming| PatchPackage {
        request,
        work,
        naming,
        package: &package,
        source: source_of(&source),
        requires: &requires,
        patches: &patches,
    };
    if request.args.srpm_only {
        progress.phase("package");
        return packager(&naming).source_rpm().and_then(|srpm| staged.file(&srpm));
    }

    progress.phase("original build");
    let given = targets.is_some();
    let mut recorder = Recorder::create(work, cache_of(&request.args))?;
    let builds = Builds { request, work, source: &source, patches: &patches, numbered: true };
    let mut original = builds.original(&mut recorder, targets, progress)?;
    count(report, &[&original.records]);
    let found = matches(request, &original, given, report)?;

    progress.phase("patched build");
    work.set_aside("BUILD.orig")?;
    let install = found.iter().any(|m| !original.stages.in_build(m.link));
    let mut patched = builds.patched(&mut recorder, &original, install, progress)?;
    count(report, &[&original.records, &patched.records]);
    if let Some(patch) = &mut report.patch {
        patch.files = patched.files.iter().map(|f| f.display().to_string()).collect();
    }

    let tree = match &request.input {
        Input::Tree { dir, .. } => Some(Tree::new(dir, &[work.root(), &work.build()])),
        _ => None,
    };
    if let Some(failure) = tree.as_ref().and_then(|tree| tree.unfixed(&patched.records, &patched.files)) {
        return Err(failure);
    }

    let mut elsewhere = Elsewhere::look(&original, &patched, &found, work);
    let mut compared = compare(&builds, &original, &patched, &found, &recorder, progress)?;
    // The links of %build may be others than those that were shipped.
    let unsure =
        found.len() < original.targets.len() || found.iter().any(|m| m.fidelity == Fidelity::Mismatch);
    let fails = compared.joined.is_empty() || compared.elfs.iter().any(mismatched);
    let mut missing = unmade(request, &original, &found);
    drop(found);
    if given && unsure && fails && builds.deepen(&mut recorder, &mut original, &mut patched, progress)? {
        let found = matches(request, &original, given, report)?;
        elsewhere = Elsewhere::look(&original, &patched, &found, work);
        compared = compare(&builds, &original, &patched, &found, &recorder, progress)?;
        missing = unmade(request, &original, &found);
    }
    compared.warnings.extend(missing.iter().cloned());
    // Who says which files are meant knows of the others.
    if request.args.elf.is_empty() {
        if compared.joined.is_empty() && compared.elfs.iter().all(|e| e.refused.is_empty()) {
            compared.elfs.extend(elsewhere.refusals());
        } else {
            compared.warnings.extend(elsewhere.warnings());
        }
    }
    count(report, &[&original.records, &patched.records]);
    let all = naming;
    let naming = all.without(&compared.idle);
    compared.name_idle(&patches, &all, &naming, report);
    let joined = compared.into_report(report);
    for detail in report.elfs.iter().flat_map(|e| e.details.iter().map(move |d| (e, d))) {
        progress.verbose(&format!("{}: {}", detail.0.name, detail.1.explain()));
    }
    show_warnings(report, progress);
    if let Some(failure) = refused(&report.elfs) {
        return Err(failure);
    }
    if joined.is_empty() {
        if let Some(failure) = tree.and_then(|tree| tree.named(&patched.records)) {
            return Err(failure);
        }
        let why = elsewhere.nothing(&missing);
        return Err(Failure::new(BuildExit::NoChange, "the patch changes nothing", why)
            .hint("a change of comments, documentation, tests or of programs that are not shipped needs no live patch"));
    }

    progress.phase("package");
    let shipped = shipped::make(
        work,
        request,
        &naming,
        &source,
        package.clone(),
        &patches,
        &joined,
        &original.targets,
    )?;
    for what in &shipped.left_out {
        progress.verbose(&format!("no debug information: {what}"));
    }
    let manifest = shipped.manifest;
    if let Some(patch) = &mut report.patch {
        patch.uuid = Some(manifest.uuid.to_string());
        patch.without_debug = shipped.left_out;
    }
    let dir = staged.patch_directory(&manifest, &shipped.files)?;
    if request.rpm {
        for file in packager(&naming).rpms(&RpmInput { manifest: &manifest, dir: &dir })? {
            staged.file(&file)?;
        }
    }
    for elf in &report.elfs {
        let fidelity =
            elf.fidelity.map_or("", |f| if f == Fidelity::Identical { "identical" } else { "equivalent" });
        progress.info(&format!(
            "{} ({fidelity}): changed {}; new {}",
            elf.name,
            list(&elf.changed),
            list(&elf.new)
        ));
    }
    Ok(())
}

/// Targets that no recorded link made: what the fix does to them is not seen.
fn unmade(request: &Request, original: &Original, found: &[Match<'_>]) -> Vec<Warned> {
    let wanted = |t: &TargetFile| t.is_among(&request.args.elf);
    let targets = original.targets.iter().enumerate();
    let missing = targets.filter(|(i, t)| wanted(t) && !found.iter().any(|m| m.target == *i));
    let strays = original.strays.iter().filter(|_| request.args.elf.is_empty());
    missing
        .map(|(_, t)| &t.name)
        .chain(strays)
        .map(|name| Warned {
            what: "ELF file not made by a recorded link".into(),
            place: name.clone(),
            why: "if the fix reaches it, the patch does not; use --elf to say which files are meant".into(),
        })
        .collect()
}

/// What comparing and linking gave.
#[derive(Debug, Default)]
struct Outcome {
    elfs: Vec<ElfReport>,
    warnings: Vec<Warned>,
    joined: Vec<Joined>,
    /// Numbers of the patch files that contribute nothing.
    idle: Vec<usize>,
    touched: usize,
    compiled: usize,
    reused: usize,
}

fn compare(
    builds: &Builds<'_>,
    original: &Original,
    patched: &Patched,
    matches: &[Match<'_>],
    recorder: &Recorder,
    progress: &mut Progress,
) -> Result<Outcome> {
    progress.phase("compare");
    let analysis = analyse(original, patched, matches, builds.work, recorder, progress)?;
    let mut outcome = Outcome {
        warnings: analysis.warnings.clone(),
        touched: analysis.pairs.len(),
        compiled: analysis.compiled,
        reused: analysis.reused,
        ..Outcome::default()
    };
    outcome.warnings.extend(at_run_time::warning(&patched.files));
    for name in &analysis.lost {
        outcome.warnings.push(Warned {
            what: "ELF file not built any more".into(),
            place: name.clone(),
            why: "the patched build does not link it; it stays as it is".into(),
        });
    }
    outcome.elfs.extend(analysis.unrecorded.iter().map(|(name, why)| unrecorded(name, why)));
    outcome.elfs.extend(analysis.unexplained.iter().map(|name| unexplained(name)));
    for (matched, link) in &analysis.untouched {
        let units: Vec<_> = ledger::unreal(&analysis.unreal).collect();
        let Some(ledger) =
            ledger::of_links((&original.records, matched.link), (&patched.records, link), &units)?
        else {
            continue;
        };
        let report = ElfReport {
            name: original.targets[matched.target].name.clone(),
            ledger: Some(ledger::report(&ledger)),
            refused: ledger.refused.iter().map(Refused::from).collect(),
            ..ElfReport::default()
        };
        outcome.elfs.push(report);
    }
    progress.phase("link");
    let joined = analysis.reached.iter().map(|reached| {
        check_stopped()?;
        join(reached, &analysis, original, patched)
    });
    let mut joined = joined.collect::<Result<Vec<_>>>()?;
    outcome.joined = settle(&mut joined, |target| original.targets[target].name.clone());
    outcome.idle = contribution::idle(builds, (original, patched), &analysis, &outcome.joined);
    let reports = joined.into_iter().map(|one| one.report);
    outcome.elfs.extend(reports.filter(|r| !r.details.is_empty() || !r.refused.is_empty()));
    Ok(outcome)
}

/// What made this file another one is not in its units: a linker script, or an input that was not seen.
fn unexplained(name: &str) -> ElfReport {
    let refused = Refused {
        what: "linked in another way".into(),
        place: name.to_owned(),
        why: "its code or data differs, but none of the objects that are known to be in it does".into(),
        remedy: "leave changes of linker scripts, version scripts and link options out of the fix; if there are none, please report this"
            .into(),
    };
    ElfReport { name: name.to_owned(), refused: vec![refused], ..ElfReport::default() }
}

/// What the fix does to this file is not known.
fn unrecorded(name: &str, [why, remedy]: &Unknown) -> ElfReport {
    let refused = Refused {
        what: "link not recorded".into(),
        place: name.to_owned(),
        why: (*why).into(),
        remedy: (*remedy).into(),
    };
    ElfReport { name: name.to_owned(), refused: vec![refused], ..ElfReport::default() }
}

impl Outcome {
    /// Names the patch files that contribute nothing; `naming` is without the CVE ids that go with them.
    fn name_idle(&mut self, patches: &[PathBuf], all: &Naming, naming: &Naming, report: &mut Report) {
        let Some(patch) = &mut report.patch else { return };
        patch.cve.clone_from(&naming.cve);
        for number in &self.idle {
            let file = patches[*number].file_name().unwrap_or_default().to_string_lossy().into_owned();
            let ids = &all.by_patch[*number];
            let cve = all.cve.iter().filter(|id| !naming.cve.contains(id));
            let cve = cve.filter(|id| ids.contains(&id.to_ascii_uppercase())).cloned().collect();
            let idle = WithoutEffect { file, cve };
            self.warnings.push(contribution::warning(&idle, &naming.name));
            patch.without_effect.push(idle);
        }
    }

    fn into_report(self, report: &mut Report) -> Vec<Joined> {
        report.warnings.extend(self.warnings);
        report.units.touched = self.touched;
        report.units.compiled += self.compiled;
        report.units.reused += self.reused;
        report.fidelity = self.elfs.iter().filter_map(|e| e.fidelity).max();
        report.elfs = self.elfs;
        self.joined
    }
}

/// Could it not be linked, in a file that is not the target's as a whole?
fn mismatched(report: &ElfReport) -> bool {
    report.fidelity == Some(Fidelity::Mismatch) && !report.refused.is_empty()
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "nothing".to_owned() } else { names.join(" ") }
}

fn source_of(source: &Source) -> Option<&crate::source::SpecSource> {
    match source {
        Source::Spec(spec) => Some(spec),
        Source::Tree(..) => None,
    }
}

fn show_warnings(report: &Report, progress: &Progress) {
    let elfs = report.elfs.iter().flat_map(|e| &e.warnings);
    let all = report.warnings.iter().chain(elfs);
    for (what, place, why) in merged(all.map(|w| (w.what.clone(), w.place.clone(), w.why.clone()))) {
        progress.warning(&format!("{what}: {place}: {why}"));
    }
    if !report.problems.is_empty() {
        progress.warning(&format!("{} things could not be recorded, see report.yaml", report.problems.len()));
    }
}

/// Adds up what a build recorded.
/// What the builds have recorded so far, the original first.
fn count(report: &mut Report, builds: &[&wrapper::Records]) {
    let units = || builds.iter().flat_map(|records| &records.units);
    report.units.recorded = builds.first().map_or(0, |records| records.units.len());
    report.units.reused = units().filter(|u| u.reused).count();
    report.units.compiled = units().count() - report.units.reused;
    for problem in builds.iter().flat_map(|records| &records.problems) {
        let text = format!("{}: {}", problem.what, problem.why);
        if !report.problems.contains(&text) {
            report.problems.push(text);
        }
    }
}

/// The store of compiled units, if there is to be one.
pub(crate) fn cache_of(args: &Args) -> Option<PathBuf> {
    if args.no_cache {
        return None;
    }
    let absolute = |p: PathBuf| std::path::absolute(&p).unwrap_or(p);
    if let Some(dir) = &args.cache {
        return Some(absolute(dir.clone()));
    }
    let base = std::env::var_os("XDG_CACHE_HOME").filter(|v| !v.is_empty()).map(PathBuf::from);
    let base = base.or_else(|| std::env::var_os("HOME").map(|h| PathBuf::from(h).join(".cache")))?;
    // Nobody asked for a store: where none can be kept, as in a build service, the run does without.
    Some(absolute(base.join("upatch"))).filter(|dir| can_write(dir))
}

fn can_write(dir: &Path) -> bool {
    let probe = || tempfile::Builder::new().prefix(".probe").tempfile_in(dir);
    std::fs::create_dir_all(dir).is_ok() && probe().is_ok()
}

fn targets(
    request: &Request,
    work: &Work,
    package: &mut Package,
) -> Result<(Option<Vec<TargetFile>>, String)> {
    let own = package.name.clone();
    if request.args.target.is_empty() {
        return Ok((None, own));
    }
    let (files, found) = from_files(&request.args.target, &request.args.debuginfo, &work.path("target"))?;
    let mut requires = own;
    if let Some(found) = found {
        // A sub-package may have another name; what the patch belongs to is the source package's version.
        package.epoch = found.epoch;
        package.version = found.version;
        package.release = found.release;
        requires = found.name;
    }
    Ok((Some(files), requires))
}

/// The fix as files: those given, or git's diff.
fn patches(request: &Request, source: &Source, work: &Work) -> Result<Vec<PathBuf>> {
    let Source::Tree(tree, Some(git)) = source else { return Ok(request.patches.clone()) };
    let path = work.root().join(format!("{}.patch", tree.name));
    git.write_diff(&path)?;
    Ok(vec![path])
}

fn name(request: &Request, source: &Source, patches: &[PathBuf]) -> Result<Naming> {
    let mut texts = Vec::new();
    for patch in patches {
        let data = std::fs::read(patch).what(patch.display().to_string())?;
        let file = patch.file_name().unwrap_or_default().to_string_lossy().into_owned();
        texts.push((file, String::from_utf8_lossy(&data).into_owned()));
    }
    if let (Source::Tree(_, Some(git)), Some((_, text))) = (source, texts.first_mut()) {
        *text = format!("{}\n{text}", git.messages());
    }
    let mut naming = naming::derive(&texts);
    if let Some(name) = &request.args.name {
        naming.name.clone_from(name);
    }
    if !request.args.cve.is_empty() {
        naming.cve.clone_from(&request.args.cve);
    }
    if let Some(description) = &request.args.description {
        naming.description.clone_from(description);
    }
    Ok(naming)
}

/// Ties the targets to links, and refuses targets that nothing made.
fn matches<'r>(
    request: &Request,
    original: &'r Original,
    given: bool,
    report: &mut Report,
) -> Result<Vec<Match<'r>>> {
    for name in &request.args.elf {
        if !original.targets.iter().any(|t| t.is_called(name)) {
            let names: Vec<&str> = original.targets.iter().map(|t| t.name.as_str()).collect();
            return Err(Failure::usage(
                format!("--elf {name}"),
                format!("the package has no such ELF file; it has {}", names.join(", ")),
            ));
        }
    }
    let found = match_links(&original.targets, &original.records, &original.stages);
    if given && found.is_empty() && !original.unseen.is_empty() {
        return Err(unseen::not_recorded(&original.unseen));
    }
    if given && found.is_empty() {
        report.fidelity = Some(Fidelity::Mismatch);
        let names: Vec<&str> = original.targets.iter().map(|t| t.name.as_str()).collect();
        return Err(Failure::new(
            BuildExit::Mismatch,
            "the rebuild does not match --target",
            format!("the source builds none of {}", names.join(", ")),
        )
        .hint("is it the target of another package?"));
    }
    Ok(chosen(found, &original.targets, &request.args.elf))
}
