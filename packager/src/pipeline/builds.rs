//! The two builds, whatever the source is.

use super::unseen::nothing_linked;
use crate::build::{Configured, ORIGINAL, PATCHED, Recorder, RpmBuild, Stage, TreeBuild};
use crate::cli::{Input, Request};
use crate::error::{Context, Failure, Result};
use crate::prep::{Changes, Outcome, PatchFiles, touched_files};
use crate::progress::Progress;
use crate::run::{Log, check_stopped};
use crate::source::{GitFix, SpecSource, TreeSource, missing_build_requires, unpack};
use crate::target::{
    Fidelity, Match, Stages, TargetFile, adopt_shipped, from_links, from_root, match_links, strays,
};
use crate::units::Window;
use crate::work::Work;
use patchfile::exit::BuildExit;
use patchfile::manifest::Package;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};
use wrapper::Records;

/// What is built.
#[derive(Debug)]
pub(super) enum Source {
    Spec(SpecSource),
    Tree(TreeSource, Option<GitFix>),
}

/// The build as shipped.
#[derive(Debug)]
pub(super) struct Original {
    pub(super) records: Records,
    /// The ELF files to patch.
    pub(super) targets: Vec<TargetFile>,
    /// ELF files of a tree that no recorded link made.
    pub(super) strays: Vec<String>,
    /// Where they are relative to: the top of the tree, below the build directory.
    pub(super) top: Option<PathBuf>,
    /// Targets that the build made by no recorded link.
    pub(super) unseen: Vec<String>,
    pub(super) stages: Stages,
    /// `%install` was run too.
    pub(super) installed: bool,
    pub(super) window: Window,
}

/// The build with the fix.
#[derive(Debug)]
pub(super) struct Patched {
    pub(super) records: Records,
    pub(super) window: Window,
    /// Where the fix was applied, if that is known.
    pub(super) tree: Option<PathBuf>,
    /// Source files that the fix changed, relative to the tree.
    pub(super) files: Vec<PathBuf>,
    /// The lines of them that it changed, in the original's numbers.
    pub(super) changes: Changes,
}

/// Both builds share these.
#[derive(Clone, Copy, Debug)]
pub(super) struct Builds<'a> {
    pub(super) request: &'a Request,
    pub(super) work: &'a Work,
    pub(super) source: &'a Source,
    pub(super) patches: &'a [PathBuf],
    /// The fix is applied with directives that keep the numbers of unchanged lines.
    pub(super) numbered: bool,
}

impl Source {
    /// Reads the source's description.
    pub(super) fn open(request: &Request, work: &Work) -> Result<Self> {
        match &request.input {
            Input::Spec { spec, sourcedir } => {
                SpecSource::read(spec, sourcedir, &request.rpmbuild).map(Self::Spec)
            }
            Input::Srpm(srpm) => {
                let dir = work.path("srpm");
                let spec = unpack(srpm, &dir)?;
                SpecSource::read(&spec, &dir, &request.rpmbuild).map(Self::Spec)
            }
            Input::Tree { dir, build, prepare, git } => {
                let name = dir.file_name().unwrap_or_default().to_string_lossy();
                let name: String = name
                    .chars()
                    .map(|c| if c.is_ascii_alphanumeric() || "._+-".contains(c) { c } else { '-' })
                    .collect();
                let name = name.trim_start_matches(['.', '-']).to_owned();
                let name = if name.is_empty() { "source".to_owned() } else { name };
                let git = git.as_ref().map(|(base, head)| GitFix::open(dir, base, head)).transpose()?;
                let tree =
                    TreeSource { dir: dir.clone(), name, build: build.clone(), prepare: prepare.clone() };
                Ok(Self::Tree(tree, git))
            }
        }
    }

    /// The package it describes.
    pub(super) fn package(&self) -> Package {
        match self {
            Self::Spec(spec) => spec.package.clone(),
            Self::Tree(tree, _) => Package {
                name: tree.name.clone(),
                epoch: None,
                version: String::new(),
                release: String::new(),
            },
        }
    }

    /// Its licence, if known.
    pub(super) fn license(&self) -> String {
        match self {
            Self::Spec(spec) => spec.license.clone(),
            Self::Tree(..) => String::new(),
        }
    }
}

impl Builds<'_> {
    /// Builds the original and finds the ELF files to patch: those of `targets`, else those that the build made. A clang that the
    /// recorder's log is out of reach of, in a sandbox, fails; then the build runs once more without it.
    pub(super) fn original(
        &self,
        recorder: &mut Recorder,
        targets: Option<Vec<TargetFile>>,
        progress: &Progress,
    ) -> Result<Original> {
        let built = self.original_once(recorder, targets.clone(), progress);
        let log = std::fs::read(self.work.path("log").join("original.log")).unwrap_or_default();
        if built.is_ok() || !recorder.broke_clang(&log) {
            return built;
        }
        check_stopped()?;
        progress.verbose("clang could not open the recorder's log: once more without that");
        recorder.without_clang_log();
        self.work.start_over()?;
        recorder.discard(ORIGINAL)?;
        self.original_once(recorder, targets, progress)
    }

    fn original_once(
        &self,
        recorder: &mut Recorder,
        targets: Option<Vec<TargetFile>>,
        progress: &Progress,
    ) -> Result<Original> {
        recorder.phase(ORIGINAL)?;
        let start = now();
        let given = targets.is_some();
        let mut log = Log::create(&self.work.path("log").join("original.log"))?;
        let (mut left, mut unseen) = (Vec::new(), Vec::new());
        let top = match self.source {
            Source::Tree(tree, _) => Some(PathBuf::from(&tree.name)),
            Source::Spec(_) => None,
        };
        let (stages, targets) = match self.source {
            Source::Spec(spec) => self.original_spec(spec, recorder, &mut log, targets, progress)?,
            Source::Tree(tree, git) => {
                let dir = self.build_tree(tree, git.as_ref(), recorder, &mut log, &[], progress)?;
                let (top, own) = (self.tree_top(tree), own_dir(tree, &dir, self));
                let targets = match targets {
                    Some(targets) => {
                        let made = from_links(&recorder.records(ORIGINAL)?, &top, &own)?;
                        let is_target = |name: &String| targets.iter().any(|t| t.is_called(name));
                        unseen = strays(&top, &own, &made).into_iter().filter(is_target).collect();
                        targets
                    }
                    None => {
                        let targets = from_links(&recorder.records(ORIGINAL)?, &top, &own)?;
                        left = strays(&top, &own, &targets);
                        targets
                    }
                };
                (Stages::default(), targets)
            }
        };
        let records = recorder.records(ORIGINAL)?;
        if records.links.iter().all(|l| l.relocatable) {
            return Err(match self.source {
                Source::Tree(tree, _) => nothing_linked(&strays(&self.tree_top(tree), &tree.dir, &[])),
                Source::Spec(_) => nothing_linked(&[]),
            });
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
            installed,
            window: Window { start, end: now() },
        })
    }

    fn original_spec(
        &self,
        spec: &SpecSource,
        recorder: &Recorder,
        log: &mut Log,
        targets: Option<Vec<TargetFile>>,
        progress: &Progress,
    ) -> Result<(Stages, Vec<TargetFile>)> {
        let given = spec.options.iter().any(|o| o == "--nodeps");
        let missing = if given { Vec::new() } else { missing_build_requires(&spec.build_requires) };
        if !missing.is_empty() {
            return Err(Failure::new(BuildExit::OriginalBuild, "missing BuildRequires", missing.join(", "))
                .hint("install them; if they are there under another name, pass --nodeps"));
        }
        let stage = if targets.is_some() { Stage::Build } else { Stage::Final };
        self.rpmbuild(spec, recorder, ORIGINAL, stage, &[], log, progress)?;
        let listing = RpmBuild::links_after_build(self.work, ORIGINAL);
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
        let records = recorder.records(ORIGINAL)?;
        let found = match_links(&targets, &records, &stages);
        // What differs as a whole may still be the same function by function, if there are symbols to tell.
        let usable = |m: &Match<'_>| m.fidelity != Fidelity::Mismatch || targets[m.target].has_symbols();
        if targets.len() != found.len() || !found.iter().all(usable) {
            self.install_original(spec, recorder, log, progress)?;
        }
        Ok((stages, targets))
    }

    /// `%install` of the original, in the tree that `%build` left: some packages compile and link again while they install.
    fn install_original(
        &self,
        spec: &SpecSource,
        recorder: &Recorder,
        log: &mut Log,
        progress: &Progress,
    ) -> Result<()> {
        progress.verbose("%build did not make every ELF file of the target: running %install too");
        self.rpmbuild(spec, recorder, ORIGINAL, Stage::InstallOnly, &[], log, progress).map(drop)
    }

    /// Both builds once more, now through `%install`, in the trees that are there. False if there is nothing more to run.
    pub(super) fn deepen(
        &self,
        recorder: &mut Recorder,
        original: &mut Original,
        patched: &mut Patched,
        progress: &Progress,
    ) -> Result<bool> {
        let Source::Spec(spec) = self.source else { return Ok(false) };
        if original.installed {
            return Ok(false);
        }
        if self.work.path("BUILD.orig").exists() {
            self.work.bring_back("BUILD.orig", "BUILD.patched")?;
        }
        recorder.phase(ORIGINAL)?;
        let mut log = Log::create(&self.work.path("log").join("original-install.log"))?;
        self.install_original(spec, recorder, &mut log, progress)?;
        original.installed = true;
        original.records = recorder.records(ORIGINAL)?;
        original.window.end = now();
        self.work.bring_back("BUILD.patched", "BUILD.orig")?;
        recorder.phase(PATCHED)?;
        let mut log = Log::create(&self.work.path("log").join("patched-install.log"))?;
        self.rpmbuild(spec, recorder, PATCHED, Stage::InstallOnly, self.patches, &mut log, progress)?;
        patched.records = recorder.records(PATCHED)?;
        patched.window.end = now();
        Ok(true)
    }

    /// Builds with the fix, as far as needed: `install` says that `%install` links what is patched. What `configure` found out in
    /// the original build, whose tree lies aside, is not tested again if that changes nothing.
    pub(super) fn patched_configured(
        &self,
        recorder: &mut Recorder,
        original: &Original,
        install: bool,
        progress: &Progress,
    ) -> Result<Patched> {
        let (to, aside) = (self.work.path("log"), self.work.path("BUILD.orig"));
        let touched = self.touched();
        let files = touched.old.union(&touched.new).cloned().collect();
        let known = Configured::write(&to, (&aside, &self.work.build()), &original.records, &files)?;
        recorder.site_script(known.as_ref().map(Configured::script));
        let built = self.patched_once(recorder, install, progress);
        recorder.site_script(None);
        let Some(known) = known.filter(Configured::used) else { return built };
        if built.is_ok() && known.held() {
            progress.verbose("what configure found out in the original build was taken over");
            return built;
        }
        check_stopped()?;
        progress.verbose("configure does not come to the same end with what it found out in the original build: once more without that");
        self.work.start_over()?;
        recorder.discard(PATCHED)?;
        self.patched_once(recorder, install, progress)
    }

    fn patched_once(&self, recorder: &mut Recorder, install: bool, progress: &Progress) -> Result<Patched> {
        recorder.phase(PATCHED)?;
        let start = now();
        let mut log = Log::create(&self.work.path("log").join("patched.log"))?;
        let files = match self.source {
            Source::Spec(spec) => {
                let stage = if install { Stage::Install } else { Stage::Build };
                self.rpmbuild(spec, recorder, PATCHED, stage, self.patches, &mut log, progress)?
            }
            Source::Tree(tree, git) => {
                self.build_tree(tree, git.as_ref(), recorder, &mut log, self.patches, progress)?;
                Outcome::read(&Outcome::place(self.work, PATCHED))?.map(|o| o.files).unwrap_or_default()
            }
        };
        let files = if files.is_empty() { self.touched().new.into_iter().collect() } else { files };
        let diffs: Vec<Vec<u8>> = self.patches.iter().map(|p| std::fs::read(p).unwrap_or_default()).collect();
        let changes = Changes::read(diffs.iter().map(Vec::as_slice), self.request.args.strip);
        let window = Window { start, end: now() };
        let tree = Outcome::read(&Outcome::place(self.work, PATCHED))?.map(|o| o.tree);
        Ok(Patched { records: recorder.records(PATCHED)?, window, tree, files, changes })
    }

    /// The files that the fix names.
    fn touched(&self) -> PatchFiles {
        let mut all = PatchFiles::default();
        for patch in self.patches {
            let files = touched_files(&std::fs::read(patch).unwrap_or_default(), self.request.args.strip);
            all.old.extend(files.old);
            all.new.extend(files.new);
        }
        all
    }

    #[expect(clippy::too_many_arguments, reason = "one call per stage, all of them differ")]
    fn rpmbuild(
        &self,
        spec: &SpecSource,
        recorder: &Recorder,
        phase: &str,
        stage: Stage,
        patches: &[PathBuf],
        log: &mut Log,
        progress: &Progress,
    ) -> Result<Vec<PathBuf>> {
        let build = RpmBuild {
            source: spec,
            work: self.work,
            recorder,
            phase,
            stage,
            patches,
            strip: self.request.args.strip,
            numbered: self.numbered,
            jobs: self.request.args.jobs,
        };
        let outcome = build.run(log, |line| progress.detail(line))?;
        if outcome.renumbered > 0 {
            progress.verbose(&format!(
                "line numbers kept in {} files of {}",
                outcome.renumbered,
                outcome.tree.display()
            ));
        }
        Ok(outcome.files)
    }

    fn tree_top(&self, tree: &TreeSource) -> PathBuf {
        self.work.tree(&tree.name)
    }

    /// Copies and builds; gives the directory the commands ran in.
    fn build_tree(
        &self,
        tree: &TreeSource,
        git: Option<&GitFix>,
        recorder: &Recorder,
        log: &mut Log,
        patches: &[PathBuf],
        progress: &Progress,
    ) -> Result<PathBuf> {
        let top = self.tree_top(tree);
        let dir = match git {
            Some(git) => git.check_out(&top, &self.work.path("tmp").join("git-index"))?,
            None => {
                let left = tree.copy(&top)?;
                if left > 0 {
                    progress.verbose(&format!(
                        "{left} build products of {} left out of the copy",
                        tree.dir.display()
                    ));
                }
                top.clone()
            }
        };
        let build = TreeBuild {
            source: tree,
            work: self.work,
            recorder,
            patches,
            strip: self.request.args.strip,
            numbered: self.numbered,
            tree: &top,
        };
        build.run(&dir, log, |line| progress.detail(line))?;
        Ok(dir)
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
    for entry in std::fs::read_dir(root).what(root.display().to_string())? {
        files.extend(from_root(&entry.what(root.display().to_string())?.path())?);
    }
    Ok(files)
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}
