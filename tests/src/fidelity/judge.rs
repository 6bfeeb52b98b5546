//! One target: does the engine say that the patch fits, and is that right?

use super::marks::Choice;
use super::model::Model;
use super::rebuild::{self, Answer, Objects, Rebuild};
use super::vary::Variation;
use crate::random::build::{self, Built};
use crate::random::pair::{LIVE_LIMIT, cold, patiently, wrong};
use crate::random::process::Running;
use anyhow::{Context, Result};
use applier::{LoadedElf, LoadedPatch, Options};
use fastrand::Rng;
use linker::LinkOutput;
use patchfile::{Uuid, image::Image};
use std::path::Path;
use std::process::Command;

/// What became of a pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Accepted, and the patched process does what the target's sources with the fix do.
    Right,
    /// Another program, refused.
    Refused(String),
    /// Only laid out otherwise, and refused.
    FalseRefusal(Vec<String>),
    /// Accepted though behaviour differs.
    Wrong(String),
    /// The variation left no trace in any loaded byte of the target.
    NoTrace,
    /// No pair: it does not compile, runs too long, or prints something else each time.
    Unfit(String),
    /// Something failed that may not fail.
    Failed(String),
}

impl Verdict {
    pub(super) fn is_bad(&self) -> bool {
        matches!(self, Self::FalseRefusal(_) | Self::Wrong(_) | Self::Failed(_))
    }
}

/// What it takes to judge.
#[derive(Debug)]
pub(super) struct Judge<'a> {
    pub(super) objects: &'a mut Objects,
    /// What the rebuild is built from.
    pub(super) model: &'a Model,
    pub(super) rebuild: &'a Rebuild,
    pub(super) fix: Choice,
    pub(super) dir: &'a Path,
}

impl Judge<'_> {
    /// The verdict, and what was given to the engine.
    pub(super) fn pair(&mut self, rng: &mut Rng, variation: &Variation) -> (Verdict, String) {
        let (target, prints) = match self.target(variation, &variation.choices, &variation.folder) {
            Ok(all) => all,
            Err(e) => return (Verdict::Unfit(format!("target: {e:#}")), String::new()),
        };
        // Without any symbols, what lies elsewhere is not found, and need not be.
        let with_debug = variation.layout_only || rng.bool();
        let debug = (target.target != target.linked && with_debug).then(|| debug_of(&target));
        let details = format!("debug information apart: {}", debug.is_some());
        let debug = match debug.transpose() {
            Ok(debug) => debug,
            Err(e) => return (Verdict::Failed(format!("objcopy: {e:#}")), details),
        };
        let same = target.target == self.rebuild.built.target;
        let symbols = debug.is_some() || target.target == target.linked;
        let verdict = match self.rebuild.ask(&target.target, debug.as_deref()) {
            Ok(Answer::Fits(_)) if same && !variation.layout_only => Verdict::NoTrace,
            Ok(Answer::Fits(output)) => match self.live(variation, &target, &prints, &output) {
                Verdict::Wrong(_) if self.leaves_no_trace(variation, symbols) => Verdict::NoTrace,
                verdict => verdict,
            },
            Ok(Answer::Refused(why)) if variation.layout_only => Verdict::FalseRefusal(why),
            Ok(Answer::Refused(why)) => Verdict::Refused(why.into_iter().next().unwrap_or_default()),
            Err(e) => Verdict::Failed(format!("{e:#}")),
        };
        (verdict, details)
    }

    /// Is the target, with its debug information if the engine had that, the same as without the variation?
    /// Then nobody can tell. Macros in debug information (`-g3`) do not count, nor do the sums over source
    /// files that clang writes with DWARF 5, nor does the number of the build that covers all of it.
    fn leaves_no_trace(&self, variation: &Variation, symbols: bool) -> bool {
        let folder = format!("{}-trace", variation.folder);
        let without = self.model;
        let file = |model: &Model, choices: &[Choice]| {
            let mut one = Variation { model: model.clone(), ..variation.clone() };
            one.model.plan.compile.iter_mut().filter(|f| **f == "-g3").for_each(|f| *f = "-g");
            if one.model.plan.compile.iter().any(|f| f.starts_with("-g")) {
                one.model.plan.compile.insert(0, "-gdwarf-4");
            }
            one.model.plan.link.retain(|f| !f.contains("build-id"));
            one.model.plan.link.push("-Wl,--build-id=none");
            let _ = std::fs::remove_dir_all(self.dir.join(&folder));
            // Objects that were compiled elsewhere name another folder.
            let mut fresh = Judge { objects: &mut Objects::default(), ..*self };
            let (built, _) = fresh.target(&one, choices, &folder).ok()?;
            Some(if symbols { built.linked } else { built.target })
        };
        let with = file(&variation.model, &variation.choices);
        with.is_some() && with == file(without, &[])
    }

    fn target(
        &mut self,
        variation: &Variation,
        choices: &[Choice],
        folder: &str,
    ) -> Result<(Built, [String; 2])> {
        let sources = variation.model.render(choices);
        let dir = self.dir.join(folder);
        let built = rebuild::build(self.objects, &dir, &variation.model, &sources, &variation.order)?;
        let prints = cold(&built.program)?;
        Ok((built, prints))
    }

    /// The patch in the running target, compared with what the target's sources with the fix do.
    fn live(
        &mut self,
        variation: &Variation,
        target: &Built,
        before: &[String; 2],
        output: &LinkOutput,
    ) -> Verdict {
        let mut choices = variation.choices.clone();
        choices.push(self.fix);
        let folder = format!("{}-fixed", variation.folder);
        let fixed = match self.target(variation, &choices, &folder) {
            Ok((_, prints)) => prints,
            Err(e) => return Verdict::Unfit(format!("target with the fix: {e:#}")),
        };
        match patched(target, output, before, &fixed) {
            Ok(None) => Verdict::Right,
            Ok(Some(why)) => Verdict::Wrong(why),
            Err(e) => Verdict::Failed(format!("{e:#}")),
        }
    }
}

/// What a process of the target does that it should not do.
fn patched(
    target: &Built,
    output: &LinkOutput,
    before: &[String; 2],
    after: &[String; 2],
) -> Result<Option<String>> {
    let linker::Product::Image(made) = &output.product;
    let image = Image::parse(&made.write()?).context("reading the image")?;
    let uuid = Uuid::from_bytes(fastrand::u128(..).to_le_bytes());
    let patch = LoadedPatch { uuid, name: "FIDELITY".into(), elfs: vec![LoadedElf { index: 0, image }] };
    let mut running = Running::start(&target.program, LIVE_LIMIT)?;
    let pid = running.pid();
    let options = Options::default();
    if let Some(why) = wrong(&mut running, "before", Some(before)) {
        return Ok(Some(why));
    }
    patiently(|| applier::apply(pid, &patch, &options)).context("apply")?;
    if let Some(why) = wrong(&mut running, "patched", Some(after)) {
        return Ok(Some(why));
    }
    patiently(|| applier::deactivate(pid, uuid, &options)).context("deactivate")?;
    Ok(wrong(&mut running, "deactivated", Some(before)))
}

fn debug_of(target: &Built) -> Result<Vec<u8>> {
    let (whole, debug) = (target.dir.join("unstripped"), target.dir.join("program.debug"));
    std::fs::write(&whole, &target.linked)?;
    build::run(Command::new("objcopy").arg("--only-keep-debug").arg(&whole).arg(&debug))?;
    Ok(std::fs::read(debug)?)
}
