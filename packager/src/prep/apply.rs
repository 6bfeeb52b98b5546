//! Applying the fix with patch(1).

use super::lines::keep_line_numbers;
use super::patchfiles::{PatchFiles, touched_files};
use crate::error::{Context, PrepError, Result};
use crate::files::{self, SOURCE_LIMIT};
use crate::process::Tool;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What applying did.
#[derive(Clone, Debug, Default)]
pub(crate) struct Applied {
    /// Files changed, added or removed, relative to the tree.
    pub files: Vec<PathBuf>,
    /// How many of them got `#line` directives.
    pub renumbered: usize,
}

/// The directory that the patches fit: the first of `candidates` that holds every file that they change.
pub(crate) fn tree_for(candidates: &[PathBuf], patches: &[PathBuf], strip: u32) -> Option<PathBuf> {
    let needed: Vec<PatchFiles> = patches
        .iter()
        .filter_map(|p| files::read(p, SOURCE_LIMIT).ok())
        .map(|d| touched_files(&d, strip))
        .collect();
    let fits = |dir: &PathBuf| {
        // A later patch may change what an earlier one adds.
        let mut added: Vec<&PathBuf> = Vec::new();
        needed.iter().all(|f| {
            let is_there = |name: &PathBuf| added.contains(&name) || dir.join(name).is_file();
            let all = f.either.iter().all(|names| names.iter().any(is_there));
            added.extend(&f.new);
            all
        })
    };
    candidates.iter().find(|d| fits(d)).or(candidates.first()).cloned()
}

/// Applies `patches` in order to `tree`, then puts in `#line` directives if `numbered`. No fuzz, as rpmbuild:
/// a hunk that only nearly fits may end up in the wrong function.
///
/// # Errors
/// Exit code 6 with the hunk named, when a patch does not apply.
pub(crate) fn apply_fix(tree: &Path, patches: &[PathBuf], strip: u32, numbered: bool) -> Result<Applied> {
    let mut before: BTreeMap<PathBuf, Option<Vec<u8>>> = BTreeMap::new();
    for patch in patches {
        let diff = files::read(patch, SOURCE_LIMIT).at(patch)?;
        let named = touched_files(&diff, strip);
        if named.old.is_empty() && named.new.is_empty() {
            return Err(PrepError::NoDiff(patch.clone()).into());
        }
        for name in named.old.iter().chain(&named.new) {
            before.entry(name.clone()).or_insert_with(|| files::read(&tree.join(name), SOURCE_LIMIT).ok());
        }
        run_patch(tree, patch, &named, strip)?;
    }
    let mut applied = Applied::default();
    for (name, old) in before {
        let path = tree.join(&name);
        let new = files::read(&path, SOURCE_LIMIT).ok();
        if let (true, Some(old), Some(new)) = (numbered, &old, &new)
            && let Some(kept) = keep_line_numbers(&name, old, new)
        {
            std::fs::write(&path, kept).at(&path)?;
            applied.renumbered += 1;
        }
        if old != new {
            applied.files.push(name);
        }
    }
    Ok(applied)
}

fn run_patch(tree: &Path, patch: &Path, named: &PatchFiles, strip: u32) -> Result<()> {
    let rejects = tempfile::NamedTempFile::new().what("temporary file")?;
    let out = Tool::new("patch")
        .args(["--no-backup-if-mismatch", "--force", "--fuzz=0", "--reject-file"])
        .arg(rejects.path())
        .arg(format!("-p{strip}"))
        .arg("-i")
        .arg(patch)
        .dir(tree)
        .env("LC_ALL", "C")
        .output()?;
    if out.status.success() {
        return Ok(());
    }
    let said = [out.stdout, out.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let missing: Vec<String> = named
        .either
        .iter()
        .filter(|names| !names.iter().any(|f| tree.join(f).is_file()))
        .filter_map(|names| Some(names.first()?.display().to_string()))
        .collect();
    let mut current = String::new();
    let mut failed = Vec::new();
    for line in said.lines() {
        if let Some(name) =
            line.strip_prefix("patching file ").or_else(|| line.strip_prefix("checking file "))
        {
            name.clone_into(&mut current);
        } else if line.starts_with("Hunk #") && (line.contains("FAILED") || line.contains("ignored")) {
            let hunk = line.split(" -- ").next().unwrap_or(line);
            failed.push(format!("{current}: {hunk}"));
        } else if line.contains("previously applied") {
            failed.push(format!("{current}: {line}"));
        }
    }
    if !missing.is_empty() {
        failed.push(format!("not in the source tree: {}", missing.join(", ")));
    }
    if failed.is_empty() {
        failed.push(said.trim().to_owned());
    }
    Err(PrepError::Rejected {
        patch: patch.to_path_buf(),
        failed,
        is_applied: said.contains("previously applied"),
        missing_with: (!missing.is_empty()).then_some(strip),
    }
    .into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use patchfile::exit::BuildExit;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        dir
    }

    const FIX: &str = "--- a/src/x.c\n+++ b/src/x.c\n@@ -1,3 +1,4 @@\n int a;\n+int new;\n int b;\n int c;\n";

    #[test]
    fn a_fix_is_applied_and_numbered() {
        let dir = tree(&[("src/x.c", "int a;\nint b;\nint c;\n"), ("fix", FIX)]);
        let applied = apply_fix(dir.path(), &[dir.path().join("fix")], 1, true).unwrap();
        assert_eq!((applied.files.len(), applied.renumbered), (1, 1));
        let text = std::fs::read_to_string(dir.path().join("src/x.c")).unwrap();
        assert_eq!(text, "int a;\n#line 4\nint new;\n#line 2\nint b;\nint c;\n");
    }

    #[test]
    fn a_failing_hunk_is_named_and_leaves_no_reject_file() {
        let dir = tree(&[("src/x.c", "something\nelse\n"), ("fix", FIX)]);
        let failure = apply_fix(dir.path(), &[dir.path().join("fix")], 1, true).unwrap_err();
        assert_eq!(failure.words().exit, BuildExit::PatchedBuild);
        assert!(failure.words().why.contains("src/x.c: Hunk #1 FAILED"), "{failure}");
        assert!(!dir.path().join("src/x.c.rej").exists());
    }

    #[test]
    fn a_missing_file_is_named() {
        let dir = tree(&[("fix", FIX)]);
        let failure = apply_fix(dir.path(), &[dir.path().join("fix")], 1, true).unwrap_err();
        assert!(failure.words().why.contains("not in the source tree: src/x.c"), "{failure}");
    }

    #[test]
    fn the_tree_is_the_directory_that_holds_the_files() {
        let dir = tree(&[("p/src/x.c", "int a;\n"), ("fix", FIX)]);
        let (top, sub) = (dir.path().to_path_buf(), dir.path().join("p"));
        assert_eq!(tree_for(&[top, sub.clone()], &[dir.path().join("fix")], 1), Some(sub));
    }
}
