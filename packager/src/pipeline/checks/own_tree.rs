//! A build that works in the user's own source tree, in place of the copy that the fix is applied to.
//!
//! A tree that is configured already holds its own path: some builds (out of `VPATH`, or with `cp
//! $(TOP)/src/x.c .`) read the sources from there. Such a build does not see the fix, or sees half of it.
//! What a compiler reads is recorded; what `cp` or a generator reads is not, so a build that comes to nothing
//! is asked whether it names the tree at all.

use crate::error::{BuildError, OtherTree};
use crate::files::plain;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use wrapper::Records;

/// Options whose value, joined or next, is something to read.
const READS: [&[u8]; 6] = [b"-I", b"-isystem", b"-iquote", b"-idirafter", b"-include", b"-L"];

/// The user's tree, and what there does not belong to it.
#[derive(Debug)]
pub(in crate::pipeline) struct OwnTree {
    dir: PathBuf,
    scratch: Vec<PathBuf>,
}

impl OwnTree {
    /// The tree at `dir`, which the folders of the run may be in.
    pub(in crate::pipeline) fn new(dir: &Path, scratch: &[&Path]) -> Self {
        let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
        Self { dir: real(dir), scratch: scratch.iter().map(|dir| real(dir)).collect() }
    }

    /// The error where a compiler read one of `files`, which the fix changes (relative to the top), in the
    /// tree and not in the copy.
    pub(in crate::pipeline) fn unfixed(&self, patched: &Records, files: &[PathBuf]) -> Option<BuildError> {
        let inputs = patched.units.iter().flat_map(|unit| &unit.deps);
        // A diff of git names files from the top of the repository, which the tree may be below.
        let is_fixed = |name: &PathBuf| {
            files.iter().any(|f| f == name || f.ends_with(name) && !self.dir.join(f).exists())
        };
        let read = inputs.filter_map(|dep| self.within(dep.path.as_path())).find(is_fixed)?;
        Some(self.error(OtherTree::Read(self.dir.join(read))))
    }

    /// The error where a compiler was told to look for something in the tree.
    pub(in crate::pipeline) fn named(&self, patched: &Records) -> Option<BuildError> {
        let found = patched.units.iter().find_map(|unit| {
            let mut next_is_read = false;
            let argument = unit.expanded_argv.iter().map(|a| a.as_bytes()).find(|argument| {
                let joined = READS.iter().find_map(|option| argument.strip_prefix(*option));
                let path = joined.filter(|rest| !rest.is_empty()).unwrap_or(argument);
                let is_read = next_is_read || joined.is_some() || !argument.starts_with(b"-");
                next_is_read = joined.is_some_and(<[u8]>::is_empty);
                is_read && self.within(Path::new(OsStr::from_bytes(path))).is_some()
            })?;
            let argument = String::from_utf8_lossy(argument).into_owned();
            Some(OtherTree::Named { source: unit.source.to_string_lossy(), argument })
        });
        found.map(|by| self.error(by))
    }

    fn error(&self, by: OtherTree) -> BuildError {
        BuildError::OwnTree { dir: self.dir.clone(), by }
    }

    /// The path relative to the tree, if it is in it.
    fn within(&self, path: &Path) -> Option<PathBuf> {
        let plain = plain(path);
        if self.scratch.iter().any(|dir| plain.starts_with(dir)) {
            return None;
        }
        plain.strip_prefix(&self.dir).ok().map(Path::to_path_buf)
    }
}
