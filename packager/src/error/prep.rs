//! Errors of applying the fix.

use super::{Worded, Words};
use patchfile::exit::BuildExit;
use std::path::{Path, PathBuf};

/// Why the fix does not go on the sources.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.words())]
pub(crate) enum PrepError {
    /// A file with nothing in it.
    Empty(PathBuf),
    /// A file that holds no diff.
    NoDiff(PathBuf),
    /// patch(1) rejects it.
    Rejected {
        /// The patch.
        patch: PathBuf,
        /// Hunks that fail, and files that are missing.
        failed: Vec<String>,
        /// Is the fix in the sources already?
        is_applied: bool,
        /// Directory names that were stripped, if files are not there.
        missing_with: Option<u32>,
    },
    /// Nowhere to apply it.
    NoTree,
    /// The hook of rpmbuild, which is another process, met an error; what that process said.
    Hook {
        /// What could not be done.
        what: String,
        /// Why not.
        why: String,
        /// What to do.
        hints: Vec<String>,
    },
}

impl Worded for PrepError {
    fn words(&self) -> Words {
        match self {
            Self::Empty(patch) => does_not_apply(patch, "the file is empty"),
            Self::NoDiff(patch) => does_not_apply(patch, "it holds no unified diff")
                .hint("the fix must be a unified diff (diff -u, git diff, git format-patch)"),
            Self::Rejected { patch, is_applied: true, .. } => does_not_apply(
                patch,
                "it is applied already, or is the wrong way round",
            )
            .hint("the source of the package has already what the patch makes of it")
            .hint("if the fix is not in the package, the diff was made from new to old: diff -u OLD NEW"),
            Self::Rejected { patch, failed, missing_with, .. } => {
                let mut words = does_not_apply(patch, &failed.join("; "));
                if let Some(strip) = missing_with {
                    let level =
                        format!("file names are taken with -p{strip}; use --strip N for another level");
                    let parts = "leave out the parts of the fix for files that the package does not ship, \
                                 such as tests";
                    words = words.hint(level).hint(parts);
                }
                words.hint(
                    "the fix is applied after the package's own patches, and must match its source without \
                     fuzz",
                )
            }
            Self::NoTree => Words::failed("no source tree", "%prep left none"),
            Self::Hook { what, why, hints } => {
                let mut words = Words::new(BuildExit::PatchedBuild, what, why);
                words.hints.clone_from(hints);
                words
            }
        }
    }
}

fn does_not_apply(patch: &Path, why: &str) -> Words {
    let name = patch.file_name().unwrap_or(patch.as_os_str()).to_string_lossy();
    Words::new(BuildExit::PatchedBuild, format!("patch {name} does not apply"), why)
}
