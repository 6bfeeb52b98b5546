//! One at a time: everything that changes processes or state holds the lock. The kernel lets go of it when the holder
//! dies, however it dies.

use nix::fcntl::{Flock, FlockArg};
use patchfile::paths;
use std::{
    fs::{self, File},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
};

/// The lock, held until dropped.
#[derive(Debug)]
pub struct Lock {
    _file: Flock<File>,
}

impl Lock {
    /// Takes the lock of `root`; `None` while another process holds it.
    ///
    /// # Errors
    /// The lock file cannot be made.
    pub fn take(root: &Path) -> io::Result<Option<Self>> {
        let dir = root.join(paths::RUN);
        fs::DirBuilder::new().recursive(true).mode(0o755).create(&dir)?;
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC).open(dir.join("lock"))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(file) => Ok(Some(Self { _file: file })),
            Err((_, nix::Error::EWOULDBLOCK | nix::Error::EINTR)) => Ok(None),
            Err((_, error)) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn excludes_until_dropped() {
        let root = tempfile::tempdir().unwrap();
        let held = Lock::take(root.path()).unwrap();
        assert!(held.is_some());
        assert!(Lock::take(root.path()).unwrap().is_none());
        drop(held);
        assert!(Lock::take(root.path()).unwrap().is_some());
    }
}
