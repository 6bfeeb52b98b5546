//! Which objects put something where, also through `ld -r`.

use std::collections::HashMap;

use records::LinkRecord;

use crate::locate::map::{Contribution, LinkMap, names_of};

/// A link with `-r` whose output is an input of another link.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    /// Its record.
    pub record: &'a LinkRecord,
    /// Text of its map file.
    pub map: &'a str,
}

/// The map's contributions, each with the hashes of the inputs that it may be from. In place of what a `-r`
/// link made stand its own inputs: that link keeps sections of one name together and does not touch their
/// bytes.
pub(super) fn contributions<'a>(
    map: &LinkMap,
    record: &'a LinkRecord,
    parts: &'a [Part<'a>],
) -> Vec<(Contribution, Vec<&'a str>)> {
    let inner: HashMap<&str, (&Part<'a>, LinkMap)> =
        parts.iter().map(|p| (p.record.output_sha256.as_str(), (p, LinkMap::parse(p.map)))).collect();
    let mut found = Vec::new();
    expand(map, record, &inner, None, &mut found, 0);
    found
}

/// A `-r` link may have outputs of others among its inputs; none is its own.
const DEEPEST: usize = 8;

fn expand<'a>(
    map: &LinkMap,
    record: &'a LinkRecord,
    inner: &HashMap<&str, (&Part<'a>, LinkMap)>,
    within: Option<&Contribution>,
    found: &mut Vec<(Contribution, Vec<&'a str>)>,
    depth: usize,
) {
    let mut names: HashMap<(String, Option<String>), Vec<&'a str>> = HashMap::new();
    for input in &record.inputs {
        for name in names_of(input, record) {
            let of_name = names.entry(name).or_default();
            if !of_name.contains(&input.sha256.as_str()) {
                of_name.push(&input.sha256);
            }
        }
    }
    for contribution in map.contributions.iter().filter(|c| c.size > 0 && is_loaded(&c.section)) {
        let mut contribution = contribution.clone();
        if let Some(outer) = within {
            let end = contribution.address.saturating_add(contribution.size);
            if contribution.section != outer.section || end > outer.size {
                continue;
            }
            contribution.address += outer.address;
        }
        let key = (contribution.path.clone(), contribution.member.clone());
        let candidates = names.get(&key).cloned().unwrap_or_default();
        let part = candidates.iter().find_map(|sha256| inner.get(sha256)).filter(|_| depth < DEEPEST);
        match part {
            Some((part, map)) if !contribution.resized => {
                expand(map, part.record, inner, Some(&contribution), found, depth + 1);
            }
            _ => found.push((contribution, candidates)),
        }
    }
}

/// Is a section of this name part of the running program? The others begin at address 0, and so seem to lie
/// among those that are.
fn is_loaded(section: &str) -> bool {
    const APART: [&str; 8] =
        [".debug", ".zdebug", ".gnu.debug", ".gnu.lto", ".comment", ".stab", ".line", ".note.GNU-stack"];
    !APART.iter().any(|name| section.starts_with(name))
}
