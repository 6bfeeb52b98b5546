//! What a comparison answers: changes, refusals, warnings and the patch object.
//!
//! These types carry no file format in them; `PatchObject::to_elf` and `PatchObject::from_elf` do that.

use crate::profile::Profile;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How a comparison is made.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The product that the unit is a part of.
    pub profile: Profile,
    /// Name of the unit for messages (its source file as the user knows it). Empty: taken from the object.
    pub unit: String,
    /// Ship read-only data with global binding although other units may hold the address of the old copy.
    /// Set by a caller that has seen that no other unit refers to it; its names are in
    /// [`UnitDiff::global_rodata_changed`] either way.
    pub allow_global_rodata: bool,
    /// Functions of the original whose entries have no room for a jump. Where nothing can call one but
    /// functions of this unit that can be replaced, those are, and it is shipped as new code for them.
    pub too_short: Vec<String>,
    /// Constants that the linker merged with others in the original, see [`crate::merged`]: a copy is shipped
    /// where new code refers to one.
    pub merged: Vec<String>,
}

/// Everything that differs between the two variants of one compilation unit.
#[derive(Debug, Clone, Default, Serialize)]
pub struct UnitDiff {
    /// The unit's source file (its `STT_FILE` symbol, or [`Options::unit`]).
    pub source_file: String,
    /// Functions that changed, are new or are gone, in name order.
    pub functions: Vec<Change>,
    /// Data objects that changed, are new or are gone, in name order.
    pub objects: Vec<Change>,
    /// Why this unit cannot be live-patched. Not empty: [`UnitDiff::patch`] is `None`.
    pub refused: Vec<Refusal>,
    /// What an author should know, though it does not stop the patch.
    pub warnings: Vec<Warning>,
    /// Changed read-only data with global binding: another unit may refer to the old copy.
    pub global_rodata_changed: Vec<String>,
    /// What its functions do with members of objects in another way than before. The caller holds the changes
    /// of all units of a patch against each other, see [`crate::conflicts`].
    #[serde(skip)]
    pub member_changes: Vec<MemberChange>,
    /// What to ship; `None` when nothing changed, or when something was refused.
    #[serde(skip)]
    pub patch: Option<PatchObject>,
    /// Where in the patched object what is shipped, and what is not, comes from.
    #[serde(skip)]
    pub extents: Extents,
}

impl UnitDiff {
    /// Neither code nor data differs, and nothing was refused.
    pub fn is_unchanged(&self) -> bool {
        self.functions.is_empty() && self.objects.is_empty() && self.refused.is_empty()
    }
}

/// In which way a symbol differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ChangeKind {
    /// On both sides, different: a function is replaced, a read-only object is shipped anew.
    Changed,
    /// Only in the patched unit.
    New,
    /// Only in the original unit.
    Removed,
}

/// One function or data object that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Symbol name: in the patched unit, for a removed one in the original unit.
    pub name: String,
    /// Changed, new or removed.
    pub kind: ChangeKind,
    /// Name in the original unit where it is another one (`count.1` now called `count.2`).
    pub orig_name: Option<String>,
    /// Its own content differs. `false`: drawn in by something that it refers to.
    pub content: bool,
    /// In words: which instruction, which datum, what drew it in.
    pub reasons: Vec<String>,
}

/// Something that cannot be done safely in a running process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// What was met, short: `initial value of live data changed`.
    pub what: String,
    /// Symbol or section, with the source file: `limit (server.c)`.
    pub place: String,
    /// Why this is not safe.
    pub why: String,
    /// What the author of the patch can do.
    pub remedy: String,
}

/// Something that an author should look at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Hash)]
pub struct Warning {
    /// What was met, short.
    pub what: String,
    /// Symbol or section, with the source file.
    pub place: String,
    /// What it may lead to.
    pub why: String,
}

/// A function that treats members of objects in another way than before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberChange {
    /// Its name.
    pub function: String,
    /// Source file of its unit.
    pub source_file: String,
    /// The function that the members' values come from, or are handed to; `++` and `--` for a count in what
    /// they point to.
    pub callee: String,
    /// What is different.
    pub kind: MemberChangeKind,
    /// The members that may be meant, as `structure::member`. `true`: the function has such a structure at
    /// hand. `false`: it can get at such a structure through pointers.
    pub members: BTreeMap<String, bool>,
}

/// What is different in the way in which a function treats a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberChangeKind {
    /// It no longer puts there what the other function returns.
    NoLongerKeeps,
    /// It no longer hands the value to the other function.
    NoLongerGives,
    /// It puts there what the other function returns.
    Keeps,
    /// It hands to the other function what it puts there.
    Counts,
    /// It hands the value to the other function.
    Gives,
    /// It asks the other function for more memory to put there.
    Enlarges,
    /// It uses what is there. Of the functions that do so this counts only those of units in which another
    /// function enlarges it.
    Reads,
}

/// A difference between the plain and the sectioned object of one unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mismatch {
    /// Function in which the two differ.
    pub function: String,
    /// Where and how, in words.
    pub detail: String,
}

/// The part of a unit that is shipped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PatchObject {
    /// ELF `e_machine`.
    pub machine: u16,
    /// Source file of the unit.
    pub source_file: String,
    /// Sections to place, in the order of the unit.
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

/// Pieces of the patched object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extents {
    /// For each of the first [`PatchObject::sections`] where it comes from; the rest is unwind information.
    pub shipped: Vec<Extent>,
    /// Data that stay in the running program, and their names in the original unit.
    pub kept: Vec<(Extent, String)>,
}

/// Where a piece is when the patch is linked.
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
        /// Further symbols of the original unit that hold old code of this function (`.cold`, `.part`, …
        /// fragments that only it uses). Like the old entry they must be on no stack; they get no
        /// redirection.
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
    /// Undefined in the unit too: another unit, a library, or what the linker defines
    /// (`_GLOBAL_OFFSET_TABLE_`).
    Undefined,
}

/// A function with the place of its declaration.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Declared {
    /// Symbol name.
    pub name: String,
    /// Path of the source file as the debug information has it.
    pub file: String,
    /// Line number, 0 if not known.
    pub line: u64,
}

/// What a compiler did with the functions of a unit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inlining {
    /// All functions that the debug information describes, also those that exist only inside of others.
    pub functions: Vec<Declared>,
    /// By symbol name: what was put into a function, directly or through others.
    pub inlined: std::collections::BTreeMap<String, Vec<Declared>>,
}

/// Where a symbol comes from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    /// Its name there, mangled if the debug information says so; empty if it has none.
    pub name: String,
    /// Path of the source file that was compiled, as the debug information has it.
    pub source: String,
    /// Other source files cannot name it (internal linkage, or none): equal names in two files are two
    /// things.
    pub internal: bool,
}
