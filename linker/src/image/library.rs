//! What a shared library tells the dynamic loader.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use patchfile::image::ImportKind;

use crate::arch;
use crate::elf::{ElfFile, STT_OBJECT, STT_TLS};

const DT_NEEDED: u64 = 1;
const DT_SONAME: u64 = 14;
/// Visibilities of symbols that others do not see (gABI, "Symbol Visibility").
const STV_INTERNAL: u8 = 1;
const STV_HIDDEN: u8 = 2;

/// A symbol under the version that it has by default.
#[derive(Clone, Debug)]
pub(crate) struct Provided {
    pub(crate) version: Option<String>,
    pub(crate) kind: ImportKind,
    pub(crate) tls: bool,
}

/// A library's dynamic section and symbols.
#[derive(Debug)]
pub(crate) struct Library {
    pub(crate) soname: Option<String>,
    pub(crate) needed: Vec<String>,
    pub(crate) provides: HashMap<String, Provided>,
}

impl Library {
    /// `None` for a file that is none, or cannot be read.
    pub(crate) fn read(path: &Path, file: ReadFile) -> Option<Self> {
        let data = file(path)?;
        let elf = ElfFile::parse(&data, "").ok()?;
        arch::of(elf.machine)?;
        let mut provides = HashMap::new();
        for symbol in &elf.dynamic_symbols {
            let seen = !symbol.version_hidden && !matches!(symbol.visibility, STV_INTERNAL | STV_HIDDEN);
            if seen && symbol.is_defined() {
                let provided = Provided {
                    version: symbol.version.clone(),
                    kind: if symbol.kind == STT_OBJECT { ImportKind::Object } else { ImportKind::Function },
                    tls: symbol.kind == STT_TLS,
                };
                provides.entry(symbol.name.clone()).or_insert(provided);
            }
        }
        let soname = elf.dynamic_names(DT_SONAME).pop();
        Some(Self { soname, needed: elf.dynamic_names(DT_NEEDED), provides })
    }
}

/// Gives the content of a file; `None` if it cannot be read.
pub(crate) type ReadFile = fn(&Path) -> Option<Vec<u8>>;

/// Libraries by their files, each read once.
#[derive(Clone, Debug)]
pub(crate) struct ReadLibraries {
    file: ReadFile,
    read: RefCell<HashMap<PathBuf, Option<Rc<Library>>>>,
}

impl ReadLibraries {
    pub(crate) fn new(file: ReadFile) -> Self {
        Self { file, read: RefCell::default() }
    }

    /// See [`Library::read`].
    pub(crate) fn get(&self, path: &Path) -> Option<Rc<Library>> {
        if let Some(known) = self.read.borrow().get(path) {
            return known.clone();
        }
        let library = Library::read(path, self.file).map(Rc::new);
        self.read.borrow_mut().insert(path.to_owned(), library.clone());
        library
    }
}
