//! Functions that cannot be redirected.

use differ::{Options, SymbolPlace};

use crate::{changed, compare, compare_with, is_refused, shipped};

#[test]
fn callers_are_replaced_in_place_of_what_is_not_traced() {
    let diff = compare(
        "static noinline notrace int inner(int n) { return sink(n) + 1 patched(+ 1); }\n\
         static noinline notrace int middle(int n) { return inner(n) * 2; }\n\
         noinline int outer(int n) { return middle(n) + 3; }\n",
    );
    assert_eq!(changed(&diff), ["inner", "middle", "outer"]);
    let entries = shipped(&diff).symbols.iter().filter_map(|s| match &s.place {
        SymbolPlace::Defined { replaces: Some(old), .. } => Some(old.as_str()),
        _ => None,
    });
    assert_eq!(entries.collect::<Vec<_>>(), ["outer"]);
}

#[test]
fn what_has_run_need_not_be_replaced() {
    let start = "__section(\".init.text\") noinline int start(int n) { return inner(n) + table[n & 1]; }";
    let diff = compare(&format!(
        "static noinline notrace int inner(int n) {{ return sink(n) + 1 patched(+ 1); }}\n\
         static const int table[] = {{ 1, 2 patched(+ 1) }};\n{start}\n\
         noinline int outer(int n) {{ return inner(n) + 3 + table[n & 1]; }}\n"
    ));
    assert_eq!(changed(&diff), ["inner", "outer"]);
    shipped(&diff);
}

#[test]
fn the_function_of_a_thread_is_told() {
    let diff = compare(
        "extern void *kthread_create_on_node(int (*)(void *), void *, int, const char *);\n\
         static noinline int work(void *p) { return sink(1 patched(+ 1)); }\n\
         noinline void *make(void) { return kthread_create_on_node(work, 0, 0, \"w\"); }\n",
    );
    shipped(&diff);
    assert!(diff.warnings.iter().any(|w| w.what == "function of a thread of the kernel"), "{diff:#?}");
}

#[test]
fn what_others_may_call_is_refused() {
    let diff = compare(
        "noinline notrace int f(int n) { return sink(n) + 1 patched(+ 1); }\n\
         int g(int n) { return f(n) + 1; }",
    );
    assert!(is_refused(&diff, "f", "marked `notrace`"));
    let text = "noinline __section(\".noinstr.text\") notrace int f(int n) { return sink(n patched(+ 1)); }\n\
        int g(int n) { return 1; }";
    assert!(is_refused(&compare(text), "f", "noinstr"));
}

#[test]
fn a_file_without_tracing_is_told_as_such() {
    let diff = compare("noinline notrace int f(int n) { return sink(n) + 1 patched(+ 1); }");
    assert!(is_refused(&diff, "f", "lib/"));
}

#[test]
fn padding_before_a_function_belongs_to_it() {
    // Two functions in one section: the padding of the first lies before everything that has a name.
    let text = "__section(\".init.text\") int one(void) { return 1; } __section(\".init.text\") int two(void)\n\
        { return 2; } noinline int f(int n) { return sink(n) + 1 patched(+ 1); }";
    let diff = compare_with(text, &["-fpatchable-function-entry=16,16"], &Options::default()).unwrap();
    let patch = shipped(&diff);
    let symbol = patch.symbols.iter().find(|s| s.name == "f").unwrap();
    let SymbolPlace::Defined { section, offset, size, .. } = symbol.place else { panic!("{symbol:?}") };
    let code = &patch.sections[section];
    assert_eq!((offset, code.size), (16, 16 + size));
    assert!(code.data[..16].iter().all(|b| *b == 0x90));
    // The call of `__fentry__`, and the call of `sink`.
    assert_eq!(code.relocations[0].offset, 17);
    let entry = patch.sections.iter().find(|s| s.name == "__mcount_loc").unwrap();
    assert_eq!(entry.relocations[0].addend, 0);
}
