//! What is refused, and why.

use linker::{KernelModuleFile, KernelObject, LinkError, finish};

use crate::little::Little;
use crate::module::{Change, in_kernel, with_parts};
use crate::{A, B, C, HOOK};

fn little() -> Little {
    Little::new(&[("a", A), ("b", B), ("c", C)])
}

/// The reasons against a change of `a_first`.
fn refusal_of(little: &Little, before: &str, after: &str, replaced: &[&str]) -> String {
    with_parts(little, &[], &[in_kernel("a", before, after, replaced)], |parts, _| {
        parts.expect_err("it was not refused").to_string()
    })
}

#[test]
fn what_cannot_be_told_apart_is_refused() {
    let spare = "__attribute__((used)) static int spare;";
    let (a, b) = (format!("{spare}{A}"), format!("{spare}{B}"));
    let little = Little::new(&[("a", &a), ("b", &b), ("c", C)]);
    let after = a.replace("return step(x) + 1", "return step(x) + spare");
    let why = refusal_of(&little, &a, &after, &["a_first"]);
    assert!(why.starts_with("what a reference means cannot be told: spare (a)"), "{why}");
}

#[test]
fn a_function_without_a_call_of_the_tracer_is_handed_back() {
    let little = little();
    let after = C.replace("x * 7", "x * 11");
    with_parts(&little, &[], &[in_kernel("c", C, &after, &["untraced"])], |parts, _| {
        let Err(LinkError::NoRoom { functions, .. }) = parts else { panic!("{parts:?}") };
        assert_eq!(functions, [(0, "untraced".to_owned())]);
    });
}

#[test]
fn a_new_reference_to_a_sealed_function_is_refused_and_a_call_is_not() {
    let little = little();
    let taken = A.replace(
        "return step(x) + 1",
        "extern int inner(int); static int (*volatile f)(int); f = inner; return f(step(x))",
    );
    let why = refusal_of(&little, A, &taken, &["a_first"]);
    assert!(why.contains("a new reference to a sealed function: inner (a)"), "{why}");
    let called = A.replace("return step(x) + 1", "extern int inner(int); return inner(step(x)) + 1");
    with_parts(&little, &[], &[in_kernel("a", A, &called, &["a_first"])], |parts, _| {
        // It is exported into a name space, which a module would have to import.
        let inner = parts.unwrap().references.into_iter().find(|r| r.name == "inner").unwrap();
        assert_ne!(inner.way, linker::Way::Exported);
    });
}

#[test]
fn what_the_kernel_freed_or_does_not_have_is_refused() {
    let little = little();
    let after = A.replace("return step(x) + 1", "extern int at_start; return step(x) + at_start");
    let why = refusal_of(&little, A, &after, &["a_first"]);
    assert!(why.contains("what only the start needs is referred to: at_start (a)"), "{why}");
    let after = A.replace("return step(x) + 1", "extern int nowhere; return step(x) + nowhere");
    let why = refusal_of(&little, A, &after, &["a_first"]);
    assert!(why.contains("undefined symbol: nowhere (a)"), "{why}");
}

#[test]
fn a_replaced_function_that_is_other_code_is_refused() {
    let little = little();
    let other = A.replace("step(x) + 1", "step(x) + 3");
    let after = A.replace("step(x) + 1", "step(x) + 5");
    let why = refusal_of(&little, &other, &after, &["a_first"]);
    assert!(why.contains("the function to replace is not found: a_first (a)"), "{why}");
}

#[test]
fn a_module_that_is_not_given_is_refused() {
    let little = little();
    let after = A.replace("step(x) + 1", "step(x) + 5");
    let object = KernelObject::Module("gone".to_owned());
    let change = Change { unit: "a", before: A, after: &after, replaced: &["a_first"], object };
    with_parts(&little, &[], &[change], |parts, _| {
        let why = parts.unwrap_err().to_string();
        assert!(why.contains("a shipped module is not there: gone.ko"), "{why}");
    });
}

#[test]
fn what_the_kernel_would_stumble_over_is_not_handed_out() {
    let little = little();
    let after = A.replace("step(x) + 1", "step(x) + 5");
    with_parts(&little, &[], &[in_kernel("a", A, &after, &["a_first"])], |parts, context| {
        let parts = parts.unwrap();
        for (hook, says) in [
            ("", "not a live patch"),
            (".section __mcount_loc,\"a\"\n.quad a_first\n", ""),
            (
                ".section __mcount_loc,\"a\"\n.quad a_first + 1\n",
                "which it lists, is not a call of __fentry__",
            ),
            (".section __mcount_loc,\"a\"\n.quad 0\n", "it is not one reference after the other"),
            (
                ".section unheard,\"a\"\n.quad a_first\n",
                "a section of unknown meaning refers to code: unheard+0x0",
            ),
            (".data\n.quad nothing_has_this\n", "undefined symbol: nothing_has_this"),
        ] {
            let modinfo = if hook.is_empty() { "" } else { HOOK };
            let finished = finish(&little.link(&parts, &format!("{modinfo}{hook}")), &parts, context);
            match finished {
                Ok(_) => assert!(says.is_empty(), "{hook}"),
                Err(e) => assert!(!says.is_empty() && e.to_string().contains(says), "{hook}: {e}"),
            }
        }
    });
}

#[test]
fn a_list_that_refers_into_a_module_is_refused() {
    let little = little();
    let m = "static int state; int m_first(int x) { state += x; return state; } int m_last(void) { return \
     state * 3; }";
    let shipped = KernelModuleFile::read("m.ko", &little.module("m", m)).unwrap();
    let after = m.replace("return state;", "return state + 1;");
    let object = KernelObject::Module("m".to_owned());
    let change = Change { unit: "m", before: m, after: &after, replaced: &["m_first"], object };
    with_parts(&little, &[shipped], &[change], |parts, context| {
        let parts = parts.unwrap();
        let hook = format!("{HOOK}.section __jump_table,\"aw\"\n.quad m_first - ., state - .\n");
        let why = finish(&little.link(&parts, &hook), &parts, context).unwrap_err().to_string();
        assert!(why.contains("a list refers into a module: __jump_table"), "{why}");
    });
}
