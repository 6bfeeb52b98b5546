//! Has a source tree changed?

use crate::elf::is_build_product;
use crate::files;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use walkdir::WalkDir;

/// The files of a tree and of a fix: length and time (seconds, nanoseconds) of each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct State(BTreeMap<PathBuf, (u64, i64, i64)>);

impl State {
    /// Looks at all files below `tree`, but for git's own and what editors leave, and at `others`.
    pub(super) fn of(tree: &Path, others: &[PathBuf]) -> Self {
        let walk =
            WalkDir::new(tree).into_iter().filter_entry(|e| e.depth() == 0 || !is_passing(e.file_name()));
        let paths = walk.flatten().filter(|e| e.file_type().is_file()).map(walkdir::DirEntry::into_path);
        let stamp = |path: PathBuf| {
            let meta = path.symlink_metadata().ok()?;
            Some((path, (meta.len(), meta.mtime(), meta.mtime_nsec())))
        };
        Self(paths.chain(others.iter().cloned()).filter_map(stamp).collect())
    }

    /// Files that are other ones than in `before`, or are new or gone. What a compiler or linker made does
    /// not count: the builds run on copies.
    pub(super) fn changed_since(&self, before: &Self) -> Vec<PathBuf> {
        let other = self.0.iter().filter(|(path, stamp)| before.0.get(*path) != Some(stamp)).map(|(p, _)| p);
        let gone = before.0.keys().filter(|path| !self.0.contains_key(*path));
        other.chain(gone).filter(|path| !is_made(path)).cloned().collect()
    }
}

fn is_passing(name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    name.starts_with(b".") || name.ends_with(b"~") || name.starts_with(b"#") || name.ends_with(b".swp")
}

fn is_made(path: &Path) -> bool {
    let ending = path.extension().and_then(OsStr::to_str).unwrap_or_default();
    ["o", "lo", "la", "a", "so", "d", "gcno", "gcda"].contains(&ending)
        || is_build_product(&files::head::<24>(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_count_and_what_is_made_of_them_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let (tree, fix) = (dir.path().join("tree"), dir.path().join("fix"));
        std::fs::create_dir_all(tree.join(".git")).unwrap();
        let write = |path: &Path, text: &str| std::fs::write(path, text).unwrap();
        write(&tree.join("x.c"), "int x;\n");
        write(&fix, "1");
        let look = || State::of(&tree, std::slice::from_ref(&fix));
        let before = look();
        for name in ["x.o", ".git/index", ".x.c.swp", "x.c~"] {
            write(&tree.join(name), "made");
        }
        std::fs::copy("/proc/self/exe", tree.join("program")).unwrap();
        assert_eq!(look().changed_since(&before), Vec::<PathBuf>::new());
        write(&tree.join("x.c"), "int x, y;\n");
        write(&fix, "12");
        assert_eq!(look().changed_since(&before), [fix.clone(), tree.join("x.c")]);
        let before = look();
        std::fs::remove_file(tree.join("x.c")).unwrap();
        assert_eq!(look().changed_since(&before), [tree.join("x.c")]);
    }
}
