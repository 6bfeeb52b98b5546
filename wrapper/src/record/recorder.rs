//! Writing records from within the wrapper.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::base::error::{IoContext, Result};
use crate::base::hash::{self, Memo};
use crate::base::{env, files, streams};
use crate::record::records::Problem;
use crate::record::session::{INPUTS, Session};
use crate::record::unit::{CopyRecord, Dep, RECORD_VERSION, UnitKind, UnitRecord};
use crate::sys::clock;
use records::LinkRecord;
use records::OsBytes;

/// One run of the wrapper within a session.
#[derive(Debug)]
pub(crate) struct Recorder {
    pub(crate) session: Session,
    pub(crate) memo: Memo,
    pub(crate) cwd: PathBuf,
    pub(crate) argv: Vec<Vec<u8>>,
    /// By the clock of files.
    pub(crate) started: SystemTime,
    /// An input as it was before the compiler started.
    pub(crate) before: Option<Dep>,
}

impl Recorder {
    pub(crate) fn new(session: Session, argv: Vec<Vec<u8>>) -> std::io::Result<Self> {
        let memo = Memo::open(&session.memo_file());
        Ok(Self {
            session,
            memo,
            cwd: env::working_directory()?,
            argv,
            started: clock::file_time(),
            before: None,
        })
    }

    /// A note that something is missing. Failure to write even that is ignored: the build comes first.
    pub(crate) fn problem(&self, what: &str, why: &str) {
        let problem = Problem {
            version: RECORD_VERSION,
            what: what.to_owned(),
            why: why.to_owned(),
            argv: self.argv.iter().map(|word| word.as_slice().into()).collect(),
            cwd: self.cwd.as_path().into(),
            phase: self.session.phase(),
        };
        let _ = files::write_json(&self.record_path("problems", &files::unique()), &problem);
    }

    fn record_path(&self, kind: &str, id: &str) -> PathBuf {
        self.session.phase_dir(self.session.phase()).join(kind).join(format!("{id}.json"))
    }

    pub(crate) fn absolute(&self, path: &[u8]) -> PathBuf {
        self.cwd.join(OsBytes::from(path).as_path())
    }

    pub(crate) fn dep(&mut self, path: &[u8]) -> Result<Dep> {
        let path = self.absolute(path);
        let sha256 = self.memo.sha256(&path)?;
        Ok(Dep { path: path.into(), sha256 })
    }

    /// Names an input, once. Of a pipe nobody knows what was in it, of a file that is gone neither.
    pub(crate) fn add_input(&mut self, unit: &mut UnitRecord, name: &[u8]) {
        let path = self.absolute(name);
        if unit.deps.iter().any(|dep| dep.path.as_path() == path) {
            return;
        }
        if streams::is_stream(&path) {
            unit.not_recompilable.get_or_insert_with(|| streams::why(name));
            return;
        }
        match self.dep(name) {
            Ok(dep) => unit.deps.push(dep),
            Err(error) => drop(unit.untracked.get_or_insert_with(|| error.to_string())),
        }
    }

    /// Where the copy of an object is, by its content.
    pub(crate) fn object_file(&self, sha256: &str) -> PathBuf {
        self.session.dir().join("objects").join(sha256)
    }

    /// Also keeps linked files that are no unit's object: strip or objcopy may have made them of one.
    pub(crate) fn keep_input(&self, sha256: &str, bytes: &[u8]) -> Result<()> {
        let kept = self.object_file(sha256);
        if kept.exists() { Ok(()) } else { files::write(&kept, bytes) }
    }

    /// A copy of an object, named by its content: the build may strip or remove its own.
    pub(crate) fn keep_object(&self, bytes: &[u8]) -> Result<(String, PathBuf)> {
        let sha256 = hash::sha256(bytes);
        let kept = self.object_file(&sha256);
        if !kept.exists() {
            files::write(&kept, bytes)?;
        }
        Ok((sha256, kept))
    }

    /// Copy of a file in another folder of the session, named by its content.
    pub(crate) fn keep_file(&self, folder: &str, path: &Path) -> Result<(String, PathBuf)> {
        let sha256 = hash::sha256_file(path)?;
        let kept = self.session.dir().join(folder).join(&sha256);
        files::copy_once(path, &kept)?;
        Ok((sha256, kept))
    }

    /// A record with what is common to all; the caller fills in the rest.
    pub(crate) fn blank_unit(&self, driver: &Path) -> UnitRecord {
        UnitRecord {
            version: RECORD_VERSION,
            id: files::unique(),
            kind: UnitKind::Compile,
            language: "unknown".to_owned(),
            driver: driver.into(),
            argv: self.argv.iter().map(|word| word.as_slice().into()).collect(),
            expanded_argv: Vec::new(),
            cwd: self.cwd.as_path().into(),
            env: env::relevant(&self.session.bin_dir()),
            session_created: self.session.created(),
            source: OsBytes::default(),
            stdin: None,
            deps: Vec::new(),
            object: OsBytes::default(),
            object_path: OsBytes::default(),
            object_sha256: String::new(),
            stored: OsBytes::default(),
            reused: false,
            lto: false,
            not_recompilable: None,
            untracked: None,
            copied: None,
            phase: self.session.phase(),
            notes: Vec::new(),
        }
    }

    pub(crate) fn set_object(&self, unit: &mut UnitRecord, object: &[u8]) -> Result<Vec<u8>> {
        let path = self.absolute(object);
        let bytes = fs::read(&path).at("read", &path)?;
        let (sha256, kept) = self.keep_object(&bytes)?;
        unit.object = object.into();
        unit.object_path = path.into();
        unit.object_sha256 = sha256;
        unit.stored = kept.into();
        Ok(bytes)
    }

    /// Copies of inputs that may be gone or written anew before the unit is compiled again: the source
    /// itself, and what the build has made since the session began. What cannot be copied is only missed if
    /// it changes.
    fn keep_inputs(&self, unit: &UnitRecord) {
        let created = i64::try_from(self.session.created()).unwrap_or(i64::MAX);
        for (number, dep) in unit.deps.iter().enumerate() {
            let path = dep.path.as_path();
            let made = fs::metadata(path).is_ok_and(|meta| meta.mtime() >= created);
            let kept = self.session.dir().join(INPUTS).join(&dep.sha256);
            let elsewhere = path.starts_with("/usr") || path.starts_with(self.session.dir());
            if elsewhere || !(made || number == 0) || kept.exists() {
                continue;
            }
            if let Ok(bytes) = fs::read(path)
                && hash::sha256(&bytes) == dep.sha256
            {
                let _ = files::write(&kept, &bytes);
            }
        }
    }

    pub(crate) fn write_unit(&mut self, unit: &UnitRecord) -> Result<()> {
        self.memo.save();
        if unit.not_recompilable.is_none() {
            self.keep_inputs(unit);
        }
        files::write_json(&self.record_path("units", &unit.id), unit)
    }

    pub(crate) fn write_link(&mut self, link: &LinkRecord) -> Result<()> {
        self.memo.save();
        files::write_json(&self.record_path("links", &link.id), link)
    }

    pub(crate) fn write_copy(&mut self, copy: &CopyRecord) -> Result<()> {
        files::write_json(&self.record_path("copies", &copy.id), copy)
    }

    /// Whether an input may have been written while the compiler ran. What has the time of the tick in which
    /// that began may have been; not if it was looked at before and is the same.
    pub(crate) fn changed_meanwhile(&self, path: &Path) -> bool {
        let before = self.before.as_ref().filter(|before| before.path.as_path() == path);
        let same = before.is_some_and(|dep| hash::sha256_file(path).is_ok_and(|now| now == dep.sha256));
        let since = self.started.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let (seconds, ns) =
            (i64::try_from(since.as_secs()).unwrap_or(i64::MAX), i64::from(since.subsec_nanos()));
        let later = |time: (i64, i64)| time > (seconds, ns) || time == (seconds, ns) && !same;
        fs::metadata(path).map_or(true, |meta| {
            later((meta.mtime(), meta.mtime_nsec())) || later((meta.ctime(), meta.ctime_nsec()))
        })
    }
}
