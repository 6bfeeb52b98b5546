//! Opening a directory step by step, following no symbolic link that belongs to somebody who could point it
//! elsewhere.

use super::read::{Owner, ReadError, system};
use nix::{
    errno::Errno,
    fcntl::{AtFlags, OFlag, open, openat, readlinkat},
    sys::stat::{Mode, SFlag, fstatat},
};
use std::{
    collections::VecDeque,
    ffi::OsString,
    os::fd::{AsFd, OwnedFd},
    path::{Component, Path},
};

/// As many links as the kernel follows (path_resolution(7)).
const LINKS: usize = 40;

/// Opens the directory `path`. Links that root or the calling user made are followed, those of others are
/// not.
///
/// # Errors
/// [`ReadError::Untrusted`] for a link of another user; else as opening fails.
pub(super) fn directory(path: &Path, owner: Owner) -> Result<OwnedFd, ReadError> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let mut steps: VecDeque<OsString> = VecDeque::new();
    let start = |path: &Path| open(if path.is_absolute() { "/" } else { "." }, flags, Mode::empty());
    let mut here = start(path).map_err(|e| system(path, e))?;
    push_front(&mut steps, path);
    let mut links = 0;
    while let Some(step) = steps.pop_front() {
        let error = |e: Errno| system(path, e);
        let stat = fstatat(here.as_fd(), step.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW).map_err(error)?;
        if SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) == SFlag::S_IFLNK {
            if stat.st_uid != 0 && stat.st_uid != owner.uid {
                let why = format!("its part {} is a link of user {}", step.display(), stat.st_uid);
                return Err(ReadError::Untrusted { path: path.into(), why });
            }
            links += 1;
            if links > LINKS {
                return Err(error(Errno::ELOOP));
            }
            let to = readlinkat(here.as_fd(), step.as_os_str()).map_err(error)?;
            let to = Path::new(&to);
            if to.is_absolute() {
                here = start(to).map_err(error)?;
            }
            push_front(&mut steps, to);
            continue;
        }
        // Should it be replaced by a link just now, this fails.
        here = openat(here.as_fd(), step.as_os_str(), flags | OFlag::O_NOFOLLOW, Mode::empty())
            .map_err(error)?;
    }
    Ok(here)
}

fn push_front(steps: &mut VecDeque<OsString>, path: &Path) {
    for part in path.components().rev() {
        match part {
            Component::Normal(name) => steps.push_front(name.to_owned()),
            Component::ParentDir => steps.push_front("..".into()),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::PatchDir;
    use std::{
        fs,
        os::unix::fs::{lchown, symlink},
    };

    #[test]
    fn own_links_are_followed_and_those_of_others_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::write(root.join("a/b/f"), "x").unwrap();
        symlink("a", root.join("relative")).unwrap();
        symlink(root.join("a/b"), root.join("a/absolute")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        let read = |path: &str| PatchDir::open(&root.join(path), Owner::current()).and_then(|d| d.read("f"));
        for path in ["a/b", "relative/b", "relative/absolute", "a/../a/./b", "relative/absolute/../b"] {
            assert_eq!(read(path).unwrap(), b"x", "{path}");
        }
        assert!(read("loop").is_err() && read("nothing").is_err() && read("a/b/f").is_err());
        if nix::unistd::geteuid().is_root() {
            lchown(root.join("relative"), Some(4711), Some(4711)).unwrap();
            assert!(matches!(read("relative/b"), Err(ReadError::Untrusted { .. })));
            assert_eq!(read("a/b").unwrap(), b"x");
        }
    }
}
