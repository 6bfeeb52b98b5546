//! The build as shipped.

use super::both::now;
use super::kept::Kept;
use super::{Builds, Source};
use crate::build::{Recorder, RpmBuild, Stage};
use crate::cli::{Input, Request};
use crate::error::{BuildError, Context, OptionError, Result, TargetError};
use crate::process::{Log, check_stopped};
use crate::progress::{Progress, processor_time};
use crate::source::{SpecSource, TreeSource, missing_build_requires};
use crate::target::{
    Fidelity, Match, Stages, TargetFile, adopt_shipped, from_links, from_root, match_links, strays,
};
use crate::units::Window;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use wrapper::{LinkRecord, Phase, Records};

/// The build as shipped.
#[derive(Debug)]
pub(in crate::pipeline) struct Original {
    pub(in crate::pipeline) records: Records,
    /// The ELF files to patch.
    pub(in crate::pipeline) targets: Vec<TargetFile>,
    /// ELF files of a tree that no recorded link made.
    pub(in crate::pipeline) strays: Vec<String>,
    /// Where they are relative to: the top of the tree, below the build directory.
    pub(in crate::pipeline) top: Option<PathBuf>,
    /// Targets that the build made by no recorded link.
    pub(in crate::pipeline) unseen: Vec<String>,
    pub(in crate::pipeline) stages: Stages,
    /// The targets were named by the user.
    pub(in crate::pipeline) given: bool,
    /// `%install` was run too.
    pub(in crate::pipeline) installed: bool,
    pub(in crate::pipeline) window: Window,
    /// Processor time that was saved because it came out of the store, in seconds.
    pub(in crate::pipeline) saved: Option<f64>,
    /// Its place in the store.
    pub(super) kept: Option<Kept>,
    found: OnceLock<Vec<NumberedMatch>>,
}

/// A match, with the link's number in the records.
type NumberedMatch = (usize, usize, Fidelity, String);

impl Original {
    /// The links that made the targets that are asked for.
    ///
    /// # Errors
    /// When `--elf` names something else, or nothing made a target that the user has named.
    pub(in crate::pipeline) fn matches(&self, request: &Request) -> Result<Vec<Match<'_>>> {
        let names = || self.targets.iter().map(|t| t.name.clone()).collect();
        let wanted = &request.args.elf;
        if let Some(unknown) = wanted.iter().find(|name| !self.targets.iter().any(|t| t.is_called(name))) {
            return Err(OptionError::UnknownElf { wanted: unknown.clone(), known: names() }.into());
        }
        let mut found = self.all_matches();
        if self.given && found.is_empty() {
            if !self.unseen.is_empty() {
                return Err(BuildError::NotRecorded(self.unseen.clone()).into());
            }
            return Err(TargetError::NotBuilt(names()).into());
        }
        found.retain(|m| self.targets[m.target].is_among(wanted));
        Ok(found)
    }

    /// The links that made the targets. This reads everything that was linked, so it is done once.
    fn all_matches(&self) -> Vec<Match<'_>> {
        let found = self.found.get_or_init(|| {
            let number = |link: &LinkRecord| self.records.links.iter().position(|l| std::ptr::eq(l, link));
            let found = match_links(&self.targets, &self.records, &self.stages).into_iter();
            let found = found.filter_map(|m| Some((m.target, number(m.link)?, m.fidelity, m.difference)));
            found.collect()
        });
        let with_link = |(target, link, fidelity, difference): &NumberedMatch| {
            let (target, fidelity, difference) = (*target, *fidelity, difference.clone());
            Some(Match { target, link: self.records.links.get(*link)?, fidelity, difference })
        };
        found.iter().filter_map(with_link).collect()
    }

    /// Takes in what a later part of the build recorded.
    pub(super) fn go_on(&mut self, records: Records) {
        self.records = records;
        self.found = OnceLock::new();
        self.window.end = now();
    }

    /// Names of targets, and of other ELF files of a tree, that none of these links made: what the fix does
    /// to them is not seen.
    pub(in crate::pipeline) fn unmade(&self, request: &Request, found: &[Match<'_>]) -> Vec<&String> {
        let wanted = |t: &TargetFile| t.is_among(&request.args.elf);
        let targets = self.targets.iter().enumerate();
        let missing = targets.filter(|(i, t)| wanted(t) && !found.iter().any(|m| m.target == *i));
        let strays = self.strays.iter().filter(|_| request.args.elf.is_empty());
        missing.map(|(_, t)| &t.name).chain(strays).collect()
    }
}

impl Builds<'_> {
    /// Builds the original and finds the ELF files to patch: those of `targets`, else those that the build
    /// made. A clang that the recorder's log is out of reach of, in a sandbox, fails; then the build runs
    /// once more without it.
    pub(in crate::pipeline) fn original(
        &self,
        recorder: &mut Recorder,
        targets: Option<Vec<TargetFile>>,
        progress: &Progress,
    ) -> Result<Original> {
        let kept = self.kept(recorder, targets.is_some(), progress);
        if let Some(kept) = &kept
            && let Some(original) = self.original_kept(kept, recorder, targets.as_ref(), progress)?
        {
            return Ok(original);
        }
        let since = processor_time();
        let mut built = self.original_once(recorder, targets.clone(), None, progress);
        if let (Some(kept), Ok(original)) = (kept, &mut built) {
            self.keep(&kept, recorder, original, processor_time() - since, progress);
            original.kept = Some(kept);
        }
        let log = std::fs::read(self.work.path("log").join("original.log")).unwrap_or_default();
        if built.is_ok() || !recorder.broke_clang(&log) {
            return built;
        }
        check_stopped()?;
        progress.verbose("clang could not open the recorder's log: once more without that");
        recorder.without_clang_log();
        self.work.start_over()?;
        recorder.discard(Phase::Original)?;
        self.original_once(recorder, targets, None, progress)
    }

    /// `ran` says when it ran, if it is there already.
    pub(super) fn original_once(
        &self,
        recorder: &mut Recorder,
        targets: Option<Vec<TargetFile>>,
        ran: Option<Window>,
        progress: &Progress,
    ) -> Result<Original> {
        recorder.phase(Phase::Original)?;
        let start = now();
        let given = targets.is_some();
        let name = if ran.is_some() { "original-again.log" } else { "original.log" };
        let mut log = Log::create(&self.work.path("log").join(name))?;
        let (mut left, mut unseen) = (Vec::new(), Vec::new());
        let top = match self.source {
            Source::Tree(tree, _) => Some(PathBuf::from(&tree.name)),
            Source::Spec(_) => None,
        };
        let (stages, targets) = match self.source {
            Source::Spec(spec) => {
                self.original_spec(spec, recorder, &mut log, (targets, ran.is_some()), progress)?
            }
            Source::Tree(tree, git) => {
                let dir =
                    self.build_tree(tree, git.as_ref(), recorder, &mut log, Phase::Original, progress)?;
                let (top, own) = (self.tree_top(tree), own_dir(tree, &dir, self));
                let targets = match targets {
                    Some(targets) => {
                        let made = from_links(&recorder.records(Phase::Original)?, &top, &own)?;
                        let is_target = |name: &String| targets.iter().any(|t| t.is_called(name));
                        unseen = strays(&top, &own, &made).into_iter().filter(is_target).collect();
                        targets
                    }
                    None => {
                        let targets = from_links(&recorder.records(Phase::Original)?, &top, &own)?;
                        left = strays(&top, &own, &targets);
                        targets
                    }
                };
                (Stages::default(), targets)
            }
        };
        let records = recorder.records(Phase::Original)?;
        if records.links.iter().all(|l| l.relocatable) {
            let made = match self.source {
                Source::Tree(tree, _) => strays(&self.tree_top(tree), &tree.dir, &[]),
                Source::Spec(_) => Vec::new(),
            };
            let error = match made.is_empty() {
                true => BuildError::NothingLinked,
                false => BuildError::NotRecorded(made),
            };
            return Err(error.into());
        }
        let installed = records.links.iter().any(|l| !stages.in_build(l))
            || self.work.path("log").join("original-installed").exists()
            || !given;
        let mut targets = targets;
        targets.iter_mut().for_each(|target| target.prefer_names_of(&records));
        Ok(Original {
            records,
            targets,
            strays: left,
            top,
            unseen,
            stages,
            given,
            installed,
            window: ran.unwrap_or_else(|| Window { start, end: now() }),
            saved: None,
            kept: None,
            found: OnceLock::new(),
        })
    }

    fn original_spec(
        &self,
        spec: &SpecSource,
        recorder: &Recorder,
        log: &mut Log,
        (targets, is_there): (Option<Vec<TargetFile>>, bool),
        progress: &Progress,
    ) -> Result<(Stages, Vec<TargetFile>)> {
        let given = spec.options.iter().any(|o| o == "--nodeps");
        let missing = if given { Vec::new() } else { missing_build_requires(&spec.build_requires) };
        if !missing.is_empty() {
            return Err(BuildError::MissingRequires(missing).into());
        }
        let stage = if targets.is_some() { Stage::Build } else { Stage::Final };
        if !is_there {
            self.rpmbuild(spec, recorder, Phase::Original, stage, log, progress)?;
        }
        let listing = RpmBuild::links_after_build(self.work, Phase::Original);
        let stages = Stages(Some(Recorder::listed(&listing)));
        let Some(targets) = targets else {
            let mut files = from_buildroots(&RpmBuild::buildroots(self.work))?;
            let spec_file = match &self.request.input {
                Input::Spec { spec, .. } => spec,
                _ => &spec.spec,
            };
            for line in adopt_shipped(&mut files, &spec.package, spec_file, &self.work.path("target")) {
                progress.info(&line);
            }
            return Ok((stages, files));
        };
        let records = recorder.records(Phase::Original)?;
        let found = match_links(&targets, &records, &stages);
        // What differs as a whole may still be the same function by function, if there are symbols to tell.
        let usable = |m: &Match<'_>| m.fidelity != Fidelity::Mismatch || targets[m.target].has_symbols();
        if targets.len() != found.len() || !found.iter().all(usable) {
            self.install_original(spec, recorder, log, progress)?;
        }
        Ok((stages, targets))
    }

    /// `%install` of the original, in the tree that `%build` left: some packages compile and link again while
    /// they install.
    pub(super) fn install_original(
        &self,
        spec: &SpecSource,
        recorder: &Recorder,
        log: &mut Log,
        progress: &Progress,
    ) -> Result<()> {
        progress.verbose("%build did not make every ELF file of the target: running %install too");
        self.rpmbuild(spec, recorder, Phase::Original, Stage::InstallOnly, log, progress).map(drop)
    }
}

/// The user's directory that corresponds to the top of the copy: with git the copy may start further up.
fn own_dir(tree: &TreeSource, dir: &Path, builds: &Builds<'_>) -> PathBuf {
    let top = builds.tree_top(tree);
    let below = dir.strip_prefix(&top).unwrap_or(Path::new(""));
    let mut own = tree.dir.clone();
    for _ in below.components() {
        own.pop();
    }
    own
}

/// All ELF files below the build roots; there is one per package build.
fn from_buildroots(root: &Path) -> Result<Vec<TargetFile>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(root).at(root)? {
        files.extend(from_root(&entry.at(root)?.path())?);
    }
    Ok(files)
}
