//! The ELF file as it came from the linker in the original build: its symbols, and its map file.

use std::collections::HashMap;

use crate::elf::{
    ElfFile, PT_TLS, SHN_ABS, STB_LOCAL, STT_FILE, STT_FUNC, STT_GNU_IFUNC, STT_OBJECT, STT_TLS, Segment,
    Symbol,
};
use crate::locate::map::LinkMap;

/// A symbol of the linked file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LinkedDefinition {
    /// Link-time address; of a thread-local variable its offset in the TLS segment.
    pub(crate) value: u64,
    /// Size in bytes, 0 if not known.
    pub(crate) size: u64,
    /// `STT_*`.
    pub(crate) kind: u8,
    /// Fixed value, not an address.
    pub(crate) absolute: bool,
}

/// Linked file and map.
#[derive(Debug)]
pub(crate) struct Linked<'a> {
    pub(crate) elf: ElfFile<'a>,
    pub(crate) map: LinkMap,
    by_name: HashMap<String, Vec<usize>>,
}

impl<'a> Linked<'a> {
    pub(crate) fn new(elf: ElfFile<'a>, map: LinkMap) -> Self {
        let mut by_name: HashMap<String, Vec<usize>> = HashMap::new();
        for (index, symbol) in elf.symbols.iter().enumerate() {
            if symbol.is_defined() && symbol.kind != STT_FILE && !symbol.name.is_empty() {
                // GNU ld writes imported (copy-relocated) names with their version.
                let name = symbol.name.split('@').next().unwrap_or_default();
                by_name.entry(name.to_owned()).or_default().push(index);
            }
        }
        Self { elf, map, by_name }
    }

    fn symbols(&self, name: &str) -> impl Iterator<Item = &Symbol> {
        let indices = self.by_name.get(name).map(Vec::as_slice).unwrap_or_default();
        indices.iter().filter_map(|i| self.elf.symbols.get(*i))
    }

    /// Was this a global symbol before a version script, or hidden visibility in a shared object, made it
    /// local? GNU ld puts those behind a nameless `STT_FILE`; others keep the visibility, which no compiler
    /// gives to a local symbol.
    fn was_global(&self, symbol: &Symbol) -> bool {
        let file = symbol.file.and_then(|i| self.elf.symbols.get(i));
        symbol.binding != STB_LOCAL || symbol.visibility != 0 || file.is_some_and(|f| f.name.is_empty())
    }

    /// The definition of a global symbol, whatever its visibility. `Err`: several that contradict each other.
    pub(crate) fn global(&self, name: &str) -> Result<Option<LinkedDefinition>, Vec<u64>> {
        let mut found: Vec<LinkedDefinition> = Vec::new();
        for symbol in self.symbols(name).filter(|s| self.was_global(s)) {
            let entry = LinkedDefinition {
                value: symbol.value,
                size: symbol.size,
                kind: symbol.kind,
                absolute: symbol.reserved == SHN_ABS,
            };
            if !found.iter().any(|f| f.value == entry.value) {
                found.push(entry);
            }
        }
        if found.is_empty() {
            found = self.global_without_symtab(name);
        }
        match found.len() {
            0 | 1 => Ok(found.pop()),
            _ => Err(found.iter().map(|f| f.value).collect()),
        }
    }

    /// A link with `-s` leaves no symbol table; then there are the map and the dynamic symbols.
    fn global_without_symtab(&self, name: &str) -> Vec<LinkedDefinition> {
        let dynamic = self.elf.dynamic_symbols.iter().find(|s| s.is_defined() && s.name == name);
        if let Some(s) = dynamic {
            return vec![LinkedDefinition {
                value: s.value,
                size: s.size,
                kind: s.kind,
                absolute: s.reserved == SHN_ABS,
            }];
        }
        if !self.elf.symbols.is_empty() {
            return Vec::new();
        }
        let mut addresses = self.map.globals.get(name).cloned().unwrap_or_default();
        addresses.dedup();
        let kind = |address: u64| {
            let inside = |s: &&crate::elf::Section| {
                s.flags & crate::elf::SHF_ALLOC != 0
                    && address >= s.address
                    && address < s.address + s.size.max(1)
            };
            match self.elf.sections.iter().find(inside) {
                Some(s) if s.flags & crate::elf::SHF_EXECINSTR != 0 => STT_FUNC,
                _ => STT_OBJECT,
            }
        };
        addresses
            .into_iter()
            .map(|value| LinkedDefinition { value, size: 0, kind: kind(value), absolute: false })
            .collect()
    }

    /// Does the symbol table contradict that `name` is at `value`? Silence (stripped, or a discarded local)
    /// is no contradiction.
    pub(crate) fn contradicts(&self, name: &str, value: u64) -> Option<Vec<u64>> {
        let values: Vec<u64> = self.symbols(name).map(|s| s.value).collect();
        (!values.is_empty() && !values.contains(&value)).then_some(values)
    }

    /// The TLS segment.
    pub(crate) fn tls(&self) -> Option<&Segment> {
        self.elf.segments.iter().find(|s| s.kind == PT_TLS)
    }

    /// Address of the next symbol after `address` in the section that holds it, or that section's end: how
    /// far code that starts there can reach.
    pub(crate) fn next_symbol(&self, address: u64) -> Option<u64> {
        let section = self.elf.sections.iter().find(|s| {
            s.flags & crate::elf::SHF_ALLOC != 0 && address >= s.address && address < s.address + s.size
        })?;
        let end = section.address + section.size;
        let code = |s: &&Symbol| !matches!(s.kind, STT_FILE | STT_TLS) && s.reserved == 0 && s.is_defined();
        let starts = self.elf.symbols.iter().filter(code).map(|s| s.value);
        let contributions = self.map.contributions.iter().filter(|c| c.size > 0).map(|c| c.address);
        let next = starts.chain(contributions).filter(|v| *v > address && *v < end).min();
        Some(next.unwrap_or(end))
    }

    /// Names of all functions at an address, versions left out.
    pub(crate) fn functions_at(&self, address: u64) -> impl Iterator<Item = &str> {
        let here = move |s: &&Symbol| is_function(s.kind) && s.is_defined() && s.value == address;
        self.elf.symbols.iter().filter(here).map(|s| s.name.split('@').next().unwrap_or_default())
    }

    /// All local definitions of a name with the name of their source file.
    pub(crate) fn locals(&self, name: &str) -> impl Iterator<Item = (&Symbol, &str)> {
        self.symbols(name).filter(|s| s.binding == STB_LOCAL).map(|s| {
            let file = s.file.and_then(|i| self.elf.symbols.get(i)).map_or("", |f| f.name.as_str());
            (s, file)
        })
    }
}

/// Is it a function, perhaps one that is chosen at load time?
pub(crate) fn is_function(kind: u8) -> bool {
    matches!(kind, STT_FUNC | STT_GNU_IFUNC)
}
