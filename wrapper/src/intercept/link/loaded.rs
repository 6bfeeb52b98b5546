//! What of a linked file gets into memory: sections with their names, addresses and contents. Symbol table
//! and debug information do not, nor does the build-id matter, which is a hash of these too. ELF-64, little
//! endian (gABI, "Sections").

use std::collections::BTreeMap;

/// Length of a section header.
const HEADER: usize = 64;
const SHF_ALLOC: u64 = 2;
const SHT_NOBITS: u64 = 8;
/// A hash of the whole file.
const BUILD_ID: &[u8] = b".note.gnu.build-id";

/// Address, size and content of a section.
type Section<'d> = (u64, u64, &'d [u8]);

/// Is all that gets into memory the same in both files? No for what cannot be read.
pub(crate) fn same(one: &[u8], other: &[u8]) -> bool {
    one == other || matches!((sections(one), sections(other)), (Some(a), Some(b)) if a == b)
}

fn sections(data: &[u8]) -> Option<BTreeMap<(&[u8], u64), Section<'_>>> {
    if !data.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let table = number(data, 40, 8)?;
    let (count, names) = (number(data, 60, 2)?, number(data, 62, 2)?);
    // Zero means that the number is elsewhere: too many for this field.
    if count == 0 || number(data, 58, 2)? != HEADER as u64 {
        return None;
    }
    let header = |index: u64| {
        let from = usize::try_from(table.checked_add(index.checked_mul(HEADER as u64)?)?).ok()?;
        data.get(from..from.checked_add(HEADER)?)
    };
    let content = |header: &[u8]| -> Option<&[u8]> {
        let from = usize::try_from(number(header, 24, 8)?).ok()?;
        data.get(from..from.checked_add(usize::try_from(number(header, 32, 8)?).ok()?)?)
    };
    let strings = content(header(names)?)?;
    let mut found = BTreeMap::new();
    for header in (1..count).map(header) {
        let header = header?;
        let name = strings.get(usize::try_from(number(header, 0, 4)?).ok()?..)?;
        let name = &name[..memchr::memchr(0, name)?];
        if number(header, 8, 8)? & SHF_ALLOC == 0 {
            continue;
        }
        let (address, size) = (number(header, 16, 8)?, number(header, 32, 8)?);
        let bytes = match number(header, 4, 4)? {
            SHT_NOBITS => &[][..],
            _ if name == BUILD_ID => &[],
            _ => content(header)?,
        };
        found.insert((name, address), (address, size, bytes));
    }
    Some(found)
}

fn number(data: &[u8], at: usize, width: usize) -> Option<u64> {
    let mut bytes = [0_u8; 8];
    bytes.get_mut(..width)?.copy_from_slice(data.get(at..at.checked_add(width)?)?);
    Some(u64::from_le_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file with one section beside the names.
    fn file(name: &[u8], flags: u64, address: u64, content: &[u8]) -> Vec<u8> {
        let mut data = b"\x7fELF\x02\x01".to_vec();
        data.resize(64, 0);
        let mut section = |name: u64, flags: u64, address: u64, content: &[u8]| {
            let mut header = vec![0_u8; HEADER];
            for (at, value) in [(0, name), (8, flags), (16, address), (24, data.len() as u64)] {
                let width = if at == 0 { 4 } else { 8 };
                header[at..at + width].copy_from_slice(&value.to_le_bytes()[..width]);
            }
            header[32..40].copy_from_slice(&(content.len() as u64).to_le_bytes());
            data.extend_from_slice(content);
            header
        };
        let names = [b"\0", name, b"\0"].concat();
        let headers = [vec![0; HEADER], section(1, flags, address, content), section(0, 0, 0, &names)];
        let table = data.len() as u64;
        data[40..48].copy_from_slice(&table.to_le_bytes());
        data[58..64].copy_from_slice(&[64, 0, 3, 0, 2, 0]);
        data.extend(headers.concat());
        data
    }

    #[test]
    fn what_is_loaded_counts() {
        let text = file(b".text", SHF_ALLOC, 0x1000, b"code");
        assert!(sections(&text).is_some_and(|s| s.len() == 1));
        assert!(same(&text, &text.clone()));
        assert!(!same(&text, &file(b".text", SHF_ALLOC, 0x1000, b"cede")));
        assert!(!same(&text, &file(b".text", SHF_ALLOC, 0x1004, b"code")));
        assert!(!same(&text, &file(b".text", SHF_ALLOC, 0x1000, b"code.")));
        assert!(!same(&text, &file(b".init", SHF_ALLOC, 0x1000, b"code")));
        assert!(same(&file(b".symtab", 0, 0, b"one"), &file(b".symtab", 0, 0, b"another")));
        let id = |hash| file(BUILD_ID, SHF_ALLOC, 0x100, hash);
        assert!(same(&id(b"1234"), &id(b"5678")));
        assert!(!same(&id(b"1234"), &id(b"12345678")));
        assert!(!same(&text, &text[..80]) && !same(b"a", b"b"));
    }
}
