//! Whether a unit's inputs are what its compiler saw, and how to make them so: a build may write one file
//! anew for each unit that it compiles from it, or remove it afterwards. The recorder has copies of those;
//! they take the files' places for as long as the unit is compiled.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::base::error::{Error, IoContext, Result};
use crate::base::files;
use crate::base::hash::Memo;
use crate::record::unit::UnitRecord;

/// Held for reading by units that are compiled from the files as they are, for writing by a unit whose former
/// files are put in place.
static TREE: RwLock<()> = RwLock::new(());

/// The inputs are right as long as this lives.
pub(crate) struct InputsInPlace {
    restored: Vec<Restored>,
    _lock: Lock,
}

enum Lock {
    Shared { _guard: RwLockReadGuard<'static, ()> },
    Alone { _guard: RwLockWriteGuard<'static, ()> },
}

impl InputsInPlace {
    /// Looks at every input, and puts copies in the place of those that are gone or changed.
    ///
    /// # Errors
    /// [`Error::InputChanged`] if there is no copy of one.
    pub(crate) fn of(unit: &UnitRecord) -> Result<Self> {
        let guard = TREE.read().unwrap_or_else(PoisonError::into_inner);
        if changed(unit)?.is_empty() {
            return Ok(Self { restored: Vec::new(), _lock: Lock::Shared { _guard: guard } });
        }
        drop(guard);
        let guard = TREE.write().unwrap_or_else(PoisonError::into_inner);
        let mut inputs = Self { restored: Vec::new(), _lock: Lock::Alone { _guard: guard } };
        for (path, kept) in changed(unit)? {
            let restored = Restored::place(&path, &kept)?;
            inputs.restored.push(restored);
        }
        Ok(inputs)
    }
}

impl Drop for InputsInPlace {
    fn drop(&mut self) {
        // The last file goes first: it may lie in a folder that was made for an earlier file.
        while self.restored.pop().is_some() {}
    }
}

/// The inputs that are not as they were, each with its copy.
fn changed(unit: &UnitRecord) -> Result<Vec<(PathBuf, PathBuf)>> {
    let mut memo = Memo::default();
    let mut found = Vec::new();
    for dep in &unit.deps {
        let path = dep.path.as_path();
        let now = memo.sha256(path).unwrap_or_else(|_| "missing".to_owned());
        if now == dep.sha256 {
            continue;
        }
        // A file that the build has not written is somebody else's.
        let created = i64::try_from(unit.session_created).unwrap_or(i64::MAX);
        let foreign = fs::symlink_metadata(path).is_ok_and(|meta| !meta.is_file() || meta.mtime() < created);
        match unit.kept_input(&dep.sha256) {
            Some(kept) if !foreign => found.push((path.to_path_buf(), kept)),
            _ => {
                let unit = unit.source.to_string_lossy();
                return Err(Error::InputChanged { unit, path: path.to_path_buf(), now });
            }
        }
    }
    Ok(found)
}

/// A file that has its former content for a while.
struct Restored {
    path: PathBuf,
    /// What was there, under another name.
    aside: Option<PathBuf>,
    /// Folders that had to be made, the outermost first.
    folders: Vec<PathBuf>,
}

impl Restored {
    fn place(path: &Path, kept: &Path) -> Result<Self> {
        let mut made = Self { path: path.to_path_buf(), aside: None, folders: Vec::new() };
        let missing = path.ancestors().skip(1).take_while(|folder| !folder.exists());
        let missing: Vec<PathBuf> = missing.map(Path::to_path_buf).collect();
        for folder in missing.into_iter().rev() {
            fs::create_dir(&folder).at("create", &folder)?;
            made.folders.push(folder);
        }
        if path.exists() {
            let aside = path.with_file_name(format!(".upatch-aside-{}", files::unique()));
            fs::rename(path, &aside).at("rename", path)?;
            made.aside = Some(aside);
        }
        fs::copy(kept, path).at("write", path)?;
        Ok(made)
    }
}

impl Drop for Restored {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
        if let Some(aside) = &self.aside {
            let _ = fs::rename(aside, &self.path);
        }
        for folder in self.folders.iter().rev() {
            let _ = fs::remove_dir(folder);
        }
    }
}
