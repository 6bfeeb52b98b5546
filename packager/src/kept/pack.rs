//! Folders in one file: written once, read by anybody at any time, removed by unlinking it.
//!
//! First the contents, each once however many files have it; then an index (JSON), the index's SHA-256, its
//! length, and a mark. A file that a killed writer left has no name; one that is damaged does not read.

use crate::error::{Context, Result, StoreError};
use nix::sys::stat::{UtimensatFlags, utimensat};
use nix::sys::time::TimeSpec;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};
use walkdir::WalkDir;

const MARK: &[u8; 8] = b"upatchB1";
/// The index's SHA-256, its length, and the mark.
const TAIL: u64 = 64 + 8 + 8;
/// No build of a package that is meant to be kept has as many files.
const MOST_FILES: usize = 500_000;

#[derive(Debug, Serialize, Deserialize)]
struct Index<T> {
    about: T,
    contents: Vec<Content>,
    files: Vec<Entry>,
}

/// The contents of files.
#[derive(Debug, Serialize, Deserialize)]
struct Content {
    at: u64,
    len: u64,
    sha256: String,
}

/// A file or folder.
#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    /// Number of the folder that was packed.
    root: usize,
    /// Below it, as bytes.
    path: Vec<u8>,
    kind: Kind,
    mode: u32,
    owner: (u32, u32),
    /// Seconds and nanoseconds.
    modified: (i64, i64),
}

#[derive(Debug, Serialize, Deserialize)]
enum Kind {
    Folder,
    /// With the number of its contents.
    File(usize),
    /// Another name of the file with this number among the entries.
    Name(usize),
    Link(Vec<u8>),
}

/// Packs the folders `roots`, which may be missing, into `to`, with something about them.
///
/// # Errors
/// When something cannot be read or written, or is neither file nor folder nor symbolic link.
pub(super) fn pack<T: Serialize>(to: &File, roots: &[PathBuf], about: &T, limit: u64) -> Result<u64> {
    let mut out = BufWriter::with_capacity(1 << 18, to);
    let mut index = Index { about, contents: Vec::new(), files: Vec::new() };
    let mut known: HashMap<String, usize> = HashMap::new();
    let mut names: HashMap<(u64, u64), usize> = HashMap::new();
    let mut at = 0_u64;
    for (root, dir) in roots.iter().enumerate().filter(|(_, dir)| dir.exists()) {
        for entry in WalkDir::new(dir).sort_by_file_name() {
            let entry = entry.map_err(std::io::Error::from).at(dir)?;
            let path = entry.path();
            let meta = path.symlink_metadata().at(path)?;
            let kind = if meta.is_dir() {
                Kind::Folder
            } else if meta.is_symlink() {
                Kind::Link(std::fs::read_link(path).at(path)?.into_os_string().into_vec())
            } else if !meta.is_file() {
                return Err(StoreError::NoFile(path.to_path_buf()).into());
            } else if let Some(first) = names.get(&(meta.dev(), meta.ino())) {
                Kind::Name(*first)
            } else {
                if meta.nlink() > 1 {
                    names.insert((meta.dev(), meta.ino()), index.files.len());
                }
                let bytes = std::fs::read(path).at(path)?;
                let sha256 = wrapper::sha256(&bytes);
                let number = match known.get(&sha256) {
                    Some(number) => *number,
                    None => {
                        out.write_all(&bytes).what("store of builds")?;
                        let number = index.contents.len();
                        let len = bytes.len() as u64;
                        index.contents.push(Content { at, len, sha256: sha256.clone() });
                        known.insert(sha256, number);
                        at += len;
                        number
                    }
                };
                Kind::File(number)
            };
            let below = path.strip_prefix(dir).unwrap_or(Path::new(""));
            index.files.push(Entry {
                root,
                path: below.as_os_str().as_bytes().to_vec(),
                kind,
                mode: meta.mode() & 0o7777,
                owner: (meta.uid(), meta.gid()),
                modified: (meta.mtime(), meta.mtime_nsec()),
            });
            if at > limit || index.files.len() > MOST_FILES {
                return Err(StoreError::TooLarge.into());
            }
        }
    }
    let text = serde_json::to_vec(&index).what("store of builds")?;
    let mut tail = wrapper::sha256(&text).into_bytes();
    tail.extend_from_slice(&(text.len() as u64).to_le_bytes());
    tail.extend_from_slice(MARK);
    out.write_all(&text).and_then(|()| out.write_all(&tail)).what("store of builds")?;
    out.flush().what("store of builds")?;
    Ok(at + text.len() as u64 + TAIL)
}

/// A packed file that was opened.
#[derive(Debug)]
pub(super) struct Packed<T> {
    file: File,
    index: Index<T>,
}

impl<T: for<'de> Deserialize<'de>> Packed<T> {
    /// Reads the index. `None` if it is damaged.
    pub(super) fn open(file: File) -> Option<Self> {
        let len = file.metadata().ok()?.len();
        let mut tail = [0_u8; TAIL as usize];
        file.read_exact_at(&mut tail, len.checked_sub(TAIL)?).ok()?;
        let (sum, rest) = tail.split_at(64);
        let (size, mark) = rest.split_first_chunk::<8>()?;
        let size = u64::from_le_bytes(*size);
        if mark != MARK {
            return None;
        }
        let mut text = vec![0_u8; usize::try_from(size).ok().filter(|_| size <= len)?];
        file.read_exact_at(&mut text, len.checked_sub(TAIL + size)?).ok()?;
        if wrapper::sha256(&text).as_bytes() != sum {
            return None;
        }
        Some(Self { index: serde_json::from_slice(&text).ok()?, file })
    }
}

impl<T> Packed<T> {
    /// What was said of it.
    pub(super) fn about(&self) -> &T {
        &self.index.about
    }

    /// Unpacks it to `roots`, which are empty folders or missing, in the order in which they were packed.
    ///
    /// # Errors
    /// When it is damaged, or something cannot be written. Then something may have been.
    pub(super) fn unpack(&self, roots: &[PathBuf]) -> Result<()> {
        let place = |entry: &Entry| -> Result<PathBuf> {
            let root = roots.get(entry.root).ok_or(StoreError::Damaged)?;
            let below = Path::new(std::ffi::OsStr::from_bytes(&entry.path));
            Ok(if entry.path.is_empty() { root.clone() } else { root.join(below) })
        };
        let own = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
        for entry in &self.index.files {
            let path = place(entry)?;
            match &entry.kind {
                Kind::Folder => std::fs::create_dir_all(&path).at(&path)?,
                Kind::Link(to) => symlink(std::ffi::OsStr::from_bytes(to), &path).at(&path)?,
                Kind::Name(first) => {
                    let first = place(self.index.files.get(*first).ok_or(StoreError::Damaged)?)?;
                    std::fs::hard_link(first, &path).at(&path)?;
                }
                Kind::File(number) => {
                    let bytes = self.contents(*number)?;
                    let mut file = File::create_new(&path).at(&path)?;
                    file.write_all(&bytes).at(&path)?;
                    file.set_permissions(std::fs::Permissions::from_mode(entry.mode)).at(&path)?;
                }
            }
            if entry.owner != own {
                lchown(&path, Some(entry.owner.0), Some(entry.owner.1)).at(&path)?;
            }
            if !matches!(entry.kind, Kind::Folder | Kind::Name(_)) {
                stamp(&path, entry.modified)?;
            }
        }
        // Folders last: what is written into them changes their times, or may not be written any more.
        for entry in self.index.files.iter().rev().filter(|e| matches!(e.kind, Kind::Folder)) {
            let path = place(entry)?;
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(entry.mode)).at(&path)?;
            stamp(&path, entry.modified)?;
        }
        Ok(())
    }

    fn contents(&self, number: usize) -> Result<Vec<u8>> {
        let content = self.index.contents.get(number).ok_or(StoreError::Damaged)?;
        let len = self.file.metadata().what("store of builds")?.len();
        let fits = content.at.checked_add(content.len).is_some_and(|end| end <= len);
        let size = usize::try_from(content.len).ok().filter(|_| fits).ok_or(StoreError::Damaged)?;
        let mut bytes = vec![0_u8; size];
        self.file.read_exact_at(&mut bytes, content.at).what("store of builds")?;
        if wrapper::sha256(&bytes) != content.sha256 {
            return Err(StoreError::Damaged.into());
        }
        Ok(bytes)
    }
}

fn stamp(path: &Path, (seconds, nanoseconds): (i64, i64)) -> Result<()> {
    let time = TimeSpec::new(seconds, nanoseconds);
    let here = nix::fcntl::AT_FDCWD;
    utimensat(here, path, &time, &time, UtimensatFlags::NoFollowSymlink)
        .map_err(std::io::Error::from)
        .at(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(roots: &[PathBuf]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        pack(file.as_file(), roots, &7_u32, 1 << 30).unwrap();
        file
    }

    fn tree() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        std::fs::create_dir_all(root.join("empty/deep")).unwrap();
        std::fs::write(root.join("a"), "text").unwrap();
        std::fs::write(root.join("same"), "text").unwrap();
        std::fs::hard_link(root.join("a"), root.join("name of a")).unwrap();
        symlink("nowhere", root.join("link")).unwrap();
        std::fs::set_permissions(root.join("a"), std::fs::Permissions::from_mode(0o555)).unwrap();
        stamp(&root.join("a"), (1_000_000_000, 7)).unwrap();
        stamp(&root.join("link"), (1_000_000_001, 8)).unwrap();
        stamp(&root.join("empty"), (1_000_000_002, 9)).unwrap();
        std::fs::set_permissions(root.join("empty"), std::fs::Permissions::from_mode(0o555)).unwrap();
        (dir, root)
    }

    #[test]
    fn all_comes_back_as_it_was() {
        let (dir, root) = tree();
        let file = packed(&[root.clone(), dir.path().join("missing")]);
        assert!(file.as_file().metadata().unwrap().len() < 2000, "the same text is there once");
        let to = dir.path().join("to");
        let packed = Packed::<u32>::open(File::open(file.path()).unwrap()).unwrap();
        assert_eq!(*packed.about(), 7);
        packed.unpack(&[to.clone(), dir.path().join("other")]).unwrap();
        let all = |root: &Path| -> Vec<_> {
            let entries = WalkDir::new(root).sort_by_file_name().into_iter().map(|e| e.unwrap());
            let facts = entries.map(|e| {
                let meta = e.path().symlink_metadata().unwrap();
                let text = std::fs::read(e.path()).ok().filter(|_| meta.is_file());
                let below = e.path().strip_prefix(root).unwrap().to_path_buf();
                (
                    below,
                    meta.mode(),
                    meta.mtime(),
                    meta.mtime_nsec(),
                    meta.is_dir() || meta.nlink() == 2,
                    text,
                )
            });
            facts.collect()
        };
        assert_eq!(all(&root), all(&to));
        assert!(!dir.path().join("other").exists());
    }

    #[test]
    fn damage_is_found() {
        let (dir, root) = tree();
        let good = std::fs::read(packed(&[root]).path()).unwrap();
        let path = dir.path().join("damaged");
        for at in 0..good.len() {
            let mut bytes = good.clone();
            bytes[at] ^= 1;
            std::fs::write(&path, bytes).unwrap();
            let to = tempfile::tempdir().unwrap();
            let opened = Packed::<u32>::open(File::open(&path).unwrap());
            assert!(opened.is_none_or(|packed| packed.unpack(&[to.path().join("x")]).is_err()), "byte {at}");
        }
        std::fs::write(&path, &good[..good.len() - 1]).unwrap();
        assert!(Packed::<u32>::open(File::open(&path).unwrap()).is_none());
    }

    #[test]
    fn what_cannot_be_packed_is_an_error() {
        let (_dir, root) = tree();
        nix::unistd::mkfifo(&root.join("pipe"), nix::sys::stat::Mode::S_IRUSR).unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(pack(file.as_file(), std::slice::from_ref(&root), &0_u32, 1 << 30).is_err());
        std::fs::remove_file(root.join("pipe")).unwrap();
        assert!(pack(file.as_file(), std::slice::from_ref(&root), &0_u32, 3).is_err(), "more than the limit");
        let full = File::options().write(true).open("/dev/full").unwrap();
        assert!(pack(&full, &[root], &0_u32, 1 << 30).is_err(), "no room");
    }
}
