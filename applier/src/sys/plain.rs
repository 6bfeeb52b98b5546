//! Files that others name: whatever is there must not hold us up. A pipe is not waited for, a device not
//! read.

use nix::{
    fcntl::OFlag,
    sys::{
        memfd::{MFdFlags, memfd_create},
        stat::fstat,
    },
};
use patchfile::{Digest, identity};
use std::{
    fs::{File, OpenOptions},
    io::{self, Read},
    os::{
        fd::{AsFd, AsRawFd},
        unix::fs::{FileExt, MetadataExt, OpenOptionsExt},
    },
    path::Path,
    sync::OnceLock,
};

/// Opens the regular file `path`, links followed, for reading.
///
/// # Errors
/// It cannot be opened, or is something else.
pub(crate) fn open(path: impl AsRef<Path>) -> io::Result<File> {
    let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits()).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("is not a regular file")) }
}

/// Reads the regular file `path`, if it has no more than `most` bytes, as text.
///
/// # Errors
/// It cannot be read, is something else, is longer, or no text (`InvalidData`).
pub(crate) fn text(path: impl AsRef<Path>, most: u64) -> io::Result<String> {
    let mut text = String::new();
    open(path)?.take(most + 1).read_to_string(&mut text)?;
    if text.len() as u64 > most { Err(io::Error::other("is too long")) } else { Ok(text) }
}

/// Bytes read at a time.
const CHUNK: u64 = 1 << 20;
/// Bytes that are read at most for one digest: ten times the code of the largest programs. A file with holes
/// may say that it has more than any disk.
const MOST: u64 = 2 << 30;

/// Digest of the code of `file`, which is at `pieces`: offset and length.
///
/// # Errors
/// One of them cannot be read whole, or they are more than any program has.
pub(crate) fn digest(file: &File, pieces: &[(u64, u64)]) -> io::Result<Digest> {
    let size = file.metadata()?.len();
    let inside = |(at, len): &(u64, u64)| at.checked_add(*len).is_some_and(|end| end <= size);
    let sum = pieces.iter().try_fold(0u64, |sum, (_, len)| sum.checked_add(*len));
    if !pieces.iter().all(inside) || sum.is_none_or(|sum| sum > MOST) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let chunks = pieces.iter().flat_map(|&(at, len)| {
        (0..len.div_ceil(CHUNK)).map(move |n| (at + n * CHUNK, CHUNK.min(len - n * CHUNK)))
    });
    identity::code_digest_of_pieces(chunks.map(|(at, len)| {
        let mut bytes = vec![0; usize::try_from(len).map_err(io::Error::other)?];
        file.read_exact_at(&mut bytes, at).map(|()| bytes)
    }))
}

/// Opens, for reading and writing, the memory without a name in a file system (memfd_create(2)) that `path`
/// in `/proc` leads to. A process that we put such a file into can put any other in its place: one that it
/// could not write itself, or a device.
///
/// # Errors
/// It is anything else.
pub(crate) fn open_memory(path: &str) -> io::Result<File> {
    let place =
        OpenOptions::new().read(true).custom_flags((OFlag::O_PATH | OFlag::O_CLOEXEC).bits()).open(path)?;
    let meta = place.metadata()?;
    if !meta.is_file() || Some(meta.dev()) != memory_device() {
        return Err(io::Error::other("another file has taken the place of the patch's"));
    }
    // Opens the file again that was looked at, whatever its number means in the other process by now.
    OpenOptions::new().read(true).write(true).open(format!("/proc/self/fd/{}", place.as_raw_fd()))
}

/// The kernel's own file system, where all such memory is and nothing that has a name.
fn memory_device() -> Option<u64> {
    static DEVICE: OnceLock<Option<u64>> = OnceLock::new();
    *DEVICE.get_or_init(|| {
        // Since Linux 6.3 an administrator can forbid files in memory that may be executed.
        const NOEXEC: u32 = 8;
        let make = |flags| memfd_create(c"upatch", MFdFlags::MFD_CLOEXEC | flags);
        let file = make(MFdFlags::from_bits_retain(NOEXEC)).or_else(|_| make(MFdFlags::empty())).ok()?;
        Some(fstat(file.as_fd()).ok()?.st_dev)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::stat::Mode;

    #[test]
    fn only_regular_files() {
        let dir = tempfile::tempdir().unwrap();
        let (pipe, file) = (dir.path().join("pipe"), dir.path().join("file"));
        nix::unistd::mkfifo(&pipe, Mode::S_IRWXU).unwrap();
        std::fs::write(&file, "text").unwrap();
        for path in [pipe.as_path(), dir.path(), Path::new("/dev/zero"), Path::new("/dev/tty")] {
            assert!(open(path).is_err(), "{}", path.display());
        }
        assert_eq!(text(&file, 4).unwrap(), "text");
        assert!(text(&file, 3).is_err());
    }

    #[test]
    fn digests_of_pieces() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let bytes: Vec<u8> = (0..3 * CHUNK).map(|n| (n / 7) as u8).collect();
        std::fs::write(&path, &bytes).unwrap();
        let file = open(&path).unwrap();
        let whole = bytes.len() as u64;
        assert_eq!(digest(&file, &[(0, whole)]).unwrap(), Digest::of(&bytes));
        assert_eq!(
            digest(&file, &[(0, 5), (5, CHUNK + 1)]).unwrap(),
            Digest::of(&bytes[..CHUNK as usize + 6])
        );
        assert!(digest(&file, &[(1, whole)]).is_err() && digest(&file, &[(u64::MAX, 2)]).is_err());
        // A hole as large as no disk.
        File::options().write(true).open(&path).unwrap().set_len(1 << 40).unwrap();
        assert!(digest(&file, &[(0, 1 << 40)]).is_err());
    }

    #[test]
    fn only_memory_without_a_name() {
        let dir = tempfile::tempdir().unwrap();
        let file = File::create_new(dir.path().join("memfd:upatch:p (deleted)")).unwrap();
        let of = |fd: &dyn AsRawFd| format!("/proc/self/fd/{}", fd.as_raw_fd());
        assert!(open_memory(&of(&file)).is_err());
        assert!(open_memory(&of(&File::open("/dev/zero").unwrap())).is_err());
        let memory = memfd_create(c"upatch:p", MFdFlags::MFD_CLOEXEC).unwrap();
        open_memory(&of(&memory)).unwrap();
    }
}
