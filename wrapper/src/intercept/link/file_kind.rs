//! What kind of file a linker is given.

use std::fs;
use std::io::Read;
use std::path::Path;

use crate::intercept::link::{archive, bitcode};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileKind {
    Archive,
    Shared,
    Object,
    Bitcode,
    Other,
}

/// By the first bytes; `e_type` is at offset 16 of an ELF file (gABI, "ELF Header").
pub(crate) fn kind_of(path: &Path) -> FileKind {
    const ET_DYN: u8 = 3;
    let mut head = [0_u8; 18];
    let count = fs::File::open(path).and_then(|mut file| file.read(&mut head)).unwrap_or(0);
    match &head[..count] {
        head if head.starts_with(archive::MAGIC) || head.starts_with(archive::THIN_MAGIC) => {
            FileKind::Archive
        }
        head if head.starts_with(b"\x7fELF") && head.get(16) == Some(&ET_DYN) => FileKind::Shared,
        head if head.starts_with(b"\x7fELF") => FileKind::Object,
        head if bitcode::is_bitcode(head) => FileKind::Bitcode,
        _ => FileKind::Other,
    }
}

/// A file of which the linker takes the symbols alone (`-R`) may be a program.
pub(crate) fn is_relocatable(path: &Path) -> bool {
    const ET_REL: u8 = 1;
    let mut head = [0_u8; 18];
    fs::File::open(path).and_then(|mut file| file.read_exact(&mut head)).is_ok() && head[16] == ET_REL
}
