//! Which link of the patched build made what a link of the original build made.
//!
//! Most links write the same path in both builds. Some write a name of that build only (`prog.$$`,
//! `/tmp/go-link-123/a.out`) and what they wrote is moved: then the place where it lies in the end tells,
//! else what went into the link.

use crate::elf::Elf;
use crate::pipeline::builds::{Original, Patched};
use crate::target::is_linked;
use crate::units::without_numbers;
use patchfile::BuildId;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use wrapper::{LinkInput, LinkRecord, OsBytes, Records};

/// The part of the inputs of a link that the other one has to have too.
const ALIKE: (usize, usize) = (1, 2);

/// The links of both builds. Trees are walked when one is asked for that did not write the same path in both.
pub(in crate::pipeline) struct Counterparts<'r> {
    original: &'r Records,
    patched: &'r Records,
    /// The original tree and the patched one.
    trees: [PathBuf; 2],
    places: Option<[LinkedFiles; 2]>,
    alike: Option<HashMap<String, &'r LinkRecord>>,
}

impl<'r> Counterparts<'r> {
    /// The original tree lies at `trees[0]`, the patched one at `trees[1]`.
    pub(in crate::pipeline) fn new(
        original: &'r Original,
        patched: &'r Patched,
        trees: [PathBuf; 2],
    ) -> Self {
        Self { original: &original.records, patched: &patched.records, trees, places: None, alike: None }
    }

    /// The link of the patched build that made the same output.
    pub(in crate::pipeline) fn of(&mut self, link: &LinkRecord) -> Option<&'r LinkRecord> {
        let before = same_output(self.original, link);
        let after = same_output(self.patched, link);
        let place = before.iter().position(|l| l.id == link.id)?;
        if before.len() == after.len() {
            return after.get(place).copied();
        }
        self.in_same_place(link)
            .or_else(|| self.alike(link))
            .or_else(|| after.last().copied().filter(|_| before.len() == 1))
    }

    /// Is a file in the patched tree where the link's output went in the original one?
    pub(in crate::pipeline) fn is_there(&mut self, link: &LinkRecord) -> bool {
        let [before, after] = self.places();
        link.output.as_path().exists()
            || before.of(&FileFacts::by(link)).any(|place| after.0.contains_key(place))
    }

    /// Could it be one of those links of the patched build that no original link is known to go with?
    pub(in crate::pipeline) fn is_unsure(&mut self, link: &LinkRecord) -> bool {
        let outputs: HashSet<&OsBytes> = links(self.original).map(|l| &l.output).collect();
        let taken: HashSet<&str> = self.all_alike().values().map(|l| l.id.as_str()).collect();
        links(self.patched).any(|l| {
            l.shared == link.shared && !outputs.contains(&l.output) && !taken.contains(l.id.as_str())
        })
    }

    fn places(&mut self) -> &[LinkedFiles; 2] {
        let trees = &self.trees;
        self.places.get_or_insert_with(|| [LinkedFiles::below(&trees[0]), LinkedFiles::below(&trees[1])])
    }

    fn in_same_place(&mut self, link: &LinkRecord) -> Option<&'r LinkRecord> {
        let patched = self.patched;
        let [before, after] = self.places();
        let there: Vec<&FileFacts> =
            before.of(&FileFacts::by(link)).filter_map(|place| after.0.get(place)).collect();
        if there.is_empty() {
            return None;
        }
        links(patched).rev().find(|l| there.iter().any(|file| file.is(&FileFacts::by(l))))
    }

    fn alike(&mut self, link: &LinkRecord) -> Option<&'r LinkRecord> {
        self.all_alike().get(&link.id).copied()
    }

    /// Links whose output the other build has not, paired by their inputs: those that have most in common
    /// first, in order.
    fn all_alike(&mut self) -> &HashMap<String, &'r LinkRecord> {
        let (original, patched) = (self.original, self.patched);
        self.alike.get_or_insert_with(|| {
            let before = described(original, patched);
            let after = described(patched, original);
            let mut scores: Vec<(usize, usize, usize, usize)> = Vec::new();
            for (i, (link, inputs)) in before.iter().enumerate() {
                for (j, (other, theirs)) in after.iter().enumerate() {
                    let whole = inputs.values().sum::<usize>().max(theirs.values().sum());
                    let common: usize =
                        inputs.iter().map(|(k, n)| theirs.get(k).map_or(0, |m| *n.min(m))).sum();
                    let soname =
                        |l: &LinkRecord| l.expanded_argv.iter().skip_while(|w| !is_soname(w)).nth(1).cloned();
                    let same_kind = link.shared == other.shared && soname(link) == soname(other);
                    if same_kind && common * ALIKE.1 >= whole * ALIKE.0 && common > 0 {
                        // Links with equal scores keep the order in which they were made.
                        scores.push(((common << 16) / whole.max(1), i, j, 0));
                    }
                }
            }
            scores.sort_by_key(|(score, i, j, _)| (std::cmp::Reverse(*score), *i, *j));
            let (mut found, mut taken) = (HashMap::new(), HashSet::new());
            for (_, i, j, _) in scores {
                let (link, other) = (before[i].0, after[j].0);
                if !found.contains_key(&link.id) && taken.insert(&other.id) {
                    found.insert(link.id.clone(), other);
                }
            }
            found
        })
    }
}

fn is_soname(word: &OsBytes) -> bool {
    [&b"-soname"[..], b"--soname", b"-h"].contains(&word.as_bytes())
}

/// Links of programs and libraries.
pub(in crate::pipeline) fn links(records: &Records) -> impl DoubleEndedIterator<Item = &LinkRecord> {
    records
        .links
        .iter()
        .filter(|l| !l.relocatable && !wrapper::is_probe(l.output.as_bytes(), l.cwd.as_path()))
}

fn same_output<'r>(records: &'r Records, link: &LinkRecord) -> Vec<&'r LinkRecord> {
    records.links.iter().filter(|l| l.output == link.output && !l.relocatable).collect()
}

/// Links that write a path that the other build's links do not, or not as often, with their inputs.
fn described<'r>(records: &'r Records, others: &Records) -> Vec<(&'r LinkRecord, BTreeMap<Vec<u8>, usize>)> {
    let sources: HashMap<&str, PathBuf> =
        records.units.iter().filter_map(|u| Some((u.object_sha256.as_str(), u.source_path()?))).collect();
    let name = |input: &LinkInput| match sources.get(input.sha256.as_str()) {
        Some(source) => without_numbers(source.as_os_str().as_encoded_bytes()),
        None => {
            let mut name = without_numbers(input.path.as_bytes());
            name.extend(input.member.iter().flat_map(|m| [b"(", m.as_bytes()].concat()));
            name
        }
    };
    let unlike = links(records).filter(|l| same_output(records, l).len() != same_output(others, l).len());
    unlike
        .map(|link| {
            let mut inputs = BTreeMap::new();
            for input in &link.inputs {
                *inputs.entry(name(input)).or_default() += 1;
            }
            (link, inputs)
        })
        .collect()
}

/// The linked ELF files of a tree, by their paths below it.
struct LinkedFiles(BTreeMap<PathBuf, FileFacts>);

/// What is known of a file, whether it was stripped or not.
struct FileFacts {
    sha256: String,
    build_id: Option<BuildId>,
}

impl FileFacts {
    fn of(data: &[u8], sha256: String) -> Self {
        Self { sha256, build_id: Elf::parse(data).ok().and_then(|elf| elf.build_id) }
    }

    fn by(link: &LinkRecord) -> Self {
        Self::of(&std::fs::read(&link.saved).unwrap_or_default(), link.output_sha256.clone())
    }

    fn is(&self, other: &Self) -> bool {
        self.sha256 == other.sha256 || self.build_id.is_some() && self.build_id == other.build_id
    }
}

impl LinkedFiles {
    fn below(tree: &Path) -> Self {
        let files = walkdir::WalkDir::new(tree).into_iter().flatten().filter(|e| e.file_type().is_file());
        let entry = |e: walkdir::DirEntry| {
            let data = is_linked(e.path()).then(|| std::fs::read(e.path()).ok()).flatten()?;
            let made = FileFacts::of(&data, patchfile::Digest::of(&data).to_string());
            Some((e.path().strip_prefix(tree).ok()?.to_path_buf(), made))
        };
        Self(files.filter_map(entry).collect())
    }

    /// Where what a link made lies.
    fn of<'p>(&'p self, made: &'p FileFacts) -> impl Iterator<Item = &'p PathBuf> {
        self.0.iter().filter(|(_, file)| file.is(made)).map(|(path, _)| path)
    }
}
