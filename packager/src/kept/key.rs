//! All that an original build is made from, as one hash.
//!
//! What cannot be named makes the build one that is not kept.

use super::system::{facts, installed};
use crate::cli::Request;
use crate::error::{Context, Result, StoreError};
use crate::process::Tool;
use crate::scratch::Work;
use crate::source::SpecSource;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Options by which rpm reads files that are not looked at here.
const READS_FILES: [&str; 3] = ["--load", "--rcfile", "--macros"];
/// Variables that shells set and no build looks at.
const OF_SHELLS: [&str; 4] = ["_", "OLDPWD", "PWD", "SHLVL"];

/// The key of an original build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BuildKey {
    /// Of all parts.
    key: String,
    /// SHA-256 of each part, by name: they tell what has changed.
    pub(super) parts: Parts,
}

/// SHA-256 of the parts of a key, by name.
pub(super) type Parts = BTreeMap<String, String>;

/// The values of each part, each with its length.
#[derive(Debug, Default)]
struct Fields(BTreeMap<&'static str, Vec<u8>>);

impl Fields {
    fn add(&mut self, name: &'static str, value: &[u8]) {
        let part = self.0.entry(name).or_default();
        part.extend_from_slice(format!("{}\n", value.len()).as_bytes());
        part.extend_from_slice(value);
    }

    fn key(self) -> BuildKey {
        let hashed = |(name, value): (&str, Vec<u8>)| (name.to_owned(), wrapper::sha256(&value));
        let parts: Parts = self.0.into_iter().map(hashed).collect();
        let all: Vec<String> = parts.iter().map(|(name, hash)| format!("{name} {hash}")).collect();
        BuildKey { key: wrapper::sha256(all.join("\n").as_bytes()), parts }
    }
}

impl BuildKey {
    /// The key of the build of a spec file. `given` says that there are targets, so that the build ends
    /// after `%build`.
    ///
    /// # Errors
    /// When something of it cannot be named.
    pub(crate) fn of_spec(
        request: &Request,
        spec: &SpecSource,
        work: &Work,
        programs: &[PathBuf],
        given: bool,
    ) -> Result<Self> {
        let reads = |option: &OsStr| READS_FILES.iter().any(|o| option.as_bytes().starts_with(o.as_bytes()));
        if spec.options.iter().any(|option| reads(option)) {
            return Err(StoreError::NotNamed("files of options of rpm").into());
        }
        let mut fields = Fields::default();
        fields.add("format", b"1");
        fields.add("package", spec.package.name.as_bytes());
        fields.add("version", env!("CARGO_PKG_VERSION").as_bytes());
        for program in programs {
            fields.add("programs", facts(program).as_bytes());
        }
        fields.add("stage", &[u8::from(given)]);
        fields.add("jobs", format!("{:?}", request.args.jobs).as_bytes());
        fields.add("paths", work.root().as_os_str().as_bytes());
        fields.add("paths", work.build().as_os_str().as_bytes());
        fields.add("paths", work.above_tree().as_os_str().as_bytes());
        for option in &spec.options {
            fields.add("options", option.as_bytes());
        }
        // With everything expanded, so also what it includes, and what programs said that it asks.
        fields.add("spec", spec.expanded()?.as_bytes());
        fields.add("spec", &std::fs::read(&spec.spec).at(&spec.spec)?);
        fields.add("macros", &Tool::new("rpm").arg("--showrc").check()?);
        let specdir = spec.spec.parent().unwrap_or(Path::new("/"));
        for file in &spec.files {
            let path = spec.sourcedir.join(file);
            fields.add("sources", file.as_bytes());
            fields.add("sources", wrapper::sha256(&std::fs::read(&path).at(&path)?).as_bytes());
        }
        // What else lies there may be read too.
        for dir in [spec.sourcedir.as_path(), specdir] {
            let mut others = Vec::new();
            for entry in walkdir::WalkDir::new(dir).into_iter() {
                let entry = entry.map_err(std::io::Error::from).at(dir)?;
                let is_named = spec.files.iter().any(|file| entry.path() == spec.sourcedir.join(file));
                if !is_named && entry.path() != spec.spec && entry.file_type().is_file() {
                    others.push(facts(entry.path()));
                }
                if others.len() > 10_000 {
                    return Err(StoreError::TooLarge.into());
                }
            }
            others.sort();
            fields.add("files beside the sources", others.join("\n").as_bytes());
        }
        let mut environment: Vec<_> = std::env::vars_os().collect();
        environment.retain(|(name, _)| !OF_SHELLS.iter().any(|own| name == own));
        environment.sort();
        for (name, value) in environment {
            fields.add("environment", name.as_bytes());
            fields.add("environment", value.as_bytes());
        }
        machine(&mut fields)?;
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders: Vec<PathBuf> = std::env::split_paths(&path).filter(|p| p.is_absolute()).collect();
        fields.add("what is installed", installed(&folders)?.as_bytes());
        Ok(fields.key())
    }

    /// In hexadecimal.
    pub(super) fn as_str(&self) -> &str {
        &self.key
    }
}

/// The kernel, the processor, the user.
fn machine(fields: &mut Fields) -> Result<()> {
    let name = nix::sys::utsname::uname().map_err(std::io::Error::from).what("name of the system")?;
    for part in [name.sysname(), name.nodename(), name.release(), name.version(), name.machine()] {
        fields.add("machine", part.as_bytes());
    }
    let processor = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let facts = ["model name", "flags", "Features", "CPU part"];
    for fact in facts.iter().filter_map(|fact| processor.lines().find(|line| line.starts_with(fact))) {
        fields.add("machine", fact.as_bytes());
    }
    fields.add("machine", format!("{:?}", std::thread::available_parallelism().ok()).as_bytes());
    let user = (nix::unistd::geteuid(), nix::unistd::getegid());
    fields.add("user", format!("{user:?}").as_bytes());
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find(|line| line.starts_with("Umask:")).unwrap_or_default();
    fields.add("user", mask.as_bytes());
    Ok(())
}
