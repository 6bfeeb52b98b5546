//! Reads of an ELF file what is part of a program, with its symbols and relocations: debug information is
//! most of an object, and a program has thousands of them.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Beginning of a file that holds its header and program headers (gABI, "ELF Header"); what follows is found
/// by section.
const HEAD: u64 = 4096;
const SHT_SYMTAB: u32 = 2;
const SHT_STRTAB: u32 = 3;
const SHT_RELA: u32 = 4;
const SHT_NOBITS: u32 = 8;
const SHT_SYMTAB_SHNDX: u32 = 18;
const SHF_ALLOC: u64 = 2;
/// Bytes of a section header.
const ENTRY: usize = 64;

/// The file with zeros in place of all that no running program has. Those pages take no memory.
///
/// # Errors
/// When it cannot be read.
pub(crate) fn read_loaded(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    match sections(&file, length) {
        Some(ranges) => {
            let mut data = vec![0; usize::try_from(length).map_err(io::Error::other)?];
            for (start, end) in ranges {
                if let Some(part) = usize::try_from(start).ok().zip(usize::try_from(end).ok())
                    && let Some(room) = data.get_mut(part.0..part.1)
                {
                    file.read_exact_at(room, start)?;
                }
            }
            Ok(data)
        }
        // An archive, bitcode or a damaged file: whoever reads it says so.
        None => std::fs::read(path),
    }
}

/// The parts of the file that are wanted; `None` if it is none that can be told apart.
fn sections(file: &File, length: u64) -> Option<Vec<(u64, u64)>> {
    let mut head = [0; 64];
    file.read_exact_at(&mut head, 0).ok()?;
    let number = |at: usize, width: usize| -> Option<u64> { word(&head, at, width) };
    // 64 bits, little-endian.
    if !head.starts_with(b"\x7fELF\x02\x01") || number(58, 2)? != ENTRY as u64 {
        return None;
    }
    let (table, count) = (number(40, 8)?, number(60, 2)?);
    // A count of 0 is in the first section (gABI); such files are read as a whole.
    if table == 0 || count == 0 {
        return None;
    }
    let size = count.checked_mul(ENTRY as u64)?;
    let mut headers = vec![0; usize::try_from(size).ok()?];
    file.read_exact_at(&mut headers, table).ok()?;
    let sections: Vec<&[u8]> = headers.chunks_exact(ENTRY).collect();
    let is_loaded = |s: &[u8]| word(s, 8, 8).is_some_and(|flags| flags & SHF_ALLOC != 0);
    let mut ranges = vec![(0, HEAD.min(length)), (table, table.checked_add(size)?)];
    for section in &sections {
        let kind = u32::try_from(word(section, 4, 4)?).ok()?;
        let of = usize::try_from(word(section, 44, 4)?).ok()?;
        let wanted = match kind {
            SHT_NOBITS => false,
            SHT_SYMTAB | SHT_STRTAB | SHT_SYMTAB_SHNDX => true,
            SHT_RELA => is_loaded(section) || sections.get(of).is_some_and(|s| is_loaded(s)),
            _ => is_loaded(section),
        };
        if wanted {
            let start = word(section, 24, 8)?;
            let end = start.checked_add(word(section, 32, 8)?).filter(|end| *end <= length)?;
            ranges.push((start, end));
        }
    }
    Some(ranges)
}

fn word(bytes: &[u8], at: usize, width: usize) -> Option<u64> {
    let bytes = bytes.get(at..at.checked_add(width)?)?;
    Some(bytes.iter().rev().fold(0, |all, b| all << 8 | u64::from(*b)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_loaded_is_there() {
        let path = std::env::current_exe().unwrap();
        let (all, part) = (std::fs::read(&path).unwrap(), read_loaded(&path).unwrap());
        assert_eq!(all.len(), part.len());
        let (all, part) =
            (super::super::file::Elf::parse(&all).unwrap(), super::super::file::Elf::parse(&part).unwrap());
        assert!(all.same_layout(&part) && all.different_sections(&part).is_empty());
        assert!(!part.sections.is_empty());
    }
}
