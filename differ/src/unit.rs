//! A relocatable object as this crate sees it: sections, symbols, relocations. No `object::` type gets here.

use std::borrow::Cow;

use crate::model::{Binding, SymbolType, Visibility};

/// `SHF_WRITE` (gABI).
pub(crate) const SHF_WRITE: u64 = 0x1;
/// `SHF_ALLOC` (gABI).
pub(crate) const SHF_ALLOC: u64 = 0x2;
/// `SHF_EXECINSTR` (gABI).
pub(crate) const SHF_EXECINSTR: u64 = 0x4;
/// `SHF_MERGE` (gABI).
pub(crate) const SHF_MERGE: u64 = 0x10;
/// `SHF_STRINGS` (gABI).
pub(crate) const SHF_STRINGS: u64 = 0x20;
/// `SHF_TLS` (gABI).
pub(crate) const SHF_TLS: u64 = 0x400;
/// `SHT_NOTE` (gABI).
pub(crate) const SHT_NOTE: u32 = 7;
/// `SHT_NOBITS` (gABI).
pub(crate) const SHT_NOBITS: u32 = 8;
/// `SHT_INIT_ARRAY`, `SHT_FINI_ARRAY`, `SHT_PREINIT_ARRAY` (gABI).
pub(crate) const SHT_ARRAYS: [u32; 3] = [14, 15, 16];

/// One relocatable object.
#[derive(Debug)]
pub(crate) struct Unit<'a> {
    /// `original` or `patched`, for messages.
    pub(crate) side: &'static str,
    pub(crate) machine: u16,
    pub(crate) source_file: String,
    pub(crate) sections: Vec<Section<'a>>,
    pub(crate) symbols: Vec<Symbol<'a>>,
}

/// A section with the relocations that apply to it.
#[derive(Debug, Clone)]
pub(crate) struct Section<'a> {
    pub(crate) name: Cow<'a, str>,
    pub(crate) sh_type: u32,
    pub(crate) flags: u64,
    pub(crate) align: u64,
    pub(crate) entsize: u64,
    pub(crate) size: u64,
    /// Empty for `SHT_NOBITS`.
    pub(crate) data: Cow<'a, [u8]>,
    /// In ascending order of offset. Relocations of debug information are here only if
    /// [`crate::reading::Reading`] asked for them.
    pub(crate) relocs: Vec<Reloc>,
    /// A section that the reader made for a `SHN_COMMON` symbol.
    pub(crate) common: bool,
}

impl Section<'_> {
    pub(crate) fn has(&self, flag: u64) -> bool {
        self.flags & flag != 0
    }

    pub(crate) fn is_text(&self) -> bool {
        self.has(SHF_ALLOC) && self.has(SHF_EXECINSTR)
    }

    pub(crate) fn is_nobits(&self) -> bool {
        self.sh_type == SHT_NOBITS
    }

    pub(crate) fn is_strings(&self) -> bool {
        self.has(SHF_MERGE) && self.has(SHF_STRINGS)
    }

    /// Read-only once the program runs. This includes sections that are writable only until the loader has
    /// relocated them.
    pub(crate) fn is_read_only(&self) -> bool {
        !self.has(SHF_WRITE) || self.is_relro() || self.is_initializer()
    }

    /// What Clang copies to initialise an array on the stack. For volatile elements Clang does not mark the
    /// section as constant. But nothing else can refer to it, and nothing writes to it.
    fn is_initializer(&self) -> bool {
        self.name
            .strip_prefix(".data..Lconstinit")
            .is_some_and(|number| number.bytes().all(|b| b == b'.' || b.is_ascii_digit()))
    }

    pub(crate) fn is_relro(&self) -> bool {
        self.name.starts_with(".data.rel.ro")
    }

    pub(crate) fn is_lsda(&self) -> bool {
        self.name == ".gcc_except_table" || self.name.starts_with(".gcc_except_table.")
    }

    /// Lists of functions that run before or after `main`.
    pub(crate) fn is_ctor_list(&self) -> bool {
        SHT_ARRAYS.contains(&self.sh_type)
            || [".ctors", ".dtors", ".init_array", ".fini_array", ".preinit_array"].iter().any(|base| {
                self.name.strip_prefix(base).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            })
    }

    /// Written by compilers and macros for tools; nothing reads it at run time.
    pub(crate) fn is_for_tools(&self) -> bool {
        ["__patchable_function_entries", ".stapsdt.base"].contains(&&*self.name)
    }

    /// Notes that tell tools where the probes of `<sys/sdt.h>` are.
    pub(crate) fn is_probes(&self) -> bool {
        self.name == ".note.stapsdt"
    }

    /// The section is part of the program's memory, and is compared.
    pub(crate) fn is_compared(&self) -> bool {
        self.has(SHF_ALLOC) && self.sh_type != SHT_NOTE
    }

    /// Compilers give such names by themselves. The source asked for a section with any other name.
    pub(crate) fn is_standard(&self) -> bool {
        const BASES: [&str; 13] = [
            ".text",
            ".rodata",
            ".data",
            ".bss",
            ".tdata",
            ".tbss",
            ".lrodata",
            ".ldata",
            ".lbss",
            ".sdata",
            ".gcc_except_table",
            ".eh_frame",
            ".ltext",
        ];
        self.common
            || BASES
                .iter()
                .any(|base| self.name.strip_prefix(base).is_some_and(|r| r.is_empty() || r.starts_with('.')))
    }
}

/// One symbol.
#[derive(Debug, Clone)]
pub(crate) struct Symbol<'a> {
    /// For a section symbol: the name of its section.
    pub(crate) name: &'a str,
    pub(crate) binding: Binding,
    pub(crate) visibility: Visibility,
    pub(crate) stype: SymbolType,
    pub(crate) value: u64,
    pub(crate) size: u64,
    pub(crate) home: DefinedIn,
}

/// Where a symbol is defined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DefinedIn {
    Undefined,
    Absolute,
    Section(usize),
}

/// One relocation; `symbol` is an index into [`Unit::symbols`] (0: the null symbol).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reloc {
    pub(crate) offset: u64,
    pub(crate) r_type: u32,
    pub(crate) symbol: usize,
    pub(crate) addend: i64,
}
