//! ELF files that the fix changes and that this run makes no patch for: programs that are no target, and
//! programs that no patch can be made for. They are named, so that "changes nothing" is true as it stands.

use crate::elf::foreign;
use crate::output::{ElfReport, Refused, Warned};
use crate::pipeline::builds::{Original, Patched};
use crate::pipeline::compare::{Counterparts, links};
use crate::scratch::{Tree, Work};
use crate::target::Match;
use std::collections::HashSet;
use std::path::PathBuf;

/// As many names as a message has.
const SHOWN: usize = 8;

/// ELF files that differ between the builds and that are none of those to patch.
#[derive(Debug, Default)]
pub(in crate::pipeline) struct OtherFiles {
    /// No target, or left out by `--elf`: copies of what both builds linked, not the same to the byte.
    others: Vec<(String, [PathBuf; 2])>,
    /// Files that no patch can be made for, with their kind.
    foreign: Vec<(String, String)>,
    /// Made by no recorded link.
    unmade: Vec<String>,
}

impl OtherFiles {
    /// Looks at both builds. `found` are the files to patch.
    pub(in crate::pipeline) fn look(
        original: &Original,
        patched: &Patched,
        found: &[Match<'_>],
        work: &Work,
    ) -> Self {
        let mut other_files = Self::default();
        let trees = [Tree::Original, Tree::Patched].map(|tree| work.tree_of(tree));
        let mut counterparts = Counterparts::new(original, patched, trees.clone());
        let mut seen: HashSet<&str> = found.iter().map(|m| m.link.output_sha256.as_str()).collect();
        for link in links(&original.records) {
            if !seen.insert(&link.output_sha256) || found.iter().any(|m| m.link.output == link.output) {
                continue;
            }
            let Some(other) = counterparts.of(link) else { continue };
            // What link-time optimisation makes may be ordered in another way for a comment.
            if link.output_sha256 == other.output_sha256 || link.lto {
                continue;
            }
            let copies = [link, other].map(|l| l.saved.as_path().to_path_buf());
            let path = link.output.as_path();
            let top = original.top.as_ref().map_or_else(|| work.build(), |top| work.build().join(top));
            let name = path.strip_prefix(top).unwrap_or(path).display().to_string();
            match foreign(&std::fs::read(&copies[1]).unwrap_or_default()) {
                Some(kind) if differs(&copies) => other_files.foreign.push((name, kind)),
                Some(_) => {}
                None => other_files.others.push((name, copies)),
            }
        }
        for stray in &original.strays {
            let both =
                original.top.as_ref().map(|top| trees.each_ref().map(|tree| tree.join(top).join(stray)));
            if both.is_some_and(|both| both.iter().all(|file| file.exists()) && differs(&both)) {
                other_files.unmade.push(stray.clone());
            }
        }
        other_files
    }

    /// Warns of files that the patch will not reach, where it reaches others.
    pub(in crate::pipeline) fn warnings(&self) -> Vec<Warned> {
        let warned = |(name, kind): &(String, String)| Warned {
            what: "ELF file of another kind left out".into(),
            place: name.clone(),
            why: format!("the fix changes it, but it is {kind}; restart what runs it with the rebuilt file"),
        };
        self.foreign.iter().map(warned).collect()
    }

    /// Where nothing else is changed: what the fix changes and cannot be patched.
    pub(in crate::pipeline) fn refusals(&self) -> Vec<ElfReport> {
        let refused = |name: &String, what: &str, why: String, remedy: &str| {
            let place = name.clone();
            let refused =
                Refused { what: what.into(), place, why, remedy: remedy.into(), ..Refused::default() };
            ElfReport { name: name.clone(), refused: vec![refused], ..ElfReport::default() }
        };
        let foreign = self.foreign.iter().map(|(name, kind)| {
            let why = format!("the fix changes it, and it is {kind}");
            let remedy = "live patches are for 64-bit programs of x86_64 and aarch64: install the rebuilt \
             file and restart what runs it";
            refused(name, "ELF file of another kind", why, remedy)
        });
        let unmade = self.unmade.iter().map(|name| {
            let why = "it differs between the two builds, and how it is linked was not recorded".to_owned();
            let remedy = "link it with a linker that is found by PATH; --elf says which files are meant";
            refused(name, "ELF file not made by a recorded link", why, remedy)
        });
        foreign.chain(unmade).collect()
    }

    /// Why a patch changes nothing, as a sentence.
    pub(in crate::pipeline) fn nothing(&self, missing: &[Warned]) -> String {
        let mut why = "both builds give the same code and data in every ELF file of the package".to_owned();
        let others = self.others.iter().filter(|(_, copies)| differs(copies));
        let others: Vec<String> = others.map(|(name, _)| name.clone()).collect();
        if !others.is_empty() {
            why = format!(
                "both builds give the same code and data in every ELF file that is to be patched; what it \
                 changes is not among them: {}",
                shown(&others)
            );
        }
        let missing: Vec<String> = missing.iter().map(|w| w.place.clone()).collect();
        if !missing.is_empty() {
            why = format!("{why}; not compared, as no recorded link made it: {}", shown(&missing));
        }
        why
    }
}

fn differs(copies: &[PathBuf; 2]) -> bool {
    let [old, new] = copies.each_ref().map(|file| std::fs::read(file).unwrap_or_default());
    !wrapper::same_when_loaded(&old, &new)
}

fn shown(names: &[String]) -> String {
    let more = names.len().saturating_sub(SHOWN);
    let list = names[..names.len().min(SHOWN)].join(", ");
    if more == 0 { list } else { format!("{list} and {more} more") }
}
