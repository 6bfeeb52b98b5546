//! Is this module the ELF file that a patch was made for?

use super::{elf, maps::Mapping, memory::Memory, modules::Module};
use crate::{TargetId, sys::plain};
use patchfile::Digest;
use std::{fs::File, io::Read, os::unix::fs::FileExt};

/// Does `module` match? By build-id where the patch names one; else by the digest of the file's executable
/// segments.
pub(crate) fn matches(
    target: &TargetId,
    module: &Module,
    memory: &Memory,
    pid: i32,
    maps: &[Mapping],
) -> bool {
    match &target.build_id {
        Some(id) => module.build_id(memory).as_ref() == Some(id),
        None => code_digest(module, pid, maps) == Some(target.code),
    }
}

/// Digest over the file contents of the executable `PT_LOAD` segments, in order. Read from the file behind
/// the mapping (not by its path, which may mean another file by now).
pub(crate) fn code_digest(module: &Module, pid: i32, maps: &[Mapping]) -> Option<Digest> {
    let file = open_file(module, pid, maps)?;
    let code = module.segments.iter().filter(|s| patchfile::identity::is_code(s.kind, s.flags));
    let code: Vec<_> = code.map(|s| (s.offset, s.file_size)).collect();
    plain::digest(&file, &code).ok()
}

/// Opens the file behind a module's mapping: through `map_files` where we may, else through the process's
/// root directory if the file there is still the same one.
pub(crate) fn open_file(module: &Module, pid: i32, maps: &[Mapping]) -> Option<File> {
    let first = maps.iter().find(|m| m.start == module.start)?;
    let first = maps.iter().find(|m| m.same_file(first) && !m.replaced).unwrap_or(first);
    let direct = plain::open(format!("/proc/{pid}/map_files/{:x}-{:x}", first.start, first.end));
    if let Ok(mut file) = direct {
        let mut magic = [0; 4];
        return (file.read_exact(&mut magic).is_ok() && &magic == b"\x7fELF").then_some(file);
    }
    use std::os::unix::fs::MetadataExt;
    let file = plain::open(format!("/proc/{pid}/root{}", module.path)).ok()?;
    (file.metadata().ok()?.ino() == module.file.1).then_some(file)
}

/// Does the file itself, not only the process's memory, have the build-id that the process shows?
pub(crate) fn file_agrees(file: &File, module: &Module, memory: &Memory) -> bool {
    let shown = module.build_id(memory);
    let in_file = module.of_kind(elf::NOTE).find_map(|s| {
        let mut notes = vec![0; usize::try_from(s.file_size).ok().filter(|n| *n < 1 << 20)?];
        file.read_exact_at(&mut notes, s.offset).ok()?;
        patchfile::identity::build_id(&notes)
    });
    shown == in_file
}

/// A section header (gABI, "Sections").
#[derive(Clone, Copy, Debug)]
pub(crate) struct Section {
    /// Link-time address.
    pub address: u64,
    /// Offset in the file.
    pub offset: u64,
    /// Size in bytes.
    pub size: u64,
}

/// Largest symbol or string table read, in bytes.
const LARGEST: u64 = 1 << 28;

impl Section {
    /// Its content.
    pub(crate) fn read(&self, file: &File) -> Option<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(self.size).ok().filter(|_| self.size < LARGEST)?];
        file.read_exact_at(&mut bytes, self.offset).ok()?;
        Some(bytes)
    }
}

/// A section of the file, by its name.
pub(crate) fn section(file: &File, name: &str) -> Option<Section> {
    let mut header = [0; elf::HEADER];
    file.read_exact_at(&mut header, 0).ok()?;
    let (count, names) = (elf::u32_at(&header, 60)? & 0xffff, elf::u32_at(&header, 60)? >> 16);
    let mut table = vec![0; 64 * count as usize];
    file.read_exact_at(&mut table, elf::u64_at(&header, 40)?).ok()?;
    let parse = |s: &[u8]| {
        Some(Section { address: elf::u64_at(s, 16)?, offset: elf::u64_at(s, 24)?, size: elf::u64_at(s, 32)? })
    };
    let text = parse(table.get(64 * names as usize..)?)?.read(file)?;
    table.chunks_exact(64).find_map(|s| {
        let rest = text.get(elf::u32_at(s, 0)? as usize..)?;
        let matches = rest.strip_prefix(name.as_bytes()).is_some_and(|r| r.first() == Some(&0));
        matches.then(|| parse(s))?
    })
}

/// Link-time address of a symbol in the file's full symbol table, `Some(None)` if the table does not have it,
/// `None` if there is no table.
pub(crate) fn symbol(file: &File, name: &str) -> Option<Option<u64>> {
    let names = section(file, ".strtab")?.read(file)?;
    let table = section(file, ".symtab")?.read(file)?;
    Some(table.chunks_exact(24).find_map(|s| {
        let rest = names.get(elf::u32_at(s, 0)? as usize..)?;
        let defined = s[6..8] != [0, 0];
        let matches = rest.strip_prefix(name.as_bytes()).is_some_and(|r| r.first() == Some(&0));
        (defined && matches).then(|| elf::u64_at(s, 8))?
    }))
}
