//! Reading a patch directory without being fooled: every file is opened once, never through a link of another
//! user, and what is checked (owner, mode, type, size) is checked on the open file.

use nix::{
    fcntl::{OFlag, openat},
    sys::stat::{FileStat, Mode, SFlag, fstat},
};
use std::{
    fs::File,
    io::Read,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
};

/// Largest file of a patch directory that is read, in bytes. A patch of this size would not find room near
/// its target.
const LARGEST: u64 = 256 << 20;

/// For whom files are read: the user ids that may own a patch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Owner {
    /// Effective user id of this process.
    pub uid: u32,
    /// Effective group id of this process.
    pub gid: u32,
}

impl Owner {
    /// The user this process runs as.
    pub(crate) fn current() -> Self {
        Self { uid: nix::unistd::geteuid().as_raw(), gid: nix::unistd::getegid().as_raw() }
    }

    /// May a file of this owner and mode be trusted to hold code? Root's may, and a user's own for herself;
    /// none that somebody else could have written.
    fn trusts(self, what: &Path, stat: &FileStat) -> Result<(), ReadError> {
        let untrusted = |why: String| Err(ReadError::Untrusted { path: what.into(), why });
        if stat.st_uid != 0 && stat.st_uid != self.uid {
            return untrusted(format!("it belongs to user {}", stat.st_uid));
        }
        if stat.st_mode & 0o002 != 0 {
            return untrusted("everybody may write to it".into());
        }
        if stat.st_mode & 0o020 != 0 && stat.st_gid != 0 && stat.st_gid != self.gid {
            return untrusted(format!("group {} may write to it", stat.st_gid));
        }
        Ok(())
    }
}

/// Why a file of a patch directory is not used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// Somebody who must not could have written it.
    #[error("{}: not trusted: {why}", path.display())]
    Untrusted {
        /// The file or directory.
        path: PathBuf,
        /// Who could have written it.
        why: String,
    },
    /// There is none.
    #[error("{}: no such file or directory", .0.display())]
    Absent(PathBuf),
    /// Access is denied.
    #[error("{}: permission denied", .0.display())]
    Denied(PathBuf),
    /// It is a link, a directory, a device, or too large.
    #[error("{}: {why}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What it is.
        why: String,
    },
    /// Any other system error.
    #[error("{}: {why}", path.display())]
    System {
        /// The file.
        path: PathBuf,
        /// The error.
        why: std::io::Error,
    },
}

pub(super) fn system(path: &Path, error: nix::Error) -> ReadError {
    match error {
        nix::Error::ENOENT | nix::Error::ENOTDIR => ReadError::Absent(path.into()),
        nix::Error::EACCES | nix::Error::EPERM => ReadError::Denied(path.into()),
        nix::Error::ELOOP => ReadError::Unusable { path: path.into(), why: "is a symbolic link".into() },
        other => ReadError::System { path: path.into(), why: other.into() },
    }
}

/// An open patch directory.
#[derive(Debug)]
pub(crate) struct PatchDir {
    fd: OwnedFd,
    path: PathBuf,
    owner: Owner,
}

impl PatchDir {
    /// Opens `path` and checks who owns it.
    ///
    /// # Errors
    /// [`ReadError::Untrusted`] when somebody else may change its contents.
    pub(crate) fn open(path: &Path, owner: Owner) -> Result<Self, ReadError> {
        let fd = super::walk::directory(path, owner)?;
        owner.trusts(path, &fstat(fd.as_fd()).map_err(|e| system(path, e))?)?;
        Ok(Self { fd, path: path.into(), owner })
    }

    /// Reads the file `name` of this directory, whole.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub(crate) fn read(&self, name: &str) -> Result<Vec<u8>, ReadError> {
        let path = self.path.join(name);
        // O_NONBLOCK: opening a FIFO must not wait for a writer; it changes nothing for a regular file.
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
        let fd = openat(self.fd.as_fd(), name, flags, Mode::empty()).map_err(|e| system(&path, e))?;
        let stat = fstat(fd.as_fd()).map_err(|e| system(&path, e))?;
        let unusable = |why: &str| ReadError::Unusable { path: path.clone(), why: why.into() };
        if SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) != SFlag::S_IFREG {
            return Err(unusable("is not a regular file"));
        }
        self.owner.trusts(&path, &stat)?;
        let mut bytes = Vec::new();
        let read = File::from(fd).take(LARGEST + 1).read_to_end(&mut bytes);
        read.map_err(|why| ReadError::System { path: path.clone(), why })?;
        if bytes.len() as u64 > LARGEST {
            return Err(unusable("is larger than a patch can be"));
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        fs,
        os::unix::fs::{PermissionsExt, symlink},
    };

    fn directory() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("f"), "x").unwrap();
        dir
    }

    #[test]
    fn reads_own_files() {
        let dir = directory();
        assert_eq!(PatchDir::open(dir.path(), Owner::current()).unwrap().read("f").unwrap(), b"x");
    }

    #[test]
    fn a_directory_that_is_swapped_after_the_check_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (place, other) = (dir.path().join("patch"), dir.path().join("other"));
        for (at, text) in [(&place, "checked"), (&other, "slipped in")] {
            fs::create_dir(at).unwrap();
            fs::write(at.join("f"), text).unwrap();
        }
        let opened = PatchDir::open(&place, Owner::current()).unwrap();
        fs::rename(&place, dir.path().join("away")).unwrap();
        fs::rename(&other, &place).unwrap();
        assert_eq!(opened.read("f").unwrap(), b"checked");
        assert_eq!(PatchDir::open(&place, Owner::current()).unwrap().read("f").unwrap(), b"slipped in");
    }

    #[test]
    fn a_link_is_not_followed() {
        let dir = directory();
        symlink("f", dir.path().join("link")).unwrap();
        let found = PatchDir::open(dir.path(), Owner::current()).unwrap().read("link");
        assert!(matches!(found, Err(ReadError::Unusable { .. })), "{found:?}");
    }

    #[test]
    fn a_file_or_directory_that_others_can_write_is_not_trusted() {
        let dir = directory();
        fs::set_permissions(dir.path().join("f"), fs::Permissions::from_mode(0o666)).unwrap();
        let found = PatchDir::open(dir.path(), Owner::current()).unwrap().read("f");
        assert!(matches!(found, Err(ReadError::Untrusted { .. })), "{found:?}");
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let found = PatchDir::open(dir.path(), Owner::current());
        assert!(matches!(found, Err(ReadError::Untrusted { .. })), "{found:?}");
    }

    #[test]
    fn a_file_of_another_user_is_not_trusted() {
        let dir = directory();
        let stranger = Owner { uid: 12345, gid: 12345 };
        let found = PatchDir::open(dir.path(), stranger);
        // Root's files are for everybody.
        assert_eq!(found.is_ok(), nix::unistd::geteuid().is_root(), "{found:?}");
        let mut stat = fstat(fs::File::open(dir.path().join("f")).unwrap().as_fd()).unwrap();
        stat.st_uid = 4711;
        assert!(stranger.trusts(dir.path(), &stat).is_err());
    }

    #[test]
    fn a_fifo_does_not_hang() {
        let dir = directory();
        nix::unistd::mkfifo(&dir.path().join("p"), Mode::S_IRUSR).unwrap();
        let found = PatchDir::open(dir.path(), Owner::current()).unwrap().read("p");
        assert!(matches!(found, Err(ReadError::Unusable { .. })), "{found:?}");
    }
}
