//! Shared libraries: which of those that the target loads provides a symbol, and with what version.

use std::collections::{HashSet, VecDeque};
use std::path::{Path, PathBuf};

use patchfile::image::ImportKind;

use super::elf::{Elf, STT_OBJECT, STT_TLS};

/// A symbol that a library provides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Export {
    /// `DT_SONAME`, else file name, of the library.
    pub library: String,
    /// Default version of the symbol.
    pub version: Option<String>,
    /// Function or object.
    pub kind: ImportKind,
    /// Thread-local variable.
    pub tls: bool,
    /// The running library has it not, the fix adds it: number of the sibling, see [`Sibling`].
    pub added_by: Option<usize>,
}

/// Another ELF file of the package, which the same patch may change.
#[derive(Clone, Debug)]
pub struct Sibling {
    /// Number by which [`Export::added_by`] names it.
    pub number: usize,
    /// File name, for messages.
    pub name: String,
    /// Where the original build linked it.
    pub path: PathBuf,
    /// As it came from the linker in the patched build.
    pub patched: PathBuf,
}

/// The libraries of a target.
pub trait Libraries {
    /// The first library, in the order in which the dynamic loader searches, that provides `name`.
    fn find(&self, needed: &[String], name: &str) -> Option<Export>;
    /// A library that the link saw and that provides `name`, loaded by the target or not.
    fn find_unloaded(&self, name: &str) -> Option<String>;
    /// A file of the same package to which the fix adds `name`, loaded by the target or not.
    fn find_added(&self, name: &str) -> Option<String>;
}

/// Libraries as files.
#[derive(Clone, Debug)]
pub struct LibraryFiles {
    /// Name inside the library, the path that the link saw, and where the file is.
    seen: Vec<(String, PathBuf, PathBuf)>,
    directories: Vec<PathBuf>,
    siblings: Vec<(Option<String>, Sibling)>,
}

impl LibraryFiles {
    /// `seen`: files that the link took, by the path that it saw and by that of the file now; `directories`: where others may be,
    /// searched before the system's.
    pub fn new(
        seen: impl IntoIterator<Item = (PathBuf, PathBuf)>,
        directories: impl IntoIterator<Item = PathBuf>,
    ) -> Self {
        let seen: Vec<(PathBuf, PathBuf)> = seen.into_iter().collect();
        let mut all: Vec<PathBuf> = directories.into_iter().collect();
        all.extend(seen.iter().filter_map(|(p, _)| p.parent()).map(Path::to_owned));
        let system = [
            "/lib64",
            "/usr/lib64",
            "/lib/x86_64-linux-gnu",
            "/usr/lib/x86_64-linux-gnu",
            "/lib",
            "/usr/lib",
        ];
        all.extend(system.map(PathBuf::from));
        let mut known = HashSet::new();
        all.retain(|d| known.insert(d.clone()));
        let named = |(path, file): (PathBuf, PathBuf)| {
            let data = std::fs::read(&file).ok()?;
            let soname = Elf::parse(&data, "").ok()?.dynamic_names(DT_SONAME).pop();
            let file_name = || path.file_name().map(|n| n.to_string_lossy().into_owned());
            Some((soname.or_else(file_name)?, path, file))
        };
        Self { seen: seen.into_iter().filter_map(named).collect(), directories: all, siblings: Vec::new() }
    }

    /// With the other ELF files of the package, to which the fix may add symbols.
    #[must_use]
    pub fn with_siblings(mut self, siblings: Vec<Sibling>) -> Self {
        let soname = |s: &Sibling| {
            let data = std::fs::read(&s.patched).ok()?;
            Elf::parse(&data, "").ok()?.dynamic_names(DT_SONAME).pop()
        };
        self.siblings = siblings.into_iter().map(|s| (soname(&s), s)).collect();
        self
    }

    /// The sibling that the dynamic loader finds by a name in `DT_NEEDED`: the one that the link took, or the only one of that name.
    fn sibling(&self, soname: &str) -> Option<&Sibling> {
        let file_name = |s: &Sibling| s.path.file_name().is_some_and(|n| n.to_str() == Some(soname));
        let mut named = self
            .siblings
            .iter()
            .filter(|(name, s)| name.as_deref().map_or_else(|| file_name(s), |n| n == soname))
            .map(|(_, s)| s);
        let first = named.next()?;
        if named.next().is_none() {
            return Some(first);
        }
        let (_, path, _) = self.seen.iter().find(|(name, _, _)| name == soname)?;
        self.siblings.iter().map(|(_, s)| s).find(|s| s.path == *path)
    }

    /// What the fix adds to a sibling.
    fn added(sibling: &Sibling, soname: &str, name: &str) -> Option<Export> {
        let data = std::fs::read(&sibling.patched).ok()?;
        let found = export(&Elf::parse(&data, soname).ok()?, soname, name)?;
        Some(Export { added_by: Some(sibling.number), ..found })
    }

    /// A library's file by the name in `DT_NEEDED`.
    fn open(&self, soname: &str) -> Option<Vec<u8>> {
        if soname.contains('/') {
            return std::fs::read(soname).ok();
        }
        // A library built in the same run is not installed, or in another version.
        let own = self
            .seen
            .iter()
            .filter(|(name, _, _)| name == soname)
            .find_map(|(_, _, p)| std::fs::read(p).ok());
        own.or_else(|| self.directories.iter().find_map(|d| std::fs::read(d.join(soname)).ok()))
    }
}

const DT_NEEDED: u64 = 1;
const DT_SONAME: u64 = 14;

fn export(elf: &Elf<'_>, library: &str, name: &str) -> Option<Export> {
    let mut symbols = elf.dynamic_symbols.iter().filter(|s| s.is_defined() && s.name == name);
    let symbol = symbols.find(|s| !s.version_hidden && !matches!(s.visibility, 1 | 2))?;
    Some(Export {
        library: library.to_owned(),
        version: symbol.version.clone(),
        kind: if symbol.kind == STT_OBJECT { ImportKind::Object } else { ImportKind::Function },
        tls: symbol.kind == STT_TLS,
        added_by: None,
    })
}

impl Libraries for LibraryFiles {
    fn find(&self, needed: &[String], name: &str) -> Option<Export> {
        let mut queue: VecDeque<String> = needed.iter().cloned().collect();
        let mut known: HashSet<String> = needed.iter().cloned().collect();
        while let Some(soname) = queue.pop_front() {
            let Some(data) = self.open(&soname) else { continue };
            let Ok(elf) = Elf::parse(&data, &soname) else { continue };
            if let Some(export) = export(&elf, &soname, name) {
                return Some(export);
            }
            if let Some(export) = self.sibling(&soname).and_then(|s| Self::added(s, &soname, name)) {
                return Some(export);
            }
            queue.extend(elf.dynamic_names(DT_NEEDED).into_iter().filter(|n| known.insert(n.clone())));
        }
        None
    }

    fn find_unloaded(&self, name: &str) -> Option<String> {
        self.seen.iter().find_map(|(soname, _, path)| {
            let data = std::fs::read(path).ok()?;
            export(&Elf::parse(&data, "").ok()?, soname, name).map(|e| e.library)
        })
    }

    fn find_added(&self, name: &str) -> Option<String> {
        let has = |(_, s): &&(Option<String>, Sibling)| Self::added(s, &s.name, name).is_some();
        self.siblings.iter().find(has).map(|(_, s)| s.name.clone())
    }
}
