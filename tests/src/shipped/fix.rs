//! The fix: a patch of `debian/patches`, taken off.

use super::Entry;
use super::fetch::Fetched;
use crate::run::Cmd;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};

/// A fix, and what it is.
#[derive(Debug, Clone)]
pub(super) struct Fix {
    /// The patch that was taken off.
    pub(super) name: String,
    /// The diff that does so.
    pub(super) file: PathBuf,
}

/// Endings of source files.
const CODE: [&str; 9] = [".c", ".h", ".cc", ".cpp", ".cxx", ".hpp", ".hh", ".y", ".l"];
/// Folders with what is not shipped.
const OTHER: [&str; 7] = ["test", "tests", "testsuite", "t", "doc", "examples", "fuzz"];

/// The fixes to try, the newest first.
pub(super) fn fixes(entry: &Entry, fetched: &Fetched) -> Result<Vec<Fix>> {
    let dir = fetched.place.join("fixes");
    fs::create_dir_all(&dir)?;
    if let Some(edit) = &entry.edit {
        let file = dir.join("own.patch");
        let made = difference(&fetched.source, &dir, &file, |copy| {
            let path = copy.join(&edit.file);
            let old = fs::read_to_string(&path).with_context(|| edit.file.clone())?;
            ensure!(old.contains(&edit.from), "{} does not hold {:?}", edit.file, edit.from);
            fs::write(path, old.replacen(&edit.from, &edit.to, 1))?;
            Ok(true)
        })?;
        ensure!(made, "no fix");
        return Ok(vec![Fix { name: "an edit".into(), file }]);
    }
    let patches = fetched.source.join("debian/patches");
    let series = fs::read_to_string(patches.join("series")).unwrap_or_default();
    let names =
        series.lines().rev().filter_map(|l| l.split_whitespace().next()).filter(|n| !n.starts_with('#'));
    let mut fixes = Vec::new();
    for name in names.filter(|n| entry.patch.as_ref().is_none_or(|wanted| wanted == n)) {
        let patch = patches.join(name);
        let text = String::from_utf8_lossy(&fs::read(&patch).with_context(|| name.to_owned())?).into_owned();
        if !changes_code(&text) {
            continue;
        }
        let file = dir.join(format!("{:02}.patch", fixes.len()));
        if take_off(&fetched.source, &patch, &dir, &file)? {
            fixes.push(Fix { name: name.to_owned(), file });
        }
        if fixes.len() == 3 {
            break;
        }
    }
    Ok(fixes)
}

/// Does a diff change source files that may be shipped?
fn changes_code(diff: &str) -> bool {
    diff.lines().filter_map(|l| l.strip_prefix("+++ ")).any(|line| {
        let path = line.split_whitespace().next().unwrap_or_default();
        let shipped = !path.split('/').any(|folder| OTHER.contains(&folder));
        shipped && CODE.iter().any(|ending| path.ends_with(ending))
    })
}

/// Writes the diff that takes a patch off the tree. False where later patches are in its way.
fn take_off(source: &Path, patch: &Path, dir: &Path, diff: &Path) -> Result<bool> {
    difference(source, dir, diff, |copy| {
        let options = ["-R", "-p1", "-s", "-f", "--no-backup-if-mismatch", "-i"];
        Ok(Cmd::new("patch").args(options).arg(patch).dir(copy).run()?.code == 0)
    })
}

/// Writes the difference that a change makes to the tree, if it can be made.
fn difference(
    source: &Path,
    dir: &Path,
    diff: &Path,
    change: impl FnOnce(&Path) -> Result<bool>,
) -> Result<bool> {
    let (a, b) = (dir.join("a"), dir.join("b"));
    std::os::unix::fs::symlink(source, &a)?;
    Cmd::new("cp").arg("-a").args([source, b.as_path()]).run()?.ok()?;
    let made = change(&b)?;
    if made {
        let made = Cmd::new("diff").args(["-ruN", "a", "b"]).dir(dir).run()?.expect_code(&[0, 1])?;
        fs::write(diff, made.stdout)?;
    }
    fs::remove_dir_all(&b)?;
    fs::remove_file(&a)?;
    Ok(made)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_of_tests_and_documentation_changes_no_code() {
        assert!(changes_code("--- a/src/x.c\n+++ b/src/x.c\t2024\n"));
        assert!(!changes_code("--- a/tests/x.c\n+++ b/tests/x.c\n--- a/x.1\n+++ b/x.1\n"));
    }
}
