//! The user's own directory among the system's temporary files.

use crate::error::{Context, Failure, Result};
use std::fs::DirBuilder;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::PathBuf;

/// Its name among the temporary files.
pub(crate) fn private_name() -> String {
    format!("upatch-{}", nix::unistd::geteuid())
}

/// `$TMPDIR/upatch-UID`, for nobody else: others may neither plant files in it nor read ours.
pub(crate) fn private_directory() -> Result<PathBuf> {
    let uid = nix::unistd::geteuid();
    let dir = std::env::temp_dir().join(private_name());
    let what = || dir.display().to_string();
    match DirBuilder::new().mode(0o700).create(&dir) {
        Ok(()) => {}
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
        Err(e) => return Err(Failure::failed(what(), e)),
    }
    let meta = std::fs::symlink_metadata(&dir).what(what())?;
    if !meta.is_dir() || meta.uid() != uid.as_raw() || meta.mode() & 0o022 != 0 {
        return Err(Failure::failed(what(), "is not a directory that only this user can write to")
            .hint("remove it, or give another place with --workdir"));
    }
    Ok(dir)
}
