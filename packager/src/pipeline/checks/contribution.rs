//! Which files of the fix lead to anything in the patch.
//!
//! Of two `--patch` files one may change only what this configuration does not compile. The patch does not
//! fix what that file is for, so it must not say so. A patch file contributes if a unit whose code or data
//! differs reads something that the file changes. What a unit reads besides the sources (generated files, its
//! command) may come of any file that no compiler reads; where that cannot be told, the patch file counts as
//! contributing.

use crate::output::{Warned, WithoutEffect};
use crate::pipeline::builds::{Builds, Original, Patched};
use crate::pipeline::compare::{Analysis, Joined};
use crate::prep::touched_files;
use crate::scratch::Tree;
use crate::source::is_source;
use crate::units::other_inputs::same_command;
use crate::units::stamps::equal_but_for_times;
use crate::units::{Pair, Window};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};
use wrapper::{Dep, Records, UnitRecord};

/// A unit that differs, as the original and the patched build recorded it.
type Sides<'r> = (Option<&'r UnitRecord>, Option<&'r UnitRecord>);

/// Where both builds are, and when they ran.
struct Trees {
    /// Where both were built.
    place: PathBuf,
    original: PathBuf,
    patched: PathBuf,
    windows: (Window, Window),
}

/// The patch files, by what they change.
struct Fix {
    /// By patch file the names of what it changes, relative to the tree.
    names: Vec<BTreeSet<PathBuf>>,
    /// Patch files, by the hash of a file in the patched tree that they change.
    contents: HashMap<String, Vec<usize>>,
}

/// Numbers of the patch files that contribute nothing to the images of `joined`.
pub(in crate::pipeline) fn idle(
    builds: &Builds<'_>,
    (original, patched): (&Original, &Patched),
    analysis: &Analysis<'_>,
    joined: &[Joined],
) -> Vec<usize> {
    let (patches, work) = (builds.patches, builds.work);
    if patches.len() < 2 || joined.is_empty() {
        return Vec::new();
    }
    let trees = Trees {
        place: work.build(),
        original: work.tree_of(Tree::Original),
        patched: work.tree_of(Tree::Patched),
        windows: (original.window, patched.window),
    };
    let applied = patched.tree.as_ref().and_then(|tree| tree.strip_prefix(&trees.place).ok());
    let tree = applied.map(|below| trees.patched.join(below));
    let fix = Fix::read(patches, builds.request.args.strip, tree.as_deref());
    let known: HashSet<&str> =
        original.records.units.iter().flat_map(|u| &u.deps).map(|d| d.sha256.as_str()).collect();
    let shipped = |target: usize| joined.iter().any(|one| one.target == target);
    let reached = analysis.reached.iter().filter(|r| shipped(r.matched.target));
    let units: BTreeSet<usize> = reached.flat_map(|r| r.units.iter().copied()).collect();
    let mut contributes = BTreeSet::new();
    for unit in units {
        let diff = &analysis.compared[unit].diff;
        if diff.functions.is_empty() && diff.objects.is_empty() {
            continue;
        }
        for sides in sides(&analysis.pairs[unit], &original.records, &patched.records) {
            contributes.extend(fix.causes(sides, &known, &trees));
        }
    }
    // Something differs, and no file of the fix was found to be the cause.
    if contributes.is_empty() {
        return Vec::new();
    }
    (0..patches.len()).filter(|number| !contributes.contains(number)).collect()
}

/// The units of a pair. Of a program that is optimised as a whole those that went into it and differ.
fn sides<'r>(pair: &Pair<'r>, original: &'r Records, patched: &'r Records) -> Vec<Sides<'r>> {
    let Some(programs) = &pair.optimised else { return vec![(pair.original, pair.patched)] };
    let of = |sources: &[PathBuf], records: &'r Records| -> Vec<&'r UnitRecord> {
        let hashes = sources.iter().filter_map(|file| file.file_name()?.to_str());
        hashes.filter_map(|hash| records.unit_by_object(hash)).collect()
    };
    let before = of(&programs.original.sources, original);
    let after = of(&programs.patched.sources, patched);
    let is_new = |unit: &&UnitRecord| !before.iter().any(|old| old.object_sha256 == unit.object_sha256);
    let same = |old: &&UnitRecord, new: &UnitRecord| old.cwd == new.cwd && old.source == new.source;
    let differ = after.into_iter().filter(is_new);
    differ.map(|unit| (before.iter().copied().find(|old| same(old, unit)), Some(unit))).collect()
}

impl Fix {
    /// `tree` is where the patches were applied.
    fn read(patches: &[PathBuf], strip: u32, tree: Option<&Path>) -> Self {
        let mut fix = Self { names: Vec::new(), contents: HashMap::new() };
        for (number, patch) in patches.iter().enumerate() {
            let files = touched_files(&std::fs::read(patch).unwrap_or_default(), strip);
            let names: BTreeSet<PathBuf> = files.old.union(&files.new).cloned().collect();
            for data in names.iter().filter_map(|name| std::fs::read(tree?.join(name)).ok()) {
                let hash = patchfile::Digest::of(&data).to_string();
                fix.contents.entry(hash).or_default().push(number);
            }
            fix.names.push(names);
        }
        fix
    }

    /// The patch files that change the object of a unit.
    fn causes(&self, (before, after): Sides<'_>, known: &HashSet<&str>, trees: &Trees) -> BTreeSet<usize> {
        let Some(after) = after else {
            // It is gone, or how its object was made is not known.
            let own = before.map(|unit| unit.cwd.as_path().join(unit.source.as_path()));
            let owners = own.map(|source| self.named(&source)).unwrap_or_default();
            return if owners.is_empty() { self.any() } else { owners };
        };
        let changed: Vec<&Dep> =
            after.deps.iter().filter(|dep| !known.contains(dep.sha256.as_str())).collect();
        let mut causes = BTreeSet::new();
        let mut unexplained = changed.is_empty();
        for dep in changed {
            let owners = self.owners(dep);
            unexplained |= owners.is_empty() && !trees.stamped(dep);
            causes.extend(owners);
        }
        let other_command = |before: &UnitRecord| {
            let (old, new) = (&before.expanded_argv, &after.expanded_argv);
            before.source == after.source && !same_command(old, new, trees.windows, &trees.place)
        };
        if unexplained || before.is_some_and(other_command) {
            causes.extend(self.any());
        }
        causes
    }

    /// The patch files that change an input: by its name, else by its content, as some builds copy their
    /// sources.
    fn owners(&self, dep: &Dep) -> BTreeSet<usize> {
        let named = self.named(dep.path.as_path());
        if named.is_empty() {
            return self.contents.get(&dep.sha256).into_iter().flatten().copied().collect();
        }
        named
    }

    /// The patch files that name the file. The longest of the names that fit is the file's.
    fn named(&self, path: &Path) -> BTreeSet<usize> {
        let length = |name: &PathBuf| path.ends_with(name).then(|| name.components().count());
        let longest = |names: &BTreeSet<PathBuf>| names.iter().filter_map(length).max();
        let all: Vec<Option<usize>> = self.names.iter().map(longest).collect();
        let best = all.iter().max().copied().flatten();
        (0..all.len()).filter(|number| best.is_some() && all[*number] == best).collect()
    }

    /// The patch files that may have led to what no source tells: those with a file that is no source, else
    /// all of them.
    fn any(&self) -> BTreeSet<usize> {
        let numbers = 0..self.names.len();
        let other = |number: &usize| self.names[*number].iter().any(|name| !is_source(name));
        let some: BTreeSet<usize> = numbers.clone().filter(other).collect();
        if some.is_empty() { numbers.collect() } else { some }
    }
}

impl Trees {
    /// Does an input differ from the original build's in times of the builds only?
    fn stamped(&self, dep: &Dep) -> bool {
        let read = |tree: &Path| {
            let below = dep.path.as_path().strip_prefix(&self.place).ok()?;
            std::fs::read(tree.join(below)).ok()
        };
        let both = read(&self.original).zip(read(&self.patched));
        both.is_some_and(|(old, new)| equal_but_for_times(&old, &new, self.windows))
    }
}

/// What the report and the screen say of a patch file that contributes nothing; `cve` are the ids left out
/// with it.
pub(in crate::pipeline) fn warning(idle: &WithoutEffect, name: &str) -> Warned {
    let mut why = "nothing that it changes is compiled into a file that is patched".to_owned();
    if !idle.cve.is_empty() {
        why = format!("{why}, so the patch does not say that it fixes {}", idle.cve.join(", "));
    }
    if idle.cve.iter().any(|id| id == name) {
        why = format!("{why}, though it is called so: use --name");
    }
    Warned { what: "patch contributes nothing".into(), place: idle.file.clone(), why }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fix(names: &[&[&str]]) -> Fix {
        let names = names.iter().map(|names| names.iter().map(PathBuf::from).collect());
        Fix { names: names.collect(), contents: HashMap::new() }
    }

    fn named(fix: &Fix, path: &str) -> Vec<usize> {
        fix.named(Path::new(path)).into_iter().collect()
    }

    #[test]
    fn the_longest_name_is_that_of_the_file() {
        let fix = fix(&[&["util.c"], &["sub/util.c", "x.h"], &["x.h"]]);
        assert_eq!(named(&fix, "/b/sub/util.c"), [1]);
        assert_eq!(named(&fix, "/b/util.c"), [0]);
        assert_eq!(named(&fix, "/b/x.h"), [1, 2]);
        assert!(named(&fix, "/b/other.c").is_empty());
    }

    #[test]
    fn what_no_source_tells_comes_of_files_that_are_no_sources() {
        let any = |names: &[&[&str]]| fix(names).any().into_iter().collect::<Vec<_>>();
        assert_eq!(any(&[&["x.c"], &["Makefile"], &["y.y", "z.h"]]), [1, 2]);
        assert_eq!(any(&[&["x.c"], &["y.h"]]), [0, 1]);
    }
}
