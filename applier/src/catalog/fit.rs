//! Identity of ELF files on disk: does the installed file belong to the build a patch was made for?

use patchfile::{BuildId, Digest};
use std::{fs, io, path::Path};

/// `PT_LOAD` and `PT_NOTE` (gABI, "Program Header"), `PF_X`, `NT_GNU_BUILD_ID` (Linux gABI extensions).
const PT_LOAD: u32 = 1;
const PT_NOTE: u32 = 4;
const PF_X: u32 = 1;
const NT_GNU_BUILD_ID: u32 = 3;

/// What names one linked ELF file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskElf {
    /// Its build-id.
    pub build_id: Option<BuildId>,
    /// Digest over the file contents of its executable segments, in order.
    pub code: Digest,
}

impl DiskElf {
    /// Is it the file that `elf` of a manifest was made for? By build-id where both have one.
    pub fn is(&self, elf: &patchfile::manifest::Elf) -> bool {
        match (&self.build_id, &elf.build_id) {
            (Some(mine), Some(theirs)) => mine == theirs,
            _ => self.code == elf.code,
        }
    }
}

/// Reads the identity of the ELF file at `path`. `None` when it is not a 64-bit little-endian ELF file.
///
/// # Errors
/// It cannot be read.
pub fn disk_elf(path: &Path) -> io::Result<Option<DiskElf>> {
    Ok(identity(&fs::read(path)?))
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at.checked_add(2)?)?.try_into().ok().map(u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at.checked_add(4)?)?.try_into().ok().map(u32::from_le_bytes)
}

fn offset_at(bytes: &[u8], at: usize) -> Option<usize> {
    let word = bytes.get(at..at.checked_add(8)?)?.try_into().ok().map(u64::from_le_bytes)?;
    usize::try_from(word).ok()
}

fn identity(bytes: &[u8]) -> Option<DiskElf> {
    if bytes.get(..6) != Some(b"\x7fELF\x02\x01") {
        return None;
    }
    let table = offset_at(bytes, 32)?;
    let size = usize::from(u16_at(bytes, 54)?);
    let mut code = Vec::new();
    let mut build_id = None;
    for index in 0..usize::from(u16_at(bytes, 56)?) {
        let header = bytes.get(table.checked_add(index.checked_mul(size)?)?..)?;
        let (offset, len) = (offset_at(header, 8)?, offset_at(header, 32)?);
        let contents = bytes.get(offset..offset.checked_add(len)?);
        match u32_at(header, 0)? {
            PT_LOAD if u32_at(header, 4)? & PF_X != 0 => code.extend_from_slice(contents?),
            PT_NOTE => build_id = build_id.or_else(|| contents.and_then(note)),
            _ => {}
        }
    }
    Some(DiskElf { build_id, code: Digest::of(&code) })
}

/// The build-id among the notes of one segment. Notes are aligned to 4 bytes; a segment aligned to 8 holds only
/// `NT_GNU_PROPERTY_TYPE_0`, whose sizes are multiples of 8.
fn note(mut notes: &[u8]) -> Option<BuildId> {
    loop {
        let (name_size, size) = (u32_at(notes, 0)? as usize, u32_at(notes, 4)? as usize);
        let start = 12usize.checked_add(name_size.checked_next_multiple_of(4)?)?;
        let end = start.checked_add(size)?;
        let found = u32_at(notes, 8)? == NT_GNU_BUILD_ID && notes.get(12..16) == Some(b"GNU\0");
        if found && name_size == 4 {
            return BuildId::new(notes.get(start..end)?);
        }
        notes = notes.get(end.checked_next_multiple_of(4)?..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_this_program() {
        let found = disk_elf(&std::env::current_exe().unwrap()).unwrap().unwrap();
        assert_ne!(found.code, Digest::of(b""));
    }

    #[test]
    fn anything_else_is_not_an_elf_file() {
        assert_eq!(identity(b"#!/bin/sh\n"), None);
        assert_eq!(identity(b"\x7fELF\x02\x01"), None);
        let mut evil = vec![0xff; 64];
        evil[..6].copy_from_slice(b"\x7fELF\x02\x01");
        assert_eq!(identity(&evil), None);
    }
}
