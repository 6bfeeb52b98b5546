//! A shipped module of a kernel.

use patchfile::BuildId;

use super::symvers::KernelObject;
use crate::elf::{PlainPlace, PlainSection, PlainSymbol, Relocatable, SHF_ALLOC};
use crate::error::LinkError;

/// A shipped module, unpacked.
#[derive(Debug)]
pub struct KernelModuleFile {
    /// The name that the kernel knows it by.
    pub name: String,
    pub(super) object: Relocatable,
    build_id: Option<BuildId>,
}

impl KernelModuleFile {
    /// Reads a `.ko`; `name` is its path or its name, from which the module has its name.
    ///
    /// # Errors
    /// When it is no relocatable ELF file, or is damaged.
    pub fn read(name: &str, bytes: &[u8]) -> Result<Self, LinkError> {
        let bad = |why: String| LinkError::Elf { file: name.to_owned(), why };
        let object = Relocatable::read(bytes).map_err(bad)?;
        let notes = object.sections.iter().filter(|s| s.kind == crate::elf::SHT_NOTE);
        let build_id = notes.map(|s| s.data.as_slice()).find_map(patchfile::identity::build_id);
        Ok(Self { name: KernelObject::of_path(name).name().to_owned(), object, build_id })
    }

    /// The build-id.
    pub fn build_id(&self) -> Option<BuildId> {
        self.build_id.clone()
    }

    /// What a key of `.modinfo` says, as `vermagic`.
    pub fn information(&self, key: &str) -> Option<String> {
        let section = self.object.sections.iter().find(|s| s.name == ".modinfo")?;
        let entries = section.data.split(|b| *b == 0).map(String::from_utf8_lossy);
        entries
            .filter_map(|e| e.split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned())))
            .find_map(|(k, v)| (k == key).then_some(v))
    }

    /// Symbols of one name that the module defines.
    pub(super) fn named<'s>(&'s self, name: &'s str) -> impl Iterator<Item = (usize, &'s PlainSymbol)> {
        let symbols = self.object.symbols.iter().enumerate();
        symbols.filter(move |(_, s)| s.name == name && s.place != PlainPlace::Undefined)
    }

    /// The position of a symbol among those of its name, counted from 1. `None` where it is not the same
    /// before the module has started and afterwards: then the kernel has let go of what only the start needs,
    /// with its symbols.
    pub(super) fn position(&self, symbol: usize) -> Option<u32> {
        let name = &self.object.symbols.get(symbol)?.name;
        let before = |(i, _): &(usize, &PlainSymbol)| *i <= symbol;
        let all = self.named(name).filter(before).count();
        let kept = self.named(name).filter(before).filter(|(_, s)| self.is_kept(s)).count();
        (all == kept).then(|| u32::try_from(all).ok()).flatten()
    }

    /// Is this symbol kept once the module has started?
    fn is_kept(&self, symbol: &PlainSymbol) -> bool {
        match symbol.place {
            PlainPlace::Section(section) => {
                self.object.sections.get(section).is_some_and(|s| s.has(SHF_ALLOC) && !Self::is_of_start(s))
            }
            PlainPlace::Undefined | PlainPlace::Reserved(_) => false,
        }
    }

    /// Is this section freed once the module has started?
    pub(super) fn is_of_start(section: &PlainSection) -> bool {
        section.name.starts_with(".init")
    }
}
