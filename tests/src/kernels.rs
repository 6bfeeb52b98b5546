//! Stock kernels for tests: fetched from the distribution's packages and unpacked, not installed, once a
//! machine.
//!
//! `scripts/kernel RELEASE` does it. A kernel's folder holds `vmlinuz`, `lib/modules/RELEASE`, the headers
//! package in `usr/src`, the source as `linux-source-*.tar.xz`, and `vmlinux`, which is unpacked here.

use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

/// A kernel that tests run on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// `uname -r`
    pub release: String,
    /// Its folder.
    pub dir: PathBuf,
    /// The archive of its source.
    pub source: PathBuf,
}

/// Where they are: `$UPATCH_KERNELS`, or beside the store of units.
pub fn folder() -> PathBuf {
    if let Some(dir) = std::env::var_os("UPATCH_KERNELS").filter(|d| !d.is_empty()) {
        return PathBuf::from(dir);
    }
    let cache = std::env::var_os("XDG_CACHE_HOME").filter(|d| !d.is_empty()).map(PathBuf::from);
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_else(|| "/root".into())).join(".cache");
    cache.unwrap_or_else(home).join("upatch-kernels")
}

/// The numbers of a release, for putting releases in order.
fn numbers(release: &str) -> Vec<u32> {
    release.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse().ok()).collect()
}

/// The archive of the source in a kernel's folder.
///
/// # Errors
/// When the folder cannot be read.
pub fn source(kernel: &Path) -> Result<Option<PathBuf>> {
    let files = std::fs::read_dir(kernel).context("folder of a kernel")?.flatten().map(|e| e.path());
    let is_source =
        |p: &PathBuf| p.file_name().is_some_and(|n| n.to_string_lossy().starts_with("linux-source-"));
    Ok(files.filter(is_source).find(|p| p.is_file()))
}

/// The fetched kernel of a series (`6.1`, `6.12`), if there is one.
///
/// # Errors
/// When its image cannot be unpacked.
pub fn fetched(series: &str) -> Result<Option<Kernel>> {
    let base = folder();
    let mut names: Vec<String> = std::fs::read_dir(&base)
        .into_iter()
        .flatten()
        .flatten()
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .filter(|n| n.starts_with(&format!("{series}.")) && base.join(n).is_dir())
        .collect();
    names.sort_by_key(|n| numbers(n));
    for release in names.into_iter().rev() {
        let dir = base.join(&release);
        let Some(source) = source(&dir)? else { continue };
        if !dir.join("vmlinuz").is_file()
            || !dir.join("usr/src").join(format!("linux-headers-{release}")).is_dir()
        {
            continue;
        }
        let image = dir.join("vmlinux");
        if !image.is_file() {
            let data = packager::kernel_image(&dir.join("vmlinuz")).map_err(anyhow::Error::msg)?;
            let new = tempfile::NamedTempFile::new_in(&dir).context("folder of kernels")?;
            std::fs::write(new.path(), data)?;
            new.persist(&image)?;
        }
        return Ok(Some(Kernel { release, dir, source }));
    }
    Ok(None)
}
