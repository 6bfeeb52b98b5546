//! A spec file, as rpm itself reads it.

use crate::error::{Failure, Result, SourceError};
use crate::process::Tool;
use patchfile::manifest::Package;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// A spec file with its sources and the options it is read with.
#[derive(Clone, Debug)]
pub(crate) struct SpecSource {
    /// The spec file.
    pub spec: PathBuf,
    /// Where its sources are.
    pub sourcedir: PathBuf,
    /// The user's options for rpmbuild.
    pub options: Vec<OsString>,
    /// Name, version and release.
    pub package: Package,
    /// Licence.
    pub license: String,
    /// Names of its sources and patches.
    pub files: Vec<String>,
    /// Capabilities needed to build.
    pub build_requires: Vec<String>,
}

impl SpecSource {
    /// Asks rpm what the spec file describes.
    ///
    /// # Errors
    /// Exit code 5 when the spec file does not parse, or a source that it names is missing.
    pub(crate) fn read(spec: &Path, sourcedir: &Path, options: &[OsString]) -> Result<Self> {
        let mut source = Self {
            spec: spec.to_path_buf(),
            sourcedir: sourcedir.to_path_buf(),
            options: options.to_vec(),
            package: Package {
                name: String::new(),
                epoch: None,
                version: String::new(),
                release: String::new(),
            },
            license: String::new(),
            files: Vec::new(),
            build_requires: Vec::new(),
        };
        let format = "%{NAME}\\n%|EPOCH?{%{EPOCH}}|\\n%{VERSION}\\n%{RELEASE}\\n%{LICENSE}\\n[%{REQUIRENAME} %{REQUIREFLAGS:depflags} %{REQUIREVERSION}\\t]\\n[%{SOURCE}\\t]\\n[%{PATCH}\\t]\\n";
        let out = source.query(&["--srpm", "--qf", format])?;
        let mut lines = out.lines();
        let mut next = || lines.next().unwrap_or_default().to_owned();
        source.package =
            Package { name: next(), epoch: next().parse().ok(), version: next(), release: next() };
        source.license = next();
        if source.package.name.is_empty() || source.package.version.is_empty() {
            return Err(source.broken("rpm finds neither name nor version in it"));
        }
        let list = |line: String| {
            line.split('\t').map(|w| w.trim().to_owned()).filter(|w| !w.is_empty()).collect::<Vec<_>>()
        };
        source.build_requires = list(next()).into_iter().filter(|r| !r.starts_with("rpmlib(")).collect();
        let mut files = list(next());
        files.extend(list(next()));
        let missing = files.iter().filter(|f| !source.sourcedir.join(f).is_file());
        let missing: Vec<String> = missing.cloned().collect();
        if !missing.is_empty() {
            return Err(SourceError::MissingSources { dir: source.sourcedir, files: missing }.into());
        }
        source.files = files;
        Ok(source)
    }

    fn query(&self, args: &[&str]) -> Result<String> {
        let out =
            Tool::new("rpmspec").arg("-q").args(self.parse_options()).args(args).arg(&self.spec).output()?;
        if !out.status.success() {
            return Err(self.broken(&out.message()));
        }
        Ok(String::from_utf8_lossy(&out.stdout).into_owned())
    }

    /// Those of the user's options that matter for reading the spec, and where it and its sources
    /// are.
    fn parse_options(&self) -> Vec<OsString> {
        let mut args: Vec<OsString> = Vec::new();
        let mut options = self.options.iter();
        while let Some(option) = options.next() {
            let text = option.to_string_lossy();
            let base = text.split('=').next().unwrap_or_default();
            if matches!(
                base,
                "--define"
                    | "-D"
                    | "--undefine"
                    | "--with"
                    | "--without"
                    | "--load"
                    | "--rcfile"
                    | "--macros"
            ) {
                args.push(option.clone());
                if !text.contains('=') || base == "-D" {
                    args.extend(options.next().cloned());
                }
            }
        }
        let specdir = self.spec.parent().filter(|d| !d.as_os_str().is_empty()).unwrap_or(Path::new("."));
        for (name, dir) in [("_sourcedir ", self.sourcedir.as_path()), ("_specdir ", specdir)] {
            let mut define = OsString::from(name);
            define.push(dir);
            args.extend(["--define".into(), define]);
        }
        args
    }

    fn broken(&self, said: &str) -> Failure {
        SourceError::Spec { spec: self.spec.clone(), said: said.to_owned() }.into()
    }
}
