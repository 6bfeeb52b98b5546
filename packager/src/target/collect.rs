//! Finds ELF files: in what `%install` installed, in RPMs, in a built tree.

use crate::elf::{self, Elf};
use crate::error::{Context, Failure, Result, TargetError};
use crate::files;
use crate::process::Tool;
use crate::source::extract;
use crate::view::outside_name;
use patchfile::Digest;
use patchfile::manifest::Package;
use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use walkdir::WalkDir;
use wrapper::{LinkRecord, Records};

/// An ELF file of the package.
#[derive(Clone, Debug)]
pub(crate) struct TargetFile {
    /// File name.
    pub name: String,
    /// Where the package installs it, or its path below a source tree.
    pub path: String,
    /// Where else: hard links and copies.
    pub also: Vec<String>,
    /// The file.
    pub data: Vec<u8>,
    /// Its separate debug information.
    pub debug: Option<Vec<u8>>,
    /// The user gave debug information, and none is its own.
    pub other_debug: bool,
    /// The file, read.
    pub elf: Elf,
}

impl TargetFile {
    /// Its paths.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.path).chain(&self.also).map(String::as_str)
    }

    /// The file names of its paths.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.paths().map(file_name)
    }

    /// Is it among the files with these names, of which none means all?
    pub(crate) fn is_among(&self, names: &[String]) -> bool {
        names.is_empty() || names.iter().any(|n| self.is_called(n))
    }

    /// Is `name` one of its paths or file names?
    pub(crate) fn is_called(&self, name: &str) -> bool {
        self.paths().chain(self.names()).any(|n| n == name)
    }

    /// Has it the name of the link's output for its first, where it has several?
    pub(crate) fn prefer_names_of(&mut self, records: &Records) {
        let linked = |path: &str| {
            let mut outputs = records.links.iter().filter_map(|l| l.output.as_path().file_name());
            outputs.any(|output| output.to_str() == Some(file_name(path)))
        };
        if linked(&self.path) {
            return;
        }
        if let Some(other) = self.also.iter_mut().find(|path| linked(path)) {
            std::mem::swap(&mut self.path, other);
            self.name = file_name(&self.path).to_owned();
        }
    }

    /// Takes the contents of another file, and keeps its own names.
    pub(super) fn set_contents(&mut self, of: Self) {
        let Self { name: _, path: _, also: _, data, debug, other_debug, elf } = of;
        (self.data, self.debug, self.other_debug, self.elf) = (data, debug, other_debug, elf);
    }

    /// Is it the same file for a program that looks at processes?
    fn is_same(&self, other: &Self) -> bool {
        let identity = self.elf.build_id.is_some()
            && self.elf.build_id == other.elf.build_id
            && self.elf.code == other.elf.code;
        identity || self.data == other.data
    }

    /// Can its functions be found by name?
    pub(crate) fn has_symbols(&self) -> bool {
        self.debug.is_some() || self.elf.symbols
    }

    pub(super) fn read(file: &Path, path: String) -> Result<Self> {
        let data = files::read(file, files::BINARY_LIMIT).at(file)?;
        let elf = Elf::parse(&data).at(file)?;
        let name = file.file_name().unwrap_or(file.as_os_str()).to_string_lossy().into_owned();
        Ok(Self { name, path, also: Vec::new(), data, debug: None, other_debug: false, elf })
    }
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Takes a file in, or notes its paths with the one that it is a copy of; the number of either. Of copies the
/// one with symbols stays.
fn take(files: &mut Vec<TargetFile>, mut file: TargetFile) -> usize {
    let Some(index) = files.iter().position(|f| f.is_same(&file)) else {
        files.push(file);
        return files.len() - 1;
    };
    let same = &mut files[index];
    same.also.push(std::mem::take(&mut file.path));
    same.also.append(&mut file.also);
    if file.has_symbols() && !same.has_symbols() {
        same.set_contents(file);
    }
    index
}

/// All linked ELF files below `root`, as the package installs them. Debug information is left out.
///
/// # Errors
/// When a file cannot be read.
pub(crate) fn from_root(root: &Path) -> Result<Vec<TargetFile>> {
    let mut files: Vec<TargetFile> = Vec::new();
    let mut links: HashMap<(u64, u64), Option<usize>> = HashMap::new();
    for entry in WalkDir::new(root).sort_by_file_name().into_iter().flatten() {
        let path = entry.path();
        let below = path.strip_prefix(root).unwrap_or(path);
        if !entry.file_type().is_file() || below.starts_with("usr/lib/debug") || !is_linked(path) {
            continue;
        }
        let installed = format!("/{}", below.display());
        let inode = entry.metadata().map(|m| (m.dev(), m.ino())).ok();
        // Packages with a hundred names for one program are not read a hundred times.
        if let Some(known) = inode.and_then(|i| links.get(&i)) {
            if let Some(file) = known.and_then(|k| files.get_mut(k)) {
                file.also.push(installed);
            }
            continue;
        }
        // 32-bit files and foreign architectures are part of a package, but not ours to patch.
        let index = TargetFile::read(path, installed).ok().map(|file| take(&mut files, file));
        links.extend(inode.map(|i| (i, index)));
    }
    Ok(files)
}

/// The files given with `--target`: RPMs and ELF files. Also the package that the RPM with ELF files says it
/// is.
///
/// # Errors
/// When one is neither, or cannot be read.
pub(crate) fn from_files(
    targets: &[PathBuf],
    debuginfo: &[PathBuf],
    scratch: &Path,
) -> Result<(Vec<TargetFile>, Option<Package>)> {
    let mut files = Vec::new();
    let mut package = None;
    for (index, target) in targets.iter().enumerate() {
        let unread = |e: Failure| unread("--target", target, e);
        if is_rpm(target) {
            let root = scratch.join(format!("target-{index}"));
            extract(target, &root).map_err(unread)?;
            let found = from_root(&root)?;
            if !found.is_empty() && package.is_none() {
                package = Some(rpm_package(target)?);
            }
            for file in found {
                take(&mut files, file);
            }
        } else if is_linked(target) {
            let path = outside_name(target.canonicalize().option("--target", target)?);
            let read = TargetFile::read(target, path.display().to_string());
            take(&mut files, read.map_err(unread)?);
        } else {
            return Err(TargetError::NotLinked(target.clone()).into());
        }
    }
    if files.is_empty() {
        return Err(TargetError::Nothing.into());
    }
    let debug = debug_files(debuginfo, scratch)?;
    for file in &mut files {
        let found = debug.iter().find(|(elf, _)| elf.build_id.is_some() && elf.build_id == file.elf.build_id);
        file.debug = found.map(|(_, data)| data.clone());
        file.other_debug = file.debug.is_none() && !debuginfo.is_empty();
    }
    Ok((files, package))
}

/// The programs and libraries that the links of a tree's build left in the tree. Where `dir`, the user's own
/// tree, holds the very same code and data already built, that file is taken: it is what runs.
///
/// # Errors
/// When a file cannot be read.
pub(crate) fn from_links(records: &Records, tree: &Path, dir: &Path) -> Result<Vec<TargetFile>> {
    let mut files: Vec<TargetFile> = Vec::new();
    for link in records.links.iter().filter(|l| !l.relocatable) {
        let output = link.output.as_path();
        let Ok(below) = output.strip_prefix(tree) else { continue };
        let path = below.display().to_string();
        if files.iter().any(|f| f.paths().any(|p| p == path)) || !is_linked(output) {
            continue;
        }
        let Ok(mut file) = TargetFile::read(output, path.clone()) else { continue };
        let own = dir.join(below);
        if is_linked(&own)
            && let Ok(theirs) = TargetFile::read(&own, path)
            && theirs.elf.same_layout(&file.elf)
            && theirs.elf.different_sections(&file.elf).is_empty()
        {
            file = theirs;
        }
        take(&mut files, file);
    }
    for entry in WalkDir::new(tree).sort_by_file_name().into_iter().flatten() {
        // What was linked under a name of this build only, and then moved.
        let Ok(below) = entry.path().strip_prefix(tree) else { continue };
        let path = below.display().to_string();
        if !entry.file_type().is_file()
            || files.iter().any(|f| f.paths().any(|p| p == path))
            || !is_linked(entry.path())
        {
            continue;
        }
        let Ok(file) = TargetFile::read(entry.path(), path) else { continue };
        let sha256 = Digest::of(&file.data).to_string();
        let is_of = |link: &LinkRecord| {
            let elf = || Elf::parse(&std::fs::read(&link.saved).ok()?).ok();
            // It may have been stripped too.
            link.output_sha256 == sha256
                || elf()
                    .is_some_and(|e| e.same_layout(&file.elf) && e.different_sections(&file.elf).is_empty())
        };
        if !files.iter().any(|f| f.is_same(&file)) && records.links.iter().any(|l| !l.relocatable && is_of(l))
        {
            files.push(file);
        }
    }
    Ok(files)
}

/// Linked ELF files that a build left in `tree` and that are neither `files` nor copies of them: no recorded
/// link is known to have made them. What the user's own tree `dir` has too was there before.
pub(crate) fn strays(tree: &Path, dir: &Path, files: &[TargetFile]) -> Vec<String> {
    let mut found = Vec::new();
    for entry in WalkDir::new(tree).sort_by_file_name().into_iter().flatten() {
        let path = entry.path();
        let Ok(below) = path.strip_prefix(tree) else { continue };
        let is_known = |name: &str| files.iter().any(|f| f.is_called(name));
        if !entry.file_type().is_file()
            || wrapper::is_probe(below.as_os_str().as_encoded_bytes(), tree)
            || is_known(&below.display().to_string())
            || dir.join(below).exists()
            || !is_linked(path)
        {
            continue;
        }
        if let Ok(file) = TargetFile::read(path, below.display().to_string())
            && !files.iter().any(|f| f.is_same(&file))
        {
            found.push(file.path);
        }
    }
    found
}

fn unread(option: &'static str, path: &Path, source: Failure) -> TargetError {
    TargetError::Unread { option, path: path.to_path_buf(), source: source.into() }
}

fn debug_files(paths: &[PathBuf], scratch: &Path) -> Result<Vec<(Elf, Vec<u8>)>> {
    let mut found = Vec::new();
    for (index, path) in paths.iter().enumerate() {
        let mut candidates = vec![path.clone()];
        if is_rpm(path) {
            let root = scratch.join(format!("debuginfo-{index}"));
            extract(path, &root).map_err(|e| unread("--debuginfo", path, e))?;
            candidates = WalkDir::new(&root)
                .into_iter()
                .flatten()
                .filter(|e| e.file_type().is_file())
                .map(|e| e.path().to_path_buf())
                .collect();
        } else if !is_linked(path) {
            return Err(TargetError::NotDebug(path.clone()).into());
        }
        for file in candidates.into_iter().filter(|f| is_linked(f)) {
            let data = files::read(&file, files::BINARY_LIMIT).option("--debuginfo", path)?;
            // Sections of a .debug file have no contents, hence they may not parse as a program's do.
            if let Ok(elf) = Elf::parse_debug(&data) {
                found.push((elf, data));
            }
        }
    }
    Ok(found)
}

fn rpm_package(rpm: &Path) -> Result<Package> {
    let format = "%{NAME}\\n%|EPOCH?{%{EPOCH}}|\\n%{VERSION}\\n%{RELEASE}\\n";
    let out =
        Tool::new("rpm").args(["-qp", "--nosignature", "--nodigest", "--qf", format]).arg(rpm).check()?;
    let text = String::from_utf8_lossy(&out).into_owned();
    let mut lines = text.lines().map(str::to_owned);
    let mut next = || lines.next().unwrap_or_default();
    Ok(Package { name: next(), epoch: next().parse().ok(), version: next(), release: next() })
}

/// Is this file an RPM?
pub(super) fn is_rpm(path: &Path) -> bool {
    head(path).starts_with(&[0xed, 0xab, 0xee, 0xdb])
}

/// Is this file a program or library?
pub(crate) fn is_linked(path: &Path) -> bool {
    elf::is_linked(&head(path))
}

fn head(path: &Path) -> Vec<u8> {
    files::head::<24>(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_with_several_names_is_one() {
        let dir = tempfile::tempdir().unwrap();
        let bin = dir.path().join("usr/bin");
        std::fs::create_dir_all(&bin).unwrap();
        // Any two programs.
        let own = std::env::current_exe().unwrap();
        std::fs::copy(&own, bin.join("b")).unwrap();
        std::fs::hard_link(bin.join("b"), bin.join("c")).unwrap();
        std::fs::copy(&own, bin.join("d")).unwrap();
        std::fs::hard_link(bin.join("d"), bin.join("e")).unwrap();
        std::fs::copy("/bin/sh", bin.join("a")).unwrap();
        let files = from_root(dir.path()).unwrap();
        let paths: Vec<Vec<&str>> = files.iter().map(|f| f.paths().collect()).collect();
        assert_eq!(paths, [vec!["/usr/bin/a"], vec!["/usr/bin/b", "/usr/bin/c", "/usr/bin/d", "/usr/bin/e"]]);
        assert!(files[1].is_called("d") && files[1].is_called("/usr/bin/e") && !files[1].is_called("a"));
    }
}
