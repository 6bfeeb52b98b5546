//! The fix on trial: whether it applies is told before anything is compiled.

use super::apply::apply_fix;
use super::patchfiles::touched_files;
use crate::error::{Context, Failure, PrepError, Result};
use crate::files::{self, SOURCE_LIMIT};
use crate::process::Tool;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// Applies `patches` to copies of the files that they name, and leaves `tree` as it is.
///
/// # Errors
/// As [`apply_fix`]. Where the source has already what the patch makes of it, the error says so.
pub(crate) fn try_fix(tree: &Path, patches: &[PathBuf], strip: u32) -> Result<()> {
    let copy = copy_of(tree, patches, strip)?;
    for (number, patch) in patches.iter().enumerate() {
        match apply_fix(copy.path(), std::slice::from_ref(patch), strip, false) {
            Err(Failure::Prep(PrepError::Rejected { patch, failed, is_applied, missing_with })) => {
                // The files as they were before this patch was half applied.
                let before = copy_of(tree, patches, strip)?;
                apply_fix(before.path(), &patches[..number], strip, false)?;
                let is_applied = is_applied || is_undone(before.path(), &patch, strip)?;
                return Err(PrepError::Rejected { patch, failed, is_applied, missing_with }.into());
            }
            other => other?,
        };
    }
    Ok(())
}

/// The files that the patches name, as far as they are there, in a folder of their own.
fn copy_of(tree: &Path, patches: &[PathBuf], strip: u32) -> Result<tempfile::TempDir> {
    let copy = tempfile::tempdir().what("temporary directory")?;
    for patch in patches {
        let named = touched_files(&files::read(patch, SOURCE_LIMIT).at(patch)?, strip);
        for name in named.old.iter().chain(&named.new) {
            let (from, to) = (tree.join(name), copy.path().join(name));
            let Ok(kind) = from.symlink_metadata().map(|m| m.file_type()) else { continue };
            if to.symlink_metadata().is_ok() || !kind.is_file() && !kind.is_symlink() {
                continue;
            }
            if let Some(folder) = to.parent() {
                std::fs::create_dir_all(folder).at(folder)?;
            }
            if kind.is_symlink() {
                // patch(1) does not write through it, here or there.
                let place = std::fs::read_link(&from).at(&from)?;
                symlink(place, &to).at(&to)?;
            } else {
                std::fs::copy(&from, &to).at(&from)?;
            }
        }
    }
    Ok(copy)
}

/// Could the patch be taken back here? Then the source has what it would make.
fn is_undone(tree: &Path, patch: &Path, strip: u32) -> Result<bool> {
    let out = Tool::new("patch")
        .args(["--dry-run", "--reverse", "--force", "--fuzz=0", "--reject-file=-"])
        .arg(format!("-p{strip}"))
        .arg("-i")
        .arg(patch)
        .dir(tree)
        .env("LC_ALL", "C")
        .output()?;
    Ok(out.status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "int a;\nint b;\nint c;\n";
    const NEW: &str = "int a;\nint new;\nint b;\nint c;\n";
    const FIX: &str = "--- a/src/x.c\n+++ b/src/x.c\n@@ -1,3 +1,4 @@\n int a;\n+int new;\n int b;\n int c;\n";
    const MORE: &str =
        "--- a/src/x.c\n+++ b/src/x.c\n@@ -1,3 +1,3 @@\n int a;\n-int new;\n+int newer;\n int b;\n";

    fn outcome(source: &str, patches: &[&str]) -> std::result::Result<(), String> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("src")).unwrap();
        std::fs::write(dir.path().join("src/x.c"), source).unwrap();
        let files: Vec<PathBuf> = (0..patches.len()).map(|i| dir.path().join(format!("{i}.patch"))).collect();
        files.iter().zip(patches).for_each(|(file, text)| std::fs::write(file, text).unwrap());
        let result = try_fix(dir.path(), &files, 1).map_err(|f| f.words().to_string());
        assert_eq!(std::fs::read_to_string(dir.path().join("src/x.c")).unwrap(), source);
        result
    }

    #[test]
    fn a_series_is_tried_and_the_tree_stays_as_it_is() {
        assert_eq!(outcome(OLD, &[FIX, MORE]), Ok(()));
    }

    #[test]
    fn what_is_there_already_is_told_from_what_does_not_fit() {
        let said = outcome(NEW, &[FIX]).unwrap_err();
        assert!(said.contains("applied already, or is the wrong way round"), "{said}");
        let said = outcome("int other;\n", &[FIX]).unwrap_err();
        assert!(said.contains("Hunk #1 FAILED") && !said.contains("already"), "{said}");
        // The second of two, after the first.
        let said = outcome(OLD, &[FIX, FIX]).unwrap_err();
        assert!(said.contains("1.patch does not apply: it is applied already"), "{said}");
    }
}
