//! Reads a relocatable ELF64 object into a [`Unit`].

use std::borrow::Cow;

use object::LittleEndian;
use object::elf;
use object::read::elf::{CompressionHeader, FileHeader, Rela, SectionHeader, Sym};

use crate::error::Error;
use crate::model::{Binding, SymbolType, Visibility};
use crate::reading::Reading;
use crate::unit::{DefinedIn, Reloc, SHF_ALLOC, SHF_TLS, SHF_WRITE, SHT_NOBITS, Section, Symbol, Unit};

const ENDIAN: LittleEndian = LittleEndian;
/// No real object has sizes or addends beyond this. Below it no sum of offsets overflows.
const LIMIT: u64 = 1 << 48;
/// No section of debug information of one object comes near 1 GiB.
const LARGEST_UNPACKED: u64 = 1 << 30;

/// Reads `data`; `side` names it in errors.
pub(crate) fn read_unit<'a>(data: &'a [u8], side: &'static str, reading: Reading) -> Result<Unit<'a>, Error> {
    let bad = |detail: String| Error::Malformed { side, detail };
    let broken = |e: object::read::Error| Error::Malformed { side, detail: e.to_string() };

    let header = elf::FileHeader64::<LittleEndian>::parse(data)
        .map_err(|_| bad("not a little-endian ELF64 file".into()))?;
    if header.endian().is_err() {
        return Err(bad("not little-endian".into()));
    }
    if header.e_type.get(ENDIAN) != elf::ET_REL {
        return Err(bad("not a relocatable object (ET_REL)".into()));
    }
    let table = header.sections(ENDIAN, data).map_err(broken)?;
    let symtab = table.symbols(ENDIAN, data, elf::SHT_SYMTAB).map_err(broken)?;

    let mut sections = Vec::with_capacity(table.len());
    for (index, header) in table.enumerate() {
        let name = table.section_name(ENDIAN, header).map_err(broken)?;
        let sh_type = header.sh_type(ENDIAN).0;
        let bytes = if sh_type == SHT_NOBITS || index.0 == 0 {
            &[]
        } else {
            header.data(ENDIAN, data).map_err(broken)?
        };
        if header.sh_size(ENDIAN) > LIMIT || header.sh_addralign(ENDIAN) > LIMIT {
            return Err(bad(format!("section {} is too large", text(name, side)?)));
        }
        let mut section = Section {
            name: Cow::Borrowed(text(name, side)?),
            sh_type,
            flags: header.sh_flags(ENDIAN).0,
            align: header.sh_addralign(ENDIAN).max(1),
            entsize: header.sh_entsize(ENDIAN),
            size: header.sh_size(ENDIAN),
            data: Cow::Borrowed(bytes),
            relocs: Vec::new(),
            common: false,
        };
        if reading != Reading::Program {
            unpack_gnu(&mut section).map_err(bad)?;
        }
        if reading.wants(&section) {
            decompress(&mut section, header, data).map_err(bad)?;
        }
        sections.push(section);
    }

    for header in table.iter() {
        if header.sh_type(ENDIAN) == elf::SHT_REL {
            return Err(Error::Unsupported {
                what: "relocations without addend (SHT_REL)".into(),
                place: side.into(),
            });
        }
        let Some((entries, _)) = header.rela(ENDIAN, data).map_err(broken)? else { continue };
        let target = header.info_link(ENDIAN).0;
        let section = sections
            .get_mut(target)
            .ok_or_else(|| bad(format!("relocations for section {target}, which does not exist")))?;
        if !reading.wants(section) {
            continue;
        }
        section.relocs.reserve(entries.len());
        for entry in entries {
            let symbol = entry.r_sym(ENDIAN, false) as usize;
            if symbol >= symtab.len() && symbol != 0 {
                return Err(bad(format!("relocation in {} refers to symbol {symbol}", section.name)));
            }
            if entry.r_addend(ENDIAN).unsigned_abs() > LIMIT {
                return Err(bad(format!(
                    "relocation in {} has addend {:#x}",
                    section.name,
                    entry.r_addend(ENDIAN)
                )));
            }
            section.relocs.push(Reloc {
                offset: entry.r_offset(ENDIAN),
                r_type: entry.r_type(ENDIAN, false).0,
                symbol,
                addend: entry.r_addend(ENDIAN),
            });
        }
    }
    for section in &mut sections {
        section.relocs.sort_by_key(|r| r.offset);
        if section.relocs.last().is_some_and(|r| r.offset >= section.size) {
            return Err(bad(format!("relocation outside of section {}", section.name)));
        }
    }

    let mut source_file = String::new();
    let mut symbols = Vec::with_capacity(symtab.len());
    for (index, symbol) in symtab.enumerate() {
        let mut name = text(symtab.symbol_name(ENDIAN, symbol).map_err(broken)?, side)?;
        let raw_section = symbol.st_shndx(ENDIAN);
        let mut value = symbol.st_value(ENDIAN);
        let size = symbol.st_size(ENDIAN);
        if symbol.st_type() == elf::STT_FILE && source_file.is_empty() {
            name.clone_into(&mut source_file);
        }
        let home = if raw_section == elf::SHN_COMMON {
            if value > LIMIT || size > LIMIT {
                return Err(bad(format!("common symbol {name} is too large")));
            }
            // A common symbol's value is its alignment. It becomes zeroed memory of its own.
            sections.push(Section {
                name: Cow::Owned(format!(".bss.{name}")),
                sh_type: SHT_NOBITS,
                flags: SHF_ALLOC | SHF_WRITE | if symbol.st_type() == elf::STT_TLS { SHF_TLS } else { 0 },
                align: value.max(1),
                entsize: 0,
                size,
                data: Cow::Borrowed(&[]),
                relocs: Vec::new(),
                common: true,
            });
            value = 0;
            DefinedIn::Section(sections.len() - 1)
        } else if raw_section == elf::SHN_ABS {
            DefinedIn::Absolute
        } else {
            match symtab.symbol_section(ENDIAN, symbol, index).map_err(broken)? {
                None => DefinedIn::Undefined,
                Some(section) => DefinedIn::Section(section.0),
            }
        };
        if let DefinedIn::Section(section) = home {
            let Some(section) = sections.get(section) else {
                return Err(bad(format!("symbol {name} is in section {section}, which does not exist")));
            };
            if value > section.size || size > section.size - value {
                return Err(bad(format!("symbol {name} reaches beyond section {}", section.name)));
            }
            if symbol.st_type() == elf::STT_SECTION {
                // The sections of common symbols are made up, and have no symbol of their own.
                if let Cow::Borrowed(own) = section.name {
                    name = own;
                }
            }
        }
        symbols.push(Symbol {
            name,
            binding: binding(symbol.st_bind(), side)?,
            visibility: visibility(symbol.st_visibility()),
            stype: symbol_type(symbol.st_type(), side)?,
            value,
            size,
            home,
        });
    }
    Ok(Unit { side, machine: header.e_machine.get(ENDIAN).0, source_file, sections, symbols })
}

/// Puts the content of a compressed debug section in place of its compressed form (gABI, "Section
/// Compression"): relocations are for the content.
fn decompress(
    section: &mut Section<'_>,
    header: &elf::SectionHeader64<LittleEndian>,
    data: &[u8],
) -> Result<(), String> {
    let told = |e: object::read::Error| format!("section {}: {e}", section.name);
    let Some((compression, start, length)) = header.compression(ENDIAN, data).map_err(told)? else {
        return Ok(());
    };
    let size = compression.ch_size(ENDIAN);
    // Deflate expands 1032 times at most. A section that claims more gets no memory.
    if size > LARGEST_UNPACKED || size / 1100 > length {
        return Err(format!("section {} claims to unpack to {size} bytes", section.name));
    }
    let format = match compression.ch_type(ENDIAN) {
        elf::ELFCOMPRESS_ZLIB => object::CompressionFormat::Zlib,
        elf::ELFCOMPRESS_ZSTD => object::CompressionFormat::Zstandard,
        other => {
            return Err(format!("section {} is compressed in an unknown way ({})", section.name, other.0));
        }
    };
    let packed =
        data.get(range(start, length)).ok_or_else(|| format!("section {} is cut off", section.name))?;
    let packed = object::read::CompressedData { format, data: packed, uncompressed_size: size };
    section.data = Cow::Owned(packed.decompress().map_err(told)?.into_owned());
    section.size = size;
    section.align = compression.ch_addralign(ENDIAN).clamp(1, LIMIT);
    section.flags &= !elf::SHF_COMPRESSED.0;
    Ok(())
}

/// Does the same for the form before that was standardised, `.zdebug_info` and so on: a mark, the size with
/// the highest byte first, and the packed content (GNU as, `--compress-debug-sections=zlib-gnu`).
fn unpack_gnu(section: &mut Section<'_>) -> Result<(), String> {
    let Some(name) = section.name.strip_prefix(".zdebug_").map(|rest| format!(".debug_{rest}")) else {
        return Ok(());
    };
    let Cow::Borrowed(data) = section.data else { return Ok(()) };
    let Some((size, data)) = data.strip_prefix(b"ZLIB").and_then(<[u8]>::split_first_chunk) else {
        return Ok(());
    };
    let size = u64::from_be_bytes(*size);
    if size > LARGEST_UNPACKED || size / 1100 > data.len() as u64 {
        return Err(format!("section {} claims to unpack to {size} bytes", section.name));
    }
    let format = object::CompressionFormat::Zlib;
    let packed = object::read::CompressedData { format, data, uncompressed_size: size };
    let unpacked = packed.decompress().map_err(|e| format!("section {}: {e}", section.name))?;
    section.data = Cow::Owned(unpacked.into_owned());
    section.size = size;
    section.name = Cow::Owned(name);
    Ok(())
}

/// Saturates: an impossible range lies beyond the data.
fn range(start: u64, length: u64) -> std::ops::Range<usize> {
    let at = |v: u64| usize::try_from(v).unwrap_or(usize::MAX);
    at(start)..at(start.saturating_add(length))
}

fn text<'a>(bytes: &'a [u8], side: &'static str) -> Result<&'a str, Error> {
    // Names are keys. A lossy conversion could make two names one.
    str::from_utf8(bytes).map_err(|_| Error::Malformed {
        side,
        detail: format!("the name {:?} is not UTF-8", String::from_utf8_lossy(bytes)),
    })
}

fn binding(bind: elf::SymbolBind, side: &'static str) -> Result<Binding, Error> {
    Ok(match bind {
        elf::STB_LOCAL => Binding::Local,
        elf::STB_GLOBAL => Binding::Global,
        elf::STB_WEAK => Binding::Weak,
        elf::STB_GNU_UNIQUE => Binding::Unique,
        other => {
            return Err(Error::Unsupported {
                what: format!("symbol binding {}", other.0),
                place: side.into(),
            });
        }
    })
}

fn visibility(vis: elf::SymbolVisibility) -> Visibility {
    match vis {
        elf::STV_INTERNAL => Visibility::Internal,
        elf::STV_HIDDEN => Visibility::Hidden,
        elf::STV_PROTECTED => Visibility::Protected,
        _ => Visibility::Default,
    }
}

fn symbol_type(stype: elf::SymbolType, side: &'static str) -> Result<SymbolType, Error> {
    Ok(match stype {
        elf::STT_NOTYPE | elf::STT_FILE => SymbolType::None,
        elf::STT_OBJECT | elf::STT_COMMON => SymbolType::Object,
        elf::STT_FUNC => SymbolType::Function,
        elf::STT_SECTION => SymbolType::Section,
        elf::STT_TLS => SymbolType::Tls,
        elf::STT_GNU_IFUNC => SymbolType::IFunc,
        other => {
            return Err(Error::Unsupported { what: format!("symbol type {}", other.0), place: side.into() });
        }
    })
}
