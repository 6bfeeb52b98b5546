//! Outputs of `-r` links that strip or objcopy has been at before they were linked.
//!
//! glibc takes sections out of its own, others take debug information, often under a new name. Where nothing
//! that runs has changed, such an object is the output of that `-r` link to all that asks what went into a
//! program. Where objcopy has only hidden symbols from the other files (`--localize-symbol`), it is so too;
//! the record says what objcopy did.

use crate::elf::runtime_content;
use std::collections::{HashMap, HashSet};
use std::path::Path;
use wrapper::{LinkRecord, Records};

/// Finds them among what was linked, and adds a record to `records.altered` for each: that of the `-r` link,
/// with their hash.
pub(super) fn find(records: &mut Records) {
    let mut parts: HashMap<_, &LinkRecord> = HashMap::new();
    for part in records.links.iter().filter(|l| l.relocatable) {
        if let Some(content) = content(part.saved.as_path()) {
            parts.insert(content, part);
        }
    }
    if parts.is_empty() {
        return;
    }
    let hidden = hidden(records);
    let units = records.units.iter().chain(&records.copied).map(|unit| unit.object_sha256.as_str());
    let mut known: HashSet<&str> =
        units.chain(records.links.iter().map(|link| link.output_sha256.as_str())).collect();
    let mut altered = Vec::new();
    for link in &records.links {
        for input in link.inputs.iter().filter(|input| known.insert(&input.sha256)) {
            if let Some(part) = hidden.get(input.sha256.as_str()) {
                altered.push(part.clone());
                continue;
            }
            let Some(content) = content(&link.kept_object(&input.sha256)) else { continue };
            altered.extend(parts.get(&content).map(|part| LinkRecord {
                id: format!("{} {}", part.id, input.sha256),
                output_sha256: input.sha256.clone(),
                ..(*part).clone()
            }));
        }
    }
    records.altered = altered;
}

/// What objcopy made of outputs of `-r` links when it did nothing but hide symbols, by hash.
fn hidden(records: &Records) -> HashMap<&str, LinkRecord> {
    let mut hidden: HashMap<&str, LinkRecord> = HashMap::new();
    for copy in &records.copies {
        let input = copy.input_sha256.as_str();
        let before = hidden.get(input).or_else(|| {
            records.links.iter().rev().find(|link| link.relocatable && link.output_sha256 == input)
        });
        let Some(before) = before else { continue };
        let mut part = LinkRecord {
            id: format!("{} {}", before.id, copy.output_sha256),
            output_sha256: copy.output_sha256.clone(),
            ..before.clone()
        };
        match &copy.pass {
            Some(pass) if pass.only_hides() => part.copied.push(pass.clone()),
            Some(_) => continue,
            None => {}
        }
        hidden.insert(&copy.output_sha256, part);
    }
    hidden.retain(|_, part| !part.copied.is_empty());
    hidden
}

fn content(file: &Path) -> Option<patchfile::Digest> {
    runtime_content(&std::fs::read(file).ok()?).ok()
}
