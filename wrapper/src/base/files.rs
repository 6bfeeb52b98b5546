//! Files that appear whole or not at all.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::base::error::{Error, IoContext, Result};

static COUNTER: AtomicU64 = AtomicU64::new(0);

/// A name that no other process or call uses; sorts by time.
pub(crate) fn unique() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    format!("{now:020}-{}-{}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed))
}

/// The temporary name beside a file: hidden, so that no reader of the directory takes it for a finished one.
fn temporary(path: &Path) -> PathBuf {
    path.with_file_name(format!(".tmp-{}", unique()))
}

/// Writes a file under a temporary name in its directory, then renames it.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let temporary = temporary(path);
    let written = File::create(&temporary).and_then(|mut file| file.write_all(bytes));
    written.and_then(|()| fs::rename(&temporary, path)).or_else(|error| {
        let _ = fs::remove_file(&temporary);
        Err(error).at("write", path)
    })
}

/// Copies a file under a temporary name, then renames it. An existing target is left as it is: such files are
/// named by their content.
pub(crate) fn copy_once(from: &Path, to: &Path) -> Result<()> {
    if to.exists() {
        return Ok(());
    }
    let temporary = temporary(to);
    fs::copy(from, &temporary).and_then(|_| fs::rename(&temporary, to)).or_else(|error| {
        let _ = fs::remove_file(&temporary);
        Err(error).at("write", to)
    })
}

pub(crate) fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let bytes = serde_json::to_vec(value).map_err(|error| Error::Format {
        path: path.to_path_buf(),
        what: "record",
        why: error.to_string(),
    })?;
    write(path, &bytes)
}

/// Every `*.json` of a directory in the order of names, which is that of time.
pub(crate) fn read_all<T: DeserializeOwned>(dir: &Path) -> Result<Vec<T>> {
    let mut paths = Vec::new();
    match fs::read_dir(dir) {
        Ok(entries) => {
            for entry in entries {
                let path = entry.at("read", dir)?.path();
                let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
                if !hidden && path.extension().is_some_and(|extension| extension == "json") {
                    paths.push(path);
                }
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).at("read", dir),
    }
    paths.sort();
    paths
        .into_iter()
        .map(|path| {
            let bytes = fs::read(&path).at("read", &path)?;
            serde_json::from_slice(&bytes).map_err(|error| Error::Format {
                path,
                what: "record",
                why: error.to_string(),
            })
        })
        .collect()
}

/// A file that is removed when the value goes out of scope.
#[derive(Debug)]
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    /// An empty file in the given directory, or in the system's if that has blanks, as one variable of gcc's
    /// splits at blanks, or cannot be written: a build may run its compiler in a sandbox or as another user.
    /// `None` if there is no such place.
    pub(crate) fn new(dir: &Path, stem: &str) -> Option<Self> {
        let system = std::env::var_os("TMPDIR").map(PathBuf::from);
        let name = format!("upatch-{stem}-{}", unique());
        [Some(dir.to_path_buf()), system, Some(PathBuf::from("/tmp"))]
            .into_iter()
            .flatten()
            .filter(|dir| dir.is_absolute() && !has_blank(dir))
            .map(|dir| dir.join(&name))
            .find(|path| File::create_new(path).is_ok())
            .map(Self)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

fn has_blank(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().iter().any(u8::is_ascii_whitespace)
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}
