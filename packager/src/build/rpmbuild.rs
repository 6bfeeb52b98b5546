//! Driving rpmbuild in a private set of directories.

use super::Recorder;
use crate::error::{BuildError, Context, Result, Side};
use crate::prep::{HOOK_COMMAND, Order, PrepAnswer};
use crate::process::{Log, Tool, word};
use crate::scratch::Work;
use crate::source::{SpecSource, host_uses_rpm};
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use wrapper::Phase;

/// How far a build goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// `%prep` and `%build`.
    Build,
    /// Only `%build`, in a tree that is there.
    BuildOnly,
    /// Also `%install`, without rpm's own processing of what was installed.
    Install,
    /// Only `%install`, in the tree that an earlier run built, without that processing.
    InstallOnly,
    /// Also that processing (debug information split off, build-ids rewritten): the ELF files are those of
    /// the package.
    Final,
}

/// One run of rpmbuild.
#[derive(Debug)]
pub(crate) struct RpmBuild<'a> {
    /// What is built.
    pub source: &'a SpecSource,
    /// Scratch space.
    pub work: &'a Work,
    /// The recording.
    pub recorder: &'a Recorder,
    /// Which build it is, for names of files.
    pub phase: Phase,
    /// How far.
    pub stage: Stage,
    /// The fix. In the original build it is only tried whether it applies.
    pub patches: &'a [PathBuf],
    /// Directory names to strip from names in the fix.
    pub strip: u32,
    /// With directives that keep the numbers of unchanged lines.
    pub numbered: bool,
    /// Parallel jobs, if the user gave a number.
    pub jobs: Option<u32>,
}

impl RpmBuild<'_> {
    /// Where `%install` installs.
    pub(crate) fn buildroots(work: &Work) -> PathBuf {
        work.path("BUILDROOT")
    }

    /// Names of the link records that were there when `%build` ended, one `ls` line each.
    pub(crate) fn links_after_build(work: &Work, phase: Phase) -> PathBuf {
        work.path("log").join(format!("{phase}-links"))
    }

    /// Builds. `line` gets each line of the log.
    ///
    /// # Errors
    /// Exit code 5 for the original build, 6 for the patched one, with the log.
    pub(crate) fn run(&self, log: &mut Log, line: impl FnMut(&str)) -> Result<PrepAnswer> {
        let answer = PrepAnswer::file(self.work, self.phase);
        let in_build = self.source.prepares_in_build;
        let original = self.phase == Phase::Original;
        let late = (in_build && !original).then(|| self.recorder.late_fix());
        // Sources that are ready only while the build runs are not there yet.
        let patches = if original && in_build { Vec::new() } else { self.patches.to_vec() };
        let order = Order {
            patches,
            trial: original,
            strip: self.strip,
            numbered: self.numbered,
            outcome: answer.clone(),
            late: late.clone(),
        };
        let order_file = self.work.path("log").join(format!("{}-order", self.phase));
        let text = serde_json::to_vec(&order).what("order")?;
        std::fs::write(&order_file, text).at(&order_file)?;
        let _ = std::fs::remove_file(self.installed());
        if let Some(late) = &late {
            let _ = std::fs::remove_file(&answer);
            let own = super::recorder::own_executable()?;
            let words =
                [own.as_path(), Path::new(HOOK_COMMAND), &order_file, &self.work.build(), Path::new("")];
            let text = serde_json::to_vec(&words).what("order")?;
            std::fs::write(late, text).at(late)?;
        }
        let status = Tool::new("rpmbuild")
            .args(self.arguments(&order_file)?)
            .arg(&self.source.spec)
            .envs(self.recorder.env())
            .dir(self.work.root())
            .logged(log, line)?;
        if let Some(late) = &late {
            let _ = std::fs::remove_file(late);
        }
        let outcome = PrepAnswer::read(&answer)?;
        if let Some(error) = outcome.as_ref().and_then(PrepAnswer::error) {
            return Err(error.into());
        }
        if !status.success() && !self.installed().exists() {
            return Err(self.error(log).into());
        }
        match outcome {
            None if in_build && original => Ok(PrepAnswer::default()),
            None if in_build => Err(BuildError::NeverPrepared.into()),
            other => Ok(other.ok_or(BuildError::NoPrep)?),
        }
    }

    /// Appears when the script of `%install` has come to its end.
    fn installed(&self) -> PathBuf {
        self.work.path("log").join(format!("{}-installed", self.phase))
    }

    fn arguments(&self, order: &Path) -> Result<Vec<OsString>> {
        let mut args: Vec<OsString> = self.source.options.clone();
        let builds = matches!(self.stage, Stage::Build | Stage::BuildOnly);
        args.push(if builds { "-bc" } else { "-bi" }.into());
        if matches!(self.stage, Stage::BuildOnly | Stage::InstallOnly) {
            args.push("--short-circuit".into());
        }
        args.push("--nocheck".into());
        if !host_uses_rpm() {
            args.push("--nodeps".into());
        }
        let mut define = |name: &str, value: &[u8]| {
            let mut text = name.as_bytes().to_vec();
            text.push(b' ');
            text.extend_from_slice(value);
            args.push("--define".into());
            args.push(std::ffi::OsStr::from_bytes(&text).to_owned());
        };
        // rpm expands macros in values too.
        let place = |path: &Path| {
            path.as_os_str()
                .as_bytes()
                .iter()
                .flat_map(|b| if *b == b'%' { vec![b'%'; 2] } else { vec![*b] })
                .collect::<Vec<_>>()
        };
        define("_topdir", &place(&self.work.path("rpm")));
        define("_builddir", &place(&self.work.build()));
        define("_buildrootdir", &place(&Self::buildroots(self.work)));
        define("_tmppath", &place(&self.work.path("tmp")));
        define("_sourcedir", &place(&self.source.sourcedir));
        let specdir = self.source.spec.parent().unwrap_or(Path::new("/"));
        define("_specdir", &place(specdir));
        if let Some(jobs) = self.jobs {
            define("_smp_build_ncpus", jobs.to_string().as_bytes());
        }
        let hook = super::recorder::own_executable()?;
        let hook = format!(
            "{} {HOOK_COMMAND} {} \"%{{_builddir}}\" \"%{{?buildsubdir}}\"",
            quoted(&hook),
            quoted(order)
        );
        define("__spec_prep_post", format!("{hook}; %{{___build_post}}").as_bytes());
        let links = quoted(&self.recorder.dir(self.phase).join("links"));
        let listing = quoted(&Self::links_after_build(self.work, self.phase));
        define("__spec_build_post", format!("ls {links} > {listing}; %{{___build_post}}").as_bytes());
        if matches!(self.stage, Stage::Install | Stage::InstallOnly) {
            // All that is wanted is there: what rpm would still do, list and check the files, only costs time
            // and may miss what its own processing would have made.
            let done = quoted(&self.installed());
            define("__spec_install_post", format!(": > {done}; exit 1").as_bytes());
        }
        Ok(args)
    }

    /// What to type to go on with %build in what is kept.
    fn again(&self) -> Option<String> {
        let place = |path: PathBuf| self.work.kept_place(&path).display().to_string();
        let mut words = vec!["rpmbuild".to_owned()];
        words.extend(self.source.options.iter().map(|o| o.to_string_lossy().into_owned()));
        words.extend(["-bc", "--short-circuit", "--nodeps"].map(String::from));
        for (name, path) in [
            ("_topdir", self.work.path("rpm")),
            ("_builddir", self.work.build()),
            ("_sourcedir", self.source.sourcedir.clone()),
        ] {
            words.extend(["--define".to_owned(), format!("{name} {}", place(path))]);
        }
        words.push(self.source.spec.display().to_string());
        let words: Vec<String> = words.iter().map(|w| word(w)).collect();
        self.work.is_kept().then(|| words.join(" "))
    }

    fn error(&self, log: &Log) -> BuildError {
        let text = log.text();
        let (side, path) = (Side::of(self.phase), log.path.clone());
        let missing: Vec<&str> = text
            .lines()
            .filter(|l| l.starts_with('\t') && l.contains(" is needed by "))
            .map(str::trim)
            .collect();
        if text.contains("Failed build dependencies") && !missing.is_empty() {
            let names = missing.iter().filter_map(|m| m.split(" is needed by ").next());
            let names = names.map(str::to_owned).collect();
            return BuildError::RefusedRequires { side, names, log: path };
        }
        let errors: Vec<&str> = text
            .lines()
            .filter(|l| l.contains(": error:") || l.starts_with("error:") || l.contains("*** "))
            .take(3)
            .collect();
        let why = if errors.is_empty() { "rpmbuild failed".to_owned() } else { errors.join("; ") };
        BuildError::Fails { side, why, log: path, again: self.again() }
    }
}

/// For the shell, and for rpm's macro expansion: paths of ours hold nothing that either would change, see
/// [`Work`].
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('%', "%%").replace('\'', "'\\''"))
}
