//! Which units the fix changes, and how.

use super::counterpart::Counterparts;
use super::link_options;
use crate::build::Recorder;
use crate::elf::Elf;
use crate::error::Result;
use crate::output::Warned;
use crate::pipeline::builds::{Original, Patched};
use crate::progress::Progress;
use crate::scratch::{Tree, Work};
use crate::target::Match;
use crate::units::stamps::Stamp;
use crate::units::{Compared, Pair, added, compare, only_debug_differs, pair, section_all, stamps};
use linker::Sibling;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use wrapper::LinkRecord;

/// One ELF file that the fix reaches.
#[derive(Debug)]
pub(in crate::pipeline) struct Reached<'r> {
    pub(in crate::pipeline) matched: Match<'r>,
    /// The link of the patched build.
    pub(in crate::pipeline) patched: &'r LinkRecord,
    /// Indices of the units, in [`Analysis::pairs`].
    pub(in crate::pipeline) units: Vec<usize>,
}

/// A pair of objects that differ in what is not of the fix.
#[derive(Clone, Debug)]
pub(in crate::pipeline) struct Unreal {
    pub(in crate::pipeline) name: String,
    pub(in crate::pipeline) original: String,
    pub(in crate::pipeline) patched: String,
    pub(in crate::pipeline) why: &'static str,
}

/// What the comparison found.
#[derive(Debug, Default)]
pub(in crate::pipeline) struct Analysis<'r> {
    pub(in crate::pipeline) pairs: Vec<Pair<'r>>,
    pub(in crate::pipeline) compared: Vec<Compared>,
    pub(in crate::pipeline) reached: Vec<Reached<'r>>,
    /// Objects that differ although the fix does not reach their units, and why: original, patched.
    pub(in crate::pipeline) unreal: Vec<Unreal>,
    /// Files whose units do not really differ.
    pub(in crate::pipeline) untouched: Vec<(Match<'r>, &'r LinkRecord)>,
    /// All ELF files that both builds linked, numbered as the targets.
    pub(in crate::pipeline) siblings: Vec<Sibling>,
    pub(in crate::pipeline) warnings: Vec<Warned>,
    /// Units compiled for the comparison.
    pub(in crate::pipeline) compiled: usize,
    /// Units for the comparison that came out of the store.
    pub(in crate::pipeline) reused: usize,
    /// ELF files that the patched build did not link.
    pub(in crate::pipeline) lost: Vec<String>,
    /// ELF files that it made or may have made, and why it is not known how.
    pub(in crate::pipeline) unrecorded: Vec<(String, NotKnown)>,
    /// ELF files whose code or data differs although none of their units does.
    pub(in crate::pipeline) unexplained: Vec<String>,
}

/// Why it is not known how a file was made, and what to do.
pub(in crate::pipeline) type NotKnown = [&'static str; 2];

const NOT_RECORDED: NotKnown = [
    "the patched build made the file, but how could not be recorded",
    "see that the scratch directory (--workdir) has room and stays writable during the build; report.yaml \
     lists what could not be recorded",
];
const NOT_KNOWN: NotKnown = [
    "the patched build links nothing of this name, and other names from other inputs: which of them is the \
     file cannot be told",
    "leave renames of programs out of the fix, or link the file under the same name in each build",
];

/// Compares both builds.
pub(in crate::pipeline) fn analyse<'r>(
    original: &'r Original,
    patched: &'r Patched,
    matches: &[Match<'r>],
    work: &Work,
    recorder: &Recorder,
    progress: &Progress,
) -> Result<Analysis<'r>> {
    let mut analysis = Analysis::default();
    let mut known: HashMap<(Option<String>, Option<String>), Option<usize>> = HashMap::new();
    let mut stamped = BTreeMap::new();
    let trees = [Tree::Original, Tree::Patched].map(|tree| work.tree_of(tree));
    let mut counterparts = Counterparts::new(original, patched, trees);
    for matched in matches {
        let name = &original.targets[matched.target].name;
        let Some(link) = counterparts.of(matched.link) else {
            if counterparts.is_there(matched.link) {
                analysis.unrecorded.push((name.clone(), NOT_RECORDED));
            } else if counterparts.is_unsure(matched.link) {
                analysis.unrecorded.push((name.clone(), NOT_KNOWN));
            } else {
                analysis.lost.push(name.clone());
            }
            continue;
        };
        let (path, saved) = (matched.link.output.as_path(), link.saved.as_path());
        let read = |path: &Path| std::fs::read(path).ok();
        let (path, saved) = (path.to_owned(), saved.to_owned());
        analysis.siblings.push(Sibling::new(read, matched.target, name.clone(), path, saved));
        let mut units = Vec::new();
        // Of what was looked at and is not real, the output may differ: a build stamp.
        let mut all_the_same = true;
        let mut pairs = pair((&original.records, matched.link), (&patched.records, link))?;
        if !pairs.is_empty() {
            pairs.extend(added(matched.link, link, &work.path("objects")));
        }
        for pair in pairs {
            all_the_same = false;
            let key = (pair.original_hash.clone(), pair.patched_hash.clone());
            let index = match known.get(&key) {
                Some(index) => *index,
                None => {
                    let index =
                        if is_real(&pair, original, patched, work, &mut stamped, &mut analysis.warnings) {
                            progress.verbose(&format!("{name}: {} differs", pair.name()));
                            analysis.pairs.push(pair);
                            Some(analysis.pairs.len() - 1)
                        } else {
                            analysis.unreal.extend(unreal(&pair));
                            None
                        };
                    known.insert(key, index);
                    index
                }
            };
            units.extend(index);
        }
        if all_the_same && differs(matched.link, link) {
            analysis.unexplained.push(name.clone());
        }
        if units.is_empty() && !all_the_same {
            analysis.untouched.push((matched.clone(), link));
        }
        if !units.is_empty() {
            analysis.warnings.extend(link_options::warning(name, matched.link, link));
            analysis.reached.push(Reached { matched: matched.clone(), patched: link, units });
        }
    }
    if analysis.pairs.is_empty() {
        return Ok(analysis);
    }
    let store = recorder.store().ok();
    let windows = (original.window, patched.window);
    let sectioned = section_all(&analysis.pairs, work, store.as_ref(), windows, &stamped)?;
    crate::process::check_stopped()?;
    for one in &sectioned {
        analysis.compiled += one.compiled as usize;
        let sides = usize::from(one.original.is_some()) + usize::from(one.patched.is_some());
        analysis.reused += sides.saturating_sub(one.compiled as usize);
    }
    analysis.compared = compare(&analysis.pairs, &sectioned, &patched.changes, windows, work)?;
    Ok(analysis)
}

/// A pair that [`is_real`] found not to be real.
fn unreal(pair: &Pair<'_>) -> Option<Unreal> {
    let debug = only_debug_differs(pair.original?, pair.patched?);
    Some(Unreal {
        name: pair.name(),
        original: pair.original_hash.clone()?,
        patched: pair.patched_hash.clone()?,
        why: if debug { "debug information" } else { stamps::WHAT },
    })
}

/// Do two outputs differ in what runs? What link-time optimisation makes may be named and ordered in another
/// way for a comment.
fn differs(before: &LinkRecord, after: &LinkRecord) -> bool {
    if before.output_sha256 == after.output_sha256 || before.lto || after.lto {
        return false;
    }
    let read = |link: &LinkRecord| std::fs::read(&link.saved).ok().and_then(|data| Elf::parse(&data).ok());
    let (Some(before), Some(after)) = (read(before), read(after)) else { return false };
    !before.same_layout(&after) || !before.different_sections(&after).is_empty()
}

/// Is it more than debug information and build stamps in which the two objects differ? Stamps of one where it
/// is go to `stamped`.
fn is_real(
    pair: &Pair<'_>,
    original: &Original,
    patched: &Patched,
    work: &Work,
    stamped: &mut BTreeMap<PathBuf, Stamp>,
    warnings: &mut Vec<Warned>,
) -> bool {
    let (Some(before), Some(after)) = (pair.original, pair.patched) else { return true };
    if only_debug_differs(before, after) {
        return false;
    }
    let build = work.build();
    let trees = [Tree::Original, Tree::Patched].map(|tree| work.tree_of(tree));
    let read = |path: &Path, hash: &str, new: bool| -> Option<Vec<u8>> {
        let below = path.strip_prefix(&build).ok()?;
        let file = trees[usize::from(new)].join(below);
        let data = std::fs::read(file).ok()?;
        (patchfile::Digest::of(&data).to_string() == hash).then_some(data)
    };
    let windows = (original.window, patched.window);
    let found = stamps::stamps(before, after, windows, &patched.files, read);
    // Where no input differs, only the compiler's clock is left to be a stamp.
    let no_input = found.files.is_empty() && !(found.in_command && found.nothing_else);
    let clock = no_input && found.nothing_else && stamps::only_clocks_differ(before, after, windows);
    if no_input && !clock {
        return true;
    }
    let files = found.files.keys().map(|p| p.strip_prefix(&build).unwrap_or(p).display().to_string());
    let others = [(found.in_command, "its command"), (clock, "__TIME__")];
    let others = others.into_iter().filter(|(is_one, _)| *is_one).map(|(_, name)| name.to_owned());
    let names: Vec<String> = files.chain(others).collect();
    warnings.push(Warned {
        what: stamps::WHAT.into(),
        place: format!("{} ({})", pair.name(), names.join(", ")),
        why: stamps::WHY.into(),
    });
    if !found.nothing_else {
        stamped.extend(found.files);
    }
    !found.nothing_else
}
