//! Files that must not be there, kept by directory: a compiler that looks for 150 headers in 8 directories
//! has found a thousand files missing. One reading of a directory answers for all names in it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use records::OsBytes;

/// Names of what a directory holds; read once for each directory. A directory that cannot be read holds
/// nothing.
#[derive(Debug, Default)]
pub(crate) struct Listings(HashMap<PathBuf, HashSet<OsString>>);

impl Listings {
    fn has(&mut self, dir: &Path, name: &OsStr) -> bool {
        if !self.0.contains_key(dir) {
            let names =
                fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.file_name()).collect();
            self.0.insert(dir.to_path_buf(), names);
        }
        self.0.get(dir).is_some_and(|names| names.contains(name))
    }

    /// The directory and the first part of `name` below it that is missing; `None` if all of it is there.
    pub(crate) fn missing_part(&mut self, dir: &Path, name: &Path) -> Option<(PathBuf, OsString)> {
        let mut dir = dir.to_path_buf();
        let mut parts: Vec<Component<'_>> = name.components().collect();
        if name.is_absolute() {
            dir = PathBuf::from("/");
        }
        parts.retain(|part| !matches!(part, Component::RootDir | Component::CurDir));
        for part in parts {
            if let Component::Normal(part) = part
                && !self.has(&dir, part)
            {
                return Some((dir, part.to_owned()));
            }
            dir.push(part);
        }
        None
    }
}

/// A set of files that must be missing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Absences(Vec<(OsBytes, Vec<OsBytes>)>);

impl Absences {
    /// Whether all of them are still missing.
    pub(crate) fn hold(&self, listings: &mut Listings) -> bool {
        self.0
            .iter()
            .all(|(dir, names)| names.iter().all(|name| !listings.has(dir.as_path(), name.as_os_str())))
    }

    /// All, for hashing.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&OsBytes, &OsBytes)> {
        self.0.iter().flat_map(|(dir, names)| names.iter().map(move |name| (dir, name)))
    }
}

/// Collects [`Absences`].
#[derive(Debug, Default)]
pub(crate) struct Collector(BTreeMap<PathBuf, BTreeSet<OsString>>);

impl Collector {
    pub(crate) fn add(&mut self, (dir, name): (PathBuf, OsString)) {
        self.0.entry(dir).or_default().insert(name);
    }

    pub(crate) fn finish(self) -> Absences {
        let names = |names: BTreeSet<OsString>| names.into_iter().map(OsBytes::from).collect();
        Absences(self.0.into_iter().map(|(dir, set)| (dir.into(), names(set))).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts() {
        let scratch = tempfile::tempdir().unwrap();
        let dir = scratch.path();
        fs::create_dir(dir.join("sys")).unwrap();
        fs::write(dir.join("sys/a.h"), "").unwrap();
        let part = |name: &str| Listings::default().missing_part(dir, Path::new(name));
        assert_eq!(part("sys/a.h"), None);
        assert_eq!(part("sys/../sys/a.h"), None);
        assert_eq!(part("sys/b.h"), Some((dir.join("sys"), "b.h".into())));
        assert_eq!(part("net/b.h"), Some((dir.to_path_buf(), "net".into())));
        let mut collector = Collector::default();
        collector.add(part("net/b.h").unwrap());
        collector.add(part("sys/b.h").unwrap());
        let absences = collector.finish();
        assert!(absences.hold(&mut Listings::default()));
        fs::create_dir(dir.join("net")).unwrap();
        assert!(!absences.hold(&mut Listings::default()));
    }
}
