//! What rpmbuild runs at the end of `%prep`: this program again, as a hidden subcommand.
//!
//! rpm appends the macro `__spec_prep_post` to the script of `%prep` (rpm 4.9 to 6; macros file, "Scriptlet
//! templates"). So the fix comes after the package's own patches whatever way those are applied: `%setup` and
//! `%patch`, `%autosetup`, `git am`, or by hand.

use super::apply::{apply_fix, tree_for};
use super::trial::try_fix;
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
    /// The fix; none where there is nothing to do.
    pub patches: Vec<PathBuf>,
    /// Only whether it applies is wanted: the original is built.
    pub trial: bool,
    /// Directory names to strip.
    pub strip: u32,
    /// Unchanged lines keep their numbers, by `#line` directives.
    pub numbered: bool,
    /// Where the answer goes.
    pub outcome: PathBuf,
    /// If the sources are ready only while the build runs: the file that has this hook run before each
    /// compilation. A fix that does not apply yet is no failure then.
    pub late: Option<PathBuf>,
}

/// What the hook did.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct PrepAnswer {
    /// Directory the fix was applied in.
    pub tree: PathBuf,
    /// Where the fix may belong, the likeliest folder first.
    #[serde(default)]
    pub places: Vec<PathBuf>,
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
pub(crate) fn run(order_file: &Path, top: &Path, sub: Option<&Path>) -> Result<()> {
    let bytes = std::fs::read(order_file).at(order_file)?;
    let order: Order = serde_json::from_slice(&bytes).at(order_file)?;
    // Compilers run side by side. The lock goes with the file.
    let file = std::fs::File::open(order_file).at(order_file)?;
    let _lock = nix::fcntl::Flock::lock(file, nix::fcntl::FlockArg::LockExclusive);
    let done = || PrepAnswer::read(&order.outcome).ok().flatten().is_some_and(|a| a.failure.is_none());
    if order.late.is_some() && done() {
        return Ok(());
    }
    let result = perform(&order, top, sub);
    let outcome = match &result {
        Ok(outcome) => outcome.clone(),
        Err(failure) => {
            let words = failure.words();
            PrepAnswer { failure: Some((words.what, words.why, words.hints)), ..PrepAnswer::default() }
        }
    };
    outcome.write(&order.outcome)?;
    match (&order.late, &result) {
        (Some(_), Err(_)) => return Ok(()),
        (Some(late), Ok(_)) => std::fs::remove_file(late).at(late)?,
        (None, _) => {}
    }
    settle();
    result.map(drop)
}

/// Waits until the sources are older than what will be compiled from them: the recorder cannot tell a file
/// that was written just before the compiler read it from one that was written while it did, and knows the
/// start of a compiler only to some hundredths of a second.
pub(crate) fn settle() {
    std::thread::sleep(Duration::from_millis(60));
}

/// The folders in a folder, in the order of their names.
fn folders(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = entries.map(|e| e.path()).filter(|p| p.is_dir()).collect();
    folders.sort();
    folders
}

fn perform(order: &Order, top: &Path, sub: Option<&Path>) -> Result<PrepAnswer> {
    if order.patches.is_empty() {
        return Ok(PrepAnswer::default());
    }
    let mut candidates = Vec::new();
    candidates.extend(sub.map(|s| top.join(s)));
    // Where the script stands at its end is where a further `%patch` would be applied.
    let here = std::env::current_dir().ok();
    candidates.extend(here.clone());
    candidates.push(top.to_path_buf());
    let subs = folders(top);
    candidates.extend(subs.clone());
    // A compiler runs somewhere in the tree.
    let above = here.iter().flat_map(|h| h.ancestors().skip(1)).take_while(|a| a.starts_with(top));
    candidates.extend(above.map(Path::to_path_buf));
    // `%setup -c` unpacks into a folder of its own.
    candidates.extend(subs.iter().flat_map(|sub| folders(sub)));
    let tree = tree_for(&candidates, &order.patches, order.strip).ok_or(PrepError::NoTree)?;
    if order.trial || order.late.is_some() {
        try_fix(&tree, &order.patches, order.strip)?;
    }
    let places = candidates;
    if order.trial {
        return Ok(PrepAnswer { tree, places, ..PrepAnswer::default() });
    }
    let applied = apply_fix(&tree, &order.patches, order.strip, order.numbered)?;
    let (files, renumbered) = (applied.files, applied.renumbered);
    Ok(PrepAnswer { tree, places, files, renumbered, failure: None })
}
