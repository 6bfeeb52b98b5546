//! The user's own directory among the system's temporary files.

use crate::error::{Context, Result, ScratchError};
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
    match DirBuilder::new().mode(0o700).create(&dir) {
        Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => Err(e).at(&dir)?,
        _ => {}
    }
    let meta = std::fs::symlink_metadata(&dir).at(&dir)?;
    if !meta.is_dir() || meta.uid() != uid.as_raw() || meta.mode() & 0o022 != 0 {
        return Err(ScratchError::NotPrivate(dir).into());
    }
    Ok(dir)
}
