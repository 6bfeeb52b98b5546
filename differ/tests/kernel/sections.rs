//! Sections that the kernel's build or its loader reads.

use differ::{KernelOptions, Options};

use crate::{changed, compare, compare_with, is_refused};

const CHANGED: &str = "noinline int f(int n) { return sink(n patched(+ 1)); }\n";

#[test]
fn what_runs_at_the_start_or_the_end_is_refused() {
    let module = KernelOptions { module: true, ..KernelOptions::default() };
    let module = Options { kernel: module, ..Options::default() };
    for (name, why) in [(".init.text", "memory is free"), (".exit.text", "when the module ends")] {
        let compare = |text: &str| compare_with(text, &[], &module).unwrap();
        let text = format!("__section(\"{name}\") noinline int f(int n) {{ return sink(n patched(+ 1)); }}");
        assert!(is_refused(&compare(&text), "f", why));
        let new = format!("patched(__section(\"{name}\") noinline int g(int n) {{ return sink(n); }})");
        assert!(is_refused(&compare(&new), "g", "is new"));
    }
}

#[test]
fn the_image_has_no_code_for_the_end() {
    let end = "__section(\".exit.text\") noinline void end(void) { sink(1 patched(+ 1)); }\n\
        patched(__section(\".exitcall.exit\") void *__exitcall_end = (void *)end;)\n";
    assert_eq!(changed(&compare(&format!("{CHANGED}{end}"))), ["f"]);
    assert!(compare(end).patch.is_none());
}

#[test]
fn exports_are_compared_by_name() {
    let export = |name: &str, list: &str| {
        format!("asm(\".section ___ksymtab{list}+{name},\\\"a\\\"\\n.long {name} - ., 0, 0\\n.previous\");\n")
    };
    let same = format!("{CHANGED}{}", export("f", "_gpl"));
    assert!(compare(&same).refused.is_empty());
    let new = format!("{CHANGED}patched({})", export("f", "").trim_end().trim_end_matches(';'));
    assert!(is_refused(
        &compare(&new.replace("previous\"))", "previous\");)")),
        "f",
        "it is new; the kernel reads"
    ));
    // 6.4 and later.
    let later = |licence: &str| {
        format!(
            "asm(\".section .export_symbol,\\\"a\\\"\\n__export_symbol_f: .asciz \\\"{licence}\\\"\\n.asciz \
             \\\"\\\"\\n.balign 8\\n.quad f\\n.previous\");\n"
        )
    };
    assert!(compare(&format!("{CHANGED}{}", later("GPL"))).refused.is_empty());
    let other = format!("{CHANGED}\n#ifdef PATCHED\n{}#else\n{}#endif\n", later(""), later("GPL"));
    assert!(is_refused(&compare(&other), "f (GPL)", "it is gone"));
}

#[test]
fn initcalls_are_compared_by_function() {
    let list = "asm(\".section .initcall6.init,\\\"a\\\"\\n.long start - .\\n.previous\");\n";
    let start = "__section(\".init.text\") int start(void) { return 0; }\n";
    assert!(compare(&format!("{CHANGED}{start}{list}")).refused.is_empty());
    let new = format!("{CHANGED}{start}\n#ifdef PATCHED\n{list}#endif\n");
    assert!(is_refused(&compare(&new), "start in .initcall6.init", "initcalls have run"));
}

#[test]
fn lists_of_the_kernel_are_refused_with_their_own_reason() {
    for (section, why) in [
        ("__param", "parameters"),
        ("__tracepoints", "tracepoint"),
        ("_ftrace_events", "tracepoint"),
        ("__syscalls_metadata", "system call"),
        (".init.data", "begins"),
    ] {
        let text = format!("{CHANGED}__section(\"{section}\") long datum = 1 patched(+ 1);");
        assert!(is_refused(&compare(&text), section, why));
        let text = format!("{CHANGED}patched(__section(\"{section}\") long datum = 1;)");
        assert!(is_refused(&compare(&text), section, why));
    }
}

#[test]
fn what_a_module_says_of_itself_is_compared_by_entry() {
    let info = |name: &str, text: &str| {
        format!("static const char {name}[] __attribute__((used)) __section(\".modinfo\") = \"{text}\";\n")
    };
    // The names carry counters.
    let two = |number: u32| {
        info(&format!("__UNIQUE_ID_a{number}"), "m.license=GPL")
            + &info(&format!("__UNIQUE_ID_b{}", number + 1), "m.description=old")
    };
    let moved = format!("{CHANGED}\n#ifdef PATCHED\n{}#else\n{}#endif\n", two(4), two(1));
    assert!(compare(&moved).refused.is_empty());
    let alias = info("__UNIQUE_ID_c9", "m.alias=pci:v1");
    let new = format!("{CHANGED}\n#ifdef PATCHED\n{alias}#endif\n");
    assert!(is_refused(&compare(&new), "m.alias=pci:v1", "loader and its tools"));
    let said = CHANGED.to_owned() + "\n#ifdef PATCHED\n" + &info("x1", "m.version=2") + "#endif\n";
    let diff = compare(&said);
    assert!(
        diff.refused.is_empty() && diff.warnings.iter().any(|w| w.place.contains("m.version=2")),
        "{diff:#?}"
    );
}

#[test]
fn what_the_build_drops_is_not_compared() {
    let mark = |n: u32| {
        format!(
            "static void *__UNIQUE_ID_keep{n} __attribute__((used)) __section(\".discard.addressable\") = (void *)f;\n"
        )
    };
    let text = format!("{CHANGED}\n#ifdef PATCHED\n{}{}#else\n{}#endif\n", mark(7), mark(8), mark(3));
    assert!(compare(&text).refused.is_empty());
}
