//! Units of a fix that changes files which others include.

use super::includes::Includes;
use super::kbuild::{Kbuild, Part};
use super::touched::{Reach, Touched};
use super::tree::PreparedTree;
use crate::error::Result;
use crate::process::check_stopped;
use crate::progress::Progress;

/// Adds the units that may include a changed file to those that the fix changes. Files that none includes are
/// not used.
///
/// # Errors
/// When a Makefile cannot be asked.
pub(super) fn add(
    reach: &mut Reach,
    tree: &PreparedTree,
    kbuild: &mut Kbuild<'_>,
    progress: &Progress,
) -> Result<()> {
    if reach.included.is_empty() {
        return Ok(());
    }
    progress.detail("reading the tree's #include lines");
    let includes = Includes::of(tree)?;
    let mut found = Vec::new();
    for file in std::mem::take(&mut reach.included) {
        let mut is_used = false;
        for source in includes.including(std::slice::from_ref(&file)) {
            check_stopped()?;
            let part = kbuild.part_of(&source)?;
            if part == Part::NotBuilt {
                continue;
            }
            is_used = true;
            let unit = Touched { source, part };
            if !reach.units.contains(&unit) && !found.contains(&unit) {
                found.push(unit);
            }
        }
        // A new file is used by those that the fix changes.
        if !is_used && tree.dir.join(&file).exists() {
            reach.unused.push(file);
        }
    }
    if !found.is_empty() {
        progress.info(&format!("{} units may include what the fix changes: each is compiled", found.len()));
    }
    reach.units.append(&mut found);
    Ok(())
}
