//! The patch RPM and the source RPM that makes it again elsewhere, from the templates in `rpm/`.

use super::template::{Values, fill, quoted};
use crate::cli::Request;
use crate::error::{Context, Failure, Result};
use crate::naming::Naming;
use crate::run::Tool;
use crate::source::SpecSource;
use crate::work::Work;
use patchfile::manifest::Package;
use patchfile::{Arch, Manifest};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

const BINARY: &str = include_str!("../../../rpm/patch-package.spec.in");
const SOURCE: &str = include_str!("../../../rpm/patch-source.spec.in");

/// What packages are made from.
#[derive(Debug)]
pub struct PatchPackage<'a> {
    /// The request.
    pub request: &'a Request,
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
    /// The fix.
    pub patches: &'a [PathBuf],
}

/// A finished patch.
#[derive(Clone, Copy, Debug)]
pub struct RpmInput<'a> {
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
    pub fn rpms(&self, input: &RpmInput<'_>) -> Result<Vec<PathBuf>> {
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

    /// Makes the source RPM.
    ///
    /// # Errors
    /// When rpmbuild fails.
    pub fn source_rpm(&self) -> Result<PathBuf> {
        let Some(source) = self.source else {
            return Err(Failure::usage("source RPM", "needs --spec or --srpm"));
        };
        let folder = self.folder("patch-srpm")?;
        let spec_name = file_name(&source.spec);
        let mut names = BTreeSet::new();
        let mut add = |from: &Path| -> Result<String> {
            let name = file_name(from);
            if !names.insert(name.clone()) {
                return Err(Failure::failed("source RPM", format!("two of its files are called {name}"))
                    .hint("give the fix another file name"));
            }
            std::fs::copy(from, folder.join(&name)).what(from.display().to_string())?;
            Ok(name)
        };
        let mut files = vec![add(&source.spec)?];
        for name in &source.files {
            files.push(add(&source.sourcedir.join(name))?);
        }
        let mut options = Vec::new();
        for patch in self.patches {
            let name = add(patch)?;
            options.push(format!("--patch \"$S\"/{}", quoted(&name)));
            files.push(name);
        }
        for (option, paths) in
            [("--target", &self.request.args.target), ("--debuginfo", &self.request.args.debuginfo)]
        {
            for path in paths {
                let name = add(path)?;
                options.push(format!("{option} \"$S\"/{}", quoted(&name)));
                files.push(name);
            }
        }
        options.extend(self.options(source));
        let arch = Arch::native().map_or("noarch", Arch::name);
        let mut values = self.values(arch);
        let lines = files.iter().enumerate().map(|(n, f)| format!("Source{n}: {f}"));
        values.set_lines("SOURCES", lines.collect());
        values.set_lines(
            "BUILD_REQUIRES",
            source.build_requires.iter().map(|r| format!("BuildRequires: {r}")).collect(),
        );
        values.set_quoted("SPEC", &spec_name);
        values.set("OPTIONS", &options.join(" "));
        let spec = folder.join("patch-source.spec");
        if names.contains("patch-source.spec") {
            return Err(Failure::failed("source RPM", "one of its files is called patch-source.spec"));
        }
        std::fs::write(&spec, self.fill(SOURCE, &values)?).what("spec file of the patch")?;
        self.rpmbuild(&["-bs", "--nodeps"], &spec)
    }

    /// Options that make the same patch again.
    fn options(&self, source: &SpecSource) -> Vec<String> {
        let args = &self.request.args;
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
        out.extend(source.options.iter().map(|o| quoted(&o.to_string_lossy())));
        out
    }

    fn values(&self, arch: &str) -> Values {
        let mut values = Values::default();
        let package = self.package;
        let nvr = package.nvr();
        let name = format!("patch-{nvr}-{}", self.naming.name);
        values.set("NAME", &name.replace(['~', '^'], "_"));
        values.set("PATCH_VERSION", &self.request.args.patch_version.to_string());
        values.set("PATCH_RELEASE", &self.request.args.patch_release.to_string());
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
        let evr = match (package.epoch, package.version.is_empty()) {
            (_, true) => String::new(),
            (Some(epoch), _) => format!("{epoch}:{}-{}", package.version, package.release),
            (None, _) => format!("{}-{}", package.version, package.release),
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
        let known: String = match self.package.version.is_empty() {
            true => {
                template.lines().filter(|l| !l.starts_with("Requires(")).map(|l| format!("{l}\n")).collect()
            }
            false => template.to_owned(),
        };
        fill(&known, values)
    }

    fn folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.work.path(name);
        std::fs::create_dir_all(&folder).what(folder.display().to_string())?;
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
            std::fs::create_dir_all(&place).what(place.display().to_string())?;
            tool = tool.arg("--define").arg(format!("{name} {}", place.display()));
        }
        let said = tool.arg(spec).output()?;
        let made = walkdir::WalkDir::new(&out)
            .into_iter()
            .flatten()
            .find(|e| e.path().extension().is_some_and(|x| x == "rpm"));
        match made {
            Some(rpm) if said.status.success() => Ok(rpm.path().to_path_buf()),
            _ => Err(Failure::failed("cannot make the patch RPM", said.message())),
        }
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}
