//! Where prepared trees are kept between runs.
//!
//! A tree is made at its final path, since the kernel's build notes paths, and counts once the file `ready`
//! is beside it. Whoever makes or changes it holds a lock, which goes with the process that holds it: what
//! one that was killed leaves is removed by the next. Whoever uses it holds the lock with others. The
//! programs that it runs hold the lock too, as they go on when it was killed.

use crate::error::{Context, Result};
use nix::fcntl::{FcntlArg, FdFlag, Flock, FlockArg, fcntl};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// As many trees are kept, of 1.5 GB each.
const KEPT: usize = 3;
const READY: &str = "ready";

/// One tree's place.
#[derive(Debug)]
pub(super) struct Slot {
    /// `tree`, `ready` and what else belongs to it.
    dir: PathBuf,
    lock: Flock<File>,
}

impl Slot {
    /// Takes the place of the tree with this key, for oneself if it is not ready yet. `waiting` is called if
    /// another run has it.
    ///
    /// # Errors
    /// When it cannot be written to.
    pub(super) fn take(store: &Path, key: &str, waiting: impl FnOnce()) -> Result<Self> {
        let base = store.join("kernel");
        let dir = base.join(key);
        std::fs::create_dir_all(&dir).at(&dir)?;
        let path = base.join(format!("{key}.lock"));
        let open = || File::options().create(true).append(true).open(&path).at(&path);
        let lock = if dir.join(READY).exists() {
            locked(open()?, FlockArg::LockShared, FlockArg::LockSharedNonblock, waiting)?
        } else {
            locked(open()?, FlockArg::LockExclusive, FlockArg::LockExclusiveNonblock, waiting)?
        };
        if !dir.join(READY).exists() {
            lend(&lock)?;
        }
        Ok(Self { dir, lock })
    }

    /// The tree.
    pub(super) fn tree(&self) -> PathBuf {
        self.dir.join("tree")
    }

    /// A file beside it.
    pub(super) fn beside(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Has it been made?
    pub(super) fn is_ready(&self) -> bool {
        self.dir.join(READY).exists()
    }

    /// Says that it is made, and used now; shares it with others.
    ///
    /// # Errors
    /// When that cannot be written.
    pub(super) fn ready(&mut self) -> Result<()> {
        let mark = self.dir.join(READY);
        let new = self.dir.join("ready.new");
        std::fs::write(&new, "").writing(&new)?;
        std::fs::rename(&new, &mark).writing(&mark)?;
        self.lock.relock(FlockArg::LockShared).what("lock of the prepared tree")
    }

    /// Alone for a moment: no other run changes the tree meanwhile.
    ///
    /// # Errors
    /// When the lock cannot be had.
    pub(super) fn alone(&self) -> Result<Flock<File>> {
        let path = self.dir.join("objects.lock");
        let file = File::options().create(true).append(true).open(&path).at(&path)?;
        let lock = Flock::lock(file, FlockArg::LockExclusive)
            .map_err(|(_, e)| e)
            .what("lock of the prepared tree")?;
        lend(&lock)?;
        Ok(lock)
    }

    /// Removes the trees that were used longest ago, as far as nobody uses them.
    pub(super) fn prune(&self) {
        let Some(base) = self.dir.parent() else { return };
        let used = |dir: &Path| {
            std::fs::metadata(dir.join(READY)).and_then(|m| m.modified()).unwrap_or(SystemTime::UNIX_EPOCH)
        };
        let entries = std::fs::read_dir(base).into_iter().flatten().flatten().map(|e| e.path());
        let mut dirs: Vec<PathBuf> = entries.filter(|p| p.is_dir() && *p != self.dir).collect();
        dirs.sort_by_key(|dir| std::cmp::Reverse(used(dir)));
        for dir in dirs.into_iter().skip(KEPT - 1) {
            let path = dir.with_extension("lock");
            let Ok(file) = File::options().create(true).append(true).open(&path) else { continue };
            if let Ok(_lock) = Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                let _ = std::fs::remove_file(dir.join(READY));
                let _ = std::fs::remove_dir_all(&dir);
            }
        }
    }
}

/// Has programs that are started from now on hold the lock as well.
fn lend(lock: &Flock<File>) -> Result<()> {
    fcntl(&**lock, FcntlArg::F_SETFD(FdFlag::empty())).map(drop).what("lock of the prepared tree")
}

/// The lock, at once or after others have let go of it.
fn locked(file: File, wait: FlockArg, at_once: FlockArg, waiting: impl FnOnce()) -> Result<Flock<File>> {
    match Flock::lock(file, at_once) {
        Ok(lock) => Ok(lock),
        Err((file, _)) => {
            waiting();
            Flock::lock(file, wait).map_err(|(_, e)| e).what("lock of the prepared tree")
        }
    }
}
