//! SHA-256 of files, remembered for the whole session so that a system header is read once and not a thousand
//! times.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use sha2::{Digest, Sha256};

use crate::base::error::{IoContext, Result};
use crate::base::streams;
use records::hex::to_hex;

/// SHA-256 of bytes, in hexadecimal.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    to_hex(&Sha256::digest(bytes))
}

/// SHA-256 of a file's contents.
///
/// # Errors
/// If the file cannot be read, or is none that can be read twice.
pub(crate) fn sha256_file(path: &Path) -> Result<String> {
    if streams::is_stream(path) {
        return Err(std::io::Error::from(std::io::ErrorKind::InvalidInput)).at("read", path);
    }
    let mut file = File::open(path).at("read", path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0_u8; 128 * 1024];
    loop {
        let count = file.read(&mut buffer).at("read", path)?;
        if count == 0 {
            return Ok(to_hex(&hasher.finalize()));
        }
        hasher.update(&buffer[..count]);
    }
}

/// Hash of several fields in which the fields' borders count.
#[derive(Debug)]
pub(crate) struct KeyHasher(Sha256);

impl KeyHasher {
    pub(crate) fn new(domain: &str) -> Self {
        let mut hasher = Self(Sha256::new());
        hasher.field(domain.as_bytes());
        hasher
    }

    pub(crate) fn field(&mut self, bytes: &[u8]) {
        self.0.update((bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
    }

    pub(crate) fn finish(self) -> String {
        to_hex(&self.0.finalize())
    }
}

/// What must be equal for two looks at a file to mean the same contents: (device, inode, size, mtime, ctime;
/// ns). The change time cannot be set back by `touch -d`.
type Identity = (u64, u64, u64, i64, i64);

fn identity(meta: &fs::Metadata) -> Identity {
    let ns = |seconds: i64, ns: i64| seconds.wrapping_mul(1_000_000_000).wrapping_add(ns);
    (
        meta.dev(),
        meta.ino(),
        meta.size(),
        ns(meta.mtime(), meta.mtime_nsec()),
        ns(meta.ctime(), meta.ctime_nsec()),
    )
}

/// A file changed less than this ago is hashed but not remembered: a second change might fall into the same
/// tick of the file system's clock.
const SETTLED_NS: i64 = 2_000_000_000;

/// The session-wide memory of file hashes: one append-only text file. Lines are short and each is written
/// with one call, so parallel writers do not mix; a torn line does not parse and is skipped.
#[derive(Debug, Default)]
pub(crate) struct Memo {
    file: Option<PathBuf>,
    known: HashMap<Identity, String>,
    fresh: String,
}

impl Memo {
    pub(crate) fn open(file: &Path) -> Self {
        let mut memo = Self { file: Some(file.to_path_buf()), ..Self::default() };
        if let Ok(text) = fs::read(file) {
            for line in text.split(|byte| *byte == b'\n') {
                if let Some((identity, sha256)) = std::str::from_utf8(line).ok().and_then(parse_line) {
                    memo.known.insert(identity, sha256);
                }
            }
        }
        memo
    }

    /// SHA-256 of the file, from memory if it has not changed.
    pub(crate) fn sha256(&mut self, path: &Path) -> Result<String> {
        let meta = fs::metadata(path).at("read", path)?;
        let identity = identity(&meta);
        if let Some(known) = self.known.get(&identity) {
            return Ok(known.clone());
        }
        let hash = sha256_file(path)?;
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| i64::try_from(since.as_nanos()).unwrap_or(i64::MAX));
        // The file may have been written while it was read: remember only what was the same before and after.
        let after = fs::metadata(path).at("read", path)?;
        if identity == self::identity(&after) && identity.4.saturating_add(SETTLED_NS) < now {
            let (dev, ino, size, mtime, ctime) = identity;
            self.fresh.push_str(&format!("{dev:x} {ino:x} {size:x} {mtime} {ctime} {hash}\n"));
            self.known.insert(identity, hash.clone());
        }
        Ok(hash)
    }

    /// Writes what was learnt. Failure is harmless: it is only learnt again.
    pub(crate) fn save(&mut self) {
        if let (Some(file), false) = (&self.file, self.fresh.is_empty())
            && let Ok(mut out) = OpenOptions::new().append(true).create(true).open(file)
        {
            // A leading newline ends what a killed writer may have left unfinished.
            let _ = out.write_all(format!("\n{}", self.fresh).as_bytes());
            self.fresh.clear();
        }
    }
}

fn parse_line(line: &str) -> Option<(Identity, String)> {
    let mut words = line.split(' ');
    let mut hex = || u64::from_str_radix(words.next()?, 16).ok();
    let (dev, ino, size) = (hex()?, hex()?, hex()?);
    let mtime = words.next()?.parse().ok()?;
    let ctime = words.next()?.parse().ok()?;
    let hash = words.next()?;
    (hash.len() == 64 && words.next().is_none()).then(|| ((dev, ino, size, mtime, ctime), hash.to_owned()))
}
