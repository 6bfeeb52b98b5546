//! A source tree: copied, never touched.

use crate::elf;
use crate::error::{Context, Result, SourceError};
use crate::files;
use crate::process::Tool;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use walkdir::WalkDir;

/// A source tree with the commands that build it.
#[derive(Clone, Debug)]
pub(crate) struct TreeSource {
    /// The tree.
    pub dir: PathBuf,
    /// Name of the tree's directory, which stands for the package's name.
    pub name: String,
    /// Shell command that builds it.
    pub build: String,
    /// Shell command that prepares it.
    pub prepare: Option<String>,
}

impl TreeSource {
    /// Copies the tree to `to`. Objects, archives and programs that an earlier build left there are left out,
    /// unless git tracks them: make would take them for up to date, and nothing could be recorded. Gives how
    /// many were left out.
    ///
    /// # Errors
    /// When something cannot be read or written.
    pub(crate) fn copy(&self, to: &Path) -> Result<usize> {
        let parent = to.parent().unwrap_or(Path::new("/"));
        std::fs::create_dir_all(parent).at(parent)?;
        Tool::new("cp")
            .args(["-a", "--reflink=auto", "--"])
            // The folder itself may be there already.
            .arg(self.dir.join("."))
            .arg(to)
            .check()
            .map_err(|e| SourceError::Copy { dir: self.dir.clone(), source: e.into() })?;
        let tracked = self.tracked();
        let mut removed = 0;
        for entry in WalkDir::new(to).into_iter().flatten() {
            let path = entry.path();
            let name = path.strip_prefix(to).unwrap_or(path);
            if name.starts_with(".git") || !entry.file_type().is_file() || tracked.contains(name) {
                continue;
            }
            let libtool = path.extension().is_some_and(|e| e == "lo" || e == "la");
            if libtool || is_product(path) {
                std::fs::remove_file(path).at(path)?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// Files that git tracks; empty where git does not answer.
    fn tracked(&self) -> HashSet<PathBuf> {
        use std::os::unix::ffi::OsStringExt;
        if !self.dir.join(".git").exists() {
            return HashSet::new();
        }
        let Ok(out) = Tool::new("git")
            .env("GIT_OPTIONAL_LOCKS", "0")
            .arg("-C")
            .arg(&self.dir)
            .args(["ls-files", "-z"])
            .output()
        else {
            return HashSet::new();
        };
        let names = out.stdout.split(|b| *b == 0).filter(|n| !n.is_empty());
        names.map(|n| PathBuf::from(std::ffi::OsString::from_vec(n.to_vec()))).collect()
    }
}

fn is_product(path: &Path) -> bool {
    elf::is_build_product(&files::head::<24>(path))
}
