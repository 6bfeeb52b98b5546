//! Shared libraries of a target: which of them provides a symbol, and with what version.

use std::collections::{HashSet, VecDeque};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use patchfile::Arch;
use patchfile::image::ImportKind;

use super::library::{Library, Provided, ReadFile, ReadLibraries};

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
    path: PathBuf,
    /// As it came from the linker in the patched build.
    patched: PathBuf,
    /// What libraries that need it call it.
    soname: Option<String>,
}

impl Sibling {
    /// `file` reads files. File `number`, called `name` in messages: linked at `path` by the original build,
    /// and in the patched one as `patched` keeps it.
    pub fn new(file: ReadFile, number: usize, name: String, path: PathBuf, patched: PathBuf) -> Self {
        let file_name = || path.file_name().map(|n| n.to_string_lossy().into_owned());
        let soname = Library::read(&patched, file).and_then(|l| l.soname).or_else(file_name);
        Self { number, name, path, patched, soname }
    }
}

/// The libraries of a target.
pub trait Libraries {
    /// The first library, in the order in which the dynamic loader searches, that provides `name`.
    fn find(&self, needed: &[String], name: &str) -> Option<Export>;
    /// A library that the link saw and that provides `name`, loaded by the target or not.
    fn find_unloaded(&self, name: &str) -> Option<String>;
    /// The first library of the patched build's link that provides `name`, if the dynamic loader finds it by
    /// its name alone and the package is not where it comes from: a process can load it too.
    fn find_later(&self, name: &str) -> Option<Export>;
    /// A file of the same package to which the fix adds `name`, loaded by the target or not.
    fn find_added(&self, name: &str) -> Option<String>;
}

/// Libraries as files.
#[derive(Clone, Debug)]
pub struct LibraryFiles {
    /// Name inside the library, the path that the link saw, and where the file is.
    seen: Vec<(String, PathBuf, PathBuf)>,
    directories: Vec<PathBuf>,
    /// Where the dynamic loader searches by itself.
    system: Vec<PathBuf>,
    siblings: Vec<Sibling>,
    /// Files that the link of the patched build took, of which the running program may know nothing.
    later: Vec<PathBuf>,
    read: ReadLibraries,
}

impl LibraryFiles {
    /// `seen`: files that the link took, by the path that it saw and by that of the file now; `directories`:
    /// where others may be, searched before the system's; `arch`: whose libraries the system's folders for
    /// several machines are searched for. `file` reads files.
    pub fn new(
        file: ReadFile,
        arch: Option<Arch>,
        seen: impl IntoIterator<Item = (PathBuf, PathBuf)>,
        directories: impl IntoIterator<Item = PathBuf>,
    ) -> Self {
        let seen: Vec<(PathBuf, PathBuf)> = seen.into_iter().collect();
        let mut all: Vec<PathBuf> = directories.into_iter().collect();
        all.extend(seen.iter().filter_map(|(p, _)| p.parent()).map(Path::to_owned));
        let system =
            ["/lib64", "/usr/lib64", "/lib/ARCH-linux-gnu", "/usr/lib/ARCH-linux-gnu", "/lib", "/usr/lib"];
        let arch = arch.map_or("ARCH", Arch::name);
        let system: Vec<PathBuf> =
            system.iter().map(|path| PathBuf::from(path.replace("ARCH", arch))).collect();
        all.extend(system.iter().cloned());
        let mut known = HashSet::new();
        all.retain(|d| known.insert(d.clone()));
        let read = ReadLibraries::new(file);
        let named = |(path, file): (PathBuf, PathBuf)| {
            let soname = read.get(&file)?.soname.clone();
            let file_name = || path.file_name().map(|n| n.to_string_lossy().into_owned());
            Some((soname.or_else(file_name)?, path, file))
        };
        let seen = seen.into_iter().filter_map(named).collect();
        Self { seen, directories: all, system, siblings: Vec::new(), later: Vec::new(), read }
    }

    /// With the other ELF files of the package, to which the fix may add symbols.
    #[must_use]
    pub fn with_siblings(self, siblings: Vec<Sibling>) -> Self {
        Self { siblings, ..self }
    }

    /// With the libraries that the link of the patched build took, to say which one is missing.
    #[must_use]
    pub fn with_later(self, later: Vec<PathBuf>) -> Self {
        Self { later, ..self }
    }

    /// The sibling that the dynamic loader finds by a name in `DT_NEEDED`: the one that the link took, or the
    /// only one of that name.
    fn sibling(&self, soname: &str) -> Option<&Sibling> {
        let mut named = self.siblings.iter().filter(|s| s.soname.as_deref() == Some(soname));
        let first = named.next()?;
        if named.next().is_none() {
            return Some(first);
        }
        let (_, path, _) = self.seen.iter().find(|(name, _, _)| name == soname)?;
        self.siblings.iter().find(|s| s.path == *path)
    }

    /// What the fix adds to a sibling.
    fn added(&self, sibling: &Sibling, soname: &str, name: &str) -> Option<Export> {
        let found = export(&*self.read.get(&sibling.patched)?, soname, name)?;
        Some(Export { added_by: Some(sibling.number), ..found })
    }

    /// A library by the name in `DT_NEEDED`.
    fn open(&self, soname: &str) -> Option<Rc<Library>> {
        if soname.contains('/') {
            return self.read.get(Path::new(soname));
        }
        // A library built in the same run is not installed, or in another version.
        let own = self.seen.iter().filter(|(name, _, _)| name == soname);
        own.into_iter()
            .find_map(|(_, _, file)| self.read.get(file))
            .or_else(|| self.directories.iter().find_map(|d| self.read.get(&d.join(soname))))
    }
}

fn export(library: &Library, soname: &str, name: &str) -> Option<Export> {
    let Provided { version, kind, tls } = library.provides.get(name)?.clone();
    Some(Export { library: soname.to_owned(), version, kind, tls, added_by: None })
}

impl Libraries for LibraryFiles {
    fn find(&self, needed: &[String], name: &str) -> Option<Export> {
        let mut queue: VecDeque<String> = needed.iter().cloned().collect();
        let mut known: HashSet<String> = needed.iter().cloned().collect();
        while let Some(soname) = queue.pop_front() {
            let Some(library) = self.open(&soname) else { continue };
            if let Some(export) = export(&library, &soname, name) {
                return Some(export);
            }
            if let Some(export) = self.sibling(&soname).and_then(|s| self.added(s, &soname, name)) {
                return Some(export);
            }
            queue.extend(library.needed.iter().filter(|n| known.insert((*n).clone())).cloned());
        }
        None
    }

    fn find_unloaded(&self, name: &str) -> Option<String> {
        let mut seen = self.seen.iter();
        let known = seen
            .find_map(|(soname, _, file)| export(&*self.read.get(file)?, soname, name).map(|e| e.library));
        known.or_else(|| {
            self.later.iter().find_map(|file| {
                let library = self.read.get(file)?;
                library.provides.get(name)?;
                let file_name = || file.file_name().map(|n| n.to_string_lossy().into_owned());
                library.soname.clone().or_else(file_name)
            })
        })
    }

    fn find_later(&self, name: &str) -> Option<Export> {
        let provides = |file: &PathBuf| {
            let library = self.read.get(file)?;
            export(&library, library.soname.as_deref()?, name)
        };
        let found = self.later.iter().find_map(provides)?;
        let own = self.siblings.iter().any(|s| s.soname.as_deref() == Some(found.library.as_str()));
        let installed = |dir: &PathBuf| {
            let library = self.read.get(&dir.join(&found.library));
            library.is_some_and(|l| l.soname.as_deref() == Some(found.library.as_str()))
        };
        Some(found.clone()).filter(|_| !own && self.system.iter().any(installed))
    }

    fn find_added(&self, name: &str) -> Option<String> {
        self.siblings.iter().find(|s| self.added(s, &s.name, name).is_some()).map(|s| s.name.clone())
    }
}
