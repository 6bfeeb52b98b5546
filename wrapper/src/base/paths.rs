//! File names as bytes.

use records::OsBytes;
use std::path::{Path, PathBuf};

/// A file's name without its folder.
pub(crate) fn base_name(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or_default()
}

/// The absolute path of a name below a directory.
pub(crate) fn below(cwd: &Path, name: &[u8]) -> PathBuf {
    cwd.join(OsBytes::from(name).as_path())
}
