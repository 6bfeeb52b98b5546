//! Packages that a kernel or its headers come in.

use crate::error::{Context, KernelError, Result};
use crate::files;
use crate::process::Tool;
use crate::source::extract;
use std::path::{Path, PathBuf};

/// What a file or directory that the user names is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Given {
    /// A directory, or what a package holds.
    Root(PathBuf),
    /// Some other file.
    File(PathBuf),
}

/// Unpacks a package below `dir`; leaves anything else where it is.
///
/// # Errors
/// When a package cannot be unpacked.
pub(super) fn open(path: &Path, dir: &Path) -> Result<Given> {
    if path.is_dir() {
        return Ok(Given::Root(path.to_path_buf()));
    }
    let head = files::head::<8>(path);
    if head.starts_with(&[0xed, 0xab, 0xee, 0xdb]) {
        extract(path, dir)?;
        return Ok(Given::Root(dir.to_path_buf()));
    }
    if head == b"!<arch>\n" {
        std::fs::create_dir_all(dir).at(dir)?;
        let out = Tool::new("dpkg-deb").arg("-x").arg(path).arg(dir).output()?;
        if !out.status.success() {
            return Err(KernelError::Package { path: path.to_path_buf(), said: out.message() }.into());
        }
        return Ok(Given::Root(dir.to_path_buf()));
    }
    Ok(Given::File(path.to_path_buf()))
}
