//! The recording session of a run.

use super::altered;
use crate::error::{BuildError, Context, Result};
use crate::scratch::Work;
use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use wrapper::{Config, LinkRecord, Phase, Records, Session, UnitRecord};

/// The session, and where it keeps what.
#[derive(Debug)]
pub(crate) struct Recorder {
    session: Session,
    site_script: Option<PathBuf>,
    /// clang is not asked for a log of what it does.
    no_clang_log: bool,
}

impl Recorder {
    /// Makes a session in the scratch space; `cache` is the store kept between runs.
    ///
    /// # Errors
    /// When `upatch-cc` is not found or the session cannot be made.
    pub(crate) fn create(work: &Work, cache: Option<PathBuf>) -> Result<Self> {
        let wrapper = find_wrapper()?;
        let mut config = Config::new(&wrapper);
        if let Some(cache) = &cache {
            std::fs::create_dir_all(cache).option("--cache", cache)?;
        }
        config.store = cache;
        let session = Session::create(&work.path("session"), &config).what("recording session")?;
        Ok(Self { session, site_script: None, no_clang_log: false })
    }

    /// Goes on with what an earlier run recorded, whose session had this name and age: its records are there.
    ///
    /// # Errors
    /// When the session cannot be written.
    pub(crate) fn resume(&mut self, (id, created): &(String, u64)) -> Result<()> {
        self.session.resume(id, *created).what("recording session")
    }

    /// Takes records of another phase as what this one would have recorded too.
    ///
    /// # Errors
    /// When they cannot be written.
    pub(crate) fn adopt(
        &mut self,
        phase: Phase,
        units: Vec<UnitRecord>,
        links: Vec<LinkRecord>,
    ) -> Result<()> {
        self.session.adopt(phase, units, links).what("recording session")
    }

    /// Name of the session, and when it was made.
    pub(crate) fn identity(&self) -> (String, u64) {
        (self.session.id().to_owned(), self.session.created())
    }

    /// The programs that make up this one.
    ///
    /// # Errors
    /// When they are not found.
    pub(crate) fn programs() -> Result<Vec<PathBuf>> {
        Ok(vec![own_executable()?, find_wrapper()?])
    }

    /// Starts a phase.
    ///
    /// # Errors
    /// When the session cannot be written.
    pub(crate) fn phase(&mut self, phase: Phase) -> Result<()> {
        self.session.set_phase(phase).what("recording session")
    }

    /// Forgets what a phase recorded so far.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub(crate) fn discard(&mut self, phase: Phase) -> Result<()> {
        let dir = self.session.phase_dir(phase);
        std::fs::remove_dir_all(&dir).at(&dir)
    }

    /// Keeps what a phase recorded so far under another name.
    ///
    /// # Errors
    /// When it cannot be renamed.
    pub(crate) fn rename(&mut self, phase: Phase, name: Phase) -> Result<()> {
        let dir = self.session.phase_dir(phase);
        std::fs::rename(&dir, self.session.phase_dir(name)).at(&dir)
    }

    /// The site script that the next builds' `configure` reads, if any.
    pub(crate) fn site_script(&mut self, script: Option<&Path>) {
        self.site_script = script.map(Path::to_path_buf);
    }

    /// Did a build fail because clang could not open its log (clang, `Driver.cpp`)? Sandboxes may hide it or
    /// make it read-only.
    pub(crate) fn broke_clang(&self, log: &[u8]) -> bool {
        !self.no_clang_log && String::from_utf8_lossy(log).contains("unable to open CC_PRINT_OPTIONS file")
    }

    /// Does without that log from now on: what a clang compiles that is called by its full path is not
    /// recorded.
    pub(crate) fn without_clang_log(&mut self) {
        self.no_clang_log = true;
    }

    /// Is clang not asked for a log?
    pub(crate) fn is_without_clang_log(&self) -> bool {
        self.no_clang_log
    }

    /// The file with the command that is run before each compilation, while it is there.
    pub(crate) fn late_fix(&self) -> PathBuf {
        self.session.late_fix()
    }

    /// Variables for the build.
    pub(crate) fn env(&self) -> Vec<(OsString, OsString)> {
        let mut env = self.session.env();
        env.retain(|(name, _)| !self.no_clang_log || !is_clang_log(name));
        env.extend(self.site_script.iter().map(|s| ("CONFIG_SITE".into(), s.clone().into_os_string())));
        env
    }

    /// What a phase recorded.
    ///
    /// # Errors
    /// When a record does not parse.
    pub(crate) fn records(&self, phase: Phase) -> Result<Records> {
        let mut records = self.session.records(phase).what("records of the build")?;
        altered::find(&mut records);
        Ok(records)
    }

    /// The store of compiled units.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub(crate) fn store(&self) -> Result<wrapper::Store> {
        wrapper::Store::of(&self.session).what("store of compiled units")
    }

    /// Directory in which a phase's records appear.
    pub(crate) fn dir(&self, phase: Phase) -> PathBuf {
        self.session.phase_dir(phase)
    }

    /// Names of the records that a listing (made by `ls` at some time of the build) holds.
    pub(crate) fn listed(listing: &Path) -> HashSet<String> {
        let text = std::fs::read_to_string(listing).unwrap_or_default();
        text.lines().filter_map(|l| l.strip_suffix(".json")).map(str::to_owned).collect()
    }
}

fn is_clang_log(name: &OsStr) -> bool {
    name.as_bytes().starts_with(b"CC_PRINT_OPTIONS")
}

/// Finds `upatch-cc` beside this program or in `../libexec/upatch/`.
///
/// # Errors
/// When it is in neither place.
pub(crate) fn find_wrapper() -> Result<PathBuf> {
    let own = own_executable()?.canonicalize().what("own executable")?;
    let beside = own.parent().unwrap_or(Path::new("/"));
    // Test programs lie one folder deeper than the programs they test.
    let places =
        [beside.join("upatch-cc"), beside.join("../libexec/upatch/upatch-cc"), beside.join("../upatch-cc")];
    let found = places.iter().find(|p| p.is_file()).cloned();
    found.ok_or_else(|| BuildError::NoWrapper { beside: beside.to_path_buf() }.into())
}

/// The path of this program. Where it was upgraded while it runs, its successor lies there.
///
/// # Errors
/// When it is not known.
pub(super) fn own_executable() -> Result<PathBuf> {
    std::env::current_exe().what("own executable").map(undeleted)
}

/// The kernel marks the name of a file that is gone (proc(5), `/proc/PID/exe`).
fn undeleted(path: PathBuf) -> PathBuf {
    match path.as_os_str().as_bytes().strip_suffix(b" (deleted)") {
        Some(name) if !path.exists() => PathBuf::from(OsStr::from_bytes(name)),
        _ => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upgraded_program_is_found_at_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let (plain, odd) = (dir.path().join("upatch-build"), dir.path().join("upatch-build (deleted)"));
        assert_eq!(undeleted(odd.clone()), plain);
        assert_eq!(undeleted(plain.clone()), plain);
        std::fs::write(&odd, "").unwrap();
        assert_eq!(undeleted(odd.clone()), odd);
    }
}
