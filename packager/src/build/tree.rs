//! Building a source tree with the user's commands.

use super::Recorder;
use crate::error::{BuildError, Result, Side};
use crate::prep::{Applied, PrepAnswer, apply_fix, settle, tree_for, try_fix};
use crate::process::{Log, Tool, word};
use crate::scratch::Work;
use crate::source::TreeSource;
use std::path::{Path, PathBuf};
use wrapper::Phase;

/// One build of a tree.
#[derive(Debug)]
pub(crate) struct TreeBuild<'a> {
    /// What is built.
    pub source: &'a TreeSource,
    /// Scratch space.
    pub work: &'a Work,
    /// The recording.
    pub recorder: &'a Recorder,
    /// Which build it is.
    pub phase: Phase,
    /// The fix. In the original build it is only tried whether it applies.
    pub patches: &'a [PathBuf],
    /// Directory names to strip from names in the fix.
    pub strip: u32,
    /// With directives that keep the numbers of unchanged lines.
    pub numbered: bool,
    /// Where file names in the fix start, relative to the tree (git: the top of the repository).
    pub tree: &'a Path,
}

impl TreeBuild<'_> {
    /// Prepares, applies the fix, builds in `dir`. `line` gets each line of the log.
    ///
    /// # Errors
    /// Exit code 5 for the original build, 6 for the patched one.
    pub(crate) fn run(&self, dir: &Path, log: &mut Log, mut line: impl FnMut(&str)) -> Result<Applied> {
        if let Some(prepare) = &self.source.prepare {
            self.shell(prepare, "--prepare", dir, log, &mut line)?;
        }
        let mut applied = Applied::default();
        let candidates = [self.tree.to_path_buf(), dir.to_path_buf()];
        let tree = tree_for(&candidates, self.patches, self.strip).unwrap_or_else(|| dir.to_path_buf());
        if self.phase == Phase::Original {
            try_fix(&tree, self.patches, self.strip)?;
        } else {
            applied = apply_fix(&tree, self.patches, self.strip, self.numbered)?;
            let (files, renumbered) = (applied.files.clone(), applied.renumbered);
            let outcome = PrepAnswer { files, renumbered, tree, ..PrepAnswer::default() };
            outcome.write(&PrepAnswer::file(self.work, Phase::Patched))?;
        }
        settle();
        self.shell(&self.source.build, "--build", dir, log, &mut line)?;
        Ok(applied)
    }

    fn shell(
        &self,
        command: &str,
        option: &str,
        dir: &Path,
        log: &mut Log,
        line: &mut impl FnMut(&str),
    ) -> Result<()> {
        let status = Tool::new("/bin/sh")
            .args(["-e", "-c", command])
            .dir(dir)
            .envs(self.recorder.env())
            .env("TMPDIR", self.work.path("tmp"))
            .logged(log, line)?;
        if status.success() {
            return Ok(());
        }
        let text = log.text();
        let errors: Vec<&str> =
            text.lines().filter(|l| l.contains("error:") || l.contains("*** ")).take(3).collect();
        let mut why = format!("{option} '{command}' ended with {status}");
        if !errors.is_empty() {
            why = format!("{why}; {}", errors.join("; "));
        }
        let here = self.work.is_kept().then(|| self.work.kept_place(dir));
        let again = here.map(|dir| format!("cd {} && {command}", word(&dir.to_string_lossy())));
        Err(BuildError::Fails { side: Side::of(self.phase), why, log: log.path.clone(), again }.into())
    }
}
