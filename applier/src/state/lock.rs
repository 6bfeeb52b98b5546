//! One at a time: everything that changes processes or state holds the lock. The kernel lets go of it when
//! the holder dies, however it dies.

use nix::fcntl::{Flock, FlockArg};
use patchfile::paths;
use std::{
    fs::{self, File},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::Path,
};

/// The lock, held until dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: Flock<File>,
}

impl Lock {
    /// Takes the lock of `root`; `None` while another process holds it.
    ///
    /// # Errors
    /// The lock file cannot be made.
    pub(crate) fn take(root: &Path) -> io::Result<Option<Self>> {
        Self::named(root, "lock")
    }

    /// Takes the lock that the service of `root` holds for as long as it lives.
    ///
    /// # Errors
    /// The lock file cannot be made.
    pub(crate) fn of_service(root: &Path) -> io::Result<Option<Self>> {
        Self::named(root, "service.lock")
    }

    fn named(root: &Path, name: &str) -> io::Result<Option<Self>> {
        let dir = root.join(paths::RUN);
        for dir in [&dir, &root.join(paths::STATE)] {
            fs::DirBuilder::new().recursive(true).mode(0o755).create(dir)?;
            trusted(dir)?;
        }
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC).open(dir.join(name))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(file) => Ok(Some(Self { _file: file })),
            Err((_, nix::Error::EWOULDBLOCK | nix::Error::EINTR)) => Ok(None),
            Err((_, error)) => Err(error.into()),
        }
    }
}

/// What is in these directories is believed, and written by name: nobody else may put anything there.
fn trusted(dir: &Path) -> io::Result<()> {
    let meta = fs::symlink_metadata(dir)?;
    let own = nix::unistd::geteuid().as_raw();
    let why = if !meta.is_dir() {
        "it is not a directory".into()
    } else if meta.uid() != 0 && meta.uid() != own {
        format!("it belongs to user {}", meta.uid())
    } else if meta.mode() & 0o002 != 0 || (meta.mode() & 0o020 != 0 && meta.gid() != 0) {
        "others may write to it".into()
    } else {
        return Ok(());
    };
    Err(io::Error::new(io::ErrorKind::PermissionDenied, format!("{}: not trusted: {why}", dir.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_of_others_are_not_used() {
        use std::os::unix::fs::{PermissionsExt, chown, symlink};
        for dir in [paths::RUN, paths::STATE] {
            let root = tempfile::tempdir().unwrap();
            drop(Lock::take(root.path()).unwrap().unwrap());
            let dir = root.path().join(dir);
            let refused = || Lock::take(root.path()).unwrap_err().kind() == io::ErrorKind::PermissionDenied;
            fs::set_permissions(&dir, fs::Permissions::from_mode(0o757)).unwrap();
            assert!(refused());
            fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
            if nix::unistd::geteuid().is_root() {
                chown(&dir, Some(4711), None).unwrap();
                assert!(refused());
                chown(&dir, Some(0), None).unwrap();
            }
            drop(Lock::take(root.path()).unwrap().unwrap());
            let elsewhere = root.path().join("elsewhere");
            fs::rename(&dir, &elsewhere).unwrap();
            symlink(&elsewhere, &dir).unwrap();
            assert!(refused());
        }
    }

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
