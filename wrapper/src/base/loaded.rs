//! What of a linked file gets into memory: sections with their names, addresses and contents. Symbol table
//! and debug information do not, nor does the build-id matter, which is a hash of these too. The only place
//! here that knows the `object` crate.

use object::elf::{FileHeader32, FileHeader64, SHF_ALLOC};
use object::read::elf::{FileHeader, SectionHeader};
use object::{Endianness, FileKind};
use std::collections::BTreeMap;

/// A hash of the whole file.
const BUILD_ID: &[u8] = b".note.gnu.build-id";

/// Name and address; size and content.
type Sections<'d> = BTreeMap<(&'d [u8], u64), (u64, &'d [u8])>;

/// Is all that gets into memory the same in both files, the build-id aside? No for what cannot be read,
/// unless the files are the same.
#[must_use]
pub fn same_when_loaded(one: &[u8], other: &[u8]) -> bool {
    one == other || matches!((sections(one), sections(other)), (Some(a), Some(b)) if a == b)
}

fn sections(data: &[u8]) -> Option<Sections<'_>> {
    match FileKind::parse(data).ok()? {
        FileKind::Elf32 => sections_of::<FileHeader32<Endianness>>(data),
        FileKind::Elf64 => sections_of::<FileHeader64<Endianness>>(data),
        _ => None,
    }
}

fn sections_of<H: FileHeader>(data: &[u8]) -> Option<Sections<'_>> {
    let header = H::parse(data).ok()?;
    let endian = header.endian().ok()?;
    let table = header.sections(endian, data).ok()?;
    let mut found = Sections::new();
    for section in table.iter().skip(1) {
        let name = table.section_name(endian, section).ok()?;
        if section.sh_flags(endian).0 & SHF_ALLOC.0 == 0 {
            continue;
        }
        let content = if name == BUILD_ID { &[] } else { section.data(endian, data).ok()? };
        found.insert((name, section.sh_addr(endian).into()), (section.sh_size(endian).into(), content));
    }
    // A file without sections says nothing of what is loaded.
    (!table.is_empty()).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOC: u64 = SHF_ALLOC.0;

    /// A file with one section beside the names.
    fn file(name: &[u8], flags: u64, address: u64, content: &[u8]) -> Vec<u8> {
        let mut data = b"\x7fELF\x02\x01\x01".to_vec();
        data.resize(64, 0);
        let mut section = |name: u64, flags: u64, address: u64, content: &[u8]| {
            let mut header = vec![0_u8; 64];
            for (at, value) in [(0, name), (8, flags), (16, address), (24, data.len() as u64)] {
                let width = if at == 0 { 4 } else { 8 };
                header[at..at + width].copy_from_slice(&value.to_le_bytes()[..width]);
            }
            header[32..40].copy_from_slice(&(content.len() as u64).to_le_bytes());
            data.extend_from_slice(content);
            header
        };
        let names = [b"\0", name, b"\0"].concat();
        let headers = [vec![0; 64], section(1, flags, address, content), section(0, 0, 0, &names)];
        let table = data.len() as u64;
        data[40..48].copy_from_slice(&table.to_le_bytes());
        data[58..64].copy_from_slice(&[64, 0, 3, 0, 2, 0]);
        data.extend(headers.concat());
        data
    }

    #[test]
    fn what_is_loaded_counts() {
        let text = file(b".text", ALLOC, 0x1000, b"code");
        assert!(sections(&text).is_some_and(|s| s.len() == 1));
        assert!(same_when_loaded(&text, &text.clone()));
        assert!(!same_when_loaded(&text, &file(b".text", ALLOC, 0x1000, b"cede")));
        assert!(!same_when_loaded(&text, &file(b".text", ALLOC, 0x1004, b"code")));
        assert!(!same_when_loaded(&text, &file(b".text", ALLOC, 0x1000, b"code.")));
        assert!(!same_when_loaded(&text, &file(b".init", ALLOC, 0x1000, b"code")));
        assert!(same_when_loaded(&file(b".symtab", 0, 0, b"one"), &file(b".symtab", 0, 0, b"another")));
        let id = |hash| file(BUILD_ID, ALLOC, 0x100, hash);
        assert!(same_when_loaded(&id(b"1234"), &id(b"5678")));
        assert!(!same_when_loaded(&id(b"1234"), &id(b"12345678")));
        assert!(!same_when_loaded(&text, &text[..80]) && !same_when_loaded(b"a", b"b"));
    }
}
