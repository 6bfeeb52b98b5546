//! Outputs of `-r` links that strip or objcopy has been at before they were linked.
//!
//! glibc takes sections out of its own, others take debug information, often under a new name. Where nothing
//! that runs has changed, such an object is the output of that `-r` link to all that asks what went into a
//! program.

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
    let units = records.units.iter().chain(&records.copied).map(|unit| unit.object_sha256.as_str());
    let mut known: HashSet<&str> =
        units.chain(records.links.iter().map(|link| link.output_sha256.as_str())).collect();
    let mut altered = Vec::new();
    for link in &records.links {
        for input in link.inputs.iter().filter(|input| known.insert(&input.sha256)) {
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

fn content(file: &Path) -> Option<patchfile::Digest> {
    runtime_content(&std::fs::read(file).ok()?).ok()
}
