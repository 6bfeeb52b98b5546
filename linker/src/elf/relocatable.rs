//! Relocatable objects that are read, changed and written again: parts of kernel modules, and kernel modules.

use object::LittleEndian;
use object::elf::{self, FileHeader64};
use object::read::elf::{FileHeader, Rela as _, SectionHeader, Sym};

use super::file::Rela;
use super::symbols::Budget;
use super::{SHT_NOBITS, SHT_RELA};

const LE: LittleEndian = LittleEndian;
/// Nothing of a kernel module is larger, so no sum of offsets overflows.
const LARGEST: u64 = 1 << 40;

/// One section that is no table of the format itself (symbols, names, relocations).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PlainSection {
    pub(crate) name: String,
    pub(crate) kind: u32,
    pub(crate) flags: u64,
    pub(crate) align: u64,
    pub(crate) entry_size: u64,
    /// `sh_link` of a section with `SHF_LINK_ORDER`: an index into [`Relocatable::sections`].
    pub(crate) link: usize,
    /// Empty for `SHT_NOBITS`.
    pub(crate) data: Vec<u8>,
    /// In memory, in bytes.
    pub(crate) size: u64,
    pub(crate) relocations: Vec<Rela>,
    /// Further relocations of this section, in sections of their own.
    pub(crate) further: Vec<FurtherRelocations>,
}

/// Relocations that a linker must not apply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FurtherRelocations {
    /// Name of their section.
    pub(crate) name: String,
    pub(crate) flags: u64,
    pub(crate) relocations: Vec<Rela>,
}

impl PlainSection {
    pub(crate) fn has(&self, flag: u64) -> bool {
        self.flags & flag != 0
    }
}

/// One symbol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PlainSymbol {
    /// Empty for the symbol of a section.
    pub(crate) name: String,
    pub(crate) value: u64,
    pub(crate) size: u64,
    pub(crate) kind: u8,
    pub(crate) binding: u8,
    /// `st_other`
    pub(crate) other: u8,
    pub(crate) place: PlainPlace,
}

/// Where a symbol is defined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PlainPlace {
    Undefined,
    /// Index into [`Relocatable::sections`].
    Section(usize),
    /// A reserved section number: `SHN_ABS`, or one of the system's.
    Reserved(u16),
}

/// A relocatable object. Sections and symbols are numbered from 0; in the file, an empty one is before them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Relocatable {
    pub(crate) machine: u16,
    pub(crate) header_flags: u32,
    pub(crate) sections: Vec<PlainSection>,
    /// [`Rela::symbol`] is an index into this.
    pub(crate) symbols: Vec<PlainSymbol>,
}

/// Index of what stands for the number 0 of the format.
pub(crate) const NO_SYMBOL: usize = usize::MAX;

impl Relocatable {
    /// Reads `data`.
    ///
    /// # Errors
    /// In words, when it is no 64-bit little-endian relocatable object, is damaged, or has something that
    /// [`Relocatable::to_bytes`] could not write again.
    pub(crate) fn read(data: &[u8]) -> Result<Self, String> {
        if data.get(..6) != Some(b"\x7fELF\x02\x01") {
            return Err("not a 64-bit little-endian ELF file".to_owned());
        }
        let words = |e: object::read::Error| e.to_string();
        let header = FileHeader64::<LittleEndian>::parse(data).map_err(words)?;
        if header.e_type(LE) != elf::ET_REL {
            return Err("not a relocatable object (ET_REL)".to_owned());
        }
        let table = header.sections(LE, data).map_err(words)?;
        let symbols = table.symbols(LE, data, elf::SHT_SYMTAB).map_err(words)?;
        let (symbol_table, string_table) = (symbols.section().0, symbols.string_section().0);
        let names_table = header.shstrndx(LE, data).map_err(words)? as usize;

        let mut budget = Budget::of(data);
        let mut index = vec![None; table.len()];
        let mut sections = Vec::new();
        for (number, section) in table.iter().enumerate() {
            let kind = section.sh_type(LE).0;
            let of_the_format =
                [symbol_table, string_table, names_table].contains(&number) || kind == SHT_RELA || kind == 0;
            if number == 0 || of_the_format || kind == elf::SHT_SYMTAB_SHNDX.0 {
                continue;
            }
            let name = budget.text(table.section_name(LE, section))?;
            if kind == elf::SHT_GROUP.0 || kind == elf::SHT_REL.0 {
                return Err(format!("section {name} is of a kind that is not expected here ({kind})"));
            }
            let (size, align) = (section.sh_size(LE), section.sh_addralign(LE).max(1));
            if size > LARGEST || !align.is_power_of_two() || align > LARGEST {
                return Err(format!("section {name} has size {size:#x} and alignment {align:#x}"));
            }
            let content = if kind == SHT_NOBITS { &[] } else { section.data(LE, data).map_err(words)? };
            index[number] = Some(sections.len());
            sections.push(PlainSection {
                name,
                kind,
                flags: section.sh_flags(LE).0,
                align,
                entry_size: section.sh_entsize(LE),
                link: section.sh_link(LE) as usize,
                data: content.to_vec(),
                size,
                relocations: Vec::new(),
                further: Vec::new(),
            });
        }
        for section in &mut sections {
            section.link = index.get(section.link).copied().flatten().unwrap_or_default();
        }
        let symbol = |number: usize| if number == 0 { NO_SYMBOL } else { number - 1 };
        for section in table.iter() {
            let Some((entries, _)) = section.rela(LE, data).map_err(words)? else { continue };
            let of = section.info_link(LE).0;
            let Some(place) = index.get(of).copied().flatten() else {
                return Err(format!("relocations of section {of}, which does not exist"));
            };
            let name = budget.text(table.section_name(LE, section))?;
            let target: &mut PlainSection = &mut sections[place];
            let mut list = Vec::with_capacity(entries.len());
            for entry in entries {
                let (offset, number) = (entry.r_offset(LE), entry.r_sym(LE, false) as usize);
                if offset >= target.size || number >= symbols.len().max(1) {
                    return Err(format!("a relocation of {} leads out of it, or to no symbol", target.name));
                }
                list.push(Rela {
                    offset,
                    kind: entry.r_type(LE, false).0,
                    symbol: symbol(number),
                    addend: entry.r_addend(LE),
                });
            }
            let flags = section.sh_flags(LE).0;
            if target.relocations.is_empty() && name == format!(".rela{}", target.name) {
                target.relocations = list;
            } else {
                target.further.push(FurtherRelocations { name, flags, relocations: list });
            }
        }
        for section in &mut sections {
            section.relocations.sort_by_key(|r| r.offset);
        }

        let mut plain = Vec::with_capacity(symbols.len());
        for (number, symbol) in symbols.enumerate() {
            if number.0 == 0 {
                continue;
            }
            let section = symbols.symbol_section(LE, symbol, number).map_err(words)?;
            let place = match (section, symbol.st_shndx(LE).0) {
                (Some(section), _) => {
                    // A name of the format's own tables is of no use to anybody.
                    let place = index.get(section.0).copied().flatten().map(PlainPlace::Section);
                    place.unwrap_or(PlainPlace::Reserved(elf::SHN_ABS.0))
                }
                (None, 0) => PlainPlace::Undefined,
                (None, reserved) => PlainPlace::Reserved(reserved),
            };
            let value = symbol.st_value(LE);
            if matches!(place, PlainPlace::Section(_)) && (value > LARGEST || symbol.st_size(LE) > LARGEST) {
                return Err(format!("symbol {} has value {value:#x}", number.0));
            }
            plain.push(PlainSymbol {
                name: budget.text(symbols.symbol_name(LE, symbol))?,
                value,
                size: symbol.st_size(LE),
                kind: symbol.st_type().0,
                binding: symbol.st_bind().0,
                other: symbol.st_other().0,
                place,
            });
        }
        Ok(Self {
            machine: header.e_machine(LE).0,
            header_flags: header.e_flags(LE).0,
            sections,
            symbols: plain,
        })
    }
}
