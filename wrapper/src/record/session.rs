//! A session: the directory that ties together the records of the builds of one run.
//!
//! ```text
//! DIR/session.json       configuration, phase, real tools
//! DIR/bin/               upatch-cc under the tools' names, first on PATH, and what is beside them
//! DIR/lib, DIR/lib64     those of the real tools, where binutils look for plugins
//! DIR/phases/PHASE/{units,links,problems}/*.json
//! DIR/objects/SHA256     every recorded object, and what was linked besides
//! DIR/outputs/SHA256     every linked file
//! DIR/maps/              map files
//! DIR/stdin/SHA256       sources that came on standard input
//! DIR/inputs/SHA256      inputs that the build may remove or write anew
//! DIR/store/             store of compiled units, if the configuration names none
//! DIR/memo               hashes of files
//! DIR/search/, DIR/compilers/   what compilers said about themselves
//! DIR/tmp/               what a run of the wrapper needs until it ends
//! ```

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::base::error::{Error, IoContext, Result};
use crate::base::{env, files};
use crate::record::copied;
use crate::record::records::Records;
use crate::record::unit::{CopyRecord, RECORD_VERSION, UnitRecord};
use crate::tools::names;
use records::OsBytes;
use records::{LinkRecord, Phase};

/// Default bound of the store, in bytes: 5 GiB.
pub(crate) const DEFAULT_STORE_LIMIT: u64 = 5 << 30;

/// Folder for copies of inputs.
pub(crate) const INPUTS: &str = "inputs";

/// How to make a session.
#[derive(Clone, Debug)]
pub struct Config {
    /// Store kept between runs; `None` for one inside the session directory.
    pub store: Option<PathBuf>,
    /// Bound of the store in bytes; see [`DEFAULT_STORE_LIMIT`].
    pub store_limit: u64,
    /// The `upatch-cc` executable.
    pub wrapper_exe: PathBuf,
    /// Search path on which the tools are looked for; `None` for `$PATH`.
    pub path: Option<OsString>,
}

impl Config {
    /// The usual configuration: no store kept, `$PATH`.
    #[must_use]
    pub fn new(wrapper_exe: &Path) -> Self {
        Self {
            store: None,
            store_limit: DEFAULT_STORE_LIMIT,
            wrapper_exe: wrapper_exe.to_path_buf(),
            path: None,
        }
    }
}

/// What every run of the wrapper reads first; kept small.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct State {
    version: u32,
    /// Tells this session from others that use the same store.
    id: String,
    /// Seconds since the epoch at creation.
    created: u64,
    phase: Phase,
    store: OsBytes,
    store_limit: u64,
    search_path: OsBytes,
    tools: BTreeMap<String, OsBytes>,
}

/// An open session.
#[derive(Clone, Debug)]
pub struct Session {
    dir: PathBuf,
    state: State,
}

impl Session {
    /// Makes the directory with its links. `dir` may exist, but not hold a session.
    ///
    /// # Errors
    /// If files cannot be made, or `wrapper_exe` cannot be read.
    pub fn create(dir: &Path, config: &Config) -> Result<Self> {
        fs::create_dir_all(dir).at("create", dir)?;
        let dir = fs::canonicalize(dir).at("resolve", dir)?;
        for sub in ["bin", "phases", "objects", "outputs", "maps", "stdin", INPUTS, "bytecode", "tmp"] {
            let sub = dir.join(sub);
            fs::create_dir_all(&sub).at("create", &sub)?;
        }
        let search_path = config
            .path
            .clone()
            .or_else(|| std::env::var_os("PATH"))
            .unwrap_or_else(|| "/usr/bin:/bin".into());
        let tools = crate::tools::resolve::scan_path(&search_path, &dir.join("bin"));
        make_links(&dir.join("bin"), &config.wrapper_exe, tools.keys())?;
        show_plugins(&dir, &tools)?;
        show_companions(&dir.join("bin"), &search_path)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let store = config.store.clone().unwrap_or_else(|| dir.join("store"));
        fs::create_dir_all(&store).at("create", &store)?;
        let store = fs::canonicalize(&store).at("resolve", &store)?;
        let state = State {
            version: RECORD_VERSION,
            id: format!("{:x}-{:x}", now.as_nanos(), std::process::id()),
            created: now.as_secs(),
            phase: Phase::default(),
            store: store.into(),
            store_limit: config.store_limit,
            search_path: search_path.into(),
            tools,
        };
        let session = Self { dir, state };
        session.make_phase_dirs()?;
        session.save()?;
        Ok(session)
    }

    /// Opens a session made before.
    ///
    /// # Errors
    /// If there is none or it is of another version.
    pub fn open(dir: &Path) -> Result<Self> {
        let path = dir.join("session.json");
        let bytes = fs::read(&path).map_err(|_| Error::NoSession(dir.to_path_buf()))?;
        let state: State = serde_json::from_slice(&bytes).map_err(|error| Error::Format {
            path: path.clone(),
            what: "session file",
            why: error.to_string(),
        })?;
        if state.version != RECORD_VERSION {
            let why = format!("version {} instead of {RECORD_VERSION}", state.version);
            return Err(Error::Format { path, what: "session file", why });
        }
        Ok(Self { dir: dir.to_path_buf(), state })
    }

    /// Takes the name and age of another session, whose records have been put here: what uses the time of the
    /// session uses the time of that one, and the store knows its results.
    ///
    /// # Errors
    /// If the session file cannot be written.
    pub fn resume(&mut self, id: &str, created: u64) -> Result<()> {
        id.clone_into(&mut self.state.id);
        self.state.created = created;
        self.save()
    }

    /// Writes records of another phase as those of `phase`: what they tell of was not made again.
    ///
    /// # Errors
    /// If one cannot be written.
    pub fn adopt(&self, phase: Phase, units: Vec<UnitRecord>, links: Vec<LinkRecord>) -> Result<()> {
        let place = |kind: &str, id: &str| self.phase_dir(phase).join(kind).join(format!("{id}.json"));
        for mut unit in units {
            (unit.phase, unit.reused) = (phase, true);
            files::write_json(&place("units", &unit.id), &unit)?;
        }
        for mut link in links {
            link.phase = phase;
            files::write_json(&place("links", &link.id), &link)?;
        }
        Ok(())
    }

    /// Starts another phase: later records go to a directory of their own. Not to be called while a build
    /// runs.
    ///
    /// # Errors
    /// If the session file cannot be written.
    pub fn set_phase(&mut self, phase: Phase) -> Result<()> {
        self.state.phase = phase;
        self.make_phase_dirs()?;
        self.save()
    }

    /// The variables that a build needs to be recorded in the present phase, the rest of the environment
    /// stays as it is. Compiler caches are told to step aside: on a hit of theirs no compiler would run, and
    /// nothing could be recorded.
    #[must_use]
    pub fn env(&self) -> Vec<(OsString, OsString)> {
        let mut path = self.bin_dir().into_os_string();
        path.push(":");
        path.push(self.state.search_path.as_os_str());
        let mut compiler_path = self.bin_dir().into_os_string();
        if let Some(theirs) = env::compiler_path(&self.bin_dir()) {
            compiler_path.push(":");
            compiler_path.push(theirs);
        }
        vec![
            ("PATH".into(), path),
            // clang looks beside itself for the linker before it looks on PATH, but here before both.
            ("COMPILER_PATH".into(), compiler_path),
            (env::SESSION.into(), self.dir.clone().into_os_string()),
            // A clang called by its full path tells there what it does; see `clanglog`.
            ("CC_PRINT_OPTIONS".into(), "1".into()),
            ("CC_PRINT_OPTIONS_FILE".into(), self.clang_log().into_os_string()),
            ("CCACHE_DISABLE".into(), "1".into()),
            ("DISTCC_HOSTS".into(), "localhost".into()),
        ]
    }

    /// The directory to put first on `PATH`.
    #[must_use]
    pub fn bin_dir(&self) -> PathBuf {
        self.dir.join("bin")
    }

    /// The file with the command, as a JSON list of words, that is to be run before each compilation as long
    /// as the file is there.
    #[must_use]
    pub fn late_fix(&self) -> PathBuf {
        self.dir.join("late-fix")
    }

    /// The session's directory, absolute.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The current phase.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.state.phase
    }

    /// Tells this session from others.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.state.id
    }

    /// When the session was made, in seconds since the epoch.
    #[must_use]
    pub fn created(&self) -> u64 {
        self.state.created
    }

    /// The real tool found under a name when the session was made.
    #[must_use]
    pub fn tool(&self, name: &str) -> Option<&Path> {
        self.state.tools.get(name).map(OsBytes::as_path)
    }

    /// Directory and bound (in bytes) of the store of compiled units that this session uses.
    pub(crate) fn store(&self) -> (&Path, u64) {
        (self.state.store.as_path(), self.state.store_limit)
    }

    /// Directory of a phase's records.
    #[must_use]
    pub fn phase_dir(&self, phase: Phase) -> PathBuf {
        self.dir.join("phases").join(phase.name())
    }

    /// All records of a phase of this session.
    ///
    /// # Errors
    /// As [`Session::read_records`].
    pub fn records(&self, phase: Phase) -> Result<Records> {
        Self::read_records(&self.phase_dir(phase))
    }

    /// All records below a phase's directory.
    ///
    /// # Errors
    /// If the directory cannot be read or a record does not parse.
    pub(crate) fn read_records(phase_dir: &Path) -> Result<Records> {
        let units: Vec<UnitRecord> = files::read_all(&phase_dir.join("units"))?;
        let copies: Vec<CopyRecord> = files::read_all(&phase_dir.join("copies"))?;
        Ok(Records {
            copied: copied::made_of(&units, &copies),
            units,
            links: files::read_all(&phase_dir.join("links"))?,
            problems: files::read_all(&phase_dir.join("problems"))?,
            altered: Vec::new(),
            copies,
        })
    }

    /// Where clang writes the commands of a phase's units that go past us.
    pub(crate) fn clang_log(&self) -> PathBuf {
        self.phase_dir(self.state.phase).join("clang.log")
    }

    pub(crate) fn scratch_dir(&self) -> PathBuf {
        self.dir.join("tmp")
    }

    pub(crate) fn memo_file(&self) -> PathBuf {
        self.dir.join("memo")
    }

    fn make_phase_dirs(&self) -> Result<()> {
        for kind in ["units", "links", "copies", "problems"] {
            let dir = self.phase_dir(self.state.phase).join(kind);
            fs::create_dir_all(&dir).at("create", &dir)?;
        }
        // A clang that cannot open its log fails; what is there can be opened even on a full disk.
        let log = self.clang_log();
        fs::OpenOptions::new().create(true).append(true).open(&log).at("create", &log)?;
        Ok(())
    }

    fn save(&self) -> Result<()> {
        files::write_json(&self.dir.join("session.json"), &self.state)
    }
}

/// Binutils look for their plugins, without which they cannot read objects of link-time optimisation, beside
/// the folder in which `PATH` has their name: that is ours. So the library folders of the real ones are
/// beside it too.
fn show_plugins(dir: &Path, tools: &BTreeMap<String, OsBytes>) -> Result<()> {
    let real = ["ar", "ld"].iter().find_map(|name| fs::canonicalize(tools.get(*name)?.as_path()).ok());
    let Some(prefix) = real.as_deref().and_then(Path::parent).and_then(Path::parent) else { return Ok(()) };
    for name in ["lib", "lib64"] {
        let (theirs, link) = (prefix.join(name), dir.join(name));
        if theirs.is_dir() {
            symlink(theirs, &link).at("create", &link)?;
        }
    }
    Ok(())
}

/// A build that finds the compiler in our folder may look for `ranlib` or `strip` beside it.
fn show_companions(bin: &Path, search_path: &OsStr) -> Result<()> {
    for (name, program) in crate::tools::resolve::companions(search_path, bin) {
        let link = bin.join(name);
        if !link.exists() {
            symlink(program, &link).at("create", &link)?;
        }
    }
    Ok(())
}

/// Hard links and not symbolic ones: `/proc/self/exe` then names the link, so the wrapper finds its session
/// whatever the environment and the name it was called by.
fn make_links<'a>(bin: &Path, wrapper: &Path, names: impl Iterator<Item = &'a String>) -> Result<()> {
    let first = bin.join("upatch-cc");
    fs::copy(wrapper, &first).at("copy", wrapper)?;
    for name in names {
        debug_assert!(names::classify(name).is_some(), "only tools are linked");
        let link = bin.join(OsStr::new(name));
        if link.exists() {
            continue;
        }
        fs::hard_link(&first, &link).or_else(|_| fs::copy(&first, &link).map(drop)).at("create", &link)?;
    }
    Ok(())
}
