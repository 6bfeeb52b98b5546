//! The build with the fix.

use super::both::now;
use super::{Builds, Original, Source};
use crate::build::{Recorder, SiteScript, Stage};
use crate::error::Result;
use crate::prep::{Changes, PatchFiles, PrepAnswer, touched_files};
use crate::process::{Log, check_stopped};
use crate::progress::Progress;
use crate::scratch::Tree;
use crate::units::Window;
use std::path::PathBuf;
use wrapper::{Phase, Records};

/// The build with the fix.
#[derive(Debug)]
pub(in crate::pipeline) struct Patched {
    pub(in crate::pipeline) records: Records,
    pub(in crate::pipeline) window: Window,
    /// Where the fix was applied, if that is known.
    pub(in crate::pipeline) tree: Option<PathBuf>,
    /// Source files that the fix changed, relative to the tree.
    pub(in crate::pipeline) files: Vec<PathBuf>,
    /// The lines of them that it changed, in the original's numbers.
    pub(in crate::pipeline) changes: Changes,
}

impl Builds<'_> {
    /// Builds with the fix, as far as needed: `install` says that `%install` links what is patched. In the
    /// tree of the original build, which lies aside, where that gives the same as a whole build.
    pub(super) fn patched_configured(
        &self,
        recorder: &mut Recorder,
        original: &Original,
        install: bool,
        progress: &Progress,
    ) -> Result<Patched> {
        let doubt = match self.patched_again(recorder, original, install, progress)? {
            Ok(patched) => return Ok(patched),
            Err(doubt) => doubt,
        };
        let patched = self.patched_whole(recorder, original, install, progress)?;
        if let (Some(doubt), Some(kept)) = (doubt, &original.kept) {
            kept.note_whole(&doubt);
        }
        Ok(patched)
    }

    /// What `configure` found out in the original build is not tested again if that changes nothing.
    fn patched_whole(
        &self,
        recorder: &mut Recorder,
        original: &Original,
        install: bool,
        progress: &Progress,
    ) -> Result<Patched> {
        let (to, aside) = (self.work.path("log"), self.work.tree_of(Tree::Original));
        let touched = self.touched();
        let files = touched.old.union(&touched.new).cloned().collect();
        let known = SiteScript::write(&to, (&aside, &self.work.build()), &original.records, &files)?;
        recorder.site_script(known.as_ref().map(SiteScript::script));
        let built = self.patched_once(recorder, install, progress);
        recorder.site_script(None);
        let Some(known) = known.filter(SiteScript::used) else { return built };
        if built.is_ok() && known.held() {
            progress.verbose("what configure found out in the original build was taken over");
            return built;
        }
        check_stopped()?;
        progress.verbose(
            "configure does not come to the same end with what it found out in the original \
         build: once more without that",
        );
        self.work.start_over()?;
        recorder.discard(Phase::Patched)?;
        self.patched_once(recorder, install, progress)
    }

    fn patched_once(&self, recorder: &mut Recorder, install: bool, progress: &Progress) -> Result<Patched> {
        recorder.phase(Phase::Patched)?;
        let start = now();
        let mut log = Log::create(&self.work.path("log").join("patched.log"))?;
        let files = match self.source {
            Source::Spec(spec) => {
                let stage = if install { Stage::Install } else { Stage::Build };
                self.rpmbuild(spec, recorder, Phase::Patched, stage, &mut log, progress)?
            }
            Source::Tree(tree, git) => {
                self.build_tree(tree, git.as_ref(), recorder, &mut log, Phase::Patched, progress)?;
                PrepAnswer::read(&PrepAnswer::file(self.work, Phase::Patched))?
                    .map(|o| o.files)
                    .unwrap_or_default()
            }
        };
        let files = if files.is_empty() { self.touched().new.into_iter().collect() } else { files };
        let changes = self.changes();
        let window = Window { start, end: now() };
        let tree = PrepAnswer::read(&PrepAnswer::file(self.work, Phase::Patched))?.map(|o| o.tree);
        Ok(Patched { records: recorder.records(Phase::Patched)?, window, tree, files, changes })
    }

    /// The lines that the fix changes.
    pub(super) fn changes(&self) -> Changes {
        let diffs: Vec<Vec<u8>> = self.patches.iter().map(|p| std::fs::read(p).unwrap_or_default()).collect();
        Changes::read(diffs.iter().map(Vec::as_slice), self.request.args.strip)
    }

    /// The files that the fix names.
    pub(super) fn touched(&self) -> PatchFiles {
        let mut all = PatchFiles::default();
        for patch in self.patches {
            let files = touched_files(&std::fs::read(patch).unwrap_or_default(), self.request.args.strip);
            all.old.extend(files.old);
            all.new.extend(files.new);
        }
        all
    }
}
