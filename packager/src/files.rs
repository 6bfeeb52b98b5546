//! Files that others name: regular ones only, opened without waiting, read up to a bound.
//!
//! A FIFO would hold us up for ever, and a device never comes to an end.

use nix::fcntl::OFlag;
use std::fs::{File, OpenOptions};
use std::io::{Error, ErrorKind, Read, Result};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Component, Path, PathBuf};

/// What no patch or source file is longer than.
pub(crate) const SOURCE_LIMIT: u64 = 1 << 30;
/// What no program or package is longer than.
pub(crate) const BINARY_LIMIT: u64 = 8 << 30;

/// Opens a regular file.
///
/// # Errors
/// When it is none or cannot be opened.
pub(crate) fn open(path: &Path) -> Result<File> {
    let file = OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path)?;
    let meta = file.metadata()?;
    if meta.is_dir() {
        return Err(Error::new(ErrorKind::IsADirectory, "is a directory, not a file"));
    }
    if !meta.is_file() {
        return Err(Error::new(ErrorKind::InvalidInput, "is not a regular file"));
    }
    Ok(file)
}

/// Reads a regular file of at most `limit` bytes.
///
/// # Errors
/// When it is none, longer, or cannot be read.
pub(crate) fn read(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let file = open(path)?;
    let mut data = Vec::new();
    // The length that the file reports may be out of date already.
    if file.metadata()?.len() <= limit {
        file.take(limit.saturating_add(1)).read_to_end(&mut data)?;
        if data.len() as u64 <= limit {
            return Ok(data);
        }
    }
    Err(Error::new(ErrorKind::FileTooLarge, format!("is longer than {limit} bytes")))
}

/// The first bytes of a regular file; none if it cannot be read.
pub(crate) fn head<const N: usize>(path: &Path) -> Vec<u8> {
    let mut head = Vec::with_capacity(N);
    let read = open(path).and_then(|file| file.take(N as u64).read_to_end(&mut head));
    if read.is_err() {
        head.clear();
    }
    head
}

/// A path without `.` and `..`, by its text alone: links are not followed.
pub(crate) fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(plain.pop()),
            Component::CurDir => {}
            part => plain.push(part),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_compared_without_dots() {
        assert_eq!(plain(Path::new("/b/p/obj/../src/./x.c")), Path::new("/b/p/src/x.c"));
    }

    #[test]
    fn only_regular_files_are_read_and_only_so_far() {
        let dir = tempfile::tempdir().unwrap();
        let (fifo, file) = (dir.path().join("fifo"), dir.path().join("file"));
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        std::fs::write(&file, "1234").unwrap();
        assert_eq!(read(&fifo, 10).unwrap_err().to_string(), "is not a regular file");
        assert_eq!(read(Path::new("/dev/zero"), 10).unwrap_err().to_string(), "is not a regular file");
        assert!(read(dir.path(), 10).is_err() && head::<2>(&fifo).is_empty());
        assert_eq!((read(&file, 4).unwrap(), head::<2>(&file)), (b"1234".to_vec(), b"12".to_vec()));
        assert_eq!(read(&file, 3).unwrap_err().kind(), ErrorKind::FileTooLarge);
    }
}
