//! Reads ELF-64 little-endian files: the objects of the build, the linked file and the target.
//!
//! Source of the layout: System V gABI, chapters 4 and 5; symbol versions: LSB core, "Symbol Versioning".

use std::borrow::Cow;
use std::collections::HashMap;

use object::elf;
use object::read::elf::{CompressionHeader, FileHeader, SectionHeader};

use patchfile::{BuildId, identity};

use crate::error::LinkError;

pub(crate) const ET_EXEC: u16 = 2;
pub(crate) const PT_LOAD: u32 = 1;
pub(crate) const PT_INTERP: u32 = 3;
pub(crate) const PT_TLS: u32 = 7;
pub(crate) const PF_X: u32 = 1;
pub(crate) const SHT_PROGBITS: u32 = 1;
pub(crate) const SHT_SYMTAB: u32 = 2;
pub(crate) const SHT_RELA: u32 = 4;
pub(crate) const SHT_DYNAMIC: u32 = 6;
pub(crate) const SHT_NOTE: u32 = 7;
pub(crate) const SHT_NOBITS: u32 = 8;
pub(crate) const SHT_DYNSYM: u32 = 11;
pub(crate) const SHT_RELR: u32 = 19;
const SHT_VERDEF: u32 = 0x6fff_fffd;
const SHT_VERNEED: u32 = 0x6fff_fffe;
const SHT_VERSYM: u32 = 0x6fff_ffff;
pub(crate) const SHF_WRITE: u64 = 1;
pub(crate) const SHF_ALLOC: u64 = 2;
pub(crate) const SHF_EXECINSTR: u64 = 4;
pub(crate) const SHF_MERGE: u64 = 0x10;
pub(crate) const SHF_STRINGS: u64 = 0x20;
pub(crate) const SHF_TLS: u64 = 0x400;
pub(crate) const SHN_UNDEF: u16 = 0;
pub(crate) const SHN_LORESERVE: u16 = 0xff00;
pub(crate) const SHN_ABS: u16 = 0xfff1;
pub(crate) const SHN_COMMON: u16 = 0xfff2;
const SHN_XINDEX: u16 = 0xffff;
pub(crate) const STT_OBJECT: u8 = 1;
pub(crate) const STT_FUNC: u8 = 2;
pub(crate) const STT_SECTION: u8 = 3;
pub(crate) const STT_FILE: u8 = 4;
pub(crate) const STT_TLS: u8 = 6;
pub(crate) const STT_GNU_IFUNC: u8 = 10;
pub(crate) const STB_LOCAL: u8 = 0;
pub(crate) const STB_WEAK: u8 = 2;

/// One section header.
#[derive(Clone, Debug)]
pub(crate) struct Section {
    pub(crate) name: String,
    pub(crate) kind: u32,
    pub(crate) flags: u64,
    pub(crate) address: u64,
    pub(crate) offset: u64,
    pub(crate) size: u64,
    pub(crate) link: u32,
    pub(crate) info: u32,
    /// Size of an entry in bytes, of a section that has entries of one size.
    pub(crate) entry_size: u64,
}

/// One program header.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment {
    pub(crate) kind: u32,
    pub(crate) flags: u32,
    pub(crate) offset: u64,
    pub(crate) address: u64,
    pub(crate) file_size: u64,
    pub(crate) size: u64,
    pub(crate) align: u64,
}

/// One symbol.
#[derive(Clone, Debug)]
pub(crate) struct Symbol {
    pub(crate) name: String,
    pub(crate) value: u64,
    pub(crate) size: u64,
    pub(crate) kind: u8,
    pub(crate) binding: u8,
    pub(crate) visibility: u8,
    /// Section index; [`SHN_UNDEF`], [`SHN_ABS`] and [`SHN_COMMON`] keep their meaning.
    pub(crate) section: usize,
    /// Reserved section number (`SHN_ABS`, `SHN_COMMON`), else 0.
    pub(crate) reserved: u16,
    /// The `STT_FILE` symbol before it, for local symbols.
    pub(crate) file: Option<usize>,
    /// Version, of a dynamic symbol.
    pub(crate) version: Option<String>,
    /// Not the default version of its name.
    pub(crate) version_hidden: bool,
}

impl Symbol {
    pub(crate) fn is_defined(&self) -> bool {
        self.section != usize::from(SHN_UNDEF) || self.reserved == SHN_ABS
    }
}

/// One `Elf64_Rela`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rela {
    pub(crate) offset: u64,
    pub(crate) kind: u32,
    pub(crate) symbol: usize,
    pub(crate) addend: i64,
}

/// An ELF file, read.
#[derive(Clone, Debug)]
pub(crate) struct Elf<'a> {
    pub(crate) data: &'a [u8],
    /// `e_machine`
    pub(crate) machine: u16,
    pub(crate) kind: u16,
    pub(crate) sections: Vec<Section>,
    pub(crate) segments: Vec<Segment>,
    /// `.symtab`; empty in a stripped file.
    pub(crate) symbols: Vec<Symbol>,
    pub(crate) dynamic_symbols: Vec<Symbol>,
    /// `.dynamic`: tag and value.
    pub(crate) dynamic: Vec<(u64, u64)>,
    dynamic_strings: &'a [u8],
}

#[derive(Clone, Copy)]
struct Bytes<'a, 'f>(&'a [u8], &'f str);

impl<'a> Bytes<'a, '_> {
    fn damaged(&self, why: &str) -> LinkError {
        LinkError::Elf { file: self.1.to_owned(), why: why.to_owned() }
    }
    fn range(&self, at: u64, len: u64) -> Result<&'a [u8], LinkError> {
        let range = usize::try_from(at).ok().zip(at.checked_add(len).and_then(|e| usize::try_from(e).ok()));
        range.and_then(|(a, e)| self.0.get(a..e)).ok_or_else(|| self.damaged("a table lies outside the file"))
    }
    fn u16(&self, at: u64) -> Result<u16, LinkError> {
        Ok(u16::from_le_bytes(self.range(at, 2)?.try_into().map_err(|_| self.damaged("short read"))?))
    }
    fn u32(&self, at: u64) -> Result<u32, LinkError> {
        Ok(u32::from_le_bytes(self.range(at, 4)?.try_into().map_err(|_| self.damaged("short read"))?))
    }
    fn u64(&self, at: u64) -> Result<u64, LinkError> {
        Ok(u64::from_le_bytes(self.range(at, 8)?.try_into().map_err(|_| self.damaged("short read"))?))
    }
}

/// How much of names and versions a file may have, as a multiple of its size: tables may share bytes, but not without end.
const SHARED: u64 = 64;

/// What is left to read of tables whose length only their contents tell.
struct Budget(u64);

impl Budget {
    fn of(b: Bytes<'_, '_>) -> Self {
        Self((b.0.len() as u64).saturating_mul(SHARED))
    }

    fn take(&mut self, b: Bytes<'_, '_>, amount: usize) -> Result<(), LinkError> {
        let left = self.0.checked_sub(amount as u64 + 1);
        self.0 = left.ok_or_else(|| b.damaged("its tables have no end"))?;
        Ok(())
    }

    /// The string at `at` of a string table.
    fn string(&mut self, b: Bytes<'_, '_>, table: &[u8], at: u32) -> Result<String, LinkError> {
        let name = string(table, at);
        self.take(b, name.len())?;
        Ok(name)
    }
}

/// Zero-terminated string at `at` of a string table; empty where there is none.
fn string(table: &[u8], at: u32) -> String {
    let rest = table.get(at as usize..).unwrap_or_default();
    String::from_utf8_lossy(rest.split(|b| *b == 0).next().unwrap_or_default()).into_owned()
}

impl<'a> Elf<'a> {
    /// Reads `data`; `file` names it in errors.
    pub(crate) fn parse(data: &'a [u8], file: &str) -> Result<Self, LinkError> {
        let b = Bytes(data, file);
        if data.get(..6) != Some(b"\x7fELF\x02\x01") {
            return Err(b.damaged("not a 64-bit little-endian ELF file"));
        }
        let (phoff, shoff) = (b.u64(32)?, b.u64(40)?);
        let mut segments = Vec::new();
        for i in 0..u64::from(b.u16(56)?) {
            let at = phoff.saturating_add(i * 56);
            segments.push(Segment {
                kind: b.u32(at)?,
                flags: b.u32(at + 4)?,
                offset: b.u64(at + 8)?,
                address: b.u64(at + 16)?,
                file_size: b.u64(at + 32)?,
                size: b.u64(at + 40)?,
                align: b.u64(at + 48)?,
            });
        }
        let sections = sections(b, shoff)?;
        let mut elf = Self {
            data,
            machine: b.u16(18)?,
            kind: b.u16(16)?,
            sections,
            segments,
            symbols: Vec::new(),
            dynamic_symbols: Vec::new(),
            dynamic: Vec::new(),
            dynamic_strings: &[],
        };
        if let Some(index) = elf.sections.iter().position(|s| s.kind == SHT_SYMTAB) {
            elf.symbols = elf.symbol_table(b, index)?;
        }
        if let Some(index) = elf.sections.iter().position(|s| s.kind == SHT_DYNSYM) {
            elf.dynamic_symbols = elf.symbol_table(b, index)?;
            elf.versions(b)?;
        }
        if let Some(section) = elf.sections.iter().find(|s| s.kind == SHT_DYNAMIC)
            && section.kind != SHT_NOBITS
        {
            elf.dynamic_strings = elf.strings(b, section.link)?;
            for i in 0..section.size / 16 {
                let tag = b.u64(section.offset + i * 16)?;
                if tag == 0 {
                    break;
                }
                elf.dynamic.push((tag, b.u64(section.offset + i * 16 + 8)?));
            }
        }
        Ok(elf)
    }

    fn strings(&self, b: Bytes<'a, '_>, section: u32) -> Result<&'a [u8], LinkError> {
        match self.sections.get(section as usize) {
            Some(s) if s.kind != SHT_NOBITS => b.range(s.offset, s.size),
            _ => Ok(&[]),
        }
    }

    fn symbol_table(&self, b: Bytes<'a, '_>, index: usize) -> Result<Vec<Symbol>, LinkError> {
        let table = &self.sections[index];
        let strings = self.strings(b, table.link)?;
        const SHT_SYMTAB_SHNDX: u32 = 18;
        let extended = self.sections.iter().find(|s| s.kind == SHT_SYMTAB_SHNDX && s.link as usize == index);
        let count = table.size / 24;
        b.range(table.offset, count * 24)?;
        let mut symbols = Vec::with_capacity(usize::try_from(count).unwrap_or(0));
        let mut budget = Budget::of(b);
        let mut file = None;
        for i in 0..count {
            let at = table.offset + i * 24;
            let info = b.range(at + 4, 1)?[0];
            let number = b.u16(at + 6)?;
            let section = match (number, extended) {
                (SHN_XINDEX, Some(ext)) => b.u32(ext.offset + i * 4)? as usize,
                (SHN_LORESERVE.., _) => 0,
                _ => usize::from(number),
            };
            if info & 15 == STT_FILE {
                file = usize::try_from(i).ok();
            }
            symbols.push(Symbol {
                name: budget.string(b, strings, b.u32(at)?)?,
                value: b.u64(at + 8)?,
                size: b.u64(at + 16)?,
                kind: info & 15,
                binding: info >> 4,
                visibility: b.range(at + 5, 1)?[0] & 3,
                section,
                reserved: if number >= SHN_LORESERVE && number != SHN_XINDEX { number } else { 0 },
                file: if info >> 4 == STB_LOCAL { file } else { None },
                version: None,
                version_hidden: false,
            });
        }
        Ok(symbols)
    }

    fn versions(&mut self, b: Bytes<'a, '_>) -> Result<(), LinkError> {
        let Some(versym) = self.sections.iter().find(|s| s.kind == SHT_VERSYM).cloned() else {
            return Ok(());
        };
        let mut names: HashMap<u16, String> = HashMap::new();
        let mut budget = Budget::of(b);
        for section in &self.sections {
            let strings = self.strings(b, section.link)?;
            let mut at = section.offset;
            for _ in 0..section.info {
                match section.kind {
                    SHT_VERNEED => {
                        let mut aux = at + u64::from(b.u32(at + 8)?);
                        for _ in 0..b.u16(at + 2)? {
                            let name = budget.string(b, strings, b.u32(aux + 8)?)?;
                            names.insert(b.u16(aux + 6)? & 0x7fff, name);
                            aux += u64::from(b.u32(aux + 12)?);
                        }
                        let next = u64::from(b.u32(at + 12)?);
                        if next == 0 {
                            break;
                        }
                        at += next;
                    }
                    SHT_VERDEF => {
                        // The base definition names the file itself, not a version of a symbol.
                        if b.u16(at + 2)? & 1 == 0 {
                            let aux = at + u64::from(b.u32(at + 12)?);
                            let name = budget.string(b, strings, b.u32(aux)?)?;
                            names.insert(b.u16(at + 4)? & 0x7fff, name);
                        }
                        let next = u64::from(b.u32(at + 16)?);
                        if next == 0 {
                            break;
                        }
                        at += next;
                    }
                    _ => break,
                }
            }
        }
        for (i, symbol) in (0u64..).zip(&mut self.dynamic_symbols) {
            let version = b.u16(versym.offset + i * 2)?;
            symbol.version = names.get(&(version & 0x7fff)).cloned();
            symbol.version_hidden = version & 0x8000 != 0;
        }
        Ok(())
    }

    /// Entries of a `SHT_RELA` section.
    pub(crate) fn relocations(&self, section: &Section) -> Vec<Rela> {
        let start = usize::try_from(section.offset).unwrap_or(usize::MAX);
        let len = usize::try_from(section.size).unwrap_or(0);
        let table = start.checked_add(len).and_then(|end| self.data.get(start..end)).unwrap_or_default();
        let word = |r: &[u8], at: usize| {
            r.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes)
        };
        let entry = |r: &[u8]| {
            let info = word(r, 8);
            Rela {
                offset: word(r, 0),
                kind: (info & 0xffff_ffff) as u32,
                symbol: (info >> 32) as usize,
                addend: word(r, 16).cast_signed(),
            }
        };
        table.chunks_exact(24).map(entry).collect()
    }

    /// Bytes of the file mapped at `address` up to the end of their segment's file content.
    pub(crate) fn bytes_from(&self, address: u64) -> &'a [u8] {
        let load =
            |s: &&Segment| s.kind == PT_LOAD && address >= s.address && address - s.address < s.file_size;
        self.segments
            .iter()
            .find(load)
            .and_then(|s| {
                let start = usize::try_from(s.offset.checked_add(address - s.address)?).ok()?;
                let end = usize::try_from(s.offset.checked_add(s.file_size)?).ok()?.min(self.data.len());
                self.data.get(start..end)
            })
            .unwrap_or_default()
    }

    /// Content of a section in the file; empty for `SHT_NOBITS`.
    pub(crate) fn content(&self, section: &Section) -> &'a [u8] {
        if section.kind == SHT_NOBITS {
            return &[];
        }
        let range = usize::try_from(section.offset).ok().zip(usize::try_from(section.size).ok());
        range.and_then(|(at, len)| self.data.get(at..at.checked_add(len)?)).unwrap_or_default()
    }

    /// Values of a tag that are string table offsets, as strings.
    pub(crate) fn dynamic_names(&self, tag: u64) -> Vec<String> {
        let offsets = self.dynamic.iter().filter(|(t, _)| *t == tag);
        offsets.map(|(_, at)| string(self.dynamic_strings, u32::try_from(*at).unwrap_or(u32::MAX))).collect()
    }

    pub(crate) fn dynamic_value(&self, tag: u64) -> Option<u64> {
        self.dynamic.iter().find(|(t, _)| *t == tag).map(|(_, v)| *v)
    }

    /// A program (it can be named first on a command line) rather than a library of one.
    pub(crate) fn is_executable(&self) -> bool {
        const DT_FLAGS_1: u64 = 0x6fff_fffb;
        const DF_1_PIE: u64 = 0x0800_0000;
        self.kind == ET_EXEC
            || self.segments.iter().any(|s| s.kind == PT_INTERP) && self.dynamic_names(14).is_empty()
            || self.dynamic_value(DT_FLAGS_1).is_some_and(|f| f & DF_1_PIE != 0)
    }

    /// `NT_GNU_BUILD_ID`.
    pub(crate) fn build_id(&self) -> Option<BuildId> {
        let notes = self.sections.iter().filter(|s| s.kind == SHT_NOTE);
        notes.map(|s| self.content(s)).find_map(identity::build_id)
    }
}

fn sections(b: Bytes<'_, '_>, shoff: u64) -> Result<Vec<Section>, LinkError> {
    if shoff == 0 {
        return Err(b.damaged("it has no section headers (sstrip?)"));
    }
    b.range(shoff, 64)?;
    // gABI: counts that do not fit the header are in section 0.
    let (number, names) = (u64::from(b.u16(60)?), u32::from(b.u16(62)?));
    let number = if number == 0 { b.u64(shoff + 32)? } else { number };
    let names = if names == u32::from(SHN_XINDEX) { b.u32(shoff + 40)? } else { names };
    b.range(shoff, number.saturating_mul(64))?;
    let header = |i: u64| shoff + i * 64;
    let names_at = header(u64::from(names));
    let strings = b.range(b.u64(names_at + 24)?, b.u64(names_at + 32)?)?;
    let mut sections = Vec::new();
    let mut budget = Budget::of(b);
    for i in 0..number {
        let at = header(i);
        sections.push(Section {
            name: budget.string(b, strings, b.u32(at)?)?,
            kind: b.u32(at + 4)?,
            flags: b.u64(at + 8)?,
            address: b.u64(at + 16)?,
            // One past the end is as good as any that is further out, and no sum with it overflows.
            offset: b.u64(at + 24)?.min(b.0.len() as u64),
            size: b.u64(at + 32)?,
            link: b.u32(at + 40)?,
            info: b.u32(at + 44)?,
            entry_size: b.u64(at + 56)?,
        });
    }
    Ok(sections)
}

/// Most bytes that the debug sections of one file may unpack to.
const LARGEST_UNPACKED: u64 = 1 << 30;

/// The sections of debug information that are asked for, unpacked. What cannot be read is left out.
pub(crate) fn debug_sections<'d>(data: &'d [u8], names: &[&str]) -> HashMap<String, Cow<'d, [u8]>> {
    let mut found = HashMap::new();
    let headers = || {
        let header = elf::FileHeader64::<object::Endianness>::parse(data)?;
        let endian = header.endian()?;
        Ok::<_, object::read::Error>((endian, header.sections(endian, data)?))
    };
    let Ok((endian, table)) = headers() else { return found };
    for section in table.iter() {
        let name = table.section_name(endian, section).map(String::from_utf8_lossy).unwrap_or_default();
        if !names.contains(&&*name) || section.sh_type(endian) == elf::SHT_NOBITS {
            continue;
        }
        let content = match section.compression(endian, data) {
            Ok(None) => section.data(endian, data).ok().map(Cow::Borrowed),
            Ok(Some((header, start, length))) => {
                let format = match header.ch_type(endian) {
                    elf::ELFCOMPRESS_ZLIB => Some(object::CompressionFormat::Zlib),
                    elf::ELFCOMPRESS_ZSTD => Some(object::CompressionFormat::Zstandard),
                    _ => None,
                };
                let end = usize::try_from(start.saturating_add(length)).ok();
                let packed =
                    usize::try_from(start).ok().zip(end).and_then(|(start, end)| data.get(start..end));
                let uncompressed_size = header.ch_size(endian);
                format.zip(packed).filter(|_| uncompressed_size <= LARGEST_UNPACKED).and_then(
                    |(format, data)| {
                        let packed = object::read::CompressedData { format, data, uncompressed_size };
                        packed.decompress().ok()
                    },
                )
            }
            Err(_) => None,
        };
        found.extend(content.map(|content| (name.into_owned(), content)));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A library with versions of its own and of others.
    fn library() -> Vec<u8> {
        let dir = tempfile::tempdir().unwrap();
        let (source, script, output) =
            (dir.path().join("a.c"), dir.path().join("a.map"), dir.path().join("a.so"));
        std::fs::write(&source, "#include <stdio.h>\nint own(void) { return puts(\"x\"); }\n").unwrap();
        std::fs::write(&script, "ONE { global: own; local: *; };\n").unwrap();
        let mut gcc = std::process::Command::new("gcc");
        gcc.args(["-shared", "-fPIC", "-o"]).arg(&output).arg(&source);
        let done = gcc.arg(format!("-Wl,--version-script={}", script.display())).status().unwrap();
        assert!(done.success());
        std::fs::read(&output).unwrap()
    }

    fn header_of(data: &[u8], kind: u32) -> usize {
        let word = |at: usize| u64::from_le_bytes(data[at..at + 8].try_into().unwrap()) as usize;
        let headers = (0..).map(|i| word(40) + i * 64);
        headers.take(64).find(|at| data[at + 4..at + 8] == kind.to_le_bytes()).unwrap()
    }

    #[test]
    fn a_list_of_versions_that_does_not_go_on_ends() {
        let mut data = library();
        for (kind, next) in [(SHT_VERNEED, 12), (SHT_VERDEF, 16)] {
            let header = header_of(&data, kind);
            let at = u64::from_le_bytes(data[header + 24..header + 32].try_into().unwrap()) as usize;
            data[header + 44..header + 48].copy_from_slice(&u32::MAX.to_le_bytes());
            data[at + next..at + next + 4].fill(0);
            Elf::parse(&data, "x").unwrap();
            // One that goes on at itself, nearly.
            data[at + next..at + next + 4].copy_from_slice(&0u32.to_le_bytes());
            data[at + 2..at + 4].copy_from_slice(&u16::MAX.to_le_bytes());
            let _ = Elf::parse(&data, "x");
        }
    }

    #[test]
    fn damaged_files_are_read_to_an_end() {
        let whole = library();
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        let interesting = [0, 1, 0x7f, 0xff, 0x80];
        let tables = u64::from_le_bytes(whole[40..48].try_into().unwrap()) as usize;
        for round in 0..3000 {
            let mut data = whole.clone();
            for _ in 0..=random() % 8 {
                // Headers say where everything is: half of the hits go there.
                let (start, len) =
                    if random() % 2 == 0 { (tables, data.len() - tables) } else { (0, data.len()) };
                let at = start + random() as usize % len;
                data[at] = interesting[random() as usize % interesting.len()];
            }
            if round % 16 == 0 {
                data.truncate(random() as usize % whole.len());
            }
            if let Ok(elf) = Elf::parse(&data, "x") {
                let _ = (elf.build_id(), elf.is_executable(), elf.dynamic_names(1));
                for section in &elf.sections {
                    let _ = (elf.content(section).len(), elf.relocations(section).len());
                    let _ = elf.bytes_from(section.address);
                }
            }
        }
    }
}
