//! The patch RPM and the source RPM that makes it again elsewhere, from the templates in `rpm/`.

use super::template::{Values, fill, quoted};
use crate::cli::Args;
use crate::error::{Context, OptionError, OutputError, Result};
use crate::naming::Naming;
use crate::process::Tool;
use crate::scratch::Work;
use crate::source::SpecSource;
use patchfile::manifest::Package;
use patchfile::{Arch, Manifest};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

const BINARY: &str = include_str!("../../../rpm/patch-package.spec.in");
const SOURCE: &str = include_str!("../../../rpm/patch-source.spec.in");

/// Files of the archive are as old as this where nobody says otherwise: a date that archives of every kind
/// can hold.
const LONG_AGO: std::time::Duration = std::time::Duration::from_secs(946_684_800);

/// Macros by which `SOURCE_DATE_EPOCH` alone makes packages reproducible.
const REPRODUCIBLE: [&str; 3] =
    ["use_source_date_epoch_as_buildtime 1", "clamp_mtime_to_source_date_epoch 1", "_buildhost reproducible"];

/// What packages are made from.
#[derive(Debug)]
pub(crate) struct PatchPackage<'a> {
    /// The options.
    pub args: &'a Args,
    /// Scratch space.
    pub work: &'a Work,
    /// Name, ids, description.
    pub naming: &'a Naming,
    /// The package patched.
    pub package: &'a Package,
    /// Its spec file; none for a source tree.
    pub source: Option<&'a SpecSource>,
    /// Name of the package whose presence the patch requires: that of the RPM with the ELF files.
    pub requires: &'a str,
    /// `uname -r`, if a kernel is patched.
    pub kernel: Option<&'a str>,
    /// The fix.
    pub patches: &'a [PathBuf],
}

/// A finished patch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RpmInput<'a> {
    /// Its manifest.
    pub manifest: &'a Manifest,
    /// Its directory.
    pub dir: &'a Path,
}

impl PatchPackage<'_> {
    /// Makes the binary and, where there is a spec, the source RPM.
    ///
    /// # Errors
    /// When rpmbuild fails.
    pub(crate) fn rpms(&self, input: &RpmInput<'_>) -> Result<Vec<PathBuf>> {
        let arch = input.manifest.arch.name();
        let mut values = self.values(arch);
        values.set_quoted("DIRECTORY", &input.dir.display().to_string());
        let spec = self.folder("patch-rpm")?.join("patch.spec");
        std::fs::write(&spec, self.fill(BINARY, &values)?).what("spec file of the patch")?;
        let mut made = vec![self.rpmbuild(&["-bb", "--target", arch], &spec)?];
        if self.source.is_some() {
            made.push(self.source_rpm()?);
        }
        Ok(made)
    }

    /// Makes the source RPM. It holds one spec file, the patch's; the package's own is in an archive with its
    /// sources.
    ///
    /// # Errors
    /// When rpmbuild fails, or two files have one name.
    pub(crate) fn source_rpm(&self) -> Result<PathBuf> {
        let Some(source) = self.source else {
            return Err(OptionError::SourceRpmOfTree.into());
        };
        let folder = self.folder("patch-srpm")?;
        let mut package = Folder::new(folder.join("package"))?;
        let spec_name = package.add(&source.spec)?;
        for name in &source.files {
            package.add(&source.sourcedir.join(name))?;
        }
        let own = self.own_options(source, &mut package)?;
        let archive = format!("{}-sources.tar", self.package.name);
        self.pack(&folder, &archive)?;

        let mut files = Folder::new(folder.clone())?;
        files.names.insert(archive.clone());
        let mut options = Vec::new();
        let args = self.args;
        let devel = args.kernel_devel.as_slice();
        for (option, paths) in [
            ("--patch", self.patches),
            ("--target", &args.target[..]),
            ("--debuginfo", &args.debuginfo[..]),
            ("--kernel-devel", devel),
        ] {
            // A folder is of this machine only; the packages that it is installed from are asked for below.
            for path in paths.iter().filter(|path| !path.is_dir()) {
                options.push(format!("{option} \"$S\"/{}", quoted(&files.add(path)?)));
            }
        }
        options.extend(self.options());
        options.extend(own);
        let arch = Arch::native().map_or("noarch", Arch::name);
        let mut values = self.values(arch);
        let lines = files.names.iter().enumerate().map(|(n, f)| format!("Source{n}: {f}"));
        values.set_lines("SOURCES", lines.collect());
        let mut requires = source.build_requires.clone();
        requires.extend(self.kernel_requires());
        let requires = requires.iter().map(|r| format!("BuildRequires: {r}")).collect();
        values.set_lines("BUILD_REQUIRES", requires);
        values.set_quoted("ARCHIVE", &archive);
        values.set_quoted("SPEC", &spec_name);
        values.set("OPTIONS", &options.join(" "));
        let spec = folder.join(format!("{}.spec", self.rpm_name()));
        std::fs::write(&spec, self.fill(SOURCE, &values)?).what("spec file of the patch")?;
        if let Some(time) = source_date() {
            for name in &files.names {
                let file = std::fs::File::open(folder.join(name)).what(name.clone())?;
                file.set_modified(time).what(name.clone())?;
            }
        }
        self.rpmbuild(&["-bs", "--nodeps"], &spec)
    }

    /// Is it a kernel of a distribution without RPMs? No RPM has a version with two dashes, and so nothing
    /// can require it.
    fn is_foreign(&self) -> bool {
        self.kernel.is_some_and(|release| release.matches('-').count() > 1)
    }

    /// What must be installed of the kernel that is patched, as far as its packages are not among the
    /// sources.
    fn kernel_requires(&self) -> Vec<String> {
        let Some(release) = self.kernel.filter(|_| !self.is_foreign()) else { return Vec::new() };
        let given = |paths: &[PathBuf]| paths.iter().any(|path| !path.is_dir());
        let mut all = Vec::new();
        if !given(self.args.kernel_devel.as_slice()) {
            all.push(format!("kernel-devel-uname-r = {release}"));
        }
        if !given(&self.args.target) {
            all.push(format!("kernel-uname-r = {release}"));
        }
        all
    }

    /// Packs the package's files; the same files give the same archive.
    fn pack(&self, folder: &Path, archive: &str) -> Result<()> {
        let time = source_date().unwrap_or(std::time::UNIX_EPOCH + LONG_AGO);
        let seconds = time.duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs();
        let said = Tool::new("tar")
            .args(["--sort=name", "--format=gnu", "--owner=0", "--group=0", "--numeric-owner"])
            .args(["--mode=u=rwX,go=rX", &format!("--mtime=@{seconds}"), "-C"])
            .arg(folder)
            .arg("-cf")
            .arg(folder.join(archive))
            .arg("package")
            .output()?;
        if said.status.success() {
            return Ok(());
        }
        Err(OutputError::Pack { said: said.message() }.into())
    }

    /// The options of rpmbuild with which the package is built. Files of macros go with the sources.
    fn own_options(&self, source: &SpecSource, package: &mut Folder) -> Result<Vec<String>> {
        let mut out = Vec::new();
        let mut options = source.options.iter().map(|o| o.to_string_lossy().into_owned());
        while let Some(option) = options.next() {
            if !matches!(option.as_str(), "--load" | "--macros" | "--rcfile") {
                out.push(quoted(&option));
                continue;
            }
            let list = options.next().unwrap_or_default();
            let mut files = Vec::new();
            for file in list.split(':') {
                let systems = ["/usr/lib/rpm", "/etc/rpm"].iter().any(|dir| Path::new(file).starts_with(dir));
                files.push(match !systems && Path::new(file).is_file() {
                    true => format!("\"$P\"/{}", quoted(&package.add(Path::new(file))?)),
                    false => quoted(file),
                });
            }
            out.push(format!("{option} {}", files.join(":")));
        }
        Ok(out)
    }

    /// Options that make the same patch again.
    fn options(&self) -> Vec<String> {
        let args = self.args;
        let mut out = Vec::new();
        let mut option = |name: &str, value: &str| out.push(format!("{name} {}", quoted(value)));
        option("--name", &self.naming.name);
        for cve in &self.naming.cve {
            option("--cve", cve);
        }
        if !self.naming.description.is_empty() {
            option("--description", &self.naming.description);
        }
        option("--patch-version", &args.patch_version.to_string());
        option("--patch-release", &args.patch_release.to_string());
        option("--strip", &args.strip.to_string());
        for elf in &args.elf {
            option("--elf", elf);
        }
        if let Some(release) = self.kernel {
            option("--kernel", release);
        }
        out
    }

    /// Name of the patch package; rpm forbids ~ and ^ in names.
    fn rpm_name(&self) -> String {
        format!("patch-{}-{}", self.package.nvr(), self.naming.name).replace(['~', '^'], "_")
    }

    fn values(&self, arch: &str) -> Values {
        let mut values = Values::default();
        let package = self.package;
        let nvr = package.nvr();
        values.set("NAME", &self.rpm_name());
        values.set("PATCH_VERSION", &self.args.patch_version.to_string());
        values.set("PATCH_RELEASE", &self.args.patch_release.to_string());
        let summary = match self.naming.description.as_str() {
            "" => format!("Live patch {} for {}", self.naming.name, package.name),
            text => text.to_owned(),
        };
        values.set("SUMMARY", &summary);
        values.set("DESCRIPTION", &summary);
        let license = self.source.map(|s| s.license.as_str()).filter(|l| !l.is_empty());
        values.set("LICENSE", license.unwrap_or("unknown"));
        values.set("ARCH", arch);
        values.set("TARGET", self.requires);
        let release =
            if package.release.is_empty() { String::new() } else { format!("-{}", package.release) };
        let evr = match package.epoch {
            Some(epoch) => format!("{epoch}:{}{release}", package.version),
            None => format!("{}{release}", package.version),
        };
        values.set("TARGET_EVR", &evr);
        let provides = self
            .naming
            .cve
            .iter()
            .flat_map(|c| [format!("Provides: upatch-cve({c})"), format!("Provides: {c}")]);
        values.set_lines("CVE_PROVIDES", provides.collect());
        values.set("NVR", &nvr);
        values.set("PATCH", &self.naming.name);
        values
    }

    /// Fills in a template; a source tree is no package, hence nothing can be required.
    fn fill(&self, template: &str, values: &Values) -> Result<String> {
        let known: String = match self.package.version.is_empty() || self.is_foreign() {
            true => {
                template.lines().filter(|l| !l.starts_with("Requires(")).map(|l| format!("{l}\n")).collect()
            }
            false => template.to_owned(),
        };
        fill(&known, values)
    }

    fn folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.work.path(name);
        std::fs::create_dir_all(&folder).at(&folder)?;
        Ok(folder)
    }

    fn rpmbuild(&self, args: &[&str], spec: &Path) -> Result<PathBuf> {
        let folder = spec.parent().unwrap_or(Path::new("/"));
        let out = folder.join("made");
        let mut tool = Tool::new("rpmbuild").args(args);
        for (name, place) in [
            ("_topdir", folder.join("top")),
            ("_sourcedir", folder.to_path_buf()),
            ("_builddir", folder.join("build")),
            ("_buildrootdir", folder.join("root")),
            ("_rpmdir", out.clone()),
            ("_srcrpmdir", out.clone()),
            ("_tmppath", self.work.path("tmp")),
        ] {
            std::fs::create_dir_all(&place).at(&place)?;
            tool = tool.arg("--define").arg(format!("{name} {}", place.display()));
        }
        // The files of the source RPM belong to root, whoever makes it.
        tool = tool.args(["--define", "_srcdefattr (0644,root,root)"]);
        // rpm heeds the date only where these macros say so, and writes the name of the host.
        if source_date().is_some() {
            for define in REPRODUCIBLE {
                tool = tool.args(["--define", define]);
            }
        }
        let said = tool.arg(spec).output()?;
        let made = walkdir::WalkDir::new(&out)
            .into_iter()
            .flatten()
            .find(|e| e.path().extension().is_some_and(|x| x == "rpm"));
        match made {
            Some(rpm) if said.status.success() => Ok(rpm.path().to_path_buf()),
            _ => Err(OutputError::Rpm { said: said.message() }.into()),
        }
    }
}

/// `SOURCE_DATE_EPOCH`, seconds since 1970 (<https://reproducible-builds.org/specs/source-date-epoch/>).
fn source_date() -> Option<std::time::SystemTime> {
    let seconds = std::env::var("SOURCE_DATE_EPOCH").ok()?.trim().parse().ok()?;
    std::time::UNIX_EPOCH.checked_add(std::time::Duration::from_secs(seconds))
}

/// A folder in which each file has a name of its own.
#[derive(Debug)]
struct Folder {
    path: PathBuf,
    names: BTreeSet<String>,
}

impl Folder {
    fn new(path: PathBuf) -> Result<Self> {
        std::fs::create_dir_all(&path).at(&path)?;
        Ok(Self { path, names: BTreeSet::new() })
    }

    /// Copies a file here.
    fn add(&mut self, from: &Path) -> Result<String> {
        let name = file_name(from);
        let copy = self.path.join(&name);
        if !self.names.insert(name.clone()) {
            // A file of macros may be a source of the package too.
            let read = |path: &Path| std::fs::read(path).ok();
            if read(from).is_some_and(|data| read(&copy) == Some(data)) {
                return Ok(name);
            }
            return Err(OutputError::SameName(name).into());
        }
        std::fs::copy(from, copy).at(from)?;
        Ok(name)
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}
