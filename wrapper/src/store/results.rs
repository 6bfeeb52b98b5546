//! The store of compiled units, kept between runs.
//!
//! `manifests/KEY` lists, for one compiler, command line, directory and environment, what earlier results
//! were made from; `results/ID` holds one result. A lookup hashes the listed inputs and preprocesses nothing.
//! Files appear by renaming and are checked when read: a killed writer leaves at most a hidden temporary
//! file, a damaged result is a miss.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::base::error::{IoContext, Result};
use crate::base::files;
use crate::base::hash::{self, KeyHasher, Memo};
use crate::inputs::absent::{Absences, Listings};
use crate::inputs::examine::ExaminedInputs;
use crate::record::session::Session;
use crate::record::unit::Dep;
use crate::store::key::UnitKey;
use records::OsBytes;

/// Results remembered for one command line.
const ENTRIES: usize = 8;
/// On average one in so many insertions looks at the size of the whole store.
const TRIM_EVERY: u128 = 64;
/// A temporary file this old has no writer any more.
const ABANDONED: Duration = Duration::from_secs(3600);

/// A directory of compiled units, shared by any number of processes.
#[derive(Clone, Debug)]
pub struct Store {
    dir: PathBuf,
    limit: u64,
}

/// What a compilation leaves behind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct StoredUnit {
    pub(crate) object: Vec<u8>,
    pub(crate) dep_file: Option<Vec<u8>>,
    pub(crate) stderr: Vec<u8>,
    pub(crate) deps: Vec<Dep>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Manifest {
    entries: Vec<Entry>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    /// The only session that may use it, if it depends on the time of day.
    session: Option<String>,
    result: String,
    deps: Vec<Dep>,
    absent: Absences,
    present: Vec<OsBytes>,
}

impl Store {
    /// Opens a store, making its directories. `limit` in bytes.
    ///
    /// # Errors
    /// If they cannot be made.
    pub fn open(dir: &Path, limit: u64) -> Result<Self> {
        for sub in ["manifests", "results"] {
            let sub = dir.join(sub);
            fs::create_dir_all(&sub).at("create", &sub)?;
        }
        Ok(Self { dir: dir.to_path_buf(), limit })
    }

    /// The store that a session uses.
    ///
    /// # Errors
    /// If its directories cannot be made.
    pub fn of(session: &Session) -> Result<Self> {
        let (dir, limit) = session.store();
        Self::open(dir, limit)
    }

    fn manifest_path(&self, key: &str) -> PathBuf {
        self.dir.join("manifests").join(key)
    }

    fn result_path(&self, id: &str) -> PathBuf {
        self.dir.join("results").join(id)
    }

    pub(crate) fn find(&self, key: &UnitKey, memo: &mut Memo) -> Option<StoredUnit> {
        let path = self.manifest_path(&key.key);
        let manifest: Manifest = serde_json::from_slice(&fs::read(&path).ok()?).ok()?;
        let entry = manifest.entries.iter().find(|entry| entry.fits(&key.session, memo))?;
        let mut stored = self.get(&entry.result)?;
        stored.deps.clone_from(&entry.deps);
        touch(&path);
        Some(stored)
    }

    pub(crate) fn keep(&self, key: &UnitKey, stored: &StoredUnit, found: &ExaminedInputs) {
        let session = found.timed.then(|| key.session.clone());
        let mut id = KeyHasher::new("result 1");
        id.field(key.key.as_bytes());
        id.field(session.as_deref().unwrap_or_default().as_bytes());
        for dep in &stored.deps {
            id.field(dep.path.as_bytes());
            id.field(dep.sha256.as_bytes());
        }
        // What must be absent counts too: the same files read from another include path may mean other code.
        for (dir, name) in found.absent.iter() {
            id.field(dir.as_bytes());
            id.field(name.as_bytes());
        }
        for path in &found.present {
            id.field(path.as_bytes());
        }
        let result = id.finish();
        if self.put(&result, stored).is_err() {
            return;
        }
        let path = self.manifest_path(&key.key);
        // Two writers at once: the later one wins, the other's entry is a miss next time.
        let mut manifest: Manifest =
            fs::read(&path).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
        manifest.entries.retain(|entry| entry.result != result);
        let entry = Entry {
            session,
            result,
            deps: stored.deps.clone(),
            absent: found.absent.clone(),
            present: found.present.clone(),
        };
        manifest.entries.insert(0, entry);
        manifest.entries.truncate(ENTRIES);
        let _ = files::write_json(&path, &manifest);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        if (now.as_nanos() / 1000).is_multiple_of(TRIM_EVERY) {
            let _ = self.trim();
        }
    }

    /// A result by its own name; checked.
    pub(crate) fn get(&self, id: &str) -> Option<StoredUnit> {
        let path = self.result_path(id);
        let bytes = fs::read(&path).ok()?;
        let Some(stored) = decode(&bytes) else {
            let _ = fs::remove_file(&path);
            return None;
        };
        touch(&path);
        Some(stored)
    }

    pub(crate) fn put(&self, id: &str, stored: &StoredUnit) -> Result<()> {
        files::write(&self.result_path(id), &encode(stored))
    }

    /// Removes what was used least recently until the store is within nine tenths of its limit, and temporary
    /// files that a killed process left. Returns the bytes kept.
    ///
    /// # Errors
    /// If the store's directories cannot be read.
    pub fn trim(&self) -> Result<u64> {
        let mut found = Vec::new();
        let mut total = 0_u64;
        for sub in ["manifests", "results"] {
            let dir = self.dir.join(sub);
            for entry in fs::read_dir(&dir).at("read", &dir)?.flatten() {
                let Ok(meta) = entry.metadata() else { continue };
                let time = meta.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                if entry.file_name().as_encoded_bytes().starts_with(b".tmp-") {
                    if time.elapsed().is_ok_and(|age| age > ABANDONED) {
                        let _ = fs::remove_file(entry.path());
                    }
                    continue;
                }
                total += meta.len();
                found.push((time, meta.len(), entry.path()));
            }
        }
        if total <= self.limit {
            return Ok(total);
        }
        found.sort();
        for (_, size, path) in found {
            if total <= self.limit / 10 * 9 {
                break;
            }
            if fs::remove_file(path).is_ok() {
                total -= size;
            }
        }
        Ok(total)
    }
}

impl Entry {
    fn fits(&self, session: &str, memo: &mut Memo) -> bool {
        self.session.as_deref().is_none_or(|own| own == session)
            && self.absent.hold(&mut Listings::default())
            && self.present.iter().all(|path| path.as_path().exists())
            && self
                .deps
                .iter()
                .all(|dep| memo.sha256(dep.path.as_path()).is_ok_and(|hash| hash == dep.sha256))
    }
}

/// "Used now", for the order of removal.
fn touch(path: &Path) {
    if let Ok(file) = fs::File::options().append(true).open(path) {
        let _ = file.set_modified(SystemTime::now());
    }
}

/// SHA-256 of the rest (64 hexadecimal digits), then three fields, each with its length (8 bytes, little
/// endian) in front: object, messages, dependency file. The last is missing if there was none.
fn encode(stored: &StoredUnit) -> Vec<u8> {
    let mut body = Vec::with_capacity(stored.object.len() + 64);
    for field in [Some(&stored.object), Some(&stored.stderr), stored.dep_file.as_ref()].into_iter().flatten()
    {
        body.extend((field.len() as u64).to_le_bytes());
        body.extend_from_slice(field);
    }
    let mut bytes = hash::sha256(&body).into_bytes();
    bytes.extend(body);
    bytes
}

fn decode(bytes: &[u8]) -> Option<StoredUnit> {
    let (sum, mut rest) = bytes.split_at_checked(64)?;
    if hash::sha256(rest).as_bytes() != sum {
        return None;
    }
    let mut field = || {
        let (length, after) = rest.split_first_chunk::<8>()?;
        let (field, after) = after.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
        rest = after;
        Some(field.to_vec())
    };
    Some(StoredUnit { object: field()?, stderr: field()?, dep_file: field(), deps: Vec::new() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(byte: u8, length: usize) -> StoredUnit {
        StoredUnit {
            object: vec![byte; length],
            stderr: b"warning".to_vec(),
            dep_file: None,
            deps: Vec::new(),
        }
    }

    #[test]
    fn round_trip_and_damage() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), 1 << 20).unwrap();
        let with_deps = StoredUnit { dep_file: Some(b"a.o: a.c\n".to_vec()), ..stored(7, 300) };
        store.put("one", &with_deps).unwrap();
        assert_eq!(store.get("one"), Some(with_deps));
        let path = store.result_path("one");
        let mut bytes = fs::read(&path).unwrap();
        bytes[100] ^= 1;
        fs::write(&path, &bytes).unwrap();
        assert_eq!(store.get("one"), None);
        fs::write(&path, &bytes[..70]).unwrap();
        assert_eq!(store.get("one"), None);
    }

    #[test]
    fn least_recently_used_goes_first() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), 5000).unwrap();
        for (age, id) in [(30, "a"), (20, "b"), (10, "c"), (5, "d")] {
            store.put(id, &stored(1, 1500)).unwrap();
            let file = fs::File::options().append(true).open(store.result_path(id)).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(age)).unwrap();
        }
        assert!(store.get("a").is_some(), "this makes it the most recent one");
        assert!(store.trim().unwrap() <= 5000);
        let left: Vec<bool> = ["a", "b", "c", "d"].iter().map(|id| store.get(id).is_some()).collect();
        assert_eq!(left, [true, false, false, true]);
    }
}
