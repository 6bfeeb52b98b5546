//! Scratch space of one run.
//!
//! Its path is the same from run to run wherever possible: debug information holds the paths of the sources,
//! so an object from the store fits only a build at the path it was made at. Runs at the same time take
//! different slots.

use super::tree::Tree;
use crate::error::{Context, Result, ScratchError};
use crate::private::private_directory;
use crate::process::HalfMade;
use crate::view::View;
use nix::fcntl::{Flock, FlockArg};
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// The scratch directory and the places in it. Emptied when dropped, unless it is to be kept.
#[derive(Debug)]
pub(crate) struct Work {
    root: PathBuf,
    /// What a signal linked_objects of it goes too, unless it is to be kept.
    half_made: Option<HalfMade>,
    lock: Option<Flock<File>>,
    lock_file: PathBuf,
    /// The directory of all slots, if it is ours to remove.
    own: Option<PathBuf>,
    pub(super) view: View,
    /// The source tree that is where builds run.
    pub(super) in_place: Mutex<Tree>,
}

/// As many runs at the same time as there is room for.
const SLOTS: u32 = 1000;
/// The folder in which builds run.
pub(super) const BUILD: &str = "BUILD";
/// Mark of a slot that is to be kept.
const KEPT: &str = "kept";

/// The slot at which runs for a package begin to look. Any spread will do, as long as it stays the same.
fn home(package: &str) -> u32 {
    package.bytes().fold(0, |sum: u32, byte| sum.wrapping_mul(31).wrapping_add(byte.into())) % SLOTS
}

impl Work {
    /// Takes a free slot in `workdir`, or in a directory of the user's own among the system's temporary
    /// files. Objects hold the path of the folder that they were built in, and so the store knows them there
    /// only: runs for the same `package` begin to look at the same slot, which others that run at the same
    /// time seldom take from them.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(crate) fn create(workdir: Option<&Path>, package: &str, keep: bool) -> Result<Self> {
        let base = match workdir {
            Some(dir) => {
                std::fs::create_dir_all(dir).option("--workdir", dir)?;
                dir.to_path_buf()
            }
            None => private_directory()?,
        };
        let base = base.canonicalize().at(&base)?;
        // Compilers, make and libtool split such paths at blanks.
        if base.to_str().is_none_or(|p| p.chars().any(|c| c.is_whitespace() || "%'\"\\$`:#".contains(c))) {
            return Err(ScratchError::Characters(base).into());
        }
        let home = if workdir.is_some() { 0 } else { home(package) };
        for number in (home..SLOTS).chain(0..home) {
            let root = base.join(number.to_string());
            let lock_file = base.join(format!("{number}.lock"));
            let file = match File::create(&lock_file) {
                // The last of the other runs has just taken the directory of all slots away.
                Err(e) if e.kind() == std::io::ErrorKind::NotFound && workdir.is_none() => {
                    private_directory()?;
                    File::create(&lock_file)
                }
                other => other,
            };
            let file = file.at(&lock_file)?;
            // Taken by another run: the next.
            let Ok(lock) = Flock::lock(file, FlockArg::LockExclusiveNonblock) else { continue };
            // A run that ends removes the file that it has locked. Then this lock is on a file that nobody
            // sees any more.
            let same = |path: &Path| Some((lock.metadata().ok()?.ino(), path.metadata().ok()?.ino()));
            if same(&lock_file).is_none_or(|(ours, there)| ours != there) {
                continue;
            }
            if root.join(KEPT).exists() {
                // What was kept makes room: at another path nothing would come out of the store.
                give_way(&root)?;
            }
            // What a run left that was killed.
            clear(&root)?;
            std::fs::create_dir(&root).at(&root)?;
            let own = workdir.is_none().then(|| base.clone());
            let half_made = (!keep).then(|| HalfMade::new(&root));
            let work = Self {
                root,
                half_made,
                lock: Some(lock),
                lock_file,
                own,
                view: View::default(),
                in_place: Mutex::new(Tree::Original),
            };
            for dir in ["tmp", BUILD, "log", "objects"] {
                std::fs::create_dir(work.path(dir)).what("scratch directory")?;
            }
            if keep {
                std::fs::write(work.path(KEPT), "").what("scratch directory")?;
            }
            return Ok(work);
        }
        Err(ScratchError::Full(base).into())
    }

    /// The directory itself.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Does it stay when the run is over?
    pub(crate) fn is_kept(&self) -> bool {
        self.half_made.is_none()
    }

    /// A path in it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// With both builds in a view of the file system: what is the folder `BUILD` has the view's path.
    ///
    /// # Errors
    /// When it cannot be shown there.
    pub(crate) fn seen(mut self, view: &View) -> Result<Self> {
        view.show(&self.path(BUILD))?;
        self.view = view.clone();
        Ok(self)
    }

    /// Where both builds run.
    pub(crate) fn build(&self) -> PathBuf {
        self.view.at().map_or_else(|| self.path(BUILD), Path::to_path_buf)
    }

    /// Where the source tree `name` is built.
    pub(crate) fn tree(&self, name: &str) -> PathBuf {
        self.view.tree().map_or_else(|| self.build().join(name), Path::to_path_buf)
    }

    /// The path of a file of the builds once they are over: nothing is shown at another path then.
    pub(crate) fn kept_place(&self, path: &Path) -> PathBuf {
        path.strip_prefix(self.build()).map_or_else(|_| path.to_path_buf(), |p| self.path(BUILD).join(p))
    }

    /// The folder that the source tree's is in.
    pub(crate) fn above_tree(&self) -> PathBuf {
        self.view.tree().and_then(Path::parent).map_or_else(|| self.build(), Path::to_path_buf)
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        if self.half_made.as_ref().is_some_and(|half_made| !half_made.is_left_to_others()) {
            // Nothing more can be done about what cannot be removed; the next run of this slot tries again.
            let _ = clear(&self.root);
        }
        let _ = std::fs::remove_file(&self.lock_file);
        self.lock.take();
        if let Some(base) = &self.own {
            // Succeeds for the last one only.
            let _ = std::fs::remove_dir(base);
        }
    }
}

/// Gives a directory the first free name of `NAME.kept`, `NAME.kept-2` and so on.
fn give_way(root: &Path) -> Result<()> {
    let name = |number: u32| match number {
        1 => root.with_extension("kept"),
        number => root.with_extension(format!("kept-{number}")),
    };
    let free = (1..).map(name).find(|to| std::fs::symlink_metadata(to).is_err());
    let to = free.unwrap_or_else(|| name(u32::MAX));
    std::fs::rename(root, &to).at(root)
}

/// Removes a directory with everything in it, also what a build made read-only.
pub(super) fn clear(root: &Path) -> Result<()> {
    let Err(first) = std::fs::remove_dir_all(root) else { return Ok(()) };
    if first.kind() == std::io::ErrorKind::NotFound {
        return Ok(());
    }
    use std::os::unix::fs::PermissionsExt;
    for entry in walkdir::WalkDir::new(root).into_iter().flatten().filter(|e| e.file_type().is_dir()) {
        let _ = std::fs::set_permissions(entry.path(), std::fs::Permissions::from_mode(0o700));
    }
    std::fs::remove_dir_all(root).at(root)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_taken_again_and_never_twice_at_once() {
        let base = tempfile::tempdir().unwrap();
        let first = Work::create(Some(base.path()), "a", false).unwrap();
        let second = Work::create(Some(base.path()), "b", true).unwrap();
        assert_ne!(first.root(), second.root());
        let (path, kept) = (first.root().to_path_buf(), second.root().to_path_buf());
        drop((first, second));
        assert!(!path.exists() && kept.exists());
        assert_eq!(Work::create(Some(base.path()), "a", false).unwrap().root(), path);
    }

    #[test]
    fn what_is_kept_makes_room_for_the_next_run() {
        let base = tempfile::tempdir().unwrap();
        let made = |keep| Work::create(Some(base.path()), "a", keep).unwrap().root().to_path_buf();
        let path = made(true);
        std::fs::write(path.join("mark"), "1").unwrap();
        assert_eq!(made(true), path);
        assert_eq!(made(false), path);
        assert_eq!(std::fs::read(base.path().join("0.kept/mark")).unwrap(), b"1");
        assert!(base.path().join("0.kept-2").exists() && !path.exists());
    }
}
