//! The options, checked against each other, as a request: what to make, and from what.

use super::Args;
use crate::error::{Context, OptionError, Result};
use crate::files;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// What the package is built from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    /// A spec file with the directory of its sources.
    Spec {
        /// The spec file.
        spec: PathBuf,
        /// Where its sources are.
        sourcedir: PathBuf,
    },
    /// A source RPM.
    Srpm(PathBuf),
    /// A source tree.
    Tree {
        /// The tree.
        dir: PathBuf,
        /// Builds it.
        build: String,
        /// Prepares it.
        prepare: Option<String>,
        /// The fix comes from git: from this commit up to that, or up to the files of the work tree.
        git: Option<(String, Option<String>)>,
    },
}

impl Input {
    /// About the package's name, as far as the name of what was given tells it.
    pub(crate) fn package(&self) -> String {
        let (Self::Spec { spec: path, .. } | Self::Srpm(path) | Self::Tree { dir: path, .. }) = self;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let is_version = |part: &str| part.starts_with(|c: char| c.is_ascii_digit());
        let parts = name.split(['.', '-']).enumerate();
        let named: Vec<&str> = parts.take_while(|(i, p)| *i == 0 || !is_version(p)).map(|(_, p)| p).collect();
        named.join("-").trim_end_matches("-spec").to_owned()
    }
}

/// A checked request.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// The options.
    pub args: Args,
    /// What is built; paths absolute.
    pub input: Input,
    /// The fix; paths absolute. Empty with git.
    pub patches: Vec<PathBuf>,
    /// Options for rpmbuild.
    pub rpmbuild: Vec<OsString>,
    /// Write an RPM?
    pub rpm: bool,
}

impl Request {
    /// Checks options against each other and that the files named are there.
    ///
    /// # Errors
    /// Usage failures; files that are missing or cannot be read.
    pub(crate) fn new(args: Args, rpmbuild: Vec<OsString>) -> Result<Self> {
        let usage = |why: &str| Err(OptionError::Together(why.to_owned()).into());
        let kinds = [args.spec.is_some(), args.srpm.is_some(), args.source.is_some()];
        match kinds.iter().filter(|k| **k).count() {
            0 => return usage("one of --spec, --srpm and --source is needed"),
            1 => {}
            _ => return usage("--spec, --srpm and --source exclude each other"),
        }
        if args.source.is_none() {
            for (given, name) in [
                (args.build.is_some(), "--build"),
                (args.prepare.is_some(), "--prepare"),
                (args.git.is_some(), "--git"),
            ] {
                if given {
                    return usage(&format!("{name} goes with --source"));
                }
            }
        } else if !rpmbuild.is_empty() {
            return usage(&format!(
                "{} is an option of rpmbuild, which --source does not use",
                lossy(&rpmbuild[0])
            ));
        }
        if args.source.is_some() && args.build.is_none() {
            return Err(OptionError::NoBuildCommand.into());
        }
        if args.sourcedir.is_some() && args.spec.is_none() {
            return usage("--sourcedir goes with --spec");
        }
        match (args.patch.is_empty(), args.git.is_some()) {
            (true, false) => return usage("--patch is needed"),
            (false, true) => return usage("--git and --patch exclude each other"),
            _ => {}
        }
        args.git.as_deref().map(range).transpose()?;
        if !args.debuginfo.is_empty() && args.target.is_empty() {
            return usage("--debuginfo goes with --target");
        }
        if args.source.is_some() && args.srpm_only {
            return usage("--srpm-only goes with --spec or --srpm");
        }
        if let Some(name) = &args.name
            && !patchfile::manifest::is_safe_name(name)
        {
            return usage(&format!(
                "--name {name:?}: only letters, digits and ._+-~^ are allowed, no dot or dash first"
            ));
        }
        let patches = args.patch.iter().map(|p| readable_file("--patch", p)).collect::<Result<Vec<_>>>()?;
        for (option, files) in [("--target", &args.target), ("--debuginfo", &args.debuginfo)] {
            files.iter().try_for_each(|f| readable_file(option, f).map(drop))?;
        }
        let input = input(&args)?;
        let rpm = if args.source.is_some() { args.rpm } else { !args.no_rpm };
        Ok(Self { args, input, patches, rpmbuild, rpm })
    }
}

fn input(args: &Args) -> Result<Input> {
    if let Some(spec) = &args.spec {
        let spec = readable_file("--spec", spec)?;
        let sourcedir = match &args.sourcedir {
            Some(dir) => directory("--sourcedir", dir)?,
            None => default_sourcedir(&spec),
        };
        return Ok(Input::Spec { spec, sourcedir });
    }
    if let Some(srpm) = &args.srpm {
        return Ok(Input::Srpm(readable_file("--srpm", srpm)?));
    }
    let dir = directory("--source", args.source.as_deref().unwrap_or(Path::new("")))?;
    let build = args.build.clone().unwrap_or_default();
    let git = args.git.as_deref().map(range).transpose()?;
    Ok(Input::Tree { dir, build, prepare: args.prepare.clone(), git })
}

fn range(text: &str) -> Result<(String, Option<String>)> {
    match text.split_once("..") {
        Some((base, head)) if !base.is_empty() && !head.starts_with('.') && !base.starts_with('-') => {
            let head = if head.is_empty() { "HEAD" } else { head };
            Ok((base.to_owned(), Some(head.to_owned())))
        }
        None if !text.is_empty() && !text.starts_with('-') => Ok((text.to_owned(), None)),
        _ => Err(OptionError::GitRange(text.to_owned()).into()),
    }
}

/// `../SOURCES` of an rpmbuild tree, else the spec file's own directory (as in dist-git).
pub(super) fn default_sourcedir(spec: &Path) -> PathBuf {
    let own = spec.parent().unwrap_or(Path::new("/"));
    let sources = own.parent().map(|up| up.join("SOURCES"));
    match sources {
        Some(dir) if own.file_name().is_some_and(|n| n == "SPECS") && dir.is_dir() => dir,
        Some(dir) if dir.is_dir() && !has_sources(own) => dir,
        _ => own.to_path_buf(),
    }
}

/// Does the directory hold anything that looks like a source archive or patch?
fn has_sources(dir: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(dir) else { return false };
    entries.flatten().any(|e| {
        let name = e.file_name().to_string_lossy().into_owned();
        [".tar", ".tgz", ".zip", ".patch", ".diff", ".tar.gz", ".tar.xz"].iter().any(|s| name.contains(s))
    })
}

pub(super) fn readable_file(option: &'static str, path: &Path) -> Result<PathBuf> {
    let absolute = std::path::absolute(path).option(option, path)?;
    let file = files::open(&absolute).option(option, path)?;
    let limit = if option == "--patch" { files::SOURCE_LIMIT } else { files::BINARY_LIMIT };
    if file.metadata().option(option, path)?.len() > limit {
        return Err(OptionError::TooLong { option, path: path.to_path_buf(), limit }.into());
    }
    Ok(absolute)
}

pub(super) fn directory(option: &'static str, path: &Path) -> Result<PathBuf> {
    let absolute = path.canonicalize().option(option, path)?;
    if !absolute.is_dir() {
        return Err(OptionError::NoDirectory { option, path: path.to_path_buf() }.into());
    }
    std::fs::read_dir(&absolute).option(option, path)?;
    Ok(absolute)
}

pub(super) fn lossy(text: &OsString) -> String {
    text.to_string_lossy().into_owned()
}
