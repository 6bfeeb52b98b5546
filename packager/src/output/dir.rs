//! Results appear in `--output` whole or not at all.

use super::report::readable;
use crate::error::{Context, OutputError, Result};
use crate::process::{HalfMade, check_stopped, undisturbed};
use patchfile::manifest::Package;
use patchfile::{Manifest, paths};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Results that are being made, in a hidden directory inside `--output` so that a rename is enough in the
/// end.
#[derive(Debug)]
pub(crate) struct Staged {
    dir: TempDir,
    /// Gone too where a signal ends us.
    _half_made: HalfMade,
    output: PathBuf,
    names: Vec<String>,
}

impl Staged {
    /// Starts.
    ///
    /// # Errors
    /// When nothing can be written to `output`.
    pub(crate) fn new(output: &Path) -> Result<Self> {
        std::fs::create_dir_all(output).option("--output", output)?;
        let dir =
            tempfile::Builder::new().prefix(".upatch-").tempdir_in(output).option("--output", output)?;
        let half_made = HalfMade::new(dir.path());
        Ok(Self { dir, _half_made: half_made, output: output.to_path_buf(), names: Vec::new() })
    }

    /// Writes the patch directory; gives its place until it is published.
    ///
    /// # Errors
    /// When it cannot be written, for example for lack of space.
    pub(crate) fn patch_directory(
        &mut self,
        manifest: &Manifest,
        images: &[(String, Vec<u8>)],
    ) -> Result<PathBuf> {
        let dir = self.dir.path().join(&manifest.name);
        std::fs::create_dir(&dir).at(&dir)?;
        readable(&dir)?;
        let text = manifest.text().what("manifest")?;
        let mut files: Vec<(&str, &[u8])> = images.iter().map(|(n, d)| (n.as_str(), d.as_slice())).collect();
        files.push((paths::MANIFEST, text.as_bytes()));
        for (name, data) in files {
            let path = dir.join(name);
            std::fs::write(&path, data).writing(Path::new(&name))?;
            readable(&path)?;
        }
        self.names.push(manifest.name.clone());
        Ok(dir)
    }

    /// Takes in a finished file.
    ///
    /// # Errors
    /// When it cannot be copied.
    pub(crate) fn file(&mut self, path: &Path) -> Result<()> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let to = self.dir.path().join(&name);
        std::fs::copy(path, &to).writing(Path::new(&name))?;
        readable(&to)?;
        self.names.push(name);
        Ok(())
    }
}

/// Makes sure that nobody else's patch is in the way of one of this name. An earlier one of the same package
/// is replaced.
///
/// # Errors
/// When `output` holds a patch of that name for another package.
pub(crate) fn is_free(output: &Path, name: &str, package: &Package) -> Result<()> {
    let dir = output.join(name);
    let text = std::fs::read_to_string(dir.join(paths::MANIFEST)).unwrap_or_default();
    match Manifest::parse(&text) {
        Ok(other) if other.package != *package => {
            Err(OutputError::Taken { dir, package: other.package.nvr() }.into())
        }
        _ => Ok(()),
    }
}

/// Moves everything to its final place; gives the names. What an earlier run left under the same names is
/// replaced.
///
/// # Errors
/// When renaming fails.
pub(crate) fn publish(staged: Staged) -> Result<Vec<String>> {
    let _whole = undisturbed();
    check_stopped()?;
    for name in &staged.names {
        let from = staged.dir.path().join(name);
        let to = staged.output.join(name);
        if to.is_dir() {
            // A directory cannot be renamed over another one that is not empty.
            let old = staged.dir.path().join(format!("{name}.replaced"));
            std::fs::rename(&to, &old).writing(&to)?;
        }
        std::fs::rename(&from, &to).writing(&to)?;
    }
    Ok(staged.names.clone())
}
