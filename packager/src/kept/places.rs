//! What of a run is kept, and files outside of it that it read.

use super::system::facts;
use crate::build::RpmBuild;
use crate::error::{Context, Result};
use crate::scratch::Work;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use wrapper::{Phase, Records};

/// Folders of the session that belong to a phase's records.
const OF_SESSION: [&str; 6] = ["objects", "outputs", "maps", "stdin", "inputs", "bytecode"];

/// The folders that make up an original build, in an order that stays the same.
pub(super) fn folders(work: &Work) -> Vec<PathBuf> {
    let session = work.path("session");
    let mut all = vec![work.path("BUILD"), RpmBuild::buildroots(work), work.path("log")];
    all.push(session.join("phases").join(Phase::Original.name()));
    all.extend(OF_SESSION.iter().map(|name| session.join(name)));
    all
}

/// Removes what is in those folders but the tree, which the run itself looks after.
///
/// # Errors
/// When something cannot be removed.
pub(super) fn clear(work: &Work) -> Result<()> {
    for dir in folders(work).iter().skip(1) {
        match std::fs::remove_dir_all(dir) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e).at(dir)?,
            _ => {}
        }
    }
    Ok(())
}

/// Makes those that a run wants to be there.
///
/// # Errors
/// When one cannot be made.
pub(super) fn make(work: &Work) -> Result<()> {
    let made = folders(work).into_iter().skip(2);
    made.into_iter().try_for_each(|dir| std::fs::create_dir_all(&dir).at(&dir))
}

/// What compilers and linkers read that is neither the build's own nor the session's.
pub(super) fn outside(work: &Work, records: &Records) -> BTreeMap<PathBuf, String> {
    let own = [work.build(), work.root().to_path_buf()];
    let is_outside = |path: &Path| !own.iter().any(|dir| path.starts_with(dir));
    let deps = records.units.iter().flat_map(|unit| &unit.deps).map(|dep| dep.path.as_path().to_path_buf());
    let inputs = records.links.iter().flat_map(|link| {
        let all = link.inputs.iter().map(|input| &input.path).chain(&link.shared_libs);
        all.map(|path| link.cwd.as_path().join(path.as_path()))
    });
    let tools = records.units.iter().map(|unit| &unit.driver).chain(records.links.iter().map(|l| &l.linker));
    let tools = tools.map(|path| path.as_path().to_path_buf());
    let all = deps.chain(inputs).chain(tools).filter(|path| is_outside(path));
    let mut found = BTreeMap::new();
    for path in all {
        found.entry(path).or_insert_with_key(|path| facts(path));
    }
    found
}

/// Are those files as they were?
pub(super) fn are_the_same(files: &BTreeMap<PathBuf, String>) -> bool {
    files.iter().all(|(path, was)| facts(path) == *was)
}
