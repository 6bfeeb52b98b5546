//! The kernel's tables of places in code. The first field of each entry leads to the code that the entry is
//! about; the entry is shipped with the function that this code is in.
//!
//! Layouts are those of the structures that the kernel's own headers declare: `struct alt_instr`
//! (`asm/alternative.h`), `bug_entry` (`asm-generic/bug.h`), `exception_table_entry`
//! (`asm/extable.h`), `jump_entry` (`linux/jump_label.h`), `paravirt_patch_site`
//! (`asm/paravirt_types.h`), `static_call_site` (`linux/static_call_types.h`), and single pointers or
//! distances.

use std::collections::BTreeMap;
use std::ops::Range;

use super::pieces::{REPLACEMENTS, UNTIL_APPLIED, is_companion};
use crate::unit::Section;

/// What becomes of the entries of included functions.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Handling {
    /// The entries are shipped.
    Ship,
    /// The entries mean something only in the kernel's own image: what, why, remedy.
    Refuse(&'static str, &'static str, &'static str),
}

/// One table.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Table {
    /// Name of the section; if it ends with `_`, the beginning of the names of several.
    pub(crate) section: &'static str,
    /// Sizes of an entry in bytes in known versions, the most common first.
    pub(crate) sizes: &'static [usize],
    /// Offsets of fields that may have a relocation. The first field always has one.
    pub(crate) fields: &'static [u64],
    /// Bytes that are no content: line numbers of warnings.
    pub(crate) passed_over: Range<usize>,
    /// What its entries are called.
    pub(crate) entries: &'static str,
    pub(crate) handling: Handling,
}

/// Alternative instructions. Their code is a slice of `.altinstr_replacement`.
pub(crate) const ALTERNATIVES: &str = ".altinstructions";
/// Branches that the kernel switches on and off.
pub(crate) const JUMP_LABELS: &str = "__jump_table";
/// Calls of `__fentry__`, by which functions are traced and redirected.
pub(crate) const FENTRY: &str = "__mcount_loc";

/// A table whose entries are shipped.
const fn table(
    section: &'static str,
    sizes: &'static [usize],
    fields: &'static [u64],
    entries: &'static str,
) -> Table {
    Table { section, sizes, fields, passed_over: 0..0, entries, handling: Handling::Ship }
}

/// Constants that the kernel writes into its own code when it boots, and nowhere else.
const fn runtime_constants(section: &'static str) -> Table {
    let handling = Handling::Refuse(
        "a constant of the running kernel",
        "the kernel writes its value into its own image only; in the code of a module a placeholder would \
         stay",
        "compile both sides with the generic <asm/runtime-const.h>",
    );
    Table { handling, ..table(section, &[4], &[0], "runtime constants") }
}

/// All tables, in the order in which they are shipped.
pub(crate) static TABLES: [Table; 11] = [
    table(FENTRY, &[8], &[0], "fentry calls"),
    // 6.1; 6.6 and later; 5.10.
    table(ALTERNATIVES, &[12, 14, 13], &[0, 4], "alternatives"),
    table(".parainstructions", &[16], &[0], "paravirtual calls"),
    // The line; 16 bytes with a pointer to the message (6.19).
    Table { passed_over: 8..10, ..table("__bug_table", &[12, 16], &[0, 4, 8], "bug entries") },
    table("__ex_table", &[12], &[0, 4, 8], "exception entries"),
    table(JUMP_LABELS, &[16], &[0, 4, 8], "jump labels"),
    table(".static_call_sites", &[8], &[0, 4], "static calls"),
    table(".smp_locks", &[4], &[0], "lock prefixes"),
    table(".kcfi_traps", &[4], &[0], "checks of calls"),
    runtime_constants("runtime_ptr_"),
    runtime_constants("runtime_shift_"),
];

impl Table {
    /// The table in a section.
    pub(crate) fn of(section: &str) -> Option<&'static Self> {
        TABLES.iter().find(|table| match table.section.strip_suffix('_') {
            Some(_) => section.starts_with(table.section),
            None => section == table.section,
        })
    }
}

/// Is the section a table that the kernel reads as it takes a module in, or code that such a table names?
pub fn is_kernel_table(section: &str) -> bool {
    Table::of(section).is_some() || [REPLACEMENTS, UNTIL_APPLIED].contains(&section)
}

/// Does the section of a kernel module list places in code, or code for such a list? It is made by macros, by
/// the compiler or by objtool, and holds no address for code to call.
pub fn is_kernel_list(section: &str) -> bool {
    const OF_THE_BUILD: [&str; 2] = [".printk_index", "__patchable_function_entries"];
    is_kernel_table(section)
        || is_companion(section)
        || made_by_objtool(section)
        || OF_THE_BUILD.contains(&section)
}

/// How the entries of a section lie in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Bytes of an entry.
    pub(crate) size: usize,
    /// Alternatives: offset in the entry of the byte with the length of the replacement.
    pub(crate) replacement_length: usize,
}

/// Finds the size of the entries: the given one, or the first known one that the relocations agree with.
pub(crate) fn layout(table: &Table, section: &Section<'_>, given: &BTreeMap<String, u64>) -> Option<Layout> {
    let given = given.get(&*section.name).and_then(|size| usize::try_from(*size).ok());
    let sizes = given.as_ref().map_or(table.sizes, std::slice::from_ref);
    let size = sizes.iter().copied().find(|&size| fits(table, section, size))?;
    // `struct alt_instr` of 5.10 has the length of the padding behind that of the replacement.
    let replacement_length = if size == 13 { 11 } else { size.saturating_sub(1) };
    Some(Layout { size, replacement_length })
}

/// Whether each entry has a relocation in its first field, and all others are in fields that may have one.
fn fits(table: &Table, section: &Section<'_>, size: usize) -> bool {
    let Ok(step) = u64::try_from(size) else { return false };
    if step == 0 || !section.size.is_multiple_of(step) || section.data.len() as u64 != section.size {
        return false;
    }
    let first = section.relocs.iter().filter(|r| r.offset % step == 0).map(|r| r.offset / step);
    first.eq(0..section.size / step)
        && section.relocs.iter().all(|r| r.r_type == 0 || table.fields.contains(&(r.offset % step)))
}

/// Sections of objtool. An object is compared before objtool has run over it, since it adds to functions what
/// the linked part gets anew.
pub(crate) fn made_by_objtool(section: &str) -> bool {
    const MADE: [&str; 8] = [
        ".orc_unwind",
        ".orc_unwind_ip",
        ".orc_header",
        ".return_sites",
        ".retpoline_sites",
        ".call_sites",
        ".ibt_endbr_seal",
        ".cfi_sites",
    ];
    MADE.contains(&section)
}
