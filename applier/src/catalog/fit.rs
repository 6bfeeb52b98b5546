//! Identity of ELF files on disk: does the installed file belong to the build a patch was made for?

use crate::sys::plain;
use patchfile::{BuildId, Digest, identity};
use std::{fs::File, io, os::unix::fs::FileExt, path::Path};

/// `p_type` (gABI, "Program Header").
const PT_DYNAMIC: u32 = 2;
const PT_INTERP: u32 = 3;
const PT_NOTE: u32 = 4;
/// `e_type`; `DT_FLAGS_1` and its flag for programs (binutils since 2.26; older position-independent programs
/// count as both kinds).
const ET_EXEC: usize = 2;
const ET_DYN: usize = 3;
const DT_FLAGS_1: usize = 0x6fff_fffb;
const DF_1_PIE: usize = 0x0800_0000;

/// What names one linked ELF file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DiskElf {
    /// Its build-id.
    pub build_id: Option<BuildId>,
    /// Digest over the file contents of its executable segments, in order.
    pub code: Digest,
}

impl DiskElf {
    /// Is it the file that `elf` of a manifest was made for? By build-id where both have one.
    pub(crate) fn is(&self, elf: &patchfile::manifest::Elf) -> bool {
        match (&self.build_id, &elf.build_id) {
            (Some(mine), Some(theirs)) => mine == theirs,
            _ => self.code == elf.code,
        }
    }
}

/// What an ELF file is, and how it comes into processes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ElfFile {
    /// Its build-id.
    pub build_id: Option<BuildId>,
    /// Digest of its executable segments, where it was asked for.
    pub code: Option<Digest>,
    /// Is it executed?
    pub program: bool,
    /// Is it loaded into programs?
    pub library: bool,
    /// Does it ask to be left alone?
    pub opts_out: bool,
}

impl ElfFile {
    /// Is it `target`?
    pub(crate) fn is(&self, target: &crate::TargetId) -> bool {
        match &target.build_id {
            Some(id) => self.build_id.as_ref() == Some(id),
            None => self.code == Some(target.code),
        }
    }
}

/// Largest table of an ELF file that is read, in bytes.
const LARGEST: usize = 1 << 20;

/// Reads what `file` is; the digest only if `digest`, since it takes reading all of the code. `None` when it
/// is not a 64-bit little-endian ELF file of these two kinds.
///
/// # Errors
/// It cannot be read.
pub(crate) fn elf_file(file: &File, digest: bool) -> io::Result<Option<ElfFile>> {
    let read = |at: usize, len: usize| {
        let mut bytes = vec![0; len.min(LARGEST)];
        file.read_exact_at(&mut bytes, at as u64).map(|()| bytes)
    };
    let Ok(header) = read(0, 64) else { return Ok(None) };
    if header.get(..6) != Some(b"\x7fELF\x02\x01") {
        return Ok(None);
    }
    let field = |at| usize::from(u16_at(&header, at).unwrap_or(0));
    let (kind, size, count) = (field(16), field(54), field(56));
    let (Some(table), 56..) = (offset_at(&header, 32), size) else { return Ok(None) };
    let mut opts_out = false;
    let (mut build_id, mut interpreted, mut position_independent_program) = (None, false, false);
    let mut code = Vec::new();
    for header in read(table, size * count)?.chunks_exact(size) {
        let (Some(kind), Some(offset), Some(len)) =
            (u32_at(header, 0), offset_at(header, 8), offset_at(header, 32))
        else {
            continue;
        };
        match kind {
            PT_NOTE => {
                let notes = read(offset, len).unwrap_or_default();
                build_id = build_id.or_else(|| identity::build_id(&notes));
                opts_out |= identity::opts_out(&notes);
            }
            _ if u32_at(header, 4).is_some_and(|flags| identity::is_code(kind, flags)) => {
                code.push((offset as u64, len as u64));
            }
            PT_INTERP => interpreted = true,
            PT_DYNAMIC => position_independent_program = read(offset, len).is_ok_and(|d| is_pie(&d)),
            _ => {}
        }
    }
    let executable = kind == ET_EXEC || position_independent_program;
    if !executable && kind != ET_DYN {
        return Ok(None);
    }
    let code = digest.then(|| plain::digest(file, &code)).transpose()?;
    // A library with an interpreter (libc) can be executed too.
    let (program, library) = (executable || interpreted, !executable);
    Ok(Some(ElfFile { build_id, code, program, library, opts_out }))
}

/// Do the flags of a dynamic section say that this is a program?
fn is_pie(dynamic: &[u8]) -> bool {
    let flags = |pair: &[u8]| {
        let tag = offset_at(pair, 0)?;
        (tag == DT_FLAGS_1).then(|| offset_at(pair, 8))?
    };
    dynamic.chunks_exact(16).find_map(flags).is_some_and(|f| f & DF_1_PIE != 0)
}

/// Reads the identity of the ELF file at `path`. `None` when it is not a 64-bit little-endian ELF file.
///
/// # Errors
/// It cannot be read.
pub(crate) fn disk_elf(path: &Path) -> io::Result<Option<DiskElf>> {
    let Some(elf) = elf_file(&plain::open(path)?, true)? else { return Ok(None) };
    Ok(elf.code.map(|code| DiskElf { build_id: elf.build_id, code }))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_this_program() {
        let found = disk_elf(&std::env::current_exe().unwrap()).unwrap().unwrap();
        assert_ne!(found.code, Digest::of(b""));
    }

    #[test]
    fn programs_and_libraries_are_told_apart() {
        let own = std::env::current_exe().unwrap();
        let found = elf_file(&File::open(&own).unwrap(), true).unwrap().unwrap();
        assert!(found.program && !found.library);
        let disk = disk_elf(&own).unwrap().unwrap();
        assert_eq!((found.build_id, found.code), (disk.build_id, Some(disk.code)));
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let libc = maps.lines().find_map(|l| l.find('/').map(|i| &l[i..]).filter(|p| p.contains("libc.so")));
        let found = elf_file(&File::open(libc.unwrap()).unwrap(), false).unwrap().unwrap();
        assert!(found.program && found.library && found.build_id.is_some());
        assert_eq!(elf_file(&File::open("/dev/null").unwrap(), false).unwrap(), None);
    }

    #[test]
    fn anything_else_is_not_an_elf_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let read = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            disk_elf(&path).ok().flatten()
        };
        assert_eq!(read(b"#!/bin/sh\n"), None);
        assert_eq!(read(b"\x7fELF\x02\x01"), None);
        let mut evil = vec![0xff; 64];
        evil[..6].copy_from_slice(b"\x7fELF\x02\x01");
        assert_eq!(read(&evil), None);
    }

    #[test]
    fn what_a_manifest_names_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        for path in [&pipe, Path::new("/dev/zero"), dir.path()] {
            assert!(disk_elf(path).is_err(), "{}", path.display());
        }
    }
}
