//! The tree with the fix, beside the prepared one that other runs use: folders that hold a changed file or a
//! source that is compiled are folders of links, all else is one link. Paths relative to the root are the
//! same in both, and so is `__FILE__`.

use crate::error::{Context, Result};
use std::collections::BTreeSet;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// The copy.
#[derive(Debug)]
pub(super) struct Overlay {
    root: PathBuf,
    base: PathBuf,
    /// Folders that are none of the tree's, but hold links to what is in those.
    real: BTreeSet<PathBuf>,
}

impl Overlay {
    /// An overlay of the tree `base` at `root`.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(super) fn new(base: &Path, root: &Path) -> Result<Self> {
        let overlay = Self { root: root.to_path_buf(), base: base.to_path_buf(), real: BTreeSet::new() };
        std::fs::create_dir_all(root).at(root)?;
        overlay.links(Path::new(""))?;
        Ok(overlay)
    }

    /// Its root.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Makes the folder one of links, with those above.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(super) fn open(&mut self, folder: &Path) -> Result<()> {
        let mut above: Vec<&Path> = folder.ancestors().filter(|d| !d.as_os_str().is_empty()).collect();
        above.reverse();
        for dir in above {
            if self.real.contains(dir) {
                continue;
            }
            let path = self.root.join(dir);
            if path.is_symlink() {
                std::fs::remove_file(&path).at(&path)?;
            }
            std::fs::create_dir_all(&path).at(&path)?;
            if self.base.join(dir).is_dir() {
                self.links(dir)?;
            }
            self.real.insert(dir.to_path_buf());
        }
        Ok(())
    }

    /// Makes a file one of its own, to be changed.
    ///
    /// # Errors
    /// When it cannot be copied.
    pub(super) fn own(&mut self, file: &Path) -> Result<()> {
        self.open(file.parent().unwrap_or(Path::new("")))?;
        let (from, to) = (self.base.join(file), self.root.join(file));
        if to.is_symlink() {
            std::fs::remove_file(&to).at(&to)?;
            std::fs::copy(&from, &to).at(&from)?;
        }
        Ok(())
    }

    fn links(&self, dir: &Path) -> Result<()> {
        let base = self.base.join(dir);
        for entry in std::fs::read_dir(&base).at(&base)?.flatten() {
            let to = self.root.join(dir).join(entry.file_name());
            symlink(entry.path(), &to).writing(&to)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_changed_is_its_own_and_the_rest_is_the_trees() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().join("base");
        for name in ["fs/proc/a.c", "fs/proc/b.h", "fs/x.c", "mm/m.c"] {
            let path = base.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, name).unwrap();
        }
        let mut overlay = Overlay::new(&base, &dir.path().join("over")).unwrap();
        overlay.own(Path::new("fs/proc/a.c")).unwrap();
        overlay.own(Path::new("fs/new/n.c")).unwrap();
        std::fs::write(overlay.root().join("fs/proc/a.c"), "changed").unwrap();
        std::fs::write(overlay.root().join("fs/new/n.c"), "new").unwrap();
        assert_eq!(std::fs::read(base.join("fs/proc/a.c")).unwrap(), b"fs/proc/a.c");
        assert!(!base.join("fs/new").exists() && overlay.root().join("mm").is_symlink());
        assert!(overlay.root().join("fs/proc/b.h").is_symlink() && overlay.root().join("fs/x.c").exists());
    }
}
