//! Stock kernels for tests: fetched from the distribution's packages and unpacked, not installed, once a
//! machine.
//!
//! `scripts/kernel RELEASE` does it. A kernel's folder holds `vmlinuz`, `lib/modules/RELEASE`, the headers
//! package in `usr/src`, the source as `linux-source-*.tar.xz`, and `vmlinux`, which is unpacked here.

use crate::run::Cmd;
use anyhow::{Context, Result};
use std::collections::BTreeSet;
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
    let mut names: Vec<String> = std::fs::read_dir(folder())
        .into_iter()
        .flatten()
        .flatten()
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .filter(|n| n.starts_with(&format!("{series}.")) && folder().join(n).is_dir())
        .collect();
    names.sort_by_key(|n| numbers(n));
    for release in names.into_iter().rev() {
        if let Some(kernel) = at(&release)? {
            return Ok(Some(kernel));
        }
    }
    Ok(None)
}

/// The fetched kernel of a release, if it is there.
///
/// # Errors
/// When its image cannot be unpacked.
pub fn at(release: &str) -> Result<Option<Kernel>> {
    let dir = folder().join(release);
    if !dir.join("vmlinuz").is_file()
        || !dir.join("usr/src").join(format!("linux-headers-{release}")).is_dir()
    {
        return Ok(None);
    }
    let Some(source) = source(&dir)? else { return Ok(None) };
    let image = dir.join("vmlinux");
    if !image.is_file() {
        let data = packager::kernel_image(&dir.join("vmlinuz")).map_err(anyhow::Error::msg)?;
        let new = tempfile::NamedTempFile::new_in(&dir).context("folder of kernels")?;
        std::fs::write(new.path(), data)?;
        new.persist(&image)?;
    }
    Ok(Some(Kernel { release: release.to_owned(), dir, source }))
}

impl Kernel {
    /// A folder with these files of the source, unpacked once beside the kernel.
    ///
    /// # Errors
    /// When the source has no such file or cannot be unpacked.
    pub fn files(&self, wanted: impl Iterator<Item = PathBuf>) -> Result<PathBuf> {
        let dir = self.dir.join("touched");
        let missing: BTreeSet<PathBuf> = wanted.filter(|f| !dir.join(f).is_file()).collect();
        if !missing.is_empty() {
            std::fs::create_dir_all(&dir)?;
            let top = self.source.file_name().unwrap_or_default().to_string_lossy().replace(".tar.xz", "");
            let mut tar = Cmd::new("tar").arg("-xf").arg(&self.source).arg("-C").arg(&dir);
            tar = tar.arg("--strip-components=1");
            for file in &missing {
                tar = tar.arg(format!("{top}/{}", file.display()));
            }
            tar.run()?.ok().context("source of the kernel")?;
        }
        Ok(dir)
    }
}
