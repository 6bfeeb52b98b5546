//! Members of static archives that nobody compiles in this build, and that the patched link takes although
//! the original one did not: what `libgcc.a` and `libc_nonshared.a` hold, a distribution's static libraries,
//! archives that came with the sources.
//!
//! Such a member is a new unit, whose object is there as it was linked.

use super::linked_objects::ObjectPlace;
use super::pair::Pair;
use linker::contributing;
use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use wrapper::{LinkRecord, OsBytes};

/// A unit without code and data, to compare a new object with: an ELF header (gABI, "ELF Header") with no
/// sections.
pub(super) const EMPTY: [u8; 64] = {
    const ET_REL: u8 = 1;
    const EM_X86_64: u8 = 62;
    let mut header = [0; 64];
    let head = [0x7f, b'E', b'L', b'F', 2, 1, 1];
    let mut at = 0;
    while at < head.len() {
        header[at] = head[at];
        at += 1;
    }
    header[16] = ET_REL;
    header[18] = EM_X86_64;
    header[20] = 1;
    header[52] = 64;
    header[58] = 64;
    header
};

/// The members of archives which the recorder does not follow that `after` took and `before` did not. Their
/// objects are written to `dir`. One that cannot be told for certain is left out: then what it defines is
/// undefined.
pub(crate) fn added<'r>(before: &LinkRecord, after: &LinkRecord, dir: &Path) -> Vec<Pair<'r>> {
    let known = taken(before);
    let mut wanted: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (path, member) in taken(after).difference(&known) {
        let archive = |i: &&wrapper::LinkInput| i.path.as_bytes() == path.as_bytes();
        let followed = after.inputs.iter().filter(archive).any(|i| i.member.is_some());
        if let (Some(member), false) = (member, followed) {
            wanted.entry(path.clone()).or_default().push(member.clone());
        }
    }
    let mut pairs = Vec::new();
    for (path, members) in wanted {
        let Some(objects) = read(after, &path) else { continue };
        for member in members {
            let mut named = objects.iter().filter(|(name, _, _)| *name == member);
            let (Some((_, sha256, data)), None) = (named.next(), named.next()) else { continue };
            let file = dir.join(format!("member-{sha256}.o"));
            let place = ObjectPlace {
                path: path.as_str().into(),
                member: Some(member.as_str().into()),
                ..ObjectPlace::default()
            };
            if std::fs::create_dir_all(dir).and_then(|()| std::fs::write(&file, data)).is_ok() {
                pairs.push(Pair::prebuilt(place, sha256.clone(), file));
            }
        }
    }
    pairs
}

/// The recorder's copy of a new member that no recorded compiler made.
pub(super) fn kept(link: &LinkRecord, pair: &Pair<'_>) -> Option<PathBuf> {
    let unknown = pair.original_hash.is_none() && pair.patched.is_none() && pair.place.through.is_empty();
    let hash = pair.patched_hash.as_deref().filter(|_| unknown && pair.place.member.is_some())?;
    Some(link.kept_object(hash)).filter(|file| file.exists())
}

/// Files and members that put something into the output, as the map names them.
fn taken(link: &LinkRecord) -> HashSet<(String, Option<String>)> {
    let map = link.map.as_ref().and_then(|map| std::fs::read(map).ok()).unwrap_or_default();
    contributing(&String::from_utf8_lossy(&map))
}

/// Name, hash and content of the members of an archive, if it still is the one that was linked.
fn read(link: &LinkRecord, path: &str) -> Option<Vec<(String, String, Vec<u8>)>> {
    let file = link.cwd.as_path().join(path);
    let mut recorded = link.inputs.iter().filter(|i| i.path.as_bytes() == path.as_bytes());
    if let Some(input) = recorded.find(|i| i.member.is_none()) {
        let data = std::fs::read(&file).ok()?;
        (wrapper::sha256(&data) == input.sha256).then_some(())?;
    }
    let mut objects: Vec<(String, Vec<u8>)> = Vec::new();
    let seen = |sha256: &str, data: &[u8]| {
        objects.push((sha256.to_owned(), data.to_vec()));
        Ok(())
    };
    let names = wrapper::members(&file, seen).ok()?;
    let named = names.into_iter().zip(objects);
    Some(
        named
            .map(|((name, _), (sha256, data))| (OsBytes::from(name).to_string_lossy(), sha256, data))
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_in_the_empty_unit() {
        let diff = differ::diff(&EMPTY, &EMPTY, &differ::Options::default()).unwrap();
        assert!(diff.is_unchanged());
    }
}
