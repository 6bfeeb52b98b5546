//! The options of `upatch-build --kernel`, checked against each other.

use super::Args;
use super::request::{default_sourcedir, directory, lossy, readable_file};
use crate::error::{Context, OptionError, Result};
use patchfile::manifest::Package;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Where the kernel's source comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum KernelSource {
    /// Where the distribution installs it.
    Installed,
    /// A tree, left untouched.
    Dir(PathBuf),
    /// An archive of one.
    Tarball(PathBuf),
    /// A source RPM.
    Srpm(PathBuf),
    /// A spec file with the directory of its sources.
    Spec {
        /// The spec file.
        spec: PathBuf,
        /// Where its sources are.
        sourcedir: PathBuf,
    },
}

/// A checked request for a livepatch module. Paths are absolute.
#[derive(Clone, Debug)]
pub(crate) struct KernelRequest {
    /// The options.
    pub args: Args,
    /// `uname -r` of the kernel.
    pub release: String,
    /// The package that the kernel belongs to, as its files say.
    pub package: Package,
    /// Its source.
    pub source: KernelSource,
    /// The fix.
    pub patches: Vec<PathBuf>,
    /// Options for rpmbuild.
    pub rpmbuild: Vec<OsString>,
    /// Write an RPM?
    pub rpm: bool,
}

impl KernelRequest {
    /// Checks options against each other and that the files named are there.
    ///
    /// # Errors
    /// Usage failures; files that are missing or cannot be read.
    pub(crate) fn new(mut args: Args, rpmbuild: Vec<OsString>) -> Result<Self> {
        let usage = |why: &str| Err(OptionError::Together(why.to_owned()).into());
        for (given, name) in [
            (args.build.is_some(), "--build"),
            (args.prepare.is_some(), "--prepare"),
            (args.git.is_some(), "--git"),
            (!args.elf.is_empty(), "--elf"),
            (!args.debuginfo.is_empty(), "--debuginfo"),
        ] {
            if given {
                return usage(&format!("{name} does not go with --kernel"));
            }
        }
        let kinds = [args.spec.is_some(), args.srpm.is_some(), args.source.is_some()];
        if kinds.iter().filter(|k| **k).count() > 1 {
            return usage("--spec, --srpm and --source exclude each other");
        }
        let of_rpm = args.spec.is_some() || args.srpm.is_some();
        if args.sourcedir.is_some() && args.spec.is_none() {
            return usage("--sourcedir goes with --spec");
        }
        if !rpmbuild.is_empty() && !of_rpm {
            let option = lossy(&rpmbuild[0]);
            return usage(&format!("{option} is an option of rpmbuild, which only --spec and --srpm use"));
        }
        if args.tree_only && args.store().is_none() {
            return usage("--tree-only needs a store that can be written to: name one with --cache");
        }
        if args.srpm_only && !of_rpm {
            return usage("--srpm-only goes with --spec or --srpm");
        }
        if args.patch.is_empty() && !args.tree_only {
            return usage("--patch is needed");
        }
        if let Some(name) = &args.name
            && !patchfile::manifest::is_safe_name(name)
        {
            return usage(&format!(
                "--name {name:?}: only letters, digits and ._+-~^ are allowed, no dot or dash first"
            ));
        }
        let release = match args.kernel.as_deref() {
            None | Some("") => running()?,
            Some(release) => release.to_owned(),
        };
        if !patchfile::manifest::is_safe_name(&release) {
            return usage(&format!("--kernel {release:?} is no release of a kernel (uname -r)"));
        }
        let patches = args.patch.iter().map(|p| readable_file("--patch", p)).collect::<Result<Vec<_>>>()?;
        for target in &mut args.target {
            *target = file_or_directory("--target", target)?;
        }
        if let Some(devel) = &mut args.kernel_devel {
            *devel = file_or_directory("--kernel-devel", devel)?;
        }
        for (option, file) in [("--sign-key", &mut args.sign_key), ("--sign-cert", &mut args.sign_cert)] {
            if let Some(file) = file {
                *file = readable_file(option, file)?;
            }
        }
        let source = source(&args)?;
        let rpm = if of_rpm { !args.no_rpm } else { args.rpm };
        let (name, version) = ("kernel".to_owned(), release.clone());
        let package = Package { name, epoch: None, version, release: String::new() };
        Ok(Self { args, release, package, source, patches, rpmbuild, rpm })
    }
}

fn source(args: &Args) -> Result<KernelSource> {
    if let Some(spec) = &args.spec {
        let spec = readable_file("--spec", spec)?;
        let sourcedir = match &args.sourcedir {
            Some(dir) => directory("--sourcedir", dir)?,
            None => default_sourcedir(&spec),
        };
        return Ok(KernelSource::Spec { spec, sourcedir });
    }
    if let Some(srpm) = &args.srpm {
        return Ok(KernelSource::Srpm(readable_file("--srpm", srpm)?));
    }
    let Some(given) = &args.source else { return Ok(KernelSource::Installed) };
    if given.is_dir() {
        return Ok(KernelSource::Dir(directory("--source", given)?));
    }
    Ok(KernelSource::Tarball(readable_file("--source", given)?))
}

fn file_or_directory(option: &'static str, path: &Path) -> Result<PathBuf> {
    if path.is_dir() { directory(option, path) } else { readable_file(option, path) }
}

/// The release of the running kernel.
fn running() -> Result<String> {
    let name = nix::sys::utsname::uname().what("uname")?;
    Ok(name.release().to_string_lossy().into_owned())
}
