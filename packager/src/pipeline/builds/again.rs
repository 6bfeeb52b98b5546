//! The patched build in a copy of the tree that the original build left, where that gives what a whole build
//! gives.

use super::both::now;
use super::kept::Kept;
use super::{Builds, Original, Patched, Source};
use crate::build::{Built, Doubt, Recorder, SiteScript, Stage};
use crate::error::{Failure, Result};
use crate::files::plain;
use crate::prep::{PrepAnswer, apply_fix, settle, tree_for};
use crate::process::{Log, Tool, check_stopped};
use crate::progress::Progress;
use crate::scratch::Tree;
use crate::units::Window;
use std::collections::BTreeSet;
use std::path::PathBuf;
use wrapper::Phase;

/// Why a whole build is made.
#[derive(Debug)]
enum Unfit {
    /// This fix cannot be built otherwise.
    Fix(Doubt),
    /// The build does not run again as it must: other fixes fare no better.
    Build(Doubt),
}

impl Builds<'_> {
    /// Builds the fix in a copy of the original's tree. Where a whole build has to be made, there is nothing
    /// of this one, and why, if that was found out by building.
    pub(super) fn patched_again(
        &self,
        recorder: &mut Recorder,
        original: &Original,
        install: bool,
        progress: &Progress,
    ) -> Result<std::result::Result<Patched, Option<Doubt>>> {
        let Source::Spec(spec) = self.source else { return Ok(Err(None)) };
        if let Some(doubt) = original.kept.as_ref().and_then(Kept::whole) {
            progress.verbose(&format!("the fix is built from the start, as before: {doubt}"));
            return Ok(Err(None));
        }
        if self.request.args.full_build || spec.prepares_in_build || recorder.is_without_clang_log() {
            return Ok(Err(None));
        }
        let tried = self.try_again(recorder, original, install, progress);
        let doubt = match tried {
            Ok(Ok(patched)) => {
                progress.verbose("the fix was built in the tree of the original build");
                return Ok(Ok(patched));
            }
            Ok(Err(doubt)) => doubt,
            Err(failure @ Failure::Build(_)) => Unfit::Build(failure.words().to_string()),
            Err(failure) => Unfit::Fix(failure.words().to_string()),
        };
        let (Unfit::Fix(why) | Unfit::Build(why)) = &doubt;
        check_stopped()?;
        progress.verbose(&format!("the fix is built from the start: {why}"));
        self.work.start_over()?;
        let _ = std::fs::remove_file(PrepAnswer::file(self.work, Phase::Patched));
        recorder.phase(Phase::Patched)?;
        recorder.discard(Phase::Patched)?;
        Ok(Err(match doubt {
            Unfit::Build(doubt) => Some(doubt),
            Unfit::Fix(_) => None,
        }))
    }

    fn try_again(
        &self,
        recorder: &mut Recorder,
        original: &Original,
        install: bool,
        progress: &Progress,
    ) -> Result<std::result::Result<Patched, Unfit>> {
        let Source::Spec(spec) = self.source else {
            return Ok(Err(Unfit::Fix("it is no spec file".into())));
        };
        let start = now();
        let (place, aside) = (self.work.build(), self.work.tree_of(Tree::Original));
        let touched = self.touched();
        if touched.old != touched.new {
            return Ok(Err(Unfit::Fix("the fix adds or removes files".into())));
        }
        let prepared = PrepAnswer::file(self.work, Phase::Original);
        let answer = PrepAnswer::read(&prepared)?.unwrap_or_default();
        // The original's tree is looked for where it was.
        let there = |dir: &PathBuf| Some(aside.join(dir.strip_prefix(&place).ok()?));
        let places: Vec<PathBuf> = answer.places.iter().filter_map(there).collect();
        let Some(tree) = tree_for(&places, self.patches, self.request.args.strip) else {
            return Ok(Err(Unfit::Fix("it is not known where the fix belongs".into())));
        };
        let tree = place.join(tree.strip_prefix(&aside).unwrap_or(&tree));
        let files: BTreeSet<PathBuf> = touched.new.iter().map(|file| plain(&tree.join(file))).collect();
        // What only `%install` makes counts only if that is run.
        let mut records = original.records.clone();
        records.links.retain(|link| install || original.stages.in_build(link));
        let built =
            Built { records: &records, window: original.window, place: &place, aside: &aside, files: &files };
        let made = match built.made_by_build(&prepared) {
            Ok(made) => made,
            Err(doubt) => return Ok(Err(Unfit::Fix(doubt))),
        };
        // With all times, and files that have several names with all of them.
        Tool::new("cp").args(["-a", "--reflink=auto", "--"]).arg(aside.join(".")).arg(&place).check()?;
        let applied = apply_fix(&tree, self.patches, self.request.args.strip, self.numbered)?;
        let (files, renumbered) = (applied.files.clone(), applied.renumbered);
        let answer = PrepAnswer { tree: tree.clone(), files, renumbered, ..PrepAnswer::default() };
        answer.write(&PrepAnswer::file(self.work, Phase::Patched))?;
        let fixed = |file: &PathBuf| std::fs::read(file).ok();
        let fix: Vec<_> = built.files.iter().map(fixed).collect();
        for file in made {
            let _ = std::fs::remove_file(file);
        }
        settle();
        recorder.phase(Phase::Patched)?;
        let mut log = Log::create(&self.work.path("log").join("patched.log"))?;
        let script =
            SiteScript::unchanged(&self.work.path("log"), (&aside, &place), &original.records, &touched.new)?;
        recorder.site_script(script.as_ref().map(SiteScript::script));
        let mut stages = vec![Stage::BuildOnly];
        stages.extend(install.then_some(Stage::InstallOnly));
        let ran = stages.into_iter().try_for_each(|stage| {
            self.rpmbuild(spec, recorder, Phase::Patched, stage, &mut log, progress).map(drop)
        });
        recorder.site_script(None);
        ran?;
        if built.files.iter().map(fixed).collect::<Vec<_>>() != fix {
            return Ok(Err(Unfit::Build("the build changes a file of the fix".into())));
        }
        let window = Window { start, end: now() };
        let (units, links) = match built.still_true(&recorder.records(Phase::Patched)?, window) {
            Ok(kept) => kept,
            Err(doubt) => return Ok(Err(Unfit::Build(doubt))),
        };
        recorder.adopt(Phase::Patched, units, links)?;
        let changes = self.changes();
        let files = applied.files;
        let records = recorder.records(Phase::Patched)?;
        Ok(Ok(Patched { records, window, tree: Some(tree), files, changes }))
    }
}
