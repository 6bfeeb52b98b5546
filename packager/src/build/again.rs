//! Whether a fix can be built in the tree that the original build left, and whether that came out as a whole
//! build would.
//!
//! The build runs once more in a copy of its own tree, in which only the files of the fix are newer. What it
//! does then is held against the records of the original: each unit that read what has changed must have been
//! compiled again, by the same command, and each link repeated that took something else than before. Nothing
//! that compilers read may be another than in the original, but the files of the fix. Files that the build
//! itself made are removed before, so that they are made again from what is there. Whatever is not as it must
//! be is a doubt, and a whole build is made.

use crate::files::{self, SOURCE_LIMIT, plain};
use crate::units::other_inputs::same_command;
use crate::units::stamps::{Window, equal_but_for_times};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use walkdir::WalkDir;
use wrapper::{LinkRecord, OsBytes, Records, UnitRecord};

/// Why a whole build is made.
pub(crate) type Doubt = String;

/// A build and its tree.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Built<'b> {
    /// What the original build recorded.
    pub records: &'b Records,
    /// When it ran.
    pub window: Window,
    /// Where the tree is built.
    pub place: &'b Path,
    /// Where its tree lies now.
    pub aside: &'b Path,
    /// The files of the fix, where they are built.
    pub files: &'b BTreeSet<PathBuf>,
}

/// Scripts that may read a source that they name.
const SCRIPTS: [&str; 8] = ["configure", "ac", "m4", "sh", "py", "pl", "awk", "lua"];
/// Written last by what looks at the system and writes files by what it finds.
const ENDS_OF_CONFIGURE: [&str; 3] = ["config.log", "CMakeCache.txt", "coredata.dat"];
/// Folders and endings of files that no program is made from.
const NO_SOURCES: [&str; 11] =
    ["test", "tests", "testing", "t", "doc", "docs", "man", "md", "txt", "rst", "tcl"];

impl Built<'_> {
    /// Files that the build made and that compilers read: they are to be made again.
    ///
    /// # Errors
    /// A doubt.
    pub(crate) fn made_by_build(&self, prepared: &Path) -> Result<Vec<PathBuf>, Doubt> {
        self.is_known()?;
        let deps = self.deps();
        for file in self.files {
            let aside = self.aside_of(file).ok_or("a file of the fix lies outside of the tree")?;
            let meta = aside.symlink_metadata().map_err(|_| format!("{} is new", file.display()))?;
            if !meta.is_file() || meta.nlink() > 1 {
                return Err(format!("{} has several names", file.display()));
            }
            if !deps.contains_key(file) && !is_no_source(file.strip_prefix(self.place).unwrap_or(file)) {
                return Err(format!("no compiler reads {}", file.display()));
            }
        }
        self.no_script_names_them()?;
        let prepared = prepared.metadata().map_err(|_| "it is not known when the sources were ready")?;
        let ends = self.ends_of_configure();
        let by_build = |path: &Path, meta: &Metadata| {
            let below = |(dir, _): &&(PathBuf, (i64, i64))| path.starts_with(dir);
            let configured = ends.iter().filter(below).map(|(_, time)| *time).max();
            time(meta) > configured.unwrap_or(time(&prepared))
        };
        for link in self.records.links.iter().filter(|link| !is_probe(link)) {
            for file in self.named_besides(link) {
                let meta = self.aside_of(&file).and_then(|aside| aside.metadata().ok());
                if meta.is_some_and(|meta| by_build(&file, &meta)) {
                    return Err(format!("the build makes {} for a link's command", file.display()));
                }
            }
        }
        let mut made = Vec::new();
        for (path, hashes) in &deps {
            if hashes.len() > 1 {
                return Err(format!("{} changed while the original was built", path.display()));
            }
            let meta = self.aside_of(path).and_then(|aside| aside.metadata().ok());
            let meta = meta.ok_or_else(|| format!("{} is gone", path.display()))?;
            if by_build(path, &meta) && !self.files.contains(path) {
                made.push(path.clone());
            }
        }
        Ok(made)
    }

    /// The records of the original that are true of the second build too.
    ///
    /// # Errors
    /// A doubt.
    pub(crate) fn still_true(
        &self,
        new: &Records,
        window: Window,
    ) -> Result<(Vec<UnitRecord>, Vec<LinkRecord>), Doubt> {
        Built { records: new, ..*self }.is_known()?;
        let windows = (self.window, window);
        let changed = self.changed_inputs(windows)?;
        let deps = self.deps();
        let key = |unit: &UnitRecord| (unit.cwd.clone(), unit.source.clone(), unit.expanded_argv.clone());
        let known: HashSet<_> = units(self.records).map(key).collect();
        let again: HashSet<_> = units(new).map(key).collect();
        for unit in units(new) {
            if !known.contains(&key(unit)) {
                return Err(format!("{} is compiled by another command", unit.source.to_string_lossy()));
            }
            let read = unit.deps.iter().map(|dep| plain(dep.path.as_path()));
            let mut other = read.filter(|path| path.starts_with(self.place) && !deps.contains_key(path));
            if let Some(other) = other.next() {
                return Err(format!("{} is read for the first time", other.display()));
            }
        }
        let mut stale = HashSet::new();
        let mut kept = Vec::new();
        for unit in &self.records.units {
            let is_again = again.contains(&key(unit));
            if unit.deps.iter().any(|dep| changed.contains(&plain(dep.path.as_path()))) {
                if !is_again {
                    return Err(format!("{} was not compiled again", unit.source.to_string_lossy()));
                }
                stale.insert(unit.object_sha256.as_str());
            }
            if !is_again {
                if self.differs(unit.object_path.as_path())? {
                    return Err(format!("{} was changed", unit.object_path.to_string_lossy()));
                }
                kept.push(unit.clone());
            }
        }
        Ok((kept, self.links(new, &stale, windows)?))
    }

    /// The links that need not be repeated.
    fn links(
        &self,
        new: &Records,
        stale: &HashSet<&str>,
        windows: (Window, Window),
    ) -> Result<Vec<LinkRecord>, Doubt> {
        let output = |link: &LinkRecord| absolute(link, &link.output);
        let mut repeated = HashSet::new();
        for link in new.links.iter().filter(|link| !is_probe(link)) {
            let same = |old: &LinkRecord| {
                old.cwd == link.cwd
                    && output(old) == output(link)
                    && same_command(&old.expanded_argv, &link.expanded_argv, windows, self.place)
            };
            let old: Vec<&LinkRecord> = self.records.links.iter().filter(|old| same(old)).collect();
            if old.is_empty() {
                return Err(format!("{} is linked by another command", output(link).display()));
            }
            repeated.extend(old.into_iter().map(|old| old.id.as_str()));
        }
        let objects: HashSet<&str> = self.records.units.iter().map(|u| u.object_sha256.as_str()).collect();
        let mut kept = Vec::new();
        for link in &self.records.links {
            if repeated.contains(link.id.as_str()) {
                continue;
            }
            let name = output(link);
            if !is_probe(link) {
                for input in &link.inputs {
                    let file = absolute(link, &input.path);
                    let is_there = file.starts_with(self.place)
                        && file.exists()
                        && self.aside_of(&file).is_some_and(|aside| aside.exists());
                    let is_stale = match is_there {
                        true => self.differs(&file)?,
                        false if stale.contains(input.sha256.as_str()) => true,
                        false if objects.contains(input.sha256.as_str()) => false,
                        false if !file.starts_with(self.place) && file.exists() => false,
                        // What nobody recorded compiled a probe, of which nothing is left.
                        false if !file.starts_with(self.place) && !name.exists() => false,
                        false => return Err(format!("{} of {} is gone", file.display(), name.display())),
                    };
                    if is_stale {
                        return Err(format!("{} was not linked again", name.display()));
                    }
                }
                let libraries = link.shared_libs.iter().map(|library| absolute(link, library));
                for file in libraries.chain(self.named_besides(link)) {
                    if self.differs(&file)? {
                        return Err(format!("{} was not linked again", name.display()));
                    }
                }
            }
            if self.differs(&name)? {
                return Err(format!("{} was changed", name.display()));
            }
            kept.push(link.clone());
        }
        Ok(kept)
    }

    /// Inputs of units that are not what they were: the files of the fix, and stamps.
    fn changed_inputs(&self, windows: (Window, Window)) -> Result<BTreeSet<PathBuf>, Doubt> {
        let mut changed = BTreeSet::new();
        for path in self.deps().into_keys() {
            if !path.exists() {
                return Err(format!("{} was not made again", path.display()));
            }
            if !self.differs(&path)? {
                continue;
            }
            if !self.files.contains(&path) {
                let read = |path: &Path| files::read(path, SOURCE_LIMIT).unwrap_or_default();
                let old = self.aside_of(&path).map(|aside| read(&aside)).unwrap_or_default();
                if !equal_but_for_times(&old, &read(&path), windows) {
                    return Err(format!("{} comes out otherwise", path.display()));
                }
            }
            changed.insert(path);
        }
        Ok(changed)
    }

    /// Is everything recorded that counts, in a way that can be followed?
    fn is_known(&self) -> Result<(), Doubt> {
        if let Some(problem) = self.records.problems.first() {
            return Err(format!("something was not recorded: {}", problem.what));
        }
        if !self.records.copies.is_empty() || !self.records.copied.is_empty() {
            return Err("the build changes objects after they were compiled".into());
        }
        for unit in units(self.records) {
            let is_unclear = unit.untracked.is_some()
                || unit.not_recompilable.is_some()
                || unit.notes.iter().any(|note| note.starts_with("headers are not known"));
            if is_unclear || unit.lto || unit.made_by_link() {
                return Err(format!("what {} is made from", unit.source.to_string_lossy()));
            }
        }
        match self.records.links.iter().find(|link| link.lto) {
            Some(link) => Err(format!("{} is optimised at link time", link.output.to_string_lossy())),
            None => Ok(()),
        }
    }

    /// What is read by compilers and lies in the tree, with its hashes.
    fn deps(&self) -> BTreeMap<PathBuf, BTreeSet<&str>> {
        let mut deps: BTreeMap<PathBuf, BTreeSet<&str>> = BTreeMap::new();
        for dep in units(self.records).flat_map(|unit| &unit.deps) {
            let path = plain(dep.path.as_path());
            if path.starts_with(self.place) {
                deps.entry(path).or_default().insert(&dep.sha256);
            }
        }
        deps
    }

    /// No script that may be run before the sources are compiled names a file of the fix.
    fn no_script_names_them(&self) -> Result<(), Doubt> {
        let names: BTreeSet<&[u8]> =
            self.files.iter().filter_map(|f| Some(f.file_name()?.as_encoded_bytes())).collect();
        let entries = WalkDir::new(self.aside).into_iter().flatten();
        for entry in entries.filter(|e| e.file_type().is_file()) {
            let path = entry.path();
            let ending = path.extension().unwrap_or(path.file_name().unwrap_or_default());
            let is_meson = path.file_name().is_some_and(|name| name == "meson.build");
            let is_script = SCRIPTS.iter().any(|script| ending == *script)
                || path.extension().is_none() && files::head::<2>(path) == b"#!";
            if !is_script && !is_meson {
                continue;
            }
            let text = files::read(path, SOURCE_LIMIT).unwrap_or_default();
            let says = |what: &[u8]| memchr::memmem::find(&text, what).is_some();
            // What runs while meson sets up is not run again.
            if is_meson && (says(b"run_command") || says(b".read(")) {
                return Err("meson reads files or runs programs while it sets up".into());
            }
            if let Some(name) = names.iter().find(|name| is_script && says(name)) {
                let (name, path) = (String::from_utf8_lossy(name), path.strip_prefix(self.aside));
                return Err(format!("{} names {name}", path.unwrap_or(entry.path()).display()));
            }
        }
        Ok(())
    }

    /// Where the build looked at the system, and until when: what is there and newer was made by the build.
    fn ends_of_configure(&self) -> Vec<(PathBuf, (i64, i64))> {
        let entries = WalkDir::new(self.aside).into_iter().flatten();
        let ends = entries.filter(|e| ENDS_OF_CONFIGURE.iter().any(|name| e.file_name() == *name));
        let end = |entry: walkdir::DirEntry| {
            // Meson's lies in a folder of its own.
            let levels = if entry.file_name() == "coredata.dat" { 2 } else { 1 };
            let below = entry.path().ancestors().nth(levels)?.strip_prefix(self.aside).ok()?;
            Some((self.place.join(below), time(&entry.metadata().ok()?)))
        };
        ends.filter_map(end).collect()
    }

    /// Files of the tree that a link's command names and that are none of its inputs: scripts of the linker,
    /// lists of symbols, response files.
    fn named_besides(&self, link: &LinkRecord) -> Vec<PathBuf> {
        let own = link.inputs.iter().map(|input| &input.path).chain(&link.shared_libs);
        let own: HashSet<PathBuf> = own.chain([&link.output]).map(|path| absolute(link, path)).collect();
        let words = link.argv.iter().chain(&link.expanded_argv).flat_map(|word| {
            let bytes = word.as_bytes();
            let after = |mark: u8| bytes.iter().position(|b| *b == mark).map(|at| &bytes[at + 1..]);
            let short = bytes.strip_prefix(b"-T").or(bytes.strip_prefix(b"@"));
            [Some(bytes), after(b'='), short].into_iter().flatten().map(OsBytes::from).collect::<Vec<_>>()
        });
        let files = words.map(|word| absolute(link, &word)).filter(|path| path.starts_with(self.place));
        let mut found: Vec<PathBuf> = files.filter(|path| !own.contains(path)).collect();
        // What is linked is an input; a library may also be named by the name that it is to have.
        let is_text = |path: &Path| !matches!(files::head::<4>(path).as_slice(), b"\x7fELF" | b"!<ar");
        found.retain(|path| self.aside_of(path).is_some_and(|aside| aside.is_file() && is_text(&aside)));
        found
    }

    /// Is a file another one than in the original's tree? One that is in neither is not.
    fn differs(&self, path: &Path) -> Result<bool, Doubt> {
        let path = plain(path);
        let Some(aside) = self.aside_of(&path) else { return Ok(false) };
        match (aside.metadata(), path.metadata()) {
            (Ok(old), Ok(new)) if old.len() == new.len() && time(&old) == time(&new) => Ok(false),
            (Ok(old), Ok(new)) if old.is_file() && new.is_file() => {
                let read = |path: &Path| std::fs::read(path).map_err(|e| format!("{}: {e}", path.display()));
                Ok(old.len() != new.len() || read(&aside)? != read(&path)?)
            }
            (Err(_), Err(_)) => Ok(false),
            _ => Ok(true),
        }
    }

    fn aside_of(&self, path: &Path) -> Option<PathBuf> {
        Some(self.aside.join(path.strip_prefix(self.place).ok()?))
    }
}

/// The units of a build, without those by which `configure` learns about the system.
fn units(records: &Records) -> impl Iterator<Item = &UnitRecord> {
    records.units.iter().filter(|u| !wrapper::is_probe(u.source.as_bytes(), u.cwd.as_path()))
}

fn is_probe(link: &LinkRecord) -> bool {
    let probe = |path: &OsBytes| wrapper::is_probe(path.as_bytes(), link.cwd.as_path());
    probe(&link.output) || link.inputs.iter().any(|input| probe(&input.path))
}

fn absolute(link: &LinkRecord, path: &OsBytes) -> PathBuf {
    plain(&link.cwd.as_path().join(path.as_path()))
}

/// Is it a test's file, or documentation?
fn is_no_source(below: &Path) -> bool {
    let ending = below.extension().unwrap_or_default();
    let folders = below.parent().into_iter().flat_map(Path::components);
    NO_SOURCES.iter().any(|name| ending == *name)
        || folders.into_iter().any(|c| NO_SOURCES.iter().any(|name| c.as_os_str() == *name))
}

fn time(meta: &Metadata) -> (i64, i64) {
    (meta.mtime(), meta.mtime_nsec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_and_documentation_are_no_sources() {
        for (path, is_none) in [
            ("tests/unit/x.tcl", true),
            ("src/x.c", false),
            ("doc/x.c", true),
            ("NEWS.md", true),
            ("src/contest.c", false),
            ("attest/x.h", false),
        ] {
            assert_eq!(is_no_source(Path::new(path)), is_none, "{path}");
        }
    }
}
