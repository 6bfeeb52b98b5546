//! The part of a unit that is shipped: sections, symbols and relocations, and where they come from.
//!
//! These types know no file format. `PatchObject::to_elf` and `PatchObject::from_elf` convert.

use serde::{Deserialize, Serialize};

/// The part of a unit that is shipped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PatchObject {
    /// ELF `e_machine`.
    pub machine: u16,
    /// Source file of the unit.
    pub source_file: String,
    /// Sections to place, in the order of the unit. Of the kernel several may have one name: each piece of
    /// `.altinstr_replacement` and `.altinstr_aux` is a section.
    pub sections: Vec<PatchSection>,
    /// Symbols that relocations refer to, by index; also every replaced function.
    pub symbols: Vec<PatchSymbol>,
}

/// A piece of a section of the patched object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Index of the section. Common symbols have sections behind those of the file.
    pub section: usize,
    /// Offset of the first byte in the section.
    pub start: u64,
    /// Offset of the byte behind the last one.
    pub end: u64,
}

/// Where the content of a patch object comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extents {
    /// The piece of the patched object for each of the first [`PatchObject::sections`]. The sections behind
    /// these hold unwind information and tables of the kernel.
    pub shipped: Vec<Extent>,
    /// Data that stays in the running program, with its names in the original unit.
    pub kept: Vec<(Extent, String)>,
}

/// The address of a piece once the patch is linked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkedAddress {
    /// Address in the image of the patch.
    Image(u64),
    /// Link-time address of the target.
    Target(u64),
}

/// What a section holds, which decides its segment and its protection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SectionKind {
    /// Code.
    Text,
    /// Read-only, no relocation that holds an absolute address.
    Rodata,
    /// Read-only once relocated (`.data.rel.ro`).
    RelRo,
    /// Writable, with content.
    Data,
    /// Writable, zero.
    Bss,
    /// `.eh_frame` with exactly the CIEs and FDEs of the shipped code; no terminator.
    EhFrame,
    /// Language-specific data of the shipped code (`.gcc_except_table`).
    Lsda,
    /// Initial content of a thread-local variable.
    Tls,
    /// A table of the kernel, with exactly the entries about the shipped code. It has the name and the flags
    /// of the whole table; there is one section for each table.
    Table,
}

/// One section to ship.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PatchSection {
    /// Its name in the patched unit (`.text.foo`).
    pub name: String,
    /// What it holds.
    pub kind: SectionKind,
    /// Alignment in bytes, a power of two, at least 1.
    pub align: u64,
    /// Content; empty for [`SectionKind::Bss`], and for [`SectionKind::Tls`] where it is zero (`.tbss`).
    pub data: Vec<u8>,
    /// Size in memory, in bytes; `data.len()` unless the content is empty.
    pub size: u64,
    /// ELF `sh_flags` (`SHF_MERGE`, `SHF_STRINGS` removed: shipped as it is).
    pub flags: u64,
    /// In ascending order of offset.
    pub relocations: Vec<Relocation>,
}

/// One relocation (`RELA`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Relocation {
    /// Where in the section, in bytes.
    pub offset: u64,
    /// Type number of the processor supplement (psABI).
    pub r_type: u32,
    /// Index into [`PatchObject::symbols`].
    pub symbol: usize,
    /// Addend, as in the object file (a PC-relative one has the -4 in it).
    pub addend: i64,
    /// The field is the target operand of a direct call or jump, hence may go through a PLT-like stub.
    /// `false`: data, or an operand that takes the symbol's address or its content.
    pub is_branch: bool,
}

/// Symbol binding (gABI, `st_info >> 4`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Binding {
    /// `STB_LOCAL`
    Local,
    /// `STB_GLOBAL`
    Global,
    /// `STB_WEAK`
    Weak,
    /// `STB_GNU_UNIQUE`
    Unique,
}

/// Symbol visibility (gABI, `st_other & 3`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Visibility {
    /// `STV_DEFAULT`
    Default,
    /// `STV_INTERNAL`
    Internal,
    /// `STV_HIDDEN`
    Hidden,
    /// `STV_PROTECTED`
    Protected,
}

/// Symbol type (gABI, `st_info & 15`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SymbolType {
    /// `STT_NOTYPE`
    None,
    /// `STT_OBJECT` (also `STT_COMMON`)
    Object,
    /// `STT_FUNC`
    Function,
    /// `STT_SECTION`
    Section,
    /// `STT_TLS`
    Tls,
    /// `STT_GNU_IFUNC`
    IFunc,
}

/// One symbol of a patch object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PatchSymbol {
    /// Name in the patched unit; of a section symbol its section's name.
    pub name: String,
    /// Binding in the patched unit.
    pub binding: Binding,
    /// Visibility in the patched unit.
    pub visibility: Visibility,
    /// Type in the patched unit.
    pub stype: SymbolType,
    /// Where its address comes from.
    pub place: SymbolPlace,
}

/// Where the address of a symbol comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SymbolPlace {
    /// Shipped in this patch object.
    Defined {
        /// Index into [`PatchObject::sections`].
        section: usize,
        /// Offset in that section, in bytes.
        offset: u64,
        /// Size in bytes; 0 for a label.
        size: u64,
        /// Symbol of the original unit whose entry gets redirected to here; `None` for something new and for
        /// data.
        replaces: Option<String>,
        /// Further symbols of the original unit that hold old code of this function (fragments such as
        /// `.cold` and `.part` that only it uses). No stack may hold an address in them, as with the old
        /// entry; they get no redirection.
        old_fragments: Vec<String>,
    },
    /// Exists in the original unit and keeps its address in the running target: live data, unchanged
    /// functions, unchanged named constants.
    Existing {
        /// Name in the *original* unit (a key: the assembler does not define one name twice in a unit).
        orig_name: String,
        /// Function (or IFUNC), hence a call may go through its PLT entry.
        is_function: bool,
    },
    /// Has no symbol, exists in the original unit, and keeps its address in the running target: a table that
    /// assembly holds in a code section.
    Beside {
        /// Symbol of the original unit in the same section; a key as in [`SymbolPlace::Existing`].
        neighbour: String,
        /// Bytes from the neighbour's address to this one's.
        distance: i64,
    },
    /// Undefined in the unit too: another unit, a library, or what the linker defines
    /// (`_GLOBAL_OFFSET_TABLE_`).
    Undefined,
}
