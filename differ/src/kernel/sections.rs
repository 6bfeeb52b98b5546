//! What the kernel's sections are for, as far as a patch has to know.

use crate::unit::Section;

/// Sections that the build reads and drops, or that are compared by meaning (see
/// [`crate::verdict`]). Nothing in them is split, compared byte by byte, or shipped.
pub(crate) fn is_build_time(section: &str) -> bool {
    const BEGINNINGS: [&str; 11] = [
        ".discard.",
        ".modinfo",
        ".export_symbol",
        "___ksymtab",
        "__ksymtab",
        "___kcrctab",
        "__kcrctab",
        ".initcall",
        ".printk_index",
        ".gnu.",
        // Only padding before functions is in it, which is shipped with them.
        "__patchable_function_entries",
    ];
    BEGINNINGS.iter().any(|beginning| section.starts_with(beginning))
}

/// Has the code or data of a section done its work before a patch can be loaded?
pub(crate) fn has_passed(section: &Section<'_>) -> bool {
    BEGINS.iter().any(|beginning| section.name.starts_with(beginning))
}

/// What is for the beginning of the kernel or of a module.
const BEGINS: [&str; 5] = [".init.", ".meminit.", ".cpuinit.", ".devinit.", ".head.text"];

/// What is for the end of a module.
const ENDS: [&str; 4] = [".exit.", ".memexit.", ".exitcall.", ".devexit."];

/// Is the section for the end of a module? The kernel's own image never runs such code, and has none of it.
pub(crate) fn is_for_end(section: &str) -> bool {
    ENDS.iter().any(|beginning| section.starts_with(beginning))
}

/// Why code of a section cannot be replaced: it ran when the kernel or the module began, or runs when the
/// module ends. `None` for any other section.
pub(crate) fn is_passing(section: &Section<'_>) -> Option<&'static str> {
    if has_passed(section) {
        Some("it runs when the kernel or the module begins, and its memory is free by now")
    } else if is_for_end(&section.name) {
        Some("it runs when the module ends, and a module that ends takes its patch with it")
    } else {
        None
    }
}

/// Does the section list entries of functions? Those are redirected, so the list may stay.
pub(crate) fn lists_entries(section: &str) -> bool {
    const LISTS: [&str; 5] = [
        ".pci_fixup",
        "_kprobe_blacklist",
        "_error_injection_whitelist",
        ".static_call_tramp_key",
        "__tracepoints_ptrs",
    ];
    LISTS.iter().any(|beginning| section.starts_with(beginning))
}

/// What a section is a list of, where its content must not change: what was met, why, remedy.
pub(crate) fn meaning_of(section: &str) -> Option<(&'static str, &'static str, &'static str)> {
    const ALL: [(&str, (&str, &str, &str)); 9] = [
        (
            "__param",
            (
                "module parameter changed",
                "the kernel has made the files of parameters when the module was loaded",
                "leave the parameters as they are; keep a new one in a variable that a hook sets",
            ),
        ),
        ("__tracepoint", TRACEPOINT),
        ("_ftrace_e", TRACEPOINT),
        ("__bpf_raw_tp_map", TRACEPOINT),
        (
            "__syscalls_metadata",
            (
                "system call changed",
                "the table of system calls, and what tracers know of them, is made once",
                "leave the system call's declaration as it is, and change only what it does",
            ),
        ),
        (
            ".static_call",
            (
                "static call added or removed",
                "the kernel has read the list of static calls when the object was loaded",
                "use a pointer to a function instead, or a key that exists",
            ),
        ),
        (
            ".init.",
            (
                "data of the start changed",
                "it is read when the kernel or the module begins, and its memory is free by now",
                "do the work where it is first needed, or in a hook of the patch",
            ),
        ),
        (
            ".exit",
            (
                "list of functions at the end changed",
                "the kernel has read it when the module was loaded",
                "leave it as it is",
            ),
        ),
        (
            ".BTF_ids",
            (
                "set of functions for BPF changed",
                "the numbers in it are filled in when the kernel is linked",
                "leave the set as it is",
            ),
        ),
    ];
    ALL.iter().find(|(beginning, _)| section.starts_with(beginning)).map(|(_, meaning)| *meaning)
}

const TRACEPOINT: (&str, &str, &str) = (
    "tracepoint added, removed or changed",
    "the kernel has made the files and structures of tracepoints when the object was loaded",
    "use only tracepoints that exist, with the fields that they have; a message (`pr_debug`) is possible",
);
