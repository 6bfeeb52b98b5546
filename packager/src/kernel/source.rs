//! The kernel's source, as shipped.

use crate::cli::{KernelRequest, KernelSource};
use crate::error::{Context, KernelError, Result};
use crate::process::{Log, Tool};
use crate::scratch::Work;
use crate::source::{SpecSource, unpack};
use patchfile::Digest;
use patchfile::exit::BuildExit;
use std::fmt::Write as _;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use walkdir::WalkDir;

/// Exit code where the kernel's own source is at fault.
const ORIGINAL: BuildExit = BuildExit::OriginalBuild;

/// A source that can be unpacked.
#[derive(Clone, Debug)]
pub(super) enum Source {
    /// A tree.
    Dir(PathBuf),
    /// An archive of one.
    Tarball(PathBuf),
    /// A spec file, with its sources.
    Spec(PathBuf, PathBuf),
}

impl Source {
    /// Finds it; unpacks a source RPM, but not yet the tree.
    ///
    /// # Errors
    /// When nothing is found.
    pub(super) fn find(request: &KernelRequest, work: &Work) -> Result<Self> {
        match &request.source {
            KernelSource::Dir(dir) => is_kernel(dir).map(|()| Self::Dir(dir.clone())),
            KernelSource::Tarball(file) => Ok(Self::Tarball(file.clone())),
            KernelSource::Spec { spec, sourcedir } => Ok(Self::Spec(spec.clone(), sourcedir.clone())),
            KernelSource::Srpm(file) => {
                let dir = work.path("srpm");
                let spec = unpack(file, &dir)?;
                Ok(Self::Spec(spec, dir))
            }
            KernelSource::Installed => installed(&request.release),
        }
    }

    /// What tells two sources apart without unpacking them.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn identity(&self) -> Result<String> {
        match self {
            Self::Dir(dir) => {
                let mut all = String::new();
                for entry in WalkDir::new(dir).sort_by_file_name().into_iter().flatten() {
                    if let Ok(meta) =
                        entry.metadata().map(|m| (m.len(), m.mtime(), m.mtime_nsec(), m.is_file()))
                        && meta.3
                    {
                        let _ = writeln!(all, "{} {meta:?}", entry.path().display());
                    }
                }
                Ok(format!("tree {}", Digest::of(all.as_bytes())))
            }
            Self::Tarball(file) => file_identity(file),
            Self::Spec(spec, sourcedir) => {
                let mut all = vec![file_identity(spec)?];
                let entries = std::fs::read_dir(sourcedir).at(sourcedir)?;
                let mut files: Vec<PathBuf> =
                    entries.flatten().map(|e| e.path()).filter(|p| p.is_file()).collect();
                files.sort();
                for file in files {
                    all.push(file_identity(&file)?);
                }
                Ok(all.join("\n"))
            }
        }
    }

    /// The spec file, if it is one.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn spec(&self, request: &KernelRequest) -> Result<Option<SpecSource>> {
        let Self::Spec(spec, sourcedir) = self else { return Ok(None) };
        SpecSource::read(spec, sourcedir, &request.rpmbuild).map(Some)
    }

    /// Puts the tree at `to`, which does not exist.
    ///
    /// # Errors
    /// Exit code 5 when it cannot be unpacked, or is no kernel.
    pub(super) fn put(&self, to: &Path, request: &KernelRequest, work: &Work, log: &mut Log) -> Result<()> {
        match self {
            Self::Dir(dir) => {
                let mut copy = Tool::new("cp").args(["-a", "--reflink=auto"]).arg(dir).arg(to);
                copy = copy.env("LC_ALL", "C");
                run(copy, log, ("cannot copy the kernel's source", ORIGINAL))?;
                // What somebody has built in it is not of this configuration.
                let is_used = to.join(".config").exists() || to.join("include/generated").exists();
                if is_used {
                    run(
                        Tool::new("make").args(["-s", "mrproper"]).dir(to),
                        log,
                        ("cannot clean the kernel's source", ORIGINAL),
                    )?;
                }
            }
            Self::Tarball(file) => unpack_tar(file, to, log)?,
            Self::Spec(spec, sourcedir) => {
                let found = self::prepared(spec, sourcedir, request, work, log)?;
                run(
                    Tool::new("cp").args(["-a", "--reflink=auto"]).arg(found).arg(to),
                    log,
                    ("cannot copy the kernel's source", ORIGINAL),
                )?;
            }
        }
        is_kernel(to)
    }
}

/// Where distributions install the source: `linux-source-6.1` of Debian is a tarball, elsewhere it is a tree.
fn installed(release: &str) -> Result<Source> {
    let version: Vec<&str> = release.split(['.', '-', '+']).take(3).collect();
    let series = version.iter().take(2).copied().collect::<Vec<_>>().join(".");
    let names = [version.join("."), series.clone()];
    for name in &names {
        for ending in ["", ".tar.xz", ".tar.gz", ".tar.zst", ".tar.bz2"] {
            let path = PathBuf::from(format!("/usr/src/linux-source-{name}{ending}"));
            if path.is_file() {
                return Ok(Source::Tarball(path));
            }
            if is_kernel(&path).is_ok() {
                return Ok(Source::Dir(path));
            }
        }
    }
    Err(KernelError::NoSource { release: release.to_owned(), series }.into())
}

fn is_kernel(dir: &Path) -> Result<()> {
    if dir.join("Kbuild").is_file() && dir.join("scripts/Makefile.build").is_file() {
        return Ok(());
    }
    Err(KernelError::NoTree(dir.to_path_buf()).into())
}

fn file_identity(file: &Path) -> Result<String> {
    let meta = std::fs::metadata(file).at(file)?;
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    Ok(format!(
        "file {name} {} {}.{} {}:{}",
        meta.len(),
        meta.mtime(),
        meta.mtime_nsec(),
        meta.dev(),
        meta.ino()
    ))
}

/// Runs a step; what it says is in the log.
pub(super) fn run(tool: Tool, log: &mut Log, (what, exit): (&'static str, BuildExit)) -> Result<()> {
    let status = tool.logged(log, |_| {})?;
    if status.success() {
        return Ok(());
    }
    let why = match status.code() {
        Some(code) => format!("exit code {code}"),
        None => status.to_string(),
    };
    Err(KernelError::Step { what, why, log: log.path.clone(), exit, hint: missing_program(&log.text()) }
        .into())
}

/// Unpacks an archive whose one folder becomes `to`.
fn unpack_tar(file: &Path, to: &Path, log: &mut Log) -> Result<()> {
    std::fs::create_dir_all(to).at(to)?;
    let tar =
        Tool::new("tar").args(["--strip-components=1", "--no-same-owner", "-xf"]).arg(file).arg("-C").arg(to);
    run(tar, log, ("cannot unpack the kernel's source", ORIGINAL))
}

/// The tree that `%prep` of a spec file leaves: the topmost that is a kernel's.
fn prepared(
    spec: &Path,
    sourcedir: &Path,
    request: &KernelRequest,
    work: &Work,
    log: &mut Log,
) -> Result<PathBuf> {
    let top = work.path("rpmbuild");
    let build = top.join("BUILD");
    std::fs::create_dir_all(&build).at(&build)?;
    let mut tool = Tool::new("rpmbuild").args(["-bp", "--nodeps"]);
    for (name, place) in [("_topdir", &top), ("_builddir", &build)] {
        tool = tool.arg("--define").arg(format!("{name} {}", place.display()));
    }
    tool = tool.arg("--define").arg(format!("_sourcedir {}", sourcedir.display()));
    run(tool.args(&request.rpmbuild).arg(spec), log, ("the kernel's source cannot be prepared", ORIGINAL))?;
    let dirs = WalkDir::new(&build).max_depth(3).sort_by_file_name().into_iter().flatten();
    let found = dirs.filter(|e| e.file_type().is_dir()).find(|e| is_kernel(e.path()).is_ok());
    found.map(walkdir::DirEntry::into_path).ok_or_else(|| {
        let (what, why) = ("the kernel's source cannot be prepared", "%prep leaves no kernel".to_owned());
        KernelError::Step { what, why, log: log.path.clone(), exit: ORIGINAL, hint: None }.into()
    })
}

/// What to install, if the log tells.
fn missing_program(log: &str) -> Option<String> {
    let known = [
        ("flex: ", "flex"),
        ("bison: ", "bison"),
        ("bc: ", "bc"),
        ("m4: ", "m4"),
        ("libelf.h", "libelf-dev (elfutils-libelf-devel)"),
        ("gelf.h", "libelf-dev (elfutils-libelf-devel)"),
        ("openssl/", "libssl-dev (openssl-devel)"),
    ];
    let is_missing = log.contains("not found") || log.contains("No such file");
    let (_, package) = known.iter().find(|(sign, _)| is_missing && log.contains(sign))?;
    Some(format!(
        "install {package}; the kernel's build needs make, flex, bison, bc, m4, libelf, openssl and pahole"
    ))
}
