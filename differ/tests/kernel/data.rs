//! Data that macros make, and what new code refers to.

use differ::{KernelOptions, Options, SymbolPlace, UnitDiff};

use crate::{changed, compare, compare_with, is_refused, shipped, targets};

fn place<'a>(diff: &'a UnitDiff, name: &str) -> Option<&'a SymbolPlace> {
    shipped(diff).symbols.iter().find(|s| s.name.starts_with(name)).map(|s| &s.place)
}

fn module(text: &str) -> UnitDiff {
    let kernel = KernelOptions { module: true, ..KernelOptions::default() };
    compare_with(text, &[], &Options { kernel, ..Options::default() }).unwrap()
}

#[test]
fn numbers_of_once_flags_say_nothing() {
    let diff = compare(
        "noinline int f(int n) { patched(ONCE();) ONCE(); return sink(n); }\n\
         noinline int g(int n) { ONCE(); return n; }\n\
         noinline int h(int n) { ONCE(); return sink(n) + 1 patched(+ 1); }\n",
    );
    assert_eq!(changed(&diff), ["f", "h"]);
    assert!(diff.objects.is_empty(), "{:#?}", diff.objects);
    let copies = shipped(&diff).symbols.iter().filter(|s| s.name.starts_with("__already_done."));
    let places: Vec<_> = copies.map(|s| matches!(s.place, SymbolPlace::Defined { .. })).collect();
    assert_eq!(places, [true, true, true]);
}

#[test]
fn what_must_happen_once_is_the_live_flag() {
    let diff = compare(
        "static int secret;\n\
         noinline int f(int n) { static _Bool __section(\".data.once\") ___done; static int lock;\n\
             if (!___done) { ___done = 1; secret = sink(7); } lock++; return sink(n) + secret patched(+ 1); \
             }",
    );
    for name in ["___done", "lock", "secret"] {
        assert!(matches!(place(&diff, name), Some(SymbolPlace::Existing { .. })), "{name}: {diff:#?}");
    }
}

#[test]
fn a_descriptor_of_a_message_comes_with_its_function() {
    let text = "struct ddebug { const char *function, *format; struct key key; };\n\
        #define DEBUG(text) ({ static struct ddebug __section(\"__dyndbg\") NAME = { __func__, text }; \\\n\
            if (branch(&NAME.key)) sink(1); })\n\
        #define NAME __UNIQUE_ID_ddebug1\n\
        noinline int f(int n) { patched(DEBUG(\"more\");) DEBUG(\"f\"); return sink(n); }\n\
        #undef NAME\n\
        #ifdef PATCHED\n\
        #define NAME __UNIQUE_ID_ddebug9\n\
        #else\n\
        #define NAME __UNIQUE_ID_ddebug5\n\
        #endif\n\
        noinline int g(int n) { DEBUG(\"g\"); return sink(n) + 1; }\n";
    let diff = compare(text);
    assert_eq!(changed(&diff), ["f"]);
    let keys = targets(shipped(&diff), "__jump_table");
    assert_eq!(keys.iter().filter(|name| name.starts_with("__UNIQUE_ID_ddebug")).count(), 2, "{keys:?}");
    assert!(matches!(place(&diff, "__UNIQUE_ID_ddebug"), Some(SymbolPlace::Defined { .. })));
    // The key comes with the patch, so it may be a patch of a module.
    assert_eq!(changed(&module(text)), ["f"]);
}

#[test]
fn keys_of_a_module_are_not_known_in_time() {
    let text =
        "struct key a; noinline int f(int n) { if (branch(&a)) sink(1); return sink(n patched(+ 1)); }";
    assert_eq!(targets(shipped(&compare(text)), "__jump_table"), ["f", "f", "a"]);
    assert!(is_refused(&module(text), "f", "refers to `a` of the module"));
    let text = "noinline int other(int n) { return n; } noinline int f(int n) { ALTERNATIVE(\"call \
     other\");\n\
        return sink(n patched(+ 1)); }";
    assert!(shipped(&compare(text)).sections.iter().any(|s| s.name == ".altinstr_replacement"));
    assert!(is_refused(&module(text), "f", "refers to `other` of the module"));
}

#[test]
fn new_per_cpu_variables_are_for_the_image() {
    let text = "patched(__section(\".data..percpu\") int counter;) noinline int f(int n)\n\
        { patched(counter += n;) return sink(n); }";
    shipped(&compare(text));
    assert!(is_refused(&module(text), "counter", "per-CPU"));
}

#[test]
fn the_address_of_a_sealed_function_is_refused() {
    let text = "extern void use(void *); static noinline int inner(int n) { return sink(n); } extern int \
     other(int);\n\
        noinline int f(int n) { patched(use(inner); use(other);) return inner(n) + other(n); }";
    shipped(&compare(text));
    for name in ["inner", "other"] {
        let kernel = KernelOptions { sealed: [name.to_owned()].into(), ..KernelOptions::default() };
        let diff = compare_with(text, &[], &Options { kernel, ..Options::default() }).unwrap();
        assert!(is_refused(&diff, "f", name));
    }
}

#[test]
fn initial_values_of_live_data_stay() {
    let used = "noinline int f(void) { return sink(limit patched(+ 1)); }";
    let text = format!("int limit = 3 patched(+ 1); {used}");
    assert!(is_refused(&compare(&text), "limit", "initial value of live data changed"));
    let text = format!(
        "int limit; struct set {{ int a; patched(int b;) }} live = {{ 1 }}; struct set *get(void) {{ return \
         &live; }} {used}"
    );
    assert!(is_refused(&compare(&text), "live", "size of live data changed"));
}
