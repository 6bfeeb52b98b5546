//! The sections of a kernel module that are not code or data of its functions, but lists for the kernel and
//! its tools. The differ, which ships them, says which these are.

/// Is this a list, or code that only a list names? None holds addresses for code to call.
pub(super) fn is_table(section: &str) -> bool {
    differ::is_kernel_list(section)
}

/// Does the kernel read it before it applies relocations of the livepatch kind for a *module*? Those for the
/// kernel itself are applied in time.
pub(super) fn is_read_early(section: &str) -> bool {
    differ::is_kernel_table(section)
}

/// `name` is `base`, or one of its parts, as `.text.f` of `.text`.
pub(super) fn is_part_of(name: &str, base: &str) -> bool {
    name.strip_prefix(base).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

#[cfg(test)]
mod tests {
    use super::{is_read_early, is_table};

    #[test]
    fn lists_of_kernel_modules() {
        let early = [
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
        let later = [
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
        assert!(early.iter().all(|name| is_table(name) && is_read_early(name)));
        assert!(later.iter().all(|name| is_table(name) && !is_read_early(name)));
        assert!(
            [".text", ".text.f", ".data", ".altinstructions.f", "__mcount"]
                .iter()
                .all(|name| !is_table(name))
        );
    }
}
