//! The original build out of the store, where nothing that it is made from has changed.

use super::{Builds, Original, Source};
use crate::build::Recorder;
use crate::error::{PrepError, Result, StoreError};
use crate::kept::{BuildKey, KeptBuild, KeptBuilds};
use crate::prep::{PrepAnswer, tree_for, try_fix};
use crate::process::check_stopped;
use crate::progress::Progress;
use crate::source::SpecSource;
use crate::target::TargetFile;
use crate::units::Window;
use wrapper::Phase;

/// The store, and this build's key in it.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    store: KeptBuilds,
    key: BuildKey,
}

impl Kept {
    /// Why fixes of this build are built from the start, if that was found out before.
    pub(super) fn whole(&self) -> Option<String> {
        self.store.note(&self.key)
    }

    /// Notes that, for later runs.
    pub(super) fn note_whole(&self, doubt: &str) {
        self.store.keep_note(&self.key, doubt);
    }
}

impl Builds<'_> {
    /// Where the original build is kept. `None` if it is not: there is no store, or something that it is made
    /// from cannot be named.
    pub(super) fn kept(&self, recorder: &Recorder, given: bool, progress: &Progress) -> Option<Kept> {
        let Source::Spec(spec) = self.source else { return None };
        if self.request.args.full_build || recorder.is_without_clang_log() {
            return None;
        }
        let store = self.request.args.store()?;
        let found =
            KeptBuilds::open(&store).and_then(|store| Ok(Kept { store, key: self.key(spec, given)? }));
        found
            .map_err(|why| progress.verbose(&format!("the original build is not kept: {}", why.words())))
            .ok()
    }

    fn key(&self, spec: &SpecSource, given: bool) -> Result<BuildKey> {
        BuildKey::of_spec(self.request, spec, self.work, &Recorder::programs()?, given)
    }

    /// The original build out of the store. `None` if it is not there, or not whole, or the fix does not go
    /// on what the build left of the sources: then the build itself tells.
    pub(super) fn original_kept(
        &self,
        kept: &Kept,
        recorder: &mut Recorder,
        targets: Option<&Vec<TargetFile>>,
        progress: &Progress,
    ) -> Result<Option<Original>> {
        let Some(found) = kept.store.find(&kept.key) else {
            if progress.is_verbose()
                && let Some(changed) = kept.store.changed(&kept.key)
            {
                let what = if changed.is_empty() { "a file that it read".into() } else { changed.join(", ") };
                progress.verbose(&format!("the original build is made again, as this has changed: {what}"));
            }
            return Ok(None);
        };
        let own = recorder.identity();
        match self.original_from(&found, recorder, targets, progress) {
            Ok(mut original) => {
                let saved = found.about().cpu;
                progress.info(&format!(
                    "the original build comes out of the store: {saved:.1} s of processor time saved"
                ));
                original.saved = Some(saved);
                original.kept = Some(kept.clone());
                original.records.units.iter_mut().for_each(|unit| unit.reused = true);
                Ok(Some(original))
            }
            Err(why) => {
                check_stopped()?;
                progress.verbose(&format!("the original build is made again: {}", why.words()));
                KeptBuild::take_away(self.work)?;
                recorder.resume(&own)?;
                Ok(None)
            }
        }
    }

    fn original_from(
        &self,
        found: &KeptBuild,
        recorder: &mut Recorder,
        targets: Option<&Vec<TargetFile>>,
        progress: &Progress,
    ) -> Result<Original> {
        found.put_back(self.work)?;
        recorder.resume(&found.about().session)?;
        let answer = PrepAnswer::read(&PrepAnswer::file(self.work, Phase::Original))?.unwrap_or_default();
        // Where the sources are ready only while the build runs, there was no trial.
        if !answer.places.is_empty() {
            let strip = self.request.args.strip;
            let tree = tree_for(&answer.places, self.patches, strip).ok_or(PrepError::NoTree)?;
            try_fix(&tree, self.patches, strip)?;
        }
        let (start, end) = found.about().window;
        self.original_once(recorder, targets.cloned(), Some(Window { start, end }), progress)
    }

    /// Keeps the original build for later runs. Where that fails, the next run builds it again.
    pub(super) fn keep(
        &self,
        kept: &Kept,
        recorder: &Recorder,
        original: &Original,
        cpu: f64,
        progress: &Progress,
    ) {
        let Source::Spec(spec) = self.source else { return };
        let facts = (recorder.identity(), original.window, cpu);
        let kept = || -> Result<()> {
            if !original.records.problems.is_empty() {
                return Err(StoreError::NotNamed("something that was not recorded").into());
            }
            if self.key(spec, original.given)? != kept.key {
                return Err(StoreError::Changed.into());
            }
            kept.store.keep(&kept.key, self.work, &original.records, facts)
        };
        if let Err(why) = kept() {
            progress.verbose(&format!("the original build is not kept: {}", why.words()));
        }
    }
}
