//! A patch that puts a comment at the top of every C and C++ file of a package: it changes nothing but line
//! numbers.

use crate::package::files_below;
use crate::run::Cmd;
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};

const COMMENT: &[u8] = b"/* A note at the top of the file,\n * of three lines.\n */\n";

/// Prepares a package (`rpmbuild -bp`), comments its sources, and writes the difference to `patch`. Gives how
/// many files it changes.
///
/// # Errors
/// The package cannot be prepared, or has no sources.
pub fn everywhere(top: &Path, spec: &Path, patch: &Path) -> Result<usize> {
    Cmd::new("rpmbuild")
        .arg("--define")
        .arg(format!("_topdir {}", top.display()))
        .args(["-bp", "--nodeps"])
        .arg(spec)
        .run()?
        .ok()?;
    let tree = tree_of(&top.join("BUILD"))?;
    let outer = tree.parent().context("the tree is the root")?;
    let name = tree.file_name().context("the tree has no name")?;
    let commented = outer.join("commented");
    Cmd::new("cp").arg("-a").arg(&tree).arg(&commented).run()?.ok()?;
    let mut count = 0;
    for file in files_below(&commented)? {
        let is_source = file
            .extension()
            .and_then(|e| e.to_str())
            .is_some_and(|e| ["c", "h", "cc", "cpp", "hpp", "y", "l"].contains(&e));
        let text = if is_source && !file.is_symlink() { std::fs::read(&file)? } else { continue };
        // A grammar begins with a section that knows C comments.
        std::fs::write(&file, [COMMENT, &text].concat())?;
        count += 1;
    }
    ensure!(count > 0, "no source below {}", tree.display());
    let diff =
        Cmd::new("diff").args(["-ru"]).arg(name).arg("commented").dir(outer).run()?.expect_code(&[1])?;
    std::fs::write(patch, format!("Subject: comments everywhere\n\n{}", diff.stdout))?;
    std::fs::remove_dir_all(top.join("BUILD"))?;
    Ok(count)
}

/// The one folder that `%prep` unpacked.
fn tree_of(build: &Path) -> Result<PathBuf> {
    let folders = |dir: &Path| -> Result<Vec<PathBuf>> {
        let entries = std::fs::read_dir(dir).with_context(|| format!("{}", dir.display()))?;
        let paths: Vec<PathBuf> = entries.map(|e| e.map(|e| e.path())).collect::<std::io::Result<_>>()?;
        Ok(paths.into_iter().filter(|p| p.is_dir()).collect())
    };
    let found = folders(build)?;
    let [only] = &found[..] else { anyhow::bail!("{} has {} folders", build.display(), found.len()) };
    Ok(only.clone())
}
