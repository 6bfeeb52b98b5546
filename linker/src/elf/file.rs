//! One file.

use object::LittleEndian;
use std::ops::Deref;
use std::sync::Arc;

use object::elf::{self, FileHeader64};
use object::pod::slice_from_bytes;
use object::read::StringTable;
use object::read::elf::{Dyn, FileHeader, ProgramHeader, Rela as _, SectionHeader, SectionTable};
use patchfile::{BuildId, identity};

use super::symbols::{self, Budget, Symbol};
use super::{ET_EXEC, PT_INTERP, PT_LOAD, SHT_NOBITS, SHT_NOTE};
use crate::error::LinkError;

const LE: LittleEndian = LittleEndian;

/// One section header.
#[derive(Clone, Debug)]
pub(crate) struct Section {
    pub(crate) name: String,
    pub(crate) kind: u32,
    pub(crate) flags: u64,
    pub(crate) address: u64,
    pub(crate) offset: u64,
    pub(crate) size: u64,
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

/// One `Elf64_Rela`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rela {
    pub(crate) offset: u64,
    pub(crate) kind: u32,
    pub(crate) symbol: usize,
    pub(crate) addend: i64,
}

/// An ELF file that was read. It can be handed to several of the functions here, which then need not read it
/// again.
#[derive(Clone, Debug)]
pub struct ParsedElf<'a>(pub(crate) ElfFile<'a>);

impl<'a> ParsedElf<'a> {
    /// Reads `data`; `file` names it in errors.
    ///
    /// # Errors
    /// When it is no ELF file, or is damaged.
    pub fn parse(data: &'a [u8], file: &str) -> Result<Self, LinkError> {
        ElfFile::parse(data, file).map(Self)
    }
}

/// An ELF file, read. Copies share what was read.
#[derive(Clone, Debug)]
pub(crate) struct ElfFile<'a>(Arc<Tables<'a>>);

impl<'a> Deref for ElfFile<'a> {
    type Target = Tables<'a>;

    fn deref(&self) -> &Tables<'a> {
        &self.0
    }
}

impl<'a> ElfFile<'a> {
    /// Reads `data`; `file` names it in errors.
    pub(crate) fn parse(data: &'a [u8], file: &str) -> Result<Self, LinkError> {
        let tables = Tables::read(data).map_err(|why| LinkError::Elf { file: file.to_owned(), why })?;
        Ok(Self(Arc::new(tables)))
    }
}

/// What is read of an ELF file.
#[derive(Debug)]
pub(crate) struct Tables<'a> {
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
    dynamic: Vec<(u64, u64)>,
    dynamic_strings: StringTable<'a>,
}

impl<'a> Tables<'a> {
    fn read(data: &'a [u8]) -> Result<Self, String> {
        if data.get(..6) != Some(b"\x7fELF\x02\x01") {
            return Err("not a 64-bit little-endian ELF file".to_owned());
        }
        let header = FileHeader64::<LittleEndian>::parse(data).map_err(in_words)?;
        if header.e_shoff(LE) == 0 {
            return Err("it has no section headers (sstrip?)".to_owned());
        }
        let table = header.sections(LE, data).map_err(in_words)?;
        let segments = header.program_headers(LE, data).map_err(in_words)?;
        let mut elf = Self {
            data,
            machine: header.e_machine(LE).0,
            kind: header.e_type(LE).0,
            sections: sections(&table, data)?,
            segments: segments.iter().map(segment).collect(),
            symbols: symbols::read(&table.symbols(LE, data, elf::SHT_SYMTAB).map_err(in_words)?, data)?,
            dynamic_symbols: Vec::new(),
            dynamic: Vec::new(),
            dynamic_strings: StringTable::default(),
        };
        let dynamic = table.symbols(LE, data, elf::SHT_DYNSYM).map_err(in_words)?;
        elf.dynamic_symbols = symbols::read(&dynamic, data)?;
        if !dynamic.is_empty() {
            symbols::add_versions(&mut elf.dynamic_symbols, &table, data)?;
        }
        if let Some((entries, strings)) = table.dynamic(LE, data).map_err(in_words)? {
            let entries = entries.iter().map(|entry| (entry.d_tag(LE).0.cast_unsigned(), entry.d_val(LE)));
            elf.dynamic = entries.take_while(|(tag, _)| *tag != 0).collect();
            elf.dynamic_strings = table.strings(LE, data, strings).map_err(in_words)?;
        }
        Ok(elf)
    }

    /// Entries of a `SHT_RELA` section.
    pub(crate) fn relocations(&self, section: &Section) -> Vec<Rela> {
        let content = self.content(section);
        let count = content.len() / size_of::<elf::Rela64<LittleEndian>>();
        let entries = slice_from_bytes::<elf::Rela64<LittleEndian>>(content, count);
        let entry = |r: &elf::Rela64<LittleEndian>| Rela {
            offset: r.r_offset(LE),
            kind: r.r_type(LE, false).0,
            symbol: r.r_sym(LE, false) as usize,
            addend: r.r_addend(LE),
        };
        entries.map(|(entries, _)| entries.iter().map(entry).collect()).unwrap_or_default()
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
        let name = |at: &u64| self.dynamic_strings.get(u32::try_from(*at).ok()?).ok();
        offsets.map(|(_, at)| String::from_utf8_lossy(name(at).unwrap_or_default()).into_owned()).collect()
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

fn in_words(error: object::read::Error) -> String {
    error.to_string()
}

fn segment(header: &elf::ProgramHeader64<LittleEndian>) -> Segment {
    Segment {
        kind: header.p_type(LE).0,
        flags: header.p_flags(LE).0,
        offset: header.p_offset(LE),
        address: header.p_vaddr(LE),
        file_size: header.p_filesz(LE),
        size: header.p_memsz(LE),
        align: header.p_align(LE),
    }
}

fn sections(
    table: &SectionTable<'_, FileHeader64<LittleEndian>>,
    data: &[u8],
) -> Result<Vec<Section>, String> {
    let mut budget = Budget::of(data);
    let section = |header: &elf::SectionHeader64<LittleEndian>| {
        Ok(Section {
            name: budget.text(table.section_name(LE, header))?,
            kind: header.sh_type(LE).0,
            flags: header.sh_flags(LE).0,
            address: header.sh_addr(LE),
            // One past the end is as good as any that is further out, and no sum with it overflows.
            offset: header.sh_offset(LE).min(data.len() as u64),
            size: header.sh_size(LE),
            info: header.sh_info(LE),
            entry_size: header.sh_entsize(LE),
        })
    };
    table.iter().map(section).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elf::damage::damaged;

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
        for (kind, next) in [(elf::SHT_GNU_VERNEED.0, 12), (elf::SHT_GNU_VERDEF.0, 16)] {
            let header = header_of(&data, kind);
            let at = u64::from_le_bytes(data[header + 24..header + 32].try_into().unwrap()) as usize;
            data[header + 44..header + 48].copy_from_slice(&u32::MAX.to_le_bytes());
            data[at + next..at + next + 4].fill(0);
            ElfFile::parse(&data, "x").unwrap();
            // One that goes on at itself, nearly.
            data[at + next..at + next + 4].copy_from_slice(&0u32.to_le_bytes());
            data[at + 2..at + 4].copy_from_slice(&u16::MAX.to_le_bytes());
            let _ = ElfFile::parse(&data, "x");
        }
    }

    #[test]
    fn damaged_files_are_read_to_an_end() {
        for data in damaged(&library(), 3000) {
            if let Ok(elf) = ElfFile::parse(&data, "x") {
                let _ = (elf.build_id(), elf.is_executable(), elf.dynamic_names(1));
                for section in &elf.sections {
                    let _ = (elf.content(section).len(), elf.relocations(section).len());
                    let _ = elf.bytes_from(section.address);
                }
            }
        }
    }
}
