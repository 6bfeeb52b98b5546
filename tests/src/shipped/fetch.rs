//! A package as the archive has it: unpacked binary packages, and the source that they were built from.

use super::{Entry, cache};
use crate::package::files_below;
use crate::paths::repository;
use crate::run::Cmd;
use anyhow::{Context, Result, anyhow, ensure};
use std::fs;
use std::path::{Path, PathBuf};

/// What was fetched.
#[derive(Debug)]
pub(super) struct Fetched {
    /// Version of the source package.
    pub(super) version: String,
    /// The binary packages unpacked.
    pub(super) root: PathBuf,
    /// The source with all patches applied.
    pub(super) source: PathBuf,
    /// Where the package is kept.
    pub(super) place: PathBuf,
}

/// Fetches and unpacks a package, with all that is needed to build it. An index may be newer than what a
/// mirror has: then it is the version before.
pub(super) fn fetch(entry: &Entry) -> Result<Fetched> {
    Cmd::new(repository().join("scripts/setup")).args(["--shipped", &entry.source]).run()?.ok()?;
    let first = entry.debs.first().context("no debs")?;
    let mut failed = None;
    for version in versions(first)? {
        match fetch_version(entry, &version) {
            Ok(fetched) => return Ok(fetched),
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    Err(failed.unwrap_or_else(|| anyhow!("the archive has no {first}")))
}

/// The versions of a binary package, the newest first.
fn versions(deb: &str) -> Result<Vec<String>> {
    let listed = Cmd::new("apt-cache").args(["madison", deb]).run()?.ok()?.stdout;
    let lines = listed.lines().map(|line| line.split('|').map(str::trim).collect::<Vec<_>>());
    let mut found: Vec<String> = Vec::new();
    for line in lines {
        if let [name, version, from, ..] = line[..]
            && name == deb
            && from.ends_with("Packages")
            && !found.iter().any(|v| v == version)
        {
            found.push(version.to_owned());
        }
    }
    Ok(found)
}

fn fetch_version(entry: &Entry, wanted: &str) -> Result<Fetched> {
    let place = cache().join("packages").join(&entry.source);
    if place.exists() {
        fs::remove_dir_all(&place)?;
    }
    let (debs, root, sources) = (place.join("debs"), place.join("root"), place.join("source"));
    fs::create_dir_all(&debs)?;
    fs::create_dir_all(&sources)?;
    for deb in &entry.debs {
        let has = versions(deb)?.iter().any(|v| v == wanted);
        let deb = if has { format!("{deb}={wanted}") } else { deb.clone() };
        Cmd::new("apt-get").args(["-qq", "download", &deb]).dir(&debs).run()?.ok()?;
    }
    let (version, rebuilt) = unpack(entry, &debs, &root)?;
    // Where the drivers look for libraries.
    let libraries = root.join("usr/lib64");
    if !libraries.exists() {
        fs::create_dir_all(root.join("usr"))?;
        std::os::unix::fs::symlink(format!("lib/{}-linux-gnu", std::env::consts::ARCH), libraries)?;
    }
    let wanted = format!("{}={version}", entry.source);
    Cmd::new("apt-get").args(["-qq", "--only-source", "source", &wanted]).dir(&sources).run()?.ok()?;
    let tops = fs::read_dir(&sources)?.flatten().map(|e| e.path()).filter(|p| p.is_dir());
    let tops: Vec<PathBuf> = tops.collect();
    ensure!(tops.len() == 1, "{wanted}: {} source trees", tops.len());
    let source = tops[0].clone();
    if let Some(package) = rebuilt {
        note_rebuild(&root, &package, &source)?;
    }
    Ok(Fetched { version, root, source, place })
}

/// Unpacks the binary packages; with the version of their source, and one that was built once more without a
/// change, if any was.
fn unpack(entry: &Entry, debs: &Path, root: &Path) -> Result<(String, Option<String>)> {
    let (mut version, mut rebuilt) = (None, None);
    for deb in files_below(debs)? {
        Cmd::new("dpkg-deb").arg("-x").args([deb.as_path(), root]).run()?.ok()?;
        let field = |format: &str| -> Result<String> {
            Ok(Cmd::new("dpkg-deb")
                .args(["-W", &format!("--showformat={format}")])
                .arg(&deb)
                .run()?
                .ok()?
                .stdout)
        };
        let built_from = field("${source:Version}")?;
        if field("${source:Package}")? == entry.source {
            if field("${Version}")? != built_from {
                rebuilt = Some(field("${Package}")?);
            }
            version = Some(built_from);
        }
    }
    Ok((version.with_context(|| format!("none of {:?} is built from it", entry.debs))?, rebuilt))
}

/// The archive has built the source once more without a change: its changelog then has an entry on top that
/// only the binary package holds.
fn note_rebuild(root: &Path, package: &str, source: &Path) -> Result<()> {
    let architecture = Cmd::new("dpkg").arg("--print-architecture").run()?.ok()?.stdout;
    let log = format!("usr/share/doc/{package}/changelog.Debian.{}.gz", architecture.trim());
    let entry = Cmd::new("gzip").arg("-dc").arg(root.join(&log)).run()?.ok().context(log)?.stdout;
    let path = source.join("debian/changelog");
    let old = fs::read_to_string(&path)?;
    Ok(fs::write(path, format!("{entry}\n{old}"))?)
}
