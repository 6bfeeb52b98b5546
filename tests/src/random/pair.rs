//! One pair, from its sources to the verdict.

use super::build::{self, Built};
use super::listing;
use super::plan::{Form, Plan};
use super::process::Running;
use super::sanitize;
use anyhow::{Context, Result, bail, ensure};
use applier::{LoadedElf, LoadedPatch, Options, Outcome as Applied};
use linker::{LibraryFiles, LinkError, LinkOutput, OriginalUnit, UnitPatch};
use packager::compare_objects;
use patchfile::{Digest, Uuid, image::Image};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// CPU milliseconds of a cold run; a program that needs more is left out.
const COLD_LIMIT: u32 = 300;
/// The same for the process to be patched: many times that, since the machine may be busy.
pub(crate) const LIVE_LIMIT: u32 = 5000;

/// What became of a pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Patched, and right in every respect.
    Right,
    /// The two sides do not differ in code or data, and print the same.
    Same,
    /// Refused, for these reasons (the `what` of each).
    Refused(Vec<String>),
    /// No pair: does not compile, runs too long, or prints something else each time.
    Unfit(String),
    /// Wrong, but the patched source has undefined behaviour.
    Undefined(String),
    /// The patched process does not do what the cold-built program does.
    Wrong(String),
    /// Something failed that may not fail.
    Failed(String),
}

/// The original side, shared by its mutants.
#[derive(Debug)]
pub(crate) struct Original {
    built: Built,
    sectioned: Vec<Vec<u8>>,
    names: Vec<&'static str>,
    plan: Plan,
    prints: [String; 2],
}

/// Two fresh processes must agree, or the program depends on addresses.
pub(crate) fn cold(program: &Path) -> Result<[String; 2]> {
    let once = || Running::start(program, COLD_LIMIT)?.both();
    let prints = once()?;
    ensure!(once()? == prints, "prints something else each time");
    Ok(prints)
}

impl Original {
    /// Builds and runs it.
    pub(crate) fn new(dir: &Path, sources: &[(&'static str, String)], plan: Plan) -> Result<Self> {
        let names: Vec<_> = sources.iter().map(|(n, _)| *n).collect();
        build::write_sources(dir, sources)?;
        let built = build::build(dir, &names, &plan)?;
        let sectioned = build::sectioned(dir, &names, &plan)?;
        let prints = cold(&built.program)?;
        Ok(Self { built, sectioned, names, plan, prints })
    }

    /// Compares every object with itself: nothing may be found.
    ///
    /// # Errors
    /// What was found.
    pub(crate) fn null_diff(&self) -> Result<()> {
        for (object, name) in self.sectioned.iter().zip(&self.names) {
            let diff = differ::diff(object, object, &differ::Options::default())?;
            ensure!(diff.is_unchanged(), "{name} differs from itself: {diff:?}");
        }
        Ok(())
    }

    /// Judges one mutant, whose files go to `dir`.
    pub(crate) fn judge(&self, dir: &Path, sources: &[(&'static str, String)]) -> Outcome {
        let fresh = || -> Result<(Built, Vec<Vec<u8>>, [String; 2])> {
            build::write_sources(dir, sources)?;
            let built = build::build(dir, &self.names, &self.plan)?;
            let sectioned = build::sectioned(dir, &self.names, &self.plan)?;
            let prints = cold(&built.program)?;
            Ok((built, sectioned, prints))
        };
        let (built, sectioned, prints) = match fresh() {
            Ok(all) => all,
            Err(e) => return Outcome::Unfit(format!("{e:#}")),
        };
        let output = match self.make(dir, &sectioned) {
            Ok(Made::Patch(output)) => output,
            Ok(Made::Refused(reasons)) => return Outcome::Refused(reasons),
            Ok(Made::Nothing) if prints == self.prints => return Outcome::Same,
            Ok(Made::Nothing) => {
                return self
                    .blame(&built, "no difference found, but the programs print different things".into());
            }
            Err(e) => return Outcome::Failed(format!("{e:#}")),
        };
        match self.live(&output, &prints) {
            Ok(None) => Outcome::Right,
            Ok(Some(why)) => self.blame(&built, why),
            Err(e) => Outcome::Failed(format!("{e:#}")),
        }
    }

    fn blame(&self, patched: &Built, why: String) -> Outcome {
        for side in [&self.built, patched] {
            if let Some(objection) = sanitize::undefined(&side.dir, &self.names, &self.plan) {
                return Outcome::Undefined(format!("{why}; sanitizers: {objection}"));
            }
        }
        Outcome::Wrong(why)
    }

    fn make(&self, dir: &Path, patched: &[Vec<u8>]) -> Result<Made> {
        let mut diffs = Vec::new();
        for (index, name) in self.names.iter().enumerate() {
            let plain = &self.built.plain[index];
            let diff = compare_objects(name, plain, &self.sectioned[index], &patched[index])
                .with_context(|| format!("comparing {name}"))?;
            let object = build::sectioned_name(name);
            listing::account(&self.built.dir.join(&object), &dir.join(&object), &diff)?;
            diffs.push((index, diff));
        }
        let refused: Vec<String> = diffs
            .iter()
            .flat_map(|(_, d)| &d.refused)
            .map(|r| format!("{} | {} | {}", r.what, r.place, r.why))
            .collect();
        if !refused.is_empty() {
            return Ok(Made::Refused(refused));
        }
        let hashes: Vec<String> = self.built.plain.iter().map(|p| Digest::of(p).to_string()).collect();
        let units: Vec<UnitPatch<'_>> = diffs
            .iter()
            .filter_map(|(index, diff)| {
                let original =
                    OriginalUnit::Object { sha256: &hashes[*index], object: &self.built.plain[*index] };
                let name = self.names[*index];
                let cplusplus = name.ends_with(".cc");
                let (patch, extents) = (diff.patch.as_ref()?, &diff.extents);
                Some(UnitPatch { name, cplusplus, original: Some(original), prebuilt: false, patch, extents })
            })
            .collect();
        if units.is_empty() {
            return Ok(Made::Nothing);
        }
        let Built { linked, target, .. } = &self.built;
        let parsed = linker::ParsedElf::parse(linked, "linked ELF")?;
        let of_target = linker::ParsedElf::parse(target, "target ELF")?;
        let addresses = linker::addresses(&parsed, &of_target, None)?;
        let folders = ["/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64", "/usr/lib64"];
        let libraries =
            LibraryFiles::new(|path| std::fs::read(path).ok(), None, [], folders.map(PathBuf::from));
        let input = linker::LinkInput {
            name: if self.plan.form == Form::Library { "libtarget.so" } else { "program" },
            units: &units,
            record: &self.built.record,
            map: Some(&self.built.map),
            linked: &parsed,
            target: &of_target,
            addresses: &*addresses,
            patched: None,
            libraries: &libraries,
            moved: &linker::MovedDefinitions::default(),
        };
        match linker::link(&input) {
            Ok(output) => {
                let linker::Product::Image(image) = &output.product;
                Ok(if image.redirects.is_empty() { Made::Nothing } else { Made::Patch(Box::new(output)) })
            }
            Err(LinkError::Refused(refusals) | LinkError::NoRoom { refusals, .. }) => Ok(Made::Refused(
                refusals.iter().map(|r| format!("{} | {} | {}", r.what, r.place, r.why)).collect(),
            )),
            Err(e) => Err(e).context("linking"),
        }
    }

    /// The patch in a process: in, out, in again, out again. Gives what the process did that it should not
    /// have done.
    fn live(&self, output: &LinkOutput, patched: &[String; 2]) -> Result<Option<String>> {
        let linker::Product::Image(made) = &output.product;
        let bytes = made.write().context("writing the image")?;
        let image = Image::parse(&bytes).context("reading the image")?;
        ensure!(image == *made, "the image is not the same after it was written and read");
        let uuid = Uuid::from_bytes(fastrand::u128(..).to_le_bytes());
        let patch = LoadedPatch { uuid, name: "RANDOM".into(), elfs: vec![LoadedElf { index: 0, image }] };
        let mut running = Running::start(&self.built.program, LIVE_LIMIT)?;
        let pid = running.pid();
        let options = Options::default();
        if let Some(why) = wrong(&mut running, "before", Some(&self.prints)) {
            return Ok(Some(why));
        }
        for (round, expected) in [("first", Some(patched)), ("second", None)] {
            patiently(|| applier::apply(pid, &patch, &options)).with_context(|| format!("{round} apply"))?;
            // Data of the patch goes on where it was: what the second round prints has no counterpart.
            if let Some(why) = wrong(&mut running, &format!("{round} time patched"), expected) {
                return Ok(Some(why));
            }
            patiently(|| applier::deactivate(pid, uuid, &options))
                .with_context(|| format!("{round} deactivate"))?;
            if let Some(why) = wrong(&mut running, &format!("{round} time deactivated"), Some(&self.prints)) {
                return Ok(Some(why));
            }
        }
        Ok(None)
    }
}

/// Runs twice; gives how that is not what was expected.
pub(crate) fn wrong(running: &mut Running, when: &str, expected: Option<&[String; 2]>) -> Option<String> {
    let got = match running.both() {
        Ok(got) => got,
        Err(e) => return Some(format!("{when}: {e:#}")),
    };
    let mut runs = ["fresh", "again"].iter().zip(got.iter().zip(expected?));
    let (run, (got, expected)) = runs.find(|(_, (got, expected))| got != expected)?;
    Some(format!("{when}, {run} run: {}", first_difference(got, expected)))
}

enum Made {
    Patch(Box<LinkOutput>),
    Refused(Vec<String>),
    Nothing,
}

pub(crate) fn patiently(change: impl Fn() -> Result<Applied, applier::ProcessError>) -> Result<()> {
    let started = Instant::now();
    loop {
        match change()? {
            Applied::Busy(busy) if started.elapsed() > Duration::from_secs(60) => bail!("busy: {busy}"),
            Applied::Busy(_) => std::thread::sleep(Duration::from_millis(1)),
            Applied::Done | Applied::DoneBut(_) | Applied::Already => return Ok(()),
        }
    }
}

fn first_difference(got: &str, expected: &str) -> String {
    let pairs = got.lines().zip(expected.lines()).enumerate();
    let different = pairs.into_iter().find(|(_, (g, e))| g != e);
    match different {
        Some((line, (g, e))) => format!("line {}: `{g}` instead of `{e}`", line + 1),
        None => format!("{} lines instead of {}", got.lines().count(), expected.lines().count()),
    }
}
