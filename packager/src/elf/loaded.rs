//! Reads of an ELF file what is part of a program, with its symbols and relocations: debug information is
//! most of an object, and a program has thousands of them.

use super::file::headers;
use object::elf;
use object::read::ReadCache;
use object::read::elf::{FileHeader, SectionHeader};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Beginning of a file that holds its header and program headers (gABI, "ELF Header"); what follows is found
/// by section.
const HEAD: u64 = 4096;

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
    let data = &ReadCache::new(file);
    let (header, endian, table) = headers(data).ok()?;
    if table.is_empty() {
        return None;
    }
    let size = (table.len() as u64).checked_mul(u64::from(header.e_shentsize(endian)))?;
    let start: u64 = header.e_shoff(endian);
    let mut ranges = vec![(0, HEAD.min(length)), (start, start.checked_add(size)?)];
    let is_loaded = |section: &elf::SectionHeader64<_>| section.sh_flags(endian).0 & elf::SHF_ALLOC.0 != 0;
    for section in table.iter() {
        let wanted = match section.sh_type(endian) {
            elf::SHT_NOBITS => false,
            elf::SHT_SYMTAB | elf::SHT_STRTAB | elf::SHT_SYMTAB_SHNDX => true,
            elf::SHT_RELA => {
                is_loaded(section) || table.section(section.info_link(endian)).is_ok_and(is_loaded)
            }
            _ => is_loaded(section),
        };
        if wanted {
            let (start, size) = section.file_range(endian)?;
            ranges.push((start, start.checked_add(size).filter(|end| *end <= length)?));
        }
    }
    Some(ranges)
}

#[cfg(test)]
mod tests {
    use super::super::file::{Elf, defined_names, runtime_content};
    use super::*;

    #[test]
    fn what_is_loaded_is_there() {
        let path = std::env::current_exe().unwrap();
        let (all, part) = (std::fs::read(&path).unwrap(), read_loaded(&path).unwrap());
        assert_eq!(all.len(), part.len());
        let (all, part) = (Elf::parse(&all).unwrap(), Elf::parse(&part).unwrap());
        assert!(all.same_layout(&part) && all.different_sections(&part).is_empty());
        assert!(!part.sections.is_empty());
    }

    #[test]
    fn symbols_and_relocations_of_what_is_loaded_are_there() {
        let dir = tempfile::tempdir().unwrap();
        let (source, object) = (dir.path().join("a.c"), dir.path().join("a.o"));
        // Debug information comes after the head of the file, which is read in any case.
        let text = "char table[8192] = {1}; int limit = 3; int *at = &limit; int other(int);\n\
                    int f(void) { return other(*at); }\n";
        std::fs::write(&source, text).unwrap();
        let mut gcc = std::process::Command::new("gcc");
        let done = gcc.args(["-g", "-c", "-o"]).arg(&object).arg(&source).status().unwrap();
        assert!(done.success());
        let (all, part) = (std::fs::read(&object).unwrap(), read_loaded(&object).unwrap());
        assert!(all != part, "debug information is left out");
        assert_eq!(runtime_content(&all), runtime_content(&part));
        assert_eq!(defined_names(&all), defined_names(&part));
    }

    #[test]
    fn other_files_are_read_as_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a");
        for text in [&b"BC\xc0\xde"[..], b"!<arch>\n", b"", b"\x7fELF\x02\x01\x01"] {
            std::fs::write(&file, text).unwrap();
            assert_eq!(read_loaded(&file).unwrap(), text);
        }
    }
}
