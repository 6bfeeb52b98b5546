//! A source RPM.

use crate::error::{Context, Failure, Result};
use crate::process::Tool;
use std::path::{Path, PathBuf};

/// Unpacks it into `dir`; gives the spec file in it.
///
/// # Errors
/// When it is no source RPM, or holds no spec file or several.
pub(crate) fn unpack(srpm: &Path, dir: &Path) -> Result<PathBuf> {
    std::fs::create_dir_all(dir).what(dir.display().to_string())?;
    extract(srpm, dir)?;
    let mut specs = Vec::new();
    for entry in std::fs::read_dir(dir).what(dir.display().to_string())? {
        let path = entry.what(dir.display().to_string())?.path();
        if path.extension().is_some_and(|e| e == "spec") {
            specs.push(path);
        }
    }
    let what = || format!("--srpm {}", srpm.display());
    match specs.len() {
        1 => Ok(specs.remove(0)),
        0 => Err(Failure::failed(what(), "holds no spec file, hence is no source RPM")),
        _ => Err(Failure::failed(what(), "holds several spec files")),
    }
}

/// Unpacks the files of any RPM into `dir`.
///
/// # Errors
/// When it is no RPM.
pub(crate) fn extract(rpm: &Path, dir: &Path) -> Result<()> {
    std::fs::create_dir_all(dir).what(dir.display().to_string())?;
    let payload = dir.with_extension("cpio");
    let out = std::fs::File::create(&payload).what(payload.display().to_string())?;
    let result = Tool::new("rpm2cpio").arg(rpm).into_file(out)?;
    if !result.status.success() {
        let _ = std::fs::remove_file(&payload);
        return Err(Failure::failed(format!("{}: not an RPM", rpm.display()), result.message()));
    }
    let unpacked = Tool::new("cpio")
        .args(["-idmu", "--quiet", "--no-absolute-filenames", "--no-preserve-owner"])
        .dir(dir)
        .stdin(&payload)?
        .output()?;
    let _ = std::fs::remove_file(&payload);
    if !unpacked.status.success() {
        return Err(Failure::failed(format!("{}: cannot be unpacked", rpm.display()), unpacked.message()));
    }
    Ok(())
}
