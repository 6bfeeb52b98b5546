//! Writes and reads patch objects as ELF relocatable files, which `readelf` and `objdump` can show.

use object::elf;
use object::write::elf::{FileHeader, Rel, SectionHeader, SectionIndex, Sym, Writer};

use super::meta::{FORMAT, Meta, SECTION};
use super::read_unit;
use crate::error::Error;
use crate::model::{
    Binding, PatchObject, PatchSection, PatchSymbol, Relocation, SectionKind, SymbolPlace, SymbolType,
    Visibility,
};
use crate::reading::Reading;
use crate::unit::SHF_TLS;

const SIDE: &str = "patch";
/// Largest alignment of a section in bytes, since the file is filled up to it. No image has room for a
/// section that wants more than a page.
const LARGEST_ALIGNMENT: u64 = 1 << 20;

fn bad(detail: impl Into<String>) -> Error {
    Error::Malformed { side: SIDE, detail: detail.into() }
}

impl PatchObject {
    /// The object as an ELF relocatable file. Existing symbols become undefined ones. What ELF has no place
    /// for is in a section `.upatch.object`.
    ///
    /// # Errors
    /// When the object is inconsistent or too large for the format.
    pub fn to_elf(&self) -> Result<Vec<u8>, Error> {
        self.sections.iter().try_for_each(|s| check_alignment(&s.name, s.align))?;
        let meta = Meta {
            format: FORMAT,
            source_file: self.source_file.clone(),
            kinds: self.sections.iter().map(|s| s.kind).collect(),
            symbols: self.symbols.clone(),
            branches: self
                .sections
                .iter()
                .map(|s| {
                    let branches = s.relocations.iter().enumerate().filter(|(_, r)| r.is_branch);
                    branches.map(|(i, _)| i).collect()
                })
                .collect(),
        };
        let meta = serde_json::to_vec(&meta).map_err(|e| bad(e.to_string()))?;
        let order = symbol_order(&self.symbols);
        let broken = |e: object::write::Error| bad(e.to_string());

        let mut buffer = Vec::new();
        let mut writer = Writer::new(object::Endianness::Little, true, &mut buffer);
        let rela_names: Vec<String> = self.sections.iter().map(|s| format!(".rela{}", s.name)).collect();
        writer.reserve_null_section_index();
        let mut names = Vec::new();
        for section in &self.sections {
            names.push(writer.add_section_name(section.name.as_bytes()));
            writer.reserve_section_index();
        }
        let mut rela = Vec::new();
        for (section, name) in self.sections.iter().zip(&rela_names) {
            if !section.relocations.is_empty() {
                rela.push(Some(writer.add_section_name(name.as_bytes())));
                writer.reserve_section_index();
            } else {
                rela.push(None);
            }
        }
        let meta_name = writer.add_section_name(SECTION.as_bytes());
        writer.reserve_section_index();
        let note_name = writer.add_section_name(b".note.GNU-stack");
        writer.reserve_section_index();
        let symtab_index = writer.reserve_symtab_section_index();
        writer.reserve_strtab_section_index();
        writer.reserve_shstrtab_section_index();

        writer.reserve_null_symbol_index();
        let mut strings = Vec::new();
        for &index in &order {
            strings.push(writer.add_string(file_name(&self.symbols[index]).as_bytes()));
            writer.reserve_symbol_index(None);
        }

        writer.reserve_file_header();
        let mut offsets = Vec::new();
        for section in &self.sections {
            offsets.push(writer.reserve(section.data.len() as u64, section.align));
        }
        let mut rela_offsets = Vec::new();
        for section in &self.sections {
            rela_offsets.push(if section.relocations.is_empty() {
                0
            } else {
                writer.reserve_relocations(section.relocations.len(), true)
            });
        }
        let meta_offset = writer.reserve(meta.len() as u64, 1);
        writer.reserve_symtab();
        writer.reserve_strtab().map_err(broken)?;
        writer.reserve_shstrtab().map_err(broken)?;
        writer.reserve_section_headers();

        writer
            .write_file_header(&FileHeader {
                os_abi: elf::ELFOSABI_NONE,
                abi_version: 0,
                e_type: elf::ET_REL,
                e_machine: elf::Machine(self.machine),
                e_entry: 0,
                e_flags: elf::FileFlags(0),
            })
            .map_err(broken)?;
        let mut position = vec![0_u32; self.symbols.len()];
        for (at, &index) in (1..).zip(&order) {
            position[index] = at;
        }
        for section in &self.sections {
            writer.write_align(section.align);
            writer.write(&section.data);
        }
        for section in self.sections.iter().filter(|s| !s.relocations.is_empty()) {
            writer.write_align_relocation();
            for r in &section.relocations {
                let symbol = *position.get(r.symbol).ok_or_else(|| bad("relocation without symbol"))?;
                writer.write_relocation(
                    true,
                    &Rel {
                        r_offset: r.offset,
                        r_sym: symbol,
                        r_type: elf::RelocationType(r.r_type),
                        r_addend: r.addend,
                    },
                );
            }
        }
        writer.write(&meta);
        writer.write_null_symbol();
        for (&index, name) in order.iter().zip(&strings) {
            let symbol = &self.symbols[index];
            let (section, value, size) = match &symbol.place {
                SymbolPlace::Defined { section, offset, size, .. } => {
                    let section = u32::try_from(*section + 1).map_err(|_| bad("too many sections"))?;
                    (Some(section), *offset, *size)
                }
                _ => (None, 0, 0),
            };
            let st_name = writer.string_offset(Some(*name));
            writer.write_symbol(&Sym {
                section,
                st_name: if symbol.stype == SymbolType::Section { 0 } else { st_name },
                st_info: elf::SymbolInfo::new(st_bind(symbol), st_type(symbol.stype)),
                st_other: elf::SymbolOther::from(st_visibility(symbol.visibility)),
                st_shndx: elf::SHN_UNDEF,
                st_value: value,
                st_size: size,
            });
        }
        writer.write_strtab();
        writer.write_shstrtab();

        writer.write_null_section_header();
        for ((section, &name), &offset) in self.sections.iter().zip(&names).zip(&offsets) {
            let sh_type = if is_zero(section) { elf::SHT_NOBITS } else { elf::SHT_PROGBITS };
            let sh_name = writer.section_name_offset(Some(name));
            writer.write_section_header(&SectionHeader {
                sh_name,
                sh_type,
                sh_flags: elf::SectionFlags(section.flags),
                sh_addr: 0,
                sh_offset: offset,
                sh_size: section.size,
                sh_link: 0,
                sh_info: 0,
                sh_addralign: section.align,
                sh_entsize: 0,
            });
        }
        for (index, (section, name)) in (1_u32..).zip(self.sections.iter().zip(&rela)) {
            if let Some(name) = name {
                writer.write_relocation_section_header(
                    *name,
                    SectionIndex(index),
                    symtab_index,
                    rela_offsets[index as usize - 1],
                    section.relocations.len(),
                    true,
                );
            }
        }
        for (name, offset, size) in [(meta_name, meta_offset, meta.len() as u64), (note_name, meta_offset, 0)]
        {
            let sh_name = writer.section_name_offset(Some(name));
            writer.write_section_header(&SectionHeader {
                sh_name,
                sh_type: elf::SHT_PROGBITS,
                sh_flags: elf::SectionFlags(0),
                sh_addr: 0,
                sh_offset: offset,
                sh_size: size,
                sh_link: 0,
                sh_info: 0,
                sh_addralign: 1,
                sh_entsize: 0,
            });
        }
        let locals = order.iter().filter(|&&i| is_local(&self.symbols[i])).count();
        writer.write_symtab_section_header(u32::try_from(locals + 1).map_err(|_| bad("too many symbols"))?);
        writer.write_strtab_section_header();
        writer.write_shstrtab_section_header();
        Ok(buffer)
    }

    /// Reads what [`PatchObject::to_elf`] wrote.
    ///
    /// # Errors
    /// When the bytes are no such object, or one of another format version.
    pub fn from_elf(data: &[u8]) -> Result<PatchObject, Error> {
        let unit = read_unit(data, SIDE, Reading::Program)?;
        let meta = unit
            .sections
            .iter()
            .find(|s| s.name == SECTION)
            .ok_or_else(|| bad(format!("it has no section {SECTION}")))?;
        let meta: Meta = serde_json::from_slice(&meta.data).map_err(|e| bad(format!("{SECTION}: {e}")))?;
        if meta.format != FORMAT {
            return Err(bad(format!("format version {} (this version knows {FORMAT})", meta.format)));
        }
        let order = symbol_order(&meta.symbols);
        if unit.symbols.len() != order.len() + 1
            || unit.sections.len() <= meta.kinds.len()
            || meta.branches.len() != meta.kinds.len()
        {
            return Err(bad(format!("{SECTION} does not fit the symbol table or the sections")));
        }
        let mut sections = Vec::new();
        for ((section, &kind), branches) in unit.sections.iter().skip(1).zip(&meta.kinds).zip(&meta.branches)
        {
            check_alignment(&section.name, section.align)?;
            let fits = match kind {
                SectionKind::Bss => section.data.is_empty(),
                SectionKind::Tls if section.data.is_empty() => section.has(SHF_TLS),
                _ => section.data.len() as u64 == section.size,
            };
            if !fits {
                return Err(bad(format!("section {} is not of the kind that {SECTION} says", section.name)));
            }
            let mut relocations = Vec::new();
            for (index, r) in section.relocs.iter().enumerate() {
                let symbol = r.symbol.checked_sub(1).and_then(|i| order.get(i));
                relocations.push(Relocation {
                    offset: r.offset,
                    r_type: r.r_type,
                    symbol: *symbol.ok_or_else(|| bad("relocation without symbol"))?,
                    addend: r.addend,
                    is_branch: branches.binary_search(&index).is_ok(),
                });
            }
            sections.push(PatchSection {
                name: section.name.to_string(),
                kind,
                align: section.align,
                data: section.data.to_vec(),
                size: section.size,
                flags: section.flags,
                relocations,
            });
        }
        for symbol in &meta.symbols {
            if let SymbolPlace::Defined { section, offset, size, .. } = &symbol.place
                && sections.get(*section).is_none_or(|s| *offset > s.size || *size > s.size - *offset)
            {
                return Err(bad(format!("symbol {} lies outside of its section", symbol.name)));
            }
        }
        Ok(PatchObject {
            machine: unit.machine,
            source_file: meta.source_file,
            sections,
            symbols: meta.symbols,
        })
    }
}

fn check_alignment(name: &str, align: u64) -> Result<(), Error> {
    if align.is_power_of_two() && align <= LARGEST_ALIGNMENT {
        return Ok(());
    }
    Err(bad(format!("section {name} has alignment {align:#x}")))
}

/// Is this memory without content in the file?
fn is_zero(section: &PatchSection) -> bool {
    match section.kind {
        SectionKind::Bss => true,
        SectionKind::Tls => section.data.is_empty(),
        _ => false,
    }
}

/// The name in the symbol table: an existing symbol is found by its name in the original unit.
fn file_name(symbol: &PatchSymbol) -> &str {
    match &symbol.place {
        SymbolPlace::Existing { orig_name, .. } => orig_name,
        _ => &symbol.name,
    }
}

/// In a file, only what the file defines has local binding.
fn is_local(symbol: &PatchSymbol) -> bool {
    symbol.binding == Binding::Local && matches!(symbol.place, SymbolPlace::Defined { .. })
}

/// The order of the symbol table: local symbols come first (gABI).
fn symbol_order(symbols: &[PatchSymbol]) -> Vec<usize> {
    let (mut order, globals): (Vec<usize>, Vec<usize>) =
        (0..symbols.len()).partition(|&i| is_local(&symbols[i]));
    order.extend(globals);
    order
}

fn st_bind(symbol: &PatchSymbol) -> elf::SymbolBind {
    match symbol.binding {
        Binding::Local if is_local(symbol) => elf::STB_LOCAL,
        Binding::Local | Binding::Global => elf::STB_GLOBAL,
        Binding::Weak => elf::STB_WEAK,
        Binding::Unique => elf::STB_GNU_UNIQUE,
    }
}

fn st_type(stype: SymbolType) -> elf::SymbolType {
    match stype {
        SymbolType::None => elf::STT_NOTYPE,
        SymbolType::Object => elf::STT_OBJECT,
        SymbolType::Function => elf::STT_FUNC,
        SymbolType::Section => elf::STT_SECTION,
        SymbolType::Tls => elf::STT_TLS,
        SymbolType::IFunc => elf::STT_GNU_IFUNC,
    }
}

fn st_visibility(visibility: Visibility) -> elf::SymbolVisibility {
    match visibility {
        Visibility::Default => elf::STV_DEFAULT,
        Visibility::Internal => elf::STV_INTERNAL,
        Visibility::Hidden => elf::STV_HIDDEN,
        Visibility::Protected => elf::STV_PROTECTED,
    }
}
