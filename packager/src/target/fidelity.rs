//! Finds the link that made an ELF file, and judges how alike the two are.

use super::TargetFile;
use crate::elf::Elf;
use serde::Serialize;
use std::collections::{HashMap, HashSet};
use wrapper::{LinkRecord, Records};

/// How well the rebuild matches the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Fidelity {
    /// Same build-id, or same code and data bytes.
    Identical,
    /// Same code at the same addresses, or every function concerned is the same instruction by instruction.
    Equivalent,
    /// Not the same program.
    Mismatch,
}

/// A target with the link that made it.
#[derive(Clone, Debug)]
pub(crate) struct Match<'r> {
    /// Index of the target.
    pub target: usize,
    /// The link of the original build.
    pub link: &'r LinkRecord,
    /// How well they match.
    pub fidelity: Fidelity,
    /// What is different, in words.
    pub difference: String,
}

/// Which links belong to `%build`: those are preferred, as the patched build then ends there.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stages(pub Option<HashSet<String>>);

impl Stages {
    /// Was the link made by `%build`?
    pub(crate) fn in_build(&self, link: &LinkRecord) -> bool {
        self.0.as_ref().is_none_or(|ids| ids.contains(&link.id))
    }
}

/// Finds the link of each target. A target that no link made, not even under its name, is left out.
pub(crate) fn match_links<'r>(
    targets: &[TargetFile],
    records: &'r Records,
    stages: &Stages,
) -> Vec<Match<'r>> {
    let mut linked: HashMap<&str, Option<Elf>> = HashMap::new();
    let mut links: Vec<&LinkRecord> = records.links.iter().filter(|l| !l.relocatable).collect();
    // Of equal links the last one of `%build` is the one whose output was packaged.
    links.sort_by_key(|l| stages.in_build(l));
    links.reverse();
    let mut found = Vec::new();
    for (index, target) in targets.iter().enumerate() {
        let mut best: Option<(Match<'r>, usize)> = None;
        for link in &links {
            let elf = linked
                .entry(&link.output_sha256)
                .or_insert_with(|| std::fs::read(&link.saved).ok().and_then(|d| Elf::parse(&d).ok()));
            let Some(elf) = elf else { continue };
            let (fidelity, difference) = judge(target, elf);
            if fidelity == Fidelity::Mismatch && !same_name(target, link) {
                continue;
            }
            // Equal code under another name may be another program of the same size: its own name decides. Of
            // links that made something else, one that differs in the strings alone (a stamp) is nearer than
            // one with other flags.
            let rank = |m: &Match<'_>, differing: usize| (m.fidelity, !same_name(target, m.link), differing);
            let differing = differing_sizes(&target.elf, elf).count();
            let this = Match { target: index, link, fidelity, difference };
            if best.as_ref().is_none_or(|(b, d)| rank(&this, differing) < rank(b, *d)) {
                best = Some((this, differing));
            }
        }
        found.extend(best.map(|(best, _)| best));
    }
    found
}

pub(super) fn judge(target: &TargetFile, linked: &Elf) -> (Fidelity, String) {
    if linked.build_id.is_some() && linked.build_id == target.elf.build_id && linked.code == target.elf.code {
        return (Fidelity::Identical, String::new());
    }
    if !target.elf.same_layout(linked) {
        let differs = layout_difference(&target.elf, linked);
        return (Fidelity::Mismatch, differs);
    }
    let sections = target.elf.different_sections(linked);
    if sections.is_empty() {
        return (Fidelity::Identical, String::new());
    }
    let text = format!("different bytes in {}", sections.join(", "));
    let code = sections.iter().any(|s| target.elf.is_code(s));
    (if code { Fidelity::Mismatch } else { Fidelity::Equivalent }, text)
}

fn layout_difference(target: &Elf, linked: &Elf) -> String {
    let mut differing: Vec<String> = differing_sizes(target, linked)
        .map(|(name, size, rebuilt)| match rebuilt {
            Some(rebuilt) => format!("{name} is {size} bytes, rebuilt {rebuilt}"),
            None => format!("{name} is not in the rebuild"),
        })
        .collect();
    if differing.is_empty() {
        return "sections lie at other addresses".into();
    }
    differing.truncate(4);
    differing.join("; ")
}

/// Sections of the target that the linked file has in another size, or not at all: name, size, size there.
fn differing_sizes<'e>(
    target: &'e Elf,
    linked: &'e Elf,
) -> impl Iterator<Item = (&'e str, u64, Option<u64>)> {
    target.sections.iter().filter_map(|section| {
        let there = linked.sections.iter().find(|s| s.name == section.name).map(|s| s.size);
        (there != Some(section.size)).then_some((section.name.as_str(), section.size, there))
    })
}

/// Do the names agree, but for what libtool and versions of libraries add?
fn same_name(target: &TargetFile, link: &LinkRecord) -> bool {
    target.names().any(|name| is_name(name, link))
}

fn is_name(target: &str, link: &LinkRecord) -> bool {
    let output = link.output.as_path().file_name().unwrap_or_default().to_string_lossy().into_owned();
    let stem = |n: &str| n.split(".so").next().unwrap_or(n).trim_start_matches("lt-").to_owned();
    output == target
        || output.trim_end_matches('T') == target
        || output.contains(".so") && target.contains(".so") && stem(&output) == stem(target)
}
