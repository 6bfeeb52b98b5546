//! The objects that went into a link, through `-r` links and archives.
//!
//! Objects with bytecode for link-time optimisation go another way: what the linker took is what its plugin
//! made of all of them.

use crate::elf::holds_bytecode;
use crate::elf::read_loaded;
use crate::error::{Context, Result};
use linker::{contributing, names_of};
use std::collections::{BTreeMap, HashMap, HashSet};
use wrapper::{LinkRecord, OsBytes, Pass, Records, UnitRecord};

/// Where in a link an object stands: the file as the linker names it, the archive member, which one of that
/// name, and the `-r` link it came through.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ObjectPlace {
    /// Outputs of the `-r` links on the way.
    pub through: Vec<OsBytes>,
    /// The file.
    pub path: OsBytes,
    /// Archive member.
    pub member: Option<OsBytes>,
    /// 0 for the first of this path and member.
    pub occurrence: u32,
}

impl ObjectPlace {
    /// For messages.
    pub(crate) fn show(&self) -> String {
        match &self.member {
            Some(member) => format!("{}({})", self.path.to_string_lossy(), member.to_string_lossy()),
            None => self.path.to_string_lossy(),
        }
    }
}

/// All objects of one link with their hashes.
#[derive(Clone, Debug, Default)]
pub(crate) struct LinkedObjects {
    /// Hash by place.
    pub hashes: BTreeMap<ObjectPlace, String>,
    /// The hashes in the order of the link.
    order: Vec<String>,
    /// Objects that hold bytecode, of which the linker took the machine code all the same.
    pub direct: HashSet<ObjectPlace>,
    /// What link-time optimisation took and made.
    pub optimised: Optimised,
    /// Outputs of `-r` links in which objcopy has hidden symbols.
    pub joined: BTreeMap<ObjectPlace, PartialLink>,
}

/// The output of a `-r` link in which objcopy has hidden symbols. To the other files of the program it is one
/// object, whose parts alone can name what is hidden.
#[derive(Clone, Debug, Default)]
pub(crate) struct PartialLink {
    /// Hash of the output.
    pub sha256: String,
    /// Hashes of the objects in it, in the order of the link; none where a part is not an object that was
    /// compiled.
    pub objects: Vec<String>,
    /// What objcopy did.
    pub passes: Vec<Pass>,
}

/// Objects of link-time optimisation.
#[derive(Clone, Debug, Default)]
pub(crate) struct Optimised {
    /// Hashes of the objects that were made during the link.
    pub pieces: Vec<String>,
    /// Hashes of those that they were made from.
    pub sources: Vec<String>,
}

impl LinkedObjects {
    /// Follows the inputs of `link`; members that the linker did not take are left out.
    ///
    /// # Errors
    /// When a map file cannot be read.
    pub(crate) fn of(records: &Records, link: &LinkRecord) -> Result<Self> {
        // A later unit hides an earlier one with the same object, as in `Records::unit_by_object`.
        let all = records.copied.iter().rev().chain(&records.units);
        let units = all.map(|unit| (unit.object_sha256.as_str(), unit)).collect();
        let mut walk = Walk { records, units, seen: HashSet::new(), found: Self::default() };
        walk.add(link, &[])?;
        Ok(walk.found)
    }
}

/// The way through the links.
struct Walk<'r> {
    records: &'r Records,
    /// By the hash of the object: a link of a big program has thousands of inputs.
    units: HashMap<&'r str, &'r UnitRecord>,
    seen: HashSet<&'r str>,
    found: LinkedObjects,
}

impl<'r> Walk<'r> {
    fn add(&mut self, link: &'r LinkRecord, through: &[OsBytes]) -> Result<()> {
        if !self.seen.insert(&link.id) {
            return Ok(());
        }
        let taken = match &link.map {
            Some(map) => Some(MapMembers::read(&std::fs::read(map).at(map.as_path())?)),
            None => None,
        };
        let mut contributes: Option<HashSet<_>> = None;
        for input in &link.inputs {
            let unit = self.units.get(input.sha256.as_str()).copied();
            if link.lto && unit.is_some_and(UnitRecord::made_by_link) {
                self.found.optimised.pieces.push(input.sha256.clone());
                continue;
            }
            if let (Some(_), Some(taken)) = (&input.member, &taken)
                && !taken.has(&names_of(input, link))
            {
                continue;
            }
            let inner = self.records.link_by_sha256(&input.sha256);
            if let Some(inner) = inner.filter(|l| l.relocatable) {
                let mut deeper = through.to_vec();
                deeper.push(input.path.clone());
                deeper.extend(input.member.clone());
                if inner.copied.is_empty() {
                    self.add(inner, &deeper)?;
                    continue;
                }
                let place = ObjectPlace { through: deeper, ..ObjectPlace::default() };
                let found = std::mem::take(&mut self.found);
                self.add(inner, &[])?;
                let inside = std::mem::replace(&mut self.found, found);
                let plain = inside.joined.is_empty() && inside.optimised.pieces.is_empty();
                let joined = PartialLink {
                    sha256: input.sha256.clone(),
                    objects: if plain { inside.order } else { Vec::new() },
                    passes: inner.copied.clone(),
                };
                self.found.joined.insert(place, joined);
                continue;
            }
            let place = ObjectPlace {
                through: through.to_vec(),
                path: input.path.clone(),
                member: input.member.clone(),
                occurrence: input.occurrence,
            };
            if bytecode(link, unit, &input.sha256) {
                let contributes = contributes.get_or_insert_with(|| in_map(link));
                if names_of(input, link).iter().any(|name| contributes.contains(name)) {
                    self.found.direct.insert(place.clone());
                } else if link.lto {
                    self.found.optimised.sources.push(input.sha256.clone());
                    continue;
                }
            }
            self.found.order.push(input.sha256.clone());
            self.found.hashes.insert(place, input.sha256.clone());
        }
        Ok(())
    }
}

/// Does an input hold bytecode? Those that the system brings are not kept, and hold none; nor does one that
/// was compiled without link-time optimisation, in a link without it, which saves reading it.
fn bytecode(link: &LinkRecord, unit: Option<&UnitRecord>, sha256: &str) -> bool {
    let without = !link.lto && unit.is_some_and(|unit| !unit.lto);
    !without && std::fs::read(link.kept_object(sha256)).is_ok_and(|data| holds_bytecode(&data))
}

/// What a link was made of, as far as the recorder has kept it.
#[derive(Clone, Debug, Default)]
pub(crate) struct LinkSources<'r> {
    /// Content of the inputs, also of those of `-r` links before it, by hash.
    pub objects: HashMap<String, Vec<u8>>,
    /// The `-r` links, with the texts of their maps.
    pub parts: Vec<(&'r LinkRecord, String)>,
}

/// Reads what a link was made of.
pub(crate) fn made_of<'r>(records: &'r Records, link: &'r LinkRecord) -> LinkSources<'r> {
    let mut made = LinkSources::default();
    let mut todo = vec![link];
    while let Some(link) = todo.pop() {
        for input in &link.inputs {
            let part = records.link_by_sha256(&input.sha256).filter(|l| l.relocatable);
            let map = part.and_then(|l| std::fs::read(l.map.as_ref()?.as_path()).ok());
            if let (Some(part), Some(map)) = (part, map) {
                if !made.parts.iter().any(|(known, _)| known.id == part.id) {
                    made.parts.push((part, String::from_utf8_lossy(&map).into_owned()));
                    todo.push(part);
                }
            } else if let (false, Ok(data)) =
                (made.objects.contains_key(&input.sha256), read_loaded(&link.kept_object(&input.sha256)))
            {
                made.objects.insert(input.sha256.clone(), data);
            }
        }
    }
    made
}

fn in_map(link: &LinkRecord) -> HashSet<(String, Option<String>)> {
    let map = link.map.as_ref().and_then(|map| std::fs::read(map).ok()).unwrap_or_default();
    contributing(&String::from_utf8_lossy(&map))
}

/// Archive members that a map file names as `archive(member)`, and those of thin archives, which stand there
/// as files.
struct MapMembers {
    members: HashMap<Vec<u8>, Vec<Vec<u8>>>,
    files: HashSet<Vec<u8>>,
}

impl MapMembers {
    fn read(map: &[u8]) -> Self {
        let mut found: HashMap<Vec<u8>, Vec<Vec<u8>>> = HashMap::new();
        let mut files = HashSet::new();
        for line in map.split(|b| *b == b'\n') {
            // At the end of a section's line; in the member list at the top the file comes first, and may
            // stand alone.
            let mut words = line.split(|b| *b == b' ').filter(|word| !word.is_empty());
            let (first, last) = (words.next(), words.next_back());
            files.extend(last.or(first).map(<[u8]>::to_vec));
            // The member list at the top of GNU ld's map puts the reason behind the member, hence each `)` of
            // a line.
            for (end, _) in line.iter().enumerate().filter(|(_, b)| **b == b')') {
                let Some(start) = line[..end].iter().rposition(|b| *b == b'(') else { continue };
                let archives = found.entry(line[start + 1..end].to_vec()).or_default();
                let archive = &line[..start];
                if archives.last().is_none_or(|a| a != archive) {
                    archives.push(archive.to_vec());
                }
            }
        }
        Self { members: found, files }
    }

    /// Does the map have the member, under one of these names?
    fn has(&self, names: &[(String, Option<String>)]) -> bool {
        names.iter().any(|(path, member)| match member {
            Some(member) => {
                let archives = self.members.get(member.as_bytes());
                archives.is_some_and(|a| a.iter().any(|a| ends_with_word(a, path.as_bytes())))
            }
            None => self.files.contains(path.as_bytes()),
        })
    }
}

/// Does the line end with this file name, and not with a longer one? Names may hold blanks, so the line
/// cannot be cut into words.
fn ends_with_word(line: &[u8], name: &[u8]) -> bool {
    line.strip_suffix(name).is_some_and(|before| before.last().is_none_or(u8::is_ascii_whitespace))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_found_in_a_map() {
        let map = b"Archive member included to satisfy reference by file (symbol)\n\nlib x.a(one.o)        \
         main.o (f)\n .text          0x1 0x2 lib x.a(one.o)\n";
        let taken = MapMembers::read(map);
        let has = |archive: &str, member: &str| taken.has(&[(archive.to_owned(), Some(member.to_owned()))]);
        assert!(has("lib x.a", "one.o"));
        assert!(!has("lib x.a", "two.o"));
        assert!(!has("other.a", "one.o"));
    }

    #[test]
    fn an_archive_of_a_longer_name_is_another() {
        let taken = MapMembers::read(b" .text          0x1 0x2 ./libx.a(one.o)\n");
        let has = |archive: &str| taken.has(&[(archive.to_owned(), Some("one.o".to_owned()))]);
        assert!(has("./libx.a"));
        assert!(!has("libx.a") && !has("x.a"));
    }

    #[test]
    fn members_of_thin_archives_are_files() {
        let map = b"Archive member included to satisfy reference by file \
         (symbol)\n\nd/x.p/f.o                     m.o (f)\n\n .text          0x0000000000001134        0xb \
         d/x.p/f.o\n";
        let taken = MapMembers::read(map);
        assert!(taken.has(&[("d/x.p/f.o".to_owned(), None)]));
        assert!(!taken.has(&[("x.p/f.o".to_owned(), None)]));
    }
}
