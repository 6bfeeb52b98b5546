//! The patched build with line numbers kept, and without where that makes another build of it.
//!
//! Directives that keep the numbers of unchanged lines are for compilers. A build may read the fix's files in
//! other ways: names made of `__LINE__`, tables that a script makes of a header, sources that are text of the
//! program. The build that counts is the one without directives, so where one with them fails or gives
//! compilers something else to read, it is done over. Most builds do neither, and are done once.

use super::{Builds, Original, Patched};
use crate::build::Recorder;
use crate::error::Result;
use crate::prep::PrepAnswer;
use crate::process::check_stopped;
use crate::progress::Progress;
use crate::scratch::Tree;
use crate::units::other_inputs::{RecordedBuild, read_other_inputs};
use patchfile::exit::BuildExit;
use wrapper::Phase;

impl Builds<'_> {
    /// Builds with the fix, as far as needed: `install` says that `%install` links what is patched.
    ///
    /// # Errors
    /// Exit code 6 where the patched source does not build.
    pub(in crate::pipeline) fn patched(
        &self,
        recorder: &mut Recorder,
        original: &Original,
        install: bool,
        progress: &Progress,
    ) -> Result<Patched> {
        let answer = PrepAnswer::file(self.work, Phase::Patched);
        let built = self.patched_configured(recorder, original, install, progress);
        let renumbered = PrepAnswer::read(&answer)?.is_some_and(|o| o.renumbered > 0);
        let plain = Builds { numbered: false, ..*self };
        let numbered = match built {
            Ok(numbered) if renumbered => numbered,
            Err(failure) if renumbered && failure.words().exit == BuildExit::PatchedBuild => {
                check_stopped()?;
                progress.verbose("it does not build with line numbers kept: once more without");
                self.work.start_over()?;
                recorder.discard(Phase::Patched)?;
                return plain.patched_configured(recorder, original, install, progress);
            }
            other => return other,
        };
        let (place, original_tree) = (self.work.build(), self.work.tree_of(Tree::Original));
        let before =
            RecordedBuild { records: &original.records, window: original.window, tree: &original_tree };
        let after = RecordedBuild { records: &numbered.records, window: numbered.window, tree: &place };
        let Some(what) = read_other_inputs(before, after, &place, &numbered.files) else {
            return Ok(numbered);
        };
        progress
            .verbose(&format!("{what} differs: built once more, to see whether that is of the line numbers"));
        self.work.call(Tree::Numbered);
        self.work.begin(Tree::Patched)?;
        recorder.rename(Phase::Patched, Phase::Numbered)?;
        let built = plain.patched_configured(recorder, original, install, progress)?;
        let truth = RecordedBuild { records: &built.records, window: built.window, tree: &place };
        let numbered_tree = self.work.tree_of(Tree::Numbered);
        let after = RecordedBuild { tree: &numbered_tree, ..after };
        if let Some(what) = read_other_inputs(truth, after, &place, &numbered.files) {
            progress.verbose(&format!("it is, of {what}: line numbers are not kept"));
            self.work.remove(Tree::Numbered)?;
            return Ok(built);
        }
        recorder.discard(Phase::Patched)?;
        recorder.rename(Phase::Numbered, Phase::Patched)?;
        self.work.put_in_place(Tree::Numbered)?;
        self.work.remove(Tree::Patched)?;
        self.work.call(Tree::Patched);
        Ok(numbered)
    }
}
