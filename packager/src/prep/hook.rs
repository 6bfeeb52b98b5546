//! What rpmbuild runs at the end of `%prep`: this program again, as a hidden subcommand.
//!
//! rpm appends the macro `__spec_prep_post` to the script of `%prep` (rpm 4.9 to 6; macros file, "Scriptlet
//! templates"). So the fix comes after the package's own patches whatever way those are applied: `%setup` and
//! `%patch`, `%autosetup`, `git am`, or by hand.

use super::apply::{apply_fix, tree_for};
use crate::error::{Context, PrepError, Result};
use crate::scratch::Work;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::Duration;
use wrapper::Phase;

/// Name of the hidden subcommand.
pub(crate) const HOOK_COMMAND: &str = "prep-hook";

/// What the hook is to do, as written by the main program.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    /// Patches to apply; none for the original build.
    pub patches: Vec<PathBuf>,
    /// Directory names to strip.
    pub strip: u32,
    /// Unchanged lines keep their numbers, by `#line` directives.
    pub numbered: bool,
    /// Where the answer goes.
    pub outcome: PathBuf,
}

/// What the hook did.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct PrepAnswer {
    /// Directory the fix was applied in.
    pub tree: PathBuf,
    /// Files changed, relative to `tree`.
    pub files: Vec<PathBuf>,
    /// Files that got `#line` directives.
    pub renumbered: usize,
    /// Why it failed: what, why, hints.
    pub failure: Option<(String, String, Vec<String>)>,
}

impl PrepAnswer {
    /// Where the answer for a phase is.
    pub(crate) fn file(work: &Work, phase: Phase) -> PathBuf {
        work.path("log").join(format!("{phase}-prep"))
    }

    /// Writes the answer.
    ///
    /// # Errors
    /// When that fails.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_vec(self).what("outcome")?;
        std::fs::write(path, text).at(path)
    }

    /// Reads the answer of a hook; `None` if it did not run.
    ///
    /// # Errors
    /// When the answer does not parse.
    pub(crate) fn read(path: &Path) -> Result<Option<Self>> {
        match std::fs::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).at(path),
            Err(_) => Ok(None),
        }
    }

    /// The error that the hook met, if any.
    pub(crate) fn error(&self) -> Option<PrepError> {
        let (what, why, hints) = self.failure.clone()?;
        Some(PrepError::Hook { what, why, hints })
    }
}

/// Runs the hook: applies the fix, writes the answer. `top` is the build directory, `sub` what `%setup` left
/// as its subdirectory.
///
/// # Errors
/// When the fix does not apply (also written to the answer), or on any other failure.
pub(crate) fn run(order: &Path, top: &Path, sub: Option<&Path>) -> Result<()> {
    let bytes = std::fs::read(order).at(order)?;
    let order: Order = serde_json::from_slice(&bytes).at(order)?;
    let result = perform(&order, top, sub);
    let outcome = match &result {
        Ok(outcome) => outcome.clone(),
        Err(failure) => {
            let words = failure.words();
            PrepAnswer { failure: Some((words.what, words.why, words.hints)), ..PrepAnswer::default() }
        }
    };
    outcome.write(&order.outcome)?;
    settle();
    result.map(drop)
}

/// Waits until the sources are older than what will be compiled from them: the recorder cannot tell a file
/// that was written just before the compiler read it from one that was written while it did, and knows the
/// start of a compiler only to some hundredths of a second.
pub(crate) fn settle() {
    std::thread::sleep(Duration::from_millis(60));
}

fn perform(order: &Order, top: &Path, sub: Option<&Path>) -> Result<PrepAnswer> {
    if order.patches.is_empty() {
        return Ok(PrepAnswer::default());
    }
    let mut candidates = Vec::new();
    candidates.extend(sub.map(|s| top.join(s)));
    // Where the script stands at its end is where a further `%patch` would be applied.
    candidates.extend(std::env::current_dir().ok());
    candidates.push(top.to_path_buf());
    let mut subs: Vec<PathBuf> = std::fs::read_dir(top)
        .into_iter()
        .flatten()
        .flatten()
        .map(|e| e.path())
        .filter(|p| p.is_dir())
        .collect();
    subs.sort();
    candidates.extend(subs);
    let tree = tree_for(&candidates, &order.patches, order.strip).ok_or(PrepError::NoTree)?;
    let applied = apply_fix(&tree, &order.patches, order.strip, order.numbered)?;
    Ok(PrepAnswer { tree, files: applied.files, renumbered: applied.renumbered, failure: None })
}
