//! A spec file, as rpm itself reads it.

use crate::error::{Context, Failure, Result, SourceError};
use crate::files::{self, SOURCE_LIMIT};
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
    /// Perhaps only `%build` makes the sources what they shall be.
    pub prepares_in_build: bool,
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
            prepares_in_build: false,
        };
        let format = "%{NAME}\\n%|EPOCH?{%{EPOCH}}|\\n%{VERSION}\\n%{RELEASE}\\n%{LICENSE}\\n[%{REQUIRENAME} \
         %{REQUIREFLAGS:depflags} %{REQUIREVERSION}\\t]\\n[%{SOURCE}\\t]\\n[%{PATCH}\\t]\\n";
        let out = source.rpmspec(&["-q", "--srpm", "--qf", format])?;
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
        let text = files::read(spec, SOURCE_LIMIT).at(spec)?;
        source.prepares_in_build = prepares_in_build(&String::from_utf8_lossy(&text), &source.files);
        Ok(source)
    }

    /// Its text with all macros expanded.
    ///
    /// # Errors
    /// Exit code 5 when it does not parse.
    pub(crate) fn expanded(&self) -> Result<String> {
        self.rpmspec(&["-P"])
    }

    fn rpmspec(&self, args: &[&str]) -> Result<String> {
        let out = Tool::new("rpmspec").args(self.parse_options()).args(args).arg(&self.spec).output()?;
        if !out.status.success() {
            return Err(self.broken(&out.message()));
        }
        Ok(String::from_utf8_lossy(&out.stdout).into_owned())
    }

    /// The options of the user that matter for reading the spec file, and where it and its sources are.
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

/// Are the sources perhaps ready only while `%build` runs? Then there is no `%prep`, it ends before its end,
/// or `%build` names a source or a patch. `text` is the spec file as it is: rpm 4.18 shows it without the
/// line `%build` when it has expanded the macros. Where this is wrong, a fix is applied as soon as it can be,
/// or is refused as one that does not apply.
fn prepares_in_build(text: &str, files: &[String]) -> bool {
    let section = |name: &'static str| {
        let first = |line: &str| line.split_whitespace().next().unwrap_or_default().to_owned();
        let ends =
            move |line: &str| matches!(&*first(line), "%prep" | "%build" | "%install" | "%check" | "%files");
        let mut lines = text.lines().skip_while(move |line| line.split_whitespace().next() != Some(name));
        lines.next().map(|_| lines.take_while(move |line| !ends(line)).collect::<Vec<&str>>())
    };
    let Some(prep) = section("%prep") else { return true };
    let build = section("%build").unwrap_or_default();
    let words = [
        "SOURCE",
        "PATCH",
        "%patch",
        "%{patch",
        "%sources",
        "%{sources",
        "%autopatch",
        "%setup",
        "%autosetup",
    ];
    let mut words = words.into_iter().chain(files.iter().map(String::as_str));
    prep.iter().any(|line| line.split_whitespace().next() == Some("exit"))
        || words.any(|word| build.iter().any(|line| line.contains(word)))
}

#[cfg(test)]
mod tests {
    use super::prepares_in_build;

    #[test]
    fn sources_that_only_the_build_prepares() {
        let files = ["x-1.tar.gz".to_owned(), "own.patch".to_owned()];
        let says = |text: &str| prepares_in_build(text, &files);
        assert!(says("Name: x\n%build\nmake\n"));
        assert!(says("%prep\n%build\ntar xf %{_sourcedir}/x-1.tar.gz\n%install\n"));
        assert!(says("%prep\n%setup\n%build\npatch -p1 < %{PATCH0}\n%install\n"));
        assert!(says("%prep\ntar xf /s/x-1.tar.gz\nexit 0\n%build\nmake\n"));
        assert!(!says("%prep\ntar xf %{SOURCE0}\n%build\nmake\n%install\ncp /s/own.patch .\n"));
    }
}
