//! ELF files as far as the packager reads them; the only place here that knows the `object` crate.

use object::elf;
use object::read::ReadRef;
use object::read::elf::{FileHeader, ProgramHeader, SectionHeader, SectionTable};
use patchfile::{Arch, BuildId, Digest, identity};
use std::collections::BTreeMap;
use std::ops::Range;

type Header = elf::FileHeader64<object::Endianness>;

fn in_words(error: object::read::Error) -> String {
    error.to_string()
}

/// What every reader begins with.
pub(super) fn headers<'d, R: ReadRef<'d>>(
    data: R,
) -> Result<(&'d Header, object::Endianness, SectionTable<'d, Header, R>), String> {
    let header = Header::parse(data).map_err(in_words)?;
    let endian = header.endian().map_err(in_words)?;
    Ok((header, endian, header.sections(endian, data).map_err(in_words)?))
}

/// A section that is part of the running program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Section {
    /// Name.
    pub name: String,
    /// Link-time address.
    pub address: u64,
    /// Size in bytes.
    pub size: u64,
    /// `SHF_EXECINSTR`.
    pub executable: bool,
    /// Contents; empty for `SHT_NOBITS`.
    pub data: Vec<u8>,
}

/// An executable or shared library.
#[derive(Clone, Debug)]
pub(crate) struct Elf {
    /// Architecture, if it is one of ours.
    pub arch: Option<Arch>,
    /// `NT_GNU_BUILD_ID`.
    pub build_id: Option<BuildId>,
    /// Digest over the executable segments.
    pub code: Digest,
    /// Has it a symbol table (`SHT_SYMTAB`)?
    pub symbols: bool,
    /// Allocated sections in address order.
    pub sections: Vec<Section>,
}

/// Is this the beginning of an ELF file that can be run or mapped (`ET_EXEC`, `ET_DYN`)?
pub(crate) fn is_linked(head: &[u8]) -> bool {
    elf_kind(head).is_some_and(|k| k == elf::ET_EXEC.0 || k == elf::ET_DYN.0)
}

/// Is this the beginning of any ELF file or of an archive, hence a build product?
pub(crate) fn is_build_product(head: &[u8]) -> bool {
    elf_kind(head).is_some() || head.starts_with(b"!<arch>\n") || head.starts_with(b"!<thin>\n")
}

fn elf_kind(head: &[u8]) -> Option<u16> {
    if !head.starts_with(&elf::ELFMAG) {
        return None;
    }
    // `e_type` has the byte order of `EI_DATA`, in which 2 is `ELFDATA2MSB`.
    let bytes = [*head.get(16)?, *head.get(17)?];
    Some(if head.get(5).copied() == Some(2) { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) })
}

/// Gives data sections of a relocatable file the contents that they have in `like`, where the names and sizes
/// agree and `same` says that the new contents mean what the old ones do. Gives the names of those sections.
/// A name that one of the files has twice is left alone.
///
/// # Errors
/// In words, when one of them is no ELF file or is damaged.
pub(crate) fn take_over_data(
    data: &mut [u8],
    like: &[u8],
    same: impl Fn(&[u8], &[u8]) -> bool,
) -> Result<Vec<String>, String> {
    let theirs = data_sections(like)?;
    let mut taken = Vec::new();
    for (name, range) in data_sections(data)? {
        let Some((range, old)) = range.zip(theirs.get(&name).cloned().flatten().and_then(|r| like.get(r)))
        else {
            continue;
        };
        let Some(new) = data.get_mut(range).filter(|new| new.len() == old.len() && **new != *old) else {
            continue;
        };
        if same(old, new) {
            new.copy_from_slice(old);
            taken.push(String::from_utf8_lossy(&name).into_owned());
        }
    }
    Ok(taken)
}

/// Where in the file initialised data is, by section name; `None` where several sections have the name.
fn data_sections(data: &[u8]) -> Result<BTreeMap<Vec<u8>, Option<Range<usize>>>, String> {
    let (_, endian, table) = headers(data)?;
    let mut found = BTreeMap::new();
    for section in table.iter() {
        let flags = section.sh_flags(endian).0;
        let is_data = flags & elf::SHF_ALLOC.0 != 0 && flags & elf::SHF_EXECINSTR.0 == 0;
        if !is_data || section.sh_type(endian) != elf::SHT_PROGBITS {
            continue;
        }
        let Some((offset, size)) = section.file_range(endian) else { continue };
        let start = usize::try_from(offset).map_err(|e| e.to_string())?;
        let size = usize::try_from(size).map_err(|e| e.to_string())?;
        let name = table.section_name(endian, section).map_err(in_words)?.to_vec();
        found
            .entry(name)
            .and_modify(|range| *range = None)
            .or_insert(Some(start..start.saturating_add(size)));
    }
    Ok(found)
}

impl Elf {
    /// Reads a 64-bit ELF file.
    ///
    /// # Errors
    /// In words, when it is none or is damaged.
    pub(crate) fn parse(data: &[u8]) -> Result<Self, String> {
        Self::read(data, true)
    }

    /// Reads the identity of a file with separate debug information: its sections and segments have headers,
    /// but no contents.
    ///
    /// # Errors
    /// As [`Elf::parse`].
    pub(crate) fn parse_debug(data: &[u8]) -> Result<Self, String> {
        Self::read(data, false)
    }

    fn read(data: &[u8], contents: bool) -> Result<Self, String> {
        let (header, endian, table) = headers(data)?;
        let mut sections = Vec::new();
        for section in table.iter() {
            if section.sh_flags(endian).0 & elf::SHF_ALLOC.0 == 0 || section.sh_type(endian) == elf::SHT_NULL
            {
                continue;
            }
            let name = table.section_name(endian, section).map_err(in_words)?;
            sections.push(Section {
                name: String::from_utf8_lossy(name).into_owned(),
                address: section.sh_addr(endian),
                size: section.sh_size(endian),
                executable: section.sh_flags(endian).0 & elf::SHF_EXECINSTR.0 != 0,
                data: if contents {
                    section.data(endian, data).map_err(in_words)?.to_vec()
                } else {
                    Vec::new()
                },
            });
        }
        sections.sort_by_key(|s| s.address);
        let segments = header.program_headers(endian, data).map_err(in_words)?.iter();
        let is_code = |s: &&elf::ProgramHeader64<_>| {
            contents && identity::is_code(s.p_type(endian).0, s.p_flags(endian).0)
        };
        let content = |s: &elf::ProgramHeader64<_>| match s.data(endian, data) {
            Ok(bytes) => Ok(bytes.to_vec()),
            Err(()) => Err("executable segment outside the file".to_owned()),
        };
        let code = identity::code_digest_of_pieces(segments.filter(is_code).map(content))?;
        // By section: in a debug file the segments' offsets point nowhere.
        let notes = table.iter().filter(|s| s.sh_type(endian) == elf::SHT_NOTE);
        let build_id = notes.filter_map(|s| identity::build_id(s.data(endian, data).ok()?)).next_back();
        Ok(Self {
            arch: Arch::from_e_machine(header.e_machine(endian).0),
            build_id,
            code,
            symbols: table.iter().any(|s| s.sh_type(endian) == elf::SHT_SYMTAB),
            sections,
        })
    }

    /// Does every allocated section have the same name, address and size as in `other`?
    pub(crate) fn same_layout(&self, other: &Self) -> bool {
        let shape =
            |e: &Self| e.sections.iter().map(|s| (s.name.clone(), s.address, s.size)).collect::<Vec<_>>();
        shape(self) == shape(other)
    }

    /// Names of the sections whose contents differ from `other`'s; the build-id note does not count.
    pub(crate) fn different_sections(&self, other: &Self) -> Vec<String> {
        let pairs = self.sections.iter().zip(&other.sections);
        pairs
            .filter(|(a, b)| a.data != b.data && a.name != ".note.gnu.build-id")
            .map(|(a, _)| a.name.clone())
            .collect()
    }

    /// Is the section of this name code?
    pub(crate) fn is_code(&self, name: &str) -> bool {
        self.sections.iter().any(|s| s.name == name && s.executable)
    }
}

/// What a linked file is, if no patch can be made for its kind.
pub(crate) fn foreign(data: &[u8]) -> Option<String> {
    use object::{Object, ObjectKind};
    let file = object::File::parse(data).ok()?;
    if !matches!(file.kind(), ObjectKind::Executable | ObjectKind::Dynamic) {
        return None;
    }
    let known = Elf::parse(data).is_ok_and(|elf| elf.arch.is_some());
    let bits = if file.is_64() { 64 } else { 32 };
    (!known).then(|| match (file.architecture(), bits) {
        (object::Architecture::X86_64_X32, _) => "a program of the x32 ABI".to_owned(),
        (arch, bits) => format!("a {bits}-bit program ({arch:?})").to_lowercase(),
    })
}

/// Does an object hold bytecode for link-time optimisation? LLVM's bitcode is no ELF file; gcc has it in
/// sections of that name (gcc internals, "LTO file sections"), beside machine code in "fat" objects.
pub(crate) fn holds_bytecode(data: &[u8]) -> bool {
    any_section(data, |name| name.starts_with(b".gnu.lto_")).unwrap_or(true)
}

/// Has an object a section of this name?
pub(crate) fn has_section(data: &[u8], name: &str) -> bool {
    any_section(data, |found| found == name.as_bytes()).unwrap_or(false)
}

/// Does this hold for the name of any section? `None` for what is no ELF file.
fn any_section(data: &[u8], holds: impl Fn(&[u8]) -> bool) -> Option<bool> {
    let (_, endian, table) = headers(data).ok()?;
    Some(table.iter().any(|s| table.section_name(endian, s).is_ok_and(&holds)))
}

/// A symbol that an object defines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Name {
    /// Its name.
    pub name: String,
    /// `STB_LOCAL`
    pub local: bool,
    /// Can other modules see the symbol? It is neither local nor hidden.
    pub exported: bool,
}

/// The functions and data that a relocatable object defines; compilers' labels (`.LC0`) left out.
///
/// # Errors
/// In words, when the object cannot be read.
pub(crate) fn defined_names(data: &[u8]) -> Result<Vec<Name>, String> {
    use object::read::elf::Sym;
    let (_, endian, table) = headers(data)?;
    let symbols = table.symbols(endian, data, elf::SHT_SYMTAB).map_err(in_words)?;
    let mut names = Vec::new();
    for symbol in symbols.iter() {
        let named = !matches!(symbol.st_type(), elf::STT_FILE | elf::STT_SECTION);
        if !named || symbol.st_shndx(endian).0 == 0 {
            continue;
        }
        let name = symbols.symbol_name(endian, symbol).map_err(in_words)?;
        if name.is_empty() || name.starts_with(b".L") {
            continue;
        }
        let name = std::str::from_utf8(name).map_err(|_| "a symbol's name is not UTF-8".to_owned())?;
        let local = symbol.st_bind() == elf::STB_LOCAL;
        let hidden = matches!(symbol.st_visibility(), elf::STV_HIDDEN | elf::STV_INTERNAL);
        names.push(Name { name: name.to_owned(), local, exported: !local && !hidden });
    }
    Ok(names)
}

/// What of a relocatable object ends up in a program, independent of debug information: sections with their
/// relocations and the symbols. Equal answers for two objects mean that nothing that runs differs.
///
/// # Errors
/// In words, when the object cannot be read.
pub(crate) fn runtime_content(data: &[u8]) -> Result<Digest, String> {
    use object::read::elf::{Rela, Sym};
    let (_, endian, table) = headers(data)?;
    let symbols = table.symbols(endian, data, elf::SHT_SYMTAB).map_err(in_words)?;
    let alloc = |index: usize| {
        let section = table.section(object::SectionIndex(index)).ok();
        section.is_some_and(|s| s.sh_flags(endian).0 & elf::SHF_ALLOC.0 != 0)
    };
    let section_name = |index: usize| {
        let section = table.section(object::SectionIndex(index)).ok();
        section.and_then(|s| table.section_name(endian, s).ok()).unwrap_or_default()
    };
    let symbol = |index: usize| -> Vec<u8> {
        let Ok(symbol) = symbols.symbol(object::SymbolIndex(index)) else { return b"?".to_vec() };
        let mut out = symbols.symbol_name(endian, symbol).unwrap_or_default().to_vec();
        let home = usize::from(symbol.st_shndx(endian).0);
        let home = if home < usize::from(elf::SHN_LORESERVE) { section_name(home) } else { b"*" };
        out.push(0);
        out.extend_from_slice(home);
        out.push(0);
        out.extend_from_slice(&symbol.st_value(endian).to_le_bytes());
        out.extend_from_slice(&symbol.st_size(endian).to_le_bytes());
        out.push(symbol.st_info().0);
        out.push(symbol.st_other().0);
        out
    };
    let mut parts: Vec<Vec<u8>> = Vec::new();
    for (index, section) in table.iter().enumerate() {
        if alloc(index) {
            parts.push(section_name(index).to_vec());
            parts.push(section.sh_size(endian).to_le_bytes().to_vec());
            parts.push(section.data(endian, data).map_err(in_words)?.to_vec());
        }
        if let Some((relocations, _)) = section.rela(endian, data).map_err(in_words)?
            && alloc(section.sh_info(endian) as usize)
        {
            for rela in relocations {
                let mut part = rela.r_offset(endian).to_le_bytes().to_vec();
                part.extend_from_slice(&rela.r_type(endian, false).0.to_le_bytes());
                part.extend_from_slice(&rela.r_addend(endian).to_le_bytes());
                part.extend(symbol(rela.r_sym(endian, false) as usize));
                parts.push(part);
            }
        }
    }
    for index in 1..symbols.len() {
        let Ok(found) = symbols.symbol(object::SymbolIndex(index)) else { continue };
        let home = usize::from(found.st_shndx(endian).0);
        // Names for people, and sections, which no name refers to: strip takes both away.
        if matches!(found.st_type(), elf::STT_FILE | elf::STT_SECTION) {
            continue;
        }
        let debug = home != 0 && home < usize::from(elf::SHN_LORESERVE) && !alloc(home);
        if !debug {
            parts.push(symbol(index));
        }
    }
    Ok(Digest::of_parts(parts.iter().map(Vec::as_slice)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elf::damage::damaged;

    #[test]
    fn damaged_files_are_read_to_an_end() {
        let dir = tempfile::tempdir().unwrap();
        let (source, output) = (dir.path().join("a.c"), dir.path().join("a.so"));
        std::fs::write(&source, "#include <stdio.h>\nint own(void) { return puts(\"x\"); }\n").unwrap();
        let mut gcc = std::process::Command::new("gcc");
        let done = gcc.args(["-shared", "-fPIC", "-o"]).arg(&output).arg(&source).status().unwrap();
        assert!(done.success());
        let whole = std::fs::read(&output).unwrap();
        for data in damaged(&whole, 3000) {
            let _ = Elf::parse(&data);
            let _ = (runtime_content(&data), defined_names(&data));
            let _ = (holds_bytecode(&data), foreign(&data));
        }
    }
}
