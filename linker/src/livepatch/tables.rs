//! The sections of a kernel module that are not code or data of its functions, but lists for the kernel and
//! its tools.

/// Lists with a reference to code in each entry, which the compiler, macros or `objtool` make. The kernel
/// reads them when it loads a module, or later; none holds addresses for code to call.
pub(super) const TABLES: [&str; 20] = [
    "__mcount_loc",
    ".altinstructions",
    ".altinstr_replacement",
    ".altinstr_aux",
    ".parainstructions",
    "__bug_table",
    "__ex_table",
    "__jump_table",
    ".static_call_sites",
    ".smp_locks",
    ".printk_index",
    ".retpoline_sites",
    ".return_sites",
    ".call_sites",
    ".ibt_endbr_seal",
    ".orc_unwind",
    ".orc_unwind_ip",
    ".orc_header",
    ".fixup",
    "__patchable_function_entries",
];

/// Of these, the kernel reads what it needs before it applies relocations of the livepatch kind for a
/// *module*. Those for the kernel itself are applied in time.
pub(super) const READ_EARLY: [&str; 10] = [
    ".altinstructions",
    ".altinstr_replacement",
    ".altinstr_aux",
    ".parainstructions",
    "__bug_table",
    "__ex_table",
    "__jump_table",
    ".static_call_sites",
    ".smp_locks",
    "__mcount_loc",
];

/// Is this a list?
pub(super) fn is_table(section: &str) -> bool {
    TABLES.contains(&section)
}

/// Does the kernel read it too early for references into a module?
pub(super) fn is_read_early(section: &str) -> bool {
    READ_EARLY.contains(&section)
}

/// `name` is `base`, or one of its parts, as `.text.f` of `.text`.
pub(super) fn is_part_of(name: &str, base: &str) -> bool {
    name.strip_prefix(base).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}
