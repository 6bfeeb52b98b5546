//! Tables of places in code.

use differ::{KernelOptions, Options, SectionKind, SymbolPlace};

use crate::{changed, compare, compare_with, is_refused, section, shipped, targets};

/// Two functions with entries in all tables; the patched side of one of them has more.
const BOTH: &str = r#"
struct key first, second;
int count;
noinline int before(int n) { patched(WARN(7);) if (branch(&first)) sink(1); ALTERNATIVE(".byte 0x90,0x90");
    LOCKED(count); MAY_FAULT(&count); return sink(n) + 1; }
noinline int after(int n) { WARN(9); if (branch(&second)) sink(2); ALTERNATIVE("call sink"); ALTERNATIVE("");
    LOCKED(count); MAY_FAULT(&count); return sink(n) + 2; }
"#;

#[test]
fn a_function_has_its_entries_and_no_others() {
    let diff = compare(BOTH);
    assert_eq!(changed(&diff), ["before"]);
    let patch = shipped(&diff);
    for (name, size) in [
        ("__bug_table", 12),
        ("__jump_table", 16),
        (".altinstructions", 12),
        (".altinstr_replacement", 2),
        (".smp_locks", 4),
        ("__ex_table", 12),
        ("__mcount_loc", 8),
    ] {
        assert_eq!(section(patch, name).map(|s| s.size), Some(size), "{name}");
        assert!(!targets(patch, name).contains(&"after"), "{name}: {patch:#?}");
    }
    assert_eq!(targets(patch, "__jump_table"), ["before", "before", "first"]);
    assert_eq!(targets(patch, ".altinstructions"), ["before", ".altinstr_replacement"]);
    assert_eq!(section(patch, "__bug_table").unwrap().kind, SectionKind::Table);
    let first = patch.symbols.iter().find(|s| s.name == "first").unwrap();
    assert!(matches!(first.place, SymbolPlace::Existing { .. }));
}

#[test]
fn entries_of_other_versions_are_known_by_their_relocations() {
    let options = Options::default();
    // 6.6 has flags behind the number of the feature.
    let flags = ["-DALT_FLAGS=\"\\n.word 0\""];
    let diff = compare_with(BOTH, &flags, &options).unwrap();
    assert_eq!(section(shipped(&diff), ".altinstructions").map(|s| s.size), Some(14));
    // A size that the caller gives counts alone.
    let sizes = [(".altinstructions".to_owned(), 14)].into();
    let given =
        Options { kernel: KernelOptions { entry_sizes: sizes, ..KernelOptions::default() }, ..options };
    assert!(compare_with(BOTH, &flags, &given).is_ok());
    let error = compare_with(BOTH, &[], &given).unwrap_err().to_string();
    assert!(error.contains(".altinstructions"), "{error}");
}

#[test]
fn a_table_may_be_all_that_differs() {
    let diff = compare(
        "struct key a, b; noinline int f(int n) { return sink(n) + branch(patched(1 ? &b :) &a); }\n\
         noinline int g(int n) { return sink(n) + branch(&a); }\n",
    );
    assert_eq!(changed(&diff), ["f"]);
    assert_eq!(targets(shipped(&diff), "__jump_table"), ["f", "f", "b"]);
}

#[test]
fn a_shifted_line_of_a_warning_is_no_change() {
    let diff = compare("noinline int f(int n) { WARN(7 patched(+ 1)); return sink(n); }");
    assert!(diff.is_unchanged(), "{diff:#?}");
}

#[test]
fn alternatives_may_differ_in_their_code_alone() {
    let text = r#"noinline int f(int n) { ALTERNATIVE(patched("call sink") "") ; return sink(n); }
        noinline int g(int n) { ALTERNATIVE("nop"); return sink(n); }"#;
    let diff = compare(&text.replace("patched(\"call sink\")", "patched(\"call sink\\n\")"));
    assert_eq!(changed(&diff), ["f"]);
    assert_eq!(targets(shipped(&diff), ".altinstr_replacement"), ["sink"]);
}

#[test]
fn a_list_that_nobody_knows_is_refused() {
    let diff = compare(
        r#"noinline int f(int n) { asm volatile("1: nop\n.pushsection my_places,\"a\"\n.long 1b - .\n.popsection");
           return sink(n patched(+ 1)); }"#,
    );
    assert!(is_refused(&diff, "my_places", "list of places inside of functions"));
}

#[test]
fn what_is_written_at_boot_is_refused() {
    let diff = compare(
        r#"noinline long f(long n) { asm("movabs $0x0123456789abcdef, %0\n1:\n.pushsection runtime_ptr_USER_PTR_MAX,\"a\"\n.long 1b - 8 - .\n.popsection" : "=r"(n));
           return n patched(+ 1); }"#,
    );
    assert!(is_refused(&diff, "runtime_ptr_USER_PTR_MAX", "a placeholder would stay"));
}

#[test]
fn an_object_is_compared_before_objtool() {
    let text =
        "asm(\".section .orc_unwind,\\\"a\\\"\\n.word 0, 0, 0\\n.previous\"); int f(void) { return 1; }";
    let error = compare_with(text, &[], &Options::default()).unwrap_err().to_string();
    assert!(error.contains("objtool"), "{error}");
}
