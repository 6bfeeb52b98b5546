//! Finding the patches of a file-system root.

use super::{Entry, LoadedEntry, Origin, Owner, PatchDir, entry::EntryError};
use crate::sys::scratch::scratch;
use patchfile::{Uuid, paths};
use std::{
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

/// A directory that should hold a patch but cannot be used.
#[derive(Debug)]
pub(crate) struct Problem {
    /// The directory.
    pub directory: PathBuf,
    /// Why.
    pub error: Arc<EntryError>,
}

/// The patches of a root.
#[derive(Debug, Default)]
pub(crate) struct Catalog {
    /// Usable ones, in order of their IDs.
    pub entries: Vec<Entry>,
    /// Unusable ones.
    pub problems: Vec<Problem>,
}

impl Catalog {
    /// Reads all manifests below `root`.
    pub(crate) fn read(root: &Path, owner: Owner) -> Self {
        let installed = children(&root.join(paths::PATCHES)).into_iter().flat_map(|p| children(&p));
        let installed = installed.map(|dir| (dir, Origin::Installed));
        let kept = children(&kept_root(root)).into_iter().map(|dir| (dir, Origin::Kept));
        let mut catalog = Self::default();
        for (directory, origin) in installed.chain(kept) {
            match Entry::read(&directory, origin, owner) {
                // A patch that was applied by path and installed later is one patch; the installed one comes
                // first.
                Ok(e) if catalog.entries.iter().any(|known| known.manifest.uuid == e.manifest.uuid) => {}
                Ok(entry) => catalog.entries.push(entry),
                Err(error) => {
                    let error = Arc::new(error);
                    catalog.problems.push(Problem { directory, error });
                }
            }
        }
        catalog.entries.sort_by_cached_key(|e| (e.manifest.id(), e.manifest.uuid));
        catalog
    }

    /// The patch with this uuid.
    pub(crate) fn get(&self, uuid: Uuid) -> Option<&Entry> {
        self.entries.iter().find(|e| e.manifest.uuid == uuid)
    }
}

/// Directories in `path`, sorted; none if it cannot be read. Hidden ones are half-written copies and left
/// out.
fn children(path: &Path) -> Vec<PathBuf> {
    let Ok(found) = fs::read_dir(path) else { return Vec::new() };
    let found = found.filter_map(Result::ok).filter(|e| !e.file_name().as_encoded_bytes().starts_with(b"."));
    let mut found: Vec<_> = found.map(|e| e.path()).filter(|p| p.is_dir()).collect();
    found.sort();
    found
}

fn kept_root(root: &Path) -> PathBuf {
    root.join(paths::STATE).join("patches")
}

/// Where [`keep`] puts the copy of a patch.
pub(crate) fn kept_directory(root: &Path, uuid: Uuid) -> PathBuf {
    kept_root(root).join(uuid.to_string())
}

/// Keeps a copy of a patch applied by path, made from the bytes that were checked, so that it can be applied
/// to processes started later, also after the original directory is gone. [`sync_kept`] makes the copy
/// survive a loss of power.
///
/// # Errors
/// The copy cannot be written; nothing half-written is left under its name.
pub(crate) fn keep(root: &Path, patch: &LoadedEntry, owner: Owner) -> io::Result<PathBuf> {
    let target = kept_directory(root, patch.manifest.uuid);
    if target.is_dir() {
        if Entry::read(&target, Origin::Kept, owner).is_ok_and(|e| e.load(owner).is_ok()) {
            return Ok(target);
        }
        // A copy that was damaged since is made again.
        fs::remove_dir_all(&target)?;
    }
    let parent = kept_root(root);
    fs::DirBuilder::new().recursive(true).mode(0o755).create(&parent)?;
    let scratch = scratch(&parent, &patch.manifest.uuid.to_string(), fs::remove_dir_all);
    let written = fs::DirBuilder::new().mode(0o755).create(&scratch).and_then(|()| {
        for (name, bytes) in &patch.files {
            let mut file =
                File::options().write(true).create_new(true).mode(0o644).open(scratch.join(name))?;
            file.write_all(bytes)?;
        }
        fs::rename(&scratch, &target)
    });
    if let Err(error) = written {
        // The error that matters is the first; what cannot be tidied up is hidden from the catalog by its
        // dot.
        fs::remove_dir_all(&scratch).ok();
        return Err(error);
    }
    Ok(target)
}

/// Puts what is for debuggers only beside the copy made by [`keep`]. A patch is as good without.
pub(crate) fn keep_debug(root: &Path, entry: &Entry, owner: Owner) {
    let Ok(from) = PatchDir::open(&entry.directory, owner) else { return };
    for elf in &entry.manifest.elfs {
        let name = format!("{}.debug", elf.patch);
        let to = kept_directory(root, entry.manifest.uuid).join(&name);
        if to.exists() {
            continue;
        }
        if let Ok(bytes) = from.read(&name) {
            let file = File::options().write(true).create_new(true).mode(0o644).open(&to);
            if file.and_then(|mut file| file.write_all(&bytes)).is_err() {
                fs::remove_file(&to).ok();
            }
        }
    }
}

/// Syncs the copy made by [`keep`], if there is one, to disk.
///
/// # Errors
/// The disk cannot be written.
pub(crate) fn sync_kept(root: &Path, uuid: Uuid) -> io::Result<()> {
    let directory = kept_directory(root, uuid);
    let Ok(files) = fs::read_dir(&directory) else { return Ok(()) };
    for file in files {
        File::open(file?.path())?.sync_all()?;
    }
    File::open(&directory)?.sync_all()?;
    File::open(kept_root(root))?.sync_all()
}

/// Forgets the copy made by [`keep`], if there is one.
///
/// # Errors
/// It exists and cannot be removed.
pub(crate) fn unkeep(root: &Path, uuid: Uuid) -> io::Result<()> {
    match fs::remove_dir_all(kept_directory(root, uuid)) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}
