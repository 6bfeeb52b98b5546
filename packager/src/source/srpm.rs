//! A source RPM.

use crate::error::{Context, Result, SourceError};
use crate::process::Tool;
use std::path::{Path, PathBuf};

/// Unpacks it into `dir`; gives the spec file in it.
///
/// # Errors
/// When it is no source RPM, or holds no spec file or several.
pub(crate) fn unpack(srpm: &Path, dir: &Path) -> Result<PathBuf> {
    std::fs::create_dir_all(dir).at(dir)?;
    extract(srpm, dir)?;
    let mut specs = Vec::new();
    for entry in std::fs::read_dir(dir).at(dir)? {
        let path = entry.at(dir)?.path();
        if path.extension().is_some_and(|e| e == "spec") {
            specs.push(path);
        }
    }
    match specs.len() {
        1 => Ok(specs.remove(0)),
        0 => Err(SourceError::NoSpec(srpm.to_path_buf()).into()),
        _ => Err(SourceError::SeveralSpecs(srpm.to_path_buf()).into()),
    }
}

/// Unpacks the files of any RPM into `dir`.
///
/// # Errors
/// When it is no RPM.
pub(crate) fn extract(rpm: &Path, dir: &Path) -> Result<()> {
    std::fs::create_dir_all(dir).at(dir)?;
    let payload = dir.with_extension("cpio");
    let out = std::fs::File::create(&payload).at(&payload)?;
    let result = Tool::new("rpm2cpio").arg(rpm).into_file(out)?;
    if !result.status.success() {
        let _ = std::fs::remove_file(&payload);
        return Err(SourceError::NoRpm { path: rpm.to_path_buf(), said: result.message() }.into());
    }
    let unpacked = Tool::new("cpio")
        .args(["-idmu", "--quiet", "--no-absolute-filenames", "--no-preserve-owner"])
        .dir(dir)
        .stdin(&payload)?
        .output()?;
    let _ = std::fs::remove_file(&payload);
    if !unpacked.status.success() {
        return Err(SourceError::Unpack { path: rpm.to_path_buf(), said: unpacked.message() }.into());
    }
    Ok(())
}
