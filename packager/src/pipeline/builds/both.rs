//! What both builds have in common, and how they go further than at first.

use super::{Original, Patched, Source};
use crate::build::{Recorder, RpmBuild, Stage, TreeBuild};
use crate::cli::Request;
use crate::error::Result;
use crate::process::Log;
use crate::progress::Progress;
use crate::scratch::{Tree, Work};
use crate::source::{GitFix, SpecSource, TreeSource};
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};
use wrapper::Phase;

/// What both builds share.
#[derive(Clone, Copy, Debug)]
pub(in crate::pipeline) struct Builds<'a> {
    pub(in crate::pipeline) request: &'a Request,
    pub(in crate::pipeline) work: &'a Work,
    pub(in crate::pipeline) source: &'a Source,
    pub(in crate::pipeline) patches: &'a [PathBuf],
    /// The fix is applied with directives that keep the numbers of unchanged lines.
    pub(in crate::pipeline) numbered: bool,
}

impl Builds<'_> {
    /// Runs both builds once more, now through `%install`, in the trees that are there. False if there is
    /// nothing more to run.
    pub(in crate::pipeline) fn deepen(
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
        self.work.put_in_place(Tree::Original)?;
        recorder.phase(Phase::Original)?;
        let mut log = Log::create(&self.work.path("log").join("original-install.log"))?;
        self.install_original(spec, recorder, &mut log, progress)?;
        original.installed = true;
        original.go_on(recorder.records(Phase::Original)?);
        self.work.put_in_place(Tree::Patched)?;
        recorder.phase(Phase::Patched)?;
        let mut log = Log::create(&self.work.path("log").join("patched-install.log"))?;
        self.rpmbuild(spec, recorder, Phase::Patched, Stage::InstallOnly, &mut log, progress)?;
        patched.records = recorder.records(Phase::Patched)?;
        patched.window.end = now();
        Ok(true)
    }

    pub(super) fn rpmbuild(
        &self,
        spec: &SpecSource,
        recorder: &Recorder,
        phase: Phase,
        stage: Stage,
        log: &mut Log,
        progress: &Progress,
    ) -> Result<Vec<PathBuf>> {
        let build = RpmBuild {
            source: spec,
            work: self.work,
            recorder,
            phase,
            stage,
            patches: self.patches,
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

    pub(super) fn tree_top(&self, tree: &TreeSource) -> PathBuf {
        self.work.tree(&tree.name)
    }

    /// Copies and builds; gives the directory the commands ran in.
    pub(super) fn build_tree(
        &self,
        tree: &TreeSource,
        git: Option<&GitFix>,
        recorder: &Recorder,
        log: &mut Log,
        phase: Phase,
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
            phase,
            patches: self.patches,
            strip: self.request.args.strip,
            numbered: self.numbered,
            tree: &top,
        };
        build.run(&dir, log, |line| progress.detail(line))?;
        Ok(dir)
    }
}

/// Seconds since the epoch.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}
