//! A case laid out and built as it is shipped, and its patch.

use super::cold::really_differ;
use super::{Facts, Outcome, read};
use crate::lock::Lock;
use crate::package::{files_below, unpack};
use crate::paths::repository;
use crate::programs::{Made, upatch_build};
use crate::run::Cmd;
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

/// The corpus: `$UPATCH_CORPUS`, or `../shared/corpus` beside the checkout.
pub fn folder() -> Option<PathBuf> {
    let dir = match std::env::var_os("UPATCH_CORPUS") {
        Some(dir) => repository().join(dir),
        None => repository().parent()?.join("shared/corpus"),
    };
    dir.join("mkcase").is_file().then_some(dir)
}

/// The same for programs that are nothing without it.
///
/// # Errors
/// There is none.
pub fn required() -> Result<PathBuf> {
    folder().context("no corpus: set UPATCH_CORPUS to its folder, or put it at ../shared/corpus")
}

/// The cases named on the command line, else `default`.
pub fn asked(default: &[&str]) -> Vec<String> {
    let named: Vec<String> = std::env::args().skip(1).collect();
    if named.is_empty() { default.iter().map(|id| (*id).to_owned()).collect() } else { named }
}

/// What is kept between runs: packages as shipped, compiled units. `$UPATCH_CORPUS_CACHE`, or `corpus-cache`
/// in the checkout.
fn cache() -> PathBuf {
    match std::env::var_os("UPATCH_CORPUS_CACHE") {
        Some(dir) => repository().join(dir),
        None => repository().join("corpus-cache"),
    }
}

/// The cache may lie in a git checkout: a package that asks git for its commit (redis) must find none,
/// neither that of the checkout as it was when the package was built, nor as it is now.
const CEILING: &str = "GIT_CEILING_DIRECTORIES";

/// A package that plain rpmbuild made.
#[derive(Debug, Clone)]
pub struct Shipped {
    /// The main RPM.
    pub rpm: PathBuf,
    /// The RPM unpacked.
    pub root: PathBuf,
}

/// A case laid out and built as it is shipped.
#[derive(Debug)]
pub struct Case {
    /// What the corpus knows of it.
    pub facts: Facts,
    /// The rpmbuild tree.
    pub top: TempDir,
    /// The spec file.
    pub spec: PathBuf,
    /// The package without the fix.
    pub shipped: Shipped,
    corpus: PathBuf,
}

/// Lays out a case; fetches its source package if it is not in the cache yet.
///
/// # Errors
/// No such case, or the source cannot be fetched.
pub fn lay_out(corpus: &Path, id: &str, options: &[&str]) -> Result<(TempDir, PathBuf)> {
    let top = tempfile::Builder::new().prefix("upatch-corpus-").tempdir()?;
    let spec = lay_out_in(corpus, id, options, top.path())?;
    Ok((top, spec))
}

fn lay_out_in(corpus: &Path, id: &str, options: &[&str], top: &Path) -> Result<PathBuf> {
    let ended = Cmd::new(corpus.join("mkcase"))
        .args(["make", id])
        .arg(top)
        .arg("--cache")
        .arg(repository().join("mkcase-cache"))
        .args(options)
        .run()?
        .ok()
        .context("are there deb-src entries? scripts/setup --corpus makes them")?;
    Ok(PathBuf::from(ended.stdout.lines().last().context("mkcase names no spec")?))
}

/// Builds a package with plain rpmbuild, or finds it in the cache. `flavour` is part of its place there.
fn ship(corpus: &Path, facts: &Facts, flavour: &str, options: &[&str]) -> Result<Shipped> {
    let place = cache().join("shipped").join(format!("{}{flavour}", facts.id));
    // Always at the same path: then ccache, if it is there, knows the objects that the cases of a package
    // have in common.
    let builds = cache().join("build");
    std::fs::create_dir_all(&builds)?;
    let _alone =
        Lock::on(&builds.join(format!("{}.lock", facts.package))).context("cannot lock the cache")?;
    let top = builds.join(&facts.package);
    if top.exists() {
        std::fs::remove_dir_all(&top)?;
    }
    std::fs::create_dir_all(&top)?;
    let spec = lay_out_in(corpus, &facts.id, options, &top)?;
    let text = std::fs::read_to_string(&spec)?;
    if std::fs::read_to_string(place.join("spec")).ok().as_deref() != Some(&text) {
        build(&top, &spec, &place).with_context(|| format!("{} as shipped", facts.id))?;
        std::fs::write(place.join("spec"), text)?;
    }
    std::fs::remove_dir_all(&top)?;
    let rpms = files_below(&place.join("rpms"))?;
    let is_main = |p: &&PathBuf| !p.to_string_lossy().contains("-debuginfo-");
    let rpm = rpms.iter().find(is_main).context("no RPM")?.clone();
    Ok(Shipped { rpm, root: place.join("root") })
}

fn build(top: &Path, spec: &Path, place: &Path) -> Result<()> {
    let ccache = Path::new("/usr/lib/ccache");
    let path = std::env::var("PATH").unwrap_or_default();
    let path = if ccache.is_dir() { format!("{}:{path}", ccache.display()) } else { path };
    Cmd::new("rpmbuild")
        .arg("--define")
        .arg(format!("_topdir {}", top.display()))
        .arg("-bb")
        .arg(spec)
        .env("PATH", path)
        .env("CCACHE_DIR", cache().join("ccache"))
        .env(CEILING, cache())
        .limit(Duration::from_secs(3600))
        .run()?
        .ok()?;
    if place.exists() {
        std::fs::remove_dir_all(place)?;
    }
    std::fs::create_dir_all(place.join("rpms"))?;
    for rpm in files_below(&top.join("RPMS"))? {
        let to = place.join("rpms").join(rpm.file_name().unwrap_or_default());
        std::fs::copy(&rpm, &to)?;
        if !to.to_string_lossy().contains("-debuginfo-") {
            unpack(&to, &place.join("root"))?;
        }
    }
    Ok(())
}

impl Case {
    /// Lays out and builds a case.
    ///
    /// # Errors
    /// No such case, or it does not build.
    pub fn build(corpus: &Path, id: &str) -> Result<Self> {
        let all = read(corpus)?;
        let facts = all.into_iter().find(|f| f.id == id).with_context(|| format!("no case {id}"))?;
        let shipped = ship(corpus, &facts, "", &[])?;
        let (top, spec) = lay_out(corpus, id, &[])?;
        Ok(Self { facts, top, spec, shipped, corpus: corpus.to_path_buf() })
    }

    /// The package built cold with the fix.
    ///
    /// # Errors
    /// It does not build.
    pub fn cold(&self) -> Result<Shipped> {
        ship(&self.corpus, &self.facts, ".patched", &["--patched"])
    }

    /// The script that shows the fix from outside, if there is one at this path.
    pub fn check(&self) -> PathBuf {
        self.corpus.join("checks").join(format!("{}.sh", self.facts.id))
    }

    /// Makes the patch.
    ///
    /// # Errors
    /// `upatch-build` is missing or does not end.
    pub fn make_patch(&self, args: &[&str]) -> Result<Made> {
        let units = cache().join("units").join(&self.facts.package);
        self.patch(upatch_build()?.arg("--cache").arg(units), args)
    }

    /// Makes the patch with this `upatch-build`; which store of compiled units it takes is up to `args`.
    ///
    /// # Errors
    /// It is missing or does not end.
    pub fn make_patch_by(&self, program: &Path, args: &[&str]) -> Result<Made> {
        self.patch(Cmd::new(program), args)
    }

    fn patch(&self, upatch_build: Cmd, args: &[&str]) -> Result<Made> {
        let output = tempfile::Builder::new().prefix("upatch-out-").tempdir()?;
        let kept = cache();
        let ended = upatch_build
            .arg("--spec")
            .arg(&self.spec)
            .arg("--patch")
            .arg(self.top.path().join("hotpatch.patch"))
            .arg("--target")
            .arg(&self.shipped.rpm)
            .args(["--name", &self.facts.id, "--output"])
            .arg(output.path())
            // Units hold their paths, so a run must be where the last one was to find them in the store.
            .arg("--workdir")
            .arg(kept.join("work").join(&self.facts.package))
            .args(args)
            .env(CEILING, cache())
            .limit(Duration::from_secs(3600))
            .run()?;
        Ok(Made { output, name: self.facts.id.clone(), ended })
    }

    /// Makes the patch and tries it on running programs of the package: with the check of the corpus that
    /// shows the fix from outside, where there is one, and with the driver that makes the package work.
    /// `cold` says that the driver's transcript is compared with the cold build's in any case; else that is
    /// done only if the fix changes it.
    ///
    /// # Errors
    /// What could not be tried at all; a patch that does not do what it should is told in the [`Outcome`].
    pub fn try_patch(&self, cold: bool) -> Result<Outcome> {
        let made = self.make_patch(&[])?;
        let mut outcome = Outcome { code: made.ended.code, made_in: made.ended.took, ..Outcome::default() };
        if made.ended.code != 0 {
            let line = made.ended.stderr.lines().find(|l| l.starts_with("error: "));
            outcome.error = line.unwrap_or("no error line").to_owned();
            return Ok(outcome);
        }
        let report = made.report()?;
        outcome.fidelity = report.get("fidelity").and_then(|v| v.as_str()).unwrap_or("none").to_owned();
        for field in ["changed", "new", "removed"] {
            outcome.functions.extend(made.reported(field)?);
        }
        outcome.missing = self.facts.missing_from(&outcome.functions);
        if !outcome.missing.is_empty() {
            let suspects = std::mem::take(&mut outcome.missing);
            outcome.missing = really_differ(&self.shipped, &self.cold()?, &suspects)?;
            outcome.lines_moved = suspects.into_iter().filter(|f| !outcome.missing.contains(f)).collect();
        }
        ensure!(made.dir().is_dir(), "exit code 0 and no patch directory");
        self.try_live(&made, &mut outcome, cold)?;
        Ok(outcome)
    }
}
