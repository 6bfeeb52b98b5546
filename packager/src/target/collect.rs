//! Finds ELF files: in what `%install` installed, in RPMs, in a built tree.

use crate::elf::{self, Elf};
use crate::error::{Context, Failure, Result};
use crate::run::Tool;
use crate::source::extract;
use patchfile::manifest::Package;
use std::io::Read;
use std::path::{Path, PathBuf};
use walkdir::WalkDir;
use wrapper::Records;

/// An ELF file of the package.
#[derive(Clone, Debug)]
pub struct TargetFile {
    /// File name.
    pub name: String,
    /// Where the package installs it, or its path below a source tree.
    pub path: String,
    /// The file.
    pub data: Vec<u8>,
    /// Its separate debug information.
    pub debug: Option<Vec<u8>>,
    /// The file, read.
    pub elf: Elf,
}

impl TargetFile {
    /// Can its functions be found by name?
    pub fn has_symbols(&self) -> bool {
        self.debug.is_some() || self.elf.symbols
    }

    pub(super) fn read(file: &Path, path: String) -> Result<Self> {
        let data = std::fs::read(file).what(file.display().to_string())?;
        let elf = Elf::parse(&data).what(file.display().to_string())?;
        let name = file.file_name().unwrap_or(file.as_os_str()).to_string_lossy().into_owned();
        Ok(Self { name, path, data, debug: None, elf })
    }
}

/// All linked ELF files below `root`, as the package installs them. Debug information is left out.
///
/// # Errors
/// When a file cannot be read.
pub fn from_root(root: &Path) -> Result<Vec<TargetFile>> {
    let mut files = Vec::new();
    for entry in WalkDir::new(root).sort_by_file_name().into_iter().flatten() {
        let path = entry.path();
        let below = path.strip_prefix(root).unwrap_or(path);
        if !entry.file_type().is_file() || below.starts_with("usr/lib/debug") || !is_linked(path) {
            continue;
        }
        // 32-bit files and foreign architectures are part of a package, but not ours to patch.
        if let Ok(file) = TargetFile::read(path, format!("/{}", below.display())) {
            files.push(file);
        }
    }
    Ok(files)
}

/// The files given with `--target`: RPMs and ELF files. Also the package that the RPM with ELF files says it is.
///
/// # Errors
/// When one is neither, or cannot be read.
pub fn from_files(
    targets: &[PathBuf],
    debuginfo: &[PathBuf],
    scratch: &Path,
) -> Result<(Vec<TargetFile>, Option<Package>)> {
    let mut files = Vec::new();
    let mut package = None;
    for (index, target) in targets.iter().enumerate() {
        let what = || format!("--target {}", target.display());
        if is_rpm(target) {
            let root = scratch.join(format!("target-{index}"));
            extract(target, &root).map_err(|f| Failure::failed(what(), f.why))?;
            let found = from_root(&root)?;
            if !found.is_empty() && package.is_none() {
                package = Some(rpm_package(target)?);
            }
            files.extend(found);
        } else if is_linked(target) {
            let path = target.canonicalize().what(what())?;
            files.push(
                TargetFile::read(target, path.display().to_string())
                    .map_err(|f| Failure::failed(what(), f.why))?,
            );
        } else {
            return Err(Failure::failed(what(), "is neither an RPM nor a linked ELF file"));
        }
    }
    if files.is_empty() {
        return Err(Failure::failed("--target", "holds no ELF file that this program knows")
            .hint("give the binary RPM or the ELF file, not the source or debuginfo RPM"));
    }
    let debug = debug_files(debuginfo, scratch)?;
    for file in &mut files {
        let found = debug.iter().find(|(elf, _)| elf.build_id.is_some() && elf.build_id == file.elf.build_id);
        file.debug = found.map(|(_, data)| data.clone());
    }
    Ok((files, package))
}

/// The programs and libraries that the links of a tree's build left in the tree. Where `dir`, the user's own tree, holds the very same code
/// and data already built, that file is taken: it is what runs.
///
/// # Errors
/// When a file cannot be read.
pub fn from_links(records: &Records, tree: &Path, dir: &Path) -> Result<Vec<TargetFile>> {
    let mut files: Vec<TargetFile> = Vec::new();
    for link in records.links.iter().filter(|l| !l.relocatable) {
        let output = link.output.as_path();
        let Ok(below) = output.strip_prefix(tree) else { continue };
        let path = below.display().to_string();
        if files.iter().any(|f| f.path == path) || !is_linked(output) {
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
        files.push(file);
    }
    Ok(files)
}

fn debug_files(paths: &[PathBuf], scratch: &Path) -> Result<Vec<(Elf, Vec<u8>)>> {
    let mut found = Vec::new();
    for (index, path) in paths.iter().enumerate() {
        let what = || format!("--debuginfo {}", path.display());
        let mut candidates = vec![path.clone()];
        if is_rpm(path) {
            let root = scratch.join(format!("debuginfo-{index}"));
            extract(path, &root).map_err(|f| Failure::failed(what(), f.why))?;
            candidates = WalkDir::new(&root)
                .into_iter()
                .flatten()
                .filter(|e| e.file_type().is_file())
                .map(|e| e.path().to_path_buf())
                .collect();
        } else if !is_linked(path) {
            return Err(Failure::failed(what(), "is neither an RPM nor an ELF file with debug information"));
        }
        for file in candidates.into_iter().filter(|f| is_linked(f)) {
            let data = std::fs::read(&file).what(what())?;
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

fn is_rpm(path: &Path) -> bool {
    head(path).starts_with(&[0xed, 0xab, 0xee, 0xdb])
}

fn is_linked(path: &Path) -> bool {
    elf::is_linked(&head(path))
}

fn head(path: &Path) -> Vec<u8> {
    let mut head = [0u8; 24];
    let read = std::fs::File::open(path).and_then(|mut f| f.read(&mut head)).unwrap_or(0);
    head[..read].to_vec()
}
