//! Symbol tables.

use object::elf::{self, FileHeader64};
use object::read::elf::{SectionTable, Sym, SymbolTable};
use object::{LittleEndian, SectionIndex, SymbolIndex};

use super::{SHN_ABS, STB_LOCAL, STT_FILE};

/// One symbol.
#[derive(Clone, Debug)]
pub(crate) struct Symbol {
    pub(crate) name: String,
    pub(crate) value: u64,
    pub(crate) size: u64,
    pub(crate) kind: u8,
    pub(crate) binding: u8,
    pub(crate) visibility: u8,
    /// Index of the section that defines it; 0 if none does.
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
        self.section != 0 || self.reserved == SHN_ABS
    }
}

/// How much of names a file may have, as a multiple of its size: names may share bytes, but not without end.
const SHARED: usize = 64;

/// What may still be read of names, in bytes.
pub(super) struct Budget(usize);

impl Budget {
    pub(super) fn of(data: &[u8]) -> Self {
        Self(data.len().saturating_mul(SHARED))
    }

    /// A name as text; empty where there is none.
    pub(super) fn text(&mut self, name: object::read::Result<&[u8]>) -> Result<String, String> {
        let name = name.unwrap_or_default();
        let left = self.0.checked_sub(name.len() + 1);
        self.0 = left.ok_or("its tables have no end")?;
        Ok(String::from_utf8_lossy(name).into_owned())
    }
}

type Header = FileHeader64<LittleEndian>;

/// All symbols of a table, in its order.
pub(super) fn read(table: &SymbolTable<'_, Header>, data: &[u8]) -> Result<Vec<Symbol>, String> {
    let mut symbols = Vec::with_capacity(table.len());
    let mut budget = Budget::of(data);
    let mut file = None;
    for (index, symbol) in (0..).map(SymbolIndex).zip(table.symbols()) {
        let number = symbol.st_shndx(LittleEndian).0;
        let extended = if number == elf::SHN_XINDEX.0 { table.shndx(LittleEndian, index) } else { None };
        let is_reserved = number >= elf::SHN_LORESERVE;
        let section = match (is_reserved, extended) {
            (_, Some(section)) => SectionIndex(section as usize).0,
            (true, None) => 0,
            (false, None) => usize::from(number),
        };
        let kind = symbol.st_type().0;
        if kind == STT_FILE {
            file = Some(index.0);
        }
        let binding = symbol.st_bind().0;
        symbols.push(Symbol {
            name: budget.text(table.symbol_name(LittleEndian, symbol))?,
            value: symbol.st_value(LittleEndian),
            size: symbol.st_size(LittleEndian),
            kind,
            binding,
            visibility: symbol.st_visibility().0,
            section,
            reserved: if is_reserved && number != elf::SHN_XINDEX.0 { number } else { 0 },
            file: file.filter(|_| binding == STB_LOCAL),
            version: None,
            version_hidden: false,
        });
    }
    Ok(symbols)
}

/// Gives dynamic symbols their versions.
pub(super) fn add_versions(
    symbols: &mut [Symbol],
    sections: &SectionTable<'_, Header>,
    data: &[u8],
) -> Result<(), String> {
    let Some(versions) = sections.versions(LittleEndian, data).map_err(|e| e.to_string())? else {
        return Ok(());
    };
    let mut budget = Budget::of(data);
    for (index, symbol) in (0..).map(SymbolIndex).zip(symbols) {
        let number = versions.version_index(LittleEndian, index);
        if let Ok(Some(version)) = versions.version(number.index()) {
            symbol.version = Some(budget.text(Ok(version.name()))?);
        }
        symbol.version_hidden = number.is_hidden();
    }
    Ok(())
}
