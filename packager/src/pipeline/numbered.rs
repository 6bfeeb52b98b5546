//! The patched build with line numbers kept, and without where that makes another build of it.
//!
//! Directives that keep the numbers of unchanged lines are for compilers. A build may read the fix's files in other ways: names made of
//! `__LINE__`, tables that a script makes of a header, sources that are text of the program. The build that counts is the one without
//! directives, so where one with them fails or gives compilers something else to read, it is done over. Most builds do neither, and are done
//! once.

use super::builds::{Builds, Original, Patched};
use crate::build::{PATCHED, Recorder};
use crate::error::Result;
use crate::prep::Outcome;
use crate::progress::Progress;
use crate::run::check_stopped;
use crate::units::others::{Build, read_besides};
use patchfile::exit::BuildExit;

/// The tree and the records of the build with directives, while the one without runs.
const ASIDE: &str = "BUILD.numbered";
const PHASE: &str = "numbered";

impl Builds<'_> {
    /// Builds with the fix, as far as needed: `install` says that `%install` links what is patched.
    ///
    /// # Errors
    /// Exit code 6 where the patched source does not build.
    pub(super) fn patched(
        &self,
        recorder: &mut Recorder,
        original: &Original,
        install: bool,
        progress: &Progress,
    ) -> Result<Patched> {
        let answer = Outcome::place(self.work, PATCHED);
        let built = self.patched_configured(recorder, original, install, progress);
        let renumbered = Outcome::read(&answer)?.is_some_and(|o| o.renumbered > 0);
        let plain = Builds { numbered: false, ..*self };
        let numbered = match built {
            Ok(numbered) if renumbered => numbered,
            Err(failure) if renumbered && failure.exit == BuildExit::PatchedBuild => {
                check_stopped()?;
                progress.verbose("it does not build with line numbers kept: once more without");
                self.work.start_over()?;
                recorder.discard(PATCHED)?;
                return plain.patched_configured(recorder, original, install, progress);
            }
            other => return other,
        };
        let (place, aside, orig) = (self.work.build(), self.work.path(ASIDE), self.work.path("BUILD.orig"));
        let before = Build { records: &original.records, window: original.window, tree: &orig };
        let after = Build { records: &numbered.records, window: numbered.window, tree: &place };
        let Some(what) = read_besides(before, after, &place, &numbered.files) else { return Ok(numbered) };
        progress
            .verbose(&format!("{what} differs: built once more, to see whether that is of the line numbers"));
        self.work.set_aside(ASIDE)?;
        recorder.rename(PATCHED, PHASE)?;
        let built = plain.patched_configured(recorder, original, install, progress)?;
        let truth = Build { records: &built.records, window: built.window, tree: &place };
        let after = Build { tree: &aside, ..after };
        if let Some(what) = read_besides(truth, after, &place, &numbered.files) {
            progress.verbose(&format!("it is, of {what}: line numbers are not kept"));
            self.work.forget(ASIDE)?;
            return Ok(built);
        }
        recorder.discard(PATCHED)?;
        recorder.rename(PHASE, PATCHED)?;
        self.work.bring_back(ASIDE, "BUILD.plain")?;
        self.work.forget("BUILD.plain")?;
        Ok(numbered)
    }
}
