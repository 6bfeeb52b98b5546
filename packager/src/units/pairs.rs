//! Pairs the objects of a link in the original build with those of the same link in the patched build.

use super::linked_objects::{LinkedObjects, ObjectPlace, Optimised, PartialLink};
use super::lto::{Program, Programs};
use super::members;
use super::pair::Pair;
use super::renamed;
use crate::elf::runtime_content;
use crate::error::Result;
use std::collections::BTreeMap;
use std::path::Path;
use wrapper::{LinkRecord, Records, UnitRecord};

/// The objects in which two links of the same output differ.
///
/// # Errors
/// When a map file cannot be read.
pub(crate) fn pair<'r>(
    before: (&'r Records, &'r LinkRecord),
    after: (&'r Records, &'r LinkRecord),
) -> Result<Vec<Pair<'r>>> {
    let mut original = LinkedObjects::of(before.0, before.1)?;
    let mut patched = LinkedObjects::of(after.0, after.1)?;
    let mut pairs = Vec::new();
    for (place, hash) in std::mem::take(&mut original.hashes) {
        let other = patched.hashes.remove(&place);
        let direct = original.direct.contains(&place) && patched.direct.contains(&place);
        if other.as_ref() == Some(&hash) {
            continue;
        }
        pairs.push(Pair {
            original: unit_of(before, &place, &hash),
            patched: other.as_ref().and_then(|h| unit_of(after, &place, h)),
            direct,
            optimised: None,
            prebuilt: None,
            place,
            original_hash: Some(hash),
            patched_hash: other,
        });
    }
    for (place, hash) in std::mem::take(&mut patched.hashes) {
        pairs.push(Pair {
            original: None,
            patched: unit_of(after, &place, &hash),
            direct: patched.direct.contains(&place),
            optimised: None,
            prebuilt: None,
            place,
            original_hash: None,
            patched_hash: Some(hash),
        });
    }
    forget_moved(&mut pairs);
    renamed::join(&mut pairs);
    for pair in &mut pairs {
        pair.prebuilt = members::kept(after.1, pair);
    }
    pairs.extend(joined(before.0, after.0, original.joined, patched.joined));
    pairs.extend(programs(before, after, &original.optimised, &patched.optimised));
    Ok(pairs)
}

/// The outputs of `-r` links in which objcopy has hidden symbols, where they differ.
fn joined<'r>(
    before: &'r Records,
    after: &'r Records,
    original: BTreeMap<ObjectPlace, PartialLink>,
    mut patched: BTreeMap<ObjectPlace, PartialLink>,
) -> Vec<Pair<'r>> {
    let mut both: Vec<(ObjectPlace, Option<PartialLink>, Option<PartialLink>)> = Vec::new();
    for (place, was) in original {
        let is = patched.remove(&place);
        both.push((place, Some(was), is));
    }
    both.extend(patched.into_iter().map(|(place, is)| (place, None, Some(is))));
    both.retain(|(_, was, is)| was.as_ref().map(|j| &j.sha256) != is.as_ref().map(|j| &j.sha256));
    let pair = |(place, was, is): (ObjectPlace, Option<PartialLink>, Option<PartialLink>)| {
        let hash = |side: &Option<PartialLink>| Some(side.as_ref()?.sha256.clone());
        let program = |records, side: &Option<PartialLink>| {
            side.as_ref().map(|joined| Program::of_joined(records, joined)).unwrap_or_default()
        };
        let path = place.through.last().cloned().unwrap_or_default();
        Pair {
            original_hash: hash(&was),
            patched_hash: hash(&is),
            original: None,
            patched: None,
            direct: false,
            prebuilt: None,
            optimised: Some(Box::new(Programs {
                original: program(before, &was),
                patched: program(after, &is),
            })),
            place: ObjectPlace { path, ..place },
        }
    };
    both.into_iter().map(pair).collect()
}

/// What link-time optimisation made of the two programs, if that differs.
fn programs<'r>(
    before: (&'r Records, &'r LinkRecord),
    after: (&'r Records, &'r LinkRecord),
    original: &Optimised,
    patched: &Optimised,
) -> Option<Pair<'r>> {
    let hashes = |optimised: &Optimised| {
        let mut hashes = optimised.pieces.clone();
        hashes.sort();
        hashes.join(" ")
    };
    let (was, is) = (hashes(original), hashes(patched));
    if was == is {
        return None;
    }
    let name = before.1.output.as_path().file_name().unwrap_or_default().to_string_lossy();
    let place = ObjectPlace {
        path: format!("{name}, optimised at link time").as_str().into(),
        ..ObjectPlace::default()
    };
    Some(Pair {
        place,
        original_hash: Some(was).filter(|h| !h.is_empty()),
        patched_hash: Some(is),
        original: None,
        patched: None,
        direct: false,
        prebuilt: None,
        optimised: Some(Box::new(Programs {
            original: Program::new(before.0, before.1, original),
            patched: Program::new(after.0, after.1, patched),
        })),
    })
}

/// How the object at this place was made. If strip, objcopy or the like changed its file afterwards, it still
/// is the unit's object where nothing that runs has changed.
fn unit_of<'r>(link: (&'r Records, &LinkRecord), place: &ObjectPlace, hash: &str) -> Option<&'r UnitRecord> {
    link.0.unit_by_object(hash).or_else(|| {
        let content = |file: &Path| runtime_content(&std::fs::read(file).ok()?).ok();
        let mut candidates = link.0.units_by_name(link.1, &place.path, place.member.as_ref());
        candidates.find(|unit| {
            let linked = unit.stored.as_path().with_file_name(hash);
            content(&linked).is_some_and(|c| Some(c) == content(unit.stored.as_path()))
        })
    })
}

/// Forgets objects that are the same under another name: rustc links objects of its own from a folder with a
/// random name.
fn forget_moved(pairs: &mut Vec<Pair<'_>>) {
    let mut at = 0;
    while at < pairs.len() {
        let lost = pairs[at].original_hash.clone().filter(|_| pairs[at].patched_hash.is_none());
        let is_new = |p: &Pair<'_>| p.original_hash.is_none() && p.patched_hash == lost;
        let Some(new) = pairs.iter().position(is_new).filter(|_| lost.is_some()) else {
            at += 1;
            continue;
        };
        pairs.remove(new.max(at));
        pairs.remove(new.min(at));
        at -= usize::from(new < at);
    }
}
