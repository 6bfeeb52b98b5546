//! A private view of the file system in which a folder is where there may be none: a mount namespace of our
//! own (mount_namespaces(7)), with a user namespace where that takes a privilege that we do not have
//! (user_namespaces(7)).
//!
//! Nothing outside is touched: the folder's parent is covered with a file system in memory that shows the
//! folders which the parent holds, copies of its files, and the new folder.

use nix::fcntl::{OFlag, open};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::Mode;
use nix::unistd::{chdir, getgid, getuid, pivot_root};
use std::fs::{self, DirEntry};
use std::io::{Error, Result};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// A folder with more than this is not covered.
const MOST: usize = 5000;
/// Files up to this size are copied.
const SMALL: u64 = 1 << 20;
/// Name of the folder in which what is covered can still be found.
const OUTSIDE: &str = ".upatch-outside";

/// What was covered.
#[derive(Debug)]
pub(super) struct Covered {
    /// The folder that another lies over now.
    pub(super) parent: PathBuf,
    /// Where it is still to be found.
    pub(super) outside: PathBuf,
}

/// Makes `place`, an empty folder, in a view that is this process' and its children's. Files beside it are
/// copies there, if they are small or `needed`; else they are not there, so that a build can write beside its
/// tree. The process must have one thread only.
///
/// # Errors
/// When it is not permitted or does not work out; the file system then looks as before.
pub(super) fn enter(place: &Path, needed: &dyn Fn(&str) -> bool) -> Result<Covered> {
    let parent = parent_of(place)?;
    if place.is_dir() && place.canonicalize()? != place || parent.canonicalize()? != parent {
        return Err(Error::other(format!("{} is reached through a symbolic link", place.display())));
    }
    own_namespace()?;
    // What happens here must not spread to where we came from.
    set(Path::new("/"), MsFlags::MS_REC | MsFlags::MS_PRIVATE)?;
    let first = place.strip_prefix(&parent).ok().and_then(|below| below.components().next());
    let hidden = first.map(|name| parent.join(name)).unwrap_or_default();
    let cover = Cover { parent: &parent, hidden: &hidden, needed };
    if parent.parent().is_some() {
        cover.mount_on(&parent)?
    } else {
        cover.as_root()?
    }
    fs::create_dir_all(place)?;
    Ok(Covered { outside: parent.join(OUTSIDE), parent })
}

/// The folder that has to be covered: the nearest one above `place` that is there.
pub(super) fn parent_of(place: &Path) -> Result<PathBuf> {
    let found = place.ancestors().skip(1).find(|dir| dir.is_dir());
    found.map(Path::to_path_buf).ok_or_else(|| Error::other(format!("{} has no parent", place.display())))
}

fn own_namespace() -> Result<()> {
    if unshare(CloneFlags::CLONE_NEWNS).is_ok() {
        return Ok(());
    }
    let (uid, gid) = (getuid(), getgid());
    let flags = CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS;
    unshare(flags).map_err(|e| Error::other(format!("no namespace of our own is to be had: {e}")))?;
    fs::write("/proc/self/uid_map", format!("{uid} {uid} 1"))?;
    // Without this nobody may write the next one.
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/gid_map", format!("{gid} {gid} 1"))
}

fn set(at: &Path, flags: MsFlags) -> Result<()> {
    let nothing: Option<&Path> = None;
    Ok(mount(nothing, at, nothing, flags, nothing)?)
}

fn bind(from: &Path, to: &Path) -> Result<()> {
    let nothing: Option<&Path> = None;
    Ok(mount(Some(from), to, nothing, MsFlags::MS_BIND | MsFlags::MS_REC, nothing)?)
}

/// A file system in memory that shows what a folder holds.
struct Cover<'a> {
    /// The folder.
    parent: &'a Path,
    /// What is not to be shown.
    hidden: &'a Path,
    /// Files that are shown whatever their size.
    needed: &'a dyn Fn(&str) -> bool,
}

impl Cover<'_> {
    fn mount_on(&self, on: &Path) -> Result<()> {
        let entries = fs::read_dir(self.parent)?.collect::<Result<Vec<_>>>()?;
        if entries.len() > MOST {
            return Err(Error::other(format!("{} holds more than {MOST} files", self.parent.display())));
        }
        // Opened before something is mounted over them.
        let whole = opened(self.parent)?;
        let shown = entries.into_iter().filter(|entry| entry.path() != self.hidden);
        let shown = shown.map(|entry| Ok((opened(&entry.path())?, entry))).collect::<Result<Vec<_>>>()?;
        let mode = fs::metadata(self.parent)?.permissions().mode() & 0o7777;
        let memory = Some(Path::new("tmpfs"));
        let options = format!("mode={mode:o}");
        mount(memory, on, memory, MsFlags::empty(), Some(Path::new(&options)))?;
        let filled = (|| {
            // Without this the mount would contain itself where it lies on a folder that it shows.
            set(on, MsFlags::MS_UNBINDABLE)?;
            shown.iter().try_for_each(|(file, entry)| self.show(file, entry, on))?;
            fs::create_dir(on.join(OUTSIDE))?;
            bind(&by_number(&whole), &on.join(OUTSIDE))?;
            set(on, MsFlags::MS_PRIVATE)
        })();
        if filled.is_err() {
            let _ = umount2(on, MntFlags::MNT_DETACH);
        }
        filled
    }

    /// The root cannot be covered: another takes its place.
    fn as_root(&self) -> Result<()> {
        let here = std::env::current_dir()?;
        let stage = Path::new("/tmp");
        self.mount_on(stage)?;
        let turned = (|| -> nix::Result<()> {
            chdir(stage)?;
            // The old root comes to lie over the new one, and is then taken away (pivot_root(2),
            // "pivot_root(".", ".")").
            pivot_root(".", ".")?;
            umount2(".", MntFlags::MNT_DETACH)?;
            chdir("/")
        })();
        if let Err(error) = turned {
            let _ = umount2(stage, MntFlags::MNT_DETACH);
            chdir(&here)?;
            return Err(error.into());
        }
        Ok(chdir(&here)?)
    }

    fn show(&self, file: &OwnedFd, entry: &DirEntry, on: &Path) -> Result<()> {
        let (kind, name) = (entry.file_type()?, entry.file_name());
        let at = on.join(&name);
        if kind.is_symlink() {
            return std::os::unix::fs::symlink(nix::fcntl::readlinkat(file, "")?, at);
        }
        let from = by_number(file);
        if kind.is_file() {
            if fs::metadata(&from)?.len() <= SMALL || (self.needed)(&name.to_string_lossy()) {
                fs::copy(&from, at)?;
            }
            return Ok(());
        }
        if kind.is_dir() {
            fs::create_dir(&at)?;
        } else {
            fs::File::create(&at)?;
        }
        bind(&from, &at)
    }
}

fn opened(path: &Path) -> Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    Ok(open(path, flags, Mode::empty())?)
}

/// The path of an open file, whatever has been mounted over it.
fn by_number(file: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// Lets `place` show the folder `dir`.
///
/// # Errors
/// The kernel's.
pub(super) fn show_at(dir: &Path, place: &Path) -> Result<()> {
    bind(dir, place)
}

/// Lets `place` be empty again.
///
/// # Errors
/// The kernel's.
pub(super) fn show_nothing(place: &Path) -> Result<()> {
    Ok(umount2(place, MntFlags::MNT_DETACH)?)
}
