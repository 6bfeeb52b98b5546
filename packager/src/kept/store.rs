//! The store of original builds: one file for each, in `builds` beside the compiled units.
//!
//! A file appears by renaming, so runs at the same time see it whole or not at all; one that is removed while
//! it is read can be read to its end. What a killed run leaves is a hidden file, which a later one removes.

use super::key::{BuildKey, Parts};
use super::pack::{Packed, pack};
use super::places::{are_the_same, clear, folders, make, outside};
use crate::error::{Context, Result};
use crate::scratch::Work;
use crate::units::Window;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use wrapper::Records;

/// Bound of the store, in bytes.
const LIMIT: u64 = 5 << 30;
/// A temporary file this old has no writer any more.
const ABANDONED: Duration = Duration::from_secs(3600);
const TEMPORARY: &str = ".tmp-";
/// Ending of the name of a note.
const NOTE: &str = ".note";

/// The store.
#[derive(Clone, Debug)]
pub(crate) struct KeptBuilds {
    dir: PathBuf,
    limit: u64,
}

/// What is said of a build beside its files.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct About {
    /// The session's name and when it was made: both are in its records.
    pub session: (String, u64),
    /// When it ran.
    pub window: (u64, u64),
    /// Seconds of processor time that it took.
    pub cpu: f64,
    /// Of its key.
    parts: Parts,
    /// Files outside with size and time.
    outside: BTreeMap<PathBuf, String>,
}

/// A build that was found.
#[derive(Debug)]
pub(crate) struct KeptBuild(Packed<About>);

impl KeptBuilds {
    /// The one that lies in `cache`.
    ///
    /// # Errors
    /// When its folder cannot be made.
    pub(crate) fn open(cache: &Path) -> Result<Self> {
        let dir = cache.join("builds");
        std::fs::create_dir_all(&dir).at(&dir)?;
        Ok(Self { dir, limit: LIMIT })
    }

    /// The build with this key, if it is there, whole, and nothing that it read has changed.
    pub(crate) fn find(&self, key: &BuildKey) -> Option<KeptBuild> {
        let path = self.dir.join(key.as_str());
        let file = File::options().read(true).append(true).open(&path).ok()?;
        // Used now: what was not used for long goes first.
        let _ = file.set_modified(SystemTime::now());
        let Some(packed) = Packed::<About>::open(file) else {
            self.forget(key);
            return None;
        };
        are_the_same(&packed.about().outside).then_some(KeptBuild(packed))
    }

    /// In what the build of this key is other than the one that was kept of the package last. `None` if none
    /// was.
    pub(crate) fn changed(&self, key: &BuildKey) -> Option<Vec<String>> {
        let mut newest: Option<(SystemTime, Parts)> = None;
        for entry in std::fs::read_dir(&self.dir).ok()?.flatten() {
            let Ok(time) = entry.metadata().and_then(|meta| meta.modified()) else { continue };
            let packed = File::open(entry.path()).ok().and_then(Packed::<About>::open);
            let Some(parts) = packed.map(|packed| packed.about().parts.clone()) else { continue };
            let is_newer = newest.as_ref().is_none_or(|(newest, _)| time > *newest);
            if is_newer && parts.get("package") == key.parts.get("package") {
                newest = Some((time, parts));
            }
        }
        let (_, was) = newest?;
        let differs = key.parts.iter().filter(|(name, hash)| was.get(*name) != Some(hash));
        Some(differs.map(|(name, _)| name.clone()).collect())
    }

    /// What was noted of a build.
    pub(crate) fn note(&self, key: &BuildKey) -> Option<String> {
        let path = self.dir.join(format!("{}{NOTE}", key.as_str()));
        std::fs::read_to_string(path).ok().filter(|note| !note.is_empty())
    }

    /// Notes something of a build. Where that fails, it is found out again.
    pub(crate) fn keep_note(&self, key: &BuildKey, note: &str) {
        let file = tempfile::Builder::new().prefix(TEMPORARY).tempfile_in(&self.dir);
        let written = file.and_then(|mut file| {
            file.write_all(note.as_bytes())?;
            Ok(file)
        });
        if let Ok(file) = written {
            let _ = file.persist(self.dir.join(format!("{}{NOTE}", key.as_str())));
        }
    }

    /// Removes a build that is of no use.
    pub(crate) fn forget(&self, key: &BuildKey) {
        let _ = std::fs::remove_file(self.dir.join(key.as_str()));
    }

    /// Keeps a build.
    ///
    /// # Errors
    /// When it cannot be kept, for want of room for instance. Then nothing of it stays.
    pub(crate) fn keep(
        &self,
        key: &BuildKey,
        work: &Work,
        records: &Records,
        (session, window, cpu): ((String, u64), Window, f64),
    ) -> Result<()> {
        let outside = outside(work, records);
        let (parts, window) = (key.parts.clone(), (window.start, window.end));
        let about = About { session, window, cpu, parts, outside };
        let file =
            tempfile::Builder::new().prefix(TEMPORARY).tempfile_in(&self.dir).what("store of builds")?;
        pack(file.as_file(), &folders(work), &about, self.limit / 2)?;
        file.persist(self.dir.join(key.as_str())).map_err(|e| e.error).what("store of builds")?;
        self.trim();
        Ok(())
    }

    /// Removes what was used least recently until the rest is within the bound, and what killed runs left.
    fn trim(&self) {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            let Ok(meta) = entry.metadata() else { continue };
            let time = meta.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            if !entry.file_name().as_encoded_bytes().starts_with(TEMPORARY.as_bytes()) {
                found.push((time, meta.len(), entry.path()));
            } else if time.elapsed().is_ok_and(|age| age > ABANDONED) {
                let _ = std::fs::remove_file(entry.path());
            }
        }
        found.sort();
        let mut total: u64 = found.iter().map(|(_, size, _)| size).sum();
        for (_, size, path) in found {
            if total <= self.limit {
                break;
            }
            if std::fs::remove_file(path).is_ok() {
                total -= size;
            }
        }
    }
}

impl KeptBuild {
    /// What is said of it.
    pub(crate) fn about(&self) -> &About {
        self.0.about()
    }

    /// Puts it where it was made.
    ///
    /// # Errors
    /// When it is damaged, or there is no room. Then something of it may be there.
    pub(crate) fn put_back(&self, work: &Work) -> Result<()> {
        clear(work)?;
        self.0.unpack(&folders(work))?;
        make(work)
    }

    /// Leaves nothing of what was put back, but empty folders where a run wants them.
    ///
    /// # Errors
    /// When something cannot be removed or made.
    pub(crate) fn take_away(work: &Work) -> Result<()> {
        work.start_over()?;
        clear(work)?;
        make(work)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_least_recently_goes_first_and_so_does_what_was_killed() {
        let dir = tempfile::tempdir().unwrap();
        let store = KeptBuilds { dir: dir.path().to_path_buf(), limit: 250 };
        let old = |name: &str, age: u64| {
            let path = dir.path().join(name);
            std::fs::write(&path, [0; 100]).unwrap();
            let file = File::options().append(true).open(path).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(age)).unwrap();
        };
        for (name, age) in [("a", 30), ("b", 20), ("c", 10), (".tmp-new", 60), (".tmp-old", 7200)] {
            old(name, age);
        }
        store.trim();
        let there = ["a", "b", "c", ".tmp-new", ".tmp-old"].map(|name| dir.path().join(name).exists());
        assert_eq!(there, [false, true, true, true, false]);
    }
}
